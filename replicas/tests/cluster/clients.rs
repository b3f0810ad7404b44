//! A client of all nodes, while the lead goes from one to the other: each of its orders gets in once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use exahour_gateway::client::{Client, ClientEvent, Report};
use exahour_replicas::{Reply, Request};
use exahour_wire::codes::Side;
use exahour_wire::events::{OrderAccepted, SequenceGap};

use crate::group::Group;
use crate::in_and_out::order;

const PATIENCE: Duration = Duration::from_secs(60);

/// Messages sent and not answered, at most.
const WINDOW: usize = 32;

/// What a client wants, has sent under which number, and was told.
struct Trader {
    client: Client,
    wanted: Vec<u64>,
    sent: BTreeMap<u32, u64>,
    accepted: Vec<u64>,
    /// How often a leader was found, the first time left out.
    found: u32,
    end: Instant,
}

impl Trader {
    fn new(client: Client, orders: u64) -> Self {
        Self {
            client,
            wanted: (1..=orders).rev().collect(),
            sent: BTreeMap::new(),
            accepted: Vec::new(),
            found: 0,
            end: Instant::now() + PATIENCE,
        }
    }

    /// Trades until so many orders are in.
    fn trade(&mut self, accepted: usize) {
        while self.accepted.len() < accepted {
            let (done, open) = (self.accepted.len(), self.sent.len());
            assert!(Instant::now() < self.end, "{done} are in, {open} unknown");
            self.send();
            self.listen();
        }
    }

    fn send(&mut self) {
        while self.client.is_established() && self.sent.len() < WINDOW {
            let Some(name) = self.wanted.pop() else {
                return;
            };
            match self.client.send(&order(name, 100, Side::Buy, 1)) {
                Ok(sequence) => assert_eq!(self.sent.insert(sequence.0, name), None),
                // No number was used up; the next poll looks for the leader.
                Err(_) => return self.wanted.push(name),
            }
        }
    }

    fn listen(&mut self) {
        let event = self.client.wait(Duration::from_millis(20)).unwrap();
        match event {
            None => {}
            Some(ClientEvent::Report(report)) => {
                let accepted = accepted(&report);
                if let Some(accepted) = accepted {
                    let name = self.sent.remove(&accepted.client_sequence.0);
                    assert_eq!(name, Some(accepted.client_order_id.0));
                    self.accepted.push(accepted.client_order_id.0);
                }
            }
            Some(ClientEvent::NotApplied { from, count }) => {
                for sequence in from.0..from.0 + count {
                    self.wanted.push(self.sent.remove(&sequence).unwrap());
                }
            }
            Some(ClientEvent::Busy { sequence }) => {
                self.wanted.push(self.sent.remove(&sequence.0).unwrap());
            }
            Some(ClientEvent::Established { .. }) => self.found += 1,
            Some(other) => panic!("{other:?}"),
        }
    }
}

/// The acceptance that a report is; none where it only holds the place of what was not applied.
fn accepted(report: &Report<'_>) -> Option<OrderAccepted> {
    if report.read::<SequenceGap>().is_some() {
        return None;
    }
    let accepted = report.read();
    Some(accepted.unwrap_or_else(|| panic!("{:?}", report.typed())))
}

#[test]
fn each_order_of_a_client_of_all_nodes_gets_in_once_whoever_leads() {
    const ORDERS: u64 = 1_000;
    let mut group = Group::founded(3);
    group.leader();
    let mut trader = Trader::new(group.connect_to_all(1), ORDERS);
    trader.trade(200);
    let leader = group.leader();
    let next = leader % 3 + 1;
    let asked = Request::StepDown(Some(exahour_replicas::NodeId(next)));
    assert_eq!(group.ask(leader, &asked), Reply::Done);
    trader.trade(400);
    // The leader goes without a word to its clients but the end.
    let leader = group.leader();
    group.stop(leader);
    trader.trade(600);
    group.start(leader);
    let leader = group.leader();
    group.stop(leader);
    trader.trade(800);
    group.start(leader);
    trader.trade(ORDERS as usize);
    assert!(trader.found >= 3, "{} changes were seen", trader.found);
    trader.accepted.sort_unstable();
    assert!(trader.accepted.iter().copied().eq(1..=ORDERS));
    trader.client.terminate().unwrap();
    let end = group.wait_until_level();
    group.history(end);
}
