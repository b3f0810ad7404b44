//! Phases: what an instrument's calendar, an operator or chance says about when it trades.
//!
//! ```text
//!              uncross                 call                 uncross
//! PreOpenCall ---------> Continuous ---------> ClosingCall ---------> Closed
//!      ^                   |    ^                                       |
//!      |              halt |    | uncross                               |
//!      |                   v    |                                       |
//!      |                   Halted (a call)                              |
//!      +----------------------------------------------------------------+
//! ```
//! Always holds: a call ends with its auction, so the book is not crossed when matching goes on;
//! only a halt may go on as the call that the calendar wants by then. Phases that began and ended in
//! a silence are passed over.

use exahour_wire::codes::Phase;
use exahour_wire::events::{CalendarSet, IndicativePrice, PhaseChanged};
use exahour_wire::ids::InstrumentId;
use exahour_wire::limits::INDICATIVE_INTERVAL;
use exahour_wire::message::{Message, Pad};
use exahour_wire::operations::{HaltTrading, ResumeTrading, SetAuctionSeed, SetCalendar};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Millis, Nanos, Price};

use super::{Execute, Instrument, Request};
use crate::batch::EventSink;
use crate::reporter::Output;
use crate::timers::Due;
use crate::trading::{Calendar, Call, Outlook, Trading};

impl Execute {
    /// Gives an instrument another calendar, and the phase that it wants now.
    pub(super) fn set_calendar<S: EventSink>(
        &mut self,
        command: &SetCalendar,
        request: Request,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        let calendar = Calendar::parse(command)?;
        self.with_open_instrument(command.instrument, |execute, instrument| {
            if instrument.trading.call.is_some() {
                return Err(Reject::CallUnderWay);
            }
            instrument.trading.calendar = calendar;
            let set = CalendarSet {
                instrument: instrument.id,
                call_start: command.call_start,
                uncross: command.uncross,
                closing_call: command.closing_call,
                closing_uncross: command.closing_uncross,
                random_end: command.random_end,
                collar: command.collar,
                allocation: command.allocation,
                ..Message::blank()
            };
            execute.reporter.fact(out, set);
            execute.follow_calendar(instrument, out);
            execute.done(out, request, 0);
            Ok(())
        })
    }

    /// Takes another secret for the random ends of auctions.
    pub(super) fn set_auction_seed<S: EventSink>(
        &mut self,
        command: &SetAuctionSeed,
        request: Request,
        out: &mut Output<'_, S>,
    ) {
        self.auction_seed = command.seed;
        self.done(out, request, 0);
    }

    /// Halts an instrument: from now on orders are collected.
    pub(super) fn halt_trading<S: EventSink>(
        &mut self,
        command: &HaltTrading,
        request: Request,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        self.with_open_instrument(command.instrument, |execute, instrument| {
            match instrument.trading.phase {
                Phase::Halted => return Err(Reject::NothingToChange),
                Phase::Closed => return Err(Reject::MarketClosed),
                _ => {}
            }
            let until = match command.duration {
                Millis(0) => Nanos::NEVER,
                duration => out.time.after(duration.into()),
            };
            execute.enter_phase(instrument, Phase::Halted, until, out);
            execute.halt_linked(instrument.id, until, out);
            execute.done(out, request, 0);
            Ok(())
        })
    }

    /// Ends a halt with an auction.
    pub(super) fn resume_trading<S: EventSink>(
        &mut self,
        command: &ResumeTrading,
        request: Request,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        self.with_open_instrument(command.instrument, |execute, instrument| {
            if instrument.trading.phase != Phase::Halted {
                return Err(Reject::NothingToChange);
            }
            execute.follow_calendar(instrument, out);
            execute.done(out, request, 0);
            Ok(())
        })
    }

    /// Ends a phase whose time has come, or draws how much later it ends.
    pub(super) fn on_phase_due<S: EventSink>(
        &mut self,
        id: InstrumentId,
        at: Nanos,
        out: &mut Output<'_, S>,
    ) {
        let Some(mut instrument) = self.take_instrument(id) else {
            return;
        };
        if !instrument.expired && instrument.trading.due == at {
            match self.draw_delay(&mut instrument, at, out) {
                Some(due) => self.set_phase_timer(&mut instrument, due),
                None if instrument.trading.phase == Phase::Halted
                    && self.extends(&mut instrument, out) => {}
                None => {
                    // Only a halt may go on as the call that the calendar wants by now.
                    if instrument.trading.phase != Phase::Halted {
                        self.end_call(&mut instrument, out);
                    }
                    self.follow_calendar(&mut instrument, out);
                }
            }
        }
        self.put_back(instrument);
    }

    /// When an auction is held that chance delays, if it does and was not asked before.
    fn draw_delay<S: EventSink>(
        &self,
        instrument: &mut Instrument,
        at: Nanos,
        out: &Output<'_, S>,
    ) -> Option<Nanos> {
        let trading = &mut instrument.trading;
        let random_end = Nanos::from(trading.calendar.random_end).0;
        let call = trading.call.as_mut()?;
        if trading.phase == Phase::Halted || call.drawn || random_end == 0 {
            return None;
        }
        call.drawn = true;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.auction_seed.0);
        let (events, trades) = (self.reporter.events(), self.trade_log.made());
        for number in [
            u64::from(instrument.id.0),
            at.0,
            out.command.0,
            events,
            trades,
        ] {
            hasher.update(&number.to_le_bytes());
        }
        let mut drawn = [0; 8];
        drawn.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        let delay = u64::from_le_bytes(drawn) % (random_end + 1);
        (delay > 0).then(|| at.after(Nanos(delay)))
    }

    /// Enters the phase that the calendar wants now.
    fn follow_calendar<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        out: &mut Output<'_, S>,
    ) {
        let calendar = &instrument.trading.calendar;
        let (phase, until) = (calendar.phase_at(out.time), calendar.next_change(out.time));
        self.enter_phase(instrument, phase, until, out);
    }

    /// Enters a phase: a call begins, goes on in the next one, or is uncrossed.
    pub(super) fn enter_phase<S: EventSink>(
        &mut self,
        instrument: &mut Instrument,
        phase: Phase,
        until: Nanos,
        out: &mut Output<'_, S>,
    ) {
        if !Trading::collects(phase) {
            self.end_call(instrument, out);
        } else if let Some(call) = &mut instrument.trading.call {
            call.drawn = false;
        } else {
            let collar = instrument.trading.calendar.collar;
            let call = Call::begin(&instrument.terms, instrument.reference(), collar);
            instrument.trading.call = Some(Box::new(call));
        }
        instrument.trading.phase = phase;
        self.set_phase_timer(instrument, until);
        self.watch_band(instrument, out.time);
        let call = instrument.trading.call.as_deref();
        let (reference_price, low_price, high_price) = call
            .map_or((Price::NONE, Price::NONE, Price::NONE), |call| {
                (call.reference, call.low, call.high)
            });
        let changed = PhaseChanged {
            instrument: instrument.id,
            phase: phase.into(),
            pad_1: Pad::default(),
            ends_at: match until {
                Nanos::NEVER => Nanos(0),
                until => until,
            },
            reference_price,
            low_price,
            high_price,
            ..Message::blank()
        };
        self.reporter.fact(out, changed);
        if phase == Phase::Continuous {
            self.resume_stops(instrument);
        } else {
            self.withdraw_pegs(instrument, out);
        }
    }

    fn set_phase_timer(&mut self, instrument: &mut Instrument, due: Nanos) {
        instrument.trading.due = due;
        if due != Nanos::NEVER {
            self.timers.schedule(due, Due::Phase(instrument.id.0));
            self.shed_timers();
        }
    }

    /// Says that the outlook of a call under way may have changed.
    #[inline]
    pub(super) fn outlook_may_change(&mut self, instrument: &mut Instrument, now: Nanos) {
        let Some(call) = &mut instrument.trading.call else {
            return;
        };
        if call.tell_at == Nanos::NEVER {
            call.tell_at = now.after(INDICATIVE_INTERVAL.into());
            self.timers
                .schedule(call.tell_at, Due::Indicative(instrument.id.0));
        }
    }

    /// Publishes the outlook of a call, if it is another than was published last.
    pub(super) fn on_indicative_due<S: EventSink>(
        &mut self,
        id: InstrumentId,
        at: Nanos,
        out: &mut Output<'_, S>,
    ) {
        let Some(mut instrument) = self.take_instrument(id) else {
            return;
        };
        if let Some(mut call) = instrument.trading.call.take() {
            if call.tell_at == at {
                call.tell_at = Nanos::NEVER;
                let outlook = Outlook::of(self.clearing(&instrument, &call));
                if outlook != call.told {
                    call.told = outlook;
                    self.reporter.fact(out, indicative(id, outlook));
                }
            }
            instrument.trading.call = Some(call);
        }
        self.put_back(instrument);
    }

    /// Lets `work` change an instrument that has not expired.
    pub(super) fn with_open_instrument(
        &mut self,
        id: InstrumentId,
        work: impl FnOnce(&mut Self, &mut Instrument) -> Result<(), Reject>,
    ) -> Result<(), Reject> {
        let mut instrument = self.take_instrument(id).ok_or(Reject::UnknownInstrument)?;
        let result = match instrument.expired {
            true => Err(Reject::InstrumentClosed),
            false => work(self, &mut instrument),
        };
        self.put_back(instrument);
        result
    }
}

fn indicative(instrument: InstrumentId, outlook: Outlook) -> IndicativePrice {
    IndicativePrice {
        instrument,
        price: outlook.price,
        quantity: outlook.quantity,
        buy_surplus: outlook.buy_surplus,
        sell_surplus: outlook.sell_surplus,
        ..Message::blank()
    }
}
