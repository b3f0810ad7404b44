//! What a courier brought is put in place when the node opens again.
//!
//! ```text
//! 0  the snapshot is read and verified: where it cannot be used, all of this is left out
//! 1  journal     a restart mark: what follows begins behind the snapshot
//! 2  promises    the base, and the members that came
//! 3  snapshots/  the snapshot, standing on the mark
//! 4  events/     the events that came follow those that are there, or take their place; the views of a log that is
//!                replaced are removed first
//! 5  incoming/   is emptied, what says that it is whole first
//! ```
//! Called by `on_disk` at every start, before the event log is opened.
//!
//! Always holds: every step can be repeated, and all are where a crash came in between; before the last one
//! nothing that came is given up. The journal is not superseded by what it is already past, nor by what
//! cannot be read.

mod events;

use std::path::Path;

use exahour_journal::disk::Disk;
use exahour_journal::{
    Appender, Config as LogConfig, FRAME_ALIGN, FRAME_HEADER_BYTES, Journal, Position, Reader,
};

use self::events::{Came, Own};
use crate::couriers::{INCOMING, Manifest, arrived, remove_arrived};
use crate::error::NodeError;
use crate::hard_state::{Base, HardStateFile};
use crate::snapshots::{self, SnapshotFile, adopt};
use crate::views;

/// Puts in place what has arrived, if anything has that is of use; the entry that the node goes on behind
/// then. What cannot be read is removed with a `notice`: the leader sends it again where it is needed.
///
/// # Errors
/// [`NodeError`]; what arrived is still there, and the next start goes on.
pub(crate) fn install(
    (data, events): (&Path, &LogConfig),
    journal: &mut Journal,
    reader: &Reader,
    promises: &mut HardStateFile,
    notice: fn(&str),
) -> Result<Option<u64>, NodeError> {
    let disk = &events.disk;
    let Some((manifest, path)) = arrived(disk.as_ref(), data)? else {
        return Ok(None);
    };
    let appender = &mut journal.appender;
    let log = NodeError::log("journal");
    let marked = appender.first_index().is_none() && appender.last_index() == manifest.index;
    if !marked && is_past(appender, &promises.kept().base, &manifest) {
        remove_arrived(disk.as_ref(), data)?;
        return Ok(None);
    }
    let Parcel {
        snapshot,
        came,
        own,
    } = match read_parcel((data, events), &path, &manifest)? {
        Ok(parcel) => parcel,
        Err(reason) => {
            notice(&format!(
                "{} came from another node and cannot be used: {reason}; this node goes on with its journal",
                data.join(INCOMING).display()
            ));
            remove_arrived(disk.as_ref(), data)?;
            return Ok(None);
        }
    };
    if !marked {
        // Terms grow by one an election; four billion of them never come.
        let term = manifest.term as u32;
        appender.restart_after(manifest.index, term).map_err(&log)?;
    }
    let end = journal.flusher.flush().map_err(&log)?;
    let mark_bytes = (FRAME_HEADER_BYTES as u64).next_multiple_of(FRAME_ALIGN);
    let mark = reader
        .frame_at(Position::new(end.value() - mark_bytes))
        .map_err(&log)?;
    let folder = snapshots::open_folder(disk.as_ref(), data)?;
    let place = adopt((disk, &folder), snapshot, &mark)?;
    let base = Base {
        index: place.index,
        term: u64::from(place.term),
        command: place.command,
        time_ns: place.time_ns,
    };
    promises.begin_behind(base, &manifest.members)?;
    match (came, own) {
        (Some(came), Some(own)) => came.follow(own)?,
        (Some(came), None) => {
            views::remove_all(disk.as_ref(), &data.join(views::FOLDER))?;
            came.replace(data, manifest.index)?;
        }
        (None, _) => {}
    }
    remove_arrived(disk.as_ref(), data)?;
    Ok(Some(manifest.index))
}

/// Whether the journal has the entry that a snapshot stands behind, or had it: it was released since, or an
/// earlier snapshot stands for it.
fn is_past(appender: &Appender, base: &Base, manifest: &Manifest) -> bool {
    let has = appender.term_of(manifest.index).map(u64::from) == Some(manifest.term);
    let released = appender
        .first_index()
        .is_some_and(|first| first > manifest.index);
    has || released || base.index >= manifest.index
}

/// What arrived, read and found fit.
struct Parcel<'a> {
    snapshot: SnapshotFile,
    came: Option<Came<'a>>,
    /// This node's own events, where those that came follow them.
    own: Option<Own>,
}

/// Reads and verifies what arrived; what is wrong with it, in words.
fn read_parcel<'a>(
    (data, events): (&Path, &'a LogConfig),
    path: &Path,
    manifest: &Manifest,
) -> Result<Result<Parcel<'a>, String>, NodeError> {
    let read = read_of(events.disk.as_ref(), path, manifest);
    let came = || Came::read(events, data, manifest.segment_bytes);
    let read = read.and_then(|snapshot| Ok((snapshot, came()?)));
    let (snapshot, came) = match read {
        Ok(read) => read,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut own = None;
    if let Some(came) = came.as_ref().filter(|it| !it.can_replace()) {
        // On disk before the journal is given up that would give them again.
        let open = came.open_own()?;
        if !came.joins(&open) {
            let reason = "this node lacks events before those that came".to_owned();
            return Ok(Err(reason));
        }
        own = Some(came.agree(open)?);
    }
    Ok(Ok(Parcel {
        snapshot,
        came,
        own,
    }))
}

/// Reads and verifies the snapshot that a manifest announced; what is wrong with it, in words.
fn read_of(disk: &dyn Disk, path: &Path, manifest: &Manifest) -> Result<SnapshotFile, String> {
    let snapshot = SnapshotFile::read(disk, path)?;
    let place = &snapshot.place;
    match (place.index, u64::from(place.term)) == (manifest.index, manifest.term) {
        true => Ok(snapshot),
        false => Err("it is not the one that was announced".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use exahour_journal::disk::SystemDisk;
    use exahour_journal::{Config, FrameMeta, LogId, Verify};

    use super::*;
    use crate::hard_state::Promises;
    use crate::members::Members;

    struct Trial {
        folder: tempfile::TempDir,
        disk: Arc<dyn Disk>,
        journal: Journal,
        promises: HardStateFile,
    }

    impl Trial {
        /// A node with so many entries in segments of 64 KiB, for which a parcel has come whose snapshot is
        /// damaged.
        fn new(entries: u64, arrived_behind: u64) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
            let path = folder.path().join("journal");
            let config = Config::new(path, LogId([7; 16])).with_segment_bytes(65_536);
            let mut journal = Journal::create(&config).unwrap();
            for index in 1..=entries {
                let meta = FrameMeta {
                    index,
                    term: 1,
                    ..FrameMeta::default()
                };
                journal.appender.append(&meta, &[&[0; 1_000]]).unwrap();
            }
            journal.flusher.flush().unwrap();
            let path = folder.path().join("raft-state");
            let promises = HardStateFile::open(disk.as_ref(), &path, &Promises::default()).unwrap();
            let incoming = folder.path().join(INCOMING);
            std::fs::create_dir(&incoming).unwrap();
            std::fs::write(incoming.join("snapshot"), b"EXAHSNP1 and no more").unwrap();
            let mut manifest = Vec::new();
            let came = Manifest {
                index: arrived_behind,
                term: 1,
                snapshot_bytes: 20,
                events: (0, 0),
                segment_bytes: 65_536,
                members: Members::default(),
            };
            came.pack(&mut manifest);
            manifest.extend_from_slice(blake3::hash(&manifest).as_bytes());
            std::fs::write(incoming.join("arrived"), &manifest).unwrap();
            Self {
                folder,
                disk,
                journal,
                promises,
            }
        }

        fn install(&mut self, notice: fn(&str)) -> Option<u64> {
            let data = self.folder.path();
            let path = data.join("journal");
            let reader = Reader::follow_on(&self.disk, &path, Verify::Trust).unwrap();
            let (journal, promises) = (&mut self.journal, &mut self.promises);
            let events = Config::new(data.join("events"), LogId([7; 16]));
            install((data, &events), journal, &reader, promises, notice).unwrap()
        }

        fn waits(&self) -> bool {
            let waits = arrived(self.disk.as_ref(), self.folder.path()).unwrap();
            waits.is_some()
        }
    }

    #[test]
    fn a_snapshot_that_cannot_be_read_costs_nothing_of_the_journal() {
        let mut trial = Trial::new(10, 50);
        assert!(trial.waits());
        assert_eq!(trial.install(|_| {}), None);
        let appender = &trial.journal.appender;
        assert_eq!(
            (appender.first_index(), appender.last_index()),
            (Some(1), 10)
        );
        assert!(!trial.waits());
        assert_eq!(trial.promises.kept().base, Base::default());
    }

    #[test]
    fn a_snapshot_of_an_entry_that_was_released_since_is_not_gone_back_to() {
        let mut trial = Trial::new(200, 5);
        let appender = &mut trial.journal.appender;
        appender.release_before(appender.appended());
        let first = appender.first_index().unwrap();
        assert!(first > 5);
        assert_eq!(
            trial.install(|why| panic!("it is not even read: {why}")),
            None
        );
        let appender = &trial.journal.appender;
        assert_eq!(
            (appender.first_index(), appender.last_index()),
            (Some(first), 200)
        );
        assert!(!trial.waits());
    }

    #[test]
    fn a_snapshot_before_the_one_that_the_journal_begins_behind_is_not_gone_back_to() {
        let mut trial = Trial::new(10, 50);
        trial.journal.appender.restart_after(60, 2).unwrap();
        let base = Base {
            index: 60,
            term: 2,
            command: 1,
            time_ns: 1,
        };
        trial
            .promises
            .begin_behind(base, &Members::default())
            .unwrap();
        assert_eq!(
            trial.install(|why| panic!("it is not even read: {why}")),
            None
        );
        assert_eq!(trial.journal.appender.last_index(), 60);
        assert!(!trial.waits());
    }
}
