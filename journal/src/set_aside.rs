//! Damage to flushed frames: what is behind it is kept elsewhere, and the log is cut there.
//!
//! Called when a log is opened whose owner can have the lost frames from others
//! ([`OnDamage::SetAside`](crate::OnDamage)), and by an owner who has no use for what follows
//! ([`Journal::set_aside_from`](crate::Journal::set_aside_from)). The segment with the damage is copied whole, where a part of it is good;
//! those behind it are moved, so that no more room is needed than for one:
//!
//! ```text
//!  damaged-00000000000000131456.draft/    being copied; begun anew by the next open
//!  damaged-00000000000000131456.untold/   copied; the log is cut, or will be by the next open, which moves the rest
//!  damaged-00000000000000131456/          the owner has written down what it lost
//!    00000000000000131072.log ...         the segments as they were found
//!    control                              the marks as they were found
//!    note                                 four lines: position, index, last known index, why
//! ```
//! Always holds: nothing is cut before its copy is on disk, and nothing moved before it is noted; whatever call is the last before a crash, the
//! next open comes to the same log and tells the same damage, until the owner says that it knows.
//! Does not: remove a copy, ever.

use std::io;
use std::path::{Path, PathBuf};

use crate::control::{CONTROL_NAME, ControlPage};
use crate::directory::{Listing, list};
use crate::disk::{Disk, DiskFile, Mode, Open};
use crate::error::{JournalError, Result, io_at, write_at};
use crate::frame::{KIND_SEGMENT_END, check_sum};
use crate::position::{FRAME_ALIGN, Position, SEGMENT_HEADER_BYTES, align_up};
use crate::recovery::{Found, GoodPart};
use crate::segment::{SegmentMap, segment_at};

/// What the names of all such folders begin with.
pub(crate) const PREFIX: &str = "damaged-";
/// The file that says that the machine has restarted and the log's owner may not know.
pub(crate) const RESTARTED: &str = "restarted";
const DRAFT: &str = "draft";
pub(crate) const UNTOLD: &str = "untold";
const NOTE: &str = "note";
const COPY_BYTES: usize = 256 << 10;

/// What a log has lost by damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where the log was cut.
    pub position: Position,
    /// The first index that is certainly gone.
    pub index: u64,
    /// The highest index that can still be read behind the damage, if any.
    pub last_known: Option<u64>,
    /// What is wrong there.
    pub why: String,
}

impl Damage {
    fn text(&self) -> String {
        let last = self.last_known.unwrap_or_default();
        let (position, index, why) = (self.position, self.index, &self.why);
        format!("{position}\n{index}\n{last}\n{why}\n")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut number = || lines.next()?.parse::<u64>().ok();
        let (position, index, last) = (Position::new(number()?), number()?, number()?);
        Some(Damage {
            position,
            index,
            last_known: (last > 0).then_some(last),
            why: lines.next()?.to_owned(),
        })
    }
}

/// The damage that the owner of a log was not told of yet, and the folder of its copies.
pub(crate) fn untold(disk: &dyn Disk, listing: &Listing) -> Result<Option<(PathBuf, Damage)>> {
    let Some(folder) = listing.untold.first() else {
        return Ok(None);
    };
    let path = folder.join(NOTE);
    let content = disk.read(&path).map_err(io_at("read", &path))?;
    // The folder has its name only once the note is whole.
    let damage = Damage::parse(&String::from_utf8_lossy(&content));
    let damage = damage.ok_or(JournalError::Corrupt {
        segment: path,
        position: Position::ZERO,
        index: 0,
        why: "the note of an earlier damage is not whole",
    })?;
    Ok(Some((folder.clone(), damage)))
}

/// Notes that the machine has restarted, until the owner knows.
pub(crate) fn note_restart(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let path = dir.join(RESTARTED);
    let file = create(disk, &path)?;
    file.sync_all().map_err(io_at("sync", &path))?;
    disk.sync_folder(dir).map_err(io_at("sync", dir))
}

/// Gives the folders the names of those whose owner knows, and removes the note of a restart.
pub(crate) fn tell(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let listing = list(disk, dir)?;
    if listing.restarted {
        let path = dir.join(RESTARTED);
        disk.remove(&path).map_err(io_at("remove", &path))?;
    }
    for folder in &listing.untold {
        let named = free_name(disk, &folder.with_extension(""))?;
        disk.rename(folder, &named)
            .map_err(io_at("rename", folder))?;
    }
    disk.sync_folder(dir).map_err(io_at("sync", dir))
}

/// The name itself, or the first numbered one after it that nothing has: the same place may be damaged
/// again.
fn free_name(disk: &dyn Disk, wanted: &Path) -> Result<PathBuf> {
    let mut name = wanted.to_path_buf();
    let mut count = 1;
    while disk
        .entry(&name)
        .map_err(io_at("look at", &name))?
        .is_some()
    {
        count += 1;
        name = wanted.with_extension(count.to_string());
    }
    Ok(name)
}

/// Copies what a damaged log holds from the damage on, and cuts the log there; a log without any good part
/// is gone when this returns, and can be created.
pub(crate) fn set_aside(disk: &dyn Disk, dir: &Path, found: &Found) -> Result<()> {
    let listing = list(disk, dir)?;
    let lost = lost_segments(&listing, found.good.as_ref());
    let position = position(found, &lost);
    let named = |folder: &PathBuf| folder.ends_with(folder_name(position, UNTOLD));
    // A log that was on its way to be begun anew may have no segment left.
    let copied = lost.is_empty() && !listing.untold.is_empty();
    if !copied && !listing.untold.iter().any(named) {
        copy(disk, dir, found, &lost)?;
    }
    let folder = dir.join(folder_name(position, UNTOLD));
    match &found.good {
        Some(good) => cut(disk, (dir, &folder), good, &lost),
        None => clear(disk, (dir, &folder), &listing),
    }
}

/// Where the log is cut.
fn position(found: &Found, lost: &[Position]) -> Position {
    let first = lost.first().copied().unwrap_or_default();
    found.good.as_ref().map_or(first, |good| good.end)
}

fn folder_name(position: Position, ending: &str) -> String {
    format!("{PREFIX}{:020}.{ending}", position.value())
}

/// The segments that hold anything from the damage on.
fn lost_segments(listing: &Listing, good: Option<&GoodPart>) -> Vec<Position> {
    let kept = |start: &Position| {
        good.is_some_and(|good| {
            let geometry = good.shape.geometry;
            geometry.segment_of(*start) < geometry.segment_of(good.end)
        })
    };
    let all = listing.live.iter().copied();
    all.filter(|start| !kept(start)).collect()
}

fn copy(disk: &dyn Disk, dir: &Path, found: &Found, lost: &[Position]) -> Result<()> {
    let damage = describe(disk, dir, found, lost);
    let folder = dir.join(folder_name(damage.position, DRAFT));
    match disk.create_folder(&folder, Mode::OWNER_FOLDER) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(write_at("create folder", &folder, 0))?,
    }
    if let Some(&start) = lost
        .iter()
        .find(|start| stays(found.good.as_ref(), **start))
    {
        copy_file(disk, &segment_at(dir, start), &folder)?;
    }
    let control = dir.join(CONTROL_NAME);
    if disk.exists(&control) {
        copy_file(disk, &control, &folder)?;
    }
    let note = folder.join(NOTE);
    let text = damage.text();
    let file = create(disk, &note)?;
    file.write_all_at(text.as_bytes(), 0)
        .map_err(write_at("write", &note, text.len() as u64))?;
    file.sync_all().map_err(io_at("sync", &note))?;
    disk.sync_folder(&folder).map_err(io_at("sync", &folder))?;
    let named = folder.with_extension(UNTOLD);
    disk.rename(&folder, &named)
        .map_err(io_at("rename", &folder))?;
    disk.sync_folder(dir).map_err(io_at("sync", dir))
}

fn create(disk: &dyn Disk, path: &Path) -> Result<Box<dyn DiskFile>> {
    disk.open(path, Open::Emptied(Mode::OWNER_FILE))
        .map_err(write_at("create", path, 0))
}

fn copy_file(disk: &dyn Disk, from: &Path, folder: &Path) -> Result<()> {
    let to = folder.join(from.file_name().unwrap_or_default());
    let source = disk.open(from, Open::Read).map_err(io_at("open", from))?;
    let bytes = source.bytes().map_err(io_at("measure", from))?;
    let target = create(disk, &to)?;
    let mut buffer = vec![0; COPY_BYTES];
    for offset in (0..bytes).step_by(COPY_BYTES) {
        let length = (bytes - offset).min(COPY_BYTES as u64) as usize;
        source
            .read_exact_at(&mut buffer[..length], offset)
            .map_err(io_at("read", from))?;
        target
            .write_all_at(&buffer[..length], offset)
            .map_err(write_at("write", &to, bytes - offset))?;
    }
    target.sync_all().map_err(io_at("sync", &to))
}

fn describe(disk: &dyn Disk, dir: &Path, found: &Found, lost: &[Position]) -> Damage {
    let good = found.good.as_ref();
    let last_good = good
        .and_then(|good| good.last)
        .map_or(0, |(index, _)| index);
    let position = position(found, lost);
    let why = match &found.error {
        JournalError::Corrupt { why, .. } => (*why).to_owned(),
        other => other.to_string().replace('\n', " "),
    };
    let known = lost
        .iter()
        .filter_map(|&start| last_known(disk, &segment_at(dir, start), position));
    Damage {
        position,
        index: last_good + 1,
        last_known: known.max(),
        why,
    }
}

/// The highest index of any whole frame in a segment that begins at or behind a position.
fn last_known(disk: &dyn Disk, path: &Path, from: Position) -> Option<u64> {
    let map = SegmentMap::open(disk, path.to_path_buf(), None).ok()?;
    let header = map.header();
    let begin = from.value().saturating_sub(header.first_position().value());
    let end = header.shape().geometry.segment_bytes;
    let mut offset = begin.max(SEGMENT_HEADER_BYTES);
    let mut highest = None;
    while offset < end {
        match check_sum(map.room(offset as usize)) {
            Ok(frame) => {
                if frame.kind != KIND_SEGMENT_END {
                    highest = highest.max(Some(frame.index));
                }
                offset += align_up(u64::from(frame.length));
            }
            Err(_) => offset += FRAME_ALIGN,
        }
    }
    highest
}

/// Cuts the log behind its good part. Later files go first and the marks last, so that whatever is left by
/// a crash is found damaged at the same place again.
fn cut(
    disk: &dyn Disk,
    (dir, folder): (&Path, &Path),
    good: &GoodPart,
    lost: &[Position],
) -> Result<()> {
    let geometry = good.shape.geometry;
    let offset = geometry.offset_of(good.end) as u64;
    let stays = |start: &Position| stays(Some(good), *start);
    let gone = lost.iter().rev().filter(|start| !stays(start));
    move_away(disk, (dir, folder), gone)?;
    if let Some(&start) = lost.iter().find(|start| stays(start)) {
        let path = segment_at(dir, start);
        let file = disk
            .open(&path, Open::Write)
            .map_err(io_at("open", &path))?;
        zero(file.as_ref(), offset, geometry.segment_bytes).map_err(io_at("cut", &path))?;
        file.sync_all()
            .map_err(|source| JournalError::Sync { path, source })?;
    }
    disk.sync_folder(dir).map_err(io_at("sync", dir))?;
    ControlPage::create(disk, dir, &good.shape, good.first, good.end)?;
    disk.sync_folder(dir).map_err(io_at("sync", dir))
}

fn zero(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; COPY_BYTES];
    // Backwards, so that what begins at the cut goes last.
    let mut end = to;
    while end > from {
        let start = end.saturating_sub(COPY_BYTES as u64).max(from);
        file.write_all_at(&zeros[..(end - start) as usize], start)?;
        end = start;
    }
    Ok(())
}

/// Whether a part of a segment is good, and stays where it is.
fn stays(good: Option<&GoodPart>, start: Position) -> bool {
    good.is_some_and(|good| {
        let geometry = good.shape.geometry;
        geometry.offset_of(good.end) > 0
            && geometry.segment_of(start) == geometry.segment_of(good.end)
    })
}

/// Moves segments to the folder of what is set aside, durably. One that is there under both names, as a power cut
/// may leave it, loses its name in the log.
fn move_away<'a>(
    disk: &dyn Disk,
    (dir, folder): (&Path, &Path),
    starts: impl Iterator<Item = &'a Position>,
) -> Result<()> {
    let mut moved = false;
    for &start in starts {
        let path = segment_at(dir, start);
        let kept = folder.join(path.file_name().unwrap_or_default());
        match disk.exists(&kept) {
            true => disk.remove(&path).map_err(io_at("remove", &path))?,
            false => disk
                .rename(&path, &kept)
                .map_err(io_at("set aside", &path))?,
        }
        moved = true;
    }
    // In this order a power cut leaves a name in either folder, or in both.
    if moved {
        disk.sync_folder(folder).map_err(io_at("sync", folder))?;
    }
    disk.sync_folder(dir).map_err(io_at("sync", dir))
}

/// Takes a log away that has no good part: its marks go last.
fn clear(disk: &dyn Disk, (dir, folder): (&Path, &Path), listing: &Listing) -> Result<()> {
    move_away(disk, (dir, folder), listing.live.iter().rev())?;
    if listing.control {
        let path = dir.join(CONTROL_NAME);
        disk.remove(&path).map_err(io_at("remove", &path))?;
    }
    disk.sync_folder(dir).map_err(io_at("sync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let mut damage = Damage {
            position: Position::new(131_456),
            index: 17,
            last_known: Some(99),
            why: "the checksum does not match".to_owned(),
        };
        assert_eq!(Damage::parse(&damage.text()).as_ref(), Some(&damage));
        damage.last_known = None;
        assert_eq!(Damage::parse(&damage.text()).as_ref(), Some(&damage));
        assert_eq!(Damage::parse("131456\n17\n"), None);
    }
}
