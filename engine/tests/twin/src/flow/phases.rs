//! Trading days, halts and their ends: what operators send about phases.
//!
//! Always holds: most calendars begin about now, so that their phases are lived through.

use exahour_wire::codes::{Permissions, Raw};
use exahour_wire::ids::InstrumentId;
use exahour_wire::message::{Digest, Message};
use exahour_wire::operations::{
    HaltTrading, InstrumentStatusRequest, ResumeTrading, SetAuctionSeed, SetCalendar,
    SetCircuitBreaker, SetPriceBand,
};
use exahour_wire::units::{Millis, Nanos, PartsPerMillion};

use super::dice::Dice;
use super::market::Market;
use super::realistic::{any_instrument, instrument, sender_or_exchange};

const DAY: u64 = 86_400_000;

/// A command about phases.
pub(super) fn command(market: &mut Market, dice: &mut Dice, now: Nanos) -> Vec<u8> {
    let (session, sequence, _) = sender_or_exchange(market, dice, Permissions::OPERATOR);
    let request = market.fresh_name();
    if dice.percent(10) {
        return InstrumentStatusRequest {
            session,
            sequence,
            request,
            instrument: any_instrument(market, dice),
            ..InstrumentStatusRequest::blank()
        }
        .bytes()
        .to_vec();
    }
    let contract = instrument(market, dice);
    let instrument = contract.map_or(any_instrument(market, dice), |contract| {
        contract.definition.instrument
    });
    let halted = market.halted.contains(&instrument);
    match dice.below(if halted { 140 } else { 100 }) {
        0..8 => SetPriceBand {
            session,
            sequence,
            request,
            instrument,
            ..band(dice)
        }
        .bytes()
        .to_vec(),
        8..16 => SetCircuitBreaker {
            session,
            sequence,
            request,
            instrument,
            ..breaker(market, dice)
        }
        .bytes()
        .to_vec(),
        16..48 => SetCalendar {
            session,
            sequence,
            request,
            instrument,
            ..calendar(dice, now)
        }
        .bytes()
        .to_vec(),
        48..51 => SetAuctionSeed {
            session,
            sequence,
            request,
            seed: Digest([dice.below(256) as u8; 32]),
            ..SetAuctionSeed::blank()
        }
        .bytes()
        .to_vec(),
        place if (place < 96) == halted => ResumeTrading {
            session,
            sequence,
            request,
            instrument,
            ..ResumeTrading::blank()
        }
        .bytes()
        .to_vec(),
        _ => HaltTrading {
            session,
            sequence,
            request,
            instrument,
            duration: Millis(dice.pick(&[0, 1, 300, 4_000, 300_000])),
            ..HaltTrading::blank()
        }
        .bytes()
        .to_vec(),
    }
}

/// A breaker that prices reach now and then, sometimes one that follows another instrument.
pub(super) fn breaker(market: &Market, dice: &mut Dice) -> SetCircuitBreaker {
    SetCircuitBreaker {
        linked: match dice.percent(30) {
            true => any_instrument(market, dice),
            false => InstrumentId::NONE,
        },
        threshold: PartsPerMillion(dice.pick(&[0, 5_000, 20_000, 20_000, 150_000, 1_000_001])),
        ..SetCircuitBreaker::blank()
    }
}

/// A band that prices reach now and then.
pub(super) fn band(dice: &mut Dice) -> SetPriceBand {
    SetPriceBand {
        width: PartsPerMillion(dice.pick(&[0, 2_000, 10_000, 20_000, 100_000, 1_000_001])),
        ..SetPriceBand::blank()
    }
}

/// Ends a halt, so that trading goes on.
pub(super) fn resume(instrument: InstrumentId) -> Vec<u8> {
    ResumeTrading {
        instrument,
        ..ResumeTrading::blank()
    }
    .bytes()
    .to_vec()
}

/// Rules of auctions, mostly with a trading day about now, mostly lawful.
pub(super) fn calendar(dice: &mut Dice, now: Nanos) -> SetCalendar {
    let mut command = SetCalendar {
        collar: PartsPerMillion(dice.pick(&[0, 50_000, 250_000, 1_000_000])),
        allocation: Raw::new(dice.below(2) as u8),
        ..SetCalendar::blank()
    };
    if dice.percent(45) {
        return command;
    }
    let scale = dice.pick(&[40, 2_000, 300_000, 7_200_000]);
    let random_end = dice.pick(&[0, 0, 1, 30, 2_000, 60_000]).min(scale / 2);
    let time = now.0 % Nanos::DAY.0 / 1_000_000;
    let call_start = time.saturating_sub(dice.below(2 * scale));
    let uncross = call_start + dice.between(1, scale);
    let closing_call = uncross + random_end + dice.below(4 * scale);
    let closing_uncross = closing_call + dice.between(1, scale);
    // A day that would be too long is pushed back.
    let back = closing_uncross.saturating_sub(DAY).min(call_start);
    let times = [call_start, uncross, closing_call, closing_uncross];
    let mut times = times.map(|time| Millis((time - back) as u32));
    if dice.percent(4) {
        times[dice.below(4) as usize].0 = dice.below(DAY + 2) as u32;
    }
    [
        command.call_start,
        command.uncross,
        command.closing_call,
        command.closing_uncross,
    ] = times;
    command.random_end = Millis(random_end as u32);
    if dice.percent(3) {
        command.allocation = Raw::new(2);
    }
    command
}
