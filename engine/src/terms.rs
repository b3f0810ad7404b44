//! The terms of a contract, parsed once into a form that cannot be wrong.
//!
//! Made when an instrument is listed; each stage keeps its own copy.
//!
//! Always holds: every position within `position_cap` can be marked between any two prices within
//! `price_cap` without leaving the range of [`Money`].

use exahour_wire::codes::{ContractKind, Firmness, ResourceClass, Side};
use exahour_wire::limits::{HOURS_MAX, MONEY_MAX, PRICE_MAX, PRICE_RANGE_FACTOR, QUANTITY_MAX};
use exahour_wire::operations::CreateInstrument;
use exahour_wire::reject::Reject;
use exahour_wire::units::{Hours, Money, Nanos, PartsPerMillion, Price, Quantity};

use crate::divisor::Divisor;

const MILLION: u32 = 1_000_000;

/// The terms of a contract.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) kind: ContractKind,
    pub(crate) hours: Hours,
    pub(crate) tick: Price,
    /// The tick again, as prices are tested against it.
    pub(crate) ticks: Divisor,
    pub(crate) price_cap: Price,
    pub(crate) position_cap: Quantity,
    pub(crate) initial_margin: Money,
    pub(crate) quantity_max: Quantity,
    pub(crate) notional_max: Money,
    pub(crate) collar: PartsPerMillion,
    pub(crate) protection: PartsPerMillion,
    pub(crate) reference_price: Price,
    pub(crate) delivery_start: Nanos,
    pub(crate) last_trade_at: Nanos,
}

impl Terms {
    /// Reads the terms from a listing made at `now`.
    ///
    /// # Errors
    /// [`Reject::InvalidDefinition`] where they contradict themselves.
    pub(crate) fn parse(listing: &CreateInstrument, now: Nanos) -> Result<Self, Reject> {
        let refused = Reject::InvalidDefinition;
        let kind = listing.kind.decode().ok_or(refused)?;
        listing
            .class
            .decode()
            .map(|_: ResourceClass| ())
            .ok_or(refused)?;
        listing
            .firmness
            .decode()
            .map(|_: Firmness| ())
            .ok_or(refused)?;
        let grades = (1..=4).contains(&listing.grade_performance)
            && (1..=4).contains(&listing.grade_reliability)
            && (1..=3).contains(&listing.grade_energy);
        let named = listing.symbol.as_str().is_some_and(|text| !text.is_empty())
            && listing.zone.as_str().is_some_and(|text| !text.is_empty());
        let window = (1..=HOURS_MAX.0).contains(&listing.hours.0)
            && listing.last_trade_at > now
            && listing.delivery_start >= listing.last_trade_at;
        let tick = listing.tick.0;
        let reference = listing.reference_price.0;
        let priced = tick > 0
            && reference >= tick
            && reference <= PRICE_MAX.0
            && reference % tick == 0
            && (0..=MONEY_MAX.0).contains(&listing.initial_margin.0)
            && (1..=QUANTITY_MAX.0).contains(&listing.quantity_max.0)
            && (1..=MONEY_MAX.0).contains(&listing.notional_max.0)
            && listing.collar.0 <= MILLION
            && listing.protection.0 <= MILLION;
        if !(grades && named && window && priced) {
            return Err(refused);
        }
        // The reference is at most 10^12, so a hundred times it cannot overflow.
        let highest = PRICE_MAX.0.min(reference * PRICE_RANGE_FACTOR);
        let price_cap = highest - highest % tick;
        let lot_value_max = i128::from(price_cap) * i128::from(listing.hours.0);
        let position_cap = i128::from(MONEY_MAX.0) / lot_value_max;
        let position_cap = u64::try_from(position_cap).map_err(|_| refused)?;
        if position_cap == 0 {
            return Err(refused);
        }
        Ok(Self {
            kind,
            hours: listing.hours,
            tick: listing.tick,
            ticks: Divisor::new(tick.cast_unsigned()),
            price_cap: Price(price_cap),
            position_cap: Quantity(position_cap),
            initial_margin: listing.initial_margin,
            quantity_max: listing.quantity_max,
            notional_max: listing.notional_max,
            collar: listing.collar,
            protection: listing.protection,
            reference_price: listing.reference_price,
            delivery_start: listing.delivery_start,
            last_trade_at: listing.last_trade_at,
        })
    }

    /// Checks a limit price against range and tick.
    ///
    /// # Errors
    /// [`Reject::PriceOutOfRange`], [`Reject::PriceNotOnTick`].
    #[inline]
    pub(crate) fn check_limit(&self, price: Price) -> Result<(), Reject> {
        if price.0 <= 0 || price > self.price_cap {
            return Err(Reject::PriceOutOfRange);
        }
        if !self.ticks.divides(price.0.cast_unsigned()) {
            return Err(Reject::PriceNotOnTick);
        }
        Ok(())
    }

    /// Whether a limit is further from the reference than the collar allows.
    #[inline]
    pub(crate) fn outside_collar(&self, price: Price, reference: Price) -> bool {
        // Prices are at most 10^12, so a million times one stays within 63 bits.
        let distance = (price.0 - reference.0).abs() * i64::from(MILLION);
        let allowed = reference.0 * i64::from(self.collar.0);
        self.collar.0 != 0 && distance > allowed
    }

    /// How far an order without a limit may go from `best`.
    pub(crate) fn protected(&self, side: Side, best: Price) -> Price {
        match side {
            Side::Buy => self.protected_buy(best),
            Side::Sell => self.protected_sell(best),
        }
    }

    /// How far a market buy may go from `best`: rounded down to a tick, never above the cap.
    fn protected_buy(&self, best: Price) -> Price {
        let limit = best.0 + self.protection_distance(best);
        Price((limit - limit % self.tick.0).min(self.price_cap.0))
    }

    /// How far a market sell may go from `best`: rounded up to a tick, never below one tick.
    fn protected_sell(&self, best: Price) -> Price {
        let limit = best.0 - self.protection_distance(best);
        let above = limit.rem_euclid(self.tick.0);
        let rounded = if above == 0 {
            limit
        } else {
            limit - above + self.tick.0
        };
        Price(rounded.max(self.tick.0))
    }

    fn protection_distance(&self, best: Price) -> i64 {
        // Both factors are bounded: 10^12 x 10^6 stays within 63 bits.
        best.0 * i64::from(self.protection.0) / i64::from(MILLION)
    }

    /// What one lot held long, and one held short, keeps locked at settlement price `settlement`.
    #[inline]
    pub(crate) fn margins(&self, settlement: Price) -> (i64, i64) {
        let short = self.initial_margin.0;
        let long = match self.kind {
            ContractKind::Future => short,
            ContractKind::Spot => settlement.0 * i64::from(self.hours.0),
        };
        (long, short)
    }
}
