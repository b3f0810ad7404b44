//! Rule 1.6: which rules are in force.
//!
//! Called by `admission` for the sequencer's command.

use exahour_wire::events::{BehaviourActivated, CommandRejected};
use exahour_wire::ids::{Behaviour, SessionId};
use exahour_wire::internal::ActivateBehaviour;
use exahour_wire::message::Message;
use exahour_wire::reject::Reject;

use crate::twin::Twin;

/// What an exchange begins with.
pub(crate) const FIRST: Behaviour = Behaviour(1);

/// The newest that is written down.
pub const NEWEST: Behaviour = Behaviour(2);

impl Twin {
    /// Rule 1.6.
    ///
    /// # Panics
    /// If it activates what is not written down: a replica stops there.
    pub(crate) fn activate_behaviour(&mut self, command: &ActivateBehaviour) {
        if command.session != SessionId::NONE {
            return;
        }
        if command.behaviour <= self.behaviour {
            let rejected = CommandRejected {
                request: command.request,
                template: 207,
                reason: Reject::BehaviourNotNewer.into(),
                client_sequence: command.sequence,
                ..CommandRejected::blank()
            };
            self.report(SessionId::NONE, rejected);
            return;
        }
        assert!(command.behaviour <= NEWEST, "{command:?}");
        let former = std::mem::replace(&mut self.behaviour, command.behaviour);
        self.fact(BehaviourActivated {
            behaviour: command.behaviour,
            former,
            ..BehaviourActivated::blank()
        });
    }
}
