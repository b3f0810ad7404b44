//! Which agents run on which thread, which thread on which core, and how each thread idles.
//!
//! Called by the node, which reads it from its configuration, and by the runner, which checks it
//! against the agents and cores that are there.
//!
//! Always holds: a layout that passes `validate` names each agent exactly once and never makes two
//! threads burn one core, which would turn microseconds into milliseconds.
//! Does not: know what the agents are, or read files.

use crate::cores::{CoreError, CoreId};
use crate::idle::IdleStrategy;
use std::io;

/// A whole process: its threads, in the order in which they are started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The threads.
    pub threads: Vec<ThreadLayout>,
}

/// One thread of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadLayout {
    /// The thread's name, as tools such as `top -H` show it (15 bytes of it).
    pub name: String,
    /// The core to pin to; none leaves the thread to the kernel.
    pub core: Option<CoreId>,
    /// How far it steps back behind other threads: from 0, not at all, to [`crate::NICE_MAX`].
    pub nice: u8,
    /// What the thread does when there is no work.
    pub idle: IdleStrategy,
    /// The names of its agents, in the order in which they are turned.
    pub agents: Vec<String>,
}

impl Layout {
    /// A layout of these threads.
    pub fn new(threads: Vec<ThreadLayout>) -> Layout {
        Layout { threads }
    }

    /// Checks that this layout places exactly `agent_names` on cores out of `online_cores`.
    ///
    /// # Errors
    /// The first [`LayoutError`] found.
    pub fn validate(
        &self,
        agent_names: &[&str],
        online_cores: &[CoreId],
    ) -> Result<(), LayoutError> {
        self.check_threads()?;
        self.check_agents(agent_names)?;
        self.check_cores(online_cores)
    }

    fn check_threads(&self) -> Result<(), LayoutError> {
        for (index, thread) in self.threads.iter().enumerate() {
            if thread.name.is_empty() || thread.name.contains('\0') {
                return Err(LayoutError::ThreadName { index });
            }
            if self.threads[..index]
                .iter()
                .any(|earlier| earlier.name == thread.name)
            {
                return Err(LayoutError::ThreadTwice {
                    thread: thread.name.clone(),
                });
            }
            if thread.agents.is_empty() {
                return Err(LayoutError::ThreadEmpty {
                    thread: thread.name.clone(),
                });
            }
        }
        Ok(())
    }

    fn check_agents(&self, agent_names: &[&str]) -> Result<(), LayoutError> {
        for (index, name) in agent_names.iter().enumerate() {
            if agent_names[..index].contains(name) {
                return Err(LayoutError::AgentNameShared {
                    agent: (*name).to_owned(),
                });
            }
        }
        let placed = || {
            self.threads.iter().flat_map(|thread| {
                thread
                    .agents
                    .iter()
                    .map(move |agent| (thread, agent.as_str()))
            })
        };
        for (thread, agent) in placed() {
            if !agent_names.contains(&agent) {
                return Err(LayoutError::AgentUnknown {
                    agent: agent.to_owned(),
                    thread: thread.name.clone(),
                    known: agent_names.join(", "),
                });
            }
        }
        for name in agent_names {
            match placed().filter(|(_, agent)| agent == name).count() {
                0 => {
                    return Err(LayoutError::AgentMissing {
                        agent: (*name).to_owned(),
                    });
                }
                1 => {}
                _ => {
                    return Err(LayoutError::AgentTwice {
                        agent: (*name).to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    fn check_cores(&self, online_cores: &[CoreId]) -> Result<(), LayoutError> {
        for thread in &self.threads {
            if let Some(core) = thread.core
                && !online_cores.contains(&core)
            {
                return Err(LayoutError::CoreOffline {
                    thread: thread.name.clone(),
                    core,
                    online: list(online_cores),
                });
            }
        }
        let spinning: Vec<&ThreadLayout> = self
            .threads
            .iter()
            .filter(|thread| thread.idle == IdleStrategy::Spin)
            .collect();
        for (index, thread) in spinning.iter().enumerate() {
            let Some(core) = thread.core else { continue };
            if let Some(first) = spinning[..index]
                .iter()
                .find(|other| other.core == Some(core))
            {
                return Err(LayoutError::CoreSpunTwice {
                    core,
                    first: first.name.clone(),
                    second: thread.name.clone(),
                });
            }
        }
        if spinning.len() > online_cores.len() {
            return Err(LayoutError::TooManySpinning {
                spinning_count: spinning.len(),
                core_count: online_cores.len(),
            });
        }
        Ok(())
    }
}

impl ThreadLayout {
    /// A thread that the kernel may move between cores; see [`ThreadLayout::pinned`].
    pub fn new(name: &str, idle: IdleStrategy, agents: &[&str]) -> ThreadLayout {
        ThreadLayout {
            name: name.to_owned(),
            core: None,
            nice: 0,
            idle,
            agents: agents.iter().map(|agent| (*agent).to_owned()).collect(),
        }
    }

    /// The same thread, pinned to `core`.
    #[must_use]
    pub fn pinned(mut self, core: CoreId) -> ThreadLayout {
        self.core = Some(core);
        self
    }

    /// The same thread with a lower priority.
    #[must_use]
    pub fn with_nice(mut self, nice: u8) -> ThreadLayout {
        self.nice = nice;
        self
    }
}

/// A layout cannot be run as it is written, or the kernel refused to set it up.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A thread has no usable name.
    #[error("thread {index} (counted from 0) of the layout has no usable name: give it one")]
    ThreadName {
        /// The place in the list, from 0.
        index: usize,
    },
    /// Two threads have one name.
    #[error("thread `{thread}` is in the layout twice: give each thread its own name")]
    ThreadTwice {
        /// The name.
        thread: String,
    },
    /// A thread has nothing to turn.
    #[error("thread `{thread}` has no agents: give it some or remove it from the layout")]
    ThreadEmpty {
        /// The thread.
        thread: String,
    },
    /// The process has an agent that the layout does not place.
    #[error("agent `{agent}` is on no thread: add it to a thread of the layout")]
    AgentMissing {
        /// The agent.
        agent: String,
    },
    /// The layout places an agent more than once.
    #[error("agent `{agent}` is in the layout more than once: keep one place")]
    AgentTwice {
        /// The agent.
        agent: String,
    },
    /// The layout names an agent that the process does not have.
    #[error(
        "thread `{thread}` names the agent `{agent}`, which does not exist here: known are {known}"
    )]
    AgentUnknown {
        /// The agent.
        agent: String,
        /// The thread that names it.
        thread: String,
        /// The agents that exist.
        known: String,
    },
    /// Two agents of the process have one name, so that no layout can tell them apart.
    #[error("two agents are called `{agent}`: a layout cannot tell them apart, rename one")]
    AgentNameShared {
        /// The name.
        agent: String,
    },
    /// A thread is to be pinned to a core that is off or not allowed.
    #[error(
        "thread `{thread}` wants core {core}, which is offline or not allowed here: choose from {online}"
    )]
    CoreOffline {
        /// The thread.
        thread: String,
        /// The core.
        core: CoreId,
        /// The cores to choose from.
        online: String,
    },
    /// Two threads on one core never give it away.
    #[error(
        "threads `{first}` and `{second}` both spin on core {core}: move one, or let one yield or park"
    )]
    CoreSpunTwice {
        /// The core.
        core: CoreId,
        /// The earlier thread.
        first: String,
        /// The later thread.
        second: String,
    },
    /// More threads burn a core than there are cores.
    #[error(
        "{spinning_count} threads spin on {core_count} cores: fuse agents onto fewer threads, \
         or let some yield or park"
    )]
    TooManySpinning {
        /// Threads that spin.
        spinning_count: usize,
        /// Cores online and allowed.
        core_count: usize,
    },
    /// The cores cannot be listed, or a thread cannot be pinned.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// A thread cannot be made.
    #[error("cannot start thread `{thread}`: {source}; check the limits on threads and memory")]
    Spawn {
        /// The thread.
        thread: String,
        /// The kernel's reason.
        source: io::Error,
    },
}

fn list(cores: &[CoreId]) -> String {
    cores
        .iter()
        .map(CoreId::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use IdleStrategy::{Park, Spin, Yield};

    const CORES: [CoreId; 2] = [CoreId(0), CoreId(1)];

    fn check(threads: Vec<ThreadLayout>) -> String {
        match Layout::new(threads).validate(&["gateway", "sequencer"], &CORES) {
            Ok(()) => "fine".to_owned(),
            Err(error) => format!("{error:?}: {error}"),
        }
    }

    fn both(name: &str, idle: IdleStrategy) -> ThreadLayout {
        ThreadLayout::new(name, idle, &["gateway", "sequencer"])
    }

    #[test]
    fn good_layouts_pass() {
        assert_eq!(check(vec![both("all", Spin)]), "fine");
        let gateway = ThreadLayout::new("a", Spin, &["gateway"]);
        let sequencer = ThreadLayout::new("b", Spin, &["sequencer"]);
        assert_eq!(
            check(vec![gateway.clone().pinned(CORES[0]), sequencer.clone()]),
            "fine"
        );
        let parked = ThreadLayout {
            idle: Park { micros: 50 },
            ..sequencer.clone()
        };
        let pinned = gateway.pinned(CORES[1]);
        assert_eq!(check(vec![pinned.clone(), parked.pinned(CORES[1])]), "fine");
        let yielding = ThreadLayout {
            idle: Yield,
            ..sequencer
        };
        assert_eq!(check(vec![pinned, yielding.pinned(CORES[1])]), "fine");
    }

    #[test]
    fn each_fault_has_its_name() {
        let gateway = ThreadLayout::new("a", Spin, &["gateway"]);
        let sequencer = ThreadLayout::new("b", Spin, &["sequencer"]);
        let cases = [
            (vec![gateway.clone()], "AgentMissing"),
            (vec![both("a", Spin), sequencer.clone()], "AgentTwice"),
            (
                vec![ThreadLayout::new(
                    "a",
                    Spin,
                    &["gateway", "gateway", "sequencer"],
                )],
                "AgentTwice",
            ),
            (
                vec![both("a", Spin), ThreadLayout::new("b", Yield, &["disk"])],
                "AgentUnknown",
            ),
            (vec![both("a", Spin).pinned(CoreId(2))], "CoreOffline"),
            (
                vec![
                    gateway.clone().pinned(CORES[1]),
                    sequencer.clone().pinned(CORES[1]),
                ],
                "CoreSpunTwice",
            ),
            (
                vec![both("a", Spin), ThreadLayout::new("b", Spin, &[])],
                "ThreadEmpty",
            ),
            (
                vec![
                    gateway.clone(),
                    ThreadLayout::new("a", Spin, &["sequencer"]),
                ],
                "ThreadTwice",
            ),
            (vec![both("", Spin)], "ThreadName"),
        ];
        for (threads, expected) in cases {
            let found = check(threads);
            assert!(
                found.starts_with(expected),
                "expected {expected}, found {found}"
            );
        }
    }

    #[test]
    fn spinning_threads_need_a_core_each() {
        let names = ["a", "b", "c"];
        let threads = names
            .iter()
            .map(|name| ThreadLayout::new(name, Spin, &[name]))
            .collect();
        let layout = Layout::new(threads);
        let error = layout.validate(&names, &CORES).unwrap_err();
        assert!(matches!(
            error,
            LayoutError::TooManySpinning {
                spinning_count: 3,
                core_count: 2
            }
        ));
        layout
            .validate(&names, &[CoreId(0), CoreId(1), CoreId(2)])
            .unwrap();
    }

    #[test]
    fn agents_with_one_name_are_refused() {
        let layout = Layout::new(vec![ThreadLayout::new("a", Yield, &["x"])]);
        let error = layout.validate(&["x", "x"], &CORES).unwrap_err();
        assert!(
            matches!(error, LayoutError::AgentNameShared { .. }),
            "{error}"
        );
    }
}
