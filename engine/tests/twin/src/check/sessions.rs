//! Reports are numbered without gap, and each goes to the session that it concerns.

use std::collections::BTreeMap;

use exahour_wire::events::{
    AccountCreated, EventPrefix, OrderAccepted, OrderCancelled, OrderFilled, OrderReduced,
    OrderReplaced, OrderRepriced, OrderTriggered, SessionCreated, SessionOpened, StopEntered,
    TradeBusted, TradeCorrected,
};
use exahour_wire::message::Message;

use super::{Violation, must};

#[derive(Clone, Copy, Debug)]
struct Session {
    participant: u32,
    next: u32,
}

/// The flows of reports.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    sessions: BTreeMap<u32, Session>,
    owners: BTreeMap<u32, u32>,
    /// Which session entered a live order.
    entered_by: BTreeMap<u64, u32>,
}

impl Sessions {
    pub(super) fn on_event(&mut self, prefix: &EventPrefix, event: &[u8]) -> Result<(), Violation> {
        self.on_number(prefix)?;
        self.on_order(prefix, event)?;
        if let Some(created) = SessionCreated::read(event) {
            let session = Session {
                participant: created.participant.0,
                next: 1,
            };
            let earlier = self.sessions.insert(created.new_session.0, session);
            must(earlier.is_none(), || "a session is created once".to_owned())?;
        } else if let Some(created) = AccountCreated::read(event) {
            let owner = created.participant.0;
            let earlier = self.owners.insert(created.account.0, owner);
            must(earlier.is_none(), || {
                "an account is created once".to_owned()
            })?;
        } else if let Some(opened) = SessionOpened::read(event)
            && opened.refusal.0 == 0
        {
            let session = self.sessions.get_mut(&opened.session.0);
            session.ok_or("a session that is opened exists")?.next = 1;
        }
        Ok(())
    }

    fn on_number(&mut self, prefix: &EventPrefix) -> Result<(), Violation> {
        let template = prefix.header.template_id;
        let may_be_numbered = matches!(template, 301..=306 | 310..=312 | 314..=319 | 324..=325 | 328 | 338 | 339 | 353);
        let addressed = may_be_numbered || matches!(template, 313 | 320..=323);
        must(addressed || prefix.session.0 == 0, || {
            "what is no report is addressed to nobody".to_owned()
        })?;
        if prefix.sequence.0 == 0 {
            return Ok(());
        }
        must(may_be_numbered && prefix.session.0 != 0, || {
            "only reports are numbered".to_owned()
        })?;
        let session = self.sessions.get_mut(&prefix.session.0);
        let session = session.ok_or("a numbered report goes to a session that exists")?;
        let next = session.next;
        session.next += 1;
        must(prefix.sequence.0 == next, || {
            format!("reports of a session are numbered without gap: {next} comes next")
        })
    }

    fn on_order(&mut self, prefix: &EventPrefix, event: &[u8]) -> Result<(), Violation> {
        let order = if let Some(accepted) = OrderAccepted::read(event) {
            let session = self.sessions.get(&prefix.session.0);
            let participant = session.map(|session| session.participant);
            let owner = self.owners.get(&accepted.account.0).copied();
            must(participant.is_some() && participant == owner, || {
                "an order is for an account of the session's participant".to_owned()
            })?;
            self.entered_by.insert(accepted.order.0, prefix.session.0);
            accepted.order
        } else if let Some(filled) = OrderFilled::read(event) {
            filled.order
        } else if let Some(cancelled) = OrderCancelled::read(event) {
            cancelled.order
        } else if let Some(replaced) = OrderReplaced::read(event) {
            replaced.order
        } else if let Some(triggered) = OrderTriggered::read(event) {
            triggered.order
        } else if let Some(entered) = StopEntered::read(event) {
            entered.order
        } else if let Some(repriced) = OrderRepriced::read(event) {
            repriced.order
        } else if let Some(reduced) = OrderReduced::read(event) {
            reduced.order
        } else if let Some(busted) = TradeBusted::read(event) {
            busted.order
        } else if let Some(corrected) = TradeCorrected::read(event) {
            corrected.order
        } else {
            return Ok(());
        };
        let session = self.entered_by.get(&order.0);
        must(session == Some(&prefix.session.0), || {
            "the report on an order goes to the session that entered it".to_owned()
        })?;
        must(prefix.sequence.0 != 0, || {
            "the report on an order is numbered".to_owned()
        })
    }
}
