//! The simulated disks: files in memory, of which it is known what a power cut would leave.
//!
//! A node has one; its agents use it through `SimDisk` as they use the machine's own.
//!
//! Always holds: what was synced survives; what was not survives or is lost by the seed, names in the order
//! in which they were made. A process that was killed, or a machine without power, does nothing more to it.
//! Does not: lose what was written where only the process ends.

mod file;
mod harm;
mod image;
mod memory;

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

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    File(usize),
    Folder,
}

/// A change of names that the disk may not have.
#[derive(Clone, Debug)]
struct NameChange {
    gone: Option<PathBuf>,
    made: Option<(PathBuf, Named)>,
}

impl NameChange {
    /// Whether syncing this folder makes the change survive.
    fn lies_in(&self, folder: &Path) -> bool {
        let path = self.made.as_ref().map(|(path, _)| path);
        path.or(self.gone.as_ref()).and_then(|path| path.parent()) == Some(folder)
    }

    /// Whether both are about one name.
    fn shares_a_name(&self, other: &Self) -> bool {
        let names = |change: &Self| {
            let made = change.made.as_ref().map(|(path, _)| path.clone());
            [change.gone.clone(), made]
        };
        let others = names(other);
        names(self)
            .iter()
            .flatten()
            .any(|name| others.iter().flatten().any(|it| it == name))
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, Named>) {
        if let Some(gone) = self.gone {
            names.remove(&gone);
            if let Some((path, Named::Folder)) = &self.made {
                // What is in a folder goes with it.
                let inside = names.range(gone.clone()..);
                let inside = inside.take_while(|(name, _)| name.starts_with(&gone));
                let inside: Vec<_> = inside.map(|(name, named)| (name.clone(), *named)).collect();
                for (name, named) in inside {
                    names.remove(&name);
                    names.insert(moved(&name, &gone, path), named);
                }
            }
        }
        if let Some((path, named)) = self.made {
            names.insert(path, named);
        }
    }
}

/// A path below `from`, once that is `to`.
fn moved(path: &Path, from: &Path, to: &Path) -> PathBuf {
    match path.strip_prefix(from) {
        Ok(rest) if rest.as_os_str().is_empty() => to.to_path_buf(),
        Ok(rest) => to.join(rest),
        Err(_) => path.to_path_buf(),
    }
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
    names: BTreeMap<PathBuf, Named>,
    kept_names: BTreeMap<PathBuf, Named>,
    changes: Vec<NameChange>,
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
            names: BTreeMap::from([(PathBuf::from("/"), Named::Folder)]),
            kept_names: BTreeMap::from([(PathBuf::from("/"), Named::Folder)]),
            changes: Vec::new(),
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
        let survive = self.chance.below(self.changes.len() + 1);
        let changes = std::mem::take(&mut self.changes);
        for change in changes.into_iter().take(survive) {
            change.apply(&mut self.kept_names);
        }
        // What lies in a folder that was lost is out of reach.
        let folders = self.kept_names.clone();
        let reachable = |path: &Path| {
            let mut above = path.ancestors().skip(1);
            above.all(|folder| folders.get(folder) == Some(&Named::Folder))
        };
        self.kept_names.retain(|path, _| reachable(path));
        self.names = self.kept_names.clone();
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
        let Some(Named::File(image)) = self.names.get(path) else {
            return None;
        };
        let image = &self.images[*image];
        let mut content = vec![0; image.bytes()];
        image.read(0, &mut content).then_some(content)
    }

    /// A digest of a part of a file, as it would be found after a power cut.
    pub(crate) fn kept_digest(&self, path: &Path, range: Range<usize>) -> Option<u64> {
        let Some(Named::File(image)) = self.kept_names.get(path) else {
            return None;
        };
        self.images[*image].kept().get(range).map(digest)
    }

    fn used(&self) -> usize {
        let named = self.names.values().filter_map(|named| match named {
            Named::File(image) => Some(self.images[*image].bytes()),
            Named::Folder => None,
        });
        named.sum()
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

    fn parent_is_there(&self, path: &Path) -> io::Result<()> {
        match path.parent().and_then(|folder| self.names.get(folder)) {
            Some(Named::Folder) => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn change(&mut self, gone: Option<&Path>, made: Option<(&Path, Named)>) {
        let change = NameChange {
            gone: gone.map(Path::to_path_buf),
            made: made.map(|(path, named)| (path.to_path_buf(), named)),
        };
        change.clone().apply(&mut self.names);
        self.changes.push(change);
    }

    fn open(&mut self, path: &Path, how: Open) -> io::Result<usize> {
        let found = match self.names.get(path) {
            Some(Named::Folder) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Named::File(image)) => Some(*image),
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
                self.parent_is_there(path)?;
                let image = self.images.len();
                self.images.push(Image::new(mode));
                self.change(None, Some((path, Named::File(image))));
                Ok(image)
            }
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let named = *self.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        self.parent_is_there(to)?;
        if named == Named::Folder {
            // What was changed in it, and is not kept yet, is now changed where it stands.
            for change in &mut self.changes {
                for path in [
                    change.gone.as_mut(),
                    change.made.as_mut().map(|it| &mut it.0),
                ] {
                    if let Some(path) = path.filter(|path| path.starts_with(from)) {
                        *path = moved(path, from, to);
                    }
                }
            }
        }
        self.change(Some(from), Some((to, named)));
        Ok(())
    }

    fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        if self.names.get(folder) != Some(&Named::Folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        for change in std::mem::take(&mut self.changes) {
            if change.lies_in(folder) {
                self.keep_what_comes_before(&change);
                change.apply(&mut self.kept_names);
            } else {
                self.changes.push(change);
            }
        }
        Ok(())
    }

    /// Keeps the earlier changes of the same names, and what those rest on: no disk keeps the later of two moves
    /// of a name without the earlier.
    fn keep_what_comes_before(&mut self, change: &NameChange) {
        let mut needed = vec![change.clone()];
        let mut kept = Vec::new();
        for earlier in std::mem::take(&mut self.changes).into_iter().rev() {
            if needed.iter().any(|it| it.shares_a_name(&earlier)) {
                needed.push(earlier.clone());
                kept.push(earlier);
            } else {
                self.changes.push(earlier);
            }
        }
        self.changes.reverse();
        for earlier in kept.into_iter().rev() {
            earlier.apply(&mut self.kept_names);
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
    fn names<'s>(&self, store: &'s Store) -> &'s BTreeMap<PathBuf, Named> {
        match self.looks {
            Looks::AsProgram | Looks::FromOutside => &store.names,
            Looks::AtKept => &store.kept_names,
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
        let image = match (self.looks, self.names(&store).get(path)) {
            (Looks::AtKept, Some(Named::File(image))) => *image,
            (Looks::AtKept, _) => return Err(io::ErrorKind::NotFound.into()),
            _ => store.open(path, how)?,
        };
        drop(store);
        Ok(Box::new(SimFile::new(self.clone(), image)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.enter("rename")?.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut store = self.enter("link")?;
        if store.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let named = *store.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        store.parent_is_there(to)?;
        store.change(None, Some((to, named)));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut store = self.enter("remove")?;
        match store.names.get(path) {
            Some(Named::File(_)) => {
                store.change(Some(path), None);
                Ok(())
            }
            Some(Named::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let store = self.enter("list")?;
        let names = self.names(&store);
        if names.get(folder) != Some(&Named::Folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let below = names.range(folder.to_path_buf()..).skip(1);
        let below = below.take_while(|(path, _)| path.starts_with(folder));
        let inside = below.filter(|(path, _)| path.parent() == Some(folder));
        Ok(inside.map(|(path, _)| path.clone()).collect())
    }

    fn create_folder(&self, path: &Path, _: Mode) -> io::Result<()> {
        let mut store = self.enter("create folder")?;
        if store.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        store.parent_is_there(path)?;
        store.change(None, Some((path, Named::Folder)));
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.enter("sync folder")?.sync_folder(folder)
    }

    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        let store = self.enter("entry")?;
        Ok(self.names(&store).get(path).map(|named| match named {
            Named::Folder => Entry::Folder,
            Named::File(image) => Entry::File {
                bytes: self.bytes(&store.images[*image]) as u64,
                mode: store.images[*image].mode,
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
