//! The histories of all nodes, read from their journals side by side, and what engines make of them.
//!
//! Called by `check` when no node runs any more.
//!
//! Always holds: every entry up to the last that all had applied is the same on every node that has it, byte for
//! byte; each node's own journal gives the state and the events that the others' give, and the events that the
//! node itself has written. Does not: believe what a node says of itself.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use exahour_engine::{Batch, Capacity, Engine};
use exahour_journal::{Live, LiveReader, Position, Reader, Verify, inspect};
use exahour_replicas::FRAME_COMMANDS;
use exahour_wire::ids::CommandSequence;
use exahour_wire::message::{Digest, messages};
use exahour_wire::units::Nanos;

use crate::exit::{finding, judged};

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
    /// Frames on the nodes' disks that later ones have superseded, all nodes together.
    pub(super) superseded: u64,
}

/// One node's journal and event log, and an engine that follows.
struct Node {
    id: u64,
    reader: LiveReader,
    end: Position,
    engine: Engine,
    stored: StoredEvents,
    /// Frames in the journal, live or not.
    frames: u64,
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
    last: u64,
    at: u64,
    events: Vec<u8>,
    frame: Option<Copied>,
    level: Level,
}

impl Histories {
    /// Opens the logs of nodes that have stopped. All of them begin with the first entry: a torture is too
    /// short for a node that starts behind a snapshot.
    ///
    /// # Errors
    /// A finding, where a log is damaged.
    pub(super) fn open(data: &[(u64, PathBuf)], last: u64) -> Result<Self> {
        let nodes = data.iter().map(|(id, path)| Node::open(*id, path));
        let nodes: Vec<Node> = nodes.collect::<Result<_>>().map_err(judged)?;
        let frames = nodes.iter().map(|node| node.frames).sum::<u64>();
        Ok(Self {
            level: Level {
                // Reduced by each live one.
                superseded: frames,
                ..Level::default()
            },
            nodes,
            last,
            at: 0,
            events: Vec::new(),
            frame: None,
        })
    }

    /// The next entry, compared between all nodes and applied on each; none behind the last.
    ///
    /// # Errors
    /// A finding, where they differ.
    pub(super) fn next(&mut self) -> Result<Option<Entry<'_>>> {
        if self.at == self.last {
            return Ok(None);
        }
        self.at += 1;
        let at = self.at;
        self.frame = None;
        for node in &mut self.nodes {
            let frame = node.frame(at)?;
            match &self.frame {
                None => self.frame = Some(frame),
                Some(first) if *first == frame => {}
                Some(_) => return Err(differs(node.id, at, "another entry than the first node")),
            }
        }
        let Some(frame) = &self.frame else {
            return Ok(None);
        };
        self.level.entries += 1;
        if frame.kind != FRAME_COMMANDS {
            return Ok(Some(Entry {
                commands: None,
                first: 0,
                events: &[],
            }));
        }
        let batch = Batch {
            time: Nanos(frame.time),
            first: CommandSequence(frame.first),
            commands: &frame.payload,
        };
        for (place, node) in self.nodes.iter_mut().enumerate() {
            let mut events = Vec::new();
            let applied = node.engine.apply(&batch, &mut events);
            applied.map_err(|error| differs(node.id, at, &error.to_string()))?;
            if place > 0 && events != self.events {
                return Err(differs(node.id, at, "other events than the first node"));
            }
            node.stored.compare(node.id, at, &events)?;
            self.events = events;
        }
        self.level.commands += messages(&frame.payload).count() as u64;
        self.level.events += messages(&self.events).count() as u64;
        Ok(Some(Entry {
            commands: Some(&frame.payload),
            first: frame.first,
            events: &self.events,
        }))
    }

    /// What they come to, behind the last entry.
    ///
    /// # Errors
    /// A finding, where the states differ.
    pub(super) fn level(mut self) -> Result<Level> {
        let mut hash = None;
        for node in &mut self.nodes {
            let own = node.engine.state_hash();
            if *hash.get_or_insert(own) != own {
                return Err(differs(
                    node.id,
                    self.last,
                    "another state than the first node",
                ));
            }
            self.level.superseded -= self.last + node.count_rest()?;
        }
        self.level.state_hash = hash.unwrap_or_default();
        Ok(self.level)
    }
}

fn differs(node: u64, entry: u64, what: &str) -> anyhow::Error {
    finding(anyhow!("node {node} at entry {entry}: {what}"))
}

impl Node {
    fn open(id: u64, data: &Path) -> Result<Self> {
        let folder = data.join("journal");
        let recovered =
            inspect(&folder, Verify::Every).with_context(|| format!("the journal of node {id}"))?;
        let reader = || Reader::closed(&folder, &recovered, Verify::Trust);
        let mut all = reader()?;
        let mut frames = 0;
        while all.next(recovered.appended)?.is_some() {
            frames += 1;
        }
        let (orders, positions) = CAPACITY;
        let capacity = Capacity {
            orders,
            positions,
            ..Capacity::default()
        };
        Ok(Self {
            id,
            reader: LiveReader::new(reader()?),
            end: recovered.appended,
            engine: Engine::new(&capacity),
            stored: StoredEvents::open(id, &data.join("events"))?,
            frames,
        })
    }

    /// The live frame of an index, which is the next.
    fn frame(&mut self, at: u64) -> Result<Copied> {
        match self
            .reader
            .next(self.end)
            .map_err(|error| judged(error.into()))?
        {
            Some(Live::Frame(frame)) if frame.header.index == at => Ok(Copied {
                term: frame.header.term,
                kind: frame.header.kind,
                first: frame.header.first_sequence,
                time: frame.header.time_ns,
                payload: frame.payload.to_vec(),
            }),
            Some(Live::Frame(frame)) => {
                let index = frame.header.index;
                Err(differs(
                    self.id,
                    at,
                    &format!("entry {index} is in its place"),
                ))
            }
            Some(Live::Restart { index, .. }) => {
                let what = format!("its journal begins behind a snapshot, at entry {index}");
                Err(differs(self.id, at, &what))
            }
            None => Err(differs(self.id, at, "its journal has ended")),
        }
    }

    /// Live frames behind the last entry that is compared: what came while the nodes stopped.
    fn count_rest(&mut self) -> Result<u64> {
        let mut rest = 0;
        while self.reader.next(self.end)?.is_some() {
            rest += 1;
        }
        Ok(rest)
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
