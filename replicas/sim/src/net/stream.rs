//! One simulated connection: two one-way pipes of bytes, as TCP carries them.
//!
//! Kept by the network, which says when time has passed and what links let through.
//!
//! ```text
//! writer --> [ flying: parcels with the time they are due ] --> [ arrived ] --> reader
//! ```
//! Always holds: what arrives is a beginning of what was written, in order, without gap; after an end or a
//! break nothing arrives any more. Does not: know links, hosts or listeners.

use std::collections::VecDeque;

use exahour_wire::units::Nanos;

use super::{HostId, Life};

/// What flies in one direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parcel {
    /// The dialler asks for a connection.
    Ask,
    /// The listener has it.
    Answer,
    /// So many of the bytes written.
    Bytes(usize),
    /// The writer has ended.
    End,
    /// There is no such connection, or it was given up.
    Break,
}

/// What a reader finds behind the bytes that arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Behind {
    /// More may come.
    #[default]
    Open,
    /// The writer has ended.
    Ended,
    /// The connection broke.
    Broken,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// Written, and not arrived.
    sent: VecDeque<u8>,
    flying: VecDeque<(Nanos, Parcel)>,
    /// Arrived, and not read.
    arrived: VecDeque<u8>,
    behind: Behind,
    /// The writer may write no more.
    pub(super) shut: bool,
}

impl Pipe {
    /// Bytes between writer and reader.
    pub(super) fn held(&self) -> usize {
        self.sent.len() + self.arrived.len()
    }

    /// Bytes that a reader has not read, those on their way included.
    pub(super) fn unread(&self) -> usize {
        self.arrived.len()
    }

    pub(super) fn behind(&self) -> Behind {
        self.behind
    }

    /// When what flies first is due.
    pub(super) fn due(&self) -> Option<Nanos> {
        self.flying.front().map(|(due, _)| *due)
    }

    /// Sends something that is due then, or behind what flies already.
    pub(super) fn send(&mut self, due: Nanos, parcel: Parcel) {
        let behind = self.flying.back().map_or(Nanos(0), |(due, _)| *due);
        self.flying.push_back((due.max(behind), parcel));
    }

    /// Sends bytes.
    pub(super) fn send_bytes(&mut self, due: Nanos, bytes: &[u8]) {
        self.sent.extend(bytes);
        self.send(due, Parcel::Bytes(bytes.len()));
    }

    /// Takes what is due at `now`; bytes have arrived then.
    pub(super) fn arrive(&mut self, now: Nanos) -> Option<Parcel> {
        let (due, parcel) = *self.flying.front()?;
        if due > now {
            return None;
        }
        self.flying.pop_front();
        match parcel {
            Parcel::Bytes(count) => {
                if self.behind == Behind::Open {
                    self.arrived.extend(self.sent.drain(..count));
                } else {
                    self.sent.drain(..count);
                }
            }
            Parcel::End if self.behind == Behind::Open => self.behind = Behind::Ended,
            _ => {}
        }
        Some(parcel)
    }

    /// Takes `count` of the bytes that arrived.
    pub(super) fn take(&mut self, room: &mut [u8]) {
        for byte in room.iter_mut() {
            // The caller asks for no more than there are.
            *byte = self.arrived.pop_front().unwrap_or(0);
        }
    }

    /// Breaks: of what flies the first `kept` bytes arrive yet, and of all that arrived the reader may read
    /// what `lost` leaves.
    pub(super) fn break_off(&mut self, kept: usize, lost: Lost) {
        let kept = kept.min(self.sent.len());
        if self.behind == Behind::Open {
            self.arrived.extend(self.sent.drain(..kept));
        }
        self.sent.clear();
        self.flying.clear();
        self.behind = Behind::Broken;
        self.shut = true;
        if lost == Lost::Unread {
            self.arrived.clear();
        }
    }
}

/// What a break takes from the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Nothing that arrived.
    Nothing,
    /// What arrived and was not read.
    Unread,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Asked for, until this time at most.
    Dialling(Nanos),
    /// Made, as the dialler knows.
    Made,
}

/// One end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) host: HostId,
    /// The run of the host's process that has it; `None` once nobody has.
    pub(super) holder: Option<Life>,
}

/// The end of a connection that dialled, or the one that listened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Side {
    Dialler = 0,
    Listener = 1,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Dialler, Self::Listener];

    pub(super) fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Listener,
            Self::Listener => Self::Dialler,
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) stage: Stage,
    pub(super) ends: [End; 2],
    /// By the side that writes.
    pub(super) pipes: [Pipe; 2],
    /// The port of the listener's host that it was dialled to.
    pub(super) to: std::net::SocketAddr,
    /// Bytes between writer and reader in each direction, at most.
    pub(super) window: usize,
}

impl Stream {
    pub(super) fn end(&self, side: Side) -> End {
        self.ends[side as usize]
    }

    /// What this side writes.
    pub(super) fn outward(&mut self, side: Side) -> &mut Pipe {
        &mut self.pipes[side as usize]
    }

    /// What this side reads.
    pub(super) fn inward(&mut self, side: Side) -> &mut Pipe {
        &mut self.pipes[side.other() as usize]
    }

    /// Whether nobody will ever ask for it again.
    pub(super) fn is_over(&self) -> bool {
        let held = self.ends.iter().any(|end| end.holder.is_some());
        !held && self.pipes.iter().all(|pipe| pipe.flying.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pipe: &mut Pipe) -> Vec<u8> {
        let mut room = vec![0; pipe.unread()];
        pipe.take(&mut room);
        room
    }

    #[test]
    fn bytes_arrive_in_order_and_an_end_behind_them() {
        let mut pipe = Pipe::default();
        pipe.send_bytes(Nanos(10), b"one");
        // It would be there earlier, but does not overtake.
        pipe.send_bytes(Nanos(5), b"two");
        pipe.send(Nanos(7), Parcel::End);
        assert_eq!((pipe.arrive(Nanos(9)), pipe.due()), (None, Some(Nanos(10))));
        while pipe.arrive(Nanos(10)).is_some() {}
        assert_eq!(read(&mut pipe), b"onetwo");
        assert_eq!((pipe.behind(), pipe.held()), (Behind::Ended, 0));
    }

    #[test]
    fn a_break_cuts_at_any_byte() {
        for (kept, lost, left) in [
            (0, Lost::Nothing, &b"ab"[..]),
            (1, Lost::Nothing, b"abc"),
            (9, Lost::Nothing, b"abcd"),
            (1, Lost::Unread, b""),
        ] {
            let mut pipe = Pipe::default();
            pipe.send_bytes(Nanos(1), b"ab");
            pipe.arrive(Nanos(1));
            pipe.send_bytes(Nanos(2), b"cd");
            pipe.break_off(kept, lost);
            assert_eq!(read(&mut pipe), left);
            assert_eq!((pipe.behind(), pipe.due()), (Behind::Broken, None));
        }
    }
}
