//! Turns agents: on the pinned threads of a layout, or one step at a time on the caller's thread.
//!
//! Called by the processes at start (`run`), and by simulation and tests (`Inline`).
//!
//! Always holds: agents of a thread are turned in the layout's order; no agent starts before every
//! thread is pinned; the first halt or panic stops all threads and is the one reported; every
//! started agent that did not panic is closed.
//! Does not: restart anything, or handle signals (use a [`StopHandle`] for that). A thread spawned
//! by an agent inherits its pin: spawn helpers before `run`.

use crate::agent::{Agent, Halt};
use crate::cores::{CoreError, CoreId, lower_current_thread, online_cores, pin_current_thread};
use crate::idle::IdleStrategy;
use crate::layout::{Layout, LayoutError, ThreadLayout};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread::{self, JoinHandle, Thread};

/// Why a process stopped by itself: the first agent that could not go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentFailure {
    /// The world broke a promise to the agent.
    #[error("agent `{agent}` halted: {halt}")]
    Halted {
        /// The agent.
        agent: &'static str,
        /// Its reason.
        #[source]
        halt: Halt,
    },
    /// The agent has a fault of its own.
    #[error("agent `{agent}` panicked: {message}; this is a fault of ours, keep the journal")]
    Panicked {
        /// The agent.
        agent: &'static str,
        /// What the panic said.
        message: String,
    },
}

/// Starts `agents` on the threads of `layout`.
///
/// # Errors
/// When the layout does not fit the agents or this machine, or a thread cannot be made or pinned;
/// then no agent was started.
pub fn run(layout: &Layout, agents: Vec<Box<dyn Agent>>) -> Result<Running, LayoutError> {
    let names: Vec<&str> = agents.iter().map(|agent| agent.name()).collect();
    layout.validate(&names, &online_cores()?)?;
    let mut unplaced = agents;
    let shared = Arc::new(Shared::new());
    let mut running = Running {
        shared: Arc::clone(&shared),
        threads: Vec::new(),
    };
    let (pin_answers, pins) = mpsc::channel();
    for thread in &layout.threads {
        let placed = take_agents(&mut unplaced, thread);
        let duty = Duty {
            agents: placed,
            idle: thread.idle,
            shared: Arc::clone(&shared),
        };
        let (core, nice, answers) = (thread.core, thread.nice, pin_answers.clone());
        // A failed return drops `running`, which stops and joins the threads made so far.
        let spawned = thread::Builder::new()
            .name(thread.name.clone())
            .spawn(move || duty.run(core, nice, &answers))
            .map_err(|source| LayoutError::Spawn {
                thread: thread.name.clone(),
                source,
            })?;
        running.threads.push(spawned);
    }
    // Every thread answers exactly once, before it waits.
    for answer in pins.iter().take(running.threads.len()) {
        answer?;
    }
    shared.begin(
        running
            .threads
            .iter()
            .map(|thread| thread.thread().clone())
            .collect(),
    );
    Ok(running)
}

/// Takes the agents of one thread out of `unplaced`, in the thread's order.
fn take_agents(unplaced: &mut Vec<Box<dyn Agent>>, thread: &ThreadLayout) -> Vec<Box<dyn Agent>> {
    let place = |name: &String| {
        let index = unplaced.iter().position(|agent| agent.name() == name)?;
        Some(unplaced.swap_remove(index))
    };
    thread.agents.iter().filter_map(place).collect()
}

/// Agents at work; dropping it stops them and waits for their threads.
pub struct Running {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Asks all threads to stop after their present turn; returns at once.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// A handle that can stop the agents from elsewhere, such as a signal thread.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Whether every thread has ended, by request or by failure.
    pub fn finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits until every thread has ended.
    ///
    /// # Errors
    /// The first halt or panic, with its agent; none after an ordinary stop.
    pub fn join(mut self) -> Result<(), AgentFailure> {
        self.join_threads();
        self.shared.take_failure().map_or(Ok(()), Err)
    }

    fn join_threads(&mut self) {
        for thread in self.threads.drain(..) {
            // The duty catches every panic of an agent; what it leaves is already recorded.
            let _ended = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in &self.threads {
            thread.thread().unpark();
        }
        self.join_threads();
    }
}

/// Stops the agents of one [`Running`] from any thread.
#[derive(Clone)]
pub struct StopHandle {
    shared: Arc<Shared>,
}

impl StopHandle {
    /// Asks all threads to stop after their present turn; returns at once.
    pub fn stop(&self) {
        self.shared.stop();
    }
}

/// The phases of [`Shared`], in the only order in which they follow each other.
#[repr(u8)]
enum Phase {
    /// Threads pin themselves and wait.
    Pinning = 0,
    /// Agents are turned.
    Turning = 1,
    /// Threads end.
    Stopping = 2,
}

/// What the threads of one process share: the phase, and the first failure.
struct Shared {
    phase: AtomicU8,
    threads: OnceLock<Vec<Thread>>,
    failure: Mutex<Option<AgentFailure>>,
}

impl Shared {
    fn new() -> Shared {
        Shared {
            phase: AtomicU8::new(Phase::Pinning as u8),
            threads: OnceLock::new(),
            failure: Mutex::new(None),
        }
    }

    fn begin(&self, threads: Vec<Thread>) {
        let threads = self.threads.get_or_init(|| threads);
        self.phase.fetch_max(Phase::Turning as u8, Ordering::AcqRel);
        threads.iter().for_each(Thread::unpark);
    }

    fn stop(&self) {
        self.phase
            .fetch_max(Phase::Stopping as u8, Ordering::AcqRel);
        if let Some(threads) = self.threads.get() {
            threads.iter().for_each(Thread::unpark);
        }
    }

    fn fail(&self, failure: AgentFailure) {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(failure);
        self.stop();
    }

    fn take_failure(&self) -> Option<AgentFailure> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn await_begin(&self) {
        while self.phase.load(Ordering::Acquire) == Phase::Pinning as u8 {
            thread::park();
        }
    }

    #[inline]
    fn turning(&self) -> bool {
        self.phase.load(Ordering::Acquire) == Phase::Turning as u8
    }
}

fn place_current_thread(core: Option<CoreId>, nice: u8) -> Result<(), CoreError> {
    if nice > 0 {
        lower_current_thread(nice)?;
    }
    core.map_or(Ok(()), pin_current_thread)
}

/// The work of one thread.
struct Duty {
    agents: Vec<Box<dyn Agent>>,
    idle: IdleStrategy,
    shared: Arc<Shared>,
}

impl Duty {
    fn run(
        mut self,
        core: Option<CoreId>,
        nice: u8,
        answers: &mpsc::Sender<Result<(), CoreError>>,
    ) {
        // `run` may have given up on another thread's pin and no longer listen.
        let _heard = answers.send(place_current_thread(core, nice));
        self.shared.await_begin();
        let started_count = self.start();
        let panicked = self.turn(started_count);
        self.close(started_count, panicked);
    }

    /// Starts the agents in order while all goes well, and gives the number to be closed.
    fn start(&mut self) -> usize {
        for (index, agent) in self.agents.iter_mut().enumerate() {
            if !self.shared.turning() {
                return index;
            }
            let started = guarded(agent.as_mut(), |agent| agent.on_start());
            if let Err(failure) = started {
                self.shared.fail(failure);
                return index;
            }
        }
        self.agents.len()
    }

    /// Turns the agents until the stop; gives the index of the agent that panicked, if one did.
    fn turn(&mut self, started_count: usize) -> Option<usize> {
        let mut idler = self.idle.idler();
        let mut current = 0;
        if started_count < self.agents.len() {
            return None;
        }
        let (agents, shared) = (&mut self.agents, &self.shared);
        let ended = catch_unwind(AssertUnwindSafe(|| {
            while shared.turning() {
                let mut work_count = 0;
                for (index, agent) in agents.iter_mut().enumerate() {
                    current = index;
                    work_count += agent.do_work()?;
                }
                idler.on_turn(work_count);
            }
            Ok(())
        }));
        let agent = agents[current].name();
        match ended {
            Ok(Ok(())) => None,
            Ok(Err(halt)) => {
                shared.fail(AgentFailure::Halted { agent, halt });
                None
            }
            Err(payload) => {
                let message = panic_message(payload.as_ref());
                shared.fail(AgentFailure::Panicked { agent, message });
                Some(current)
            }
        }
    }

    fn close(&mut self, started_count: usize, panicked: Option<usize>) {
        for (index, agent) in self.agents[..started_count].iter_mut().enumerate() {
            if Some(index) == panicked {
                continue;
            }
            let closed = guarded(agent.as_mut(), |agent| {
                agent.on_close();
                Ok(())
            });
            if let Err(failure) = closed {
                self.shared.fail(failure);
            }
        }
    }
}

/// Runs one step of an agent outside the duty loop and names what went wrong.
fn guarded(
    agent: &mut dyn Agent,
    step: impl FnOnce(&mut dyn Agent) -> Result<(), Halt>,
) -> Result<(), AgentFailure> {
    let name = agent.name();
    match catch_unwind(AssertUnwindSafe(|| step(agent))) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(halt)) => Err(AgentFailure::Halted { agent: name, halt }),
        Err(payload) => Err(AgentFailure::Panicked {
            agent: name,
            message: panic_message(payload.as_ref()),
        }),
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// All agents on the caller's thread, turned when the caller says so, in the order given.
///
/// Panics are the caller's: a test or a simulation wants to see them where they happen.
pub struct Inline {
    agents: Vec<Box<dyn Agent>>,
}

impl Inline {
    /// Starts `agents` in order.
    ///
    /// # Errors
    /// The first agent's halt; the agents started before it are closed.
    pub fn start(agents: Vec<Box<dyn Agent>>) -> Result<Inline, Halt> {
        let mut inline = Inline { agents };
        for index in 0..inline.agents.len() {
            if let Err(halt) = inline.agents[index].on_start() {
                inline.agents.truncate(index);
                inline.close();
                return Err(halt);
            }
        }
        Ok(inline)
    }

    /// Turns every agent once and gives the work done; 0 means that nothing was there to do.
    ///
    /// # Errors
    /// The first halt; the agents after it are not turned in this step.
    pub fn step(&mut self) -> Result<usize, Halt> {
        let mut work_count = 0;
        for agent in &mut self.agents {
            work_count += agent.do_work()?;
        }
        Ok(work_count)
    }

    /// Closes the agents in order.
    pub fn close(mut self) {
        for agent in &mut self.agents {
            agent.on_close();
        }
    }
}
