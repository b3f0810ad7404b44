//! That a buyer who takes all he can get does not delay the beats that his seller is paid by.

use std::time::Duration;

use exahour_settlement::provision::{
    Limits, LocalProvider, MachineKey, MachineSpec, Millicores, Provisioner,
};

use super::support::{Site, config, run, spec, wait_until};

const KEY: MachineKey = MachineKey(8);

/// Loads a machine with a command that returns, and sees that every beat since is on time.
fn assert_beats_on_time(asked: &MachineSpec, load: &str) {
    let mut site = Site::new();
    let mut ordinary = config(site.dir.path());
    ordinary.beat_period = Duration::from_secs(1);
    let mut provider = LocalProvider::open(ordinary).expect("provider");
    let machine = provider.provision(KEY, asked).expect("machine");
    if machine.isolation.limits == Limits::Rlimits {
        eprintln!("skipped: no cgroups here, the meter has nothing for itself");
        return;
    }
    // A shell that is killed because the memory is full has done its work.
    eprintln!("loaded: {:?}", run(&machine, load));
    // What process 1 needs to let somebody in is its own, even if he gets no further.
    for _ in 0..3 {
        eprintln!("another login: {:?}", run(&machine, "true"));
    }
    let before = provider.beats(KEY).expect("beats").len();
    wait_until("eight more beats are there", || {
        provider.beats(KEY).expect("beats").len() >= before + 8
    });
    let beats = provider.beats(KEY).expect("beats");
    let intervals: Vec<u64> = beats
        .windows(2)
        .map(|pair| (pair[1].mono_ns - pair[0].mono_ns) / 1_000_000)
        .collect();
    eprintln!("intervals: {intervals:?} ms");
    let intent = provider.folder(KEY).intent().expect("intent");
    let rule = provider.rule(&intent.expect("something was asked for"));
    let longest = rule.interval_max_ns / 1_000_000;
    assert!(intervals.iter().all(|i| *i <= longest), "{intervals:?}");
    // Nor is the meter throttled with the buyer: then few of them would be a second long.
    let even = intervals.iter().filter(|i| (900..=1_100).contains(*i));
    assert!(even.count() * 4 >= intervals.len() * 3, "{intervals:?}");
    site.release(KEY);
}

#[test]
fn hundreds_of_busy_processes_delay_no_beat() {
    let mut asked = spec();
    asked.memory_bytes = 512 << 20;
    asked.cpu_share = Millicores(500);
    // All wait at a gate, which lets each in with a line: started one by one, the first would keep
    // the last from starting.
    let load = "mkfifo gate; exec 3<>gate; i=0; while [ $i -lt 600 ]; do \
        (read x <&3; while :; do :; done) >/dev/null 2>&1 & i=$((i+1)); done; \
        i=0; while [ $i -lt 600 ]; do echo >&3; i=$((i+1)); done";
    assert_beats_on_time(&asked, load);
}

#[test]
fn the_smallest_machine_loses_no_beat_to_memory_that_is_never_enough() {
    let mut asked = spec();
    asked.memory_bytes = 64 << 20;
    asked.cpu_share = Millicores(20);
    // Each takes more than there is, is killed, and begins anew.
    let load = "for i in 1 2 3 4 5 6; do \
        (while :; do tail -c 200000000 /dev/zero; done) >/dev/null 2>&1 & done";
    assert_beats_on_time(&asked, load);
}

#[test]
fn memory_full_of_files_delays_no_beat_and_no_login_ends_the_machine() {
    let load = "for f in ~/f /tmp/f /dev/shm/f; do head -c 90000000 /dev/zero > $f; done";
    assert_beats_on_time(&spec(), load);
}
