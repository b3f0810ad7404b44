//! Quantities with their units: a bare integer never leaves a function.
//!
//! Used everywhere. Only lawful products exist: `Price x Quantity x Hours -> Money`, through
//! `i128`, checked.
//!
//! Always holds: no floating point; every operation that can overflow says so.
//! Does not: round. Where a division is needed, its caller names the rounding.

use std::fmt;
use std::str::FromStr;

use bytemuck::{Pod, Zeroable};

use crate::limits::MONEY_MAX;

/// How many micro-dollars make a dollar.
pub const MICROS_PER_DOLLAR: i64 = 1_000_000;

/// A price in micro-dollars per Compute Hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Price(pub i64);

/// A number of lots. One lot is a rate of one Compute Hour per hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Quantity(pub u64);

/// An amount of money in micro-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Money(pub i64);

/// The length of a delivery window in whole hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Hours(pub u32);

/// Nanoseconds since 1970-01-01T00:00:00Z, or a span of nanoseconds where a field says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Nanos(pub u64);

/// A span in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Millis(pub u32);

/// A fraction in parts per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct PartsPerMillion(pub u32);

impl Price {
    /// The value that stands for "no price": market orders, an empty side of the book.
    pub const NONE: Self = Self(i64::MIN);

    /// The value of `quantity` lots over `hours` at this price, or `None` beyond [`MONEY_MAX`].
    #[inline]
    #[must_use]
    pub fn times(self, quantity: Quantity, hours: Hours) -> Option<Money> {
        let product = i128::from(self.0) * i128::from(quantity.0) * i128::from(hours.0);
        Money::from_wide(product)
    }
}

impl Money {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Narrows an exact product, or `None` beyond [`MONEY_MAX`] in either direction.
    #[inline]
    #[must_use]
    pub fn from_wide(wide: i128) -> Option<Self> {
        let narrow = i64::try_from(wide).ok()?;
        (narrow.unsigned_abs() <= MONEY_MAX.0.unsigned_abs()).then_some(Self(narrow))
    }

    /// The sum, or `None` beyond the range of 64 bits.
    #[inline]
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` beyond the range of 64 bits.
    #[inline]
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

impl Nanos {
    /// One second.
    pub const SECOND: Self = Self(1_000_000_000);
    /// One hour.
    pub const HOUR: Self = Self(3_600_000_000_000);
    /// One day.
    pub const DAY: Self = Self(86_400_000_000_000);
    /// Later than every time that can be stamped.
    pub const NEVER: Self = Self(u64::MAX);

    /// This time and `span` later, stopping at [`Nanos::NEVER`].
    #[inline]
    #[must_use]
    pub fn after(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl From<Millis> for Nanos {
    fn from(millis: Millis) -> Self {
        Self(u64::from(millis.0) * 1_000_000)
    }
}

/// Why a decimal text is not a price or an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// There is no digit.
    #[error("not a number: expected digits such as 12.50")]
    NotANumber,
    /// There are more than six digits after the point.
    #[error("more than six digits after the point: the smallest unit is 0.000001")]
    TooFine,
    /// The value does not fit.
    #[error("too large: the largest value is 9223372036854.775807")]
    TooLarge,
}

fn parse_micros(text: &str) -> Result<i64, DecimalError> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return Err(DecimalError::NotANumber);
    }
    if fraction.len() > 6 {
        return Err(DecimalError::TooFine);
    }
    let mut micros: i64 = 0;
    let padding = std::iter::repeat_n(b'0', 6 - fraction.len());
    for digit in whole.bytes().chain(fraction.bytes()).chain(padding) {
        micros = micros
            .checked_mul(10)
            .and_then(|value| value.checked_add(i64::from(digit - b'0')))
            .ok_or(DecimalError::TooLarge)?;
    }
    Ok(if negative { -micros } else { micros })
}

fn write_micros(micros: i64, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let sign = if micros < 0 { "-" } else { "" };
    let size = micros.unsigned_abs();
    let (whole, fraction) = (size / 1_000_000, size % 1_000_000);
    let digits = format!("{fraction:06}");
    let shown = digits.trim_end_matches('0');
    // Two digits at least: money reads as dollars and cents.
    let shown = if shown.len() < 2 { &digits[..2] } else { shown };
    write!(formatter, "{sign}{whole}.{shown}")
}

impl FromStr for Price {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        parse_micros(text).map(Self)
    }
}

impl FromStr for Money {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        parse_micros(text).map(Self)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            formatter.write_str("none")
        } else {
            write_micros(self.0, formatter)
        }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_micros(self.0, formatter)
    }
}

macro_rules! display_as_integer {
    ($($unit:ident),*) => {$(
        impl fmt::Display for $unit {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    )*};
}

display_as_integer!(Quantity, Hours, Nanos, Millis, PartsPerMillion);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_parse_and_print_exactly() {
        for (text, micros, printed) in [
            ("1.2345", 1_234_500, "1.2345"),
            ("0.000001", 1, "0.000001"),
            ("-7", -7_000_000, "-7.00"),
            ("236.47", 236_470_000, "236.47"),
            (".5", 500_000, "0.50"),
        ] {
            let price: Price = text.parse().unwrap();
            assert_eq!(price, Price(micros));
            assert_eq!(price.to_string(), printed);
        }
    }

    #[test]
    fn what_is_not_a_price_is_refused_by_name() {
        assert_eq!("".parse::<Price>(), Err(DecimalError::NotANumber));
        assert_eq!("-".parse::<Price>(), Err(DecimalError::NotANumber));
        assert_eq!("1e5".parse::<Price>(), Err(DecimalError::NotANumber));
        assert_eq!("0.0000001".parse::<Price>(), Err(DecimalError::TooFine));
        assert_eq!(
            "9223372036855".parse::<Price>(),
            Err(DecimalError::TooLarge)
        );
    }

    #[test]
    fn a_value_beyond_the_limit_is_no_money() {
        let dear = Price(i64::MAX);
        assert_eq!(dear.times(Quantity(u64::MAX), Hours(1)), None);
        assert_eq!(
            Price(2_500_000).times(Quantity(10), Hours(24)),
            Some(Money(600_000_000))
        );
    }
}
