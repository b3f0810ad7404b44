//! That nobody who logs in changes how the meter runs, and everybody may change his own.

use exahour_settlement::provision::{Machine, MachineKey, Namespace, Provisioner};

use super::support::{Site, on_host, run, spec};

const KEY: MachineKey = MachineKey(9);

/// Every act on another's share of the host that the kernel permits among one user's processes,
/// on each of the threads $T; says which were done.
const MEDDLE: &str = "for t in $T; do \
    prlimit --pid $t --nofile=50:60 && echo limited; \
    taskset -p 1 $t >/dev/null && echo pinned; \
    ionice -c 3 -p $t && echo disk; \
    chrt -b -p 0 $t && echo batched; \
    renice -n 19 -p $t >/dev/null && echo reniced; \
    chrt -i -p 0 $t && echo idled; \
    for f in oom_score_adj=900 coredump_filter=1 clear_refs=1; do \
    (echo ${f#*=} > /proc/$t/${f%=*}) && echo wrote ${f%=*}; done; \
    if [ -e /proc/self/autogroup ]; then (echo 19 > /proc/$t/autogroup) && echo grouped; fi; \
    done; kill -STOP $T";

/// How the threads of process $P run, and within what limits.
const LOOK: &str = "cd /proc/$P && cat limits oom_score_adj coredump_filter comm || exit 1; \
    [ ! -e autogroup ] || sed 's/.*nice/nice/' autogroup; for t in $(ls task); do \
    chrt -p $t; ionice -p $t; grep Cpus_allowed_list task/$t/status; \
    cut -d' ' -f 19 task/$t/stat; done";

/// Nothing that the buyer does to process 1 has an effect.
pub(crate) fn assert_process_1_is_shielded(machine: &Machine) {
    let before = on_host(machine, LOOK);
    let said = run(machine, &format!("T='1 2 3 4'; {MEDDLE}"));
    assert_eq!(said.out, "", "{said:?}");
    for refused in ["prlimit", "taskset", "ionice", "chrt", "renice"] {
        assert!(said.err.contains(refused), "no {refused} here: {said:?}");
    }
    // All of a user's processes at once.
    let said = run(machine, "renice -n 19 -u $(id -u)");
    assert_ne!(said.code, Some(0), "{said:?}");
    let settings = "find /proc/sys -writable; grep -c ' /proc/sys ro,' /proc/self/mountinfo";
    let said = run(machine, settings);
    assert_eq!(said.out, "1\n", "{said:?}");
    assert_eq!(on_host(machine, LOOK), before);
}

#[test]
fn nobody_changes_how_process_1_runs() {
    let mut site = Site::new();
    let machine = site.provider.provision(KEY, &spec()).expect("machine");
    if !machine.isolation.namespaces.contains(&Namespace::Pid) {
        eprintln!("skipped: this host permits only {:?}", machine.isolation);
        return;
    }
    let threads = on_host(
        &machine,
        "grep -h NSpid /proc/$P/task/*/status | awk '{print $NF}'",
    );
    assert_eq!(threads, "1\n2\n3\n4\n", "those that the filter knows");
    if machine.isolation.own_root {
        assert_process_1_is_shielded(&machine);
    }
    let own = run(&machine, &format!("sleep 100 & T=$!; {MEDDLE}; kill -9 $T"));
    if own.err.contains("failed to set") {
        eprintln!("skipped in part: no processor quota, and so no choice of cores: {own:?}");
        return;
    }
    let all = "limited\npinned\ndisk\nbatched\nreniced\nidled\nwrote oom_score_adj\n\
        wrote coredump_filter\nwrote clear_refs\n";
    assert_eq!(own.out.trim_end_matches("grouped\n"), all, "{own:?}");
    site.release(KEY);
}
