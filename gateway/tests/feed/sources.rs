//! Whose feed it is: several nodes on one pair of groups, and nodes that start again.
//!
//! Where the machine permits no multicast each test says that it is skipped.

use exahour_gateway::clock::{Clock, ManualClock};
use exahour_gateway::feed::client::FeedClient;
use exahour_gateway::feed::market_data::MarketData;
use exahour_gateway::feed::multicast_client::MulticastClient;
use exahour_gateway::image::{Applied, FeedImage, Flow};
use exahour_gateway::sockets::Group;
use exahour_wire::codes::FeedDepth;
use exahour_wire::ids::FeedSequence;
use exahour_wire::units::Nanos;

use crate::event_log::{EventLog, Flood, settle, turn_until};
use crate::multicast::{groups, permitted};

/// What the node itself holds, and the client must.
fn same_books(image: &FeedImage, agent: &MarketData<ManualClock>) -> bool {
    let books = agent.subscribers().publisher().books();
    let own = image.books().orders_of(Flood::INSTRUMENT);
    own.eq(books.orders_of(Flood::INSTRUMENT))
}

fn next_of(agent: &MarketData<ManualClock>) -> FeedSequence {
    let publisher = agent.subscribers().publisher();
    publisher.history(FeedDepth::Orders).next()
}

/// A node with a log of its own.
struct Node {
    flood: Flood,
    log: EventLog,
    agent: MarketData<ManualClock>,
    clock: ManualClock,
}

impl Node {
    fn new(identity: u8, lines: [Group; 2], started_at: u64) -> Self {
        let (flood, log) = Flood::logged_at(EventLog::of_exchange(identity));
        let clock = ManualClock::new(Nanos(started_at));
        let agent = log.multicast(1 << 20, lines, clock.clone());
        Node {
            flood,
            log,
            agent,
            clock,
        }
    }
}

#[test]
fn clients_keep_to_the_node_of_their_port_whoever_else_sends_to_the_groups() {
    if !permitted() {
        return;
    }
    // Two exchanges, and two copies of one that have gone ways of their own.
    for (identities, starts) in [([7, 8], [5, 5]), ([7, 7], [5, 6]), ([7, 7], [6, 5])] {
        let lines = groups();
        let mut nodes = [0, 1].map(|it| Node::new(identities[it], lines, starts[it]));
        // Their numbers differ, and so do their orders.
        let ahead = nodes[1].flood.add(300);
        nodes[1].log.append(&ahead);
        let mut clock = ManualClock::new(Nanos(1));
        let mut clients = nodes.each_ref().map(|node| {
            let port = node.agent.address();
            MulticastClient::join(lines, FeedDepth::Orders, port).unwrap()
        });
        for round in 0..300 {
            for node in &mut nodes {
                let events = match round % 3 {
                    0 => node.flood.add(2),
                    _ => node.flood.churn(20),
                };
                node.log.append(&events);
                node.clock.advance(Nanos(5_000_000));
                settle(&mut node.agent);
            }
            clock.advance(Nanos(5_000_000));
            for client in &mut clients {
                client.poll(clock.steady(), &mut |_, _| ()).unwrap();
            }
        }
        for (client, node) in clients.iter_mut().zip(&mut nodes) {
            let next = next_of(&node.agent);
            turn_until(&mut node.agent, "the rest", || {
                node.clock.advance(Nanos(100_000));
                clock.advance(Nanos(100_000));
                client.poll(clock.steady(), &mut |_, _| ()).unwrap();
                client.settled() && client.image().next_sequence() == next
            });
            assert!(same_books(client.image(), &node.agent));
            let counts = client.counts();
            assert_eq!(counts.recoveries, 1, "only to join: {counts:?}");
            assert!(counts.strangers > 300, "{counts:?}");
            assert_eq!((counts.missed, counts.malformed), ([0, 0], 0));
        }
    }
}

/// What became of a client's books when a node came in the place of another at its port.
#[derive(Debug, PartialEq)]
enum Became {
    /// It went on where it stood.
    WentOn,
    /// It began with a snapshot, once.
    StartedAgain,
}

/// Stops a node of exchange 7 that has sent 1 + 4 x 50 messages, and starts one on `log` in its place.
fn replace_node(mut log: EventLog, mut flood: Flood) -> [Became; 2] {
    let (mut first_flood, mut first_log) = Flood::logged();
    let lines = groups();
    let mut clock = ManualClock::new(Nanos(1_000));
    let mut first = first_log.multicast(1 << 20, lines, clock.clone());
    let address = first.address();
    let mut on_lines = MulticastClient::join(lines, FeedDepth::Orders, address).unwrap();
    let mut on_port = FeedClient::new(address, FeedDepth::Orders, Flow::All);
    turn_until(&mut first, "joining", || {
        clock.advance(Nanos(100_000));
        on_port.poll(clock.steady(), &mut |_, _| ()).unwrap();
        on_lines.poll(clock.steady(), &mut |_, _| ()).unwrap();
        on_lines.settled() && on_port.image().whole()
    });
    first_log.append(&first_flood.churn(50));
    settle(&mut first);
    let next = next_of(&first);
    turn_until(&mut first, "following", || {
        clock.advance(Nanos(100_000));
        on_port.poll(clock.steady(), &mut |_, _| ()).unwrap();
        on_lines.poll(clock.steady(), &mut |_, _| ()).unwrap();
        [on_lines.image(), on_port.image()].map(FeedImage::next_sequence) == [next, next]
    });
    drop(first);

    let mut second = log.multicast_at(address, 1 << 20, lines, clock.clone());
    settle(&mut second);
    log.append(&flood.churn(30));
    log.append(&flood.add(10));
    settle(&mut second);
    let next = next_of(&second);
    let (mut snapshots, recoveries) = ([0, 0], on_lines.counts().recoveries);
    let mut count = |which: usize, applied: Applied| {
        snapshots[which] += usize::from(applied == Applied::Snapshot);
    };
    turn_until(&mut second, "the second", || {
        clock.advance(Nanos(1_000_000));
        let now = clock.steady();
        on_lines.poll(now, &mut |_, it| count(0, it)).unwrap();
        on_port.poll(now, &mut |_, it| count(1, it)).unwrap();
        let images = [on_lines.image(), on_port.image()];
        on_lines.settled() && images.map(|it| (it.whole(), it.next_sequence())) == [(true, next); 2]
    });
    // Everything after that comes over the lines.
    for _ in 0..20 {
        log.append(&flood.churn(5));
        settle(&mut second);
        let next = next_of(&second);
        turn_until(&mut second, "going on", || {
            clock.advance(Nanos(1_000_000));
            on_lines.poll(clock.steady(), &mut |_, _| ()).unwrap();
            on_lines.image().next_sequence() == next
        });
    }
    assert!(same_books(on_lines.image(), &second));
    let asked = on_lines.counts().recoveries - recoveries;
    assert!((1..=2).contains(&asked), "not again and again: {asked}");
    // A snapshot of one book: its definition, its beginning, its orders, its end.
    snapshots.map(|parts| match parts {
        0 => Became::WentOn,
        3..=13 => Became::StartedAgain,
        _ => panic!("{parts} parts of snapshots"),
    })
}

#[test]
fn clients_of_a_node_that_starts_again_go_on_and_of_another_start_again_once() {
    if !permitted() {
        return;
    }
    let log_of = |identity, messages| {
        let (mut flood, mut log) = Flood::logged_at(EventLog::of_exchange(identity));
        log.append(&flood.churn(messages));
        (log, flood)
    };
    let (log, flood) = log_of(7, 50);
    let went_on = [Became::WentOn, Became::WentOn];
    assert_eq!(replace_node(log, flood), went_on, "the same node");
    let started_again = [Became::StartedAgain, Became::StartedAgain];
    let (log, flood) = log_of(8, 50);
    assert_eq!(replace_node(log, flood), started_again, "another exchange");
    // Its journal lost the end, as after a power cut where acknowledgement does not wait for the disk.
    let (log, flood) = log_of(7, 40);
    assert_eq!(
        replace_node(log, flood),
        started_again,
        "less than was sent"
    );
}
