//! How long a session must wait after it failed to prove who it is.
//!
//! Called by `session` at every logon.
//!
//! Always holds: the wait doubles with each failure in a row up to a limit; a success forgets them;
//! a table of fixed size holds every session, so guessing session numbers costs no memory.
//! Does not: know connections: the wait belongs to the session, however many connections try.

use exahour_wire::ids::SessionId;
use exahour_wire::limits::SESSIONS_MAX;
use exahour_wire::units::{Millis, Nanos};

use crate::clock::Steady;

/// The wait after the first failure.
pub const BACK_OFF_MIN: Millis = Millis(100);

/// The longest wait.
pub const BACK_OFF_MAX: Millis = Millis(30_000);

const DOUBLINGS_MAX: u32 = 16;
// The shift below must neither overflow nor fall short of the longest wait.
const _: () = assert!(BACK_OFF_MIN.0 << DOUBLINGS_MAX >= BACK_OFF_MAX.0);
const _: () = assert!(BACK_OFF_MIN.0.leading_zeros() > DOUBLINGS_MAX);

#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    count: u32,
    until: Steady,
}

/// The failures of every session.
#[derive(Debug)]
pub struct BackOffs {
    sessions: Box<[Failures]>,
}

impl Default for BackOffs {
    fn default() -> Self {
        Self {
            sessions: vec![Failures::default(); SESSIONS_MAX as usize + 1].into_boxed_slice(),
        }
    }
}

impl BackOffs {
    /// How long the session must still wait, rounded up; zero where it may try.
    #[must_use]
    pub fn remaining(&self, session: SessionId, now: Steady) -> Millis {
        let Some(failures) = self.sessions.get(session.0 as usize) else {
            return Millis(0);
        };
        let wait = failures.until.since(now).0.div_ceil(1_000_000);
        Millis(u32::try_from(wait).unwrap_or(u32::MAX))
    }

    /// Notes a failure and gives the wait that follows from it.
    pub fn on_failure(&mut self, session: SessionId, now: Steady) -> Millis {
        let Some(failures) = self.sessions.get_mut(session.0 as usize) else {
            // Beyond the ids that can exist: nothing to guess, and nowhere to note it.
            return BACK_OFF_MIN;
        };
        let wait = (BACK_OFF_MIN.0 << failures.count.min(DOUBLINGS_MAX)).min(BACK_OFF_MAX.0);
        failures.count = failures.count.saturating_add(1);
        failures.until = now.after(Nanos::from(Millis(wait)));
        Millis(wait)
    }

    /// Forgets the failures of a session that proved who it is.
    pub fn on_success(&mut self, session: SessionId) {
        if let Some(failures) = self.sessions.get_mut(session.0 as usize) {
            *failures = Failures::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_limit_and_is_forgotten() {
        let mut back_offs = BackOffs::default();
        let (session, mut now) = (SessionId(7), Steady(1));
        for expected in [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600] {
            assert_eq!(back_offs.on_failure(session, now), Millis(expected));
            assert_eq!(back_offs.remaining(session, now), Millis(expected));
            now = now.after(Nanos::from(Millis(expected)));
            assert_eq!(back_offs.remaining(session, now), Millis(0));
        }
        for _ in 0..100 {
            assert_eq!(back_offs.on_failure(session, now), BACK_OFF_MAX);
        }
        assert_eq!(back_offs.remaining(SessionId(8), now), Millis(0));
        back_offs.on_success(session);
        assert_eq!(back_offs.on_failure(session, now), BACK_OFF_MIN);
    }

    #[test]
    fn an_id_that_cannot_exist_is_not_kept() {
        let mut back_offs = BackOffs::default();
        let session = SessionId(u32::MAX);
        assert_eq!(back_offs.on_failure(session, Steady(1)), BACK_OFF_MIN);
        assert_eq!(back_offs.remaining(session, Steady(1)), Millis(0));
    }
}
