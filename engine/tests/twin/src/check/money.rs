//! Money is conserved: clearing is empty between commands, and escrow holds what is owed.

use std::collections::BTreeMap;

use exahour_wire::codes::{DeliveryOutcome, TransferKind};
use exahour_wire::events::{DeliveryAssigned, DeliverySettled, MoneyMoved};
use exahour_wire::limits::{BANK_ACCOUNT, CLEARING_ACCOUNT, ESCROW_ACCOUNT, MONEY_MAX};
use exahour_wire::message::Message;
use exahour_wire::units::Nanos;

use super::{Violation, must};

#[derive(Clone, Copy, Debug)]
struct Obligation {
    value: i128,
    window: u64,
    buyer: u32,
    seller: u32,
}

/// Balances and what is owed.
#[derive(Clone, Debug, Default)]
pub(super) struct Money {
    transfers: u64,
    balances: BTreeMap<u32, i128>,
    obligations: BTreeMap<u64, Obligation>,
    obligations_made: u64,
    /// Deliveries paid in this command, by obligation and kind.
    paid: Vec<MoneyMoved>,
}

impl Money {
    pub(super) fn on_event(&mut self, event: &[u8]) -> Result<(), Violation> {
        if let Some(moved) = MoneyMoved::read(event) {
            self.on_transfer(&moved)?;
        } else if let Some(assigned) = DeliveryAssigned::read(event) {
            self.obligations_made += 1;
            must(assigned.obligation.0 == self.obligations_made, || {
                "obligations are numbered without gap".to_owned()
            })?;
            let hours = u64::from(assigned.hours.0);
            let rate = i128::from(assigned.price.0) * i128::from(assigned.quantity.0);
            let obligation = Obligation {
                value: rate * i128::from(hours),
                window: hours * Nanos::HOUR.0,
                buyer: assigned.buyer.0,
                seller: assigned.seller.0,
            };
            self.obligations.insert(assigned.obligation.0, obligation);
        } else if let Some(settled) = DeliverySettled::read(event) {
            self.on_settled(&settled)?;
        }
        Ok(())
    }

    fn on_transfer(&mut self, moved: &MoneyMoved) -> Result<(), Violation> {
        self.transfers += 1;
        must(moved.transfer.0 == self.transfers, || {
            "transfers are numbered without gap".to_owned()
        })?;
        must(moved.amount.0 > 0, || "a transfer is positive".to_owned())?;
        must(moved.debit != moved.credit, || {
            "a transfer has two accounts".to_owned()
        })?;
        let amount = i128::from(moved.amount.0);
        *self.balances.entry(moved.debit.0).or_default() -= amount;
        *self.balances.entry(moved.credit.0).or_default() += amount;
        let delivery = matches!(
            moved.kind.decode(),
            Some(
                TransferKind::DeliveryPayment
                    | TransferKind::DeliveryRefund
                    | TransferKind::DeliveryCompensation
            )
        );
        if delivery {
            self.paid.push(*moved);
        }
        must(moved.kind.decode().is_some(), || {
            "a transfer says why".to_owned()
        })
    }

    fn on_settled(&mut self, settled: &DeliverySettled) -> Result<(), Violation> {
        let owed = self.obligations.remove(&settled.obligation.0);
        let owed = owed.ok_or("an obligation is settled once, after it was assigned")?;
        let (paid, refunded) = (i128::from(settled.paid.0), i128::from(settled.refunded.0));
        must(
            paid + refunded == owed.value && paid >= 0 && refunded >= 0,
            || "what was prepaid is paid or refunded".to_owned(),
        )?;
        let share = owed.value * i128::from(settled.verified.0);
        let window = i128::from(owed.window);
        must(
            paid * window <= share && share < (paid + 1) * window,
            || "the seller is paid for verified time, rounded down".to_owned(),
        )?;
        let compensated = i128::from(settled.compensated.0);
        must(
            compensated * 10 >= refunded && compensated * 10 < refunded + 10,
            || "a tenth of the refund is paid on top, rounded up".to_owned(),
        )?;
        let outcome = match settled.verified.0 {
            0 => DeliveryOutcome::Failed,
            verified if verified == owed.window => DeliveryOutcome::Delivered,
            _ => DeliveryOutcome::Partial,
        };
        must(settled.outcome == outcome.into(), || {
            "the outcome fits the time".to_owned()
        })?;
        let escrow = ESCROW_ACCOUNT.0;
        let (buyer, seller) = (owed.buyer, owed.seller);
        let expected: Vec<(u32, u32, i64)> = [
            (escrow, seller, settled.paid.0),
            (escrow, buyer, settled.refunded.0),
            (seller, buyer, settled.compensated.0),
        ]
        .into_iter()
        .filter(|(_, _, amount)| *amount > 0)
        .collect();
        let moved: Vec<(u32, u32, i64)> = self
            .paid
            .drain(..)
            .map(|moved| (moved.debit.0, moved.credit.0, moved.amount.0))
            .collect();
        must(moved == expected, || {
            "the money moved as the settlement says".to_owned()
        })
    }

    pub(super) fn at_end_of_command(&self) -> Result<(), Violation> {
        let balance = |account: u32| self.balances.get(&account).copied().unwrap_or(0);
        let sum: i128 = self.balances.values().sum();
        must(sum == 0, || format!("balances sum to zero, not {sum}"))?;
        let clearing = balance(CLEARING_ACCOUNT.0);
        must(clearing == 0, || {
            format!("clearing is empty, not {clearing}")
        })?;
        let owed: i128 = self.obligations.values().map(|owed| owed.value).sum();
        let escrow = balance(ESCROW_ACCOUNT.0);
        must(escrow == owed, || {
            format!("escrow holds {owed} for open obligations, not {escrow}")
        })?;
        let brought_in = -balance(BANK_ACCOUNT.0);
        must(brought_in <= i128::from(MONEY_MAX.0), || {
            format!("{brought_in} was brought in, more than may be")
        })
    }
}
