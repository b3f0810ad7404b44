//! An open file of a simulated disk.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::MutexGuard;

use exahour_journal::disk::{DiskFile, FileMap};

use super::memory::Memory;
use super::{Looks, SimDisk, Store};

/// A file that a process has open.
#[derive(Debug)]
pub(super) struct SimFile {
    disk: SimDisk,
    image: usize,
}

impl SimFile {
    pub(super) fn new(disk: SimDisk, image: usize) -> Self {
        Self { disk, image }
    }

    fn enter(&self, call: &'static str, at: u64, bytes: u64) -> io::Result<MutexGuard<'_, Store>> {
        self.disk.enter_at(call, at, bytes)
    }

    fn map(&self, bytes: usize, stores: bool) -> io::Result<FileMap> {
        let mut store = self.enter("map", 0, bytes as u64)?;
        let image = &mut store.images[self.image];
        if self.disk.looks == Looks::AtKept {
            let room = Memory::zeroed(bytes);
            let kept = image.kept().get(..bytes);
            room.write(0, kept.ok_or(io::ErrorKind::UnexpectedEof)?);
            return Ok(room.map(bytes));
        }
        if bytes > image.bytes() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(image.memory(stores).map(bytes))
    }
}

/// Places and lengths of simulated files fit into memory.
fn narrow(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl DiskFile for SimFile {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let store = self.enter("read", offset, bytes.len() as u64)?;
        if self.disk.looks == Looks::AtKept {
            let kept = store.images[self.image].kept();
            let part = kept
                .get(narrow(offset)?..)
                .and_then(|it| it.get(..bytes.len()));
            bytes.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
            return Ok(());
        }
        match store.images[self.image].read(narrow(offset)?, bytes) {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut store = self.enter("write", offset, bytes.len() as u64)?;
        let at = narrow(offset)?;
        store.check_room(self.image, at + bytes.len())?;
        store.images[self.image].write(at, bytes);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.enter("sync", 0, 0)?.sync(self.image)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        let mut store = self.enter("set length", 0, bytes)?;
        let bytes = narrow(bytes)?;
        store.check_room(self.image, bytes)?;
        store.images[self.image].set_bytes(bytes);
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        let store = self.enter("length", 0, 0)?;
        Ok(self.disk.bytes(&store.images[self.image]) as u64)
    }

    fn map_read(&self, bytes: usize) -> io::Result<FileMap> {
        self.map(bytes, false)
    }

    fn map_write(&self, bytes: usize) -> io::Result<FileMap> {
        self.map(bytes, true)
    }

    /// It has come to the disk by the next power cut, or has not.
    fn begin_write_back(&self, range: Range<u64>) {
        let Ok(mut store) = self.enter("write back", range.start, range.end) else {
            return;
        };
        if store.chance.coin() {
            let range = range.start as usize..range.end as usize;
            store.images[self.image].write_back_part(range);
        }
    }

    fn drop_cache(&self) {}

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
