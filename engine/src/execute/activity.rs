//! What each session has sent and traded in a UTC day: the numbers behind order-to-trade ratios.
//!
//! Counted where the reports are made, so the reports of a day give the same numbers; asked for by
//! `SessionActivityRequest`, and told to the session itself when the day is over.
//!
//! Always holds: whoever has something counted has a timer at the end of that day.

use exahour_wire::codes::CancelReason;
use exahour_wire::events::SessionActivity;
use exahour_wire::ids::{ClientOrderId, MessageSequence, SessionId};
use exahour_wire::message::Message;
use exahour_wire::operations::SessionActivityRequest;
use exahour_wire::units::{Nanos, Quantity};

use super::Execute;
use crate::batch::EventSink;
use crate::reporter::Output;

/// One session's numbers since the UTC day began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Activity {
    pub(crate) orders: u64,
    pub(crate) replaces: u64,
    pub(crate) cancels: u64,
    pub(crate) rejects: u64,
    pub(crate) trades: u64,
    /// Stops at the largest number, as `lots_traded` does.
    pub(crate) lots_ordered: u64,
    pub(crate) lots_traded: u64,
}

impl Activity {
    #[inline]
    pub(super) fn accept(&mut self, quantity: Quantity) {
        self.orders += 1;
        self.lots_ordered = self.lots_ordered.saturating_add(quantity.0);
    }

    pub(super) fn replace(&mut self, leaves: Quantity) {
        self.replaces += 1;
        self.lots_ordered = self.lots_ordered.saturating_add(leaves.0);
    }

    #[inline]
    pub(super) fn cancel(&mut self, reason: CancelReason) {
        let asked_for = matches!(
            reason,
            CancelReason::Requested | CancelReason::MassCancel | CancelReason::ReplacedToNothing
        );
        self.cancels += u64::from(asked_for);
    }

    #[inline]
    pub(super) fn trade(&mut self, quantity: Quantity) {
        self.trades += 1;
        self.lots_traded = self.lots_traded.saturating_add(quantity.0);
    }

    /// Orders, replaces and cancels for each fill, in millionths, rounded down; zero without a fill.
    fn ratio(&self) -> u64 {
        let messages =
            u128::from(self.orders) + u128::from(self.replaces) + u128::from(self.cancels);
        let millionths = messages * 1_000_000;
        let ratio = millionths.checked_div(u128::from(self.trades));
        u64::try_from(ratio.unwrap_or(0)).unwrap_or(u64::MAX)
    }
}

impl Execute {
    /// The numbers of a session, to be counted in; the day's end is sure to come.
    #[inline]
    pub(super) fn activity(&mut self, session: SessionId, now: Nanos) -> &mut Activity {
        self.arm_day_end(now);
        &mut self.activities[session.0 as usize]
    }

    /// Tells the numbers of a session to the sender.
    pub(super) fn tell_activity<S: EventSink>(
        &mut self,
        question: &SessionActivityRequest,
        out: &mut Output<'_, S>,
    ) {
        let day = Nanos(out.time.0 - out.time.0 % Nanos::DAY.0);
        let told = SessionActivity {
            request: question.request,
            client_sequence: question.sequence,
            ..self.worded(SessionId(question.target), day)
        };
        self.reporter.report(out, question.session, told);
    }

    /// Tells each session what it did in the day that ends at `at`, by ascending id; a new day begins.
    pub(super) fn end_day<S: EventSink>(&mut self, at: Nanos, out: &mut Output<'_, S>) {
        let day = Nanos(at.0 - Nanos::DAY.0);
        for place in 0..self.activities.len() {
            if self.activities[place] != Activity::default() {
                let session = SessionId(place as u32);
                let told = self.worded(session, day);
                self.activities[place] = Activity::default();
                self.reporter.report(out, session, told);
            }
        }
    }

    fn worded(&self, session: SessionId, day: Nanos) -> SessionActivity {
        let activity = &self.activities[session.0 as usize];
        SessionActivity {
            request: ClientOrderId::NONE,
            day,
            orders: activity.orders,
            replaces: activity.replaces,
            cancels: activity.cancels,
            rejects: activity.rejects,
            trades: activity.trades,
            lots_ordered: Quantity(activity.lots_ordered),
            lots_traded: Quantity(activity.lots_traded),
            ratio: activity.ratio(),
            target: session.0,
            client_sequence: MessageSequence::NONE,
            ..Message::blank()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_exact_and_stops_at_the_largest_number() {
        let mut activity = Activity {
            orders: 5,
            replaces: 4,
            cancels: 1,
            trades: 3,
            ..Activity::default()
        };
        assert_eq!(activity.ratio(), 3_333_333);
        activity.trades = 0;
        assert_eq!(activity.ratio(), 0);
        activity.orders = u64::MAX;
        activity.trades = 1;
        assert_eq!(activity.ratio(), u64::MAX);
    }
}
