//! Chapter 4: money, positions, locks and what is available.
//!
//! Called by whoever moves money or asks whether there is enough. Locks are worked out from the
//! open orders each time.
//!
//! Always holds: every movement is one debit and one credit, so balances sum to zero.

use exahour_wire::codes::{ContractKind, Side, TransferKind};
use exahour_wire::events::MoneyMoved;
use exahour_wire::ids::{AccountId, InstrumentId, TradeId, TransferId};
use exahour_wire::limits::CLEARING_ACCOUNT;
use exahour_wire::message::Message;
use exahour_wire::units::Money;

use crate::twin::{Instrument, Order, Twin};

/// An open order as far as locks and limits are concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    pub(crate) side: Side,
    pub(crate) limit: i64,
    pub(crate) leaves: u64,
}

impl From<&Order> for Open {
    fn from(order: &Order) -> Self {
        Self {
            side: order.side,
            limit: order.dearest(),
            leaves: order.leaves,
        }
    }
}

/// The lots open on one side.
pub(crate) fn lots_open(orders: &[Open], side: Side) -> i128 {
    let of_side = orders.iter().filter(|order| order.side == side);
    of_side.map(|order| i128::from(order.leaves)).sum()
}

/// Rule 4.3: the lock of an account with this position and these open orders.
pub(crate) fn lock(instrument: &Instrument, position: i128, orders: &[Open]) -> i128 {
    let hours = instrument.hours();
    let settlement = i128::from(instrument.settlement_price);
    let margin_short = i128::from(instrument.definition.initial_margin.0);
    let margin_long = match instrument.kind {
        ContractKind::Future => margin_short,
        ContractKind::Spot => settlement * hours,
    };
    let buys = lots_open(orders, Side::Buy);
    let sells = lots_open(orders, Side::Sell);
    let at_worst_long = (position + buys).max(0) * margin_long;
    let at_worst_short = (sells - position).max(0) * margin_short;
    let loss_on_fill: i128 = orders
        .iter()
        .map(|order| {
            let above = i128::from(order.limit) - settlement;
            let loss = match order.side {
                Side::Buy => above,
                Side::Sell => -above,
            };
            loss.max(0) * i128::from(order.leaves) * hours
        })
        .sum();
    at_worst_long.max(at_worst_short) + loss_on_fill
}

impl Twin {
    /// Rule 4.1: moves money, if it is any.
    pub(crate) fn transfer(
        &mut self,
        debit: AccountId,
        credit: AccountId,
        amount: i128,
        kind: TransferKind,
        reference: u64,
    ) {
        assert!(amount >= 0, "a transfer of {amount} from {debit}");
        if amount == 0 {
            return;
        }
        *self.balances.entry(debit).or_default() -= amount;
        *self.balances.entry(credit).or_default() += amount;
        self.counts.transfers += 1;
        let Ok(narrow) = i64::try_from(amount) else {
            panic!("a transfer of {amount} does not fit its field");
        };
        let event = MoneyMoved {
            transfer: TransferId(self.counts.transfers),
            debit,
            credit,
            amount: Money(narrow),
            reference,
            kind: kind.into(),
            ..MoneyMoved::blank()
        };
        self.fact(event);
    }

    pub(crate) fn balance(&self, account: AccountId) -> i128 {
        self.balances.get(&account).copied().unwrap_or(0)
    }

    pub(crate) fn position(&self, instrument: InstrumentId, account: AccountId) -> i128 {
        let position = self.positions.get(&(instrument, account));
        position.copied().unwrap_or(0)
    }

    pub(crate) fn change_position(
        &mut self,
        instrument: InstrumentId,
        account: AccountId,
        change: i128,
    ) {
        let position = self.positions.entry((instrument, account)).or_default();
        *position += change;
        if *position == 0 {
            self.positions.remove(&(instrument, account));
        }
    }

    /// Who holds how many lots, by ascending account.
    pub(crate) fn holders(&self, instrument: InstrumentId) -> Vec<(AccountId, i128)> {
        let all = self.positions.iter();
        all.filter(|((of, _), _)| *of == instrument)
            .map(|((_, account), position)| (*account, *position))
            .collect()
    }

    /// Lots held long.
    pub(crate) fn open_interest(&self, instrument: InstrumentId) -> i128 {
        let holders = self.holders(instrument).into_iter();
        holders.map(|(_, position)| position.max(0)).sum()
    }

    /// The open orders of an account in an instrument.
    pub(crate) fn open_orders(&self, instrument: InstrumentId, account: AccountId) -> Vec<Open> {
        let orders = self.orders.values();
        orders
            .filter(|order| order.instrument == instrument && order.account == account)
            .map(Open::from)
            .collect()
    }

    /// What every account has free: rule 4.4.
    #[must_use]
    pub fn purses(&self) -> Vec<(AccountId, i128)> {
        let accounts = self.accounts.keys();
        accounts.map(|id| (*id, self.available(*id))).collect()
    }

    /// Rule 4.4.
    pub(crate) fn available(&self, account: AccountId) -> i128 {
        let locks: i128 = self
            .instruments
            .iter()
            .map(|(id, instrument)| {
                let orders = self.open_orders(*id, account);
                lock(instrument, self.position(*id, account), &orders)
            })
            .sum();
        let collateral: i128 = self
            .obligations
            .values()
            .filter(|obligation| obligation.seller == account && !obligation.settled)
            .map(|obligation| obligation.collateral)
            .sum();
        self.balance(account) - locks - collateral
    }

    /// Rule 4.2: what a trade moves at once.
    pub(crate) fn settle_trade(
        &mut self,
        instrument: InstrumentId,
        (buyer, seller): (AccountId, AccountId),
        (price, lots): (i64, u64),
        trade: TradeId,
    ) {
        self.change_position(instrument, buyer, i128::from(lots));
        self.change_position(instrument, seller, -i128::from(lots));
        let contract = &self.instruments[&instrument];
        let above = i128::from(price) - i128::from(contract.settlement_price);
        let amount = above.abs() * i128::from(lots) * contract.hours();
        let (payer, receiver) = if above > 0 {
            (buyer, seller)
        } else {
            (seller, buyer)
        };
        let kind = TransferKind::VariationMargin;
        self.transfer(payer, CLEARING_ACCOUNT, amount, kind, trade.0);
        self.transfer(CLEARING_ACCOUNT, receiver, amount, kind, trade.0);
    }

    /// Chapter 6, marking: moves every position's gain or loss and sets the settlement price.
    pub(crate) fn mark(&mut self, instrument: InstrumentId, price: i64) {
        let contract = &self.instruments[&instrument];
        let rise = i128::from(price) - i128::from(contract.settlement_price);
        let hours = contract.hours();
        let gains: Vec<(AccountId, i128)> = self
            .holders(instrument)
            .into_iter()
            .map(|(account, position)| (account, rise * position * hours))
            .collect();
        let kind = TransferKind::VariationMargin;
        let reference = u64::from(instrument.0);
        for (account, gain) in gains.iter().filter(|(_, gain)| *gain < 0) {
            self.transfer(*account, CLEARING_ACCOUNT, -gain, kind, reference);
        }
        for (account, gain) in gains.iter().filter(|(_, gain)| *gain > 0) {
            self.transfer(CLEARING_ACCOUNT, *account, *gain, kind, reference);
        }
        if let Some(contract) = self.instruments.get_mut(&instrument) {
            contract.settlement_price = price;
        }
    }
}
