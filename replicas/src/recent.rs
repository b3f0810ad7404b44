//! The frames appended last, by raft index: what raft asks for at once needs no look into the journal's maps.
//!
//! Owned by `storage`, which enters every frame that it appends.
//!
//! Always holds: a frame is found only under the index and the term that it was appended with, and the last one
//! of them; it allocates nothing after it was made.

use exahour_journal::Position;

/// How many are kept: more than a leader has under way at once.
const FRAMES: usize = 64;

/// A frame without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecentFrame {
    /// Its raft index.
    pub(crate) index: u64,
    /// Its raft term.
    pub(crate) term: u32,
    /// What it holds.
    pub(crate) kind: u8,
    /// Where it ends in the journal.
    pub(crate) end: Position,
}

/// The frames.
pub(crate) struct Recent([Option<RecentFrame>; FRAMES]);

impl Recent {
    pub(crate) fn new() -> Self {
        Self([None; FRAMES])
    }

    /// Enters a frame, in the place of an older one.
    #[inline]
    pub(crate) fn note(&mut self, frame: RecentFrame) {
        self.0[place(frame.index)] = Some(frame);
    }

    /// The frame of this index and term, where it is still known.
    #[inline]
    pub(crate) fn find(&self, index: u64, term: u32) -> Option<RecentFrame> {
        self.0[place(index)].filter(|it| (it.index, it.term) == (index, term))
    }
}

fn place(index: u64) -> usize {
    // The remainder is below `FRAMES`.
    (index % FRAMES as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_known_until_a_later_one_takes_its_place() {
        let frame = |index, term, end| RecentFrame {
            index,
            term,
            kind: 1,
            end: Position::new(end),
        };
        let mut recent = Recent::new();
        assert_eq!(recent.find(0, 0), None);
        recent.note(frame(7, 1, 64));
        recent.note(frame(8, 1, 128));
        assert_eq!(recent.find(7, 1), Some(frame(7, 1, 64)));
        assert_eq!(recent.find(7, 2), None, "another term");
        recent.note(frame(7, 2, 192));
        assert_eq!(recent.find(7, 1), None, "superseded");
        recent.note(frame(7 + FRAMES as u64, 2, 256));
        assert_eq!(recent.find(7, 2), None, "too old");
        assert_eq!(recent.find(8, 1), Some(frame(8, 1, 128)));
    }
}
