//! The atomics of the lock-free parts: std's in a normal build, loom's under `--cfg loom`.
//!
//! Called by `ring` and `watermark`, and by the loom models, which replace the real memory by a
//! checked one.
//!
//! Always holds: each store and load that another thread synchronises with is named by a [`Site`],
//! so that a model can weaken exactly one of them and show that the proof then fails.
//! Does not: serve the runner, whose stop flag is ordinary std code.

#[cfg(loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::{Arc, atomic::AtomicU64},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{Arc, atomic::AtomicU64};

use std::sync::atomic::Ordering;

/// A place where one thread hands memory to another; its ordering is part of the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// The producer's store of its cursor: hands the written slots to the consumer.
    TailPublish,
    /// The consumer's load of the producer's cursor.
    TailObserve,
    /// The consumer's store of its cursor: hands the read slots back to the producer.
    HeadPublish,
    /// The producer's load of the consumer's cursor.
    HeadObserve,
    /// The writer's store of a watermark: hands over everything written below it.
    MarkPublish,
    /// A reader's load of a watermark.
    MarkObserve,
}

impl Site {
    /// The ordering used at this place: release where it publishes, acquire where it observes.
    #[inline(always)]
    pub(crate) fn ordering(self) -> Ordering {
        #[cfg(loom)]
        if weaken::weakened() == Some(self) {
            return Ordering::Relaxed;
        }
        match self {
            Site::TailPublish | Site::HeadPublish | Site::MarkPublish => Ordering::Release,
            Site::TailObserve | Site::HeadObserve | Site::MarkObserve => Ordering::Acquire,
        }
    }
}

/// Breaks one ordering on purpose, so that the models are known to be able to fail.
#[cfg(loom)]
pub mod weaken {
    use super::Site;
    use std::cell::Cell;

    // Loom runs all its threads on the thread that called `loom::model`, so a thread-local of std
    // holds for one whole model and for no other test.
    std::thread_local! {
        static WEAKENED: Cell<Option<Site>> = const { Cell::new(None) };
    }

    /// Makes `site` relaxed for every model that this thread runs from now on.
    pub fn weaken(site: Site) {
        WEAKENED.set(Some(site));
    }

    pub(super) fn weakened() -> Option<Site> {
        WEAKENED.get()
    }
}

/// std's cell behind loom's interface: access is by closure, so that loom can check each one.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> UnsafeCell<T> {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}
