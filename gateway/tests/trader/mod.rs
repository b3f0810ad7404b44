//! A trader that wants each of its orders in exactly once, however often its connection is lost.
//!
//! Always holds: an order is sent again only where it was told that it was not applied.
// Each test binary uses its part; what goes wrong fails the test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use exahour_gateway::client::{Client, ClientError, ClientEvent, TypedReport};
use exahour_gateway::clock::Clock;
use exahour_wire::codes::TerminationCode;
use exahour_wire::events::OrderAccepted;

use crate::exchange::order;

/// Orders by name: wanted, sent under a number and unanswered, accepted.
#[derive(Default)]
pub struct Trader {
    pub wanted: Vec<u64>,
    pub sent: BTreeMap<u32, u64>,
    pub accepted: Vec<u64>,
    pub reports: u32,
    /// How often the client has found a leader by itself.
    pub found: u32,
}

impl Trader {
    fn on_event(&mut self, event: ClientEvent<'_>) {
        match event {
            ClientEvent::Report(report) => {
                self.reports += 1;
                assert_eq!(
                    report.prefix().sequence.0,
                    self.reports,
                    "in order, each once"
                );
                if let TypedReport::Gap(_) = report.typed() {
                    return;
                }
                let accepted: OrderAccepted = report.read().unwrap();
                let name = self.sent.remove(&accepted.client_sequence.0);
                assert_eq!(name, Some(accepted.client_order_id.0));
                self.accepted.push(accepted.client_order_id.0);
            }
            ClientEvent::NotApplied { from, count } => {
                for sequence in from.0..from.0 + count {
                    self.wanted
                        .push(self.sent.remove(&sequence).expect("it was sent"));
                }
            }
            ClientEvent::Busy { sequence } => {
                self.wanted
                    .push(self.sent.remove(&sequence.0).expect("it was sent"));
            }
            ClientEvent::Established { .. } => self.found += 1,
            ClientEvent::Terminated { code, .. } => {
                // The connection before was cut, so its successor may end it by name.
                assert_eq!(code.decode(), Some(TerminationCode::Superseded));
            }
        }
    }

    /// Sends up to so many orders that it still wants.
    ///
    /// # Errors
    /// As [`Client::queue`] and [`Client::flush`].
    pub fn send<C: Clock>(
        &mut self,
        client: &mut Client<C>,
        batch: usize,
    ) -> Result<(), ClientError> {
        for _ in 0..batch.min(self.wanted.len()) {
            let name = *self.wanted.last().unwrap();
            let sequence = client.queue(&order(name, 1, 0))?;
            self.wanted.pop();
            self.sent.insert(sequence.0, name);
        }
        client.flush()
    }

    /// Takes up to so many events; gives how many there were.
    ///
    /// # Errors
    /// As [`Client::poll`].
    pub fn listen<C: Clock>(
        &mut self,
        client: &mut Client<C>,
        batch: usize,
    ) -> Result<usize, ClientError> {
        for count in 0..batch {
            match client.poll()? {
                Some(event) => self.on_event(event),
                None => return Ok(count),
            }
        }
        Ok(batch)
    }
}
