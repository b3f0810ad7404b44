//! How a machine begins, is measured, and ends.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use exahour_settlement::provision::{
    LocalProvider, MachineKey, MachineSpec, Millicores, ProvisionError, Provisioner,
};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::support::{Site, config, insides, marked, now_ns, run, spec, wait_until};

const KEY: MachineKey = MachineKey(3);

#[test]
fn one_key_is_one_machine_until_it_is_released_and_none_after() {
    let mut site = Site::new();
    let asked = spec();
    assert!(site.provider.inspect(KEY).expect("inspect").is_none());
    let first = site.provider.provision(KEY, &asked).expect("machine");
    assert_eq!(site.provider.provision(KEY, &asked).expect("again"), first);
    assert_eq!(
        site.provider.inspect(KEY).expect("inspect"),
        Some(first.clone())
    );
    // Another process of the same provider sees the same.
    let mut other = LocalProvider::open(config(site.dir.path())).expect("provider");
    assert_eq!(other.provision(KEY, &asked).expect("other"), first);
    assert_eq!(other.list().expect("list"), [KEY]);

    let mut changed = asked.clone();
    changed.cpu_share = Millicores(900);
    let conflict = other.provision(KEY, &changed);
    assert!(
        matches!(conflict, Err(ProvisionError::SpecConflict { key: KEY })),
        "{conflict:?}"
    );

    site.release(KEY);
    site.release(KEY);
    let late = other.provision(KEY, &asked);
    assert!(
        matches!(late, Err(ProvisionError::Released { key: KEY })),
        "{late:?}"
    );
    assert!(site.provider.inspect(KEY).expect("inspect").is_none());
    assert!(
        !site.provider.folder(KEY).file("host_key").exists(),
        "the secret is gone"
    );
}

#[test]
fn a_key_released_before_it_was_provisioned_stays_released() {
    let mut site = Site::new();
    site.provider.release(KEY).expect("release");
    let late = site.provider.provision(KEY, &spec());
    assert!(
        matches!(late, Err(ProvisionError::Released { key: KEY })),
        "{late:?}"
    );
}

#[test]
fn the_end_of_the_window_ends_the_machine_and_its_jobs() {
    let mut site = Site::new();
    let mut short = spec();
    short.window_end_ns = now_ns() + 2_500_000_000;
    let machine = site.provider.provision(KEY, &short).expect("machine");
    run(
        &machine,
        "setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo",
    );
    let folder = site.provider.folder(KEY);
    wait_until("the machine has ended by itself", || {
        folder.ended().expect("record").is_some()
    });
    assert!(now_ns() >= short.window_end_ns);
    let ended = folder.ended().expect("record").expect("ended");
    assert!(
        ended.at_ns - short.window_end_ns < 3_000_000_000,
        "{ended:?}"
    );
    let provider = &mut site.provider;
    wait_until("its lock is free", || {
        provider.list().expect("list").is_empty()
    });
    site.assert_nothing_left(KEY);
    let late = site.provider.provision(KEY, &short);
    assert!(
        matches!(late, Err(ProvisionError::WindowOver { .. })),
        "{late:?}"
    );
    // The last beat came after the end, so that all of the window can be paid for.
    let beats = site.provider.beats(KEY).expect("beats");
    let last = beats.last().expect("beats");
    assert!(last.at_ns >= short.window_end_ns, "{last:?}");
    // It can still be paid for.
    let measured = site.provider.measure(KEY).expect("measure");
    assert!(
        !measured.alive && measured.verified_ns > 500_000_000,
        "{measured:?}"
    );
    site.release(KEY);
}

#[test]
fn measures_beats_share_and_use() {
    let mut site = Site::new();
    let machine = site.provider.provision(KEY, &spec()).expect("machine");
    let provider = &mut site.provider;
    wait_until("there are beats", || {
        provider.beats(KEY).expect("beats").len() > 5
    });
    let before = provider.measure(KEY).expect("measure");
    assert!(before.alive && before.ssh_banner_ok, "{before:?}");
    assert!(
        before.verified_ns > 0 && before.verified_share_ppm > 0,
        "{before:?}"
    );
    assert!(before.memory_bytes > 0, "{before:?}");
    run(
        &machine,
        "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done",
    );
    let after = provider.measure(KEY).expect("measure");
    assert!(
        after.cpu_used_ns > before.cpu_used_ns + 10_000_000,
        "{before:?} {after:?}"
    );
    assert!(after.verified_ns >= before.verified_ns);
    eprintln!("{after:?}");
    let unknown = site.provider.measure(MachineKey(99));
    assert!(
        matches!(unknown, Err(ProvisionError::Unknown { .. })),
        "{unknown:?}"
    );
    site.release(KEY);
}

#[test]
fn release_takes_jobs_that_hide_from_hangups() {
    let mut site = Site::new();
    let machine = site.provider.provision(KEY, &spec()).expect("machine");
    run(
        &machine,
        "trap '' TERM HUP; setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo",
    );
    let nonce = site.nonce(KEY);
    assert!(marked(&nonce).len() >= 2, "process 1 and the job");
    site.release(KEY);
}

#[test]
fn a_bad_spec_is_refused_by_field_and_leaves_nothing() {
    let mut site = Site::new();
    for (field, spoil) in [
        (
            "label",
            (|s| s.label = "a b".into()) as fn(&mut MachineSpec),
        ),
        ("memory_bytes", |s| s.memory_bytes = 1),
        ("cpu_share", |s| s.cpu_share = Millicores(0)),
        ("window_end_ns", |s| s.window_end_ns = 0),
    ] {
        let mut bad = spec();
        spoil(&mut bad);
        let error = site
            .provider
            .provision(KEY, &bad)
            .expect_err(field)
            .to_string();
        assert!(error.contains(field), "{error}");
    }
    assert_eq!(fs::read_dir(site.dir.path()).expect("dir").count(), 0);
}

#[test]
fn a_taken_port_is_named_and_a_free_one_helps() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
    let mut site = Site::new();
    let mut fixed = config(site.dir.path());
    fixed
        .bind
        .set_port(taken.local_addr().expect("address").port());
    let mut provider = LocalProvider::open(fixed).expect("provider");
    let asked = spec();
    let error = provider
        .provision(KEY, &asked)
        .expect_err("taken")
        .to_string();
    assert!(error.contains("cannot listen on 127.0.0.1"), "{error}");
    site.assert_nothing_left(KEY);
    drop(taken);
    provider.provision(KEY, &asked).expect("machine");
    site.release(KEY);
}

#[test]
fn a_machine_that_hangs_is_taken_for_dead_and_replaced_at_its_address() {
    let mut site = Site::new();
    let mut impatient = config(site.dir.path());
    impatient.silence_max = Duration::from_secs(1);
    let mut provider = LocalProvider::open(impatient).expect("provider");
    let asked = spec();
    let first = provider.provision(KEY, &asked).expect("machine");
    let nonce = site.nonce(KEY);
    for pid in insides(&nonce) {
        kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("stop");
    }
    wait_until("it is taken for dead", || {
        provider.inspect(KEY).expect("inspect").is_none()
    });
    assert!(!provider.measure(KEY).expect("measure").alive);
    let second = provider.provision(KEY, &asked).expect("machine");
    assert_ne!(second.pid, first.pid);
    assert_eq!(second.address, first.address);
    assert_eq!(second.host_key_fingerprint, first.host_key_fingerprint);
    assert_eq!(run(&second, "echo alive").out, "alive\n");
    assert_eq!(
        provider.inspect(KEY).expect("inspect").map(|it| it.pid),
        Some(second.pid)
    );
    site.release(KEY);
}

#[test]
fn a_machine_whose_folder_is_gone_ends_so_that_no_second_one_runs_beside_it() {
    let mut site = Site::new();
    let asked = spec();
    let first = site.provider.provision(KEY, &asked).expect("machine");
    let nonce = site.nonce(KEY);
    fs::remove_dir_all(site.provider.folder(KEY).path()).expect("lose the folder");
    wait_until("it has ended", || marked(&nonce).is_empty());
    let second = site.provider.provision(KEY, &asked).expect("machine");
    assert_ne!(second.pid, first.pid);
    site.release(KEY);
}

#[test]
fn a_machine_whose_port_was_taken_meanwhile_comes_back_elsewhere() {
    let mut site = Site::new();
    let asked = spec();
    let first = site.provider.provision(KEY, &asked).expect("machine");
    let nonce = site.nonce(KEY);
    for pid in insides(&nonce).into_iter().chain([first.pid]) {
        // One of them may have gone with the other.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let taken = std::cell::OnceCell::new();
    wait_until("its port is taken", || {
        TcpListener::bind(first.address).is_ok_and(|listener| taken.set(listener).is_ok())
    });
    let second = site.provider.provision(KEY, &asked).expect("machine");
    assert_ne!(second.address, first.address);
    assert_eq!(second.host_key_fingerprint, first.host_key_fingerprint);
    site.release(KEY);
}

#[test]
fn a_program_that_is_no_guest_is_an_error() {
    let site = Site::new();
    let mut wrong = config(site.dir.path());
    wrong.executable = "/bin/false".into();
    let mut provider = LocalProvider::open(wrong).expect("provider");
    let error = provider.provision(KEY, &spec()).expect_err("no guest");
    assert!(
        matches!(error, ProvisionError::GuestFailed { .. }),
        "{error}"
    );
    let mut absent = config(site.dir.path());
    absent.executable = "/nowhere".into();
    assert!(LocalProvider::open(absent).is_err());
    // The stages themselves refuse to be played with.
    let program = env!("CARGO_BIN_EXE_exahour-settlement");
    for args in [
        &["machine-guest"][..],
        &["machine-guest", "supervise"],
        &["nonsense"],
    ] {
        let status = Command::new(program)
            .args(args)
            .output()
            .expect("run")
            .status;
        assert_eq!(status.code(), Some(2), "{args:?}");
    }
}
