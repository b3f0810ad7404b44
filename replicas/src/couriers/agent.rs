//! The agent: sends to whoever asks, and fetches what consensus sends it for.
//!
//! Turned by a runner, on a thread of low priority.
//!
//! Always holds: one transfer inward at a time; outward, each receiver's pace is its own. A transfer that
//! fails costs that transfer; only one that has come whole ends the node, which opens again from it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use exahour_gateway::clock::Clock;
use exahour_gateway::net::Slot;
use exahour_journal::disk::Disk;
use exahour_rings::{Agent, Capacity, Consumer, Halt, Producer, ring};

use super::fetching::{Fetching, Unusable, last_event};
use super::parcel::{
    KIND_ASK, KIND_END, KIND_MANIFEST, KIND_PIECE, Manifest, pack_ask, parse_ask, parse_piece,
};
use super::serving::Serving;
use crate::error::NodeError;
use crate::peers::handshake::Role;
use crate::peers::links::{Links, Reading};
use crate::peers::{Found, LinkFault};

/// The agent's name in a layout.
pub(crate) const COURIER: &str = "courier";

/// Links of couriers at a time.
pub(crate) const CONNECTIONS_MAX: usize = 32;

/// Bytes that wait for one receiver before more is read for it.
const AHEAD_BYTES: usize = 2 << 20;

/// Frames put together, and reads made, for one link in one turn.
const FRAMES_A_TURN: usize = 8;

/// What consensus sends a courier for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Errand {
    /// The node that has it.
    pub(crate) node: u64,
    /// Where that node's courier is.
    pub(crate) address: SocketAddr,
}

/// The way of errands from consensus to the courier.
pub(crate) fn errands() -> (Producer<Errand>, Consumer<Errand>) {
    match Capacity::new(4) {
        Ok(capacity) => ring(capacity),
        Err(error) => unreachable!("{error}"),
    }
}

/// A transfer inward.
struct Inward {
    slot: Slot,
    fetching: Option<Fetching>,
    /// What was told last of its progress, in tenths.
    told: u64,
}

/// The agent.
pub(crate) struct Courier {
    /// None where the node is alone.
    links: Option<Links>,
    disk: Arc<dyn Disk>,
    data: PathBuf,
    clock: Box<dyn Clock>,
    notice: fn(&str),
    errands: Consumer<Errand>,
    inward: Option<Inward>,
    outward: BTreeMap<Slot, Serving>,
    body: Vec<u8>,
}

impl Courier {
    /// A courier of a node whose folder is `data`.
    pub(crate) fn new(
        links: Option<Links>,
        disk: Arc<dyn Disk>,
        data: PathBuf,
        errands: Consumer<Errand>,
        (clock, notice): (Box<dyn Clock>, fn(&str)),
    ) -> Self {
        Self {
            links,
            disk,
            data,
            clock,
            notice,
            errands,
            inward: None,
            outward: BTreeMap::new(),
            body: Vec::new(),
        }
    }

    /// Where other couriers reach this one, if they may.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.links.as_ref().map(Links::address)
    }

    fn turn(&mut self) -> Result<usize, NodeError> {
        let now = self.clock.steady();
        let Some(links) = &mut self.links else {
            return Ok(0);
        };
        let mut work = links.begin(now)?;
        if let Some(errand) = self.errands.try_pop()
            && self.inward.is_none()
        {
            let slot = links.dial(Role::Courier, errand.node, errand.address);
            self.inward = slot.map(|slot| Inward {
                slot,
                fetching: None,
                told: 0,
            });
            let node = errand.node;
            (self.notice)(&format!(
                "this node is too far behind: a snapshot is fetched from node {node}"
            ));
        }
        for place in (0..self.links.as_ref().map_or(0, Links::count)).rev() {
            work += self.tend(place)?;
        }
        Ok(work)
    }

    /// Looks after one link: reads, puts together what is asked for, writes.
    fn tend(&mut self, place: usize) -> Result<usize, NodeError> {
        let Some(slot) = self.links.as_ref().and_then(|links| links.slot_at(place)) else {
            return Ok(0);
        };
        let mut work = 0;
        let tended = self.tend_slot(slot, &mut work);
        match tended {
            Ok(()) => {}
            Err(Unusable::Parcel(why)) => self.give_up(slot, &why),
            // Only the transfer inward says so.
            Err(Unusable::Disk(error @ NodeError::SnapshotArrived { .. })) => return Err(error),
            // A full disk has no room for a parcel, and what is sent is read beside those that write it: a
            // transfer is begun again, and nothing else rests on it.
            Err(Unusable::Disk(error)) => {
                if self.inward.as_ref().is_none_or(|it| it.slot != slot) {
                    (self.notice)(&format!("a snapshot was not sent: {error}"));
                }
                self.give_up(slot, &error.to_string());
            }
        }
        Ok(work)
    }

    fn tend_slot(&mut self, slot: Slot, work: &mut usize) -> Result<(), Unusable> {
        let broke = || Unusable::Parcel("the connection broke".to_owned());
        for _ in 0..FRAMES_A_TURN {
            let Some(links) = &mut self.links else { break };
            match links.read(slot) {
                Reading::Nothing => break,
                Reading::Ended => return Err(broke()),
                Reading::Some => self.take_in(slot)?,
            }
            *work += 1;
        }
        *work += self.put_together(slot)?;
        let Some(links) = &mut self.links else {
            return Ok(());
        };
        *work += links.write(slot).ok_or_else(broke)?;
        links.on_time(slot).map_err(unusable)
    }

    /// Handles what has come whole on a link.
    fn take_in(&mut self, slot: Slot) -> Result<(), Unusable> {
        loop {
            let Some(links) = &mut self.links else {
                return Ok(());
            };
            let (now, found) = (links.now(), links.next(slot).map_err(unusable)?);
            let inward = self.inward.as_ref().is_some_and(|it| it.slot == slot);
            let Some(link) = links.link(slot) else {
                return Ok(());
            };
            match found {
                None => return Ok(()),
                Some(Found::Opened) if inward => {
                    let last_event = last_event(&self.disk, &self.data);
                    link.send(KIND_ASK, now, |bytes| {
                        pack_ask(last_event, bytes);
                        true
                    });
                }
                Some(Found::Opened) => {}
                Some(Found::Frame(KIND_ASK, place)) if link.role() == Role::Courier && !inward => {
                    let last_event = parse_ask(link.body(place));
                    match Serving::open(&self.disk, &self.data, last_event)? {
                        Some(serving) => self.outward.insert(slot, serving),
                        None => return Err(Unusable::Parcel("there is no snapshot".to_owned())),
                    };
                }
                Some(Found::Frame(kind, place)) if inward => {
                    let body = link.body(place).to_vec();
                    self.on_parcel(kind, &body)?;
                }
                // Of a later version: what is not known is passed over.
                Some(Found::Frame(..)) => {}
            }
        }
    }

    fn on_parcel(&mut self, kind: u8, body: &[u8]) -> Result<(), Unusable> {
        let unread = || Unusable::Parcel("what came cannot be read".to_owned());
        let Some(inward) = &mut self.inward else {
            return Ok(());
        };
        match (kind, &mut inward.fetching) {
            (KIND_MANIFEST, None) => {
                let manifest = Manifest::parse(body).ok_or_else(unread)?;
                inward.fetching = Some(Fetching::begin(&self.disk, &self.data, manifest)?);
            }
            (KIND_PIECE, Some(fetching)) => {
                let (of, offset, bytes) = parse_piece(body).ok_or_else(unread)?;
                fetching.on_piece(of, offset, bytes)?;
                let (come, all) = fetching.progress();
                let tenths = come * 10 / all.max(1);
                if tenths > inward.told {
                    inward.told = tenths;
                    (self.notice)(&format!("{} % of the snapshot has come", tenths * 10));
                }
            }
            (KIND_END, Some(_)) => {
                let fetching = inward.fetching.take().ok_or_else(unread)?;
                let index = fetching.finish()?;
                return Err(Unusable::Disk(NodeError::SnapshotArrived { index }));
            }
            _ => return Err(unread()),
        }
        Ok(())
    }

    /// Puts more together for a receiver that has taken most of what was.
    fn put_together(&mut self, slot: Slot) -> Result<usize, Unusable> {
        let Some(links) = &mut self.links else {
            return Ok(0);
        };
        let now = links.now();
        let (Some(serving), Some(link)) = (self.outward.get_mut(&slot), links.link(slot)) else {
            return Ok(0);
        };
        let mut frames = 0;
        while frames < FRAMES_A_TURN && link.front().len() < AHEAD_BYTES {
            self.body.clear();
            let Some(kind) = serving.next_frame(&mut self.body)? else {
                break;
            };
            link.send(kind, now, |bytes| {
                bytes.extend_from_slice(&self.body);
                true
            });
            frames += 1;
        }
        Ok(frames)
    }

    fn give_up(&mut self, slot: Slot, why: &str) {
        if let Some(links) = &mut self.links {
            links.close(slot);
        }
        self.outward.remove(&slot);
        if self.inward.as_ref().is_some_and(|it| it.slot == slot) {
            self.inward = None;
            // The leader asks again.
            (self.notice)(&format!("the snapshot was not fetched: {why}"));
        }
    }
}

fn unusable(fault: LinkFault) -> Unusable {
    Unusable::Parcel(fault.to_string())
}

impl Agent for Courier {
    fn name(&self) -> &'static str {
        COURIER
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        self.turn().map_err(Halt::new)
    }
}
