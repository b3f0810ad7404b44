//! How much room the engine sets aside before it starts.

/// The room that is allocated at the start. Orders beyond theirs are rejected; the other numbers
/// are what the engine expects, and it grows beyond them at the cost of an allocation.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Live orders, at most 2^24.
    pub orders: u32,
    /// Pairs of account and instrument with a position or an open order.
    pub positions: u32,
}

impl Capacity {
    /// The most live orders that an order id can name.
    pub const ORDERS_MAX: u32 = 1 << 24;
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            orders: 1 << 20,
            positions: 1 << 16,
        }
    }
}
