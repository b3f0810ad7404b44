//! What a thread does when a turn of its agents found no work.
//!
//! Called by the runner after each turn; written in configurations as `spin`, `yield`,
//! `park:50us` or `backoff`.
//!
//! Always holds: work resets the strategy to its most eager step; no pause is longer than
//! [`PARK_MICROS_MAX`].
//! Does not: wake anybody: a parked thread finds work when its pause ends, or when it is stopped.

use std::fmt;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

/// The longest pause that can be configured, in microseconds: a stopping process waits that long.
pub const PARK_MICROS_MAX: u32 = 1_000_000;

/// Idle turns of `backoff` that only spin.
const BACKOFF_SPINS: u32 = 100;
/// Idle turns of `backoff`, after the spins, that give the core to another thread.
const BACKOFF_YIELDS: u32 = 20;
/// First pause of `backoff`; the kernel's timer slack adds about 50 microseconds to each.
const BACKOFF_PARK_FIRST: Duration = Duration::from_micros(1);
/// Longest pause of `backoff`.
const BACKOFF_PARK_LAST: Duration = Duration::from_millis(1);

/// How an idle thread waits, from the lowest latency to the least use of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleStrategy {
    /// Burns its core: needs one of its own.
    Spin,
    /// Gives the core away whenever another thread wants it.
    Yield,
    /// Sleeps a fixed time.
    Park {
        /// The pause in microseconds, from 1 to [`PARK_MICROS_MAX`].
        micros: u32,
    },
    /// Spins, then yields, then sleeps twice as long each time, up to a millisecond.
    BackOff,
}

impl IdleStrategy {
    /// The strategy at work on one thread.
    pub fn idler(self) -> Idler {
        Idler {
            strategy: self,
            idle_turns: 0,
            pause: BACKOFF_PARK_FIRST,
        }
    }
}

impl fmt::Display for IdleStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdleStrategy::Spin => f.write_str("spin"),
            IdleStrategy::Yield => f.write_str("yield"),
            IdleStrategy::Park { micros } => write!(f, "park:{micros}us"),
            IdleStrategy::BackOff => f.write_str("backoff"),
        }
    }
}

impl FromStr for IdleStrategy {
    type Err = ParseIdleError;

    fn from_str(text: &str) -> Result<IdleStrategy, ParseIdleError> {
        let refused = || ParseIdleError {
            text: text.to_owned(),
        };
        match text {
            "spin" => Ok(IdleStrategy::Spin),
            "yield" => Ok(IdleStrategy::Yield),
            "backoff" => Ok(IdleStrategy::BackOff),
            _ => {
                let number = text
                    .strip_prefix("park:")
                    .and_then(|rest| rest.strip_suffix("us"));
                let micros = number
                    .ok_or_else(refused)?
                    .parse::<u32>()
                    .map_err(|_| refused())?;
                if (1..=PARK_MICROS_MAX).contains(&micros) {
                    Ok(IdleStrategy::Park { micros })
                } else {
                    Err(refused())
                }
            }
        }
    }
}

/// A configuration names an idle strategy that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "idle strategy `{text}` is unknown: write spin, yield, backoff, or park:<n>us \
     with n from 1 to {PARK_MICROS_MAX}"
)]
pub struct ParseIdleError {
    /// The text that was found.
    pub text: String,
}

/// The idling of one thread: counts its idle turns since the last work.
#[derive(Debug)]
pub struct Idler {
    strategy: IdleStrategy,
    idle_turns: u32,
    pause: Duration,
}

impl Idler {
    /// Takes the result of one turn: waits a little if it did nothing, becomes eager if it worked.
    #[inline]
    pub fn on_turn(&mut self, work_count: usize) {
        if work_count > 0 {
            self.reset();
        } else {
            self.idle();
        }
    }

    /// Forgets the idle turns so far.
    #[inline]
    pub fn reset(&mut self) {
        self.idle_turns = 0;
        self.pause = BACKOFF_PARK_FIRST;
    }

    /// Waits as the strategy says; an unpark of the thread ends a pause early.
    #[inline]
    pub fn idle(&mut self) {
        match self.strategy {
            IdleStrategy::Spin => std::hint::spin_loop(),
            IdleStrategy::Yield => thread::yield_now(),
            IdleStrategy::Park { micros } => {
                thread::park_timeout(Duration::from_micros(u64::from(
                    micros.min(PARK_MICROS_MAX),
                )));
            }
            IdleStrategy::BackOff => self.back_off(),
        }
    }

    fn back_off(&mut self) {
        if self.idle_turns < BACKOFF_SPINS {
            self.idle_turns += 1;
            std::hint::spin_loop();
        } else if self.idle_turns < BACKOFF_SPINS + BACKOFF_YIELDS {
            self.idle_turns += 1;
            thread::yield_now();
        } else {
            thread::park_timeout(self.pause);
            self.pause = (self.pause * 2).min(BACKOFF_PARK_LAST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_strategy_convert_both_ways() {
        for text in [
            "spin",
            "yield",
            "park:1us",
            "park:250us",
            "park:1000000us",
            "backoff",
        ] {
            assert_eq!(text.parse::<IdleStrategy>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn unknown_text_is_refused_with_the_choices() {
        for text in [
            "",
            "Spin",
            "park",
            "park:us",
            "park:0us",
            "park:1000001us",
            "park:5ms",
            "-1",
        ] {
            let error = text.parse::<IdleStrategy>().unwrap_err();
            assert_eq!(error.text, text);
            assert!(
                error.to_string().contains("write spin, yield, backoff"),
                "{error}"
            );
        }
    }

    #[test]
    fn back_off_becomes_patient_and_work_makes_it_eager_again() {
        let mut idler = IdleStrategy::BackOff.idler();
        for _ in 0..BACKOFF_SPINS + BACKOFF_YIELDS {
            idler.on_turn(0);
        }
        assert_eq!(idler.pause, BACKOFF_PARK_FIRST);
        for _ in 0..12 {
            idler.on_turn(0);
        }
        assert_eq!(idler.pause, BACKOFF_PARK_LAST);
        idler.on_turn(1);
        assert_eq!((idler.idle_turns, idler.pause), (0, BACKOFF_PARK_FIRST));
    }
}
