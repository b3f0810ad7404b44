//! What the clients of the torture and its rounds share: how much was answered, and since when.
//!
//! Always holds: an outage ends with the first answer to a message that was sent after it began: what the old
//! leader had said already does not count.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Shared by all threads of a torture.
pub(super) struct Load {
    answers: AtomicU64,
    stopping: AtomicBool,
    abandoned: AtomicBool,
    hurrying: AtomicBool,
    failure: Mutex<Option<anyhow::Error>>,
    outage: Mutex<Option<Outage>>,
    gathered: Mutex<usize>,
    clients: usize,
    promise: Promise,
}

/// How soon the exchange is to answer, whatever is done to its nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    /// From the end of what is done, to the first answer to something sent after it began.
    pub(super) within: Duration,
    /// Between two messages, of all clients together.
    pub(super) pace: Duration,
}

impl Promise {
    /// How long so many answers may take.
    pub(super) fn span_of(&self, answers: u64) -> Duration {
        let sending = u32::try_from(answers).map(|answers| self.pace.saturating_mul(answers));
        self.within.saturating_add(sending.unwrap_or(Duration::MAX))
    }
}

/// Since when nobody is known to be answered.
struct Outage {
    began: Instant,
    /// An answer to what was sent before may still be the old leader's.
    counts_from: Instant,
    /// How long after.
    ended: Option<Duration>,
}

impl Load {
    pub(super) fn new(clients: usize, promise: Promise) -> Self {
        Self {
            answers: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            hurrying: AtomicBool::new(false),
            failure: Mutex::new(None),
            outage: Mutex::new(None),
            gathered: Mutex::new(0),
            clients,
            promise,
        }
    }

    /// How soon there are to be answers.
    pub(super) fn promise(&self) -> Promise {
        self.promise
    }

    /// Messages answered so far, by all clients.
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// A message that was sent then has its answer.
    pub(super) fn on_answer(&self, sent_at: Instant) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        if let Some(outage) = &mut *lock(&self.outage)
            && outage.ended.is_none()
            && sent_at > outage.counts_from
        {
            outage.ended = Some(outage.began.elapsed());
        }
    }

    /// Something happened, which began then and is complete now: an answer to what is sent from now on is news.
    pub(super) fn begin_outage(&self, began: Instant) {
        *lock(&self.outage) = Some(Outage {
            began,
            counts_from: Instant::now(),
            ended: None,
        });
    }

    /// How long it took until an answer came.
    pub(super) fn outage(&self) -> Option<Duration> {
        lock(&self.outage).as_ref()?.ended
    }

    /// Lets the clients send as fast as they are answered, or at their pace again.
    pub(super) fn hurry(&self, hurrying: bool) {
        self.hurrying.store(hurrying, Ordering::Relaxed);
    }

    pub(super) fn hurrying(&self) -> bool {
        self.hurrying.load(Ordering::Relaxed)
    }

    /// Asks the clients to come to their end.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Tells everybody that it is over before its end.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// The same, and why: the first reason counts, and none that only follows from it.
    pub(super) fn fail(&self, error: anyhow::Error) {
        if !self.abandoned.swap(true, Ordering::Relaxed) {
            *lock(&self.failure) = Some(error);
        }
    }

    /// Why it is over before its end, told once.
    pub(super) fn take_failure(&self) -> Option<anyhow::Error> {
        lock(&self.failure).take()
    }

    /// Ends who goes on where somebody has failed.
    ///
    /// # Errors
    /// Then.
    pub(super) fn check_abandoned(&self) -> Result<()> {
        if self.abandoned.load(Ordering::Relaxed) {
            bail!("the torture was abandoned");
        }
        Ok(())
    }

    /// One more client has all its answers; waits for the others.
    ///
    /// # Errors
    /// Where somebody has failed meanwhile.
    pub(super) fn gather(&self) -> Result<()> {
        *lock(&self.gathered) += 1;
        while *lock(&self.gathered) < self.clients {
            self.check_abandoned()?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// What is guarded, also where another thread has failed while it held it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMISE: Promise = Promise {
        within: Duration::from_secs(1),
        pace: Duration::from_millis(10),
    };

    #[test]
    fn many_answers_may_take_as_long_as_what_they_answer_takes_to_send() {
        assert_eq!(PROMISE.span_of(0), Duration::from_secs(1));
        assert_eq!(PROMISE.span_of(300), Duration::from_secs(4));
    }

    #[test]
    fn the_first_reason_counts_and_none_follows_from_an_end() {
        let load = Load::new(2, PROMISE);
        load.fail(anyhow::anyhow!("one"));
        load.fail(anyhow::anyhow!("two"));
        assert_eq!(load.take_failure().unwrap().to_string(), "one");
        assert!(load.check_abandoned().is_err());
        let load = Load::new(2, PROMISE);
        load.abandon();
        load.fail(anyhow::anyhow!("it was abandoned"));
        assert!(load.take_failure().is_none());
    }

    #[test]
    fn an_outage_ends_with_an_answer_to_what_was_sent_in_it() {
        let load = Load::new(1, PROMISE);
        let before = Instant::now();
        load.begin_outage(before);
        load.on_answer(before);
        assert_eq!((load.answers(), load.outage()), (1, None));
        let after = Instant::now() + Duration::from_nanos(1);
        load.on_answer(after);
        let first = load.outage().unwrap();
        load.on_answer(after);
        assert_eq!((load.answers(), load.outage()), (3, Some(first)));
        load.begin_outage(Instant::now());
        assert_eq!(load.outage(), None);
    }
}
