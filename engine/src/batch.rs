//! What goes into the engine and where its events go.

use exahour_wire::ids::CommandSequence;
use exahour_wire::units::Nanos;

/// One batch of commands, as journaled.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The leader's stamp: UTC, never below that of an earlier batch.
    pub time: Nanos,
    /// The number of the first command; the others follow without gap.
    pub first: CommandSequence,
    /// The commands, one after the other, header first.
    pub commands: &'a [u8],
}

/// Where events go, each one whole message.
pub trait EventSink {
    /// Takes one event.
    fn emit(&mut self, event: &[u8]);
}

impl EventSink for Vec<u8> {
    #[inline]
    fn emit(&mut self, event: &[u8]) {
        self.extend_from_slice(event);
    }
}
