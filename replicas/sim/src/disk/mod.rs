//! The simulated disks: files in memory, of which it is known what a power cut would leave.
//!
//! A node has one; its agents use it through `SimDisk` as they use the machine's own.
//!
//! Always holds: what was synced survives; what was not survives or is lost by the seed. A process that was killed, or a machine without power, does nothing more to it.
//! Does not: lose what was written where only the process ends.

mod file;
mod harm;
mod image;
mod memory;
mod names;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use exahour_journal::disk::{Disk, DiskFile, DiskLock, Entry, Mode, Open};
use exahour_wire::units::{Nanos, PartsPerMillion};

use crate::chance::{Chance, Stream};
use crate::net::HostId;
use crate::trace::{Happening, Trace, digest};
use file::SimFile;
pub(crate) use harm::Harm;
use image::{Fate, Image, Sync};
use names::{Named, Names, Tree};

/// What a disk is like.
#[derive(Clone, Copy, Debug)]
pub struct Wear {
    /// The least and the most time that a flush takes.
    pub flush: (Nanos, Nanos),
    /// How often a flush takes much longer.
    pub slow: PartsPerMillion,
    /// How long a slow one takes, at most.
    pub slow_for: Nanos,
    /// How often a flush fails.
    pub fails: PartsPerMillion,
}

/// A flush that takes longer is one that a disk is slow with.
const SLOW: Nanos = Nanos(10_000_000);

/// Which run of a node's process may use its disk, counted from 1.
type Run = u32;

/// What a disk has done to its node so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Felt {
    /// Writes that found no room.
    pub refused: u64,
    /// Flushes that took as long as a slow one.
    pub slow: u64,
    /// Flushes that failed.
    pub failed: u64,
    /// Sectors that were damaged.
    pub harmed: u64,
    /// Power cuts over a call.
    pub deaths: u64,
}

impl std::ops::AddAssign for Felt {
    fn add_assign(&mut self, more: Self) {
        self.refused += more.refused;
        self.slow += more.slow;
        self.failed += more.failed;
        self.harmed += more.harmed;
        self.deaths += more.deaths;
    }
}

/// The disk of one node.
#[derive(Debug)]
pub(crate) struct Store {
    host: HostId,
    chance: Chance,
    trace: Trace,
    wear: Wear,
    images: Vec<Image>,
    names: Names,
    locks: BTreeMap<PathBuf, Run>,
    run: Run,
    boots: u64,
    /// Bytes that files may take together.
    room: usize,
    /// Calls until the power is cut, if it will be.
    calls_left: Option<u64>,
    /// Flushes that were asked for took so long since somebody last asked.
    cost: Nanos,
    /// The power was cut over a call.
    is_dead: bool,
    /// A flush has failed, or there was no room, since the process began.
    has_failed: bool,
    /// The next flush fails.
    fails_next: bool,
    /// Something that it had kept was damaged.
    harmed: bool,
    /// Something of the event log was damaged, and is not known to be whole again.
    events_are_bad: bool,
    events_harmed: u64,
    /// Which of two copies of the promises is damaged, if one is: the second.
    weak_copy: bool,
    felt: Felt,
}

/// A disk, shared by whoever has files of it open.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<Mutex<Store>>);

impl Shared {
    /// An empty disk of a machine that does not run yet.
    pub(crate) fn new(seed: u64, host: HostId, wear: Wear, trace: Trace) -> Self {
        let mut chance = Chance::new(seed, Stream::Disk, host.0 as u64);
        let weak_copy = chance.coin();
        Self(Arc::new(Mutex::new(Store {
            host,
            chance,
            trace,
            wear,
            images: Vec::new(),
            names: Names::new(),
            locks: BTreeMap::new(),
            run: 0,
            boots: 1,
            room: usize::MAX,
            calls_left: None,
            cost: Nanos(0),
            is_dead: false,
            has_failed: false,
            fails_next: false,
            harmed: false,
            events_are_bad: false,
            events_harmed: 0,
            weak_copy,
            felt: Felt::default(),
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk for a process that begins.
    pub(crate) fn begin_run(&self) -> SimDisk {
        let mut store = self.lock();
        store.run += 1;
        store.is_dead = false;
        store.has_failed = false;
        store.calls_left = None;
        SimDisk {
            store: self.clone(),
            run: store.run,
            looks: Looks::AsProgram,
        }
    }

    /// The disk for whoever looks on: its calls are no part of what happens.
    pub(crate) fn observe(&self) -> SimDisk {
        SimDisk {
            store: self.clone(),
            run: self.lock().run,
            looks: Looks::FromOutside,
        }
    }
}

impl Store {
    /// The process is killed: nothing that it wrote is lost.
    pub(crate) fn end_run(&mut self) {
        self.run += 1;
        self.locks.clear();
    }

    /// The machine loses its power.
    pub(crate) fn lose_power(&mut self) {
        self.end_run();
        self.boots += 1;
        self.names.lose_power(&mut self.chance);
        let fate = match self.chance.below(4) {
            0 => Fate::Kept,
            1 => Fate::Lost,
            _ => Fate::Torn,
        };
        for image in &mut self.images {
            image.lose_power(fate, &mut self.chance);
        }
    }

    /// Cuts the power over one of the next calls.
    pub(crate) fn die_in(&mut self, calls: u64) {
        self.calls_left = Some(calls);
    }

    /// Whether the power will be cut over one of the next calls.
    pub(crate) fn is_doomed(&self) -> bool {
        self.calls_left.is_some()
    }

    /// Whether the power was cut over a call.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead
    }

    /// Whether a flush has failed, or there was no room, since the process began.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Whether something that it had kept was damaged.
    pub(crate) fn is_harmed(&self) -> bool {
        self.harmed
    }

    /// Whether something of the event log was damaged, and is not known to be whole again.
    pub(crate) fn events_are_bad(&self) -> bool {
        self.events_are_bad
    }

    /// The event log is whole again.
    pub(crate) fn events_are_whole(&mut self) {
        self.events_are_bad = false;
    }

    /// How often the event log was damaged.
    pub(crate) fn events_harmed(&self) -> u64 {
        self.events_harmed
    }

    /// The next flush fails.
    pub(crate) fn fail_next(&mut self) {
        self.fails_next = true;
    }

    /// Neither fails nor dies from now on.
    pub(crate) fn spare(&mut self) {
        self.fails_next = false;
        self.calls_left = None;
    }

    /// What it has done to its node so far.
    pub(crate) fn felt(&self) -> Felt {
        self.felt
    }

    /// How long the calls since the last question took.
    pub(crate) fn take_cost(&mut self) -> Nanos {
        std::mem::take(&mut self.cost)
    }

    /// From now on so many more bytes find room; `None` for any number.
    pub(crate) fn set_room(&mut self, more: Option<usize>) {
        let used: usize = self.used();
        self.room = more.map_or(usize::MAX, |more| used + more);
    }

    /// From now on the disk is like this.
    pub(crate) fn set_wear(&mut self, wear: Wear) {
        self.wear = wear;
    }

    /// The whole of a file, as programs see it.
    pub(crate) fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let image = &self.images[self.names.seen().file_at(path)?];
        let mut content = vec![0; image.bytes()];
        image.read(0, &mut content).then_some(content)
    }

    /// A digest of a part of a file, as it would be found after a power cut.
    pub(crate) fn kept_digest(&self, path: &Path, range: Range<usize>) -> Option<u64> {
        let image = self.names.kept().file_at(path)?;
        self.images[image].kept().get(range).map(digest)
    }

    fn used(&self) -> usize {
        let files = self.names.seen().files().into_iter();
        files.map(|(_, image)| self.images[image].bytes()).sum()
    }

    /// Whether a process may go on, before each of its calls: the power may be cut over this very one.
    fn enter(&mut self, run: Run, call: &'static str, at: u64, bytes: u64) -> io::Result<()> {
        if let Some(left) = &mut self.calls_left {
            *left = left.saturating_sub(1);
            if *left == 0 && self.run == run {
                self.calls_left = None;
                self.is_dead = true;
                self.felt.deaths += 1;
                self.trace.note(Happening::DiskDied(self.host));
                self.lose_power();
            }
        }
        self.check_run(run)?;
        self.trace.note(Happening::Disk(self.host, call, at, bytes));
        Ok(())
    }

    fn check_run(&self, run: Run) -> io::Result<()> {
        match self.run == run {
            true => Ok(()),
            false => Err(io::Error::other("the machine has lost its power")),
        }
    }

    fn open(&mut self, path: &Path, how: Open) -> io::Result<usize> {
        let found = match self.names.seen().at(path) {
            Some(Named::Folder(_)) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Named::File(image)) => Some(image),
            None => None,
        };
        match (found, how) {
            (Some(image), Open::Emptied(_)) => {
                self.images[image].set_bytes(0);
                Ok(image)
            }
            (Some(image), _) => Ok(image),
            (None, Open::Read | Open::Write) => Err(io::ErrorKind::NotFound.into()),
            (None, Open::OrCreate(mode) | Open::Emptied(mode)) => {
                let image = self.images.len();
                self.names.make(path, Named::File(image))?;
                self.images.push(Image::new(mode));
                Ok(image)
            }
        }
    }

    fn sync(&mut self, image: usize) -> io::Result<()> {
        let (least, most) = self.wear.flush;
        let mut cost = self.chance.span(least, most);
        if self.chance.happens(self.wear.slow) {
            cost = self.chance.span(cost, self.wear.slow_for);
        }
        self.felt.slow += u64::from(cost > SLOW);
        self.cost = self.cost.after(cost);
        let fails = std::mem::take(&mut self.fails_next) || self.chance.happens(self.wear.fails);
        let how = if fails { Sync::Failed } else { Sync::Done };
        self.images[image].sync(how, &mut self.chance);
        if fails {
            self.has_failed = true;
            self.felt.failed += 1;
            return Err(io::Error::other("the disk does not answer"));
        }
        Ok(())
    }

    /// Whether a file may grow to so many bytes.
    fn check_room(&mut self, image: usize, bytes: usize) -> io::Result<()> {
        let own = self.images[image].bytes();
        if self.room != usize::MAX && bytes > own && self.used() - own + bytes > self.room {
            self.has_failed = true;
            self.felt.refused += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

/// A node's disk as one run of its process has it.
#[derive(Clone, Debug)]
pub(crate) struct SimDisk {
    store: Shared,
    run: Run,
    looks: Looks,
}

/// Who uses a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looks {
    AsProgram,
    FromOutside,
    /// From outside, at what a power cut would leave at least.
    AtKept,
}

impl SimDisk {
    fn enter(&self, call: &'static str) -> io::Result<MutexGuard<'_, Store>> {
        self.enter_at(call, 0, 0)
    }

    fn enter_at(
        &self,
        call: &'static str,
        at: u64,
        bytes: u64,
    ) -> io::Result<MutexGuard<'_, Store>> {
        let mut store = self.store.lock();
        match self.looks {
            Looks::AsProgram => store.enter(self.run, call, at, bytes)?,
            // Whoever looks on sees a disk whether its machine runs or not.
            Looks::FromOutside | Looks::AtKept => {}
        }
        Ok(store)
    }

    /// The names that can be seen from here.
    fn names<'s>(&self, store: &'s Store) -> &'s Tree {
        match self.looks {
            Looks::AsProgram | Looks::FromOutside => store.names.seen(),
            Looks::AtKept => store.names.kept(),
        }
    }

    fn bytes(&self, image: &Image) -> usize {
        match self.looks {
            Looks::AsProgram | Looks::FromOutside => image.bytes(),
            Looks::AtKept => image.kept().len(),
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let mut store = self.enter("open")?;
        let image = match self.looks {
            Looks::AtKept => {
                let found = store.names.kept().file_at(path);
                found.ok_or(io::ErrorKind::NotFound)?
            }
            _ => store.open(path, how)?,
        };
        drop(store);
        Ok(Box::new(SimFile::new(self.clone(), image)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.enter("rename")?.names.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut store = self.enter("link")?;
        if store.names.seen().at(to).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let named = store.names.seen().at(from);
        store.names.make(to, named.ok_or(io::ErrorKind::NotFound)?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut store = self.enter("remove")?;
        match store.names.seen().at(path) {
            Some(Named::File(_)) => store.names.remove(path),
            Some(Named::Folder(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let store = self.enter("list")?;
        let listed = self.names(&store).list(folder);
        listed.ok_or(io::ErrorKind::NotFound.into())
    }

    fn create_folder(&self, path: &Path, _: Mode) -> io::Result<()> {
        let mut store = self.enter("create folder")?;
        if store.names.seen().at(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        store.names.make_folder(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.enter("sync folder")?.names.sync(folder)
    }

    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        let store = self.enter("entry")?;
        Ok(self.names(&store).at(path).map(|named| match named {
            Named::Folder(_) => Entry::Folder,
            Named::File(image) => Entry::File {
                bytes: self.bytes(&store.images[image]) as u64,
                mode: store.images[image].mode,
            },
        }))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        let mut store = self.enter("lock")?;
        store.open(path, Open::OrCreate(Mode::FILE))?;
        if store.locks.contains_key(path) {
            return Ok(None);
        }
        store.locks.insert(path.to_path_buf(), self.run);
        Ok(Some(Box::new(SimLock {
            disk: self.clone(),
            path: path.to_path_buf(),
        })))
    }

    fn boot_id(&self) -> [u8; 16] {
        let store = self.store.lock();
        let boots = store.boots + u64::from(self.looks == Looks::AtKept);
        let mut id = [0x55; 16];
        id[..8].copy_from_slice(&boots.to_le_bytes());
        id[8..].copy_from_slice(&(store.host.0 as u64).to_le_bytes());
        id
    }

    fn random_bytes(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.enter("random bytes")?.chance.fill(bytes);
        Ok(())
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut store = self.disk.store.lock();
        if store.locks.get(&self.path) == Some(&self.disk.run) {
            store.locks.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests;
