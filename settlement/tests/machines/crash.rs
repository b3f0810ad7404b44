//! That a crash of anybody at any moment leaves one machine for one key, never two, never none.
//!
//! The caller is killed at every boundary of every system call it makes, found with ptrace: what
//! a process does between two of them, nobody else can see. Guests are killed at seeded moments.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use exahour_settlement::provision::{
    Machine, MachineKey, MachineSpec, Namespace, ProvisionError, Provisioner,
};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::support::{Site, insides, marked, now_ns, processes_of, run, spec, wait_until};

/// Longest time a whole sweep should take, before it takes larger steps.
fn sweep_budget() -> Duration {
    Duration::from_secs(match std::env::var_os("EXAHOUR_LONG") {
        Some(_) => 180,
        None => 24,
    })
}

/// A process of its own that does one act on one machine.
fn caller(site: &Site, spec: &MachineSpec, act: &str, key: MachineKey) -> Command {
    let file = site.dir.path().join(format!("spec-{key}.json"));
    if !file.exists() {
        fs::write(&file, serde_json::to_vec(spec).expect("spec")).expect("spec");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_exahour-settlement"));
    command
        .args(["machine", "--dir"])
        .arg(site.dir.path())
        .args([act, &key.to_string()])
        .stdin(fs::File::open(file).expect("spec"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// How a traced caller ended.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Killed,
    Finished,
}

/// Starts a caller and kills it at the `stop`-th entry to or exit from a system call, counted
/// from when the path `from` exists: what it does before concerns nobody.
fn kill_at(mut command: Command, from: &Path, stop: u32) -> Fate {
    // SAFETY: between fork and exec the child makes one system call and touches no memory.
    unsafe {
        command.pre_exec(|| ptrace::traceme().map_err(std::io::Error::from));
    }
    let mut child = command.spawn().expect("caller");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("pid"));
    assert_eq!(
        waitpid(pid, None).expect("wait"),
        WaitStatus::Stopped(pid, Signal::SIGTRAP)
    );
    let mut stops = 0;
    let mut pass = None;
    while stops < stop {
        ptrace::syscall(pid, pass).expect("step");
        pass = None;
        match waitpid(pid, None).expect("wait") {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {
                stops += u32::from(stops > 0 || from.exists())
            }
            WaitStatus::Stopped(_, other) => pass = Some(other),
            WaitStatus::Exited(_, 0) => break,
            other => panic!("the caller failed: {other:?}"),
        }
    }
    let fate = match stops < stop {
        true => Fate::Finished,
        false => Fate::Killed,
    };
    // Already waited for when it finished, which is no error.
    let _ = child.kill();
    let _ = child.wait();
    fate
}

/// There is exactly one machine, it answers, and asking again changes nothing.
fn assert_one(site: &mut Site, spec: &MachineSpec, key: MachineKey, when: &str) -> Machine {
    let machine = site
        .provider
        .provision(key, spec)
        .unwrap_or_else(|e| panic!("{when}: {e}"));
    let nonce = site
        .provider
        .folder(key)
        .intent()
        .expect("intent")
        .expect("there")
        .nonce;
    assert_eq!(insides(&nonce).len(), 1, "{when}");
    assert_eq!(site.provider.list().expect("list"), [key], "{when}");
    assert_eq!(
        site.provider.provision(key, spec).expect("again"),
        machine,
        "{when}"
    );
    let measured = site.provider.measure(key).expect("measure");
    assert!(
        measured.alive && measured.ssh_banner_ok,
        "{when}: {measured:?}"
    );
    machine
}

#[test]
fn a_caller_killed_at_any_system_call_leaves_one_machine() {
    let mut site = Site::new();
    let spec = spec();
    let begun = Instant::now();
    let (mut stop, mut points, mut step) = (1, 0, 1);
    loop {
        let key = MachineKey(u64::from(stop));
        let from = site.provider.folder(key).path().to_owned();
        let fate = kill_at(caller(&site, &spec, "provision", key), &from, stop);
        let when = format!("caller killed at stop {stop}");
        assert_one(&mut site, &spec, key, &when);
        if stop % 16 == 1 {
            let said = run(
                &site.provider.inspect(key).expect("inspect").expect("up"),
                "echo in",
            );
            assert_eq!(said.out, "in\n", "{when}");
        }
        site.release(key);
        points += 1;
        if fate == Fate::Finished {
            break;
        }
        // The first and densest part is always swept one by one.
        if begun.elapsed() > sweep_budget() / 2 {
            step = 7;
        }
        stop += step;
        assert!(
            begun.elapsed() < sweep_budget() * 8,
            "the sweep takes too long"
        );
    }
    eprintln!(
        "{points} points swept, of {stop} stops, in {:?}",
        begun.elapsed()
    );
    assert!(points > 50, "only {points} points: was anything traced?");
}

#[test]
fn a_caller_killed_in_a_release_leaves_a_key_that_can_be_released() {
    let mut site = Site::new();
    let spec = spec();
    let begun = Instant::now();
    let mut stop = 1;
    loop {
        let key = MachineKey(1_000 + u64::from(stop));
        site.provider.provision(key, &spec).expect("machine");
        // The folder is there already; the program's own start is skipped by its first lock.
        let from = site.provider.folder(key).path().to_owned();
        let fate = kill_at(caller(&site, &spec, "release", key), &from, stop);
        // Either it had no effect yet and can be used, or the key is refused; never in between.
        let after = site.provider.provision(key, &spec);
        assert!(
            matches!(after, Ok(_) | Err(ProvisionError::Released { .. })),
            "stop {stop}: {after:?}"
        );
        site.release(key);
        if fate == Fate::Finished {
            break;
        }
        stop += 11;
        assert!(
            begun.elapsed() < sweep_budget() * 8,
            "the sweep takes too long"
        );
    }
    eprintln!("{stop} stops swept by elevens in {:?}", begun.elapsed());
}

#[test]
fn a_supervisor_killed_at_any_system_call_leaves_one_machine() {
    let mut site = Site::new();
    let spec = spec();
    let (begun, mut stop, mut after_listening) = (Instant::now(), 1, 0);
    while after_listening < 8 {
        let key = MachineKey(3_000 + u64::from(stop));
        let folder = site.provider.folder(key);
        // A caller that dies right after it has written what it wants.
        let intent = folder.file("intent.json");
        kill_at(caller(&site, &spec, "provision", key), &intent, 1);
        let mut supervisor = Command::new(env!("CARGO_BIN_EXE_exahour-settlement"));
        supervisor
            .args(["machine-guest", "supervise"])
            .arg(folder.path());
        supervisor
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        kill_at(supervisor, &folder.file("lock"), stop);
        after_listening += u32::from(folder.file("machine.json").exists());
        assert_one(
            &mut site,
            &spec,
            key,
            &format!("supervisor killed at stop {stop}"),
        );
        site.release(key);
        stop += 3;
        assert!(
            begun.elapsed() < sweep_budget() * 8,
            "the sweep takes too long"
        );
    }
    eprintln!("{stop} stops swept by threes in {:?}", begun.elapsed());
}

#[test]
fn the_machine_outlives_its_caller_and_is_found_again() {
    let mut site = Site::new();
    let spec = spec();
    let key = MachineKey(5);
    let status = caller(&site, &spec, "provision", key)
        .status()
        .expect("caller");
    assert!(status.success());
    // The caller is gone; a new one finds the orphan by looking.
    assert_eq!(site.provider.list().expect("list"), [key]);
    let machine = assert_one(&mut site, &spec, key, "caller gone");
    assert_eq!(run(&machine, "echo still").out, "still\n");
    site.release(key);
}

#[test]
fn callers_at_the_same_time_get_one_machine() {
    let mut site = Site::new();
    let spec = spec();
    for round in 0..4 {
        let key = MachineKey(100 + round);
        let start = |_| {
            caller(&site, &spec, "provision", key)
                .spawn()
                .expect("caller")
        };
        let callers: Vec<Child> = (0..4).map(start).collect();
        for caller in callers {
            let output = caller.wait_with_output().expect("wait");
            assert!(output.status.success(), "round {round}: {output:?}");
        }
        assert_one(&mut site, &spec, key, "four callers");
        site.release(key);
    }
}

/// Kills a process of this test's own machines and waits until it is no more than a zombie.
fn kill_and_wait(pid: i32) {
    // It was listed a moment ago; gone by now is fine.
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    wait_until("the victim is dead", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .is_none_or(|state| state.is_empty() || state.starts_with('Z'))
    });
}

/// A small generator of seeded choices.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn guests_killed_at_any_moment_come_back_as_one() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(now_ns());
    eprintln!("SEED={seed}");
    let mut chance = Seeded(seed);
    let mut site = Site::new();
    let spec = spec();
    for round in 0..30 {
        let key = MachineKey(200 + round);
        let mut caller = caller(&site, &spec, "provision", key)
            .spawn()
            .expect("caller");
        let folder = site.provider.folder(key).path().display().to_string();
        wait_until("something runs", || !processes_of(&folder).is_empty());
        std::thread::sleep(Duration::from_micros(chance.below(60_000)));
        // Any of: launcher, supervisor, process 1.
        let mut victims: BTreeSet<i32> = processes_of(&folder).into_iter().collect();
        if let Some(intent) = site.provider.folder(key).intent().expect("intent") {
            victims.extend(marked(&intent.nonce));
        }
        let victims: Vec<i32> = victims.into_iter().collect();
        if !victims.is_empty() {
            let chosen = chance.below(u64::try_from(victims.len()).expect("few"));
            let victim = victims[usize::try_from(chosen).expect("few")];
            kill_and_wait(victim);
        }
        // The caller may have been told that its guest died under it.
        caller.wait().expect("wait");
        assert_one(&mut site, &spec, key, &format!("SEED={seed} round {round}"));
        site.release(key);
    }
}

#[test]
fn a_machine_that_was_killed_comes_back_with_the_same_key_and_address() {
    let mut site = Site::new();
    let spec = spec();
    let key = MachineKey(6);
    let first = site.provider.provision(key, &spec).expect("machine");
    let with_job = "setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo";
    run(&first, with_job);
    kill_and_wait(first.pid);
    let second = assert_one(&mut site, &spec, key, "supervisor killed");
    assert_ne!(first.pid, second.pid);
    assert_eq!(first.host_key_fingerprint, second.host_key_fingerprint);
    assert_eq!(first.address, second.address);
    if second.isolation.namespaces.contains(&Namespace::Pid) {
        let jobs = run(&second, "cat /proc/[0-9]*/comm");
        assert!(jobs.out.contains("sh\n"), "{jobs:?}");
        assert!(!jobs.out.contains("sleep"), "{jobs:?}");
    }
    let nonce = site
        .provider
        .folder(key)
        .intent()
        .expect("intent")
        .expect("there")
        .nonce;
    assert_eq!(marked(&nonce).len(), 1, "the old job is gone");
    site.release(key);
}

#[test]
fn a_stranger_with_the_recorded_number_is_not_signalled() {
    let mut site = Site::new();
    let spec = spec();
    let key = MachineKey(7);
    let machine = site.provider.provision(key, &spec).expect("machine");
    let mut stranger = Command::new("sleep").arg("1000").spawn().expect("sleep");
    // The record now names another process, as if the number had been used again; the guest
    // itself is still there and holds the lock.
    let record = site.provider.folder(key).file("guest.json");
    let text = fs::read_to_string(&record).expect("record");
    let forged = text.replace(
        &format!("\"pid\":{}", machine.pid),
        &format!("\"pid\":{}", stranger.id()),
    );
    assert_ne!(text, forged);
    fs::write(&record, forged).expect("forge");
    site.release(key);
    assert_eq!(
        stranger.try_wait().expect("alive"),
        None,
        "the stranger lives"
    );
    stranger.kill().expect("kill");
    stranger.wait().expect("wait");
}
