//! The terms of an instrument and how it trades, for whoever asks.
//!
//! Always holds: a question changes nothing but the numbers of its session; what an auction would come
//! to is not worked out for it, but told as it was told last.

use exahour_wire::codes::Phase;
use exahour_wire::events::{InstrumentStatus, InstrumentTerms};
use exahour_wire::ids::InstrumentId;
use exahour_wire::message::Message;
use exahour_wire::operations::InstrumentStatusRequest;
use exahour_wire::reject::Reject;
use exahour_wire::units::{Nanos, PartsPerMillion, Price};

use super::{Execute, Instrument};
use crate::batch::EventSink;
use crate::reporter::Output;
use crate::trading::{Outlook, Trading};

impl Execute {
    /// Reports the terms of an instrument, then how it trades.
    pub(super) fn instrument_status<S: EventSink>(
        &mut self,
        question: &InstrumentStatusRequest,
        out: &mut Output<'_, S>,
    ) -> Result<(), Reject> {
        let found = self.take_instrument(question.instrument);
        let mut instrument = found.ok_or(Reject::UnknownInstrument)?;
        let terms = InstrumentTerms {
            request: question.request,
            client_sequence: question.sequence,
            ..terms(&instrument)
        };
        let status = InstrumentStatus {
            request: question.request,
            client_sequence: question.sequence,
            ..status(&mut instrument, out.time)
        };
        self.put_back(instrument);
        self.reporter.report(out, question.session, terms);
        self.reporter.report(out, question.session, status);
        Ok(())
    }
}

fn terms(instrument: &Instrument) -> InstrumentTerms {
    let terms = &instrument.terms;
    InstrumentTerms {
        tick: terms.tick,
        reference_price: terms.reference_price,
        price_max: terms.price_cap,
        quantity_max: terms.quantity_max,
        notional_max: terms.notional_max,
        position_max: terms.position_cap,
        initial_margin: terms.initial_margin,
        last_trade_at: terms.last_trade_at,
        delivery_start: terms.delivery_start,
        instrument: instrument.id,
        collar: terms.collar,
        protection: terms.protection,
        hours: terms.hours,
        kind: terms.kind.into(),
        ..Message::blank()
    }
}

/// How an instrument trades, guards included; one that has expired has none.
fn status(instrument: &mut Instrument, now: Nanos) -> InstrumentStatus {
    let (tick, price_cap) = (instrument.terms.tick, instrument.terms.price_cap);
    let breaker_range = instrument.trading.price_limits(now).range(tick, price_cap);
    let (breaker_low, breaker_high) = breaker_range.unwrap_or((Price::NONE, Price::NONE));
    let (band_reference, band_low, band_high) = instrument.band(now).map_or(
        (Price::NONE, Price::NONE, Price::NONE),
        |(around, edges)| (around, edges.low, edges.high),
    );
    let trading = &instrument.trading;
    let told = trading.band().and_then(|band| band.told);
    let (linked, breaker_threshold) = trading
        .breaker()
        .map_or((InstrumentId::NONE, PartsPerMillion(0)), |breaker| {
            (breaker.linked, breaker.threshold)
        });
    InstrumentStatus {
        ends_at: match trading.announced_end() {
            Nanos::NEVER => Nanos(0),
            due => due,
        },
        settlement_price: instrument.settlement,
        last_price: instrument.last_trade.unwrap_or(Price::NONE),
        breaker_low,
        breaker_high,
        band_reference,
        band_low,
        band_high,
        pauses_at: told.map_or(Nanos(0), |told| told.pauses_at),
        instrument: instrument.id,
        band_width: trading.band().map_or(PartsPerMillion(0), |band| band.width),
        breaker_threshold,
        linked,
        phase: match instrument.expired {
            true => Phase::Expired.into(),
            false => trading.phase.into(),
        },
        ..auction_status(trading)
    }
}

/// The calendar, and the call under way.
fn auction_status(trading: &Trading) -> InstrumentStatus {
    let calendar = &trading.calendar;
    let call = trading.call.as_deref();
    let (auction_reference, auction_low, auction_high) = call
        .map_or((Price::NONE, Price::NONE, Price::NONE), |call| {
            (call.reference, call.low, call.high)
        });
    let outlook = call.map_or(Outlook::NOTHING, |call| call.told);
    let day = calendar.day.unwrap_or_default();
    InstrumentStatus {
        auction_reference,
        auction_low,
        auction_high,
        indicative_price: outlook.price,
        indicative_quantity: outlook.quantity,
        buy_surplus: outlook.buy_surplus,
        sell_surplus: outlook.sell_surplus,
        call_start: day.call_start,
        uncross: day.uncross,
        closing_call: day.closing_call,
        closing_uncross: day.closing_uncross,
        random_end: calendar.random_end,
        auction_collar: calendar.collar,
        allocation: calendar.allocation.into(),
        ..Message::blank()
    }
}
