//! How a subcommand ends, as its exit code tells: one rule for all of them.
//!
//! Called by the command line for the code, and by the subcommands to mark what they found.
//!
//! Always holds: an error counts as something that could not be done, unless it is marked as a finding
//! or as an interruption.

use std::error::Error;
use std::fmt;

use exahour_engine::ApplyError;
use exahour_gateway::feed::client::FeedRefused;
use exahour_journal::JournalError;
use exahour_replicas::NodeError;
use exahour_settlement::SettlementError;
use exahour_wire::codes::FeedRejectCode;
use nix::sys::signal::Signal;

use crate::text::TextError;

/// The rule, as `exahour --help` tells it.
pub const RULE: &str = "\
Exit codes:
  0    done, and all is well
  1    it ran, and the answer is bad: a damaged journal, another hash, an event that differs, an order
       that the exchange refuses or does not know, a script that is wrong, a node that halts
  2    it could not be done: arguments, configuration, keys or files that will not do, a full disk, no
       connection, no answer
  130  it was interrupted before its end by SIGINT (Ctrl-C): 128 and the signal's number
  143  the same, by SIGTERM; `start` and `settle` are ended by either, with 0

Answers go to standard output, errors to standard error. With --json, answers are JSON; the keys are
explained in docs/OPERATORS.md.";

/// How a subcommand ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All is well.
    Done,
    /// It ran, and the answer is bad.
    Bad,
    /// It could not be done. Wrong command lines, which are refused before anything runs, end so too.
    NotDone,
    /// It was interrupted by this signal.
    Interrupted(Signal),
}

impl Ending {
    /// How a subcommand ends with this error.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        let signal =
            |cause: &(dyn Error + 'static)| cause.downcast_ref().map(|it: &Interrupted| it.0);
        if let Some(signal) = error.chain().find_map(signal) {
            return Self::Interrupted(signal);
        }
        match error.chain().any(|cause| cause.is::<Finding>()) {
            true => Self::Bad,
            false => Self::NotDone,
        }
    }

    /// The exit code that tells it.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Bad => 1,
            Self::NotDone => 2,
            // As shells have it for what a signal has ended. Numbers of signals are below 128.
            Self::Interrupted(signal) => 128 | signal as u8,
        }
    }
}

/// What was looked for and found, and is bad.
#[derive(Debug)]
struct Finding(anyhow::Error);

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Error for Finding {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Somebody wanted no more of it, and said so by this signal.
#[derive(Debug, thiserror::Error)]
#[error("stopped before its end")]
pub struct Interrupted(pub Signal);

/// Marks an error as what a subcommand found, not what kept it from finding.
pub fn finding(error: impl Into<anyhow::Error>) -> anyhow::Error {
    anyhow::Error::new(Finding(error.into()))
}

/// Marks an error as a finding where it says that what was looked at is bad, or not there.
#[must_use]
pub fn judged(error: anyhow::Error) -> anyhow::Error {
    match error.chain().any(is_finding) {
        true => finding(error),
        false => error,
    }
}

fn is_finding(cause: &(dyn Error + 'static)) -> bool {
    if let Some(refused) = cause.downcast_ref::<FeedRefused>() {
        return refused.0.code.decode() == Some(FeedRejectCode::UnknownInstrument);
    }
    let settlement = cause.downcast_ref::<SettlementError>();
    let log = match settlement {
        Some(SettlementError::Log(log)) => Some(log),
        _ => cause.downcast_ref::<JournalError>(),
    };
    let node = cause.downcast_ref::<NodeError>();
    let stopped = cause.downcast_ref::<ApplyError>();
    matches!(stopped, Some(ApplyError::Divergence(_)))
        || cause.is::<TextError>()
        || log.is_some_and(|it| {
            matches!(
                it,
                JournalError::Corrupt { .. } | JournalError::WrongSize { .. }
            )
        })
        || node.is_some_and(|it| {
            matches!(
                it,
                NodeError::Frame { .. }
                    | NodeError::SnapshotMissing { .. }
                    | NodeError::EventsMissing { .. }
                    | NodeError::Divergence(_)
                    | NodeError::SnapshotDiffers { .. }
            )
        })
        || settlement.is_some_and(|it| {
            matches!(
                it,
                SettlementError::Diverged(_)
                    | SettlementError::EventsMissing { .. }
                    | SettlementError::UnknownObligation(_)
                    | SettlementError::Stored { .. }
            )
        })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use anyhow::{Context, anyhow};
    use exahour_journal::Position;
    use exahour_wire::ids::EventSequence;

    use super::*;

    #[test]
    fn an_error_is_a_finding_only_where_it_is_one() {
        let plain = anyhow!("no such folder");
        assert_eq!(Ending::of(&judged(plain)), Ending::NotDone);
        let damage = || JournalError::Corrupt {
            segment: PathBuf::from("it.log"),
            position: Position::ZERO,
            index: 0,
            why: "checksum",
        };
        let error = judged(anyhow::Error::new(damage()).context("journal"));
        assert_eq!(Ending::of(&error), Ending::Bad);
        let error = judged(anyhow::Error::new(NodeError::Log {
            log: "journal",
            source: damage(),
        }));
        assert_eq!(Ending::of(&error), Ending::Bad);
        assert!(error.to_string().starts_with("journal: it.log is damaged"));
        let error = judged(SettlementError::Log(damage()).into());
        assert_eq!(Ending::of(&error), Ending::Bad);
        let error = judged(SettlementError::Diverged(EventSequence(7)).into());
        assert_eq!(Ending::of(&error), Ending::Bad);
        let missing = JournalError::Missing {
            path: PathBuf::from("nowhere"),
        };
        let missing = judged(SettlementError::Log(missing).into());
        assert_eq!(Ending::of(&missing), Ending::NotDone);
        let missing = JournalError::Missing {
            path: PathBuf::from("nowhere"),
        };
        assert_eq!(Ending::of(&judged(missing.into())), Ending::NotDone);
    }

    #[test]
    fn marks_are_seen_under_what_is_said_of_them() {
        let marked: anyhow::Result<()> = Err(finding(anyhow!("no")));
        let told = marked.context("so far").unwrap_err();
        assert_eq!(Ending::of(&told), Ending::Bad);
        assert_eq!(format!("{told:#}"), "so far: no");
        for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
            let stopped: anyhow::Result<()> = Err(Interrupted(signal).into());
            let told = stopped.context("so far").unwrap_err();
            assert_eq!(Ending::of(&told), Ending::Interrupted(signal));
            assert_eq!(Ending::of(&told).code(), code);
        }
    }
}
