//! Damage to what a disk had kept: bits that turn, and writes and reads that go to another place.
//!
//! Done by `faults`, to fewer nodes than a quorum needs, so that every committed entry stays whole somewhere.
//!
//! Always holds: only those files are harmed of which a node can tell that they are: frames that its own
//! evidence, as a power cut would leave it, proves to have been flushed; snapshots; and one of the two copies
//! of its promises; and of an event log frames that are whole, of any node whose journal gives them again. Does
//! not: harm what no checksum covers (the keys, the identity, the marks of a log), or
//! what only the disk's own word says is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use exahour_journal::disk::Disk;
use exahour_journal::{Verify, inspect_on};

use super::image::{SECTOR, Shows};
use super::{Looks, Shared, SimDisk, Store};
use crate::trace::Happening;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Bits of a sector turn.
    Rot,
    /// A sector went to the place of another: that one is overwritten, and what was there before is where
    /// it should have gone.
    WriteAstray,
    /// A place shows what stands at another one, until the machine starts anew.
    ReadAstray,
}

/// A sector of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    image: usize,
    sector: usize,
}

/// The sectors of a node's files that may be harmed.
#[derive(Debug, Default)]
struct Places {
    journal: Vec<Place>,
    snapshots: Vec<Place>,
    promises: Vec<Place>,
}

impl Shared {
    /// Harms something that a node keeps in its data folder; whether there was anything.
    pub(crate) fn harm(&self, harm: Harm, data: &Path) -> bool {
        let places = self.places(data);
        self.lock().harm(harm, &places)
    }

    /// Turns bits of an event log, or puts another part of it in their place; whether there was anything.
    pub(crate) fn harm_events(&self, data: &Path) -> bool {
        let view: Arc<dyn Disk> = Arc::new(self.after_power_cut());
        let folder = data.join("events");
        let whole = inspect_on(view.as_ref(), &folder, Verify::Trust);
        let whole = whole.map_or(0, |found| found.appended.value());
        let listed = view.list(&folder).unwrap_or_default().into_iter();
        let segments = listed.filter_map(|path| {
            let start = path.file_name()?.to_str()?.strip_suffix(".log")?;
            let start = start.parse::<u64>().ok()?;
            Some((path, whole.saturating_sub(start) as usize))
        });
        let segments: Vec<_> = segments.collect();
        let mut store = self.lock();
        let places = segments
            .iter()
            .flat_map(|(path, bytes)| store.sectors(path, *bytes));
        let places: Vec<Place> = places
            .filter(|place| store.images[place.image].is_clean(place.sector))
            .collect();
        store.harm_events(&places)
    }

    fn places(&self, data: &Path) -> Places {
        let view: Arc<dyn Disk> = Arc::new(self.after_power_cut());
        let journal = data.join("journal");
        let proven = inspect_on(view.as_ref(), &journal, Verify::Trust);
        let proven = proven.map_or(0, |found| found.durable.value());
        let list = |folder: &str| view.list(&data.join(folder)).unwrap_or_default();
        let segments = list("journal").into_iter().filter_map(|path| {
            let start = path.file_name()?.to_str()?.strip_suffix(".log")?;
            let start = start.parse::<u64>().ok()?;
            Some((path, proven.saturating_sub(start) as usize))
        });
        let snapshots = list("snapshots").into_iter();
        let store = self.lock();
        let slot = 8 * usize::from(store.weak_copy);
        let promises = store.sectors(&data.join("raft-state"), usize::MAX);
        Places {
            journal: segments
                .flat_map(|(path, bytes)| store.sectors(&path, bytes))
                .collect(),
            snapshots: snapshots
                .flat_map(|path| store.sectors(&path, usize::MAX))
                .collect(),
            promises: promises
                .filter(|place| (slot..slot + 8).contains(&place.sector))
                .collect(),
        }
    }

    /// The disk as a process would find it after a power cut now that takes everything it may.
    fn after_power_cut(&self) -> SimDisk {
        SimDisk {
            store: self.clone(),
            run: self.lock().run,
            looks: Looks::AtKept,
        }
    }
}

impl Store {
    /// The whole sectors among the first bytes of a file that has this name now and after a power cut.
    fn sectors(&self, path: &Path, bytes: usize) -> impl Iterator<Item = Place> + use<> {
        let kept = self.names.kept().file_at(path);
        let image = self.names.seen().file_at(path);
        let image = image.filter(|image| kept == Some(*image));
        let there = image.map_or(0, |image| self.images[image].kept().len());
        let count = there.min(bytes) / SECTOR;
        let image = image.unwrap_or_default();
        (0..count).map(move |sector| Place { image, sector })
    }

    fn harm(&mut self, harm: Harm, places: &Places) -> bool {
        let classes = [
            &places.journal,
            &places.journal,
            &places.snapshots,
            &places.promises,
        ];
        let chosen = classes[self.chance.below(classes.len())];
        if chosen.is_empty() {
            return false;
        }
        let place = chosen[self.chance.below(chosen.len())];
        // A copy of the promises is never harmed unseen: the other one may be torn later.
        let unseen = !std::ptr::eq(chosen, &places.promises) && self.chance.coin();
        let clean = self.images[place.image].is_clean(place.sector);
        let shows = match unseen || !clean {
            true => Shows::Later,
            false => Shows::AtOnce,
        };
        let done = match harm {
            Harm::Rot => {
                let content = self.rotten(place);
                self.put(place, &content, shows)
            }
            Harm::WriteAstray => self.write_astray(place, &places.journal, shows),
            Harm::ReadAstray => {
                let other = chosen[self.chance.below(chosen.len())];
                let content = self.kept_sector(other);
                clean && self.put(place, &content, Shows::UntilRestart)
            }
        };
        if done {
            self.harmed = true;
            self.felt.harmed += 1;
            self.note_harm(place, format!("{harm:?}"));
        }
        done
    }

    fn harm_events(&mut self, places: &[Place]) -> bool {
        if places.is_empty() {
            return false;
        }
        let [place, other] = [(); 2].map(|()| places[self.chance.below(places.len())]);
        let content = match self.chance.coin() {
            true => self.rotten(place),
            false => self.kept_sector(other),
        };
        let done = self.put(place, &content, Shows::AtOnce);
        if done {
            self.events_harmed += 1;
            self.events_are_bad = true;
            self.note_harm(place, "Events".to_owned());
        }
        done
    }

    /// A sector of which some bits have turned.
    fn rotten(&mut self, place: Place) -> [u8; SECTOR] {
        let mut content = self.kept_sector(place);
        for _ in 0..=self.chance.below(3) {
            content[self.chance.below(SECTOR)] ^= 1 << self.chance.below(8);
        }
        content
    }

    fn note_harm(&self, place: Place, how: String) {
        let path = self.name_of(place.image);
        let at = (place.sector * SECTOR) as u64;
        self.trace.note(Happening::Harmed(self.host, path, at, how));
    }

    /// What was meant for a place of the journal goes to `place`.
    fn write_astray(&mut self, place: Place, journal: &[Place], shows: Shows) -> bool {
        if journal.is_empty() {
            return false;
        }
        let meant = journal[self.chance.below(journal.len())];
        let content = self.kept_sector(meant);
        let lands = meant != place && self.put(place, &content, shows);
        if lands {
            // Segments are zeros before they are written.
            self.put(meant, &[0; SECTOR], Shows::Later);
        }
        lands
    }

    fn kept_sector(&self, place: Place) -> [u8; SECTOR] {
        self.images[place.image].kept_sector(place.sector)
    }

    /// Whether that changes anything.
    fn put(&mut self, place: Place, content: &[u8; SECTOR], shows: Shows) -> bool {
        let changes = self.kept_sector(place) != *content;
        self.images[place.image].harm(place.sector, content, shows);
        changes
    }

    fn name_of(&self, image: usize) -> PathBuf {
        let mut files = self.names.seen().files().into_iter();
        let named = files.find(|(_, file)| *file == image);
        named.map(|(path, _)| path).unwrap_or_default()
    }
}
