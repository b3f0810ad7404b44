//! What a node sees of the world: its disk, its network, its clock and its dice.
//!
//! Given to `Node::assemble`; the real one by `exahour start`, a simulated one by the simulator.
//!
//! Always holds: whatever a node does outside of its own memory, or takes from chance, goes through here.

use std::path::Path;
use std::sync::Arc;

use exahour_gateway::clock::{Clock, SystemClock};
use exahour_gateway::net::{Net, SystemNet};
use exahour_journal::disk::{Disk, SystemDisk};

use crate::error::NodeError;

/// Gives a clock to each part that needs one.
pub type Clocks = Arc<dyn Fn() -> Box<dyn Clock> + Send + Sync>;

/// The world around a node.
#[derive(Clone)]
pub struct World {
    /// Its disk, which has its dice, too.
    pub disk: Arc<dyn Disk>,
    /// Its network.
    pub net: Arc<dyn Net>,
    /// Its clocks.
    pub clocks: Clocks,
}

impl World {
    /// The machine that this process runs on.
    #[must_use]
    pub fn system() -> Self {
        Self {
            disk: Arc::new(SystemDisk),
            net: Arc::new(SystemNet),
            clocks: Arc::new(|| Box::new(SystemClock::default())),
        }
    }

    /// Bytes that nobody can guess.
    pub(crate) fn random_bytes<const N: usize>(&self) -> Result<[u8; N], NodeError> {
        let mut bytes = [0; N];
        let drawn = self.disk.random_bytes(&mut bytes);
        drawn.map_err(NodeError::io(Path::new("random bytes"), "draw"))?;
        Ok(bytes)
    }
}
