//! What a status says of a phase is what everybody was told of it, and no more.

use std::collections::BTreeMap;

use exahour_wire::events::{InstrumentExpired, InstrumentStatus, PhaseChanged};
use exahour_wire::message::Message;
use exahour_wire::units::Nanos;

use super::{Violation, must};

/// When the phases under way are to end, as was announced.
#[derive(Clone, Debug, Default)]
pub(super) struct Phases {
    ends_at: BTreeMap<u32, Nanos>,
}

impl Phases {
    pub(super) fn on_event(&mut self, event: &[u8]) -> Result<(), Violation> {
        if let Some(changed) = PhaseChanged::read(event) {
            self.ends_at.insert(changed.instrument.0, changed.ends_at);
        } else if let Some(expired) = InstrumentExpired::read(event) {
            self.ends_at.remove(&expired.instrument.0);
        } else if let Some(status) = InstrumentStatus::read(event) {
            let told = self.ends_at.get(&status.instrument.0).copied();
            let told = told.unwrap_or(Nanos(0));
            must(status.ends_at == told, || {
                format!("a status says the end that was announced, {}", told.0)
            })?;
        }
        Ok(())
    }
}
