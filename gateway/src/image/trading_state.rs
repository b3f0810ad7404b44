//! How an instrument trades: its phase, when that ends, what an auction may cost, what it is settled at.
//!
//! Kept by both images for every book; told as one message whenever a part of it changes.
//!
//! Always holds: outside of calls there is neither a reference price nor a range.

use exahour_wire::codes::Phase;
use exahour_wire::events::PhaseChanged;
use exahour_wire::ids::{FeedSequence, InstrumentId};
use exahour_wire::market_data::InstrumentPhase;
use exahour_wire::message::Message;
use exahour_wire::units::{Nanos, Price};

use super::event_image::decode;
use super::fault::ImageFault;

/// The state of trading in one contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TradingState {
    /// The phase.
    pub phase: Phase,
    /// The final or last settlement price, or none.
    pub settlement_price: Price,
    /// When the phase is to end, chance apart; zero where nothing says so.
    pub ends_at: Nanos,
    /// In a call the price that the auction stays close to, otherwise none.
    pub reference_price: Price,
    /// In a call the lowest price of the auction, otherwise none.
    pub low_price: Price,
    /// In a call the highest price of the auction, otherwise none.
    pub high_price: Price,
}

impl TradingState {
    /// How an instrument trades that was just listed.
    pub const LISTED: TradingState = TradingState::of(Phase::Continuous, Price::NONE);

    /// A phase that ends at no known time and has no auction.
    pub(super) const fn of(phase: Phase, settlement_price: Price) -> Self {
        TradingState {
            phase,
            settlement_price,
            ends_at: Nanos(0),
            reference_price: Price::NONE,
            low_price: Price::NONE,
            high_price: Price::NONE,
        }
    }

    /// The state that an event begins; what it is settled at stays.
    pub(super) fn begun(
        changed: &PhaseChanged,
        settlement_price: Price,
    ) -> Result<Self, ImageFault> {
        Ok(TradingState {
            phase: decode(changed.phase, PhaseChanged::TEMPLATE_ID)?,
            settlement_price,
            ends_at: changed.ends_at,
            reference_price: changed.reference_price,
            low_price: changed.low_price,
            high_price: changed.high_price,
        })
    }

    /// The state that a message of the feed tells.
    pub(super) fn told(told: &InstrumentPhase) -> Result<Self, ImageFault> {
        Ok(TradingState {
            phase: decode(told.phase, InstrumentPhase::TEMPLATE_ID)?,
            settlement_price: told.settlement_price,
            ends_at: told.ends_at,
            reference_price: told.reference_price,
            low_price: told.low_price,
            high_price: told.high_price,
        })
    }

    /// The message that tells it.
    pub fn message(
        &self,
        sequence: FeedSequence,
        time: Nanos,
        instrument: InstrumentId,
    ) -> InstrumentPhase {
        InstrumentPhase {
            sequence,
            time,
            settlement_price: self.settlement_price,
            instrument,
            phase: self.phase.into(),
            ends_at: self.ends_at,
            reference_price: self.reference_price,
            low_price: self.low_price,
            high_price: self.high_price,
            ..InstrumentPhase::blank()
        }
    }

    /// Whether orders are collected for an auction.
    pub fn in_call(&self) -> bool {
        matches!(
            self.phase,
            Phase::PreOpenCall | Phase::ClosingCall | Phase::Halted
        )
    }
}
