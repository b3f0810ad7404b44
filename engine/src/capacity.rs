//! How much room the engine sets aside before it starts, and how much of the rules it knows.

use exahour_wire::ids::Behaviour;
use exahour_wire::limits::ORDERS_MAX;

use crate::behaviour::BEHAVIOUR_MAX;

/// What the engine expects, and allocates before the first command. It grows beyond at the cost of
/// an allocation: room is a matter of speed, and how many orders may live is said by the log.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Live orders.
    pub orders: u32,
    /// Pairs of account and instrument with a position or an open order.
    pub positions: u32,
    /// Seeds the indexes whose keys clients choose. A node draws it and tells nobody, so that nobody can
    /// choose keys that fall together; no output depends on it, so every replica may have its own.
    pub index_seed: u64,
    /// The newest behaviour that it can do. A lower one than [`BEHAVIOUR_MAX`] makes it an engine of an older
    /// program, which stops where the log wants more.
    pub behaviour_max: Behaviour,
}

impl Capacity {
    /// Live orders, as far as ids can name them.
    pub(crate) fn orders_max(&self) -> usize {
        self.orders.min(ORDERS_MAX) as usize
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            orders: 1 << 20,
            positions: 1 << 16,
            index_seed: 0,
            behaviour_max: BEHAVIOUR_MAX,
        }
    }
}
