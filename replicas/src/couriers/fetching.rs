//! The receiver's half: writes what comes, verifies it, and says so by one last file.
//!
//! ```text
//! DATA/incoming/
//!   snapshot        as the sender has it
//!   events/         the sender's event log, from the first event on that this node lacks
//!   arrived         the manifest, once all of it is on disk and verified
//! ```
//! Owned by the agent. Begun anew where a transfer broke off: what lies there from before is overwritten.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use exahour_journal::disk::{Disk, DiskFile, Entry, Mode, Open};
use exahour_journal::{Reader, Verify, inspect_on};

use super::INCOMING;
use super::parcel::{Manifest, Of, event_segment};
use crate::error::NodeError;
use crate::on_disk::EVENTS;
use crate::snapshots::check_file;

const SNAPSHOT: &str = "snapshot";
const ARRIVED: &str = "arrived";

/// Why what came cannot be used: a sentence, or the node's own fault.
#[derive(Debug)]
pub(super) enum Unusable {
    /// What came.
    Parcel(String),
    /// This node's disk.
    Disk(NodeError),
}

impl From<NodeError> for Unusable {
    fn from(error: NodeError) -> Self {
        Self::Disk(error)
    }
}

/// A transfer under way.
pub(super) struct Fetching {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    manifest: Manifest,
    snapshot: Box<dyn DiskFile>,
    snapshot_end: u64,
    segment: Option<(u64, Box<dyn DiskFile>)>,
    events_end: u64,
}

impl Fetching {
    /// Begins to write what a manifest announces.
    pub(super) fn begin(
        disk: &Arc<dyn Disk>,
        data: &Path,
        manifest: Manifest,
    ) -> Result<Self, Unusable> {
        let folder = data.join(INCOMING);
        clear(disk.as_ref(), &folder)?;
        for made in [&folder, &folder.join(EVENTS)] {
            if !disk.exists(made) {
                disk.create_folder(made, Mode::OWNER_FOLDER)
                    .map_err(NodeError::io(made, "create the folder"))?;
            }
        }
        let path = folder.join(SNAPSHOT);
        let snapshot = disk.open(&path, Open::Emptied(Mode::OWNER_FILE));
        Ok(Self {
            disk: Arc::clone(disk),
            snapshot: snapshot.map_err(NodeError::io(&path, "create"))?,
            snapshot_end: 0,
            segment: None,
            events_end: manifest.events.0,
            manifest,
            folder,
        })
    }

    /// How much has come, and of how much.
    pub(super) fn progress(&self) -> (u64, u64) {
        let events = self.events_end - self.manifest.events.0;
        (self.snapshot_end + events, self.manifest.bytes())
    }

    /// Writes a piece, each of which follows the one before it.
    pub(super) fn on_piece(&mut self, of: Of, offset: u64, bytes: &[u8]) -> Result<(), Unusable> {
        let length = bytes.len() as u64;
        let misplaced = || Unusable::Parcel("a piece is not where it belongs".to_owned());
        match of {
            Of::Snapshot => {
                if offset != self.snapshot_end || offset + length > self.manifest.snapshot_bytes {
                    return Err(misplaced());
                }
                let written = self.snapshot.write_all_at(bytes, offset);
                written.map_err(NodeError::io(&self.folder.join(SNAPSHOT), "write"))?;
                self.snapshot_end += length;
            }
            Of::Events => {
                let segment_bytes = self.manifest.segment_bytes;
                let start = offset / segment_bytes * segment_bytes;
                let end = self.manifest.events.1.min(start + segment_bytes);
                if offset != self.events_end || offset + length > end {
                    return Err(misplaced());
                }
                let file = self.segment(start)?;
                let written = file.write_all_at(bytes, offset - start);
                written.map_err(NodeError::io(&self.folder.join(EVENTS), "write into"))?;
                self.events_end += length;
            }
        }
        Ok(())
    }

    fn segment(&mut self, start: u64) -> Result<&dyn DiskFile, NodeError> {
        if self.segment.as_ref().is_none_or(|(open, _)| *open != start) {
            self.end_segment()?;
            let path = event_segment(&self.folder.join(EVENTS), start);
            let io = |action| NodeError::io(&path, action);
            let file = self.disk.open(&path, Open::Emptied(Mode::OWNER_FILE));
            let file = file.map_err(io("create"))?;
            file.set_bytes(self.manifest.segment_bytes)
                .map_err(io("size"))?;
            self.segment = Some((start, file));
        }
        match &self.segment {
            Some((_, file)) => Ok(file.as_ref()),
            None => unreachable!("opened above"),
        }
    }

    fn end_segment(&mut self) -> Result<(), NodeError> {
        let Some((_, file)) = self.segment.take() else {
            return Ok(());
        };
        let folder = self.folder.join(EVENTS);
        file.sync_all().map_err(NodeError::io(&folder, "flush"))
    }

    /// All has come: flushes it, verifies it, and says that it is there.
    pub(super) fn finish(mut self) -> Result<u64, Unusable> {
        if self.progress() != (self.manifest.bytes(), self.manifest.bytes()) {
            return Err(Unusable::Parcel("some of it did not come".to_owned()));
        }
        self.end_segment()?;
        let (disk, folder) = (self.disk.as_ref(), &self.folder);
        let (path, events) = (folder.join(SNAPSHOT), folder.join(EVENTS));
        self.snapshot
            .sync_all()
            .map_err(NodeError::io(&path, "flush"))?;
        disk.sync_folder(&events)
            .map_err(NodeError::io(&events, "flush"))?;
        let place = check_file(disk, &path).map_err(Unusable::Parcel)?;
        if (place.index, u64::from(place.term)) != (self.manifest.index, self.manifest.term) {
            return Err(Unusable::Parcel("the snapshot is another".to_owned()));
        }
        let told = inspect_on(disk, &events, Verify::Every)
            .map_err(|error| Unusable::Parcel(error.to_string()))?;
        if told.appended.value() != self.manifest.events.1 {
            return Err(Unusable::Parcel("the event log ends elsewhere".to_owned()));
        }
        let mut manifest = Vec::new();
        self.manifest.pack(&mut manifest);
        manifest.extend_from_slice(blake3::hash(&manifest).as_bytes());
        let arrived = folder.join(ARRIVED);
        let io = |action| NodeError::io(&arrived, action);
        let file = disk.open(&arrived, Open::Emptied(Mode::OWNER_FILE));
        let file = file.map_err(io("create"))?;
        file.write_all_at(&manifest, 0).map_err(io("write"))?;
        file.sync_all().map_err(io("flush"))?;
        for named in [folder.as_path(), folder.parent().unwrap_or(Path::new("."))] {
            disk.sync_folder(named)
                .map_err(NodeError::io(named, "flush"))?;
        }
        Ok(self.manifest.index)
    }
}

/// The last event that this node has; zero, so that all of them come, where not every one of them can be read: a start
/// need not have looked at them all, and those that come could not follow.
pub(super) fn last_event(disk: &Arc<dyn Disk>, data: &Path) -> u64 {
    let events = data.join(EVENTS);
    if inspect_on(disk.as_ref(), &events, Verify::Every).is_err() {
        return 0;
    }
    let events = Reader::follow_on(disk, events, Verify::Trust);
    events.map_or(0, |events| events.commit())
}

/// What has arrived whole and waits to be installed: its manifest and the snapshot's file.
///
/// # Errors
/// [`NodeError`] where it cannot be looked at.
pub(crate) fn arrived(
    disk: &dyn Disk,
    data: &Path,
) -> Result<Option<(Manifest, PathBuf)>, NodeError> {
    let folder = data.join(INCOMING);
    let path = folder.join(ARRIVED);
    if !disk.exists(&path) {
        return Ok(None);
    }
    let content = disk.read(&path).map_err(NodeError::io(&path, "read"))?;
    let manifest = content
        .split_last_chunk::<32>()
        .filter(|(manifest, sum)| blake3::hash(manifest).as_bytes() == *sum)
        .and_then(|(manifest, _)| Manifest::parse(manifest));
    // Where the last file is not whole, the last step was not done.
    Ok(manifest.map(|manifest| (manifest, folder.join(SNAPSHOT))))
}

/// Removes what arrived: it is installed, or begun anew.
///
/// # Errors
/// [`NodeError`].
pub(crate) fn remove_arrived(disk: &dyn Disk, data: &Path) -> Result<(), NodeError> {
    let folder = data.join(INCOMING);
    match disk.exists(&folder) {
        true => clear(disk, &folder),
        false => Ok(()),
    }
}

/// Empties the folder: what says that it is whole goes first.
fn clear(disk: &dyn Disk, folder: &Path) -> Result<(), NodeError> {
    if !disk.exists(folder) {
        return Ok(());
    }
    let mut files = vec![folder.join(ARRIVED), folder.join(SNAPSHOT)];
    for inner in disk.list(folder).map_err(NodeError::io(folder, "list"))? {
        // The event log that came, or one that was replaced.
        if matches!(disk.entry(&inner), Ok(Some(Entry::Folder))) {
            files.extend(disk.list(&inner).map_err(NodeError::io(&inner, "list"))?);
        }
    }
    for (place, path) in files.iter().enumerate() {
        if matches!(disk.entry(path), Ok(Some(Entry::File { .. }))) {
            disk.remove(path).map_err(NodeError::io(path, "remove"))?;
        }
        if place == 0 {
            disk.sync_folder(folder)
                .map_err(NodeError::io(folder, "flush"))?;
        }
    }
    Ok(())
}
