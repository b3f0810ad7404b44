//! The io_uring body of the flush: the sync runs beside the calling thread.
//!
//! Used by `flush` when so configured. Probed when the log is opened, because containers often
//! forbid io_uring; the caller then gets an error that names the body to use instead. A file of which the
//! system has no handle is synced in the calling thread.
//!
//! Always holds: at most one sync is in the ring, and none when the body is dropped.

use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, Probe, opcode, types};

use crate::disk::DiskFile;
use crate::error::{JournalError, Result};
use crate::flush::{SyncBody, SyncState};

/// Only one sync is ever under way; the second entry is slack for the kernel.
const RING_ENTRIES: u32 = 2;

pub(crate) struct UringSync {
    ring: IoUring,
    running: bool,
}

impl std::fmt::Debug for UringSync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringSync")
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

impl UringSync {
    /// Sets the ring up, or says that this machine has none.
    pub(crate) fn new() -> Result<Self> {
        let unavailable = |source| JournalError::UringUnavailable { source };
        let ring = IoUring::new(RING_ENTRIES).map_err(unavailable)?;
        let mut probe = Probe::new();
        ring.submitter()
            .register_probe(&mut probe)
            .map_err(unavailable)?;
        if !probe.is_supported(opcode::Fsync::CODE) {
            return Err(unavailable(io::ErrorKind::Unsupported.into()));
        }
        Ok(UringSync {
            ring,
            running: false,
        })
    }

    fn reap(&mut self) -> Option<io::Result<()>> {
        let entry = self.ring.completion().next()?;
        self.running = false;
        Some(match entry.result() {
            0.. => Ok(()),
            errno => Err(io::Error::from_raw_os_error(-errno)),
        })
    }
}

impl SyncBody for UringSync {
    fn begin(&mut self, file: &dyn DiskFile) -> io::Result<()> {
        assert!(!self.running, "one sync at a time");
        let Some(fd) = file.fd() else {
            return file.sync_data();
        };
        let entry = opcode::Fsync::new(types::Fd(fd.as_raw_fd()))
            .flags(types::FsyncFlags::DATASYNC)
            .build();
        // SAFETY: the entry refers to no memory, only to a descriptor, of which the kernel takes a
        // reference when it is submitted below.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        pushed.map_err(|_| io::Error::other("the submission queue is full"))?;
        self.running = true;
        self.ring.submit().map(|_| ())
    }

    fn poll(&mut self) -> io::Result<SyncState> {
        if !self.running {
            return Ok(SyncState::Done);
        }
        match self.reap() {
            None => Ok(SyncState::Running),
            Some(result) => result.map(|()| SyncState::Done),
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        while self.running {
            if let Some(result) = self.reap() {
                return result;
            }
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Drop for UringSync {
    fn drop(&mut self) {
        // The result no longer matters: nobody was told that these bytes are durable.
        let _ = self.wait();
    }
}
