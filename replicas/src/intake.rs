//! Whether new commands are taken: the way back from whoever a full disk holds up to the gateway.
//!
//! Owned by the sequencer and by the engine agent, one each; gateways follow both.
//!
//! Always holds: what was taken before is kept and carried out once there is room.

use exahour_rings::WatermarkWriter;
use exahour_wire::units::Nanos;

/// How long a full disk is left alone before it is tried again.
pub(crate) const RETRY_AFTER: Nanos = Nanos(20_000_000);

/// Closes and opens the intake; the mark is odd while it is closed.
pub(crate) struct Intake {
    mark: WatermarkWriter,
    /// Who is held up, for the operator.
    log: &'static str,
    notice: fn(&str),
}

impl Intake {
    pub(crate) fn new(mark: WatermarkWriter, log: &'static str, notice: fn(&str)) -> Self {
        Self { mark, log, notice }
    }

    /// Refuses new commands from now on, and says so once.
    pub(crate) fn close(&mut self) {
        if self.mark.published().is_multiple_of(2) {
            (self.notice)(&format!(
                "{log}: the disk is full; new commands are refused until there is room, and what was \
                 taken waits for it: free some space",
                log = self.log
            ));
            self.mark.publish(self.mark.published() + 1);
        }
    }

    /// Takes them again.
    pub(crate) fn open(&mut self) {
        if !self.mark.published().is_multiple_of(2) {
            (self.notice)(&format!("{log}: there is room again", log = self.log));
            self.mark.publish(self.mark.published() + 1);
        }
    }
}
