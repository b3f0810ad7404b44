//! The machine's own disk: each call is the system call of its name.
//!
//! The real body of [`Disk`](super::Disk), and the only place of this crate that knows the system's files.
//!
//! Always holds: nothing is buffered on the way; a lock is the system's, so it is given back when the
//! process ends in any way.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::{Disk, DiskFile, DiskLock, Entry, FileMap, MapBody, Mode, Open};

/// The machine's own disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => &mut options,
            Open::Write => options.write(true),
            Open::OrCreate(Mode(mode)) => options.write(true).create(true).mode(mode),
            Open::Emptied(Mode(mode)) => options.write(true).create(true).truncate(true).mode(mode),
        };
        Ok(Box::new(SystemFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
        paths.sort_unstable();
        Ok(paths)
    }

    fn create_folder(&self, path: &Path, Mode(mode): Mode) -> io::Result<()> {
        DirBuilder::new().mode(mode).create(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        let about = match fs::metadata(path) {
            // A file on the way there is nothing there, either.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
            about => about?,
        };
        Ok(Some(match about.is_dir() {
            true => Entry::Folder,
            false => Entry::File {
                bytes: about.len(),
                mode: Mode(about.permissions().mode() & 0o7777),
            },
        }))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(SystemLock { _file: file }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn boot_id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let mut digits = text.bytes().filter_map(|byte| (byte as char).to_digit(16));
        for byte in &mut id {
            if let (Some(high), Some(low)) = (digits.next(), digits.next()) {
                *byte = (high * 16 + low) as u8;
            }
        }
        id
    }

    fn random_bytes(&self, bytes: &mut [u8]) -> io::Result<()> {
        File::open("/dev/urandom")?.read_exact(bytes)
    }
}

/// Held while its file is open.
#[derive(Debug)]
struct SystemLock {
    _file: File,
}

impl DiskLock for SystemLock {}

/// A file of the system.
#[derive(Debug)]
struct SystemFile(File);

impl DiskFile for SystemFile {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn map_read(&self, bytes: usize) -> io::Result<FileMap> {
        MmapOptions::new()
            .len(bytes)
            .map_raw_read_only(&self.0)
            .map(SystemMap::hold)
    }

    fn map_write(&self, bytes: usize) -> io::Result<FileMap> {
        MmapOptions::new()
            .len(bytes)
            .map_raw(&self.0)
            .map(SystemMap::hold)
    }

    fn begin_write_back(&self, range: Range<u64>) {
        let (Ok(start), Ok(bytes)) = (
            i64::try_from(range.start),
            i64::try_from(range.end.saturating_sub(range.start)),
        ) else {
            return;
        };
        // SAFETY: a plain system call on a descriptor that `self` owns; no memory is involved. Its result
        // is not looked at: it is a hint.
        unsafe {
            let fd = self.0.as_raw_fd();
            libc::sync_file_range(fd, start, bytes, libc::SYNC_FILE_RANGE_WRITE);
        }
    }

    fn drop_cache(&self) {
        // SAFETY: as above.
        unsafe {
            libc::posix_fadvise(self.0.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED);
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

/// A map of the system's.
#[derive(Debug)]
struct SystemMap(MmapRaw);

impl SystemMap {
    fn hold(map: MmapRaw) -> FileMap {
        let (start, bytes) = (map.as_mut_ptr(), map.len());
        let Some(start) = NonNull::new(start) else {
            unreachable!("the system maps nothing at address zero")
        };
        // SAFETY: `MmapRaw` keeps `bytes` bytes from `start` on mapped until it is dropped, page-aligned;
        // it stays where it is when it moves into the box.
        unsafe { FileMap::new(start, bytes, Box::new(SystemMap(map))) }
    }
}

impl MapBody for SystemMap {
    fn advise_random(&self) -> io::Result<()> {
        self.0.advise(Advice::Random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_shows_in_every_map_and_handle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let refused = SystemDisk.open(&path, Open::Write).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
        let file = SystemDisk.open(&path, Open::Emptied(Mode::FILE)).unwrap();
        file.set_bytes(8192).unwrap();
        let map = SystemDisk
            .open(&path, Open::Read)
            .unwrap()
            .map_read(8192)
            .unwrap();
        file.write_all_at(b"word", 5000).unwrap();
        assert_eq!(map.bytes(), 8192);
        let mut seen = [0; 4];
        // SAFETY: the map has these bytes, and nobody writes to them meanwhile.
        unsafe { std::ptr::copy(map.as_ptr().add(5000), seen.as_mut_ptr(), 4) };
        assert_eq!(&seen, b"word");
        drop(file);
        let again = SystemDisk.open(&path, Open::OrCreate(Mode::FILE)).unwrap();
        assert_eq!(again.bytes().unwrap(), 8192, "it was not emptied");
        assert_eq!(SystemDisk.read(&path).unwrap()[5000..5004], *b"word");
    }

    #[test]
    fn names_are_given_moved_and_taken() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let inner = at("inner");
        SystemDisk
            .create_folder(&inner, Mode::OWNER_FOLDER)
            .unwrap();
        let twice = SystemDisk.create_folder(&inner, Mode::FOLDER).unwrap_err();
        assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(SystemDisk.entry(&inner).unwrap(), Some(Entry::Folder));
        let mode = fs::metadata(&inner).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let file = SystemDisk
            .open(&at("b"), Open::Emptied(Mode::OWNER_FILE))
            .unwrap();
        file.write_all_at(b"12", 0).unwrap();
        SystemDisk.link(&at("b"), &at("c")).unwrap();
        let taken = SystemDisk.link(&at("b"), &at("c")).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        SystemDisk.rename(&at("b"), &at("a")).unwrap();
        let (bytes, mode) = (2, Mode::OWNER_FILE);
        let found = SystemDisk.entry(&at("a")).unwrap();
        assert_eq!(found, Some(Entry::File { bytes, mode }));
        let listed = SystemDisk.list(folder.path()).unwrap();
        assert_eq!(listed, [at("a"), at("c"), inner]);
        SystemDisk.remove(&at("c")).unwrap();
        assert!(!SystemDisk.exists(&at("c")) && SystemDisk.exists(&at("a")));
        SystemDisk.sync_folder(folder.path()).unwrap();
    }

    #[test]
    fn a_lock_has_one_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = SystemDisk.lock(&path).unwrap();
        assert!(held.is_some());
        assert!(SystemDisk.lock(&path).unwrap().is_none());
        drop(held);
        assert!(SystemDisk.lock(&path).unwrap().is_some());
    }

    #[test]
    fn chance_and_the_run_of_the_machine_are_the_systems() {
        let (mut one, mut other) = ([0; 32], [0; 32]);
        SystemDisk.random_bytes(&mut one).unwrap();
        SystemDisk.random_bytes(&mut other).unwrap();
        assert_ne!(one, other);
        assert_eq!(SystemDisk.boot_id(), SystemDisk.boot_id());
    }
}
