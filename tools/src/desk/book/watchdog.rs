//! Whether a watched feed is heard: the moments at which it is lost, and at which it is back.
//!
//! Called by `book` after each look at its source.
//!
//! Always holds: lost and back take turns; a feed is lost as soon as its connection is, or when nothing,
//! not even a sign of life, was heard for [`SILENCE_MAX`].

use exahour_gateway::clock::Steady;
use exahour_gateway::feed::peers::HEARTBEAT_AFTER;
use exahour_wire::units::Nanos;

/// Silence after which a feed, or one of its lines, counts as lost: several signs of life are missing.
const SILENCE_MAX: Nanos = Nanos(3 * HEARTBEAT_AFTER.0);

/// Whether something is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
    Heard,
    Lost,
}

/// What has changed: of the feed, or of one of its lines, A or B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) line: Option<char>,
    pub(super) hearing: Hearing,
}

/// What one look at the source has shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Messages or packets that came.
    pub(super) count: usize,
    pub(super) connected: bool,
    /// Packets of each line so far, where there are lines.
    pub(super) packets: Option<[u64; 2]>,
}

/// Remembers when what was heard.
#[derive(Debug)]
pub(super) struct Watchdog {
    feed: Ear,
    lines: [Ear; 2],
    packets: [u64; 2],
}

impl Watchdog {
    /// Counts silence from now on.
    pub(super) fn new(now: Steady) -> Self {
        Self {
            feed: Ear::new(now),
            lines: [Ear::new(now), Ear::new(now)],
            packets: [0; 2],
        }
    }

    /// Takes a look into account; gives what has changed.
    pub(super) fn observe(&mut self, now: Steady, look: Look) -> Vec<News> {
        let mut news = Vec::new();
        let mut note = |line, hearing: Option<Hearing>| {
            news.extend(hearing.map(|hearing| News { line, hearing }));
        };
        let heard = look.count > 0 && look.connected;
        note(None, self.feed.listen(now, heard, look.connected));
        if let Some(packets) = look.packets {
            for (place, name) in ['A', 'B'].into_iter().enumerate() {
                let heard = packets[place] != self.packets[place];
                note(Some(name), self.lines[place].listen(now, heard, true));
            }
            self.packets = packets;
        }
        news
    }
}

/// One thing that is listened to.
#[derive(Debug)]
struct Ear {
    heard_at: Steady,
    hearing: Hearing,
}

impl Ear {
    fn new(now: Steady) -> Self {
        Self {
            heard_at: now,
            hearing: Hearing::Heard,
        }
    }

    /// What has become of it, if that is news.
    fn listen(&mut self, now: Steady, heard: bool, connected: bool) -> Option<Hearing> {
        if heard {
            self.heard_at = now;
        }
        let silent = now > self.heard_at.after(SILENCE_MAX);
        let hearing = match self.hearing {
            Hearing::Heard if silent || !connected => Hearing::Lost,
            Hearing::Lost if heard => Hearing::Heard,
            _ => return None,
        };
        self.hearing = hearing;
        Some(hearing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = Nanos::SECOND;

    fn news(dog: &mut Watchdog, now: Steady, look: Look) -> Vec<(Option<char>, Hearing)> {
        let told = dog.observe(now, look).into_iter();
        told.map(|it| (it.line, it.hearing)).collect()
    }

    fn look(count: usize, connected: bool) -> Look {
        Look {
            count,
            connected,
            packets: None,
        }
    }

    #[test]
    fn a_feed_is_lost_with_its_connection_or_by_silence() {
        let start = Steady::default();
        let mut dog = Watchdog::new(start);
        let lost = [(None, Hearing::Lost)];
        let back = [(None, Hearing::Heard)];
        assert_eq!(news(&mut dog, start.after(SECOND), look(1, true)), []);
        assert_eq!(news(&mut dog, start.after(SECOND), look(0, false)), lost);
        // It is told once, and a connection over which nothing comes yet is not back.
        assert_eq!(news(&mut dog, start.after(SECOND), look(0, false)), []);
        assert_eq!(news(&mut dog, start.after(SECOND), look(0, true)), []);
        assert_eq!(news(&mut dog, start.after(SECOND), look(2, true)), back);
        let silent = start.after(SECOND).after(SILENCE_MAX);
        assert_eq!(news(&mut dog, silent, look(0, true)), []);
        let longer = silent.after(Nanos(1));
        assert_eq!(news(&mut dog, longer, look(0, true)), lost);
        assert_eq!(news(&mut dog, longer, look(1, true)), back);
    }

    #[test]
    fn each_line_is_heard_by_itself() {
        let start = Steady::default();
        let mut dog = Watchdog::new(start);
        let at = |packets| Look {
            count: 1,
            connected: true,
            packets: Some(packets),
        };
        let late = start.after(SILENCE_MAX).after(Nanos(1));
        let lost = [(Some('B'), Hearing::Lost)];
        assert_eq!(news(&mut dog, late, at([5, 0])), lost);
        assert_eq!(news(&mut dog, late, at([6, 0])), []);
        let back = [(Some('B'), Hearing::Heard)];
        assert_eq!(news(&mut dog, late, at([7, 1])), back);
    }
}
