//! Chapter 11: price bands, and the pause where quotes lean on the edge.
//!
//! Called by `orders` and `changes` for a limit, by `matching` for a trade, by `time` every second.
//!
//! Always holds: every trade that may still count is in a list, and the list is looked through.

use exahour_wire::codes::{Permissions, Phase, Side};
use exahour_wire::events::{PriceBandMoved, PriceBandSet};
use exahour_wire::ids::InstrumentId;
use exahour_wire::message::Message;
use exahour_wire::operations::SetPriceBand;
use exahour_wire::reject::Reject;
use exahour_wire::units::{Nanos, Price};

use crate::admission::{Sender, ensure};
use crate::phases::Call;
use crate::twin::{Instrument, Twin};

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;

/// A band that is set, and what it remembers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Band {
    pub(crate) width: i128,
    /// Times and prices of trades.
    trades: Vec<(u64, i64)>,
    /// Since when quotes have leaned on the edge.
    leaning_since: Option<u64>,
    /// What was told last: lowest, highest, when trading pauses.
    pub(crate) told: Option<(i64, i64, u64)>,
    pub(crate) look_at: Option<Nanos>,
}

impl Band {
    pub(crate) fn count(&mut self, now: Nanos, price: i64) {
        self.trades.push((now.0, price));
    }

    pub(crate) fn forget(&mut self) {
        self.trades.clear();
    }
}

fn next_second(now: Nanos) -> Option<Nanos> {
    (now.0 / SECOND + 1).checked_mul(SECOND).map(Nanos)
}

impl Instrument {
    /// The reference, the lowest and the highest price of trades now: rule 11.2.
    pub(crate) fn band_now(&self, now: Nanos) -> Option<(i64, i64, i64)> {
        let band = self.band.as_ref()?;
        let counts = |at: u64| at / SECOND + 300 >= now.0 / SECOND;
        let trades = band.trades.iter().filter(|(at, _)| counts(*at));
        let prices: Vec<i128> = trades.map(|(_, price)| i128::from(*price)).collect();
        let reference = match prices.len() {
            0 => i128::from(self.reference()),
            count => prices.iter().sum::<i128>() / count as i128,
        };
        let [_, opening, closing, _] = self.calendar.times;
        let time = now.0 % Nanos::DAY.0;
        let has_day = self.calendar.times != [0; 4];
        let after_opening = (opening..opening + 15 * MINUTE).contains(&time);
        let before_closing = (closing.saturating_sub(25 * MINUTE)..closing).contains(&time);
        let doubled = has_day && (after_opening || before_closing);
        let width = band.width * if doubled { 2 } else { 1 };
        let tick = i128::from(self.tick());
        let (lowest, highest) = (
            reference * (1_000_000 - width),
            reference * (1_000_000 + width),
        );
        let scale = tick * 1_000_000;
        let mut low = lowest.div_euclid(scale) * tick;
        if low * 1_000_000 < lowest {
            low += tick;
        }
        let mut high = highest.div_euclid(scale) * tick;
        if low > high {
            (low, high) = (high, low);
        }
        let price = |price: i128| price.max(tick) as i64;
        Some((reference as i64, price(low), price(high)))
    }

    /// Rule 11.3: a limit, moved into the band outside of a call.
    pub(crate) fn within_band(&self, side: Side, limit: i64, now: Nanos) -> i64 {
        match self.band_now(now) {
            Some((_, low, high)) if self.call.is_none() => match side {
                Side::Buy => limit.min(high),
                Side::Sell => limit.max(low),
            },
            _ => limit,
        }
    }
}

impl Twin {
    pub(crate) fn set_price_band(
        &mut self,
        sender: &Sender,
        command: &SetPriceBand,
    ) -> Result<(), Reject> {
        self.ensure_may(sender, Permissions::OPERATOR)?;
        let id = command.instrument;
        let expired = self.known_instrument(id)?.expired;
        ensure(command.width.0 <= 1_000_000, Reject::InvalidDefinition)?;
        ensure(!expired, Reject::InstrumentClosed)?;
        if let Some(instrument) = self.instruments.get_mut(&id) {
            instrument.band = (command.width.0 > 0).then(|| Band {
                width: i128::from(command.width.0),
                trades: Vec::new(),
                leaning_since: None,
                told: None,
                look_at: None,
            });
        }
        self.fact(PriceBandSet {
            instrument: id,
            width: command.width,
            ..PriceBandSet::blank()
        });
        self.watch_band(id);
        self.done(sender, 0);
        Ok(())
    }

    /// A phase begins, or a band.
    pub(crate) fn watch_band(&mut self, id: InstrumentId) {
        let next = next_second(self.now);
        if let Some(instrument) = self.instruments.get_mut(&id)
            && let Some(band) = &mut instrument.band
        {
            band.leaning_since = None;
            band.told = None;
            band.look_at = next.filter(|_| instrument.phase == Phase::Continuous);
        }
    }

    /// Rule 11.4: the quotes are looked at.
    pub(crate) fn look_at_band(&mut self, id: InstrumentId) {
        let now = self.now;
        let Some(instrument) = self.instruments.get_mut(&id) else {
            return;
        };
        let Some((reference, low, high)) = instrument.band_now(now) else {
            return;
        };
        let leans = instrument.best(Side::Buy).is_some_and(|bid| bid >= high)
            || instrument.best(Side::Sell).is_some_and(|ask| ask <= low);
        let call = Call::by_band(instrument);
        let Some(band) = &mut instrument.band else {
            return;
        };
        let since = match band.leaning_since {
            _ if !leans => None,
            None => Some(now.0),
            since => since,
        };
        band.leaning_since = since;
        let pauses_at = since.map_or(0, |since| since.saturating_add(15 * SECOND));
        if since.is_some() && now.0 >= pauses_at {
            instrument.call = Some(call);
            let until = now.0.checked_add(300 * SECOND).map(Nanos);
            self.enter_phase(id, Phase::Halted, until);
            self.halt_followers(id, until);
            return;
        }
        band.look_at = next_second(now);
        let told = (low, high, pauses_at);
        if band.told == Some(told) {
            return;
        }
        band.told = Some(told);
        self.fact(PriceBandMoved {
            instrument: id,
            reference_price: Price(reference),
            low_price: Price(low),
            high_price: Price(high),
            pauses_at: Nanos(pauses_at),
            ..PriceBandMoved::blank()
        });
    }
}
