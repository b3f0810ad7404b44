//! What each event of the exchange means for deliveries.
//!
//! Called by `follow`, in the transaction that moves the cursor over the event.
//!
//! Always holds: what became of a command is learned here and nowhere else. A connection can lose
//! an answer; the event log cannot.

use exahour_wire::codes::Raw;
use exahour_wire::events::{
    AccessKeyRegistered, CommandDone, CommandRejected, DeliveryAssigned, DeliverySettled,
    DuplicateIgnored, EventPrefix, MachineReady, SequenceGap, SessionOpened,
};
use exahour_wire::ids::{MessageSequence, ObligationId, SessionId};
use exahour_wire::message::{AccessKey, Evidence, Message};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Money, Nanos};

use crate::database::{Command, Outcome, Payment, Tx};
use crate::error::SettlementError;
use crate::obligation::{Move, Obligation, Removal, State, Window};

/// How long to wait before a command is sent again that was refused for a reason that may pass.
const REFUSED_WAIT: Nanos = Nanos(5 * Nanos::SECOND.0);

/// Whether an event may mean anything to the process that settles as `session`.
#[must_use]
pub fn concerns(prefix: &EventPrefix, session: SessionId) -> bool {
    matches!(
        prefix.header.template_id,
        DeliveryAssigned::TEMPLATE_ID
            | AccessKeyRegistered::TEMPLATE_ID
            | MachineReady::TEMPLATE_ID
            | DeliverySettled::TEMPLATE_ID
    ) || prefix.session == session
}

/// Applies an event.
///
/// # Errors
/// The database's.
pub fn apply(
    tx: &Tx<'_>,
    session: SessionId,
    event: &[u8],
    now: Nanos,
) -> Result<(), SettlementError> {
    let Some(prefix) = EventPrefix::peek(event) else {
        return Ok(());
    };
    match prefix.header.template_id {
        DeliveryAssigned::TEMPLATE_ID => {
            DeliveryAssigned::read(event).map_or(Ok(()), |it| assigned(tx, &it, now))
        }
        AccessKeyRegistered::TEMPLATE_ID => {
            AccessKeyRegistered::read(event).map_or(Ok(()), |it| key_registered(tx, &it, now))
        }
        MachineReady::TEMPLATE_ID => {
            MachineReady::read(event).map_or(Ok(()), |it| announced(tx, it.obligation))
        }
        DeliverySettled::TEMPLATE_ID => {
            DeliverySettled::read(event).map_or(Ok(()), |it| settled(tx, &it, now))
        }
        _ => Ok(()),
    }?;
    if prefix.session != session {
        return Ok(());
    }
    if prefix.sequence != MessageSequence::NONE {
        let mut record = tx.session()?;
        record.log_report = MessageSequence(prefix.sequence.0.saturating_add(1));
        tx.save_session(&record)?;
    }
    on_session_event(tx, event, &prefix, now)
}

fn assigned(tx: &Tx<'_>, it: &DeliveryAssigned, now: Nanos) -> Result<(), SettlementError> {
    tx.add_obligation(
        &Obligation {
            id: it.obligation,
            instrument: it.instrument,
            buyer: it.buyer,
            seller: it.seller,
            quantity: it.quantity,
            price: it.price,
            window: Window::new(it.delivery_start, it.hours),
            key: Some(it.key).filter(|key| *key != AccessKey::default()),
            state: State::Assigned,
            provider: None,
            place: None,
            up_since: Nanos(0),
            first_up: Nanos(0),
            announced: false,
            failures: 0,
            retry_at: Nanos(0),
            look_at: Nanos(0),
            measure_at: Nanos(0),
            keyless: Nanos(0),
            verified: Nanos(0),
            evidence: Evidence::default(),
            ending: None,
            removal: Removal::NotIntended,
            error: None,
            due_at: Nanos(0),
        },
        now,
    )
}

fn key_registered(
    tx: &Tx<'_>,
    it: &AccessKeyRegistered,
    now: Nanos,
) -> Result<(), SettlementError> {
    if it.key == AccessKey::default() {
        return Ok(());
    }
    for id in tx.keyless_of(it.account)? {
        let mut waiting = tx.obligation(id)?;
        waiting.key = Some(it.key);
        waiting.keyless = waiting.window.passed(it.time);
        waiting.due_at = Nanos(0);
        tx.remark(&waiting, now, "the buyer has registered an access key")?;
        tx.save_obligation(&waiting)?;
    }
    Ok(())
}

fn announced(tx: &Tx<'_>, id: ObligationId) -> Result<(), SettlementError> {
    let mut it = tx.obligation(id)?;
    it.announced = true;
    it.due_at = Nanos(0);
    tx.save_obligation(&it)
}

fn settled(tx: &Tx<'_>, it: &DeliverySettled, now: Nanos) -> Result<(), SettlementError> {
    let mut obligation = tx.obligation(it.obligation)?;
    let why = format!(
        "{:?}: {}.{:03} s verified; the seller received {}, the buyer got back {} and {} in compensation",
        it.outcome,
        it.verified.0 / Nanos::SECOND.0,
        it.verified.0 % Nanos::SECOND.0 / 1_000_000,
        dollars(it.paid),
        dollars(it.refunded),
        dollars(it.compensated),
    );
    tx.change(&mut obligation, Move::Settle, now, &why)?;
    obligation.verified = it.verified;
    (obligation.failures, obligation.retry_at) = (0, Nanos(0));
    tx.save_obligation(&obligation)?;
    tx.drop_queued(it.obligation)?;
    tx.save_payment(
        it.obligation,
        Payment {
            paid: it.paid,
            refunded: it.refunded,
            compensated: it.compensated,
        },
    )?;
    // Where another settled it, the machine is still there.
    match (&obligation.provider, obligation.removal) {
        (Some(provider), Removal::NotIntended) => tx.intend_removal(it.obligation, provider, now),
        _ => Ok(()),
    }
}

/// An amount as people read it.
#[must_use]
pub fn dollars(amount: Money) -> String {
    let micros = amount.0.unsigned_abs();
    let sign = if amount.0 < 0 { "-" } else { "" };
    format!("{sign}${}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// What the exchange says to the session itself.
fn on_session_event(
    tx: &Tx<'_>,
    event: &[u8],
    prefix: &EventPrefix,
    now: Nanos,
) -> Result<(), SettlementError> {
    let mut record = tx.session()?;
    match prefix.header.template_id {
        SessionOpened::TEMPLATE_ID => {
            let opened = SessionOpened::read(event).filter(|it| it.refusal == Raw::new(0));
            if let Some(opened) = opened {
                record.log_version = opened.version;
                record.log_report = MessageSequence(1);
                tx.save_session(&record)?;
                tx.requeue_all_but(opened.version)?;
            }
        }
        SequenceGap::TEMPLATE_ID => {
            if let Some(gap) = SequenceGap::read(event) {
                let from = gap.from_sequence.0;
                let missing = from..from.saturating_add(gap.count);
                tx.requeue(record.log_version, missing, Nanos(0))?;
            }
        }
        DuplicateIgnored::TEMPLATE_ID => {
            if let Some(it) = DuplicateIgnored::read(event) {
                let number = it.client_sequence.0;
                let again = number..number.saturating_add(1);
                tx.requeue(record.log_version, again, Nanos(0))?;
            }
        }
        CommandDone::TEMPLATE_ID => {
            if let Some(done) = CommandDone::read(event) {
                let sent = tx.sent_command(record.log_version, done.client_sequence)?;
                if let Some(command) = sent {
                    tx.close_command(command.id, Outcome::Applied, None)?;
                }
            }
        }
        CommandRejected::TEMPLATE_ID => {
            if let Some(rejected) = CommandRejected::read(event) {
                let sent = tx.sent_command(record.log_version, rejected.client_sequence)?;
                if let Some(command) = sent {
                    refused(tx, &command, rejected.reason, now)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn refused(
    tx: &Tx<'_>,
    command: &Command,
    reason: Raw<Reject>,
    now: Nanos,
) -> Result<(), SettlementError> {
    let obligation = tx.obligation(command.obligation)?;
    let text = format!("{reason:?}");
    match reason.decode() {
        // The facts came before in this log: what was asked for had been done.
        Some(Reject::ObligationSettled) if obligation.state == State::Settled => {
            tx.close_command(command.id, Outcome::Applied, Some(&text))
        }
        Some(
            Reject::NotPermitted
            | Reject::Throttled
            | Reject::KillSwitchEngaged
            | Reject::UnknownSession,
        ) => {
            let what = format!(
                "the exchange refused {:?} as {text}: give the session the settlement permission \
                 and no throttle, and release its kill switch; it will be sent again",
                command.kind
            );
            // Said once, however often it is said again.
            if command.reason.as_ref() != Some(&text) {
                tx.remark(&obligation, now, &what)?;
            }
            tx.postpone_command(command.id, now.after(REFUSED_WAIT), &text)
        }
        _ => {
            let what = format!(
                "the exchange refused {:?} for good as {text}: settle it by hand",
                command.kind
            );
            tx.remark(&obligation, now, &what)?;
            tx.close_command(command.id, Outcome::Refused, Some(&text))
        }
    }
}

#[cfg(test)]
mod tests {
    use exahour_wire::ids::AccountId;
    use exahour_wire::units::Hours;

    use super::*;
    use crate::database::Database;

    const START: Nanos = Nanos(10_000 * Nanos::SECOND.0);
    const BUYER: AccountId = AccountId(100);

    /// What is kept of an obligation whose buyer registers a key so many seconds after its start.
    fn keyless_after(seconds: u64) -> Nanos {
        let dir = tempfile::tempdir().expect("folder");
        let mut database = Database::open(dir.path()).expect("database");
        let assigned = DeliveryAssigned {
            obligation: ObligationId(1),
            hours: Hours(1),
            buyer: BUYER,
            delivery_start: START,
            ..DeliveryAssigned::blank()
        };
        let registered = AccessKeyRegistered {
            account: BUYER,
            key: AccessKey([7; 32]),
            time: START.after(Nanos(seconds * Nanos::SECOND.0)),
            ..AccessKeyRegistered::blank()
        };
        // Heard of much later: the settlement process was away.
        let now = START.after(Nanos::DAY);
        let kept = database.step(|tx| {
            apply(tx, SessionId(8), assigned.bytes(), now)?;
            apply(tx, SessionId(8), registered.bytes(), now)?;
            tx.obligation(ObligationId(1))
        });
        let kept = kept.expect("obligation");
        assert_eq!(kept.key, Some(AccessKey([7; 32])));
        kept.keyless
    }

    #[test]
    fn what_passed_before_the_key_counts_by_the_time_of_the_log() {
        assert_eq!(keyless_after(0), Nanos(0));
        assert_eq!(keyless_after(600), Nanos(600 * Nanos::SECOND.0));
        assert_eq!(keyless_after(9_999), Nanos::HOUR);
    }
}
