//! The sequencer: one place decides the order.
//!
//! Turned by a runner. It drains the ingress rings in a fixed rotation, stamps a batch, and has
//! `consensus` agree on it; the agreed log is the journal.
//!
//! Always holds: a command is journaled once, in the order of its ring; the stamped time never goes
//! back; a node that does not lead proposes nothing, and throws away what waits in its rings.
//! Does not: look into a command beyond its length, or touch a socket.

use std::net::SocketAddr;

use exahour_gateway::clock::Clock;
use exahour_gateway::duty::Duty;
#[cfg(feature = "defects")]
use exahour_journal::defects::{self, Defect};
use exahour_rings::{Agent, Consumer, Halt, Producer, WatermarkWriter};
use exahour_wire::ids::CommandSequence;
use exahour_wire::internal::NodeStarted;
use exahour_wire::limits::{BATCH_MESSAGES_MAX, RECORD_LINE_BYTES};
use exahour_wire::message::Message;
use exahour_wire::record::{Line, Record, lines_of};
use exahour_wire::units::Nanos;

use crate::administration::{activation_of, answer};
use crate::batch::Stamp;
use crate::consensus::Consensus;
use crate::engine_agent::EngineFacts;
use crate::error::NodeError;
use crate::peers::operation::{Reply, Request};
use crate::storage::LogEnd;

/// Bytes of commands in a batch, at most; half a segment where that is less.
pub(crate) const BATCH_BYTES_MAX: usize = 64 << 10;

/// What a sequencer is set up with.
pub(crate) struct SequencerSettings {
    /// How many orders may live while this node leads.
    pub(crate) orders_max: u32,
    /// Bytes of commands after which a batch takes no more.
    pub(crate) batch_bytes_max: usize,
    /// What a new exchange starts with.
    pub(crate) genesis: Genesis,
}

/// Gives the first commands of a new exchange, for a start at a time.
pub(crate) type Genesis = Box<dyn Fn(Nanos) -> Result<Vec<Record>, NodeError> + Send>;

/// A term that this node leads in.
#[derive(Clone, Copy, Debug)]
struct Reign {
    term: u64,
    /// The entry that starts it: the engine closes every session there.
    started: u64,
}

/// The sequencing agent.
pub(crate) struct Sequencer {
    settings: SequencerSettings,
    rings: Vec<Consumer<Line>>,
    clock: Box<dyn Clock>,
    consensus: Consensus,
    /// The term that this node leads in, once it has begun to.
    reign: Option<Reign>,
    /// Hears what this node is.
    duty: Producer<Duty>,
    duty_told: Option<Duty>,
    engine: EngineFacts,
    /// How many snapshots operators have asked for.
    snapshots_wanted: WatermarkWriter,
    end: LogEnd,
    /// The event log is to be cut before this node goes on.
    opens_again: bool,
    /// The ring that is drained first next time, so that a busy one cannot keep others waiting.
    first_ring: usize,
}

impl Sequencer {
    /// A sequencer that goes on where the journal of `consensus` ends.
    ///
    /// # Errors
    /// [`NodeError`] where the journal cannot be read.
    pub(crate) fn new(
        settings: SequencerSettings,
        consensus: Consensus,
        rings: Vec<Consumer<Line>>,
        duty: Producer<Duty>,
        (engine, snapshots_wanted): (EngineFacts, WatermarkWriter),
        clock: Box<dyn Clock>,
    ) -> Result<Self, NodeError> {
        let end = consensus.storage().log_end();
        Ok(Self {
            settings,
            rings,
            clock,
            consensus,
            reign: None,
            duty,
            duty_told: None,
            engine,
            snapshots_wanted,
            end: end.map_err(NodeError::log("journal"))?,
            opens_again: false,
            first_ring: 0,
        })
    }

    /// Where peers connect to, if any may.
    pub(crate) fn peers_address(&self) -> Option<SocketAddr> {
        self.consensus.address()
    }

    fn turn(&mut self) -> Result<usize, NodeError> {
        let (now, steady) = self.clock.both();
        let mut work = self.consensus.hear(steady)?;
        self.follow_role(now)?;
        if !self.tell_duty() {
            // What a later leader did must not be known before the loss of the role is.
            return Ok(work);
        }
        work += self.consensus.walk()?;
        while let Some((slot, request)) = self.consensus.next_request() {
            let reply = self.answer(now, request)?;
            self.consensus.reply(slot, &reply);
            work += 1;
        }
        if self.reign.is_some() && self.consensus.takes() {
            work += self.propose(now)?;
        }
        work += self.consensus.settle()?;
        match self.opens_again {
            true => Err(NodeError::EventsDoubtful),
            false => Ok(work),
        }
    }

    fn answer(&mut self, now: Nanos, request: Request) -> Result<Reply, NodeError> {
        match request {
            Request::TakeSnapshot => {
                let wanted = self.snapshots_wanted.published() + 1;
                self.snapshots_wanted.publish(wanted);
                Ok(Reply::Done)
            }
            Request::Activate(asked) => {
                let command = activation_of(&self.consensus, &self.engine, asked);
                match command {
                    Err(refused) => Ok(refused),
                    Ok(_) if self.reign.is_none() || !self.consensus.takes() => {
                        let busy = "the node is busy: ask again in a moment";
                        Ok(Reply::NotNow(busy.to_owned()))
                    }
                    Ok(command) => {
                        self.propose_batch(now, command.bytes().to_vec(), 1)?;
                        Ok(Reply::Done)
                    }
                }
            }
            request => {
                let lost = request == Request::TrustMemory && self.tells_of_more()?;
                let reply = answer(&mut self.consensus, &self.engine, request)?;
                if lost && reply == Reply::Done {
                    // Nobody else will give the commands again that the events are of.
                    let storage = self.consensus.raft().mut_store();
                    storage.set_events_doubtful(true)?;
                    self.opens_again = true;
                }
                Ok(reply)
            }
        }
    }

    /// Whether the event log tells of commands that are not in the journal.
    fn tells_of_more(&self) -> Result<bool, NodeError> {
        let end = self.consensus.storage().log_end();
        let end = end.map_err(NodeError::log("journal"))?;
        Ok(self.engine.events_told >= end.next)
    }

    /// Starts to lead, or stops.
    #[inline]
    fn follow_role(&mut self, now: Nanos) -> Result<(), NodeError> {
        let term = self.consensus.leads().then(|| self.consensus.term());
        if self.reign.is_some_and(|reign| Some(reign.term) != term) {
            self.reign = None;
        }
        match term {
            Some(term) if self.reign.is_none() && self.consensus.takes() => {
                self.throw_away();
                self.begin_to_lead(now)?;
                self.reign = Some(Reign {
                    term,
                    started: self.consensus.last_index(),
                });
            }
            Some(_) => {}
            None => self.throw_away(),
        }
        Ok(())
    }

    /// What waits was never proposed; whoever sent it is told so by its gateway.
    fn throw_away(&mut self) {
        for ring in &mut self.rings {
            while ring.try_pop().is_some() {}
        }
    }

    /// Tells clients' gateway what this node is: that it leads once its engine has closed every session
    /// of the time before. `false` where the gateway has not taken in what it was told before.
    fn tell_duty(&mut self) -> bool {
        let duty = match (self.consensus.duty(), self.reign) {
            (Duty::Leads, Some(reign)) if self.consensus.applied() >= reign.started => Duty::Leads,
            (Duty::Leads, _) => match self.duty_told {
                // It led before, and so it did not in between.
                Some(Duty::Leads) if self.reign.is_none() => Duty::Follows(None),
                _ => return true,
            },
            (follows, _) => follows,
        };
        if self.duty_told == Some(duty) {
            return true;
        }
        let told = self.duty.try_push(duty).is_ok();
        if told {
            self.duty_told = Some(duty);
        }
        told
    }

    /// The first commands of a term. Whoever was connected to the node that led before is not any more;
    /// a new exchange has its genesis.
    fn begin_to_lead(&mut self, now: Nanos) -> Result<(), NodeError> {
        let end = self.consensus.storage().log_end();
        let end = end.map_err(NodeError::log("journal"))?;
        self.end = LogEnd {
            time: end.time.max(self.end.time),
            ..end
        };
        let started = NodeStarted {
            orders_max: self.settings.orders_max,
            ..NodeStarted::blank()
        };
        let mut data = started.bytes().to_vec();
        let mut count = 1;
        if self.end.next == CommandSequence(1) {
            for record in (self.settings.genesis)(now)? {
                for line in record.lines() {
                    data.extend_from_slice(&line.0);
                }
                count += 1;
            }
        }
        self.propose_batch(now, data, count)
    }

    /// Gathers a batch from the rings and proposes it.
    #[inline]
    fn propose(&mut self, now: Nanos) -> Result<usize, NodeError> {
        let (mut data, mut count) = (Vec::new(), 0);
        let rings = self.rings.len();
        for turn in 0..rings {
            let ring = &mut self.rings[(self.first_ring + turn) % rings];
            while count < BATCH_MESSAGES_MAX && data.len() < self.settings.batch_bytes_max {
                let Some(first) = ring.try_pop() else { break };
                if data.is_empty() {
                    data.reserve(ring.len().min(BATCH_MESSAGES_MAX) * RECORD_LINE_BYTES + 256);
                }
                data.extend_from_slice(&first.0);
                // All lines of a command are in the ring once the first is; a ring carries whole
                // commands only.
                for _ in 1..lines_of(&first).unwrap_or(1) {
                    let Some(line) = ring.try_pop() else { break };
                    data.extend_from_slice(&line.0);
                }
                count += 1;
            }
        }
        if count == 0 {
            return Ok(0);
        }
        self.first_ring = (self.first_ring + 1) % rings;
        #[cfg(feature = "defects")]
        if defects::strikes(Defect::DoubleProposal, 50) {
            self.propose_batch(now, data.clone(), count)?;
        }
        self.propose_batch(now, data, count)?;
        Ok(count)
    }

    fn propose_batch(&mut self, now: Nanos, data: Vec<u8>, count: usize) -> Result<(), NodeError> {
        // A clock that is set back does not set the exchange back.
        self.end.time = self.end.time.max(now);
        #[cfg(feature = "defects")]
        if defects::armed(Defect::BackwardStamp) {
            self.end.time = now;
        }
        // A batch is bounded far below 32 bits.
        let count = count as u32;
        let stamp = Stamp {
            time: self.end.time,
            first: self.end.next,
            count,
        };
        if self.consensus.propose(stamp.to_bytes().to_vec(), data)? {
            self.end.next = CommandSequence(self.end.next.0 + u64::from(count));
        }
        Ok(())
    }
}

impl Agent for Sequencer {
    fn name(&self) -> &'static str {
        "sequencer"
    }

    fn on_start(&mut self) -> Result<(), Halt> {
        self.consensus.begin().map_err(Halt::new)
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        self.turn().map_err(Halt::new)
    }
}
