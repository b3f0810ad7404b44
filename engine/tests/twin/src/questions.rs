//! Chapter 6, what an instrument is and how it trades: told to whoever asks.
//!
//! Called by `admission`.
//!
//! Always holds: a question changes nothing.

use exahour_wire::codes::Phase;
use exahour_wire::events::{InstrumentStatus, InstrumentTerms};
use exahour_wire::ids::InstrumentId;
use exahour_wire::message::Message;
use exahour_wire::operations::InstrumentStatusRequest;
use exahour_wire::reject::Reject;
use exahour_wire::units::{Millis, Nanos, PartsPerMillion, Price, Quantity};

use crate::admission::Sender;
use crate::twin::{Instrument, Twin, position_cap};

fn price(price: Option<i64>) -> Price {
    price.map_or(Price::NONE, Price)
}

fn parts(parts: i128) -> PartsPerMillion {
    PartsPerMillion(parts as u32)
}

impl Twin {
    pub(crate) fn instrument_status(
        &mut self,
        sender: &Sender,
        question: &InstrumentStatusRequest,
    ) -> Result<(), Reject> {
        let instrument = self.known_instrument(question.instrument)?;
        let terms = InstrumentTerms {
            request: question.request,
            client_sequence: question.sequence,
            ..terms(instrument)
        };
        let mut status = InstrumentStatus {
            request: question.request,
            client_sequence: question.sequence,
            instrument: question.instrument,
            settlement_price: Price(instrument.settlement_price),
            last_price: price(instrument.last_trade_price),
            phase: Phase::Expired.into(),
            ..calendar(instrument)
        };
        if !instrument.expired {
            status.phase = instrument.phase.into();
            status.ends_at = instrument.said_to_end.unwrap_or(Nanos(0));
            tell_guards(instrument, self.now, &mut status);
        }
        self.report(sender.session, terms);
        self.report(sender.session, status);
        Ok(())
    }
}

fn terms(instrument: &Instrument) -> InstrumentTerms {
    let d = &instrument.definition;
    InstrumentTerms {
        tick: d.tick,
        reference_price: d.reference_price,
        price_max: Price(instrument.price_cap()),
        quantity_max: d.quantity_max,
        notional_max: d.notional_max,
        position_max: Quantity(position_cap(d) as u64),
        initial_margin: d.initial_margin,
        last_trade_at: d.last_trade_at,
        delivery_start: d.delivery_start,
        instrument: d.instrument,
        collar: d.collar,
        protection: d.protection,
        hours: d.hours,
        kind: instrument.kind.into(),
        ..InstrumentTerms::blank()
    }
}

/// The rules of the auctions, and the call under way.
fn calendar(instrument: &Instrument) -> InstrumentStatus {
    let calendar = &instrument.calendar;
    let [call_start, uncross, closing_call, closing_uncross] =
        calendar.times.map(|time| Millis((time / 1_000_000) as u32));
    let call = instrument.call.as_ref();
    let (indicative, lots, bought, sold) = call.map_or((None, 0, 0, 0), |call| call.told);
    InstrumentStatus {
        auction_reference: price(call.map(|call| call.reference)),
        auction_low: price(call.map(|call| call.low)),
        auction_high: price(call.map(|call| call.high)),
        indicative_price: price(indicative),
        indicative_quantity: Quantity(lots),
        buy_surplus: Quantity(bought),
        sell_surplus: Quantity(sold),
        call_start,
        uncross,
        closing_call,
        closing_uncross,
        random_end: Millis((calendar.random_end / 1_000_000) as u32),
        auction_collar: parts(i128::from(calendar.collar)),
        allocation: calendar.allocation.into(),
        // None, until it is said otherwise.
        breaker_low: Price::NONE,
        breaker_high: Price::NONE,
        band_reference: Price::NONE,
        band_low: Price::NONE,
        band_high: Price::NONE,
        linked: InstrumentId::NONE,
        ..InstrumentStatus::blank()
    }
}

fn tell_guards(instrument: &Instrument, now: Nanos, status: &mut InstrumentStatus) {
    if let Some(guard) = &instrument.guard {
        status.linked = guard.linked;
        status.breaker_threshold = parts(guard.threshold);
        let prices = guard.prices(now);
        if guard.threshold > 0 && !prices.is_empty() {
            // The prices on tick that are near to all others: those near to each, met.
            let tick = i128::from(instrument.tick());
            let highest = prices.iter().map(|other| {
                let scaled = i128::from(*other) * (1_000_000 + guard.threshold);
                scaled / (1_000_000 * tick) * tick
            });
            let lowest = prices.iter().map(|other| {
                let scaled = i128::from(*other) * (1_000_000 - guard.threshold);
                let step = 1_000_000 * tick;
                (scaled + step - 1) / step * tick
            });
            let low = lowest.fold(tick, i128::max);
            let high = highest.fold(i128::from(instrument.price_cap()), i128::min);
            (status.breaker_low, status.breaker_high) = (Price(low as i64), Price(high as i64));
        }
    }
    if let Some(band) = &instrument.band {
        status.band_width = parts(band.width);
        status.pauses_at = Nanos(band.told.map_or(0, |(_, _, pauses_at)| pauses_at));
        if let Some((reference, low, high)) = instrument.band_now(now) {
            status.band_reference = Price(reference);
            (status.band_low, status.band_high) = (Price(low), Price(high));
        }
    }
}
