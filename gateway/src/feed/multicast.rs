//! Sends the messages of the feed as packets to two multicast groups, the lines A and B.
//!
//! Turned by the market data agent, after it let clients in.
//!
//! ```text
//! | FeedPacket: packet 12, first 81720, count 3, source | framed 81720 | framed 81721 | framed 81722 |
//! ```
//! Always holds: both lines carry the same bytes; messages go out in the order of their numbers, and
//! a number goes out once; a turn sends a bounded number of packets and waits for nobody.
//! Does not: send anything again. Who lost something asks the market data port.

use exahour_wire::codes::FeedDepth;
use exahour_wire::ids::FeedSequence;
use exahour_wire::market_data::FeedPacket;
use exahour_wire::message::Message;
use exahour_wire::units::Nanos;

use super::history::History;
use crate::clock::Steady;
use crate::error::GatewayError;
use crate::image::Source;
use crate::sockets::{Group, GroupSender, PacketSent};

/// Bytes of a packet at most: it fits the frame of any network, with room for tunnels.
pub const PACKET_BYTES_MAX: usize = 1_400;

/// Packets sent in a turn on either line.
const PACKETS_PER_TURN: usize = 64;

/// Silence after which a packet without messages says which number comes next.
pub const PACKET_SILENCE_MAX: Nanos = Nanos(100_000_000);

// A packet holds any message.
const _: () = assert!(
    PACKET_BYTES_MAX
        >= size_of::<FeedPacket>()
            + exahour_wire::framing::FRAMING_BYTES
            + exahour_wire::limits::MESSAGE_BYTES_MAX
);

/// Where packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MulticastConfig {
    /// The lines A and B of orders; those of the other depths are beside them.
    pub lines: [Group; 2],
    /// Routers that a packet may pass; with 1 it stays in its network.
    pub hops: u32,
}

impl MulticastConfig {
    /// The lines of one depth: its number is added to the port.
    pub fn lines_of(&self, depth: FeedDepth) -> [Group; 2] {
        lines_of(self.lines, depth)
    }
}

pub(super) fn lines_of(lines: [Group; 2], depth: FeedDepth) -> [Group; 2] {
    lines.map(|mut group| {
        let port = group.address.port().saturating_add(depth as u8 as u16);
        group.address.set_port(port);
        group
    })
}

/// The sending side of the feed of one depth.
#[derive(Debug)]
pub struct Multicast {
    depth: FeedDepth,
    source: Source,
    lines: [GroupSender; 2],
    /// The message that goes out next; `None` before the first turn.
    next: Option<FeedSequence>,
    packets: u64,
    last_sent: Steady,
    room: Box<[u8; PACKET_BYTES_MAX]>,
    lost: [u64; 2],
}

impl Multicast {
    /// Opens both lines of a depth; packets name `source`.
    ///
    /// # Errors
    /// [`GatewayError::Multicast`].
    pub fn open(
        config: &MulticastConfig,
        depth: FeedDepth,
        source: Source,
    ) -> Result<Self, GatewayError> {
        let [a, b] = config.lines_of(depth);
        Ok(Multicast {
            depth,
            source,
            lines: [
                GroupSender::open(a, config.hops)?,
                GroupSender::open(b, config.hops)?,
            ],
            next: None,
            packets: 0,
            last_sent: Steady::default(),
            room: Box::new([0; PACKET_BYTES_MAX]),
            lost: [0; 2],
        })
    }

    /// Which feed goes out.
    pub fn depth(&self) -> FeedDepth {
        self.depth
    }

    /// How many packets were made so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Packets that the system did not take, on A and on B.
    pub fn lost(&self) -> [u64; 2] {
        self.lost
    }

    /// Sends what is new in the history, a bounded part of it; gives how many packets.
    ///
    /// The first turn begins with the message to come: what was before is for snapshots.
    pub fn turn(&mut self, history: &History, time: Nanos, now: Steady) -> usize {
        let mut next = self.next.unwrap_or(history.next());
        let first_turn = self.next.is_none();
        let mut sent = 0;
        while next < history.next() && sent < PACKETS_PER_TURN {
            let room = PACKET_BYTES_MAX - FeedPacket::BYTES;
            let Ok((after, parts)) = history.framed(next, room) else {
                // More came than is kept, in turns that sent less: clients see the hole and ask for a snapshot.
                next = history.oldest();
                continue;
            };
            self.send(next, after, parts, time);
            next = after;
            sent += 1;
        }
        let silent = sent == 0 && now >= self.last_sent.after(PACKET_SILENCE_MAX);
        if silent || first_turn {
            self.send(next, next, [&[], &[]], time);
            sent += 1;
        }
        if sent > 0 {
            self.last_sent = now;
        }
        self.next = Some(next);
        sent
    }

    /// Sends the messages from `first` up to but not including `end` as one packet on both lines.
    fn send(&mut self, first: FeedSequence, end: FeedSequence, parts: [&[u8]; 2], time: Nanos) {
        self.packets += 1;
        let header = FeedPacket {
            packet: self.packets,
            first_sequence: first,
            sending_time: time,
            // A packet holds far fewer messages than a u16 counts.
            count: (end.0 - first.0) as u16,
            depth: self.depth.into(),
            exchange: self.source.exchange,
            started_at: self.source.started_at,
            ..FeedPacket::blank()
        };
        let mut filled = 0;
        for part in [header.bytes(), parts[0], parts[1]] {
            self.room[filled..filled + part.len()].copy_from_slice(part);
            filled += part.len();
        }
        for (line, lost) in self.lines.iter().zip(&mut self.lost) {
            if line.send(&self.room[..filled]) == PacketSent::Lost {
                *lost += 1;
            }
        }
    }
}
