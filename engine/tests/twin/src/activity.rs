//! Chapter 6, what sessions did: worked out from the reports themselves.
//!
//! Called by `reports` with each numbered report, and when a day is over.
//!
//! Always holds: who did nothing since the day began has no entry.

use exahour_wire::codes::CancelReason;
use exahour_wire::events::{
    CommandRejected, OrderAccepted, OrderCancelled, OrderFilled, OrderRejected, OrderReplaced,
    SessionActivity,
};
use exahour_wire::ids::SessionId;
use exahour_wire::message::Message;
use exahour_wire::operations::SessionActivityRequest;
use exahour_wire::reject::Reject;
use exahour_wire::units::{Nanos, Quantity};

use crate::admission::{Sender, ensure};
use crate::twin::Twin;

/// What a session did, and when the day of it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Activity {
    pub(crate) ends_at: Nanos,
    orders: u64,
    replaces: u64,
    cancels: u64,
    rejects: u64,
    trades: u64,
    lots_ordered: u128,
    lots_traded: u128,
}

impl Activity {
    /// Counts a report; whether there was anything to count.
    fn count(&mut self, report: &[u8]) -> bool {
        if let Some(accepted) = OrderAccepted::read(report) {
            self.orders += 1;
            self.lots_ordered += u128::from(accepted.quantity.0);
        } else if let Some(replaced) = OrderReplaced::read(report) {
            self.replaces += 1;
            self.lots_ordered += u128::from(replaced.leaves.0);
        } else if let Some(filled) = OrderFilled::read(report) {
            self.trades += 1;
            self.lots_traded += u128::from(filled.quantity.0);
        } else if let Some(cancelled) = OrderCancelled::read(report) {
            let asked_for = [
                CancelReason::Requested,
                CancelReason::MassCancel,
                CancelReason::ReplacedToNothing,
            ];
            if !asked_for.map(Into::into).contains(&cancelled.reason) {
                return false;
            }
            self.cancels += 1;
        } else if OrderRejected::read(report).is_some() || CommandRejected::read(report).is_some() {
            self.rejects += 1;
        } else {
            return false;
        }
        true
    }

    fn told(&self, of: SessionId) -> SessionActivity {
        let narrow = |lots: u128| Quantity(lots.min(u128::from(u64::MAX)) as u64);
        let messages = self.orders + self.replaces + self.cancels;
        let ratio = match self.trades {
            0 => 0,
            trades => u128::from(messages) * 1_000_000 / u128::from(trades),
        };
        SessionActivity {
            orders: self.orders,
            replaces: self.replaces,
            cancels: self.cancels,
            rejects: self.rejects,
            trades: self.trades,
            lots_ordered: narrow(self.lots_ordered),
            lots_traded: narrow(self.lots_traded),
            ratio: ratio as u64,
            target: of.0,
            ..SessionActivity::blank()
        }
    }
}

impl Twin {
    /// Counts a numbered report to a session.
    pub(crate) fn count_activity(&mut self, of: SessionId, report: &[u8]) {
        let mut activity = self.activities.get(&of).copied().unwrap_or_default();
        if activity.count(report) {
            // A day goes on until its end has been told, late or not.
            let under_way = self.activities.values().map(|it| it.ends_at).min();
            let days = self.now.0 / Nanos::DAY.0;
            let fresh = Nanos((days + 1).saturating_mul(Nanos::DAY.0));
            activity.ends_at = under_way.unwrap_or(fresh);
            self.activities.insert(of, activity);
        }
    }

    pub(crate) fn session_activity(
        &mut self,
        sender: &Sender,
        question: &SessionActivityRequest,
    ) -> Result<(), Reject> {
        let of = SessionId(question.target);
        let session = self.sessions.get(&of);
        let own = session.is_some_and(|session| self.owns(sender, session.participant));
        ensure(own, Reject::UnknownSession)?;
        let activity = self.activities.get(&of).copied().unwrap_or_default();
        let event = SessionActivity {
            request: question.request,
            day: Nanos(self.now.0 / Nanos::DAY.0 * Nanos::DAY.0),
            client_sequence: question.sequence,
            ..activity.told(of)
        };
        self.report(sender.session, event);
        Ok(())
    }

    /// The day is over for everybody who did something in it.
    pub(crate) fn end_day(&mut self) {
        for (of, activity) in std::mem::take(&mut self.activities) {
            let event = SessionActivity {
                day: Nanos(activity.ends_at.0 - Nanos::DAY.0),
                ..activity.told(of)
            };
            self.report(of, event);
        }
    }
}
