//! The real engine on a random flow, beside its slow twin: the events of the one, the books of the other.
//!
//! Always holds: both have said the same of every command, so the twin's books are the engine's.

use std::collections::BTreeMap;

use exahour_engine::{Batch, Capacity, Engine};
use exahour_gateway::image::{Extras, FeedImage, RestingOrder, TradingState};
use exahour_twin::Twin;
use exahour_twin::flow::{Flow, Style};
use exahour_wire::codes::{Phase, Side};
use exahour_wire::events::{
    CircuitBreakerSet, IndicativePrice, InstrumentExpired, InstrumentListed, InstrumentSettled,
    IntervalPriced, OrderFilled, PhaseChanged, PriceBandMoved, PriceBandSet, StateHashed,
    TradeBusted, TradeCorrected,
};
use exahour_wire::ids::InstrumentId;
use exahour_wire::market_data::{CircuitBreaker, IndicativeAuction, IntervalPrice, PriceBand};
use exahour_wire::message::{Message, messages};
use exahour_wire::units::{Nanos, Price, Quantity};

use crate::expected::{Expected, Made};

/// What events have said of an instrument beside its orders.
#[derive(Clone, Copy, Debug)]
struct Told {
    state: TradingState,
    extras: Extras,
}

pub(crate) struct Exchange {
    engine: Engine,
    twin: Twin,
    flow: Flow,
    trades: Vec<Made>,
    told: BTreeMap<InstrumentId, Told>,
    /// Busts and corrections so far.
    pub(crate) amends: usize,
    /// How often a band moved so far.
    pub(crate) bands_moved: usize,
    /// How many instruments with a band or a breaker have expired.
    pub(crate) guards_expired: usize,
}

impl Exchange {
    pub(crate) fn new(seed: u64) -> Self {
        let style = match seed % 2 {
            0 => Style::Realistic,
            _ => Style::Hostile,
        };
        Exchange {
            engine: Engine::new(&Capacity::default()),
            twin: Twin::new(),
            flow: Flow::new(seed, style),
            trades: Vec::new(),
            told: BTreeMap::new(),
            amends: 0,
            bands_moved: 0,
            guards_expired: 0,
        }
    }

    /// Carries out the next commands and gives their events.
    pub(crate) fn step(&mut self) -> Vec<u8> {
        let commands = self.flow.next_batch();
        let bytes = commands.bytes();
        let batch = Batch {
            time: commands.time,
            first: commands.first,
            commands: &bytes,
        };
        let (mut events, mut others) = (Vec::new(), Vec::new());
        self.engine.apply(&batch, &mut events).unwrap();
        self.twin
            .apply(commands.time, commands.first, &bytes, &mut others);
        let pairs = messages(&events).zip(messages(&others));
        for (event, other) in pairs {
            let hashed = StateHashed::read(event).is_some();
            assert!(hashed || event == other, "the twin says something else");
        }
        assert_eq!(events.len(), others.len());
        self.flow.observe(&events);
        messages(&events).for_each(|event| self.note(event));
        events
    }

    fn note(&mut self, event: &[u8]) {
        if let Some(listed) = InstrumentListed::read(event) {
            let told = Told {
                state: TradingState {
                    phase: Phase::Continuous,
                    settlement_price: Price::NONE,
                    ends_at: Nanos(0),
                    reference_price: Price::NONE,
                    low_price: Price::NONE,
                    high_price: Price::NONE,
                },
                extras: Extras::default(),
            };
            self.told.insert(listed.instrument, told);
        } else if let Some(changed) = PhaseChanged::read(event) {
            let state = &mut self.told(changed.instrument).state;
            state.phase = changed.phase.decode().unwrap();
            state.ends_at = changed.ends_at;
            state.reference_price = changed.reference_price;
            state.low_price = changed.low_price;
            state.high_price = changed.high_price;
            self.entered(changed.instrument, changed.time);
        } else if let Some(settled) = InstrumentSettled::read(event) {
            self.told(settled.instrument).state.settlement_price = settled.price;
        } else if let Some(expired) = InstrumentExpired::read(event) {
            self.told(expired.instrument).state = TradingState {
                phase: Phase::Expired,
                settlement_price: expired.price,
                ends_at: Nanos(0),
                reference_price: Price::NONE,
                low_price: Price::NONE,
                high_price: Price::NONE,
            };
            self.entered(expired.instrument, expired.time);
            let extras = &mut self.told(expired.instrument).extras;
            let guards = (extras.band.take(), extras.breaker.take());
            self.guards_expired += usize::from(guards != (None, None));
        } else {
            self.note_guards(event);
        }
    }

    /// Bands, breakers, and what they publish.
    fn note_guards(&mut self, event: &[u8]) {
        if let Some(set) = PriceBandSet::read(event) {
            let band = (set.width.0 > 0).then(|| PriceBand {
                time: set.time,
                reference_price: Price::NONE,
                low_price: Price::NONE,
                high_price: Price::NONE,
                instrument: set.instrument,
                width: set.width,
                ..PriceBand::blank()
            });
            self.told(set.instrument).extras.band = band;
        } else if let Some(moved) = PriceBandMoved::read(event) {
            self.bands_moved += 1;
            let band = self.told(moved.instrument).extras.band.as_mut().unwrap();
            band.time = moved.time;
            band.reference_price = moved.reference_price;
            band.low_price = moved.low_price;
            band.high_price = moved.high_price;
            band.pauses_at = moved.pauses_at;
        } else if let Some(set) = CircuitBreakerSet::read(event) {
            let there = (set.threshold.0, set.linked.0) != (0, 0);
            self.told(set.instrument).extras.breaker = there.then(|| CircuitBreaker {
                time: set.time,
                instrument: set.instrument,
                linked: set.linked,
                threshold: set.threshold,
                ..CircuitBreaker::blank()
            });
        } else if let Some(outlook) = IndicativePrice::read(event) {
            self.told(outlook.instrument).extras.indicative = Some(IndicativeAuction {
                time: outlook.time,
                price: outlook.price,
                quantity: outlook.quantity,
                buy_surplus: outlook.buy_surplus,
                sell_surplus: outlook.sell_surplus,
                instrument: outlook.instrument,
                ..IndicativeAuction::blank()
            });
        } else if let Some(priced) = IntervalPriced::read(event) {
            self.told(priced.instrument).extras.interval = Some(IntervalPrice {
                time: priced.time,
                ends_at: priced.ends_at,
                price: priced.price,
                last_price: priced.last_price,
                quantity: priced.quantity,
                trades: priced.trades,
                instrument: priced.instrument,
                ..IntervalPrice::blank()
            });
        } else {
            self.note_trade(event);
        }
    }

    fn note_trade(&mut self, event: &[u8]) {
        if let Some(filled) = OrderFilled::read(event) {
            if filled.side.decode() == Some(Side::Buy) {
                self.trades.push(Made {
                    trade: filled.trade,
                    instrument: filled.instrument,
                    time: filled.time,
                    price: filled.price,
                    quantity: filled.quantity,
                });
            }
        } else if let Some(busted) = TradeBusted::read(event) {
            let mut own = self.trades.iter_mut();
            own.find(|it| it.trade == busted.trade).unwrap().quantity = Quantity(0);
            self.amends += 1;
        } else if let Some(corrected) = TradeCorrected::read(event) {
            let mut own = self.trades.iter_mut();
            let made = own.find(|it| it.trade == corrected.trade).unwrap();
            (made.price, made.quantity) = (corrected.price, corrected.quantity);
            self.amends += 1;
        }
    }

    fn told(&mut self, instrument: InstrumentId) -> &mut Told {
        self.told.get_mut(&instrument).unwrap()
    }

    /// What an auction would come to is said of calls, and forgotten with the last of them; where the band
    /// is is forgotten with every phase.
    fn entered(&mut self, instrument: InstrumentId, time: Nanos) {
        let told = self.told(instrument);
        if matches!(
            told.state.phase,
            Phase::Continuous | Phase::Closed | Phase::Expired
        ) {
            told.extras.indicative = None;
        }
        if let Some(band) = &mut told.extras.band
            && band.low_price != Price::NONE
        {
            *band = PriceBand {
                time,
                reference_price: Price::NONE,
                low_price: Price::NONE,
                high_price: Price::NONE,
                pauses_at: Nanos(0),
                ..*band
            };
        }
    }

    /// Compares an image of all instruments with the engine's books.
    pub(crate) fn check(&self, image: &FeedImage, context: &str) {
        for (instrument, told) in &self.told {
            let shown = self.twin.shown(*instrument).into_iter();
            let book = shown.map(|it| RestingOrder {
                order: it.order,
                instrument: *instrument,
                side: it.side,
                price: it.price,
                quantity: it.quantity,
            });
            let expected = Expected {
                instrument: *instrument,
                book: book.collect(),
                trades: &self.trades,
                state: Some(told.state),
                extras: told.extras,
            };
            expected.check(image, context);
        }
    }
}
