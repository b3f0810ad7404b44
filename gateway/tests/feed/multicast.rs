//! The multicast feed over real sockets on the loopback interface: lines that lose, repeat and mix
//! up packets, clients that join at any moment, and their books against the right ones.
//!
//! Where the machine permits no multicast each test says that it is skipped.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use exahour_gateway::clock::{Clock, ManualClock, SystemClock};
use exahour_gateway::feed::multicast::{MulticastConfig, PACKET_BYTES_MAX};
use exahour_gateway::feed::multicast_client::MulticastClient;
use exahour_gateway::feed::updates::DEPTHS;
use exahour_gateway::image::Applied;
use exahour_gateway::sockets::{Group, GroupReceivers, GroupSender};
use exahour_rings::Agent;
use exahour_twin::seeds::seeds;
use exahour_wire::codes::FeedDepth;
use exahour_wire::ids::FeedSequence;
use exahour_wire::market_data::FeedPacket;
use exahour_wire::message::Message;
use exahour_wire::units::Nanos;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::event_log::{EventLog, Flood, settle, turn_until};
use crate::exchange::Exchange;

/// Groups that no other test, and no other run of this one, uses.
pub(crate) fn groups() -> [Group; 2] {
    static PAIRS: AtomicU16 = AtomicU16::new(0);
    let pair = PAIRS.fetch_add(1, Ordering::Relaxed);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    [1, 2].map(|line| Group {
        address: SocketAddrV4::new(Ipv4Addr::new(239, 192 + line, high, low), 20_000 + 3 * pair),
        interface: Ipv4Addr::LOCALHOST,
    })
}

/// Whether packets come back over the loopback interface; says so where they do not.
pub(crate) fn permitted() -> bool {
    let [group, _] = groups();
    let heard = || -> Option<()> {
        let receivers = GroupReceivers::join(&[group]).ok()?;
        let sender = GroupSender::open(group, 0).ok()?;
        let (started, mut room) = (Instant::now(), [0; 8]);
        while started.elapsed() < Duration::from_secs(5) {
            sender.send(b"here");
            if receivers.try_receive(0, &mut room).ok()? == Some(b"here") {
                return Some(());
            }
        }
        None
    };
    let permitted = heard().is_some();
    if !permitted {
        eprintln!("SKIPPED: this machine permits no multicast on its loopback interface");
    }
    permitted
}

/// Stands between the exchange and the clients, and does to packets what networks do.
struct Relay {
    from: GroupReceivers,
    to: [GroupSender; 2],
    late: Vec<(usize, Vec<u8>)>,
    loss: f64,
}

impl Relay {
    fn new(from: [Group; 2], to: [Group; 2], depth: FeedDepth) -> Self {
        let lines_of = |lines| MulticastConfig { lines, hops: 0 }.lines_of(depth);
        Relay {
            from: GroupReceivers::join(&lines_of(from)).unwrap(),
            to: lines_of(to).map(|group| GroupSender::open(group, 0).unwrap()),
            late: Vec::new(),
            loss: 0.0,
        }
    }

    fn turn(&mut self, rng: &mut ChaCha8Rng) {
        if rng.random_bool(0.05) {
            self.loss = [0.0, 0.02, 0.3, 1.0][rng.random_range(0..4)];
        }
        self.pass(rng, self.loss);
    }

    /// Passes on what came, all but a part; some twice, some late.
    fn pass(&mut self, rng: &mut ChaCha8Rng, loss: f64) {
        let mut room = [0; PACKET_BYTES_MAX];
        for line in 0..2 {
            while let Some(packet) = self.from.try_receive(line, &mut room).unwrap() {
                if rng.random_bool(loss) {
                    continue;
                }
                if rng.random_bool(0.1) {
                    self.late.push((line, packet.to_vec()));
                    continue;
                }
                self.to[line].send(packet);
                if rng.random_bool(0.1) {
                    self.to[line].send(packet);
                }
            }
        }
        while !self.late.is_empty() && rng.random_bool(0.5) {
            let place = rng.random_range(0..self.late.len());
            let (line, packet) = self.late.swap_remove(place);
            self.to[line].send(&packet);
        }
    }
}

/// Random flows through the real engine; relays that lose, repeat and mix up; clients of every depth that
/// join at any moment.
#[test]
fn clients_that_join_anywhere_and_lose_anything_hold_the_books() {
    if !permitted() {
        return;
    }
    let (mut recoveries, mut ranges, mut missed) = (0, 0, 0);
    let (mut compared, mut amends, mut bands_moved, mut guards_expired) = ([0; 3], 0, 0, 0);
    for seed in seeds(6) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut exchange = Exchange::new(seed);
        let mut log = EventLog::new();
        (0..rng.random_range(1..100)).for_each(|_| log.append(&exchange.step()));
        let (sent, heard) = (groups(), groups());
        // A short history: who loses much must start again with a snapshot.
        let mut agent = log.multicast(64 << 10, sent, SystemClock::default());
        let port = agent.address();
        let mut relays = DEPTHS.map(|depth| Relay::new(sent, heard, depth));
        let mut clock = ManualClock::new(Nanos(1));
        let join = |place: usize| MulticastClient::join(heard, DEPTHS[place % 3], port).unwrap();
        let mut clients: Vec<_> = (0..6).map(join).collect();
        for round in 0..400 {
            (0..rng.random_range(0..4)).for_each(|_| log.append(&exchange.step()));
            settle_a_little(&mut agent);
            relays.iter_mut().for_each(|relay| relay.turn(&mut rng));
            clock.advance(Nanos(1_000_000));
            for (place, client) in clients.iter_mut().enumerate() {
                if rng.random_bool(0.5) {
                    client.poll(clock.steady(), &mut |_, _| ()).unwrap();
                }
                let depth = client.image().depth();
                let next = agent.subscribers().publisher().history(depth).next();
                if client.image().whole() && client.image().next_sequence() == next {
                    exchange.check(client.image(), &format!("seed {seed}, round {round}"));
                    compared[depth as usize] += 1;
                }
                if rng.random_bool(0.005) {
                    recoveries += client.counts().recoveries;
                    ranges += client.counts().ranges;
                    missed += client.counts().missed.iter().sum::<u64>();
                    *client = join(place);
                }
            }
        }
        settle(&mut agent);
        for client in &mut clients {
            let history = agent.subscribers().publisher();
            let next = history.history(client.image().depth()).next();
            turn_until(&mut agent, &format!("seed {seed}"), || {
                relays.iter_mut().for_each(|relay| relay.turn(&mut rng));
                clock.advance(Nanos(1_000_000));
                client.poll(clock.steady(), &mut |_, _| ()).unwrap();
                client.settled() && client.image().next_sequence() == next
            });
            exchange.check(client.image(), &format!("seed {seed}, at the end"));
            recoveries += client.counts().recoveries;
            ranges += client.counts().ranges;
            missed += client.counts().missed.iter().sum::<u64>();
        }
        amends += exchange.amends;
        bands_moved += exchange.bands_moved;
        guards_expired += exchange.guards_expired;
    }
    println!("{recoveries} recoveries, {ranges} ranges, {missed} packets missed");
    println!("{compared:?} compared, {amends} amends, {bands_moved} moves of bands");
    println!("{guards_expired} expired with guards");
    assert!(recoveries > 100 && ranges > 20 && missed > 1000 && amends > 20);
    assert!(bands_moved > 20);
    assert!(compared.iter().all(|count| *count > 300));
}

/// A few turns: the log is read, clients of the port are served, packets go out.
fn settle_a_little(agent: &mut impl Agent) {
    (0..4).for_each(|_| {
        agent.do_work().unwrap();
    });
}

#[test]
fn the_lines_alone_bring_everything_and_each_alone_is_enough() {
    if !permitted() {
        return;
    }
    let (mut flood, mut log) = Flood::logged();
    let lines = groups();
    let mut agent = log.multicast(1 << 20, lines, SystemClock::default());
    let nobody = groups()[0];
    let mut clock = ManualClock::new(Nanos(1));
    let port = agent.address();
    let mixed_up = groups();
    let mut relay = Relay::new(lines, mixed_up, FeedDepth::Orders);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let heard = [lines, [lines[0], nobody], [nobody, lines[1]], mixed_up];
    let mut clients =
        heard.map(|lines| MulticastClient::join(lines, FeedDepth::Orders, port).unwrap());
    for client in &mut clients {
        turn_until(&mut agent, "joining", || {
            relay.pass(&mut rng, 0.0);
            clock.advance(Nanos(100_000));
            client.poll(clock.steady(), &mut |_, _| ()).unwrap();
            client.settled()
        });
    }
    for _ in 0..100 {
        log.append(&flood.churn(20));
        let next = FeedSequence(
            agent
                .subscribers()
                .publisher()
                .history(FeedDepth::Orders)
                .next()
                .0
                + 80,
        );
        for client in &mut clients {
            turn_until(&mut agent, "following", || {
                relay.pass(&mut rng, 0.0);
                client.poll(clock.steady(), &mut |_, _| ()).unwrap();
                client.image().next_sequence() == next
            });
        }
    }
    for client in &clients {
        assert_eq!(client.counts().recoveries, 1, "only to join: {client:?}");
    }
    assert_eq!(clients[0].counts().missed, [0, 0]);
    assert_eq!(clients[1].counts().packets[1], 0);
    assert!(clients[3].counts().missed[0] > 10, "{:?}", clients[3]);
}

#[test]
fn both_lines_carry_the_same_packets_and_what_is_no_packet_does_no_harm() {
    if !permitted() {
        return;
    }
    let (mut flood, mut log) = Flood::logged();
    let lines = groups();
    let mut clock = ManualClock::new(Nanos(1));
    let mut agent = log.multicast(1 << 20, lines, clock.clone());
    let receivers = GroupReceivers::join(&lines).unwrap();
    settle_a_little(&mut agent);
    log.append(&flood.churn(200));
    let (mut heard, mut room) = ([Vec::new(), Vec::new()], [0; 2048]);
    turn_until(&mut agent, "800 messages", || {
        for (line, heard) in heard.iter_mut().enumerate() {
            while let Some(packet) = receivers.try_receive(line, &mut room).unwrap() {
                assert!(packet.len() <= PACKET_BYTES_MAX);
                heard.push(packet.to_vec());
            }
        }
        let ends = heard
            .each_ref()
            .map(|heard| heard.last().map(|it| end_of(it)));
        ends == [Some(802), Some(802)]
    });
    assert_eq!(heard[0], heard[1]);
    for (before, after) in heard[0].iter().zip(&heard[0][1..]) {
        let next = FeedPacket::read(after).unwrap();
        assert_eq!(next.packet, FeedPacket::read(before).unwrap().packet + 1);
        assert_eq!(
            next.first_sequence.0,
            end_of(before),
            "no number is left out"
        );
    }
    // Every packet cut, lengthened and with each of its first bytes changed.
    let attacked = groups();
    let sender = GroupSender::open(attacked[0], 0).unwrap();
    let mut client = MulticastClient::join(attacked, FeedDepth::Orders, agent.address()).unwrap();
    for packet in heard[0].iter().step_by(8) {
        let cuts = (0..packet.len())
            .step_by(7)
            .map(|end| packet[..end].to_vec());
        let longer = [[&packet[..], &[0; 9]].concat()];
        let other = (0..120.min(packet.len())).map(|place| {
            let mut packet = packet.clone();
            packet[place] ^= 0x55;
            packet
        });
        for bad in cuts.chain(longer).chain(other) {
            sender.send(&bad);
            clock.advance(Nanos(10_000_000));
            client.poll(clock.steady(), &mut |_, _| ()).unwrap();
            agent.do_work().unwrap();
        }
    }
    assert!(client.counts().malformed > 100, "{:?}", client.counts());
    turn_until(&mut agent, "what was told and is not there", || {
        sender.send(&heard[0][0]);
        clock.advance(Nanos(10_000_000));
        client.poll(clock.steady(), &mut |_, _| ()).unwrap();
        client.settled() && client.image().next_sequence() == FeedSequence(802)
    });
}

/// More than sockets hold at once: what the lines lose on their way is asked of the port.
#[test]
fn a_burst_arrives_whole_and_in_order() {
    if !permitted() {
        return;
    }
    let (mut flood, mut log) = Flood::logged();
    let lines = groups();
    let mut clock = ManualClock::new(Nanos(1));
    let mut agent = log.multicast(32 << 20, lines, clock.clone());
    let mut client = MulticastClient::join(lines, FeedDepth::Orders, agent.address()).unwrap();
    turn_until(&mut agent, "joining", || {
        clock.advance(Nanos(100_000));
        client.poll(clock.steady(), &mut |_, _| ()).unwrap();
        client.settled()
    });
    let recoveries = client.counts().recoveries;
    // All of it is there before the first turn.
    (0..25).for_each(|_| log.append(&flood.churn(500)));
    let (first, end) = (client.image().next_sequence().0, 2 + 50_000);
    let mut next = first;
    turn_until(&mut agent, "the burst", || {
        clock.advance(Nanos(1_000_000));
        let mut on_message = |message: &[u8], applied| {
            if applied == Applied::Update {
                // The number stands behind the header of every message.
                assert_eq!(message[8..16], next.to_le_bytes());
                next += 1;
            }
            assert_ne!(applied, Applied::Snapshot, "nothing is skipped");
        };
        client.poll(clock.steady(), &mut on_message).unwrap();
        client.settled() && client.image().next_sequence() == FeedSequence(end)
    });
    assert_eq!((first, next), (2, end));
    let counts = client.counts();
    println!("{counts:?}");
    assert_eq!(counts.refused, 0);
    assert!(counts.recoveries <= recoveries + 2, "{counts:?}");
    let orders = &agent.multicast()[FeedDepth::Orders as usize];
    assert_eq!(orders.lost(), [0, 0], "the system took every packet");
}

#[test]
fn a_client_with_a_gap_in_every_other_packet_is_never_refused() {
    if !permitted() {
        return;
    }
    let (mut flood, mut log) = Flood::logged();
    let (sent, heard) = (groups(), groups());
    let mut clock = ManualClock::new(Nanos(1));
    let mut agent = log.multicast(4 << 20, sent, clock.clone());
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut relay = Relay::new(sent, heard, FeedDepth::Orders);
    let mut client = MulticastClient::join(heard, FeedDepth::Orders, agent.address()).unwrap();
    for _ in 0..3000 {
        // A packet of one command each; both lines lose about half of them.
        log.append(&flood.churn(1));
        settle_a_little(&mut agent);
        relay.pass(&mut rng, 0.7);
        clock.advance(Nanos(1_000_000));
        client.poll(clock.steady(), &mut |_, _| ()).unwrap();
    }
    let publisher = agent.subscribers().publisher();
    let next = publisher.history(FeedDepth::Orders).next();
    turn_until(&mut agent, "the rest", || {
        relay.pass(&mut rng, 0.0);
        clock.advance(Nanos(1_000_000));
        client.poll(clock.steady(), &mut |_, _| ()).unwrap();
        client.settled() && client.image().next_sequence() == next
    });
    let counts = client.counts();
    println!("{counts:?}");
    assert!(counts.ranges > 300 && counts.recoveries < 10, "{counts:?}");
    assert_eq!(counts.refused, 0);
}

#[test]
fn where_both_lines_fall_silent_the_port_goes_on() {
    if !permitted() {
        return;
    }
    let (mut flood, mut log) = Flood::logged();
    let (sent, heard) = (groups(), groups());
    let mut agent = log.multicast(1 << 20, sent, SystemClock::default());
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut relay = Relay::new(sent, heard, FeedDepth::Orders);
    let mut clock = ManualClock::new(Nanos(1));
    let mut client = MulticastClient::join(heard, FeedDepth::Orders, agent.address()).unwrap();
    turn_until(&mut agent, "joining", || {
        relay.pass(&mut rng, 0.0);
        clock.advance(Nanos(100_000));
        client.poll(clock.steady(), &mut |_, _| ()).unwrap();
        client.settled()
    });
    for (loss, settled) in [(1.0, false), (0.0, true), (1.0, false)] {
        log.append(&flood.churn(20));
        settle(&mut agent);
        let next = agent
            .subscribers()
            .publisher()
            .history(FeedDepth::Orders)
            .next();
        turn_until(&mut agent, "the rest", || {
            relay.pass(&mut rng, loss);
            clock.advance(Nanos(10_000_000));
            client.poll(clock.steady(), &mut |_, _| ()).unwrap();
            client.settled() == settled && client.image().next_sequence() == next
        });
    }
}

fn end_of(packet: &[u8]) -> u64 {
    let header = FeedPacket::read(packet).unwrap();
    header.first_sequence.0 + u64::from(header.count)
}
