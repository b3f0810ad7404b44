//! Price bands: no trade outside of them, and a pause where the market leans on the edge.
//!
//! Called by whoever enters or matches an order of an instrument that has a band, and by its timer
//! at every whole second of continuous trading.
//!
//! Always holds: no trade outside of an auction is outside of the band as it was when the order came.

use exahour_wire::codes::{Phase, Side};
use exahour_wire::events::{PriceBandMoved, PriceBandSet};
use exahour_wire::ids::InstrumentId;
use exahour_wire::message::Message;
use exahour_wire::operations::SetPriceBand;
use exahour_wire::reject::Reject;
use exahour_wire::units::{Nanos, PartsPerMillion, Price};

use super::{Execute, Instrument, Request};
use crate::batch::EventSink;
use crate::guards::{Band, Pressure};
use crate::reporter::Output;
use crate::timers::Due;
use crate::trading::{PriceBand, Reopening, Told, moved_into, next_second};

impl Execute {
    /// Sets an instrument's band anew, or takes it away.
    pub(super) fn set_price_band<S: EventSink>(
        &mut self,
        command: &SetPriceBand,
        request: Request,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        self.with_open_instrument(command.instrument, |execute, instrument| {
            let band = (command.width.0 > 0).then(|| PriceBand::new(command.width));
            instrument.trading.change_guard(|guard| guard.band = band);
            let set = PriceBandSet {
                instrument: command.instrument,
                width: command.width,
                ..Message::blank()
            };
            execute.reporter.fact(out, set);
            execute.watch_band(instrument, out.time);
            execute.done(out, request, 0);
            Ok(())
        })
    }

    /// Looks at the quotes from the next second on, in continuous trading.
    pub(super) fn watch_band(&mut self, instrument: &mut Instrument, now: Nanos) {
        let continuous = instrument.trading.phase == Phase::Continuous;
        let Some(band) = instrument.trading.band_mut() else {
            return;
        };
        let look_at = match continuous {
            true => next_second(now),
            false => Nanos::NEVER,
        };
        band.begin(look_at);
        self.schedule_look(instrument.id, look_at);
    }

    fn schedule_look(&mut self, id: InstrumentId, look_at: Nanos) {
        if look_at != Nanos::NEVER {
            self.timers.schedule(look_at, Due::Band(id.0));
            self.shed_timers();
        }
    }

    /// Looks at the best quotes, says what has changed, and pauses trading where they have leaned on
    /// the edge for long.
    pub(super) fn on_band_due<S: EventSink>(
        &mut self,
        id: InstrumentId,
        at: Nanos,
        out: &mut Output<'_, S>,
    ) {
        let Some(mut instrument) = self.take_instrument(id) else {
            return;
        };
        let band = instrument.trading.band_mut();
        if band.is_some_and(|band| band.look_at == at) {
            self.look_at_band(&mut instrument, out);
        }
        self.put_back(instrument);
    }

    fn look_at_band<S: EventSink>(&mut self, instrument: &mut Instrument, out: &mut Output<'_, S>) {
        let Some((reference, edges)) = instrument.band(out.time) else {
            return;
        };
        let [bid, ask] = [Side::Buy, Side::Sell].map(|side| instrument.book.side(side).best());
        let id = instrument.id;
        let Some(band) = instrument.trading.band_mut() else {
            return;
        };
        let pauses_at = match band.state.observe(out.time, &edges, bid, ask) {
            Pressure::Free => Nanos(0),
            Pressure::Limited { pauses_at } => pauses_at,
            Pressure::Paused { until } => {
                self.halt_at_any_price(instrument, Reopening::AtOnce, until, out);
                self.halt_linked(id, until, out);
                return;
            }
        };
        let told = Some(Told {
            band: edges,
            pauses_at,
        });
        band.look_at = next_second(out.time);
        let (look_at, news) = (band.look_at, told != band.told);
        band.told = told;
        self.schedule_look(id, look_at);
        if news {
            let moved = PriceBandMoved {
                instrument: id,
                reference_price: reference,
                low_price: edges.low,
                high_price: edges.high,
                pauses_at,
                ..Message::blank()
            };
            self.reporter.fact(out, moved);
        }
    }
}

impl Instrument {
    /// A limit as the band allows it: the end of the band where it is beyond. In a call it stays.
    #[inline]
    pub(super) fn within_band(&mut self, side: Side, limit: Price, now: Nanos) -> Price {
        if self.trading.guard.is_none() {
            return limit;
        }
        self.moved_into_band(side, limit, now)
    }

    #[cold]
    fn moved_into_band(&mut self, side: Side, limit: Price, now: Nanos) -> Price {
        if self.trading.call.is_some() {
            return limit;
        }
        match self.band(now) {
            Some((_, band)) => moved_into(&band, side, limit),
            None => limit,
        }
    }

    /// The band at a time, and the price that it is around; twice as wide near an auction of the day.
    pub(super) fn band(&mut self, now: Nanos) -> Option<(Price, Band)> {
        let (reference, tick) = (self.reference(), self.terms.tick);
        let doubled = self.trading.calendar.is_near_auction(now);
        let band = self.trading.band_mut()?;
        let reference = band.window.mean(now).unwrap_or(reference);
        let times = if doubled { 2 } else { 1 };
        let width = PartsPerMillion(band.width.0 * times);
        Some((reference, Band::around(reference, width, tick)))
    }
}
