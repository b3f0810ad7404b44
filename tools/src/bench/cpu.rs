//! The time a thread has really computed: what a shared machine leaves comparable.

use std::time::Duration;

/// CPU time of the calling thread.
#[must_use]
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec for the call to fill, and the clock id is one that every
    // Linux kernel has.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert!(answer == 0);
    // A thread's CPU time is never negative.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
