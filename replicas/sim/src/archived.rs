//! What a node has given up of its journal, put before what it still has: one log from the first entry on.
//!
//! Asked by the cluster when a world is over, of every node that archives.
//!
//! Always holds: nothing is copied, and no file of the node is changed: the segments have a second name in a
//! folder of its own. Does not: look into disks that were damaged: a journal that was set aside begins anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use exahour_journal::disk::{Disk, Mode};
use exahour_journal::{KIND_RESTART, Position, Reader, Verify, inspect_on};

use crate::client::Violation;
use crate::disk::Shared;
use crate::history::{Committed, History};
use crate::net::HostId;

/// The folder of the second names.
const WHOLE: &str = "/whole";

/// Looks whether a node's archive and journal, one after the other, are the history as far as the node knows
/// it; how many segments were archived.
///
/// # Errors
/// Something is missing between them, is there twice, or is not what the history has.
pub(crate) fn check_archive(
    host: HostId,
    (disk, data): (&Shared, &Path),
    history: &History,
) -> Result<u64, Violation> {
    if disk.lock().felt().harmed > 0 {
        return Ok(0);
    }
    let wrong = |what: String| format!("{host}: archive and journal: {what}");
    let disk: Arc<dyn Disk> = Arc::new(disk.observe());
    let (archived, own) = (
        segments(&disk, &data.join("archive")),
        segments(&disk, &data.join("journal")),
    );
    put_together(&disk, (&archived, &own), &data.join("journal")).map_err(wrong)?;
    let found = inspect_on(disk.as_ref(), Path::new(WHOLE), Verify::Every);
    found.map_err(|error| wrong(error.to_string()))?;
    compare(&disk, history).map_err(wrong)?;
    Ok(archived.len() as u64)
}

/// The segments in a folder, by where they begin, which is what their names begin with. A journal that was not begun
/// anew has one for each place, and perhaps copies of it.
fn segments(disk: &Arc<dyn Disk>, folder: &Path) -> BTreeMap<u64, PathBuf> {
    let listed = disk.list(folder).unwrap_or_default().into_iter();
    let placed = listed.filter_map(|path| {
        let name = path.file_name()?.to_str()?.strip_suffix(".log")?;
        let (place, hash) = name.split_once('.').unwrap_or((name, ""));
        let copied = hash.contains('.');
        Some((place.parse().ok().filter(|_| !copied)?, path))
    });
    placed.collect()
}

/// Gives all segments a second name in one folder.
fn put_together(
    disk: &Arc<dyn Disk>,
    (archived, own): (&BTreeMap<u64, PathBuf>, &BTreeMap<u64, PathBuf>),
    journal: &Path,
) -> Result<(), Violation> {
    let whole = Path::new(WHOLE);
    let failed = |error: std::io::Error| error.to_string();
    disk.create_folder(whole, Mode::OWNER_FOLDER)
        .map_err(failed)?;
    for (place, path) in archived.iter().chain(own) {
        let name = whole.join(format!("{place:020}.log"));
        if disk.exists(&name) {
            return Err(format!("both have the segment at {place}"));
        }
        disk.link(path, &name).map_err(failed)?;
    }
    disk.link(&journal.join("control"), &whole.join("control"))
        .map_err(failed)
}

fn compare(disk: &Arc<dyn Disk>, history: &History) -> Result<(), Violation> {
    let read = |error: exahour_journal::JournalError| error.to_string();
    let mut log = Reader::follow_on(disk, WHOLE, Verify::Every).map_err(read)?;
    let end = Position::new(log.commit());
    let (mut index, mut standing) = (0, BTreeMap::new());
    while let Some(frame) = log.next(end).map_err(read)? {
        let header = frame.header;
        if header.kind == KIND_RESTART {
            // What another node's snapshot stands for was never here.
            standing.clear();
        } else if header.index > index + 1 {
            return Err(format!("entry {} follows {index}", header.index));
        } else {
            drop(standing.split_off(&header.index));
            standing.insert(header.index, Committed::of(header, frame.payload));
        }
        index = header.index;
    }
    for (index, frame) in standing {
        if history.frames().get(index as usize - 1) != Some(&frame) {
            return Err(format!("entry {index} is not the one of the history"));
        }
    }
    Ok(())
}
