//! What the traders and the rounds share: which node lives, and when it is to die.
//!
//! Always holds: a kill falls on a counted moment (a message sent, or a report told), in the thread
//! that reaches it, with everything else in flight.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::node::PATIENCE;

/// No kill is planned.
const NEVER: u64 = u64::MAX;

struct Life {
    number: u32,
    address: SocketAddr,
    dead: bool,
    arrived: usize,
    gathered: usize,
}

/// Shared by all threads of a test.
pub(crate) struct Arena {
    traders: usize,
    life: Mutex<Life>,
    changed: Condvar,
    moments: AtomicU64,
    kill_at: AtomicU64,
    /// How long to let the node go on between that moment and the kill, in nanoseconds.
    linger_ns: AtomicU64,
    process: AtomicI32,
    stopping: AtomicBool,
    failed: AtomicBool,
}

impl Arena {
    pub(crate) fn new(traders: usize, process: Pid, address: SocketAddr) -> Self {
        let life = Life {
            number: 1,
            address,
            dead: false,
            arrived: 0,
            gathered: 0,
        };
        Self {
            traders,
            life: Mutex::new(life),
            changed: Condvar::new(),
            moments: AtomicU64::new(0),
            kill_at: AtomicU64::new(NEVER),
            linger_ns: AtomicU64::new(0),
            process: AtomicI32::new(process.as_raw()),
            stopping: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        }
    }

    /// The node that lives, or lived last.
    pub(crate) fn life(&self) -> (u32, SocketAddr) {
        let life = self.lock();
        (life.number, life.address)
    }

    /// Waits for a node later than `after`.
    pub(crate) fn await_life(&self, after: u32) -> (u32, SocketAddr) {
        self.wait("another node", |life| life.number > after);
        self.life()
    }

    pub(crate) fn is_dead(&self, number: u32) -> bool {
        let life = self.lock();
        life.number > number || life.dead
    }

    /// Says that the node is dead.
    pub(crate) fn on_dead(&self) {
        self.lock().dead = true;
    }

    /// Says that a new node serves.
    pub(crate) fn on_serving(&self, process: Pid, address: SocketAddr) {
        self.process.store(process.as_raw(), Ordering::SeqCst);
        let mut life = self.lock();
        life.number += 1;
        life.address = address;
        life.dead = false;
        self.changed.notify_all();
    }

    /// Plans a kill, so many moments from now and a little later.
    pub(crate) fn plan_kill(&self, moments: u64, linger: Duration) {
        let now = self.moments.load(Ordering::SeqCst);
        let linger = u64::try_from(linger.as_nanos()).unwrap();
        self.linger_ns.store(linger, Ordering::SeqCst);
        self.kill_at.store(now + moments, Ordering::SeqCst);
    }

    /// A moment: the node dies here if it is the one.
    pub(crate) fn moment(&self) {
        let now = self.moments.fetch_add(1, Ordering::SeqCst) + 1;
        if now < self.kill_at.load(Ordering::SeqCst)
            || self.kill_at.swap(NEVER, Ordering::SeqCst) == NEVER
        {
            return;
        }
        let begun = Instant::now();
        let linger = Duration::from_nanos(self.linger_ns.load(Ordering::SeqCst));
        while begun.elapsed() < linger {
            std::hint::spin_loop();
        }
        // Nobody has waited for the process yet, so the number is still its own.
        kill(
            Pid::from_raw(self.process.load(Ordering::SeqCst)),
            Signal::SIGKILL,
        )
        .unwrap();
    }

    /// One more trader is connected.
    pub(crate) fn arrive(&self) {
        self.lock().arrived += 1;
        self.changed.notify_all();
    }

    /// Waits until all traders are connected.
    pub(crate) fn await_arrived(&self) {
        self.wait("all traders", |life| life.arrived == self.traders);
    }

    /// One more trader has all its answers; waits for the others.
    pub(crate) fn gather(&self) {
        self.lock().gathered += 1;
        self.changed.notify_all();
        self.wait("all answers", |life| life.gathered == self.traders);
    }

    /// Asks the traders to come to an end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Fails where a trader, or the rounds, have failed.
    pub(crate) fn check(&self) {
        assert!(!self.failed.load(Ordering::SeqCst), "another thread failed");
    }

    /// Tells the others if this thread ends by a panic.
    pub(crate) fn watch(&self) -> Watch<'_> {
        Watch(self)
    }

    /// The life, also where another thread failed while it held it.
    fn lock(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, what: &str, come: impl Fn(&Life) -> bool) {
        let end = Instant::now() + PATIENCE;
        let mut life = self.lock();
        while !come(&life) {
            self.check();
            assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
            let waited = self.changed.wait_timeout(life, Duration::from_millis(100));
            life = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Tells the arena of a panic.
pub(crate) struct Watch<'a>(&'a Arena);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed.store(true, Ordering::SeqCst);
            self.0.stop();
        }
    }
}
