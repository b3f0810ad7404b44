//! A node that sends its market data to two multicast groups: who listens there holds its books.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use exahour_gateway::clock::{Clock, SystemClock};
use exahour_gateway::feed::multicast_client::MulticastClient;
use exahour_gateway::sockets::{Group, GroupReceivers, GroupSender};
use exahour_replicas::Node;
use exahour_wire::codes::{FeedDepth, Side};
use exahour_wire::events::OrderAccepted;
use exahour_wire::ids::InstrumentId;

use crate::exchange::{PATIENCE, config_with, connect, next_report};
use crate::in_and_out::order;

/// Groups that no other run of this test uses.
fn lines() -> [Group; 2] {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    [11, 12].map(|line| Group {
        address: SocketAddrV4::new(Ipv4Addr::new(239, 192 + line, high, low), 20_000),
        interface: Ipv4Addr::LOCALHOST,
    })
}

/// Whether packets come back over the loopback interface; says so where they do not.
fn permitted([group, _]: [Group; 2]) -> bool {
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

#[test]
fn a_node_sends_its_books_to_both_groups() {
    let lines = lines();
    if !permitted(lines) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = lines.map(|line| line.address);
    let table = format!(
        "[multicast]\na = {{ group = \"{a}\", interface = \"127.0.0.1\" }}\n\
         b = {{ group = \"{b}\", interface = \"127.0.0.1\" }}\nhops = 0\n"
    );
    let node = Node::start(&config_with(folder.path(), &table)).unwrap();
    let mut client =
        MulticastClient::join(lines, FeedDepth::Orders, node.addresses().market_data).unwrap();
    let mut clock = SystemClock::default();
    let started = Instant::now();
    let mut follow = |until: &dyn Fn(&MulticastClient) -> bool| {
        while !until(&client) {
            client.poll(clock.steady(), &mut |_, _| ()).unwrap();
            client.wait(Duration::from_millis(1));
            assert!(started.elapsed() < PATIENCE, "{client:?}");
        }
        client.counts()
    };
    let joined = follow(&|client| client.settled());
    let mut beta = connect(&node, 2);
    beta.send(&order(1, 200, Side::Sell, 10)).unwrap();
    let resting: OrderAccepted = next_report(&mut beta);
    let counts = follow(&|client| client.image().books().order(resting.order).is_some());
    assert_eq!(counts.recoveries, joined.recoveries, "only to join");
    assert!(counts.packets.iter().all(|packets| *packets > 0));
    let book = client.image().books().book(InstrumentId(1)).unwrap();
    assert_eq!(book.top().ask_quantity, resting.quantity);
    drop(beta);
    node.stop().unwrap();
}
