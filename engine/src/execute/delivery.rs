//! Obligations: what settlement reports of them, and who is paid.
//!
//! Always holds: the value in escrow is paid out exactly once, all of it: to the seller for verified
//! time, rounded down, and the rest back to the buyer.

use exahour_wire::codes::{DeliveryOutcome, TransferKind};
use exahour_wire::events::{DeliverySettled, MachineReady};
use exahour_wire::ids::{AccountId, ClientOrderId, ObligationId};
use exahour_wire::limits::{ESCROW_ACCOUNT, NON_DELIVERY_PENALTY};
use exahour_wire::message::Message;
use exahour_wire::operations::DeliveryStarted;
use exahour_wire::reject::Reject;
use exahour_wire::units::{Hours, Money, Nanos};

use super::{Execute, Request};
use crate::batch::EventSink;
use crate::reporter::Output;

/// A duty to deliver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Obligation {
    pub(crate) buyer: AccountId,
    pub(crate) seller: AccountId,
    pub(crate) hours: Hours,
    /// Micro-dollars in escrow.
    pub(crate) value: i64,
    /// Micro-dollars of the seller that are locked.
    pub(crate) collateral: i128,
    pub(crate) settled: bool,
}

/// Who gets what, in micro-dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Split {
    paid: i64,
    refunded: i64,
    compensated: i64,
}

/// Splits a value by the part of the window that was verified.
fn split(value: i64, verified: Nanos, window: Nanos) -> Split {
    // Payouts round down, and the rest of the escrow is the buyer's; charges round up.
    let paid = i128::from(value) * i128::from(verified.0) / i128::from(window.0);
    let refunded = i128::from(value) - paid;
    let million = 1_000_000;
    let penalty = refunded * i128::from(NON_DELIVERY_PENALTY.0);
    let compensated = (penalty + million - 1) / million;
    // Each is at most the value itself.
    Split {
        paid: paid as i64,
        refunded: refunded as i64,
        compensated: compensated as i64,
    }
}

impl Execute {
    fn open_obligation(&mut self, id: ObligationId) -> Result<&mut Obligation, Reject> {
        let place =
            id.0.checked_sub(1)
                .and_then(|place| usize::try_from(place).ok());
        let found = place.and_then(|place| self.obligations.get_mut(place));
        let obligation = found.ok_or(Reject::UnknownObligation)?;
        if obligation.settled {
            Err(Reject::ObligationSettled)
        } else {
            Ok(obligation)
        }
    }

    /// Tells the buyer where the machine answers; again, where it has moved.
    pub(super) fn delivery_started<S: EventSink>(
        &mut self,
        report: &DeliveryStarted,
        request: Request,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        let buyer = self.open_obligation(report.obligation)?.buyer;
        let ready = MachineReady {
            obligation: report.obligation,
            buyer,
            address: report.address,
            host_key: report.host_key,
            port: report.port,
            ..Message::blank()
        };
        let session = self.ledger.account(buyer).access_session;
        self.reporter.report(out, session, ready);
        let request = Request {
            name: ClientOrderId(report.obligation.0),
            ..request
        };
        self.done(out, request, 0);
        Ok(())
    }

    /// Closes an obligation and pays.
    pub(super) fn settle_delivery<S: EventSink>(
        &mut self,
        id: ObligationId,
        verified: Nanos,
        request: Request,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        let obligation = self.open_obligation(id)?;
        let window = Nanos(u64::from(obligation.hours.0) * Nanos::HOUR.0);
        if verified > window {
            return Err(Reject::VerifiedTimeTooLong);
        }
        obligation.settled = true;
        let Obligation {
            buyer,
            seller,
            value,
            collateral,
            ..
        } = *obligation;
        let Split {
            paid,
            refunded,
            compensated,
        } = split(value, verified, window);
        let (payment, refund) = (TransferKind::DeliveryPayment, TransferKind::DeliveryRefund);
        self.move_money(out, (ESCROW_ACCOUNT, seller), paid, payment, id.0);
        self.move_money(out, (ESCROW_ACCOUNT, buyer), refunded, refund, id.0);
        let compensation = TransferKind::DeliveryCompensation;
        self.move_money(out, (seller, buyer), compensated, compensation, id.0);
        self.ledger.lock(seller, -collateral);
        let outcome = if verified == window {
            DeliveryOutcome::Delivered
        } else if verified == Nanos(0) {
            DeliveryOutcome::Failed
        } else {
            DeliveryOutcome::Partial
        };
        let settled = DeliverySettled {
            obligation: id,
            verified,
            paid: Money(paid),
            refunded: Money(refunded),
            compensated: Money(compensated),
            outcome: outcome.into(),
            ..Message::blank()
        };
        self.reporter.fact(out, settled);
        self.done(out, request, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_escrow_is_paid_out_wholly() {
        let window = Nanos(3 * Nanos::HOUR.0);
        let whole = split(1_000_000, window, window);
        assert_eq!(
            whole,
            Split {
                paid: 1_000_000,
                refunded: 0,
                compensated: 0
            }
        );
        let third = split(1_000_000, Nanos::HOUR, window);
        assert_eq!(
            third,
            Split {
                paid: 333_333,
                refunded: 666_667,
                compensated: 66_667
            }
        );
        let none = split(i64::MAX / 4, Nanos(0), window);
        assert_eq!(none.refunded, i64::MAX / 4);
    }
}
