//! Mistakes that can be made on purpose, to see that the simulator finds them.
//!
//! Compiled in only with the feature `defects`, which no program that is shipped has. A place of the code
//! that has a defect asks here whether it is armed.
//!
//! Always holds: nothing is armed unless a test arms it, and then on the test's own thread alone.

use std::cell::Cell;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A flush is said to be done without having been asked for.
    SkippedFlush,
    /// What is appended counts as safe before it is flushed.
    EarlyAck,
    /// A follower says that it has entries before they are flushed.
    AckBeforeFlush,
    /// A vote is given without being written down.
    ForgottenVote,
    /// The name of a log's next segment is not made to survive the machine.
    SkippedFolderSync,
    /// Recovery cuts the last frame of a log, though it was flushed.
    TruncatedTail,
    /// Nobody compares a frame with its checksum.
    UncheckedDamage,
    /// A leader takes a follower's word for how much of the leader's own log it has.
    TrustedLength,
    /// A batch is proposed again.
    DoubleProposal,
    /// A node that has lost the lead tells clients that the last message it handed on was not applied, before the
    /// log says so.
    UntrueNotApplied,
    /// The stamp of a batch is what the clock shows, though the log was further.
    BackwardStamp,
    /// The gateway passes over a frame of events.
    LostReports,
    /// The name of a snapshot is not made to survive the machine before the journal is given up for it.
    SkippedSnapshotSync,
    /// A segment that is released is removed, though it should be kept in an archive.
    UnarchivedSegment,
    /// The folder is not flushed between the removals of two segments.
    SkippedReleaseSync,
    /// Market data tells of a trade of one lot more than it was.
    UntrueTrade,
    /// A behaviour is activated though a member cannot do it, or has not said that it can.
    UncheckedActivation,
}

impl Defect {
    /// Every one.
    pub const ALL: [Self; 17] = [
        Self::SkippedFlush,
        Self::EarlyAck,
        Self::AckBeforeFlush,
        Self::ForgottenVote,
        Self::SkippedFolderSync,
        Self::TruncatedTail,
        Self::UncheckedDamage,
        Self::TrustedLength,
        Self::DoubleProposal,
        Self::UntrueNotApplied,
        Self::BackwardStamp,
        Self::LostReports,
        Self::SkippedSnapshotSync,
        Self::UnarchivedSegment,
        Self::SkippedReleaseSync,
        Self::UntrueTrade,
        Self::UncheckedActivation,
    ];
}

thread_local! {
    static ARMED: Cell<Option<Defect>> = const { Cell::new(None) };
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

/// Makes a mistake from now on, or none.
pub fn arm(defect: Option<Defect>) {
    ARMED.set(defect);
    ASKED.set(0);
}

/// Whether the mistake is made here.
#[must_use]
pub fn armed(defect: Defect) -> bool {
    ARMED.get() == Some(defect)
}

/// Whether the mistake is made here this time: one time in so many.
#[must_use]
pub fn strikes(defect: Defect, one_in: u64) -> bool {
    let asked = ASKED.get() + u64::from(armed(defect));
    ASKED.set(asked);
    armed(defect) && asked.is_multiple_of(one_in)
}
