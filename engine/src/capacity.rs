//! How much room the engine sets aside before it starts.

/// What the engine expects, and allocates before the first command. It grows beyond at the cost of
/// an allocation: room is a matter of speed, and how many orders may live is said by the log.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Live orders.
    pub orders: u32,
    /// Pairs of account and instrument with a position or an open order.
    pub positions: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            orders: 1 << 20,
            positions: 1 << 16,
        }
    }
}
