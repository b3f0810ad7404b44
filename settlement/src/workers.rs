//! Threads that do what is slow: bringing machines up, looking at them, removing them.
//!
//! Given jobs by `settle`, which has recorded each before, and records each outcome after.
//!
//! Always holds: the queue is bounded, and full is an answer; a job that is lost with the process
//! is found again by its record. Does not: touch the database.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use exahour_wire::ids::ObligationId;
use exahour_wire::message::Evidence;
use exahour_wire::units::Nanos;

use crate::provision::{Machine, MachineKey, MachineSpec, Measurement, ProvisionError};
use crate::registry::{BoxedProvider, Registry};

/// Jobs that may wait, beyond those under way.
const QUEUE: usize = 64;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Bring the machine up, or find it.
    BringUp(MachineSpec),
    /// See whether it is there.
    Look,
    /// See whether it is there, and measure it.
    Measure,
    /// Remove it and measure it for the last time.
    CloseDown,
}

/// What is to be done, for which obligation, at which provider.
#[derive(Clone, Debug)]
pub struct Job {
    /// The obligation: the key of the machine.
    pub obligation: ObligationId,
    /// The provider's name.
    pub provider: String,
    /// What is to be done.
    pub act: Act,
}

/// What was found.
#[derive(Clone, Debug)]
pub enum Found {
    /// The machine answers.
    Up(Box<Machine>),
    /// It is there or not, and measured or not.
    Looked {
        /// Whether it is there.
        there: bool,
        /// What was measured.
        measured: Option<Measurement>,
    },
    /// It is gone for good.
    Closed {
        /// The time verified, where the provider ever had the machine.
        verified: Option<Nanos>,
        /// What that rests on.
        evidence: Evidence,
    },
}

/// What became of a job.
#[derive(Debug)]
pub struct Done {
    /// The obligation.
    pub obligation: ObligationId,
    /// What was to be done.
    pub act: Act,
    /// What was found.
    pub found: Result<Found, ProvisionError>,
}

/// The threads.
#[derive(Debug)]
pub struct Workers {
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Done>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts so many threads, each with providers of its own.
    #[must_use]
    pub fn start(registry: &Registry, count: usize) -> Workers {
        let (jobs, waiting) = sync_channel(QUEUE);
        let (tell, done) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let threads = (0..count.max(1)).map(|_| {
            let (registry, waiting, tell) = (registry.clone(), Arc::clone(&waiting), tell.clone());
            std::thread::spawn(move || work(&registry, &waiting, &tell))
        });
        Workers {
            jobs: Some(jobs),
            done,
            threads: threads.collect(),
        }
    }

    /// Hands a job on; false where too many wait already.
    pub fn try_start(&self, job: Job) -> bool {
        self.jobs
            .as_ref()
            .is_some_and(|jobs| jobs.try_send(job).is_ok())
    }

    /// What became of some job, if any has come to its end.
    pub fn try_finish(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }
}

impl Drop for Workers {
    /// Waits for the jobs under way; those that only wait are found again by their records.
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on standard error.
            let _ = thread.join();
        }
    }
}

fn work(registry: &Registry, jobs: &Mutex<Receiver<Job>>, tell: &Sender<Done>) {
    let mut opened: BTreeMap<String, BoxedProvider> = BTreeMap::new();
    loop {
        // A thread that panicked while it waited has left the queue as it was.
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        let found = guarded(registry, &mut opened, &job);
        let done = Done {
            obligation: job.obligation,
            act: job.act,
            found,
        };
        if tell.send(done).is_err() {
            return;
        }
    }
}

/// As [`act_on`]; a provider that panics has failed, and is opened anew for its next job.
fn guarded(
    registry: &Registry,
    opened: &mut BTreeMap<String, BoxedProvider>,
    job: &Job,
) -> Result<Found, ProvisionError> {
    let acted = catch_unwind(AssertUnwindSafe(|| act_on(registry, opened, job)));
    acted.unwrap_or_else(|panic| {
        // What it was in the middle of is not to be trusted.
        opened.remove(&job.provider);
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(ProvisionError::Broken {
            key: MachineKey(job.obligation.0),
            reason: text.unwrap_or("it panicked").to_owned(),
        })
    })
}

fn act_on(
    registry: &Registry,
    opened: &mut BTreeMap<String, BoxedProvider>,
    job: &Job,
) -> Result<Found, ProvisionError> {
    let key = MachineKey(job.obligation.0);
    if !opened.contains_key(&job.provider) {
        let provider = registry
            .open(&job.provider)
            .ok_or(ProvisionError::Unknown { key })??;
        opened.insert(job.provider.clone(), provider);
    }
    let Some(provider) = opened.get_mut(&job.provider) else {
        return Err(ProvisionError::Unknown { key });
    };
    match &job.act {
        Act::BringUp(spec) => Ok(Found::Up(Box::new(bring_up(provider, key, spec)?))),
        Act::Look => Ok(Found::Looked {
            there: provider.inspect(key)?.is_some(),
            measured: None,
        }),
        Act::Measure => {
            let measured = provider.measure(key)?;
            Ok(Found::Looked {
                there: measured.alive,
                measured: Some(measured),
            })
        }
        Act::CloseDown => close_down(provider, key),
    }
}

/// A machine that was asked for before with another size is brought up as it was asked for: this
/// process has forgotten that it did, and its buyer is not to lose what runs.
fn bring_up(
    provider: &mut BoxedProvider,
    key: MachineKey,
    spec: &MachineSpec,
) -> Result<Machine, ProvisionError> {
    let refused = match provider.provision(key, spec) {
        Err(refused @ ProvisionError::SpecConflict { .. }) => refused,
        other => return other,
    };
    match provider.asked(key)? {
        Some(asked) if asked.serves_as(spec) => provider.provision(key, &asked),
        _ => Err(refused),
    }
}

/// First the end, then the measurement: nothing can be added to the record after it.
fn close_down(provider: &mut BoxedProvider, key: MachineKey) -> Result<Found, ProvisionError> {
    provider.release(key)?;
    let verified = match provider.measure(key) {
        Ok(measured) => Some(Nanos(measured.verified_ns)),
        Err(ProvisionError::Unknown { .. }) => None,
        Err(error) => return Err(error),
    };
    let mut evidence = Evidence::default();
    if let Some(digest) = provider.record_digest(key)? {
        evidence.0.copy_from_slice(&digest[..24]);
    }
    Ok(Found::Closed { verified, evidence })
}
