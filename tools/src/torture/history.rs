//! The histories of all nodes, read from their journals and archives side by side, and what an engine makes of them.
//!
//! Called by `check` when no node runs any more.
//!
//! ```text
//!  node 1   1 2 3 4 5 6 7 8 9 ..        one life
//!  node 2   1 2 3 | 7 8 9 ..            a second one behind a snapshot: 4 to 6 it never had
//!  node 3   1 2 3' 4' | 6 7 8 9 ..      the first ends with what was never committed
//! ```
//! Always holds: every entry up to the last that all had applied is had by some node, and is the same on every
//! node that has it, byte for byte; each node has written the events that it gives. In a life that a snapshot has
//! ended other entries may stand at its end: what lives that go on have was committed, and where none of them
//! has any, the entry of the highest term; of one term there are no two. Does not: believe what a node says of itself.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use exahour_engine::{Batch, Capacity, Engine};
use exahour_journal::{KIND_RESTART, Live, LiveReader, Position, Reader, Verify, inspect};
use exahour_replicas::FRAME_COMMANDS;
use exahour_wire::ids::CommandSequence;
use exahour_wire::message::{Digest, messages};
use exahour_wire::units::Nanos;

use crate::exit::{finding, judged};
use crate::journal::whole::Whole;

/// Orders and positions that the nodes of a torture have room for.
pub(super) const CAPACITY: (u32, u32) = (65_536, 1_024);

/// An entry that every node has.
pub(super) struct Entry<'a> {
    /// None where it holds no commands.
    pub(super) commands: Option<&'a [u8]>,
    /// The number of the first.
    pub(super) first: u64,
    pub(super) events: &'a [u8],
}

/// What all histories come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Level {
    pub(super) entries: u64,
    pub(super) commands: u64,
    pub(super) events: u64,
    pub(super) state_hash: Digest,
    /// Frames on the nodes' disks that later ones have superseded, or a snapshot, all nodes together.
    pub(super) superseded: u64,
    /// Nodes that went on from a snapshot at least once.
    pub(super) begin_behind: u64,
}

/// One node's journal and event log.
struct Node {
    id: u64,
    lives: Vec<Life>,
    stored: StoredEvents,
    /// Frames in the journal that are not live, or were not read yet.
    frames: u64,
    _journal: Whole,
}

/// A part of a journal that no snapshot comes into.
struct Life {
    reader: LiveReader,
    end: Position,
    /// The entry that it begins behind.
    behind: u64,
    /// Whether the node goes on with it.
    goes_on: bool,
    /// Whether it has nothing more that counts.
    over: bool,
}

/// A frame, copied out of the map.
#[derive(PartialEq, Eq)]
struct Copied {
    term: u32,
    kind: u8,
    first: u64,
    time: u64,
    payload: Vec<u8>,
}

/// The histories of all nodes, up to the same entry.
pub(super) struct Histories {
    nodes: Vec<Node>,
    engine: Engine,
    last: u64,
    at: u64,
    events: Vec<u8>,
    frame: Option<Copied>,
    level: Level,
}

impl Histories {
    /// Opens the logs of nodes that have stopped.
    ///
    /// # Errors
    /// A finding, where a log is damaged.
    pub(super) fn open(data: &[(u64, PathBuf)], last: u64) -> Result<Self> {
        let nodes = data.iter().map(|(id, path)| Node::open(*id, path));
        let nodes: Vec<Node> = nodes.collect::<Result<_>>().map_err(judged)?;
        Ok(Self {
            level: Level::default(),
            engine: Engine::new(&capacity()),
            nodes,
            last,
            at: 0,
            events: Vec::new(),
            frame: None,
        })
    }

    /// The next entry, compared between all nodes and applied; none behind the last.
    ///
    /// # Errors
    /// A finding, where they differ.
    pub(super) fn next(&mut self) -> Result<Option<Entry<'_>>> {
        if self.at == self.last {
            return Ok(None);
        }
        self.at += 1;
        let at = self.at;
        self.frame = Some(agreed(&mut self.nodes, at)?);
        let Some(frame) = &self.frame else {
            return Ok(None);
        };
        self.level.entries += 1;
        self.events.clear();
        let commands = frame.kind == FRAME_COMMANDS;
        if commands {
            let batch = Batch {
                time: Nanos(frame.time),
                first: CommandSequence(frame.first),
                commands: &frame.payload,
            };
            let applied = self.engine.apply(&batch, &mut self.events);
            applied.map_err(|error| finding(anyhow!("entry {at}: {error}")))?;
            for node in &mut self.nodes {
                node.stored.compare(node.id, at, &self.events)?;
            }
            self.level.commands += messages(&frame.payload).count() as u64;
            self.level.events += messages(&self.events).count() as u64;
        }
        Ok(Some(Entry {
            commands: commands.then_some(frame.payload.as_slice()),
            first: frame.first,
            events: &self.events,
        }))
    }

    /// What they come to, behind the last entry.
    ///
    /// # Errors
    /// Where a journal cannot be read.
    pub(super) fn level(mut self) -> Result<Level> {
        for node in &mut self.nodes {
            self.level.superseded += node.frames - node.count_rest()?;
            self.level.begin_behind += u64::from(node.lives.len() > 1);
        }
        self.level.state_hash = self.engine.state_hash();
        Ok(self.level)
    }
}

/// The entry that is next in every life that goes on, and in others as far as they were committed.
fn agreed(nodes: &mut [Node], at: u64) -> Result<Copied> {
    let mut found: Vec<Option<Copied>> = Vec::new();
    let mut going_on = None;
    for node in nodes.iter_mut() {
        for life in &mut node.lives {
            if life.goes_on && going_on.is_none() {
                going_on = Some(found.len());
            }
            found.push(life.frame(node.id, at)?);
            going_on = going_on.filter(|place| found[*place].is_some());
        }
    }
    // A leader that was never followed may have left an entry of a higher term where it ended.
    let committed = match going_on {
        Some(place) => found[place].as_ref(),
        None => found.iter().flatten().max_by_key(|frame| frame.term),
    };
    let Some(committed) = committed else {
        bail!(
            "no journal or archive has entry {at}: every node was given a snapshot from behind it, so nothing can \
             be said of it"
        );
    };
    let mut own = found.iter();
    for node in nodes {
        for life in &mut node.lives {
            match own.next().and_then(Option::as_ref) {
                None => {}
                Some(own) if own == committed => node.frames -= 1,
                Some(own) if life.goes_on || own.term == committed.term => {
                    return Err(differs(node.id, at, "another entry than others"));
                }
                Some(_) => life.over = true,
            }
        }
    }
    let place = found.iter().position(|own| own.as_ref() == Some(committed));
    let place = place.context("an entry")?;
    found.swap_remove(place).context("an entry")
}

fn capacity() -> Capacity {
    let (orders, positions) = CAPACITY;
    Capacity {
        orders,
        positions,
        ..Capacity::default()
    }
}

fn differs(node: u64, entry: u64, what: &str) -> anyhow::Error {
    finding(anyhow!("node {node} at entry {entry}: {what}"))
}

impl Node {
    fn open(id: u64, data: &Path) -> Result<Self> {
        let journal = Whole::of(&data.join("journal"))?;
        let folder = journal.folder();
        let recovered =
            inspect(folder, Verify::Every).with_context(|| format!("the journal of node {id}"))?;
        let reader = || Reader::closed(folder, &recovered, Verify::Trust);
        let mut all = reader()?;
        let (mut frames, mut first, mut marks) = (0, 1, Vec::new());
        while let Some(frame) = all.next(recovered.appended)? {
            if frames == 0 {
                first = frame.header.index;
            }
            frames += 1;
            if frame.header.kind == KIND_RESTART {
                marks.push((frame.position, frame.end(), frame.header.index));
            }
        }
        let ends = marks.iter().map(|(start, ..)| *start);
        let mut ends = ends.chain([recovered.appended]);
        let mut life = |reader, behind| Life {
            reader,
            end: ends.next().unwrap_or(recovered.appended),
            behind,
            goes_on: false,
            over: false,
        };
        let mut lives = vec![life(LiveReader::new(reader()?), first.saturating_sub(1))];
        for (_, behind, index) in &marks {
            let mut reader = reader()?;
            reader.seek(*behind)?;
            lives.push(life(LiveReader::behind(reader, *index), *index));
        }
        if let Some(last) = lives.last_mut() {
            last.goes_on = true;
        }
        Ok(Self {
            id,
            lives,
            stored: StoredEvents::open(id, &data.join("events"))?,
            frames,
            _journal: journal,
        })
    }

    /// Live frames behind the last entry that is compared: what came while the nodes stopped.
    fn count_rest(&mut self) -> Result<u64> {
        let mut rest = 0;
        if let Some(life) = self.lives.last_mut() {
            while life.reader.next(life.end)?.is_some() {
                rest += 1;
            }
        }
        Ok(rest)
    }
}

impl Life {
    /// The live frame of an index, which is the next; none where this life does not have it.
    fn frame(&mut self, node: u64, at: u64) -> Result<Option<Copied>> {
        if self.over || at <= self.behind {
            return Ok(None);
        }
        let next = self.reader.next(self.end);
        match next.map_err(|error| judged(error.into()))? {
            Some(Live::Frame(frame)) if frame.header.index == at => Ok(Some(Copied {
                term: frame.header.term,
                kind: frame.header.kind,
                first: frame.header.first_sequence,
                time: frame.header.time_ns,
                payload: frame.payload.to_vec(),
            })),
            Some(Live::Frame(frame)) => {
                let what = format!("entry {} is in its place", frame.header.index);
                Err(differs(node, at, &what))
            }
            Some(Live::Restart { index, .. }) => {
                let what = format!("its journal goes back to a snapshot behind entry {index}");
                Err(differs(node, at, &what))
            }
            None if self.goes_on => Err(differs(node, at, "its journal has ended")),
            None => {
                self.over = true;
                Ok(None)
            }
        }
    }
}

/// The events that a node has written, one byte behind the other.
struct StoredEvents {
    reader: Reader,
    end: Position,
    frame: Vec<u8>,
    read: usize,
}

impl StoredEvents {
    fn open(id: u64, folder: &Path) -> Result<Self> {
        let recovered = inspect(folder, Verify::Every)
            .with_context(|| format!("the event log of node {id}"))?;
        Ok(Self {
            reader: Reader::closed(folder, &recovered, Verify::Trust)?,
            end: recovered.appended,
            frame: Vec::new(),
            read: 0,
        })
    }

    /// Compares what comes next with events that a replay gave.
    fn compare(&mut self, node: u64, entry: u64, mut events: &[u8]) -> Result<()> {
        while !events.is_empty() {
            if self.read == self.frame.len() {
                let Some(frame) = self.reader.next(self.end)? else {
                    return Err(differs(node, entry, "it has not written all events"));
                };
                self.frame.clear();
                self.frame.extend_from_slice(frame.payload);
                self.read = 0;
            }
            let count = events.len().min(self.frame.len() - self.read);
            let (now, later) = events.split_at(count);
            if self.frame[self.read..self.read + count] != *now {
                return Err(differs(node, entry, "it has written other events"));
            }
            self.read += count;
            events = later;
        }
        Ok(())
    }
}
