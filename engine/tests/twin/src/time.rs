//! Chapter 1, rule 2: timers, and what a contract does when its last trading time has come.
//!
//! Called before the first command of a batch. There is no timer queue: what is due is looked for
//! among all orders, sessions and instruments, again after each one that fires.
//!
//! Always holds: timers fire in order of due time, then kind, then id.

use exahour_wire::codes::CancelReason;
use exahour_wire::events::InstrumentExpired;
use exahour_wire::ids::{ClientOrderId, InstrumentId, OrderId, SessionId};
use exahour_wire::message::Message;
use exahour_wire::units::{Nanos, Price, Quantity};

use crate::twin::Twin;

/// What a timer does; the order of the kinds is the order of the rulebook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    OrderExpiry(OrderId),
    SessionCancel(SessionId),
    InstrumentExpiry(InstrumentId),
    DayEnd,
    DeadMan(SessionId),
    IntervalEnd(InstrumentId),
    PhaseEnd(InstrumentId),
    Outlook(InstrumentId),
    BandLook(InstrumentId),
    Election,
}

impl Twin {
    /// Fires every timer due at or before now.
    pub(crate) fn fire_due_timers(&mut self) {
        while let Some((at, due)) = self.earliest_timer() {
            if at > self.now {
                break;
            }
            match due {
                Due::OrderExpiry(id) => {
                    self.cancel(id, CancelReason::Expired, ClientOrderId::NONE);
                }
                Due::SessionCancel(id) => {
                    if let Some(session) = self.sessions.get_mut(&id) {
                        session.cancel_at = None;
                    }
                    self.cancel_orders_of_lost_session(id);
                }
                Due::InstrumentExpiry(id) => self.expire(id),
                Due::DayEnd => self.end_day(),
                Due::DeadMan(id) => self.fire_dead_man(id),
                Due::IntervalEnd(id) => self.end_interval(id),
                Due::PhaseEnd(id) => self.end_phase(id, at),
                Due::Outlook(id) => self.tell_outlook(id),
                Due::BandLook(id) => self.look_at_band(id),
                Due::Election => self.elect_at = None,
            }
        }
    }

    /// When the earliest timer is due, if there is one.
    #[must_use]
    pub fn next_due(&self) -> Option<Nanos> {
        self.earliest_timer().map(|(at, _)| at)
    }

    fn earliest_timer(&self) -> Option<(Nanos, Due)> {
        let orders = self
            .orders
            .values()
            .filter_map(|order| order.expires_at.map(|at| (at, Due::OrderExpiry(order.id))));
        let sessions = self
            .sessions
            .iter()
            .filter_map(|(id, session)| session.cancel_at.map(|at| (at, Due::SessionCancel(*id))));
        let listed = self
            .instruments
            .iter()
            .filter(|(_, listed)| !listed.expired);
        let instruments = listed.map(|(id, instrument)| {
            let at = instrument.definition.last_trade_at;
            (at, Due::InstrumentExpiry(*id))
        });
        let activities = self.activities.values();
        let days = activities.map(|activity| (activity.ends_at, Due::DayEnd));
        let watched = self.sessions.iter().filter_map(|(id, session)| {
            let (interval, heard_at) = session.dead_man?;
            let at = heard_at.after(interval.into());
            // What is beyond the last time that can be stamped never comes up.
            (at < Nanos::NEVER).then_some((at, Due::DeadMan(*id)))
        });
        let trading = || {
            let all = self.instruments.iter();
            all.filter(|(_, listed)| !listed.expired)
        };
        let phases = trading().filter_map(|(id, listed)| {
            let at = listed.phase_due?;
            Some((at, Due::PhaseEnd(*id)))
        });
        let outlooks = trading().filter_map(|(id, listed)| {
            let at = listed.call.as_ref()?.tell_at?;
            Some((at, Due::Outlook(*id)))
        });
        let intervals = trading().filter_map(|(id, listed)| {
            let at = listed.guard.as_ref()?.interval_end()?;
            Some((at, Due::IntervalEnd(*id)))
        });
        let looks = trading().filter_map(|(id, listed)| {
            let at = listed.band.as_ref()?.look_at?;
            Some((at, Due::BandLook(*id)))
        });
        let instruments = instruments
            .chain(intervals)
            .chain(phases)
            .chain(outlooks)
            .chain(looks);
        orders
            .chain(sessions)
            .chain(instruments)
            .chain(days)
            .chain(watched)
            .chain(self.elect_at.map(|at| (at, Due::Election)))
            .min()
    }

    /// Chapter 7: the instrument expires.
    fn expire(&mut self, id: InstrumentId) {
        self.hold_auction(id);
        for order in self.orders_where(|order| order.instrument == id) {
            self.cancel(order, CancelReason::InstrumentExpired, ClientOrderId::NONE);
        }
        let final_price = self.instruments[&id].reference();
        self.mark(id, final_price);
        if let Some(instrument) = self.instruments.get_mut(&id) {
            instrument.expired = true;
        }
        let open_interest = Quantity(self.open_interest(id) as u64);
        self.fact(InstrumentExpired {
            instrument: id,
            price: Price(final_price),
            open_interest,
            ..InstrumentExpired::blank()
        });
        self.assign_deliveries(id, final_price);
    }
}
