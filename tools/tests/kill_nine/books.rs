//! The ledger kept a second time, from trades alone.
//!
//! Called by the audit with every event of a run.
//!
//! Always holds: one contract of one hour, carried at its listing price; so a trade moves the
//! difference to that price, and nothing else moves money after the deposits.

use std::collections::BTreeMap;

use exahour_wire::codes::{Side, TransferKind};
use exahour_wire::events::{MoneyMoved, OrderFilled};
use exahour_wire::message::Message;

/// The listing price, in micro-dollars.
const CARRIED_AT: i64 = 2_500_000;

/// The exchange's own accounts.
const BANK: u32 = 1;
const CLEARING: u32 = 2;

/// Checks that every trade has two sides and that money is where trades put it; gives the trades.
pub(crate) fn check(events: &[&[u8]]) -> usize {
    let mut balances: BTreeMap<u32, i128> = BTreeMap::new();
    let mut expected: BTreeMap<u32, i128> = BTreeMap::new();
    let mut trades: BTreeMap<u64, Vec<OrderFilled>> = BTreeMap::new();
    let mut transfers = 0;
    for event in events {
        if let Some(moved) = MoneyMoved::read(event) {
            transfers += 1;
            assert_eq!(moved.transfer.0, transfers, "transfers have no gap");
            let amount = i128::from(moved.amount.0);
            assert!(amount > 0, "{moved:?}");
            *balances.entry(moved.debit.0).or_default() -= amount;
            *balances.entry(moved.credit.0).or_default() += amount;
            if moved.debit.0 == BANK {
                *expected.entry(BANK).or_default() -= amount;
                *expected.entry(moved.credit.0).or_default() += amount;
            } else {
                assert_eq!(moved.kind.decode(), Some(TransferKind::VariationMargin));
            }
        } else if let Some(fill) = OrderFilled::read(event) {
            trades.entry(fill.trade.0).or_default().push(fill);
            let difference = i128::from(fill.price.0 - CARRIED_AT) * i128::from(fill.quantity.0);
            let gain = match fill.side.decode().unwrap() {
                Side::Buy => -difference,
                Side::Sell => difference,
            };
            *expected.entry(fill.account.0).or_default() += gain;
        }
    }
    for (place, (trade, fills)) in trades.iter().enumerate() {
        assert_eq!(*trade, place as u64 + 1, "trades have no gap");
        let [maker, taker] = fills.as_slice() else {
            panic!("trade {trade} has not two sides: {fills:?}");
        };
        assert_eq!((maker.price, maker.quantity), (taker.price, taker.quantity));
        assert_ne!(maker.side, taker.side);
    }
    assert_eq!(balances.values().sum::<i128>(), 0);
    assert_eq!(balances.remove(&CLEARING).unwrap_or(0), 0);
    assert_eq!(balances, expected);
    trades.len()
}
