//! That the bounds of a machine hold, and that they bound nothing else.

use std::time::Instant;

use exahour_settlement::provision::{Limits, MachineKey, Millicores, Provisioner};

use super::support::{Site, run, spec};

const KEY: MachineKey = MachineKey(2);

#[test]
fn a_memory_hog_dies_inside_and_the_machine_lives_on() {
    let mut site = Site::new();
    let mut small = spec();
    small.memory_bytes = 64 << 20;
    let machine = site.provider.provision(KEY, &small).expect("machine");
    // One line of 400 MB has to be held whole; then a sign that the rest still works.
    let hog =
        "head -c 400000000 /dev/zero | tail -c 300000000 | wc -c; echo status ${PIPESTATUS[*]}";
    let said = run(&machine, &format!("exec bash -c '{hog}'"));
    assert!(
        !said.out.contains("300000000"),
        "the hog got its memory: {said:?}"
    );
    assert_eq!(run(&machine, "echo alive").out, "alive\n");
    let measured = site.provider.measure(KEY).expect("measure");
    assert!(measured.alive && measured.ssh_banner_ok);
    if machine.isolation.limits == Limits::Rlimits {
        eprintln!("skipped: no cgroups here, memory is bounded for each process only");
    } else {
        assert!(measured.memory_bytes <= small.memory_bytes, "{measured:?}");
    }
    site.release(KEY);
}

#[test]
fn a_spinner_gets_its_share_and_no_more() {
    let mut site = Site::new();
    let mut slow = spec();
    slow.cpu_share = Millicores(200);
    let machine = site.provider.provision(KEY, &slow).expect("machine");
    if machine.isolation.limits == Limits::Rlimits {
        eprintln!("skipped: no cgroups here, processor time has no quota");
        return;
    }
    let before = site.provider.measure(KEY).expect("measure");
    let begun = Instant::now();
    let spinners = "for i in 1 2 3; do timeout 2 sh -c 'while :; do :; done' & done; wait";
    run(&machine, spinners);
    let elapsed_ns = u64::try_from(begun.elapsed().as_nanos()).expect("short");
    let after = site.provider.measure(KEY).expect("measure");
    let used_ns = after.cpu_used_ns - before.cpu_used_ns;
    let millicores = u128::from(used_ns) * 1_000 / u128::from(elapsed_ns);
    eprintln!("promised 200 millicores, used {millicores}");
    // From below it depends on who else uses the host; from above it does not.
    assert!((20..=260).contains(&millicores), "{millicores}");
    site.release(KEY);
}

#[test]
fn processes_cannot_multiply_without_end() {
    let mut site = Site::new();
    // Enough memory and time that the bound on processes is met first.
    let mut roomy = spec();
    roomy.memory_bytes = 1 << 30;
    roomy.cpu_share = Millicores(2_000);
    let machine = site.provider.provision(KEY, &roomy).expect("machine");
    if machine.isolation.limits == Limits::Rlimits {
        eprintln!("skipped: no cgroups here, processes are not counted");
        return;
    }
    let many = "n=0; while [ $n -lt 3000 ]; do sleep 30 >/dev/null 2>&1 & n=$((n+1)); done";
    let said = run(&machine, &format!("({many}) 2>&1; kill -9 -1"));
    assert!(
        said.out.contains("fork"),
        "3000 processes were allowed: {said:?}"
    );
    assert_eq!(run(&machine, "echo alive").out, "alive\n");
    site.release(KEY);
}
