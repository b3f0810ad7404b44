//! The agents that own the disk: one makes the journal durable, one prepares its segments.
//!
//! Always holds: one flush at a time; the next batch gathers while it runs, never an artificial
//! delay. A failed flush stops the node.

use exahour_journal::{Flusher, Stager};
use exahour_rings::{Agent, Halt};

/// Flushes the journal. With a blocking flush body, `do_work` waits for the disk.
pub(crate) struct DiskAgent {
    flusher: Flusher,
}

impl DiskAgent {
    pub(crate) fn new(flusher: Flusher) -> Self {
        Self { flusher }
    }
}

impl Agent for DiskAgent {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        let before = self.flusher.durable();
        self.flusher.flush_begin().map_err(Halt::new)?;
        let after = self.flusher.flush_poll().map_err(Halt::new)?;
        Ok(usize::from(after > before))
    }

    fn on_close(&mut self) {
        // What was acknowledged is durable already; this only spares the next start some work, and
        // a failure was or will be reported by the turn that rests on it.
        let _ = self.flusher.flush();
    }
}

/// Prepares segments ahead of the logs' ends, in small pieces.
pub(crate) struct StagingAgent {
    stagers: Vec<Stager>,
}

impl StagingAgent {
    pub(crate) fn new(stagers: Vec<Stager>) -> Self {
        Self { stagers }
    }
}

impl Agent for StagingAgent {
    fn name(&self) -> &'static str {
        "staging"
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        let mut work = 0;
        for stager in &mut self.stagers {
            work += stager.do_work().map_err(Halt::new)?;
        }
        Ok(work)
    }
}
