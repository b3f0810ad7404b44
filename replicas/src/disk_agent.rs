//! The agents that own the disk: one makes the journal durable, one prepares its segments.
//!
//! Always holds: one flush at a time; the next batch gathers while it runs, without an artificial
//! delay where an acknowledgement waits for it. A failed flush stops the node. A full disk does not: staging tries again, and what cannot
//! be appended meanwhile waits where it is.

use exahour_gateway::clock::{Clock, Steady};
use exahour_journal::{Flusher, JournalError, Stager};
use exahour_rings::{Agent, Halt};
use exahour_wire::units::Nanos;

/// The agent's name in a layout.
pub(crate) const DISK: &str = "disk";

/// Flushes the journal. With a blocking flush body, `do_work` waits for the disk.
pub(crate) struct DiskAgent {
    flusher: Flusher,
    /// From the end of one flush to the next, at least; none where acknowledgements wait for it.
    pause: Option<Nanos>,
    clock: Box<dyn Clock>,
    flushed_at: Steady,
}

impl DiskAgent {
    pub(crate) fn new(flusher: Flusher, pause: Option<Nanos>, mut clock: Box<dyn Clock>) -> Self {
        Self {
            flusher,
            pause,
            flushed_at: clock.steady(),
            clock,
        }
    }
}

impl Agent for DiskAgent {
    fn name(&self) -> &'static str {
        DISK
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        let before = self.flusher.durable();
        let due = match self.pause {
            None => true,
            Some(pause) => self.clock.steady() >= self.flushed_at.after(pause),
        };
        if due {
            self.flusher.flush_begin().map_err(Halt::new)?;
        }
        let after = self.flusher.flush_poll().map_err(Halt::new)?;
        if after == before {
            return Ok(0);
        }
        if self.pause.is_some() {
            self.flushed_at = self.clock.steady();
        }
        Ok(1)
    }

    fn on_close(&mut self) {
        // What was acknowledged is durable already; this only spares the next start some work, and
        // a failure was or will be reported by the turn that rests on it.
        let _ = self.flusher.flush();
    }
}

/// Turns that staging lets pass after it found the disk full.
const TURNS_AFTER_FULL: u32 = 1_000;

/// Prepares segments ahead of the logs' ends, in small pieces.
pub(crate) struct StagingAgent {
    stagers: Vec<Stager>,
    /// Turns until the next try.
    pause: u32,
    notice: fn(&str),
    /// Whether it was told that the archive does not take what the journal gives up.
    told: bool,
}

impl StagingAgent {
    pub(crate) fn new(stagers: Vec<Stager>, notice: fn(&str)) -> Self {
        Self {
            stagers,
            pause: 0,
            notice,
            told: false,
        }
    }
}

impl Agent for StagingAgent {
    fn name(&self) -> &'static str {
        "staging"
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        if self.pause > 0 {
            self.pause -= 1;
            return Ok(0);
        }
        let mut work = 0;
        for stager in &mut self.stagers {
            match stager.do_work() {
                Ok(done) => work += done,
                Err(JournalError::DiskFull { .. }) => self.pause = TURNS_AFTER_FULL,
                // It costs room, and no order.
                Err(refusal @ JournalError::Archive { .. }) => {
                    if !std::mem::replace(&mut self.told, true) {
                        (self.notice)(&format!("journal: {refusal}"));
                    }
                }
                Err(error) => return Err(Halt::new(error)),
            }
        }
        Ok(work)
    }
}
