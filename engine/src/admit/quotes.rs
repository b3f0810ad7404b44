//! Admission of mass quotes: what concerns the whole message, and what each side says by itself.
//!
//! Always holds: a fault of one side leaves the others as they are; what all sides have wrong fits in
//! one word, so that it crosses the ring between the stages with the verdict.

use exahour_wire::codes::{SelfTradePrevention, Side};
use exahour_wire::ids::InstrumentId;
use exahour_wire::message::Message;
use exahour_wire::orders::{MassQuote, QUOTES_MAX, Quote};
use exahour_wire::reject::Reject;

use super::orders::{check_quantity, killed, may_trade};
use super::registry::Registry;
use super::sessions::Sender;

/// What each side of a mass quote has wrong: four bits for each, the bid of the first quote lowest.
///
/// ```text
/// | ask 6 | bid 6 | .. | ask 1 | bid 1 |   0: nothing; otherwise a place in `FAULTS`, from 1
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QuoteFaults(u64);

const FAULT_BITS: usize = 4;

const FAULTS: [Reject; 5] = [
    Reject::UnknownInstrument,
    Reject::CrossedQuote,
    Reject::QuantityTooLarge,
    Reject::PriceOutOfRange,
    Reject::PriceNotOnTick,
];

const _: () = assert!(QUOTES_MAX * 2 * FAULT_BITS <= u64::BITS as usize);
const _: () = assert!(FAULTS.len() < 1 << FAULT_BITS);

fn shift(place: usize, side: Side) -> usize {
    (place * 2 + usize::from(side == Side::Sell)) * FAULT_BITS
}

impl QuoteFaults {
    fn set(&mut self, place: usize, side: Side, fault: Reject) {
        let number = FAULTS.iter().position(|it| *it == fault).unwrap_or(0) + 1;
        self.0 |= (number as u64) << shift(place, side);
    }

    /// What a side has wrong, if anything.
    pub(crate) fn of(self, place: usize, side: Side) -> Option<Reject> {
        let number = self.0 >> shift(place, side) & ((1 << FAULT_BITS) - 1);
        FAULTS.get((number as usize).checked_sub(1)?).copied()
    }
}

/// How many messages a mass quote counts as: one for each side of a contract that it names.
pub(super) fn messages(command: &[u8]) -> u32 {
    let Some(command) = MassQuote::read(command) else {
        return 1;
    };
    let quotes = command.quotes();
    let named = quotes
        .iter()
        .filter(|it| it.instrument != InstrumentId::NONE);
    (2 * named.count() as u32).max(1)
}

pub(super) fn check(
    registry: &Registry,
    sender: Sender,
    command: &MassQuote,
) -> Result<QuoteFaults, Reject> {
    may_trade(&sender)?;
    let account = registry
        .account(command.account)
        .filter(|account| account.participant == sender.participant)
        .ok_or(Reject::UnknownAccount)?;
    if account.kill_switch.stops() || killed(registry, &sender) {
        return Err(Reject::KillSwitchEngaged);
    }
    command
        .self_trade_prevention
        .decode()
        .map(|_: SelfTradePrevention| ())
        .ok_or(Reject::InvalidSelfTradePrevention)?;
    if command.flags.has_unknown() {
        return Err(Reject::InvalidFlags);
    }
    let mut faults = QuoteFaults::default();
    let mut named = 0;
    for (place, quote) in command.quotes().iter().enumerate() {
        if quote.instrument == InstrumentId::NONE {
            continue;
        }
        named += 1;
        for side in [Side::Buy, Side::Sell] {
            if let Err(fault) = check_side(registry, quote, side) {
                faults.set(place, side, fault);
            }
        }
    }
    match named {
        0 => Err(Reject::NothingToChange),
        _ => Ok(faults),
    }
}

fn check_side(registry: &Registry, quote: &Quote, side: Side) -> Result<(), Reject> {
    let terms = registry
        .instrument(quote.instrument)
        .ok_or(Reject::UnknownInstrument)?;
    let (price, quantity) = quote.side(side);
    if quantity.0 == 0 {
        return Ok(());
    }
    if quote.is_crossed() {
        return Err(Reject::CrossedQuote);
    }
    check_quantity(terms, quantity)?;
    terms.check_limit(price)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_every_side_is_found_again() {
        for place in 0..QUOTES_MAX {
            for side in [Side::Buy, Side::Sell] {
                for fault in FAULTS {
                    let mut faults = QuoteFaults::default();
                    faults.set(place, side, fault);
                    for other in 0..QUOTES_MAX {
                        for other_side in [Side::Buy, Side::Sell] {
                            let same = (other, other_side) == (place, side);
                            let expected = same.then_some(fault);
                            assert_eq!(faults.of(other, other_side), expected);
                        }
                    }
                }
            }
        }
    }
}
