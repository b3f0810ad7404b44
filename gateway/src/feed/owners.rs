//! Whose is what: sessions, accounts and obligations, learnt from the event log.
//!
//! Kept by the drop copy port, which asks it of every event for every back office.
//!
//! Always holds: an owner never changes once it is known, so what is known now is right for every
//! earlier event too; looking up a session or an account is one array access.
//! Does not: forget: obligations take 16 bytes each for as long as the process runs.

use exahour_wire::codes::Permissions;
use exahour_wire::events::{
    AccountCreated, DeliveryAssigned, DeliverySettled, EventPrefix, MachineReady, MoneyMoved,
    SessionCreated,
};
use exahour_wire::ids::{AccountId, ObligationId, ParticipantId, SessionId};
use exahour_wire::limits::{ACCOUNTS_MAX, SESSIONS_MAX};
use exahour_wire::message::Message;

use crate::views::pages::{PageReader, PageWriter};

/// The owners so far.
#[derive(Debug, Default)]
pub struct Owners {
    sessions: Vec<(ParticipantId, Permissions)>,
    accounts: Vec<ParticipantId>,
    /// By ascending obligation.
    obligations: Vec<(ObligationId, AccountId, AccountId)>,
}

impl Owners {
    /// Learns what an event says.
    pub fn on_event(&mut self, prefix: &EventPrefix, event: &[u8]) {
        match prefix.header.template_id {
            SessionCreated::TEMPLATE_ID => {
                if let Some(created) = SessionCreated::read(event) {
                    let owner = (created.participant, created.permissions);
                    put(
                        &mut self.sessions,
                        created.new_session.0,
                        SESSIONS_MAX,
                        owner,
                    );
                }
            }
            AccountCreated::TEMPLATE_ID => {
                if let Some(created) = AccountCreated::read(event) {
                    let (account, owner) = (created.account.0, created.participant);
                    put(&mut self.accounts, account, ACCOUNTS_MAX, owner);
                }
            }
            DeliveryAssigned::TEMPLATE_ID => {
                if let Some(assigned) = DeliveryAssigned::read(event) {
                    self.assign(assigned.obligation, assigned.buyer, assigned.seller);
                }
            }
            _ => {}
        }
    }

    /// Obligations come in ascending order, so this appends; otherwise it inserts.
    fn assign(&mut self, obligation: ObligationId, buyer: AccountId, seller: AccountId) {
        let place = self
            .obligations
            .partition_point(|(id, ..)| *id < obligation);
        if self
            .obligations
            .get(place)
            .is_none_or(|(id, ..)| *id != obligation)
        {
            self.obligations.insert(place, (obligation, buyer, seller));
        }
    }

    /// Writes who owns what.
    pub(crate) fn write(&self, pages: &mut PageWriter) {
        pages.count(self.sessions.len());
        for (owner, permissions) in &self.sessions {
            pages.number(owner.0.into());
            pages.number(permissions.0.into());
        }
        pages.count(self.accounts.len());
        for owner in &self.accounts {
            pages.number(owner.0.into());
        }
        pages.count(self.obligations.len());
        for (obligation, buyer, seller) in &self.obligations {
            pages.number(obligation.0);
            pages.number(buyer.0.into());
            pages.number(seller.0.into());
        }
    }

    /// Reads what was written; `None` where it is nothing of the kind.
    pub(crate) fn read(pages: &mut PageReader<'_>) -> Option<Self> {
        const NUMBER: usize = size_of::<u64>();
        let mut owners = Self::default();
        for _ in 0..pages.count(2 * NUMBER)? {
            let owner = ParticipantId(pages.small()?);
            owners.sessions.push((owner, Permissions(pages.small()?)));
        }
        for _ in 0..pages.count(NUMBER)? {
            owners.accounts.push(ParticipantId(pages.small()?));
        }
        for _ in 0..pages.count(3 * NUMBER)? {
            let obligation = ObligationId(pages.number()?);
            let (buyer, seller) = (AccountId(pages.small()?), AccountId(pages.small()?));
            owners.obligations.push((obligation, buyer, seller));
        }
        Some(owners)
    }

    /// The owner and permissions of a session.
    pub fn session(&self, session: SessionId) -> Option<(ParticipantId, Permissions)> {
        let owner = *self.sessions.get(session.0 as usize)?;
        (owner.0 != ParticipantId::NONE).then_some(owner)
    }

    /// The owner of an account; none for the exchange's own.
    pub fn account(&self, account: AccountId) -> ParticipantId {
        self.accounts
            .get(account.0 as usize)
            .copied()
            .unwrap_or(ParticipantId::NONE)
    }

    /// Whether an event belongs in the drop copy of a participant: a report to one of its
    /// sessions, or a delivery or posting that concerns one of its accounts.
    pub fn concerns(&self, participant: ParticipantId, prefix: &EventPrefix, event: &[u8]) -> bool {
        if prefix.session != SessionId::NONE {
            let owner = self.session(prefix.session).map(|(owner, _)| owner);
            if owner == Some(participant) {
                return true;
            }
        }
        let own = |account| self.account(account) == participant;
        match prefix.header.template_id {
            MoneyMoved::TEMPLATE_ID => {
                MoneyMoved::read(event).is_some_and(|moved| own(moved.debit) || own(moved.credit))
            }
            DeliveryAssigned::TEMPLATE_ID => DeliveryAssigned::read(event)
                .is_some_and(|assigned| own(assigned.buyer) || own(assigned.seller)),
            MachineReady::TEMPLATE_ID => {
                MachineReady::read(event).is_some_and(|ready| own(ready.buyer))
            }
            DeliverySettled::TEMPLATE_ID => DeliverySettled::read(event).is_some_and(|settled| {
                let place = self
                    .obligations
                    .binary_search_by_key(&settled.obligation, |(id, ..)| *id);
                place.is_ok_and(|place| {
                    let (_, buyer, seller) = self.obligations[place];
                    own(buyer) || own(seller)
                })
            }),
            _ => false,
        }
    }
}

/// Puts a value at an id, unless the id is beyond the limit: then there is no such thing.
fn put<T: Copy + Default>(table: &mut Vec<T>, id: u32, id_max: u32, value: T) {
    if id > id_max {
        return;
    }
    let place = id as usize;
    if table.len() <= place {
        table.resize(place + 1, T::default());
    }
    table[place] = value;
}
