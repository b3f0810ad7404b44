//! When and at which prices a contract of the genesis trades: its trading day, breaker and band.
//!
//! Read with the contract; journaled behind all contracts, because one may follow the halts of another.
//!
//! Always holds: a contract that says nothing of these trades around the clock, unguarded.

use exahour_wire::codes::Allocation;
use exahour_wire::ids::InstrumentId;
use exahour_wire::message::Message;
use exahour_wire::operations::{SetCalendar, SetCircuitBreaker, SetPriceBand};
use exahour_wire::record::Record;
use exahour_wire::units::{Millis, PartsPerMillion};
use serde::Deserialize;

use super::{Entry, GenesisError, GenesisInstrument, value};

/// The trading day of a contract, and the rules of its auctions. Times are in UTC, `HH:MM` or
/// `HH:MM:SS`, up to 24:00.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisCalendar {
    /// When orders are collected for the opening auction.
    pub call_start: String,
    /// When the opening auction is held.
    pub uncross: String,
    /// When orders are collected for the closing auction.
    pub closing_call: String,
    /// When the closing auction is held.
    pub closing_uncross: String,
    /// By how many milliseconds, at most, chance delays an auction.
    #[serde(default)]
    pub random_end_ms: u32,
    /// How far an auction's price may be from the reference, in parts per million; zero for any distance.
    #[serde(default)]
    pub collar_ppm: u32,
    /// At the last price that an auction serves the largest orders come first, not the oldest.
    #[serde(default)]
    pub by_size: bool,
}

impl GenesisInstrument {
    /// The commands that set what it says of these.
    pub(super) fn guards(
        &self,
        entry: Entry,
        named: &mut Vec<(Entry, Record)>,
    ) -> Result<(), GenesisError> {
        let instrument = InstrumentId(self.id);
        if let Some(calendar) = &self.calendar {
            let entry = entry.key("calendar");
            named.push((entry, calendar.command(entry, instrument)?));
        }
        if self.circuit_breaker_ppm > 0 || self.halts_with > 0 {
            let breaker = SetCircuitBreaker {
                instrument,
                linked: InstrumentId(self.halts_with),
                threshold: PartsPerMillion(self.circuit_breaker_ppm),
                ..Message::blank()
            };
            let key = match self.halts_with {
                0 => "circuit_breaker_ppm",
                _ => "halts_with",
            };
            named.push((entry.key(key), Record::new(&breaker)));
        }
        if self.price_band_ppm > 0 {
            let band = SetPriceBand {
                instrument,
                width: PartsPerMillion(self.price_band_ppm),
                ..Message::blank()
            };
            named.push((entry.key("price_band_ppm"), Record::new(&band)));
        }
        Ok(())
    }
}

impl GenesisCalendar {
    fn command(&self, entry: Entry, instrument: InstrumentId) -> Result<Record, GenesisError> {
        let time = |text: &str| {
            time_of_day(text).ok_or_else(|| {
                let expected = "a time of day in UTC such as 07:50 or 07:50:30";
                value(entry, text, expected)
            })
        };
        let allocation = match self.by_size {
            true => Allocation::Size,
            false => Allocation::Time,
        };
        Ok(Record::new(&SetCalendar {
            instrument,
            call_start: time(&self.call_start)?,
            uncross: time(&self.uncross)?,
            closing_call: time(&self.closing_call)?,
            closing_uncross: time(&self.closing_uncross)?,
            random_end: Millis(self.random_end_ms),
            collar: PartsPerMillion(self.collar_ppm),
            allocation: allocation.into(),
            ..Message::blank()
        }))
    }
}

/// A time of day as a span after midnight UTC: `07:50` or `07:50:30`, up to `24:00`.
#[must_use]
pub fn time_of_day(text: &str) -> Option<Millis> {
    let mut parts = text.split(':').map(|part| {
        let plain = part.len() == 2 && part.bytes().all(|it| it.is_ascii_digit());
        part.parse::<u32>().ok().filter(|_| plain)
    });
    let (hours, minutes) = (parts.next()??, parts.next()??);
    let seconds = match parts.next() {
        Some(seconds) => seconds?,
        None => 0,
    };
    let span = hours * 3_600 + minutes * 60 + seconds;
    let lawful = minutes < 60 && seconds < 60 && span <= 86_400 && parts.next().is_none();
    lawful.then_some(Millis(span * 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_read_exactly() {
        let millis = |text| time_of_day(text).map(|time| time.0);
        assert_eq!(millis("00:00"), Some(0));
        assert_eq!(millis("07:50"), Some(28_200_000));
        assert_eq!(millis("07:50:30"), Some(28_230_000));
        assert_eq!(millis("24:00"), Some(86_400_000));
        for wrong in [
            "7:50",
            "24:01",
            "25:00",
            "07:60",
            "07",
            "07:50:",
            "07:50:30:00",
            "",
            "-1:00",
            "+7:50",
        ] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }
}
