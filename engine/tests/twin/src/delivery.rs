//! Chapter 7: longs and shorts are paired, machines reported, obligations paid.
//!
//! Called when an instrument expires and for the commands of the settlement process.
//!
//! Always holds: escrow holds exactly the value of the obligations that are not settled.

use exahour_wire::codes::{DeliveryOutcome, Permissions, TransferKind};
use exahour_wire::events::{DeliveryAssigned, DeliverySettled, MachineReady};
use exahour_wire::ids::{AccountId, InstrumentId, ObligationId, SessionId};
use exahour_wire::limits::ESCROW_ACCOUNT;
use exahour_wire::message::{AccessKey, Message};
use exahour_wire::operations::{ConfirmDelivery, DeliveryFailed, DeliveryStarted};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Hours, Money, Nanos, Price, Quantity};

use crate::admission::{Sender, ensure};
use crate::twin::{Obligation, Twin};

/// Lots that one account must still give or take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holding {
    account: AccountId,
    lots: i128,
}

/// A long and a short that are brought together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    buyer: AccountId,
    seller: AccountId,
    lots: i128,
}

/// Brings longs and shorts together: first equal sizes, then the rest in order.
fn pair(mut longs: Vec<Holding>, mut shorts: Vec<Holding>) -> Vec<Pair> {
    let largest_first = |holding: &Holding| (-holding.lots, holding.account);
    longs.sort_by_key(largest_first);
    shorts.sort_by_key(largest_first);
    let mut pairs = Vec::new();
    longs.retain(|long| {
        let equal = shorts.iter().position(|short| short.lots == long.lots);
        if let Some(place) = equal {
            let short = shorts.remove(place);
            pairs.push(Pair {
                buyer: long.account,
                seller: short.account,
                lots: long.lots,
            });
        }
        equal.is_none()
    });
    while let (Some(long), Some(short)) = (longs.first_mut(), shorts.first_mut()) {
        let lots = long.lots.min(short.lots);
        pairs.push(Pair {
            buyer: long.account,
            seller: short.account,
            lots,
        });
        long.lots -= lots;
        short.lots -= lots;
        longs.retain(|holding| holding.lots > 0);
        shorts.retain(|holding| holding.lots > 0);
    }
    pairs
}

impl Twin {
    /// Makes an obligation of each pair; positions are then zero.
    pub(crate) fn assign_deliveries(&mut self, instrument: InstrumentId, final_price: i64) {
        let holders = self.holders(instrument);
        let holding = |(account, lots): &(AccountId, i128)| Holding {
            account: *account,
            lots: lots.abs(),
        };
        let longs = holders.iter().filter(|(_, lots)| *lots > 0).map(holding);
        let shorts = holders.iter().filter(|(_, lots)| *lots < 0).map(holding);
        for pair in pair(longs.collect(), shorts.collect()) {
            self.assign(instrument, final_price, pair);
        }
        self.positions.retain(|(of, _), _| *of != instrument);
    }

    fn assign(&mut self, instrument: InstrumentId, final_price: i64, pair: Pair) {
        let definition = self.instruments[&instrument].definition;
        let hours = i128::from(definition.hours.0);
        let value = i128::from(final_price) * pair.lots * hours;
        self.counts.obligations += 1;
        let id = ObligationId(self.counts.obligations);
        let kind = TransferKind::DeliveryPrepayment;
        self.transfer(pair.buyer, ESCROW_ACCOUNT, value, kind, id.0);
        self.obligations.insert(
            id,
            Obligation {
                buyer: pair.buyer,
                seller: pair.seller,
                hours,
                value,
                collateral: pair.lots * i128::from(definition.initial_margin.0),
                settled: false,
            },
        );
        let key = self.accounts[&pair.buyer].key;
        self.fact(DeliveryAssigned {
            obligation: id,
            instrument,
            hours: Hours(definition.hours.0),
            buyer: pair.buyer,
            seller: pair.seller,
            quantity: Quantity(pair.lots as u64),
            price: Price(final_price),
            delivery_start: definition.delivery_start,
            key: key.map_or(AccessKey::default(), |(_, key)| key),
            ..DeliveryAssigned::blank()
        });
    }

    /// The obligation, if it exists and is open.
    fn open_obligation(&self, id: ObligationId) -> Result<Obligation, Reject> {
        let obligation = self.obligations.get(&id);
        let obligation = *obligation.ok_or(Reject::UnknownObligation)?;
        ensure(!obligation.settled, Reject::ObligationSettled)?;
        Ok(obligation)
    }

    pub(crate) fn delivery_started(
        &mut self,
        sender: &Sender,
        command: &DeliveryStarted,
    ) -> Result<(), Reject> {
        self.ensure_may(sender, Permissions::SETTLEMENT)?;
        let obligation = self.open_obligation(command.obligation)?;
        let key = self.accounts[&obligation.buyer].key;
        let registered_by = key.map_or(SessionId::NONE, |(session, _)| session);
        let event = MachineReady {
            obligation: command.obligation,
            buyer: obligation.buyer,
            address: command.address,
            host_key: command.host_key,
            port: command.port,
            ..MachineReady::blank()
        };
        self.report(registered_by, event);
        self.done(sender, 0);
        Ok(())
    }

    pub(crate) fn confirm_delivery(
        &mut self,
        sender: &Sender,
        command: &ConfirmDelivery,
    ) -> Result<(), Reject> {
        self.close_obligation(sender, command.obligation, command.verified)
    }

    pub(crate) fn delivery_failed(
        &mut self,
        sender: &Sender,
        command: &DeliveryFailed,
    ) -> Result<(), Reject> {
        self.close_obligation(sender, command.obligation, command.verified)
    }

    fn close_obligation(
        &mut self,
        sender: &Sender,
        id: ObligationId,
        verified: Nanos,
    ) -> Result<(), Reject> {
        self.ensure_may(sender, Permissions::SETTLEMENT)?;
        let obligation = self.open_obligation(id)?;
        let window = obligation.hours * i128::from(Nanos::HOUR.0);
        let time = i128::from(verified.0);
        ensure(time <= window, Reject::VerifiedTimeTooLong)?;
        if let Some(obligation) = self.obligations.get_mut(&id) {
            obligation.settled = true;
        }
        let (buyer, seller) = (obligation.buyer, obligation.seller);
        let paid = obligation.value * time / window;
        let refunded = obligation.value - paid;
        let compensated = (refunded + 9) / 10;
        let (payment, refund, compensation) = (
            TransferKind::DeliveryPayment,
            TransferKind::DeliveryRefund,
            TransferKind::DeliveryCompensation,
        );
        self.transfer(ESCROW_ACCOUNT, seller, paid, payment, id.0);
        self.transfer(ESCROW_ACCOUNT, buyer, refunded, refund, id.0);
        self.transfer(seller, buyer, compensated, compensation, id.0);
        let outcome = if time == window {
            DeliveryOutcome::Delivered
        } else if time == 0 {
            DeliveryOutcome::Failed
        } else {
            DeliveryOutcome::Partial
        };
        self.fact(DeliverySettled {
            obligation: id,
            verified,
            paid: Money(paid as i64),
            refunded: Money(refunded as i64),
            compensated: Money(compensated as i64),
            outcome: outcome.into(),
            ..DeliverySettled::blank()
        });
        self.done(sender, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holdings(of: &[(u32, i128)]) -> Vec<Holding> {
        let holding = |(account, lots): &(u32, i128)| Holding {
            account: AccountId(*account),
            lots: *lots,
        };
        of.iter().map(holding).collect()
    }

    #[test]
    fn equal_sizes_are_paired_first_and_the_rest_in_order() {
        // Sorted longs: 101 (7), 100 (5), 102 (5), 103 (1). Sorted shorts: 203 (8), 200 (5), 201 (5).
        let longs = holdings(&[(100, 5), (101, 7), (102, 5), (103, 1)]);
        let shorts = holdings(&[(201, 5), (200, 5), (203, 8)]);
        let made: Vec<_> = pair(longs, shorts)
            .iter()
            .map(|pair| (pair.buyer.0, pair.seller.0, pair.lots))
            .collect();
        let expected = [(100, 200, 5), (102, 201, 5), (101, 203, 7), (103, 203, 1)];
        assert_eq!(made, expected);
    }

    #[test]
    fn an_equal_size_further_down_goes_before_larger_ones() {
        let made: Vec<_> = pair(
            holdings(&[(100, 9), (101, 3)]),
            holdings(&[(200, 8), (201, 3), (202, 1)]),
        )
        .iter()
        .map(|pair| (pair.buyer.0, pair.seller.0, pair.lots))
        .collect();
        assert_eq!(made, [(101, 201, 3), (100, 200, 8), (100, 202, 1)]);
    }
}
