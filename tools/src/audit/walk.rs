//! Every frame of a journal in order, checked, and replayed to learn what its commands gave.
//!
//! Called by `audit` only.
//!
//! Always holds: checksums and chain were verified by the recovery scan before the first step;
//! here indices have no hole, commands no gap, and time never goes back.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use exahour_engine::{Batch, Capacity, Engine};
use exahour_journal::{Live, LiveReader, Position, Reader, Recovered, Verify};
use exahour_replicas::{FRAME_COMMANDS, head};
use exahour_wire::ids::CommandSequence;
use exahour_wire::internal::Checkpoint;
use exahour_wire::message::{Message, messages};
use exahour_wire::units::Nanos;

use super::record::{Batched, Record, Registry};
use crate::exit::finding;
use crate::journal::time_text;

/// What came before, which the journal does not have: a snapshot stands for it, and nothing of it is verified.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    pub(super) frames: u64,
    pub(super) commands: u64,
    pub(super) events: u64,
}

/// What has been verified.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Verified {
    pub(super) before: Before,
    pub(super) frames: u64,
    /// Those without commands: consensus writes one at each start.
    pub(super) empty_frames: u64,
    pub(super) commands: u64,
    pub(super) events: u64,
    pub(super) checkpoints: u64,
    pub(super) first_time: Nanos,
    pub(super) last_time: Nanos,
}

/// A journal being walked.
pub(super) struct Walk {
    reader: LiveReader,
    end: Position,
    engine: Engine,
    last_index: u64,
    verified: Verified,
    commands: Vec<u8>,
    events: Vec<u8>,
}

/// One frame of commands, with their events.
pub(super) struct Step<'a> {
    pub(super) position: Position,
    index: u64,
    time: Nanos,
    first: u64,
    commands: &'a [u8],
    events: &'a [u8],
}

impl Walk {
    /// Stands before the first frame; behind a snapshot, where the journal does not have what came before.
    pub(super) fn open(folder: &Path, recovered: &Recovered) -> Result<Self> {
        let reader = || Reader::closed(folder, recovered, Verify::Trust).context("journal");
        let first = match LiveReader::new(reader()?).next(recovered.appended)? {
            None => 1,
            Some(Live::Restart { index, .. }) => index + 1,
            Some(Live::Frame(frame)) => frame.header.index,
        };
        let head = match first {
            1 => None,
            first => Some(head(folder, &reader()?, first - 1)?),
        };
        let before = head.as_ref().map(|head| Before {
            frames: head.index,
            commands: head.command,
            events: head.event,
        });
        Ok(Self {
            reader: LiveReader::new(reader()?),
            end: recovered.appended,
            last_index: head.as_ref().map_or(0, |head| head.index),
            verified: Verified {
                before: before.unwrap_or_default(),
                last_time: head.as_ref().map_or(Nanos(0), |head| head.time),
                ..Verified::default()
            },
            engine: head.map_or_else(|| Engine::new(&Capacity::default()), |head| head.engine),
            commands: Vec::new(),
            events: Vec::new(),
        })
    }

    /// The next frame that holds commands.
    pub(super) fn next(&mut self) -> Result<Option<Step<'_>>> {
        loop {
            let frame = match self.reader.next(self.end).context("journal")? {
                None => return Ok(None),
                // The snapshot that it stands for was found at the start.
                Some(Live::Restart { .. }) => continue,
                Some(Live::Frame(frame)) => frame,
            };
            let (header, position) = (*frame.header, frame.position);
            if header.index <= self.verified.before.frames {
                continue;
            }
            self.verified.frames += 1;
            if header.index != self.last_index + 1 {
                return Err(finding(anyhow!(
                    "journal frame {} at position {position} follows frame {}: what came between is lost; audit \
                     the journal of another node, or a backup",
                    header.index,
                    self.last_index
                )));
            }
            self.last_index = header.index;
            if header.kind != FRAME_COMMANDS {
                self.verified.empty_frames += 1;
                continue;
            }
            self.commands.clear();
            self.commands.extend_from_slice(frame.payload);
            self.check_order(
                header.index,
                header.first_sequence,
                header.count,
                header.time_ns,
            )?;
            let (index, time) = (header.index, Nanos(header.time_ns));
            self.events.clear();
            let batch = Batch {
                time,
                first: CommandSequence(header.first_sequence),
                commands: &self.commands,
            };
            self.engine
                .apply(&batch, &mut self.events)
                .with_context(|| format!("journal frame {index}"))?;
            self.verified.events += messages(&self.events).count() as u64;
            let checkpoints = messages(&self.commands).filter_map(Checkpoint::read);
            self.verified.checkpoints += checkpoints.count() as u64;
            return Ok(Some(Step {
                position,
                index,
                time,
                first: header.first_sequence,
                commands: &self.commands,
                events: &self.events,
            }));
        }
    }

    /// Checks numbers and time of a frame against those before it.
    fn check_order(&mut self, index: u64, first: u64, count: u16, time_ns: u64) -> Result<()> {
        let verified = &mut self.verified;
        let last = verified.before.commands + verified.commands;
        if first != last + 1 {
            return Err(finding(anyhow!(
                "journal frame {index} begins with command {first}, after command {last}: commands have no gap; \
                 restore the journal from a backup"
            )));
        }
        let held = messages(&self.commands).count();
        if held != usize::from(count) {
            return Err(finding(anyhow!(
                "journal frame {index} holds {held} commands and says {count}"
            )));
        }
        if Nanos(time_ns) < verified.last_time {
            return Err(finding(anyhow!(
                "journal frame {index} is stamped {}, before {}: time never goes back",
                time_text(Nanos(time_ns)),
                time_text(verified.last_time)
            )));
        }
        verified.commands += u64::from(count);
        verified.last_time = Nanos(time_ns);
        if verified.first_time == Nanos(0) {
            verified.first_time = Nanos(time_ns);
        }
        Ok(())
    }

    pub(super) fn verified(&self) -> Verified {
        self.verified
    }
}

impl<'a> Step<'a> {
    /// The commands, each with its events. What those tell of owners and symbols, the registry learns on
    /// the way.
    pub(super) fn records(&self, registry: &mut Registry) -> Vec<Record<'a>> {
        let mut events = messages(self.events).map(Batched::new).peekable();
        let mut records = Vec::new();
        for (number, command) in (self.first..).zip(messages(self.commands)) {
            let mut own = Vec::new();
            while let Some(event) = events.next_if(|event| event.command <= number) {
                registry.learn(event.bytes);
                own.push(event);
            }
            records.push(Record {
                time: self.time,
                index: self.index,
                number,
                command,
                events: own,
            });
        }
        records
    }
}
