//! One value for buys and one for sells, chosen without a branch: which side a command is on is what a
//! processor guesses worst.

use exahour_wire::codes::Side;

/// A value for each side.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BySide<T> {
    values: [T; 2],
}

impl<T> BySide<T> {
    /// The values of both sides.
    pub(crate) const fn new(buy: T, sell: T) -> Self {
        Self {
            values: [buy, sell],
        }
    }

    /// The value of a side.
    #[inline]
    pub(crate) fn at(&self, side: Side) -> &T {
        &self.values[place(side)]
    }

    /// As [`BySide::at`], to change.
    #[inline]
    pub(crate) fn at_mut(&mut self, side: Side) -> &mut T {
        &mut self.values[place(side)]
    }
}

#[inline]
fn place(side: Side) -> usize {
    usize::from(side == Side::Sell)
}

/// `value` for a buy, its negative for a sell.
#[inline]
pub(crate) fn signed(side: Side, value: i64) -> i64 {
    value * (1 - 2 * i64::from(side == Side::Sell))
}
