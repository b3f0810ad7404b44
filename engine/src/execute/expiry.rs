//! The end of a contract: last marks, and who delivers to whom.
//!
//! Called when an instrument's last trading time is due.
//!
//! Always holds: lots assigned to buyers equal lots assigned to sellers; afterwards no position and
//! no order of the instrument is left.
//!
//! Source of the pairing rule: matching of longs and shorts by size, as clearing houses of physical
//! energy futures do it; `docs/RULEBOOK.md`, section 7.

use exahour_wire::codes::{CancelReason, Scope, TransferKind};
use exahour_wire::events::{DeliveryAssigned, InstrumentExpired};
use exahour_wire::ids::{AccountId, InstrumentId, ObligationId};
use exahour_wire::limits::ESCROW_ACCOUNT;
use exahour_wire::message::Message;
use exahour_wire::units::{Price, Quantity};

use super::delivery::Obligation;
use super::{Execute, Instrument};
use crate::batch::EventSink;
use crate::reporter::Output;

/// One account's lots on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holding {
    account: AccountId,
    lots: u64,
}

/// A buyer and a seller, and how much passes between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    buyer: AccountId,
    seller: AccountId,
    lots: u64,
}

impl Execute {
    /// Ends an instrument.
    pub(super) fn expire_instrument<S: EventSink>(
        &mut self,
        id: InstrumentId,
        out: &mut Output<'_, S>,
    ) {
        // A call that is under way ends with its auction, whose price may be the final one.
        if let Some(mut instrument) = self.take_instrument(id) {
            self.end_call(&mut instrument, out);
            self.put_back(instrument);
        }
        self.cancel_scope(
            Scope::Instrument,
            id.0,
            CancelReason::InstrumentExpired,
            out,
        );
        let Some(mut instrument) = self.take_instrument(id) else {
            return;
        };
        let price = instrument.reference();
        self.mark(&mut instrument, price, out);
        instrument.expired = true;
        instrument.trading.stop();
        let expired = InstrumentExpired {
            instrument: id,
            price,
            open_interest: self.open_interest(&instrument),
            ..Message::blank()
        };
        self.reporter.fact(out, expired);
        let pairs = self.close_positions(&instrument);
        for pair in pairs {
            self.assign(&instrument, pair, price, out);
        }
        self.put_back(instrument);
    }

    /// Pairs longs and shorts and leaves every position at zero.
    fn close_positions(&mut self, instrument: &Instrument) -> Vec<Pair> {
        let (mut longs, mut shorts) = (Vec::new(), Vec::new());
        for slot in self.positions.of_instrument(instrument.id) {
            let position = self.positions.at_mut(slot);
            let (account, net) = (position.account, position.net);
            position.net = 0;
            let holding = Holding {
                account,
                lots: net.unsigned_abs(),
            };
            match net.signum() {
                1 => longs.push(holding),
                -1 => shorts.push(holding),
                _ => {}
            }
            self.relock(instrument, slot);
        }
        pair_by_size(longs, shorts)
    }

    fn assign<S: EventSink>(
        &mut self,
        instrument: &Instrument,
        pair: Pair,
        price: Price,
        out: &mut Output<'_, S>,
    ) {
        let terms = &instrument.terms;
        let obligation = ObligationId(self.obligations.len() as u64 + 1);
        // Within the position cap of the terms, so within 64 bits.
        let value = i128::from(price.0) * i128::from(pair.lots) * i128::from(terms.hours.0);
        let value = value as i64;
        let collateral = i128::from(terms.initial_margin.0) * i128::from(pair.lots);
        let kind = TransferKind::DeliveryPrepayment;
        self.move_money(out, (pair.buyer, ESCROW_ACCOUNT), value, kind, obligation.0);
        self.ledger.lock(pair.seller, collateral);
        self.obligations.push(Obligation {
            buyer: pair.buyer,
            seller: pair.seller,
            hours: terms.hours,
            value,
            collateral,
            settled: false,
        });
        let assigned = DeliveryAssigned {
            obligation,
            instrument: instrument.id,
            hours: terms.hours,
            buyer: pair.buyer,
            seller: pair.seller,
            quantity: Quantity(pair.lots),
            price,
            delivery_start: terms.delivery_start,
            key: self.ledger.account(pair.buyer).access_key,
            ..Message::blank()
        };
        self.reporter.fact(out, assigned);
    }
}

/// Pairs by size: exact equals first, then the rest in order.
///
/// The two sides must hold the same number of lots in all.
fn pair_by_size(mut longs: Vec<Holding>, mut shorts: Vec<Holding>) -> Vec<Pair> {
    let by_size = |holding: &Holding| (std::cmp::Reverse(holding.lots), holding.account);
    longs.sort_unstable_by_key(by_size);
    shorts.sort_unstable_by_key(by_size);
    let mut pairs = Vec::new();
    // Both are sorted by size, so the first short of a long's size is found by one merge.
    let mut place = 0;
    for long in &mut longs {
        while place < shorts.len() && shorts[place].lots > long.lots {
            place += 1;
        }
        if place < shorts.len() && shorts[place].lots == long.lots {
            let (buyer, seller) = (long.account, shorts[place].account);
            pairs.push(Pair {
                buyer,
                seller,
                lots: long.lots,
            });
            long.lots = 0;
            shorts[place].lots = 0;
            place += 1;
        }
    }
    longs.retain(|holding| holding.lots > 0);
    shorts.retain(|holding| holding.lots > 0);
    let mut sellers = shorts.into_iter();
    let mut seller = sellers.next();
    for mut long in longs {
        while let Some(short) = seller.as_mut().filter(|_| long.lots > 0) {
            let lots = long.lots.min(short.lots);
            pairs.push(Pair {
                buyer: long.account,
                seller: short.account,
                lots,
            });
            long.lots -= lots;
            short.lots -= lots;
            if short.lots == 0 {
                seller = sellers.next();
            }
        }
        assert!(long.lots == 0);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holdings(all: &[(u32, u64)]) -> Vec<Holding> {
        all.iter()
            .map(|(id, lots)| Holding {
                account: AccountId(*id),
                lots: *lots,
            })
            .collect()
    }

    fn paired(longs: &[(u32, u64)], shorts: &[(u32, u64)]) -> Vec<(u32, u32, u64)> {
        let pairs = pair_by_size(holdings(longs), holdings(shorts));
        pairs
            .iter()
            .map(|pair| (pair.buyer.0, pair.seller.0, pair.lots))
            .collect()
    }

    #[test]
    fn equals_are_paired_first() {
        let pairs = paired(&[(1, 5), (2, 3)], &[(7, 3), (8, 4), (9, 1)]);
        assert_eq!(pairs, [(2, 7, 3), (1, 8, 4), (1, 9, 1)]);
    }

    #[test]
    fn one_size_is_paired_by_account() {
        let pairs = paired(&[(2, 3), (1, 3)], &[(9, 3), (8, 3)]);
        assert_eq!(pairs, [(1, 8, 3), (2, 9, 3)]);
    }

    #[test]
    fn what_is_left_is_paired_in_order() {
        let pairs = paired(&[(1, 10)], &[(5, 6), (6, 4)]);
        assert_eq!(pairs, [(1, 5, 6), (1, 6, 4)]);
    }
}
