//! The agents that no order waits for, on a thread of their own, as nodes have them.
//!
//! Used by the topic `raft`, so that the agents it turns by hand have their caches to themselves.
//!
//! Always holds: the thread ends with this, at the latest when it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};
use exahour_rings::{Agent, Halt};

/// How long the thread sleeps where there was nothing to do.
const PAUSE: Duration = Duration::from_micros(200);

/// The thread.
pub struct Behind {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), Halt>>>,
}

impl Behind {
    /// Turns these agents, which have started, from now on.
    ///
    /// # Errors
    /// Where the system has no thread.
    pub fn start(mut agents: Vec<Box<dyn Agent>>) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("behind".into())
            .spawn(move || {
                while !asked.load(Ordering::Relaxed) {
                    let mut work = 0;
                    for agent in &mut agents {
                        work += agent.do_work()?;
                    }
                    if work == 0 {
                        std::thread::sleep(PAUSE);
                    }
                }
                Ok(())
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends the thread.
    ///
    /// # Errors
    /// What an agent halted with.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it ends once")?;
        let ended = thread.join();
        ended.map_err(|_| anyhow!("an agent behind the orders panicked"))??;
        Ok(())
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Something else failed already, and is told.
            let _ = thread.join();
        }
    }
}
