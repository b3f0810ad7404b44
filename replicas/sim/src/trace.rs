//! What happened in a simulated world, in order: a hash of everything, and the last of it in words.
//!
//! Written by every part of the world; read when a run is over, to compare it with another run of the same
//! seed, and to tell what came before a failure.
//!
//! Always holds: two runs in which the same things happened in the same order have the same hash.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use exahour_wire::units::Nanos;

use crate::net::HostId;

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Happening {
    /// A host asked for a connection to another.
    Dialled(HostId, HostId),
    /// A connection between two hosts broke.
    Broke(HostId, HostId),
    /// The second host read bytes that the first wrote: how many, and a digest of them.
    Read(HostId, HostId, usize, u64),
    /// A node was started.
    Started(HostId),
    /// A node's process was killed.
    Killed(HostId),
    /// A node's machine lost its power.
    PowerLost(HostId),
    /// A node's machine lost its power at a call of its disk.
    DiskDied(HostId),
    /// A node stopped by itself, for this reason.
    Halted(HostId, String),
    /// A node told its operator something.
    Said(HostId, String),
    /// An operator asked a node for something.
    Asked(HostId, HostId, String),
    /// An operator is told that something is not done, and why.
    Answered(HostId, String),
    /// What an operator is about from now on.
    Planned(HostId, String),
    /// A machine is not used any more.
    Retired(HostId),
    /// A node is started from now on with a program that can do this behaviour, and none that is newer.
    Installed(HostId, u32),
    /// A node was held up, until then.
    Paused(HostId, Nanos),
    /// The link from one host to another was cut.
    Cut(HostId, HostId),
    /// All links were mended.
    Mended,
    /// A node's UTC was set forward by so much.
    ClockSet(HostId, Nanos),
    /// A sector of a node's file was damaged: where, and how.
    Harmed(HostId, PathBuf, u64, String),
    /// A file of a node was written, read or flushed: which call, of how many bytes at which offset.
    Disk(HostId, &'static str, u64, u64),
    /// A client sent a command of this number.
    Sent(HostId, u32),
    /// A client was told something: the kind, and the number that it is about.
    Told(HostId, &'static str, u32),
}

impl fmt::Display for Happening {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dialled(from, far) => write!(to, "{from} dials {far}"),
            Self::Broke(one, other) => write!(to, "a connection of {one} and {other} breaks"),
            Self::Read(from, by, count, _) => write!(to, "{by} reads {count} bytes from {from}"),
            Self::Started(node) => write!(to, "{node} starts"),
            Self::Killed(node) => write!(to, "{node} is killed"),
            Self::PowerLost(node) => write!(to, "{node} loses power"),
            Self::DiskDied(node) => write!(to, "{node} loses power over a call of its disk"),
            Self::Halted(node, why) => write!(to, "{node} stops: {why}"),
            Self::Said(node, what) => write!(to, "{node} says: {what}"),
            Self::Asked(by, node, what) => write!(to, "{by} asks {node}: {what}"),
            Self::Answered(by, why) => write!(to, "{by} is answered: {why}"),
            Self::Planned(by, what) => write!(to, "{by} is about: {what}"),
            Self::Retired(node) => write!(to, "{node} is gone for good"),
            Self::Installed(node, newest) => {
                write!(
                    to,
                    "{node} is given a program that can do up to behaviour {newest}"
                )
            }
            Self::Paused(node, until) => write!(to, "{node} is held up until {}", Time(*until)),
            Self::Cut(from, far) => write!(to, "nothing goes from {from} to {far} any more"),
            Self::Mended => write!(to, "all links are whole"),
            Self::ClockSet(node, span) => write!(to, "UTC of {node} jumps by {}", Time(*span)),
            Self::Harmed(node, path, at, how) => {
                write!(to, "{node}: {how} in {} at {at}", path.display())
            }
            Self::Disk(node, call, offset, bytes) => {
                write!(to, "{node}: {call} of {bytes} bytes at {offset}")
            }
            Self::Sent(client, number) => write!(to, "{client} sends {number}"),
            Self::Told(client, what, number) => write!(to, "{client} is told: {what} {number}"),
        }
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "host {}", self.0)
    }
}

struct Time(Nanos);

impl fmt::Display for Time {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.0 / 1_000;
        write!(to, "{}.{:06} s", micros / 1_000_000, micros % 1_000_000)
    }
}

/// The record of a world; clones write the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace(Arc<Mutex<Record>>);

#[derive(Debug, Default)]
struct Record {
    now: Nanos,
    hash: DefaultHasher,
    kept: VecDeque<(Nanos, Happening)>,
    /// So many of them are kept.
    lines: usize,
}

impl Trace {
    /// A record that keeps so many happenings in words.
    pub(crate) fn new(lines: usize) -> Self {
        Self(Arc::new(Mutex::new(Record {
            lines,
            ..Record::default()
        })))
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is noted from now on happens at this time.
    pub(crate) fn turn_to(&self, now: Nanos) {
        self.record().now = now;
    }

    /// Notes what happens.
    pub(crate) fn note(&self, happening: Happening) {
        let mut record = self.record();
        let now = record.now;
        now.hash(&mut record.hash);
        happening.hash(&mut record.hash);
        if matches!(happening, Happening::Read(..) | Happening::Disk(..)) {
            return;
        }
        record.kept.push_back((now, happening));
        if record.kept.len() > record.lines {
            record.kept.pop_front();
        }
    }

    /// The hash of everything noted.
    #[must_use]
    pub(crate) fn hash(&self) -> u64 {
        self.record().hash.finish()
    }

    /// The last of what happened, each in a line.
    #[must_use]
    pub(crate) fn last(&self) -> Vec<String> {
        let record = self.record();
        let line = |(now, happening): &(Nanos, Happening)| format!("{} {happening}", Time(*now));
        record.kept.iter().map(line).collect()
    }
}

/// A digest of bytes, for the record.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let mut hash = DefaultHasher::new();
    bytes.hash(&mut hash);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_in_another_order_is_not_the_same() {
        let of = |happenings: &[Happening]| {
            let trace = Trace::new(2);
            for happening in happenings {
                trace.note(happening.clone());
            }
            (trace.hash(), trace.last())
        };
        let (one, other) = (Happening::Mended, Happening::Started(HostId(1)));
        assert_eq!(
            of(&[one.clone(), other.clone()]),
            of(&[one.clone(), other.clone()])
        );
        let turned = of(&[other.clone(), one.clone()]);
        assert_ne!(of(&[one.clone(), other.clone()]).0, turned.0);
        assert_eq!(
            turned.1,
            ["0.000000 s host 1 starts", "0.000000 s all links are whole"]
        );
        // Only the last lines are kept.
        assert_eq!(of(&[Happening::Mended, other, one]).1, turned.1);
    }
}
