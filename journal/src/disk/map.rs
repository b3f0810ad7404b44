//! A file's bytes in memory, whoever put them there.
//!
//! Made by a [`DiskFile`](super::DiskFile), read by segments, written through by the appender and the
//! control page. The pointer and the length are plain fields: a look at mapped bytes is no call.
//!
//! Always holds: the bytes stay mapped as long as the map lives, whatever becomes of the file's name.
//! Does not: hand out references. Others write to the same bytes, so whoever uses a map knows which of
//! them are fixed.

use std::fmt::Debug;
use std::io;
use std::ptr::NonNull;

/// What keeps mapped bytes in place, and gives them back when it is dropped.
pub trait MapBody: Debug + Send + Sync {
    /// Tells that the bytes will be touched here and there, so that reading ahead is no use.
    ///
    /// # Errors
    /// What the system says.
    fn advise_random(&self) -> io::Result<()>;
}

/// Bytes of a file, mapped.
#[derive(Debug)]
pub struct FileMap {
    start: NonNull<u8>,
    bytes: usize,
    body: Box<dyn MapBody>,
}

// SAFETY: a map is memory that may be used from any thread: `FileMap::new` demands it, and the body is
// both `Send` and `Sync`. The type gives out only a pointer; what is done with it has its own reasons.
unsafe impl Send for FileMap {}
// SAFETY: as above; nothing of a map changes through a shared reference.
unsafe impl Sync for FileMap {}

impl FileMap {
    /// Takes bytes that a body keeps in place.
    ///
    /// # Safety
    /// `bytes` bytes from `start` on can be read from any thread, and written where the map was asked for
    /// writing, until `body` is dropped. `start` is aligned to 4096. They are changed by others only as
    /// shared memory is: never moved, never given to anything else.
    pub unsafe fn new(start: NonNull<u8>, bytes: usize, body: Box<dyn MapBody>) -> Self {
        FileMap { start, bytes, body }
    }

    /// Where the bytes stand.
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// How many bytes are mapped.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Tells that the bytes will be touched here and there.
    ///
    /// # Errors
    /// What the system says.
    pub fn advise_random(&self) -> io::Result<()> {
        self.body.advise_random()
    }
}
