//! `exahour demo`: everything in one command, and nothing left behind.

use std::path::Path;
use std::process::ExitStatus;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exchange::{count, exahour, generated_orders, json, refuse, texts, until};
use crate::machine_output::check_keys;

#[test]
fn a_generated_flow_is_traded_killed_delivered_and_proven() {
    let findings = json(&["demo", "--rows", "4000", "--rate", "4000", "--json"]);
    check_keys(&findings, "demo");
    let (traded, proven) = (&findings["traded"], &findings["proven"]);
    assert_eq!(count(traded, "rows"), 4_000);
    assert!(count(traded, "in_flight_at_kill") > 0, "{findings}");
    let fates = count(traded, "taken_before_kill") + count(traded, "not_applied");
    assert_eq!(fates, count(traded, "in_flight_at_kill"), "{findings}");
    assert!(count(traded, "trades") > 0, "{findings}");
    assert!(count(traded, "acknowledged") > 1_000, "{findings}");
    for promise in ["lost", "doubled", "untold"] {
        assert_eq!(count(proven, promise), 0, "{findings}");
    }
    assert_eq!(count(proven, "acknowledged"), count(traded, "acknowledged"));
    // What the node had not applied yet when it was stopped is written by its next start.
    let compared = count(proven, "events_compared");
    assert!(compared >= count(traded, "acknowledged") && compared <= count(proven, "events"));
    assert!(count(proven, "checkpoints") >= 2, "{findings}");
    let delivered = &findings["delivered"];
    let answer = delivered["answer"].as_str().unwrap();
    assert!(answer.ends_with("says 42"), "{findings}");
    assert!(
        delivered["verified_s"].as_f64().unwrap() > 0.0,
        "{findings}"
    );
}

#[test]
fn a_file_is_traded_and_its_folder_kept_for_replay_and_audit() {
    let folder = tempfile::tempdir().unwrap();
    // Machines of other users must pass through.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let file = folder.path().join("orders.csv");
    generated_orders(&file, 2_000, 7);
    let (file, data) = (text(&file), text(&folder.path().join("data")));
    let findings = json(&["demo", "--orders", &file, "--data", &data, "--json"]);
    let replayed = json(&["replay", &data, "--compare-events", "--json"]);
    assert_eq!(replayed["state_hash"], findings["proven"]["state_hash"]);
    let audited = exahour(&["audit", &data]).output().unwrap();
    assert!(audited.status.success(), "{:?}", texts(&audited));
    let refused = refuse(&["demo", "--data", &data]);
    assert!(refused.contains("is not empty"), "{refused}");
}

#[test]
fn a_file_that_will_not_do_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.csv");
    generated_orders(&file, 100, 7);
    let data = text(&folder.path().join("data"));
    let refused = refuse(&["demo", "--orders", &text(&file), "--data", &data]);
    assert!(refused.contains("too few"), "{refused}");
    std::fs::write(
        &file,
        "id,timestamp,price,volume,action,direction\n1,1,x,1,created,bid\n",
    )
    .unwrap();
    let refused = refuse(&["demo", "--orders", &text(&file), "--data", &data]);
    assert!(refused.contains("orders.csv:2:5"), "{refused}");
    assert!(!Path::new(&data).exists());
}

#[test]
fn a_demo_that_is_interrupted_takes_its_processes_with_it() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let (status, node) = ended_by(signal);
        assert_eq!(status.code(), Some(code));
        assert!(!runs(node), "the node goes on");
    }
}

#[test]
fn a_demo_that_is_killed_takes_its_processes_with_it() {
    let (_, node) = ended_by(Signal::SIGKILL);
    until("the node ends", || (!runs(node)).then_some(()));
}

/// How a demo ends that gets `signal` when its node serves, and the node's process.
fn ended_by(signal: Signal) -> (ExitStatus, u64) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut demo = exahour(&["demo", "--data", &text(&data)])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let addresses = data.join("addresses.json");
    let serving = until("the node serves", || std::fs::read(&addresses).ok());
    let serving: serde_json::Value = serde_json::from_slice(&serving).unwrap();
    let id = i32::try_from(demo.id()).unwrap();
    kill(Pid::from_raw(id), signal).unwrap();
    let status = until("the demo ends", || demo.try_wait().unwrap());
    (status, count(&serving, "process"))
}

/// Whether a process runs: one that nobody has asked for its end yet does not.
fn runs(process: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
