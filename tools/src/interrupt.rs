//! Ctrl-C, for a subcommand that has something to say before it ends.
//!
//! Called by `feed`; the node and the demo have loops of their own that read signals.
//!
//! Always holds: the first SIGINT or SIGTERM is noted, for the subcommand to end in good order; the
//! second ends the process, for whoever does not want to wait for that. The exit code tells which it was.

use std::sync::{Arc, OnceLock};
use std::thread;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};

use crate::exit::{Ending, Interrupted};

/// The signal by which somebody said that he wants no more of it.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<OnceLock<Signal>>);

impl Interrupt {
    /// Watches for signals from now on. To be called before other threads are started: they inherit that
    /// the signals are not theirs.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(crate) fn watch() -> Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals
            .thread_block()
            .context("cannot block the signals that end this command")?;
        let noted = Arc::new(OnceLock::new());
        let shared = Arc::clone(&noted);
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || await_signals(signals, &shared))
            .context("cannot watch for signals")?;
        Ok(Self(noted))
    }

    /// Says so where a signal came.
    ///
    /// # Errors
    /// [`Interrupted`].
    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        match self.0.get() {
            Some(signal) => Err(Interrupted(*signal)),
            None => Ok(()),
        }
    }
}

fn await_signals(signals: SigSet, noted: &OnceLock<Signal>) {
    loop {
        match signals.wait() {
            Ok(signal) => {
                if noted.set(signal).is_err() {
                    std::process::exit(Ending::Interrupted(signal).code().into());
                }
            }
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}
