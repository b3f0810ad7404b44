//! Who and what exists: participants, owners of accounts, terms of instruments, kill switches.
//!
//! Always holds: what is registered here is registered in `execute` by the same command.

use exahour_wire::ids::{AccountId, InstrumentId, ParticipantId};

use super::kill_switch::KillSwitch;
use crate::terms::Terms;

/// One participant.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Participant {
    pub(crate) exists: bool,
    pub(crate) kill_switch: KillSwitch,
}

/// The owner of one account; none where there is no account.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AccountOwner {
    pub(crate) participant: ParticipantId,
    pub(crate) kill_switch: KillSwitch,
}

/// The registry, each part indexed by id.
#[derive(Default)]
pub(crate) struct Registry {
    participants: Vec<Participant>,
    accounts: Vec<AccountOwner>,
    instruments: Vec<Option<Terms>>,
}

fn room_for<T: Clone + Default>(all: &mut Vec<T>, id: u32) -> &mut T {
    let place = id as usize;
    if place >= all.len() {
        all.resize(place + 1, T::default());
    }
    &mut all[place]
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The participant with this id.
    #[inline]
    pub(crate) fn participant(&self, id: ParticipantId) -> Option<&Participant> {
        self.participants
            .get(id.0 as usize)
            .filter(|participant| participant.exists)
    }

    pub(crate) fn participant_mut(&mut self, id: ParticipantId) -> &mut Participant {
        room_for(&mut self.participants, id.0)
    }

    /// The owner of the account with this id.
    #[inline]
    pub(crate) fn account(&self, id: AccountId) -> Option<&AccountOwner> {
        let owner = self.accounts.get(id.0 as usize)?;
        (owner.participant != ParticipantId::NONE).then_some(owner)
    }

    pub(crate) fn account_mut(&mut self, id: AccountId) -> &mut AccountOwner {
        room_for(&mut self.accounts, id.0)
    }

    /// The terms of the instrument with this id.
    #[inline]
    pub(crate) fn instrument(&self, id: InstrumentId) -> Option<&Terms> {
        self.instruments.get(id.0 as usize)?.as_ref()
    }

    /// Lists an instrument.
    pub(crate) fn list(&mut self, id: InstrumentId, terms: Terms) {
        *room_for(&mut self.instruments, id.0) = Some(terms);
    }

    /// All participants, by id.
    pub(crate) fn participants(&self) -> &[Participant] {
        &self.participants
    }

    /// All owners of accounts, by id.
    pub(crate) fn accounts(&self) -> &[AccountOwner] {
        &self.accounts
    }
}
