//! The disk as a log and a node see it: files, folders, maps, and what survives a power cut.
//!
//! Everything that is kept goes through [`Disk`]: the segments of a log, and whatever else a node has in
//! its folder. [`SystemDisk`] is the machine's own; a simulation brings another, of which it can say what
//! was flushed and what was not.
//!
//! Always holds: what was written is visible to every handle and map of the file at once; it survives the
//! machine once a sync has returned, and a name once its folder is synced. A file that is mapped is made
//! neither longer nor shorter.
//! Does not: retry, buffer, or choose anything; a caller that needs an order of writes makes it by syncs.

mod map;
mod system;

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use map::{FileMap, MapBody};
pub use system::SystemDisk;

/// Who may use a new file or folder: the lower bits of a Unix mode, before the process's own mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

impl Mode {
    /// A file that everybody may read and write, as far as the mask and its folder let them.
    pub const FILE: Mode = Mode(0o666);
    /// A file that only its owner may read and write.
    pub const OWNER_FILE: Mode = Mode(0o600);
    /// A folder that everybody may use, as far as the mask lets them.
    pub const FOLDER: Mode = Mode(0o777);
    /// A folder that only its owner may use.
    pub const OWNER_FOLDER: Mode = Mode(0o700);
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It is there, and is only read.
    Read,
    /// It is there, and is read and written.
    Write,
    /// It is made if it is not there, and read and written.
    OrCreate(Mode),
    /// It is made, or emptied if it is there, and read and written.
    Emptied(Mode),
}

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file.
    File {
        /// Its length.
        bytes: u64,
        /// Who may use it.
        mode: Mode,
    },
    /// A folder.
    Folder,
}

/// A place where files are kept.
pub trait Disk: Debug + Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where it has to be there and is not; [`io::ErrorKind::StorageFull`].
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file or folder another name, in place of a file that had it.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name, which nobody has yet.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`], [`io::ErrorKind::NotFound`].
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Who has it open or mapped keeps it.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`].
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// What lies in a folder, as whole paths in the order of their names.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`].
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// Makes one folder, whose parent is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`], [`io::ErrorKind::NotFound`].
    fn create_folder(&self, path: &Path, mode: Mode) -> io::Result<()>;

    /// Makes the names in a folder survive the machine.
    ///
    /// # Errors
    /// What the system says; the names may be lost.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// What stands under a name, if anything.
    ///
    /// # Errors
    /// What the system says, except that nothing is there.
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>>;

    /// Takes the lock that a file stands for, which is made if need be; `None` where another holder has
    /// it. It is given back when the holder drops it or ends in any way.
    ///
    /// # Errors
    /// What the system says.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>>;

    /// Tells one run of the machine from the next; zeros where the machine does not say.
    fn boot_id(&self) -> [u8; 16];

    /// Fills `bytes` with what nobody can guess.
    ///
    /// # Errors
    /// What the system says.
    fn random_bytes(&self, bytes: &mut [u8]) -> io::Result<()>;

    /// Whether something stands under a name, as far as the system lets this process see.
    fn exists(&self, path: &Path) -> bool {
        matches!(self.entry(path), Ok(Some(_)))
    }

    /// The whole of a file that nobody makes shorter meanwhile.
    ///
    /// # Errors
    /// As [`Disk::open`].
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, Open::Read)?;
        let bytes = usize::try_from(file.bytes()?).map_err(io::Error::other)?;
        let mut content = vec![0; bytes];
        file.read_exact_at(&mut content, 0)?;
        Ok(content)
    }
}

/// A lock on a folder, held until it is dropped.
pub trait DiskLock: Debug + Send + Sync {}

/// An open file.
pub trait DiskFile: Debug + Send + Sync {
    /// Fills `bytes` from a place in the file.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where the file ends before.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` to a place in the file, which grows to hold them.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`], after which any part of them may be written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written, and the length, survive the machine.
    ///
    /// # Errors
    /// What the system says. What the disk holds is unknown then, and another sync proves nothing.
    fn sync_data(&self) -> io::Result<()>;

    /// The same for everything that is kept of the file.
    ///
    /// # Errors
    /// As [`DiskFile::sync_data`].
    fn sync_all(&self) -> io::Result<()>;

    /// Makes the file longer, by zeros, or shorter.
    ///
    /// # Errors
    /// What the system says.
    fn set_bytes(&self, bytes: u64) -> io::Result<()>;

    /// How long the file is.
    ///
    /// # Errors
    /// What the system says.
    fn bytes(&self) -> io::Result<u64>;

    /// Maps the first `bytes` of the file, which it has, for reading.
    ///
    /// # Errors
    /// What the system says.
    fn map_read(&self, bytes: usize) -> io::Result<FileMap>;

    /// Maps the first `bytes` of the file, which it has, for reading and writing.
    ///
    /// # Errors
    /// What the system says.
    fn map_write(&self, bytes: usize) -> io::Result<FileMap>;

    /// Sends what was written in a range on its way to the disk without waiting. A hint: it promises
    /// nothing, and what goes wrong with it shows at the next sync.
    fn begin_write_back(&self, range: Range<u64>);

    /// Lets the system forget its copies of what is on disk. A hint.
    fn drop_cache(&self);

    /// The system's own handle, for calls that go around this trait; none where there is no such thing.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
}

/// The machine's own disk, ready to be shared.
pub fn system_disk() -> Arc<dyn Disk> {
    Arc::new(SystemDisk)
}
