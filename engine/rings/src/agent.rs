//! What every moving part is: an agent with a duty cycle.
//!
//! Called by the runners, which own the agents and turn them in a fixed order.
//!
//! Always holds: one thread at a time turns an agent; `on_start` comes first and once, `on_close`
//! last and once, all on the thread that turns it.
//! Does not: choose threads, cores or idling (that is the layout's).

use std::error::Error;
use std::fmt;

/// A part of a process that is turned by a duty cycle.
pub trait Agent: Send {
    /// The name by which a layout places this agent; unique in a process.
    fn name(&self) -> &'static str;

    /// Does the work that is there now, bounded, and gives its amount: 0 lets the thread idle.
    ///
    /// It never blocks, except where an agent is documented to (the disk agent's flush).
    ///
    /// # Errors
    /// [`Halt`] when the world broke a promise that the process cannot go on without.
    fn do_work(&mut self) -> Result<usize, Halt>;

    /// Runs once before the first `do_work`, on the pinned thread.
    ///
    /// Threads spawned here inherit the pin: spawn helpers before `run`.
    ///
    /// # Errors
    /// [`Halt`] when the agent cannot start.
    fn on_start(&mut self) -> Result<(), Halt> {
        Ok(())
    }

    /// Runs once after the last `do_work`, also after a halt, but not after a panic of this agent.
    fn on_close(&mut self) {}
}

/// An error of the world that must stop the process, such as a failed flush.
#[derive(Debug)]
pub struct Halt {
    /// What happened, where, and what to do.
    pub reason: Box<dyn Error + Send + Sync>,
}

impl Halt {
    /// Halts for `reason`: an error, or a sentence.
    pub fn new(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Halt {
        Halt {
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl Error for Halt {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.reason.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halt_speaks_with_the_words_of_its_reason() {
        let halt = Halt::new(std::io::Error::other(
            "flush of segment 3 failed: stop and check",
        ));
        assert_eq!(
            halt.to_string(),
            "flush of segment 3 failed: stop and check"
        );
        assert_eq!(Halt::new("a sentence").to_string(), "a sentence");
    }
}
