//! A short torture of a cluster of processes: nodes are killed, paused and cut off under load, and nothing that
//! was acknowledged is lost or doubled. `exahour torture --kills 1000` is the long one.
//!
//! `EXAHOUR_SEED` makes other rounds. A failed run prints its seed and keeps its folder.

// What cannot be set up fails the test.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn torture(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_exahour"));
    command.arg("torture").args(words).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn no_acknowledged_order_is_lost_whatever_is_done_to_three_nodes() {
    let seed = std::env::var("EXAHOUR_SEED").unwrap_or("1".to_owned());
    let output = torture(&["--kills", "12", "--seed", &seed, "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    eprintln!("{found:#}");
    let rounds = &found["rounds"];
    assert_eq!(rounds["leaders_killed"], 8);
    assert_eq!(rounds["away"], 1);
    assert!(found["journals_behind_snapshots"].as_u64().unwrap() >= 1);
    assert_eq!(rounds["all_killed"], 2);
    assert_eq!(found["leader_killed"]["count"], 8);
    let number = |name: &str| found[name].as_u64().unwrap();
    assert!(number("answered") > 1_000);
    assert!(
        number("leaders_found") > 4 * 10,
        "every client found every new leader"
    );
    let sum = number("answered") + number("not_applied") + number("busy");
    assert_eq!(number("sent"), sum);
}

/// Where the system allows it; where it does not, that is what is said.
#[test]
fn what_nodes_have_of_their_own_is_taken_from_them_or_said_to_be_missing() {
    let output = torture(&[
        "--kills",
        "1",
        "--seed",
        "4",
        "--own-disks",
        "--own-networks",
        "--json",
    ]);
    if !output.status.success() {
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("of the nodes' own: the system does not let this process"),
            "{said}"
        );
        return;
    }
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rounds = &found["rounds"];
    assert_eq!(rounds["disks_filled"], 2, "{found:#}");
    assert!(
        rounds["full_disks_told"].as_u64().unwrap() >= 1,
        "{found:#}"
    );
    assert_eq!(rounds["disks_stalled"], 2);
    assert_eq!(rounds["disks_slow"], 1);
    assert_eq!(rounds["unplugged"], 1);
}

/// What an untrue diary looks like to the check: the proof is one that can fail.
#[test]
fn a_word_that_is_untrue_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("evidence");
    let data = data.to_str().unwrap();
    let output = torture(&[
        "--kills", "1", "--rate", "200", "--seed", "3", "--data", data,
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let diary = Path::new(data).join("client-1.diary");
    let text = fs::read_to_string(&diary).unwrap();
    assert!(torture(&["--check", data]).status.success());
    let first_told = text
        .lines()
        .position(|line| line.starts_with("told "))
        .unwrap();
    let without = |place: usize| {
        let lines = text.lines().enumerate().filter(|(at, _)| *at != place);
        lines
            .map(|(_, line)| format!("{line}\n"))
            .collect::<String>()
    };
    let told = text.lines().nth(first_told).unwrap();
    for (untrue, why) in [
        (without(first_told), "nothing was said of message"),
        (
            text.replacen(told, "not-applied 1 1", 1),
            "was told as NotApplied",
        ),
        (
            text.replacen(told, &format!("{told}\n{told}"), 1),
            "and was as Answered",
        ),
        (
            text.replacen("sent 1 ", "sent 1 00", 1),
            "not as it was sent",
        ),
    ] {
        fs::write(&diary, untrue).unwrap();
        let output = torture(&["--check", data]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(why), "{why}: {}", said(&output));
    }
}
