//! What events make of an instrument beside its orders: phases, bands, breakers, outlooks, prices of intervals.
//!
//! Called by the event image for the events that say so. What was made of each is kept with the book, for
//! snapshots, and told.
//!
//! Always holds: where a band is is known only until the phase changes or it is set anew; what has expired has
//! neither band nor breaker.

use exahour_wire::codes::Phase;
use exahour_wire::events::{
    CircuitBreakerSet, IndicativePrice, InstrumentExpired, InstrumentSettled, IntervalPriced,
    PhaseChanged, PriceBandMoved, PriceBandSet,
};
use exahour_wire::ids::InstrumentId;
use exahour_wire::market_data::{CircuitBreaker, IndicativeAuction, IntervalPrice, PriceBand};
use exahour_wire::message::Message;
use exahour_wire::units::{Nanos, PartsPerMillion, Price};

use super::event_image::{BookImage, Change};
use super::fault::ImageFault;
use super::trading_state::TradingState;

impl BookImage {
    pub(super) fn on_settled(
        &mut self,
        settled: &InstrumentSettled,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        let state = TradingState {
            settlement_price: settled.price,
            ..self.state(settled.instrument)?
        };
        self.set_state(settled.instrument, state, tell)
    }

    pub(super) fn on_phase_changed(
        &mut self,
        changed: &PhaseChanged,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        let instrument = changed.instrument;
        let settled = self.state(instrument)?.settlement_price;
        self.set_state(instrument, TradingState::begun(changed, settled)?, tell)?;
        self.forget_band(instrument, tell)
    }

    pub(super) fn on_expired(
        &mut self,
        expired: &InstrumentExpired,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        let state = TradingState::of(Phase::Expired, expired.price);
        self.set_state(expired.instrument, state, tell)?;
        self.drop_guards(expired.instrument, tell)
    }

    /// The engine drops the guards of what has expired without a word of its own.
    fn drop_guards(
        &mut self,
        instrument: InstrumentId,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        let known = &self.books.book_mut(instrument)?.extras;
        let (band, breaker) = (known.band.is_some(), known.breaker.is_some());
        if band {
            let none = unseen_band(self.time, instrument, PartsPerMillion(0));
            self.keep_band(none, tell)?;
        }
        if breaker {
            let none = CircuitBreaker {
                time: self.time,
                instrument,
                ..CircuitBreaker::blank()
            };
            self.keep_breaker(none, tell)?;
        }
        Ok(())
    }

    pub(super) fn on_band_set(
        &mut self,
        set: &PriceBandSet,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        let band = unseen_band(self.time, set.instrument, set.width);
        self.keep_band(band, tell)
    }

    pub(super) fn on_band_moved(
        &mut self,
        moved: &PriceBandMoved,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        let instrument = moved.instrument;
        let band = self.books.book_mut(instrument)?.extras.band;
        let band = PriceBand {
            time: self.time,
            reference_price: moved.reference_price,
            low_price: moved.low_price,
            high_price: moved.high_price,
            pauses_at: moved.pauses_at,
            ..band.ok_or(ImageFault::NoBand(instrument))?
        };
        self.keep_band(band, tell)
    }

    /// A band is looked at anew in each phase: until then nobody knows where it is.
    fn forget_band(
        &mut self,
        instrument: InstrumentId,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        let known = self.books.book_mut(instrument)?.extras.band;
        if let Some(known) = known
            && known.reference_price != Price::NONE
        {
            let band = unseen_band(self.time, instrument, known.width);
            self.keep_band(band, tell)?;
        }
        Ok(())
    }

    fn keep_band(
        &mut self,
        band: PriceBand,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        self.books.set_band(band)?;
        tell(Change::Banded(band));
        Ok(())
    }

    pub(super) fn on_breaker_set(
        &mut self,
        set: &CircuitBreakerSet,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        let breaker = CircuitBreaker {
            time: self.time,
            instrument: set.instrument,
            linked: set.linked,
            threshold: set.threshold,
            ..CircuitBreaker::blank()
        };
        self.keep_breaker(breaker, tell)
    }

    fn keep_breaker(
        &mut self,
        breaker: CircuitBreaker,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        self.books.set_breaker(breaker)?;
        tell(Change::BreakerSet(breaker));
        Ok(())
    }

    pub(super) fn on_indicative(
        &mut self,
        outlook: &IndicativePrice,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        let indicative = IndicativeAuction {
            time: self.time,
            price: outlook.price,
            quantity: outlook.quantity,
            buy_surplus: outlook.buy_surplus,
            sell_surplus: outlook.sell_surplus,
            instrument: outlook.instrument,
            ..IndicativeAuction::blank()
        };
        let book = self.books.book_mut(outlook.instrument)?;
        book.extras.indicative = Some(indicative);
        tell(Change::Indicated(indicative));
        Ok(())
    }

    pub(super) fn on_interval(
        &mut self,
        priced: &IntervalPriced,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        let interval = IntervalPrice {
            time: self.time,
            ends_at: priced.ends_at,
            price: priced.price,
            last_price: priced.last_price,
            quantity: priced.quantity,
            trades: priced.trades,
            instrument: priced.instrument,
            ..IntervalPrice::blank()
        };
        self.books.book_mut(priced.instrument)?.extras.interval = Some(interval);
        tell(Change::IntervalPriced(interval));
        Ok(())
    }

    /// How an instrument trades, as it was told last.
    fn state(&self, instrument: InstrumentId) -> Result<TradingState, ImageFault> {
        let book = self.books.book(instrument);
        let book = book.ok_or(ImageFault::UnknownInstrument(instrument))?;
        Ok(*book.state())
    }

    fn set_state(
        &mut self,
        instrument: InstrumentId,
        state: TradingState,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), ImageFault> {
        self.books.set_state(instrument, state)?;
        tell(Change::Phased { instrument, state });
        Ok(())
    }
}

/// A band of this width that has not been looked at.
fn unseen_band(time: Nanos, instrument: InstrumentId, width: PartsPerMillion) -> PriceBand {
    PriceBand {
        time,
        reference_price: Price::NONE,
        low_price: Price::NONE,
        high_price: Price::NONE,
        instrument,
        width,
        ..PriceBand::blank()
    }
}

#[cfg(test)]
mod tests {
    use exahour_wire::events::{FrameEnd, InstrumentListed};
    use exahour_wire::ids::EventSequence;

    use super::*;

    const GUARDED: InstrumentId = InstrumentId(1);
    const PLAIN: InstrumentId = InstrumentId(2);

    #[test]
    fn what_has_expired_has_no_guards_and_those_that_had_are_told() {
        let listed = |event, instrument| InstrumentListed {
            event: EventSequence(event),
            instrument,
            ..InstrumentListed::blank()
        };
        let expired = |event, instrument| InstrumentExpired {
            event: EventSequence(event),
            instrument,
            price: Price(7),
            ..InstrumentExpired::blank()
        };
        let band = PriceBandSet {
            event: EventSequence(3),
            instrument: GUARDED,
            width: PartsPerMillion(50_000),
            ..PriceBandSet::blank()
        };
        let breaker = CircuitBreakerSet {
            event: EventSequence(4),
            instrument: GUARDED,
            linked: PLAIN,
            threshold: PartsPerMillion(150_000),
            ..CircuitBreakerSet::blank()
        };
        let (first, second) = (listed(1, GUARDED), listed(2, PLAIN));
        let before = [first.bytes(), second.bytes(), band.bytes(), breaker.bytes()];
        let mut image = BookImage::new();
        image
            .apply_batch(&before.concat(), FrameEnd::Command, &mut |_, _| ())
            .unwrap();
        let extras = *image.books().book(GUARDED).unwrap().extras();
        assert!(extras.band.is_some() && extras.breaker.is_some());

        let (first, second) = (expired(5, GUARDED), expired(6, PLAIN));
        let ends = [first.bytes(), second.bytes()];
        let mut gone = Vec::new();
        image
            .apply_batch(
                &ends.concat(),
                FrameEnd::Command,
                &mut |_, change| match change {
                    Change::Banded(it) => gone.push((it.instrument, it.width, InstrumentId::NONE)),
                    Change::BreakerSet(it) => gone.push((it.instrument, it.threshold, it.linked)),
                    _ => {}
                },
            )
            .unwrap();
        let none = (GUARDED, PartsPerMillion(0), InstrumentId::NONE);
        assert_eq!(gone, [none, none]);
        for instrument in [GUARDED, PLAIN] {
            let extras = image.books().book(instrument).unwrap().extras();
            assert_eq!((extras.band, extras.breaker), (None, None));
        }
    }
}
