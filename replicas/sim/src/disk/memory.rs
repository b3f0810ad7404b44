//! The bytes of a simulated file, in one place of memory as long as anybody has them mapped.
//!
//! Always holds: the bytes never move; they are given back when the file and its last map are gone.
//! Does not: know lengths, names, or what is on disk.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use exahour_journal::disk::{FileMap, MapBody};

/// Bytes of a page, and how memory is aligned.
pub(super) const PAGE: usize = 4096;

/// Zeroed memory of whole pages.
#[derive(Debug)]
pub(super) struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory is owned by this value, and everything that is done to it through a shared reference
// goes through raw pointers; a world is turned by one thread at a time.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Memory for at least so many bytes.
    pub(super) fn zeroed(bytes: usize) -> Arc<Self> {
        let size = bytes.next_multiple_of(PAGE).max(PAGE);
        let Ok(layout) = Layout::from_size_align(size, PAGE) else {
            unreachable!("files of a simulation are far smaller than memory")
        };
        // SAFETY: the size is a page at least.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout));
        Arc::new(Self { start, layout })
    }

    /// How many bytes there are.
    pub(super) fn bytes(&self) -> usize {
        self.layout.size()
    }

    /// Copies bytes out.
    ///
    /// # Panics
    /// If they lie beyond the end: our own fault.
    pub(super) fn read(&self, at: usize, room: &mut [u8]) {
        assert!(at + room.len() <= self.bytes());
        // SAFETY: in range by the line above. Whoever has the bytes mapped writes to them on this thread
        // only, and not now.
        unsafe { std::ptr::copy(self.start.as_ptr().add(at), room.as_mut_ptr(), room.len()) };
    }

    /// Copies bytes in.
    ///
    /// # Panics
    /// If they lie beyond the end: our own fault.
    pub(super) fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.bytes());
        // SAFETY: as in `read`.
        unsafe { std::ptr::copy(bytes.as_ptr(), self.start.as_ptr().add(at), bytes.len()) };
    }

    /// Whether bytes are these.
    pub(super) fn equals(&self, at: usize, bytes: &[u8]) -> bool {
        assert!(at + bytes.len() <= self.bytes());
        // SAFETY: as in `read`; the slice is gone before anybody else runs.
        let own = unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(at), bytes.len()) };
        own == bytes
    }

    /// The first bytes as a file's map.
    ///
    /// # Panics
    /// If there are not so many: our own fault.
    pub(super) fn map(self: &Arc<Self>, bytes: usize) -> FileMap {
        assert!(bytes <= self.bytes());
        let body = Box::new(Held(Arc::clone(self)));
        // SAFETY: the body keeps the memory; it is aligned to a page, may be read and written from any
        // thread, and never moves.
        unsafe { FileMap::new(self.start, bytes, body) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this very layout, and nobody has it any more.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

#[derive(Debug)]
struct Held(#[expect(dead_code, reason = "it keeps the memory")] Arc<Memory>);

impl MapBody for Held {
    fn advise_random(&self) -> io::Result<()> {
        Ok(())
    }
}
