//! What a courier brought is put in place when the node opens again.
//!
//! ```text
//! 1  journal     a restart mark: what follows begins behind the snapshot
//! 2  promises    the base, and the members that came
//! 3  snapshots/  the snapshot, standing on the mark
//! 4  events/     the event log that came takes the place of the old one
//! 5  incoming/   is emptied, what says that it is whole first
//! ```
//! Called by `on_disk` at every start, before the event log is opened.
//!
//! Always holds: every step can be repeated, and all are where a crash came in between; before the last one
//! nothing that came is given up.

use std::path::Path;
use std::sync::Arc;

use exahour_journal::disk::Disk;
use exahour_journal::{FRAME_ALIGN, FRAME_HEADER_BYTES, Journal, Position, Reader};

use crate::couriers::{INCOMING, arrived, remove_arrived};
use crate::error::NodeError;
use crate::hard_state::{Base, HardStateFile};
use crate::on_disk::EVENTS;
use crate::snapshots::{self, adopt};

/// Puts in place what has arrived, if anything has; the entry that the node goes on behind then.
///
/// # Errors
/// [`NodeError`]; what arrived is still there, and the next start goes on.
pub(crate) fn install(
    (disk, data): (&Arc<dyn Disk>, &Path),
    journal: &mut Journal,
    reader: &Reader,
    promises: &mut HardStateFile,
) -> Result<Option<u64>, NodeError> {
    let Some((manifest, snapshot)) = arrived(disk.as_ref(), data)? else {
        return Ok(None);
    };
    let appender = &mut journal.appender;
    let log = NodeError::log("journal");
    let marked = appender.first_index().is_none() && appender.last_index() == manifest.index;
    if !marked {
        if appender.term_of(manifest.index).map(u64::from) == Some(manifest.term) {
            // It caught up in the meantime.
            remove_arrived(disk.as_ref(), data)?;
            return Ok(None);
        }
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
    let place = adopt((disk, &folder), &snapshot, &mark)?;
    let base = Base {
        index: place.index,
        term: u64::from(place.term),
        command: place.command,
        time_ns: place.time_ns,
    };
    promises.begin_behind(base, &manifest.members)?;
    replace_events(disk.as_ref(), data, manifest.index)?;
    remove_arrived(disk.as_ref(), data)?;
    Ok(Some(manifest.index))
}

/// Gives the event log that came its place; the one before is removed with what is left of the parcel.
fn replace_events(disk: &dyn Disk, data: &Path, index: u64) -> Result<(), NodeError> {
    let (events, incoming) = (data.join(EVENTS), data.join(INCOMING));
    let came = incoming.join(EVENTS);
    if disk.exists(&came) {
        if disk.exists(&events) {
            let replaced = incoming.join(format!("replaced-{index}"));
            disk.rename(&events, &replaced)
                .map_err(NodeError::io(&events, "set aside"))?;
        }
        disk.rename(&came, &events)
            .map_err(NodeError::io(&came, "put in place"))?;
    }
    for folder in [data, &incoming] {
        disk.sync_folder(folder)
            .map_err(NodeError::io(folder, "flush"))?;
    }
    Ok(())
}
