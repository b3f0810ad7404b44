//! That nobody who logs in changes how the meter runs, and everybody may change his own.

use exahour_settlement::provision::{Machine, MachineKey, Namespace, Provisioner};

use super::support::{Site, run, spec};

const KEY: MachineKey = MachineKey(9);

/// Every act on another's share of the host that the kernel permits among one user's processes,
/// on each thread of process $P; says which were done.
const MEDDLE: &str = "for t in $(ls /proc/$P/task); do \
    prlimit --pid $t --nofile=50:60 && echo limited; \
    taskset -p 1 $t >/dev/null && echo pinned; \
    ionice -c 3 -p $t && echo disk; \
    chrt -b -p 0 $t && echo batched; \
    renice -n 19 -p $t >/dev/null && echo reniced; \
    chrt -i -p 0 $t && echo idled; \
    done; kill -STOP $(ls /proc/$P/task)";

/// How the threads of process 1 run, and within what limits.
const LOOK: &str = "cat /proc/1/limits; for t in $(ls /proc/1/task); do \
    chrt -p $t; ionice -p $t; grep Cpus_allowed_list /proc/1/task/$t/status; \
    cut -d' ' -f 19 /proc/1/task/$t/stat; done";

/// Nothing that the buyer does to process 1 has an effect.
pub(crate) fn assert_process_1_is_shielded(machine: &Machine) {
    let before = run(machine, LOOK);
    assert_eq!(before.code, Some(0), "{before:?}");
    let said = run(machine, &format!("P=1; {MEDDLE}"));
    assert_eq!(said.out, "", "{said:?}");
    for refused in ["prlimit", "taskset", "ionice", "chrt", "renice"] {
        assert!(said.err.contains(refused), "no {refused} here: {said:?}");
    }
    // All of a user's processes at once.
    let said = run(machine, "renice -n 19 -u $(id -u)");
    assert_ne!(said.code, Some(0), "{said:?}");
    assert_eq!(run(machine, LOOK), before);
}

#[test]
fn nobody_changes_how_process_1_runs() {
    let mut site = Site::new();
    let machine = site.provider.provision(KEY, &spec()).expect("machine");
    if !machine.isolation.namespaces.contains(&Namespace::Pid) {
        eprintln!("skipped: this host permits only {:?}", machine.isolation);
        return;
    }
    let threads = run(&machine, "ls /proc/1/task");
    assert_eq!(threads.out, "1\n2\n3\n4\n", "those that the filter knows");
    assert_process_1_is_shielded(&machine);
    let own = run(&machine, &format!("sleep 100 & P=$!; {MEDDLE}; kill -9 $P"));
    if own.err.contains("failed to set") {
        eprintln!("skipped in part: no processor quota, and so no choice of cores: {own:?}");
        return;
    }
    let all = "limited\npinned\ndisk\nbatched\nreniced\nidled\n";
    assert_eq!(own.out, all, "{own:?}");
    site.release(KEY);
}
