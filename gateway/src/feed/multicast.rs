//! Sends the messages of the feed as packets to two multicast groups, the lines A and B.
//!
//! Turned by the market data agent, after it let clients in.
//!
//! ```text
//! | FeedPacket: packet 12, first 81720, count 3, source | framed 81720 | framed 81721 | framed 81722 |
//!
//! history -> cut into packets -> waiting: 12 13 14 15 16 17 18
//!                                         ^B       ^A          each line goes at its own pace
//! ```
//! Always holds: both lines carry the same bytes; messages go out in the order of their numbers, and
//! a number goes out once; a turn sends a bounded number of packets and waits for nobody. A line that the system
//! takes no packet from is tried again in the next turn, and goes on where it stands; it loses the oldest packet
//! when more than [`PACKETS_WAITING_MAX`] wait, or when the history holds its messages no more.
//! Does not: send anything again. Who lost something asks the market data port.

use std::collections::VecDeque;

use exahour_wire::codes::FeedDepth;
use exahour_wire::framing::FRAMING_BYTES;
use exahour_wire::ids::FeedSequence;
use exahour_wire::limits::MESSAGE_BYTES_MAX;
use exahour_wire::market_data::FeedPacket;
use exahour_wire::message::Message;
use exahour_wire::units::Nanos;

use super::history::{History, Overrun};
use crate::clock::Steady;
use crate::error::GatewayError;
use crate::image::Source;
use crate::sockets::{Group, GroupSender, ManySent, PACKETS_PER_CALL, PacketParts};

/// Bytes of a packet at most: it fits the frame of any network, with room for tunnels.
pub const PACKET_BYTES_MAX: usize = 1_400;

/// Packets made in a turn, and sent in a turn on either line.
const PACKETS_PER_TURN: usize = 512;

/// Bytes of messages that a turn sends at least, where so many wait and the system takes them.
pub const MESSAGE_BYTES_PER_TURN: usize =
    PACKETS_PER_TURN * (PACKET_BYTES_MAX - FeedPacket::BYTES - FRAMING_BYTES - MESSAGE_BYTES_MAX);

/// Packets that wait for a line which the system takes none from.
pub const PACKETS_WAITING_MAX: usize = 8 * PACKETS_PER_TURN;

/// Silence after which a packet without messages says which number comes next.
pub const PACKET_SILENCE_MAX: Nanos = Nanos(100_000_000);

// A packet holds any message.
const _: () =
    assert!(PACKET_BYTES_MAX >= size_of::<FeedPacket>() + FRAMING_BYTES + MESSAGE_BYTES_MAX);

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
    lines: [Line; 2],
    /// The message that is packed next; `None` before the first turn.
    next: Option<FeedSequence>,
    /// How many packets were made so far: the number of the newest.
    packets: u64,
    /// The headers of packets that did not go out on both lines yet.
    waiting: VecDeque<FeedPacket>,
    last_made: Steady,
}

/// One of the two groups.
#[derive(Debug)]
struct Line {
    sender: GroupSender,
    /// The number of the packet that goes out next.
    next: u64,
    lost: u64,
}

impl Line {
    fn new(sender: GroupSender) -> Self {
        Line {
            sender,
            next: 1,
            lost: 0,
        }
    }

    fn lose(&mut self) {
        self.next += 1;
        self.lost += 1;
    }

    /// Sends what waits, a bounded part of it, until the system takes no more.
    fn send(&mut self, waiting: &VecDeque<FeedPacket>, history: &History) {
        for _ in 0..PACKETS_PER_TURN.div_ceil(PACKETS_PER_CALL) {
            let Some(first) = waiting.front() else {
                return;
            };
            // Everything that waits is numbered without a hole, from its first on.
            let ahead = waiting.range((self.next - first.packet) as usize..);
            let mut parts: [PacketParts<'_>; PACKETS_PER_CALL] = [[&[]; 3]; PACKETS_PER_CALL];
            let mut count = 0;
            for (header, parts) in ahead.zip(&mut parts) {
                let Ok(messages) = messages_of(header, history) else {
                    break;
                };
                *parts = [header.bytes(), messages[0], messages[1]];
                count += 1;
            }
            if count == 0 {
                if self.next > first.packet + (waiting.len() as u64 - 1) {
                    return;
                }
                self.lose();
                continue;
            }
            match self.sender.send_many(&parts[..count]) {
                ManySent::Packets(sent) => self.next += sent as u64,
                ManySent::Full => return,
                ManySent::FirstLost => self.lose(),
            }
        }
    }
}

/// The framed messages of a packet.
fn messages_of<'h>(header: &FeedPacket, history: &'h History) -> Result<[&'h [u8]; 2], Overrun> {
    let end = FeedSequence(header.first_sequence.0 + u64::from(header.count));
    match header.count {
        0 => Ok([&[], &[]]),
        _ => history.framed_between(header.first_sequence, end),
    }
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
        let senders = [
            GroupSender::open(a, config.hops)?,
            GroupSender::open(b, config.hops)?,
        ];
        Ok(Self::over(senders, depth, source))
    }

    fn over(senders: [GroupSender; 2], depth: FeedDepth, source: Source) -> Self {
        Multicast {
            depth,
            source,
            lines: senders.map(Line::new),
            next: None,
            packets: 0,
            waiting: VecDeque::with_capacity(PACKETS_WAITING_MAX),
            last_made: Steady::default(),
        }
    }

    /// Which feed goes out.
    pub fn depth(&self) -> FeedDepth {
        self.depth
    }

    /// How many packets were made so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Packets that did not go out, on A and on B.
    pub fn lost(&self) -> [u64; 2] {
        self.lines.each_ref().map(|line| line.lost)
    }

    /// Sends what is new in the history, a bounded part of it; gives how much there was to do.
    ///
    /// The first turn begins with the message to come: what was before is for snapshots.
    pub fn turn(&mut self, history: &History, time: Nanos, now: Steady) -> usize {
        let before = self.lines.each_ref().map(|line| line.next);
        let made = self.pack(history, time, now);
        for line in &mut self.lines {
            line.send(&self.waiting, history);
        }
        let [a, b] = self.lines.each_ref().map(|line| line.next);
        while self.waiting.front().is_some_and(|it| it.packet < a.min(b)) {
            self.waiting.pop_front();
        }
        // Moving on by a packet on either line is work, too; so is nothing that must wait for room.
        made + usize::from(before != [a, b])
    }

    /// Makes packets of what is new; gives how many.
    fn pack(&mut self, history: &History, time: Nanos, now: Steady) -> usize {
        let first_turn = self.next.is_none();
        let mut next = self.next.unwrap_or(history.next());
        let mut made = 0;
        while next < history.next() && made < PACKETS_PER_TURN {
            let room = PACKET_BYTES_MAX - FeedPacket::BYTES;
            let Ok((after, _)) = history.framed(next, room) else {
                // More came than is kept, in turns that sent less: clients see the hole and ask for a snapshot.
                next = history.oldest();
                continue;
            };
            self.make(next, after, time);
            next = after;
            made += 1;
        }
        let silent = made == 0 && now >= self.last_made.after(PACKET_SILENCE_MAX);
        if silent || first_turn {
            self.make(next, next, time);
            made += 1;
        }
        if made > 0 {
            self.last_made = now;
        }
        self.next = Some(next);
        made
    }

    /// Makes one packet of the messages from `first` up to but not including `end`.
    fn make(&mut self, first: FeedSequence, end: FeedSequence, time: Nanos) {
        if self.waiting.len() >= PACKETS_WAITING_MAX
            && let Some(oldest) = self.waiting.pop_front()
        {
            let behind = |line: &&mut Line| line.next == oldest.packet;
            self.lines.iter_mut().filter(behind).for_each(Line::lose);
        }
        self.packets += 1;
        self.waiting.push_back(FeedPacket {
            packet: self.packets,
            first_sequence: first,
            sending_time: time,
            // A packet holds far fewer messages than a u16 counts.
            count: (end.0 - first.0) as u16,
            depth: self.depth.into(),
            exchange: self.source.exchange,
            started_at: self.source.started_at,
            ..FeedPacket::blank()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use exahour_wire::ids::{ExchangeId, InstrumentId};

    use super::*;

    const SOURCE: Source = Source {
        exchange: ExchangeId(7),
        started_at: Nanos(9),
    };

    /// A line that the system takes a few packets from, until somebody reads.
    fn line() -> (GroupSender, UnixDatagram) {
        let (here, there) = UnixDatagram::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        there.set_nonblocking(true).unwrap();
        (GroupSender::over(here), there)
    }

    /// The packets that are there, at most so many.
    fn read(line: &UnixDatagram, most: usize) -> Vec<Vec<u8>> {
        let mut room = [0; PACKET_BYTES_MAX];
        let packets =
            std::iter::from_fn(|| line.recv(&mut room).ok().map(|it| room[..it].to_vec()));
        packets.take(most).collect()
    }

    /// So many messages of several lengths.
    fn fill(history: &mut History, count: usize) {
        for number in 0..count {
            history.push(InstrumentId(1), &vec![number as u8; 40 + number % 60]);
        }
    }

    fn header(packet: &[u8]) -> FeedPacket {
        FeedPacket::read(packet).unwrap()
    }

    #[test]
    fn a_line_that_takes_little_gets_the_same_packets_later_and_holds_up_nobody() {
        let ((a, reader_a), (b, reader_b)) = (line(), line());
        let mut multicast = Multicast::over([a, b], FeedDepth::Orders, SOURCE);
        let mut history = History::new(16 << 20);
        let (mut heard_a, mut heard_b) = (Vec::new(), Vec::new());
        for turn in 0..600 {
            fill(&mut history, 60);
            multicast.turn(&history, Nanos(turn), Steady(turn));
            heard_a.extend(read(&reader_a, usize::MAX));
            assert_eq!(heard_a.len() as u64, multicast.packets(), "turn {turn}");
            // The other is read more slowly than packets come.
            heard_b.extend(read(&reader_b, 1));
        }
        assert!(multicast.waiting.len() > 500, "{}", multicast.waiting.len());
        while heard_b.len() < heard_a.len() {
            let before = heard_b.len();
            heard_b.extend(read(&reader_b, usize::MAX));
            multicast.turn(&history, Nanos(0), Steady::default());
            assert!(heard_b.len() > before || heard_b.len() == heard_a.len());
        }
        assert!(heard_a == heard_b && heard_a.len() > 1_500);
        assert_eq!(multicast.lost(), [0, 0]);
        assert_eq!(multicast.waiting.len(), 0);
    }

    #[test]
    fn a_line_that_takes_nothing_loses_the_oldest_and_the_other_nothing() {
        let ((a, reader_a), (b, reader_b)) = (line(), line());
        let mut multicast = Multicast::over([a, b], FeedDepth::Orders, SOURCE);
        let mut history = History::new(64 << 20);
        let mut heard_a = Vec::new();
        while multicast.packets() < 2 * PACKETS_WAITING_MAX as u64 {
            fill(&mut history, 1_000);
            multicast.turn(&history, Nanos(0), Steady(1));
            loop {
                let more = read(&reader_a, usize::MAX);
                if more.is_empty() {
                    break;
                }
                heard_a.extend(more);
                multicast.turn(&history, Nanos(0), Steady(1));
            }
        }
        assert_eq!(heard_a.len() as u64, multicast.packets());
        let mut heard_b = read(&reader_b, usize::MAX);
        while heard_b.last().map(|it| header(it).packet) != Some(multicast.packets()) {
            multicast.turn(&history, Nanos(0), Steady(1));
            heard_b.extend(read(&reader_b, usize::MAX));
        }
        let [lost_a, lost_b] = multicast.lost();
        assert_eq!(
            (lost_a, heard_b.len() as u64 + lost_b),
            (0, multicast.packets())
        );
        assert!(lost_b > PACKETS_WAITING_MAX as u64 / 2, "{lost_b}");
        // What came is what the other line brought, with one hole.
        let of_a = |packet: &Vec<u8>| &heard_a[header(packet).packet as usize - 1];
        assert!(heard_b.iter().all(|packet| packet == of_a(packet)));
        let numbers: Vec<_> = heard_b.iter().map(|it| header(it).packet).collect();
        let holes = numbers.windows(2).filter(|it| it[1] != it[0] + 1).count();
        assert_eq!(holes, 1, "{numbers:?}");
    }

    #[test]
    fn a_line_whose_messages_are_kept_no_more_loses_them() {
        let ((a, reader_a), (b, reader_b)) = (line(), line());
        let mut multicast = Multicast::over([a, b], FeedDepth::Orders, SOURCE);
        let mut history = History::new(64 << 10);
        for _ in 0..100 {
            fill(&mut history, 100);
            multicast.turn(&history, Nanos(0), Steady(1));
            while !read(&reader_a, usize::MAX).is_empty() {
                multicast.turn(&history, Nanos(0), Steady(1));
            }
        }
        let mut heard_b = read(&reader_b, usize::MAX);
        while heard_b.last().map(|it| header(it).packet) != Some(multicast.packets()) {
            multicast.turn(&history, Nanos(0), Steady(1));
            heard_b.extend(read(&reader_b, usize::MAX));
        }
        let [lost_a, lost_b] = multicast.lost();
        assert_eq!(
            (lost_a, heard_b.len() as u64 + lost_b),
            (0, multicast.packets())
        );
        assert!(lost_b > 100, "{lost_b}");
    }
}
