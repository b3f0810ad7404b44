//! Orders of one client into a cluster, each accepted before the test goes on.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use exahour_gateway::client::{Client, ClientEvent};
use exahour_wire::codes::Side;
use exahour_wire::events::{OrderAccepted, SequenceGap};
use exahour_wire::orders::NewOrder;

use crate::group::{Group, PATIENCE};
use crate::in_and_out::order;

/// A client that counts its orders.
pub(crate) struct Trade {
    pub(crate) client: Client,
    /// How many are in.
    pub(crate) orders: u64,
}

impl Trade {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, orders: 0 }
    }

    /// Places so many more.
    pub(crate) fn place(&mut self, count: u64) {
        for _ in 0..count {
            self.orders += 1;
            place(&mut self.client, &order(self.orders, 100, Side::Buy, 1));
        }
    }

    /// Trades until these nodes have given up the beginning of their journals, up to an entry at least.
    pub(crate) fn until_released(&mut self, group: &Group, nodes: &[u64], entry: u64) {
        let begins = |id: &u64| group.status(*id).is_some_and(|it| it.first_index > entry);
        while !nodes.iter().all(begins) {
            self.place(500);
        }
    }

    /// Trades until each of these nodes has fetched a snapshot and is open again.
    pub(crate) fn until_reopened(&mut self, group: &mut Group, nodes: &[u64]) -> Vec<u64> {
        let mut again = Vec::new();
        // So little is kept here that a slow node may have to fetch another.
        while !nodes.iter().all(|node| again.contains(node)) {
            self.place(20);
            again.extend(group.reopen());
        }
        again
    }
}

/// Places an order with each of these names, one after the other.
pub(crate) fn place_all(client: &mut Client, names: RangeInclusive<u64>) {
    names.for_each(|name| place(client, &order(name, 100, Side::Buy, 1)));
}

/// Sends an order and waits until it is accepted, whoever leads meanwhile.
pub(crate) fn place(client: &mut Client, order: &NewOrder) {
    let end = Instant::now() + PATIENCE;
    let mut sent = false;
    loop {
        assert!(Instant::now() < end, "no report within {PATIENCE:?}");
        // Where it cannot be sent now, no number was used up; the next wait looks for the leader.
        sent = sent || client.send(order).is_ok();
        match client.wait(Duration::from_millis(100)).unwrap() {
            Some(ClientEvent::Report(report)) if report.read::<SequenceGap>().is_some() => {}
            Some(ClientEvent::Report(report)) => {
                let accepted: Option<OrderAccepted> = report.read();
                let accepted = accepted.unwrap_or_else(|| panic!("{:?}", report.prefix()));
                assert_eq!(accepted.client_order_id, order.client_order_id);
                return;
            }
            Some(ClientEvent::NotApplied { .. } | ClientEvent::Busy { .. }) => sent = false,
            Some(ClientEvent::Established { .. }) | None => {}
            Some(other) => panic!("{other:?}"),
        }
    }
}

/// Sends so many orders, many at a time, and waits until all are accepted, whoever leads meanwhile.
pub(crate) fn place_many(client: &mut Client, count: u64) {
    let end = Instant::now() + PATIENCE;
    let (mut accepted, mut under_way, mut name) = (0, 0, 0);
    while accepted < count {
        assert!(Instant::now() < end, "{accepted} of {count} were accepted");
        while accepted + under_way < count && under_way < 2_000 {
            name += 1;
            if client.queue(&order(name, 100, Side::Buy, 1)).is_err() {
                break;
            }
            under_way += 1;
        }
        let _ = client.flush();
        match client.wait(Duration::from_millis(100)).unwrap() {
            Some(ClientEvent::Report(report)) if report.read::<OrderAccepted>().is_some() => {
                accepted += 1;
                under_way -= 1;
            }
            Some(ClientEvent::NotApplied { count, .. }) => under_way -= u64::from(count),
            Some(ClientEvent::Busy { .. }) => under_way -= 1,
            _ => {}
        }
    }
}

/// Sends so many orders, many at a time, while nobody fails.
pub(crate) fn flood(client: &mut Client, account: u32, orders: u64) {
    let (mut sent, mut accepted) = (0, 0);
    while accepted < orders {
        while sent < orders && sent < accepted + 500 {
            sent += 1;
            client.queue(&order(sent, account, Side::Buy, 1)).unwrap();
        }
        client.flush().unwrap();
        match client.wait(Duration::from_secs(10)).unwrap() {
            Some(ClientEvent::Report(_)) => accepted += 1,
            Some(other) => panic!("{other:?}"),
            None => panic!("{accepted} of {orders} are in, and nothing comes"),
        }
    }
}
