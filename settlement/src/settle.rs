//! One settlement process, turn by turn: events in, jobs and commands out.
//!
//! Turned by `run` and by tests.
//!
//! Always holds: a job is recorded before it is handed to a worker, and an obligation has at most
//! one job at a time; each change of state is one transaction. Nothing is kept only in memory that
//! a crash may not take: at a start, all that is not over is due.
//! Does not: print, or end by itself.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use exahour_wire::ids::{EventSequence, ObligationId, SessionId};
use exahour_wire::message::{AccessKey, Digest};
use exahour_wire::units::Nanos;

use crate::clock::Utc;
use crate::database::{Change, CommandKind, Database, Tx};
use crate::error::SettlementError;
use crate::exchange::{Exchange, Link, Turned};
use crate::follow::{Followed, Follower};
use crate::obligation::{Due, Ending, Move, Obligation, Place, Policy, Removal, State, due};
use crate::provision::{Machine, MachineSpec, Millicores, ProvisionError};
use crate::registry::Registry;
use crate::workers::{Act, Done, Found, Job, Workers};

/// Obligations looked at in one turn.
const PLAN_MAX: usize = 64;
/// Threads that work outside.
const WORKERS: usize = 4;
/// How long a job waits where too many wait already.
const CROWDED_WAIT: Nanos = Nanos(100_000_000);

/// How large a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineSize {
    /// Processor time for each lot.
    pub cpu_per_lot: Millicores,
    /// Memory for each lot, in bytes.
    pub memory_per_lot: u64,
}

impl Default for MachineSize {
    fn default() -> Self {
        MachineSize {
            cpu_per_lot: Millicores(100),
            memory_per_lot: 64 << 20,
        }
    }
}

/// Where and how a settlement process works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's data folder: its event log and the keys.
    pub data: PathBuf,
    /// This process's own folder.
    pub state: PathBuf,
    /// Where the node is reached; none for where it says itself.
    pub node: Option<SocketAddr>,
    /// The session that may settle.
    pub session: SessionId,
    /// The operator's choices about time.
    pub policy: Policy,
    /// How large a machine is.
    pub size: MachineSize,
}

/// Whether anything is left to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// A turn may do more.
    Busy,
    /// Nothing to do before something comes or some time passes.
    Idle,
}

/// A settlement process.
#[derive(Debug)]
pub struct Settler<C> {
    settings: Settings,
    registry: Registry,
    clock: C,
    database: Database,
    follower: Follower,
    exchange: Exchange,
    workers: Workers,
    under_way: BTreeSet<ObligationId>,
    followed: Followed,
    past: Past,
    turned_at: Nanos,
}

/// What is known of what happened while this process was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Past {
    /// Only what was recorded: a key may have been registered since, or a delivery settled.
    Recorded,
    /// What the log says. A node that is not there may have more in its journal, and writes its log
    /// on when it starts.
    AtTheLogsEnd,
    /// All of it: the log was at its end while the node served.
    CaughtUp,
}

impl<C: Utc> Settler<C> {
    /// Opens the state and takes up what was under way.
    ///
    /// # Errors
    /// [`SettlementError`], naming what cannot be used and what to do.
    pub fn open(
        settings: Settings,
        registry: Registry,
        clock: C,
    ) -> Result<Settler<C>, SettlementError> {
        std::fs::metadata(&settings.data).map_err(SettlementError::io(
            "find the node's data folder",
            &settings.data,
        ))?;
        let exchange = Exchange::new(&settings.data, settings.node, settings.session)?;
        let mut database = Database::open(&settings.state)?;
        registry.check()?;
        database.step(|tx| tx.forget_waits())?;
        let events = settings.data.join("events");
        let follower = Follower::new(&events, settings.session, &mut database)?;
        let workers = Workers::start(&registry, WORKERS);
        Ok(Settler {
            settings,
            registry,
            clock,
            database,
            follower,
            exchange,
            workers,
            under_way: BTreeSet::new(),
            followed: Followed::NotThere,
            past: Past::Recorded,
            turned_at: Nanos(0),
        })
    }

    /// Does what is there to do now, within bounds.
    ///
    /// # Errors
    /// What cannot be mended by trying again.
    pub fn turn(&mut self) -> Result<Rest, SettlementError> {
        let now = self.clock.utc();
        if now < self.turned_at {
            // What was to come so long after a moment that is yet to come would not come for long.
            self.database.step(|tx| tx.forget_waits())?;
        }
        self.turned_at = now;
        let served = self.exchange.link() == Link::Up;
        self.followed = self.follower.turn(&mut self.database, now)?;
        self.catch_up(served, now)?;
        let finished = self.finish_jobs(now)?;
        let planned = self.plan(now)?;
        let turned = self.exchange.turn(&mut self.database, now)?;
        if turned == Turned::Connected {
            self.follower.renew();
        }
        let busy = self.followed == Followed::More || finished || planned || turned != Turned::Idle;
        Ok(if busy { Rest::Busy } else { Rest::Idle })
    }

    /// Waits a moment for news.
    ///
    /// # Errors
    /// The database's.
    pub fn wait(&mut self, longest: Duration) -> Result<(), SettlementError> {
        let now = self.clock.utc();
        self.exchange.wait(&mut self.database, now, longest)
    }

    /// Whether all that the log says was applied, and nothing is under way.
    ///
    /// # Errors
    /// [`SettlementError::Refused`] where reports wait that the exchange refused for now.
    pub fn settled_down(&mut self) -> Result<bool, SettlementError> {
        let now = self.clock.utc();
        let (open, postponed) = self
            .database
            .look(|tx| Ok((tx.open_commands()?, tx.postponed(now)?)))?;
        if let Some(reason) = postponed {
            return Err(SettlementError::Refused(reason));
        }
        let caught_up = self.past == Past::CaughtUp && self.followed == Followed::ToTheEnd;
        Ok(caught_up && self.under_way.is_empty() && open == 0)
    }

    /// How the connection to the exchange stands.
    #[must_use]
    pub fn link(&self) -> Link {
        self.exchange.link()
    }

    /// Where the node is looked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.exchange.address()
    }

    /// The last event that was applied.
    #[must_use]
    pub fn event(&self) -> EventSequence {
        self.follower.event()
    }

    /// Changes after the one numbered `after`, some at a time.
    ///
    /// # Errors
    /// The database's.
    pub fn changes_after(&mut self, after: i64) -> Result<Vec<Change>, SettlementError> {
        self.database.look(|tx| tx.changes_after(after))
    }

    /// The number of the last change.
    ///
    /// # Errors
    /// The database's.
    pub fn last_change(&mut self) -> Result<i64, SettlementError> {
        self.database.look(|tx| tx.last_change())
    }

    /// An obligation as recorded.
    ///
    /// # Errors
    /// [`SettlementError::UnknownObligation`].
    pub fn obligation(&mut self, id: ObligationId) -> Result<Obligation, SettlementError> {
        self.database.look(|tx| tx.obligation(id))
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes note of the log's end; `served` says whether the node served before it was read.
    fn catch_up(&mut self, served: bool, now: Nanos) -> Result<(), SettlementError> {
        if self.followed != Followed::ToTheEnd || self.past == Past::CaughtUp {
            return Ok(());
        }
        if served {
            self.remove_orphans(now)?;
            self.past = Past::CaughtUp;
        } else if self.past == Past::Recorded {
            self.past = Past::AtTheLogsEnd;
        } else {
            return Ok(());
        }
        self.database.step(|tx| tx.wake_all())
    }

    /// Whether enough is known of the past for this to be done: what was begun in vain can be ended,
    /// what was ended cannot be begun again.
    fn may(&self, what: Due) -> bool {
        match what {
            Due::Provide => self.past >= Past::AtTheLogsEnd,
            Due::End(_) | Due::CloseDown => self.past == Past::CaughtUp,
            _ => true,
        }
    }

    /// Has machines removed whose obligation is settled though this database never had them: it was
    /// lost and rebuilt from the log. Machines of nobody known here are left alone.
    fn remove_orphans(&mut self, now: Nanos) -> Result<(), SettlementError> {
        for name in self.registry.names() {
            let Some(provider) = self.registry.open(&name) else {
                continue;
            };
            for key in provider?.list()? {
                self.database.step(|tx| {
                    let mut it = match tx.obligation(ObligationId(key.0)) {
                        Err(SettlementError::UnknownObligation(_)) => return Ok(()),
                        found => found?,
                    };
                    if it.state != State::Settled || it.removal != Removal::NotIntended {
                        return Ok(());
                    }
                    it.provider = Some(name.clone());
                    it.due_at = Nanos(0);
                    tx.intend_removal(it.id, &name, now)?;
                    tx.remark(&it, now, "its machine was still up and is removed")?;
                    tx.save_obligation(&it)
                })?;
            }
        }
        Ok(())
    }

    fn plan(&mut self, now: Nanos) -> Result<bool, SettlementError> {
        let waiting = self.database.look(|tx| tx.due_obligations(now, PLAN_MAX))?;
        let mut worked = false;
        for it in waiting {
            // Its job's outcome makes it due again.
            if self.under_way.contains(&it.id) {
                self.put_off(it, Nanos::NEVER)?;
                continue;
            }
            match due(&it, now, &self.settings.policy) {
                Due::Later(until) => self.put_off(it, until)?,
                // It is due again as soon as more is known.
                what if !self.may(what) => self.put_off(it, Nanos::NEVER)?,
                what => {
                    self.do_due(it, what, now)?;
                    worked = true;
                }
            }
        }
        Ok(worked)
    }

    fn put_off(&mut self, mut it: Obligation, until: Nanos) -> Result<(), SettlementError> {
        it.due_at = until;
        self.database.step(|tx| tx.save_obligation(&it))
    }

    fn do_due(&mut self, mut it: Obligation, what: Due, now: Nanos) -> Result<(), SettlementError> {
        match what {
            Due::Later(until) => self.put_off(it, until),
            Due::Provide => self.provide(it, now),
            Due::Announce => self.database.step(|tx| {
                tx.change(
                    &mut it,
                    Move::Announce,
                    now,
                    "the exchange has told the buyer",
                )?;
                tx.save_obligation(&it)
            }),
            Due::End(ending) => self.end(it, ending, now),
            Due::BringUp => {
                let spec = self.database.look(|tx| tx.spec_of(it.id))?;
                self.start_job(it, Act::BringUp(spec), now)
            }
            Due::Look => self.start_job(it, Act::Look, now),
            Due::Measure => self.start_job(it, Act::Measure, now),
            Due::CloseDown if it.removal == Removal::Due => self.start_job(it, Act::CloseDown, now),
            // There was no key, and so no machine.
            Due::CloseDown => self.database.step(|tx| report(tx, &mut it, now)),
        }
    }

    /// Chooses a provider and records the choice and what it will be asked for.
    fn provide(&mut self, mut it: Obligation, now: Nanos) -> Result<(), SettlementError> {
        let Some(key) = it.key else {
            return Ok(());
        };
        let provider = self.registry.choose()?;
        let spec = spec_of(&it, key, self.settings.size);
        it.provider = Some(provider.to_owned());
        self.database.step(|tx| {
            tx.intend_machine(it.id, provider, &spec, now)?;
            let why = format!("provider {provider} was chosen");
            tx.change(&mut it, Move::Provide, now, &why)?;
            tx.save_obligation(&it)
        })
    }

    fn end(
        &mut self,
        mut it: Obligation,
        ending: Ending,
        now: Nanos,
    ) -> Result<(), SettlementError> {
        it.ending = Some(ending);
        (it.failures, it.retry_at) = (0, Nanos(0));
        if it.provider.is_none() && ending == Ending::WindowOver {
            // This process may have forgotten what it asked for: who would have been asked knows.
            it.provider = Some(self.registry.choose()?.to_owned());
        }
        let why = why_ended(ending, it.error.as_deref());
        self.database.step(|tx| {
            if let Some(provider) = &it.provider {
                tx.intend_removal(it.id, provider, now)?;
            }
            tx.change(&mut it, Move::End, now, &why)?;
            tx.save_obligation(&it)
        })
    }

    fn start_job(
        &mut self,
        mut it: Obligation,
        act: Act,
        now: Nanos,
    ) -> Result<(), SettlementError> {
        let Some(provider) = it.provider.clone() else {
            return self.put_off(it, Nanos::NEVER);
        };
        it.due_at = Nanos::NEVER;
        self.database.step(|tx| {
            match act {
                Act::BringUp(_) => tx.attempt_machine(it.id)?,
                Act::CloseDown => tx.attempt_removal(it.id)?,
                // Looking changes nothing outside.
                Act::Look | Act::Measure => {}
            }
            tx.save_obligation(&it)
        })?;
        let obligation = it.id;
        let started = self.workers.try_start(Job {
            obligation,
            provider,
            act,
        });
        if started {
            self.under_way.insert(obligation);
            return Ok(());
        }
        self.put_off(it, now.after(CROWDED_WAIT))
    }

    fn finish_jobs(&mut self, now: Nanos) -> Result<bool, SettlementError> {
        let mut worked = false;
        while let Some(done) = self.workers.try_finish() {
            worked = true;
            self.under_way.remove(&done.obligation);
            let policy = self.settings.policy;
            self.database.step(|tx| finish(tx, &policy, &done, now))?;
        }
        Ok(worked)
    }
}

/// What a provider is asked for; the same for the same obligation and settings.
fn spec_of(it: &Obligation, access_key: AccessKey, size: MachineSize) -> MachineSpec {
    let lots = u32::try_from(it.quantity.0).unwrap_or(u32::MAX);
    MachineSpec {
        cpu_share: Millicores(size.cpu_per_lot.0.saturating_mul(lots)),
        memory_bytes: size.memory_per_lot.saturating_mul(it.quantity.0),
        access_key: access_key.0,
        window_start_ns: it.window.start.0,
        window_end_ns: it.window.end.0,
        label: format!("exahour-{}", it.id),
    }
}

fn why_ended(ending: Ending, error: Option<&str>) -> String {
    let last = error.map(|error| format!("; the last failure: {error}"));
    let last = last.unwrap_or_default();
    match ending {
        Ending::WindowOver => format!("the window is over{last}"),
        Ending::NoKey => "the window is over, and the buyer registered no access key".to_owned(),
        Ending::Refused => format!("the provider refuses for good{last}"),
        Ending::ClosedEarly => "cut short, as the operator asked for all deliveries".to_owned(),
    }
}

/// Records what became of a job.
fn finish(tx: &Tx<'_>, policy: &Policy, done: &Done, now: Nanos) -> Result<(), SettlementError> {
    let mut it = tx.obligation(done.obligation)?;
    it.due_at = Nanos(0);
    match (&done.act, &done.found) {
        (Act::BringUp(_), found) if it.state == State::Provisioning => match found {
            Ok(Found::Up(machine)) => came_up(tx, &mut it, machine, now)?,
            Ok(_) => {}
            Err(error) => failed_to_come_up(tx, policy, &mut it, error, now)?,
        },
        (Act::CloseDown, Ok(Found::Closed { verified, evidence })) => {
            tx.complete_removal(it.id, now)?;
            it.removal = Removal::Done;
            if it.state == State::Ended {
                let found = verified.unwrap_or(Nanos(0));
                it.verified = it.verified.max(found).min(it.window.span());
                it.evidence = *evidence;
                return report(tx, &mut it, now);
            }
        }
        (Act::CloseDown, Err(error)) => {
            it.failures = it.failures.saturating_add(1);
            it.retry_at = now.after(policy.back_off(it.failures));
            note_error(tx, &mut it, error, now)?;
        }
        (Act::Look | Act::Measure, found)
            if matches!(it.state, State::Active | State::Metering) =>
        {
            looked(tx, policy, &mut it, found, now)?;
        }
        // The exchange settled it meanwhile: what is left is due.
        _ => {}
    }
    tx.save_obligation(&it)
}

fn came_up(
    tx: &Tx<'_>,
    it: &mut Obligation,
    machine: &Machine,
    now: Nanos,
) -> Result<(), SettlementError> {
    let place = Place {
        address: machine.address,
        host_key: Digest(machine.host_key_fingerprint),
    };
    let told = it.place.replace(place);
    it.up_since = now;
    if it.first_up == Nanos(0) {
        it.first_up = now;
    }
    it.look_at = now;
    it.measure_at = now;
    it.error = None;
    tx.complete_machine(it.id, now)?;
    let why = format!("the machine answers at {}", machine.address);
    tx.change(it, Move::ComeUp, now, &why)?;
    if told.is_some_and(|told| told != place) {
        it.announced = false;
        tx.queue_again(it.id, CommandKind::Started)?;
    }
    tx.queue_command(it.id, CommandKind::Started)
}

fn failed_to_come_up(
    tx: &Tx<'_>,
    policy: &Policy,
    it: &mut Obligation,
    error: &ProvisionError,
    now: Nanos,
) -> Result<(), SettlementError> {
    it.failures = it.failures.saturating_add(1);
    it.retry_at = now.after(policy.back_off(it.failures));
    note_error(tx, it, error, now)?;
    let ending = match error {
        ProvisionError::WindowOver { .. } => Ending::WindowOver,
        ProvisionError::Released { .. }
        | ProvisionError::SpecConflict { .. }
        | ProvisionError::BadSpec { .. }
        | ProvisionError::Unknown { .. } => Ending::Refused,
        _ => return Ok(()),
    };
    it.ending = Some(ending);
    (it.failures, it.retry_at) = (0, Nanos(0));
    if let Some(provider) = &it.provider {
        tx.intend_removal(it.id, provider, now)?;
    }
    tx.change(
        it,
        Move::End,
        now,
        &why_ended(ending, Some(&error.to_string())),
    )
}

/// Writes an error down, the first of a row of the same also in the history.
fn note_error(
    tx: &Tx<'_>,
    it: &mut Obligation,
    error: &ProvisionError,
    now: Nanos,
) -> Result<(), SettlementError> {
    let text = error.to_string();
    tx.save_action_error(it.id, &text)?;
    if it.error.as_ref() != Some(&text) {
        tx.remark(it, now, &format!("will be tried again: {text}"))?;
    }
    it.error = Some(text);
    Ok(())
}

fn looked(
    tx: &Tx<'_>,
    policy: &Policy,
    it: &mut Obligation,
    found: &Result<Found, ProvisionError>,
    now: Nanos,
) -> Result<(), SettlementError> {
    it.look_at = now.after(policy.look_every);
    match found {
        Ok(Found::Looked { there, measured }) => {
            if let Some(measured) = measured {
                let verified = Nanos(measured.verified_ns);
                it.verified = it.verified.max(verified).min(it.window.span());
                it.measure_at = now.after(policy.measuring_period(it.window));
            }
            if !there && now < it.window.end {
                it.failures = it.failures.saturating_add(1);
                it.retry_at = now.after(policy.back_off(it.failures));
                return tx.change(it, Move::Lose, now, "the machine is gone before its time");
            }
            if now >= it.up_since.after(policy.steady_after) {
                it.failures = 0;
            }
            it.error = None;
            Ok(())
        }
        // A provider that cannot be asked says nothing about the machine.
        Err(error) => {
            it.measure_at = it.measure_at.max(it.look_at);
            note_error(tx, it, error, now)
        }
        Ok(_) => Ok(()),
    }
}

/// Records what the exchange is to be told at the end.
fn report(tx: &Tx<'_>, it: &mut Obligation, now: Nanos) -> Result<(), SettlementError> {
    let ending = it.ending.unwrap_or(Ending::WindowOver);
    if ending == Ending::NoKey {
        it.keyless = it.window.span();
    }
    // A delivery is to be taken or paid: what passed because nobody could log in is the buyer's.
    let measured = it.verified;
    it.verified = measured.after(it.keyless).min(it.window.span());
    let step = ending.report(it.verified);
    let kind = match step {
        Move::Confirm => CommandKind::Confirm,
        _ => CommandKind::Fail,
    };
    let mut why = format!(
        "{} of {} s verified",
        seconds_text(measured),
        it.window.span().0 / Nanos::SECOND.0,
    );
    if it.keyless > Nanos(0) {
        let _ = write!(
            why,
            ", {} passed without the buyer's key",
            seconds_text(it.keyless)
        );
    }
    tx.queue_command(it.id, kind)?;
    tx.change(it, step, now, &why)?;
    tx.save_obligation(it)
}

fn seconds_text(span: Nanos) -> String {
    let (seconds, rest) = (span.0 / Nanos::SECOND.0, span.0 % Nanos::SECOND.0);
    format!("{seconds}.{:03} s", rest / 1_000_000)
}

/// The folder below the state folder in which the built-in provider keeps its machines.
#[must_use]
pub fn machines_folder(state: &Path) -> PathBuf {
    state.join("machines")
}
