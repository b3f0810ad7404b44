//! Who gained and who lost: each account has received exactly what its trades are worth by now.
//!
//! Always holds: variation margin received = lots held x settlement price x hours - what the trades
//! cost, summed over all contracts. It says nothing of how or when the margin moved.

use std::collections::{BTreeMap, BTreeSet};

use exahour_wire::codes::{Raw, Side, TransferKind};
use exahour_wire::events::{
    DeliveryAssigned, InstrumentExpired, InstrumentListed, InstrumentSettled, MoneyMoved,
    OrderFilled, TradeBusted, TradeCorrected,
};
use exahour_wire::limits::{CLEARING_ACCOUNT, ESCROW_ACCOUNT};
use exahour_wire::message::Message;
use exahour_wire::units::{Price, Quantity};

use super::{Violation, must};

#[derive(Clone, Copy, Debug)]
struct Contract {
    hours: i128,
    settlement_price: i128,
}

/// Trades of one account in one contract: delivery does not change them.
#[derive(Clone, Copy, Debug, Default)]
struct Trades {
    lots: i128,
    /// Price times lots, less what was sold.
    cost: i128,
}

/// Gains by account.
#[derive(Clone, Debug, Default)]
pub(super) struct Gains {
    contracts: BTreeMap<u32, Contract>,
    trades: BTreeMap<(u32, u32), Trades>,
    received: BTreeMap<u32, i128>,
    last_transfer: Option<MoneyMoved>,
    /// Accounts whose gains may have changed in this command.
    touched: BTreeSet<u32>,
}

impl Gains {
    pub(super) fn on_event(&mut self, event: &[u8]) -> Result<(), Violation> {
        if let Some(moved) = MoneyMoved::read(event) {
            self.last_transfer = Some(moved);
            if moved.kind == TransferKind::VariationMargin.into() {
                let amount = i128::from(moved.amount.0);
                for (account, change) in [(moved.debit, -amount), (moved.credit, amount)] {
                    *self.received.entry(account.0).or_default() += change;
                    self.touched.insert(account.0);
                }
            }
        } else if let Some(listed) = InstrumentListed::read(event) {
            let contract = Contract {
                hours: i128::from(listed.hours.0),
                settlement_price: i128::from(listed.reference_price.0),
            };
            self.contracts.insert(listed.instrument.0, contract);
        } else if let Some(filled) = OrderFilled::read(event) {
            self.on_filled(&filled);
        } else if let Some(busted) = TradeBusted::read(event) {
            let of = (busted.instrument.0, busted.account.0);
            self.on_lots(of, busted.side, (busted.price, busted.quantity), -1);
        } else if let Some(corrected) = TradeCorrected::read(event) {
            let of = (corrected.instrument.0, corrected.account.0);
            let before = (corrected.price_before, corrected.quantity_before);
            self.on_lots(of, corrected.side, before, -1);
            let after = (corrected.price, corrected.quantity);
            self.on_lots(of, corrected.side, after, 1);
        } else if let Some(settled) = InstrumentSettled::read(event) {
            self.on_price(settled.instrument.0, settled.price.0)?;
        } else if let Some(expired) = InstrumentExpired::read(event) {
            self.on_price(expired.instrument.0, expired.price.0)?;
        } else if let Some(assigned) = DeliveryAssigned::read(event) {
            let rate = i128::from(assigned.price.0) * i128::from(assigned.quantity.0);
            let value = rate * i128::from(assigned.hours.0);
            let prepaid = self.last_transfer.is_some_and(|moved| {
                moved.debit == assigned.buyer
                    && moved.credit == ESCROW_ACCOUNT
                    && i128::from(moved.amount.0) == value
                    && moved.reference == assigned.obligation.0
            });
            must(prepaid, || {
                "the buyer prepays what it will receive".to_owned()
            })?;
        }
        Ok(())
    }

    fn on_filled(&mut self, filled: &OrderFilled) {
        let of = (filled.instrument.0, filled.account.0);
        self.on_lots(of, filled.side, (filled.price, filled.quantity), 1);
    }

    /// Counts a trade of one account, so many times.
    fn on_lots(
        &mut self,
        of: (u32, u32),
        side: Raw<Side>,
        (price, quantity): (Price, Quantity),
        times: i128,
    ) {
        let lots = times * i128::from(quantity.0);
        let lots = match side.decode() {
            Some(Side::Buy) => lots,
            _ => -lots,
        };
        let trades = self.trades.entry(of).or_default();
        trades.lots += lots;
        trades.cost += lots * i128::from(price.0);
        self.touched.insert(of.1);
    }

    fn on_price(&mut self, instrument: u32, price: i64) -> Result<(), Violation> {
        let contract = self.contracts.get_mut(&instrument);
        let contract = contract.ok_or("a contract that has a price was listed")?;
        contract.settlement_price = i128::from(price);
        let holders = self.trades.keys().filter(|(of, _)| *of == instrument);
        self.touched.extend(holders.map(|(_, account)| *account));
        Ok(())
    }

    fn gain(&self, account: u32) -> i128 {
        let trades = self.trades.iter().filter(|((_, of), _)| *of == account);
        trades
            .map(|((instrument, _), trades)| {
                let contract = self.contracts[instrument];
                (trades.lots * contract.settlement_price - trades.cost) * contract.hours
            })
            .sum()
    }

    pub(super) fn at_end_of_command(&mut self) -> Result<(), Violation> {
        for account in std::mem::take(&mut self.touched) {
            let received = self.received.get(&account).copied().unwrap_or(0);
            let gain = match account == CLEARING_ACCOUNT.0 {
                true => 0,
                false => self.gain(account),
            };
            must(received == gain, || {
                format!("account {account} gained {gain} and received {received}")
            })?;
        }
        Ok(())
    }
}
