//! Recovery: reads a log from disk, checks it, and names its tail.
//!
//! Called when a log is opened, and by `inspect` for audits; `scan` changes nothing, `repair` cuts.
//! Bytes below `flushed` are certainly on disk: it is the highest of the durable mark of the control
//! page, the flusher's notes beside it, and the durable position in each segment's header. Bytes below
//! the *bound* must be whole: that is `flushed`, or, if the machine has not restarted since, the
//! appended mark: page cache outlives a process, so a visible frame that is gone in the same run of the
//! machine was damaged, not torn. The cases are drawn at `Walk::stop`.
//!
//! Always holds: what remains is a prefix of what was appended, and holds every flushed frame.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Chain, LogId, Verify};
use crate::control::{Evidence, read_evidence};
#[cfg(feature = "defects")]
use crate::defects::{self, Defect};
use crate::directory::list;
use crate::disk::{Disk, DiskFile, Open, SystemDisk};
use crate::error::{JournalError, Result, io_at};
use crate::frame::{
    ChainValue, Damage, FrameHeader, KIND_RESTART, KIND_SEGMENT_END, check_place, check_sum,
    header_in,
};
use crate::index_map::IndexMap;
use crate::position::{FRAME_ALIGN, Position, SEGMENT_HEADER_BYTES, SegmentNumber, align_up};
use crate::segment::{LogShape, SegmentHeader, SegmentMap, live_name, segment_at};

/// How a log ended when it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// After the last frame there are only zeros.
    Clean,
    /// After the last frame there were bytes that never became durable; opening cuts them.
    Torn {
        /// The end of the last whole frame.
        at: Position,
        /// From there to the last byte that is not zero.
        bytes: u64,
    },
}

/// Whether what was only visible can have been lost with the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineRun {
    /// The machine has run on since the log was written, or the log is new.
    Same,
    /// It has restarted, or nothing proves that it has not.
    Another,
}

/// What recovery found.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The end of the last whole frame.
    pub appended: Position,
    /// The part of it that was certainly flushed before; opening flushes the rest.
    pub durable: Position,
    /// The start of the first segment held.
    pub first: Position,
    /// The index of the last frame, 0 in an empty log.
    pub last_index: u64,
    /// The term of the last frame, 0 in an empty log.
    pub last_term: u32,
    /// Whole frames found, superseded ones included.
    pub frames: u64,
    /// The hash chain after the last frame; zeros when the chain is off.
    pub chain: ChainValue,
    /// How the log ended.
    pub tail: Tail,
    /// Whether the machine has restarted since the log was written.
    pub run: MachineRun,
    /// What the log has lost by damage that its owner was not told of yet ([`Journal::told`]); opening says
    /// it, inspecting does not.
    ///
    /// [`Journal::told`]: crate::Journal::told
    pub damage: Option<crate::set_aside::Damage>,
    /// The identity of the log.
    pub log_id: LogId,
    pub(crate) shape: LogShape,
}

/// Everything a scan learns.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) recovered: Recovered,
    pub(crate) last: Option<(u64, u32)>,
    pub(crate) index: IndexMap,
    pub(crate) first_segment: SegmentNumber,
    /// The segment that stays the live one.
    pub(crate) last_segment: SegmentNumber,
    /// Bytes to zero in the last segment, from an offset on.
    cut: Option<(usize, usize)>,
    /// Segment files to remove, the last one first.
    removed: Vec<PathBuf>,
}

/// A log that recovery refuses.
#[derive(Debug)]
pub(crate) struct Found {
    /// Why.
    pub(crate) error: JournalError,
    /// What lies before the damage, unless nothing does.
    pub(crate) good: Option<GoodPart>,
}

/// The part of a damaged log that can be believed.
#[derive(Debug)]
pub(crate) struct GoodPart {
    pub(crate) shape: LogShape,
    /// The start of the first segment held.
    pub(crate) first: Position,
    /// The end of the last good frame.
    pub(crate) end: Position,
    pub(crate) last: Option<(u64, u32)>,
}

/// What a log is found to be.
#[derive(Debug)]
pub(crate) enum Examined {
    Good(Box<Scan>),
    Damaged(Found),
}

/// Reads a whole log and says what recovery would make of it; changes nothing.
///
/// The log must have no writer, or the end found is that of some moment in between.
///
/// # Errors
/// [`JournalError::Corrupt`] names the first damage; [`JournalError::Missing`] if there is no log;
/// [`JournalError::ForeignFile`].
pub fn inspect(dir: impl AsRef<Path>, verify: Verify) -> Result<Recovered> {
    inspect_on(&SystemDisk, dir, verify)
}

/// As [`inspect`], on a disk of the caller's choice.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_on(disk: &dyn Disk, dir: impl AsRef<Path>, verify: Verify) -> Result<Recovered> {
    scan(disk, dir.as_ref(), verify).map(|scan| scan.recovered)
}

/// As [`inspect`], and where the log is damaged: what lies before the damage, which is its first good
/// part, and the damage.
///
/// # Errors
/// As [`inspect`], where nothing can be read at all.
pub fn inspect_good(
    dir: impl AsRef<Path>,
    verify: Verify,
) -> Result<(Recovered, Option<JournalError>)> {
    let (disk, dir) = (&SystemDisk, dir.as_ref());
    let evidence = read_evidence(disk, dir)?;
    let (mut walk, live) = enter((disk, dir), &evidence, verify, Position::ZERO)?;
    let walked = walk.all(&live);
    let good = walk.good();
    match walked.and_then(|()| walk.finish(&live)) {
        Ok(scan) => Ok((scan.recovered, None)),
        // A file that cannot be read is not known to be damaged.
        Err(error @ JournalError::Io { .. }) => Err(error),
        Err(damage) => Ok((good, Some(damage))),
    }
}

/// Walks the segments of a log from first to last.
pub(crate) fn scan(disk: &dyn Disk, dir: &Path, verify: Verify) -> Result<Scan> {
    match examine(disk, dir, verify, Position::ZERO)? {
        Examined::Good(scan) => Ok(*scan),
        Examined::Damaged(found) => Err(found.error),
    }
}

/// As [`scan`], which is refused for damage only in what is found; of a log without a chain, segments before the
/// one that holds `believed` are not looked at.
pub(crate) fn examine(
    disk: &dyn Disk,
    dir: &Path,
    verify: Verify,
    believed: Position,
) -> Result<Examined> {
    // The marks first: if a writer is alive after all, its files are then never behind them.
    let evidence = read_evidence(disk, dir)?;
    let (mut walk, live) = match enter((disk, dir), &evidence, verify, believed) {
        Err(error) => return damaged(error, None),
        Ok(entered) => entered,
    };
    let walked = walk.all(&live);
    let good = GoodPart {
        shape: walk.shape,
        first: walk.first,
        end: walk.open_mark.unwrap_or(walk.position),
        last: walk.last,
    };
    match walked.and_then(|()| walk.finish(&live)) {
        Ok(scan) => Ok(Examined::Good(Box::new(scan))),
        Err(error) => damaged(error, Some(good)),
    }
}

/// Tells damage from all else that can keep a log from being read.
fn damaged(error: JournalError, good: Option<GoodPart>) -> Result<Examined> {
    match error {
        JournalError::Corrupt { .. } | JournalError::WrongSize { .. } => {
            Ok(Examined::Damaged(Found { error, good }))
        }
        other => Err(other),
    }
}

/// Stands before the first frame of a log that is looked at; gives the starts of the segments from there on, too.
fn enter<'a>(
    (disk, dir): (&'a dyn Disk, &'a Path),
    evidence: &Evidence,
    verify: Verify,
    believed: Position,
) -> Result<(Walk<'a>, Vec<Position>)> {
    let mut live = list(disk, dir)?.live;
    let Some(&first) = live.first() else {
        return match evidence.shape {
            None => Err(JournalError::Missing {
                path: dir.to_path_buf(),
            }),
            Some(_) => Err(JournalError::Corrupt {
                segment: segment_at(dir, Position::ZERO),
                position: Position::ZERO,
                index: 0,
                why: "all segment files are missing",
            }),
        };
    };
    if let (Some(expected), Some(shape)) = (evidence.first, evidence.shape)
        && first > expected
    {
        return Err(JournalError::Corrupt {
            segment: live_name(dir, &shape, shape.geometry.segment_of(expected)),
            position: expected,
            index: 0,
            why: "the first segment file is missing and was not released",
        });
    }
    let mut walk = Walk::begin((disk, dir), first, &live, evidence, verify)?;
    let passed = walk.pass_over(&live, believed);
    live.drain(..passed);
    Ok((walk, live))
}

/// Whether a walk goes on after a segment.
enum Next {
    Segment,
    End,
}

/// The state of a scan: everything before `position` is good.
struct Walk<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    shape: LogShape,
    verify: Verify,
    bound: Position,
    flushed: Position,
    /// Whether any mark says where the flushed part ends.
    marked: bool,
    run: MachineRun,
    /// The segment being walked, or expected next.
    number: SegmentNumber,
    /// The place of the mark that closed the segment before, until the next one is entered.
    open_mark: Option<Position>,
    position: Position,
    first: Position,
    chain: ChainValue,
    last: Option<(u64, u32)>,
    frames: u64,
    index: IndexMap,
    current: Option<Arc<SegmentMap>>,
}

impl<'a> Walk<'a> {
    fn begin(
        (disk, dir): (&'a dyn Disk, &'a Path),
        first: Position,
        live: &[Position],
        evidence: &Evidence,
        verify: Verify,
    ) -> Result<Self> {
        let path = segment_at(dir, first);
        // The first segment is complete before its log exists, so damage to it is never a tail.
        let map = SegmentMap::open(disk, path.clone(), evidence.shape.as_ref())?;
        let shape = map.header().shape();
        let mut flushed = evidence.durable.unwrap_or_default();
        for &position in live {
            let path = segment_at(dir, position);
            let header = SegmentHeader::read(disk, &path);
            if let Some(header) = header.filter(|one| one.shape() == shape) {
                flushed = flushed.max(header.durable_before());
            }
        }
        let genesis = ChainValue::genesis(shape.chain, shape.log_id);
        if first == Position::ZERO && map.header().previous_chain() != genesis {
            return Err(JournalError::Corrupt {
                segment: path,
                position: first,
                index: 0,
                why: "the hash chain does not start from the log's identity",
            });
        }
        Ok(Walk {
            disk,
            dir,
            shape,
            verify,
            bound: flushed.max(evidence.appended_this_boot.unwrap_or_default()),
            flushed,
            marked: evidence.durable.is_some() || evidence.appended_this_boot.is_some(),
            run: evidence.run,
            number: shape.geometry.segment_of(first),
            open_mark: None,
            position: shape.geometry.frames_of(shape.geometry.segment_of(first)),
            first,
            chain: map.header().previous_chain(),
            last: None,
            frames: 0,
            index: IndexMap::default(),
            current: None,
        })
    }

    /// Stands before the segment that holds `believed`, where the log has no chain and all segments before that
    /// one are there; how many it has passed over.
    fn pass_over(&mut self, live: &[Position], believed: Position) -> usize {
        let geometry = self.shape.geometry;
        let number = geometry.segment_of(believed);
        let passed = (number.0.saturating_sub(self.number.0)) as usize;
        let whole = (live.get(passed)).is_some_and(|at| *at == geometry.start_of(number));
        if self.shape.chain == Chain::On || passed == 0 || !whole {
            return 0;
        }
        self.number = number;
        self.position = geometry.frames_of(number);
        passed
    }

    /// Walks all segments.
    fn all(&mut self, live: &[Position]) -> Result<()> {
        for &position in live {
            let expected = self.shape.geometry.start_of(self.number);
            if position != expected {
                return self.stop(expected, 0, Damage::Broken("the segment file is missing"));
            }
            match self.segment(position)? {
                Next::Segment => {}
                Next::End => break,
            }
        }
        Ok(())
    }

    /// What has been walked so far, as a log of its own that ends there.
    fn good(&self) -> Recovered {
        let (last_index, last_term) = self.last.unwrap_or_default();
        Recovered {
            appended: self.position,
            durable: self.flushed.min(self.position),
            first: self.first,
            last_index,
            last_term,
            frames: self.frames,
            chain: self.chain,
            tail: Tail::Clean,
            run: self.run,
            damage: None,
            log_id: self.shape.log_id,
            shape: self.shape,
        }
    }

    /// Walks one segment whose file exists.
    fn segment(&mut self, start: Position) -> Result<Next> {
        let path = live_name(self.dir, &self.shape, self.number);
        let map = match SegmentMap::open(self.disk, path, Some(&self.shape)) {
            Ok(map) if map.header().first_position() == start => map,
            Ok(_) => return self.stop_at_header(start, "the segment's file has another's name"),
            Err(JournalError::Corrupt { why, .. }) => return self.stop_at_header(start, why),
            Err(cut @ JournalError::WrongSize { .. }) => {
                let stopped = self.stop_at_header(start, "the file's size is not the segment's");
                return stopped.map_err(|_| cut);
            }
            Err(other) => return Err(other),
        };
        if map.header().previous_chain() != self.chain {
            return self.stop_at_header(start, "the hash chain is broken between segments");
        }
        self.open_mark = None;
        self.position = self.shape.geometry.frames_of(self.number);
        self.current = Some(Arc::clone(&map));
        let mut offset = SEGMENT_HEADER_BYTES as usize;
        loop {
            let room = map.room(offset);
            if room.is_empty() {
                // The last frame ends with the segment: no room for a mark, none needed.
                self.number = self.number.next();
                self.position = self.shape.geometry.start_of(self.number);
                return Ok(Next::Segment);
            }
            match self.frame(room) {
                Ok(header) if header.kind == KIND_SEGMENT_END => {
                    self.open_mark = Some(self.position);
                    self.number = self.number.next();
                    return Ok(Next::Segment);
                }
                Ok(header) => {
                    offset += align_up(u64::from(header.length)) as usize;
                    self.position = self.position.plus(align_up(u64::from(header.length)));
                }
                Err(damage) => {
                    let at = self.position;
                    self.stop(at, offset, damage)?;
                    return Ok(Next::End);
                }
            }
        }
    }

    /// Checks the frame at the walk's position and takes it in.
    fn frame<'m>(&mut self, room: &'m [u8]) -> std::result::Result<&'m FrameHeader, Damage> {
        #[cfg(feature = "defects")]
        if defects::armed(Defect::TruncatedTail) && self.shape.chain == Chain::On && is_last(room) {
            (self.bound, self.flushed) = (Position::ZERO, Position::ZERO);
            return Err(Damage::Broken("it is the last"));
        }
        let geometry = self.shape.geometry;
        // A log without a chain is not flushed as it grows, and can be had again from another.
        let trusted = match self.shape.chain {
            Chain::On => self.flushed,
            Chain::Off => self.bound,
        };
        let full = self.verify == Verify::Every || self.number >= geometry.segment_of(trusted);
        let header = match full {
            true => check_sum(room)?,
            false => header_in(room)?,
        };
        let chain = match full {
            true => check_place(room, header, self.position, self.shape.chain, self.chain)?,
            false if self.shape.chain == Chain::On => ChainValue(header.chain),
            false => self.chain,
        };
        let (last_index, last_term) = self.last.unwrap_or_default();
        match header.kind {
            KIND_SEGMENT_END => {
                if (header.index, header.term) != (last_index, last_term) && self.last.is_some() {
                    return Err(Damage::Broken("the end mark names another last frame"));
                }
                return Ok(header);
            }
            KIND_RESTART => self.index.clear(),
            _ => {
                if self.last.is_some() && header.index > last_index + 1 {
                    return Err(Damage::Broken("the index leaves a hole"));
                }
                self.index.push(header.index, header.term, self.position);
            }
        }
        self.chain = chain;
        self.last = Some((header.index, header.term));
        self.frames += 1;
        Ok(header)
    }

    fn stop_at_header(&mut self, start: Position, why: &'static str) -> Result<Next> {
        self.stop(start, 0, Damage::Broken(why))?;
        Ok(Next::End)
    }

    /// Decides what a place that is no good frame means.
    ///
    /// ```text
    /// at the first place that is no good frame       bound beyond it   bound at or before it
    /// ---------------------------------------------  ----------------  ----------------------------
    /// zeros to the end of the last segment           Corrupt: missing  Tail::Clean
    /// part of a frame, or a frame out of order       Corrupt           Tail::Torn, cut
    /// the same, good frames after it                 Corrupt           Tail::Torn, cut with them: a
    ///                                                                  power cut may keep later pages
    /// the same, and no mark of any kind survives     Corrupt           Corrupt: cannot tell
    /// end mark, next segment absent                  Corrupt: missing  Tail::Torn, mark cut
    /// next segment's header not whole                Corrupt           Tail::Torn, file removed
    /// a segment missing between others               Corrupt: missing  Tail::Torn, later ones removed
    /// ```
    fn stop(&mut self, at: Position, offset: usize, damage: Damage) -> Result<()> {
        let corrupt = |why| {
            Err(JournalError::Corrupt {
                segment: live_name(self.dir, &self.shape, self.shape.geometry.segment_of(at)),
                position: at,
                index: self.last.map_or(0, |(index, _)| index),
                why,
            })
        };
        if self.bound > at {
            return corrupt(match damage {
                Damage::Blank => "flushed frames are missing, there are only zeros",
                Damage::Broken(why) => why,
            });
        }
        if !self.marked && offset > 0 && self.good_frame_after(offset) {
            return corrupt("good frames follow and no mark says that they were not flushed");
        }
        if !self.marked && offset == 0 {
            return corrupt("no mark says that the segment was not flushed");
        }
        Ok(())
    }

    /// Whether a whole frame stands anywhere after a bad place in the current segment.
    fn good_frame_after(&self, offset: usize) -> bool {
        let Some(map) = &self.current else {
            return false;
        };
        let step = FRAME_ALIGN as usize;
        let later = (offset + step..self.shape.geometry.segment_bytes as usize).step_by(step);
        later.into_iter().any(|at| check_sum(map.room(at)).is_ok())
    }

    /// Turns the end of the walk into a tail and the cuts it asks for.
    fn finish(self, live: &[Position]) -> Result<Scan> {
        let geometry = self.shape.geometry;
        // A mark whose successor is absent or not whole is cut too: the log goes on in its place.
        let appended = self.open_mark.unwrap_or(self.position);
        if self.bound > appended {
            return Err(JournalError::Corrupt {
                segment: live_name(self.dir, &self.shape, self.number),
                position: appended,
                index: self.last.map_or(0, |(index, _)| index),
                why: "flushed frames are missing at the end of the log",
            });
        }
        let last_segment = self
            .current
            .as_ref()
            .map_or(self.number, |map| map.number());
        let keep_offset = (appended.value() - geometry.start_of(last_segment).value()) as usize;
        let garbage = self
            .current
            .as_ref()
            .map_or(0, |map| used(map.room(keep_offset)));
        let mut bytes = garbage as u64;
        let mut removed = Vec::new();
        for &start in live
            .iter()
            .filter(|&&start| geometry.segment_of(start) > last_segment)
        {
            bytes += geometry.segment_bytes;
            removed.push(segment_at(self.dir, start));
        }
        removed.reverse();
        let tail = match bytes {
            0 => Tail::Clean,
            _ => Tail::Torn {
                at: appended,
                bytes,
            },
        };
        Ok(Scan {
            recovered: Recovered {
                appended,
                durable: self.flushed,
                tail,
                ..self.good()
            },
            last: self.last,
            index: self.index,
            first_segment: geometry.segment_of(self.first),
            last_segment,
            cut: (garbage > 0).then_some((keep_offset, garbage)),
            removed,
        })
    }
}

/// Whether a frame stands at the start of a room, and none behind it.
#[cfg(feature = "defects")]
fn is_last(room: &[u8]) -> bool {
    let Ok(header) = header_in(room) else {
        return false;
    };
    let behind = align_up(u64::from(header.length)) as usize;
    header.index > 1 && room.get(behind..).is_none_or(|it| header_in(it).is_err())
}

/// Bytes up to the last one that is not zero.
///
/// Nearly all of a fresh segment is zeros: these are looked at in pieces, which a compiler turns into a
/// few wide instructions each.
fn used(room: &[u8]) -> usize {
    const PIECE: usize = 4_096;
    let whole_pieces = room.len() - room.len() % PIECE;
    let (pieces, rest) = room.split_at(whole_pieces);
    let last = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).map(|at| at + 1);
    if let Some(bytes) = last(rest) {
        return whole_pieces + bytes;
    }
    let zeros = |piece: &[u8]| piece.iter().fold(0, |all, byte| all | byte) == 0;
    let found = pieces.chunks(PIECE).rposition(|piece| !zeros(piece));
    found.map_or(0, |at| {
        let piece = &pieces[at * PIECE..(at + 1) * PIECE];
        at * PIECE + last(piece).unwrap_or(0)
    })
}

/// How much is written again at a time.
const COPY_BYTES: usize = 64 << 10;

/// Carries out the cuts of a scan and flushes what was visible but perhaps not durable.
///
/// A flush that failed before has left its pages clean in memory, and another would succeed over lost
/// data; so what no mark calls flushed is written again first. A log without a chain is one that can be
/// had again from another, and may be far behind: it is only flushed.
///
/// Later files go first, so that a repair that is interrupted leaves what the next scan cuts again.
pub(crate) fn repair(disk: &dyn Disk, dir: &Path, scan: &Scan) -> Result<()> {
    for path in &scan.removed {
        disk.remove(path).map_err(io_at("remove", path))?;
    }
    let recovered = &scan.recovered;
    let geometry = recovered.shape.geometry;
    let mut number = geometry.segment_of(recovered.durable.max(recovered.first));
    while number <= scan.last_segment {
        let path = live_name(dir, &recovered.shape, number);
        let file = disk
            .open(&path, Open::Write)
            .map_err(io_at("open for repair", &path))?;
        if let Some((offset, bytes)) = scan.cut.filter(|_| number == scan.last_segment) {
            file.write_all_at(&vec![0; bytes], offset as u64)
                .map_err(io_at("cut", &path))?;
        }
        if recovered.shape.chain == Chain::On {
            let start = geometry.start_of(number);
            let end = geometry.start_of(number.next()).min(recovered.appended);
            let from = recovered.durable.max(start).value() - start.value();
            let to = end.value().saturating_sub(start.value());
            write_again(file.as_ref(), from..to).map_err(io_at("write again", &path))?;
        }
        file.sync_data()
            .map_err(|source| JournalError::Sync { path, source })?;
        number = number.next();
    }
    disk.sync_folder(dir).map_err(|source| JournalError::Sync {
        path: dir.to_path_buf(),
        source,
    })
}

/// Writes what a file holds in a range over itself.
fn write_again(file: &dyn DiskFile, range: Range<u64>) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    for offset in range.clone().step_by(COPY_BYTES) {
        let length = (range.end - offset).min(COPY_BYTES as u64) as usize;
        file.read_exact_at(&mut buffer[..length], offset)?;
        file.write_all_at(&buffer[..length], offset)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::config::Config;
    use crate::frame::FrameMeta;
    use crate::journal::Journal;

    const SEGMENT_BYTES: u64 = 64 << 10;

    /// A log of `frames` frames, one to a segment; all but the last `unflushed` are flushed.
    fn log_with_unflushed(dir: &Path, frames: u64, unflushed: u64) -> Config {
        let config = Config::new(dir, LogId([3; 16])).with_segment_bytes(SEGMENT_BYTES);
        let mut journal = Journal::create(&config).unwrap();
        for index in 1..=frames {
            let meta = FrameMeta {
                index,
                ..FrameMeta::default()
            };
            journal.appender.append(&meta, &[&[7; 40_000]]).unwrap();
            if index <= frames - unflushed {
                journal.flusher.flush().unwrap();
            }
        }
        config
    }

    /// The process died in the same run of the machine: everything is visible, and not all of it is on
    /// disk.
    #[test]
    fn what_was_only_visible_is_not_called_flushed() {
        let dir = tempfile::tempdir().unwrap();
        log_with_unflushed(dir.path(), 4, 2);
        let scan = scan(&SystemDisk, dir.path(), Verify::Trust).unwrap();
        let geometry = scan.recovered.shape.geometry;
        assert_eq!(
            geometry.segment_of(scan.recovered.durable),
            SegmentNumber(1)
        );
        assert_eq!(
            geometry.segment_of(scan.recovered.appended),
            SegmentNumber(3)
        );
    }

    #[test]
    fn what_was_not_flushed_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let config = log_with_unflushed(dir.path(), 4, 2);
        let path = |number: u64| {
            dir.path()
                .join(format!("{:020}.log", number * SEGMENT_BYTES))
        };
        let content = |number| std::fs::read(path(number)).unwrap();
        let before: Vec<Vec<u8>> = (0..4).map(content).collect();
        let past = SystemTime::now() - Duration::from_secs(3_600);
        for number in 0..4 {
            let file = OpenOptions::new().write(true).open(path(number)).unwrap();
            file.set_modified(past).unwrap();
        }
        drop(Journal::open(&config).unwrap());
        let written = |number: &u64| path(*number).metadata().unwrap().modified().unwrap() > past;
        let written: Vec<u64> = (0..4).filter(written).collect();
        // The second was flushed before its end mark was written.
        assert_eq!(written, [1, 2, 3], "the first was flushed");
        assert_eq!((0..4).map(content).collect::<Vec<_>>(), before);
    }

    #[test]
    fn the_last_byte_that_is_not_zero_is_found_wherever_it_is() {
        for length in [0, 1, 4_095, 4_096, 4_097, 3 * 4_096, 3 * 4_096 + 5] {
            assert_eq!(used(&vec![0; length]), 0, "{length}");
            let places = [
                0,
                1,
                4_094,
                4_095,
                4_096,
                4_097,
                2 * 4_096,
                length.wrapping_sub(1),
            ];
            for at in places.into_iter().filter(|at| *at < length) {
                let mut room = vec![0; length];
                room[at] = 1;
                room[0] |= 2;
                assert_eq!(used(&room), at + 1, "{at} of {length}");
            }
        }
    }
}
