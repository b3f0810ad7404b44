//! The real engine on a random flow, beside its slow twin: the events of the one, the books of the other.
//!
//! Always holds: both have said the same of every command, so the twin's books are the engine's.

use std::collections::BTreeMap;

use exahour_engine::{Batch, Capacity, Engine};
use exahour_gateway::image::{FeedImage, RestingOrder};
use exahour_twin::Twin;
use exahour_twin::flow::{Flow, Style};
use exahour_wire::codes::{Phase, Side};
use exahour_wire::events::{
    IndicativePrice, InstrumentExpired, InstrumentListed, InstrumentSettled, IntervalPriced,
    OrderFilled, PhaseChanged, StateHashed, TradeBusted, TradeCorrected,
};
use exahour_wire::ids::InstrumentId;
use exahour_wire::market_data::{IndicativeAuction, IntervalPrice};
use exahour_wire::message::{Message, messages};
use exahour_wire::units::{Price, Quantity};

use crate::expected::{Expected, Made};

/// What events have said of an instrument beside its orders.
#[derive(Clone, Copy, Debug)]
struct Told {
    phase: Phase,
    settlement_price: Price,
    indicative: Option<IndicativeAuction>,
    interval: Option<IntervalPrice>,
}

pub(crate) struct Exchange {
    engine: Engine,
    twin: Twin,
    flow: Flow,
    trades: Vec<Made>,
    told: BTreeMap<InstrumentId, Told>,
    /// Busts and corrections so far.
    pub(crate) amends: usize,
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
                phase: Phase::Continuous,
                settlement_price: Price::NONE,
                indicative: None,
                interval: None,
            };
            self.told.insert(listed.instrument, told);
        } else if let Some(changed) = PhaseChanged::read(event) {
            self.enter(changed.instrument, changed.phase.decode().unwrap());
        } else if let Some(settled) = InstrumentSettled::read(event) {
            self.told(settled.instrument).settlement_price = settled.price;
        } else if let Some(expired) = InstrumentExpired::read(event) {
            self.told(expired.instrument).settlement_price = expired.price;
            self.enter(expired.instrument, Phase::Expired);
        } else if let Some(outlook) = IndicativePrice::read(event) {
            self.told(outlook.instrument).indicative = Some(IndicativeAuction {
                time: outlook.time,
                price: outlook.price,
                quantity: outlook.quantity,
                buy_surplus: outlook.buy_surplus,
                sell_surplus: outlook.sell_surplus,
                instrument: outlook.instrument,
                ..IndicativeAuction::blank()
            });
        } else if let Some(priced) = IntervalPriced::read(event) {
            self.told(priced.instrument).interval = Some(IntervalPrice {
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

    /// What an auction would come to is said of calls, and forgotten with the last of them.
    fn enter(&mut self, instrument: InstrumentId, phase: Phase) {
        let told = self.told(instrument);
        told.phase = phase;
        if matches!(phase, Phase::Continuous | Phase::Closed | Phase::Expired) {
            told.indicative = None;
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
                state: Some((told.phase, told.settlement_price)),
                indicative: told.indicative,
                interval: told.interval,
            };
            expected.check(image, context);
        }
    }
}
