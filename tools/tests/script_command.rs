//! Runs `exahour script` as a user does: files, standard input, exit codes, what is printed where.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const SCRIPT: &str =
    "participant 1 \"Alpha\" request 9\n> ParticipantCreated ...\n> CommandDone ...\n";

fn exahour(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_exahour"));
    command
        .current_dir(folder)
        .env_remove("UPDATE_EXPECT")
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn folder_with(script: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("it.script"), script).unwrap();
    folder
}

#[test]
fn events_are_printed_in_three_forms() {
    let folder = folder_with(SCRIPT);
    let printed = |arguments: &[&str]| {
        let output = exahour(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(0));
        text(&output.stdout).to_owned()
    };
    let full = printed(&["script", "it.script"]);
    assert_eq!(
        full.lines().next().unwrap(),
        "ParticipantCreated session=0 sequence=0 event=1 time=2026-01-01T00:00:00.000000000Z \
         command=1 participant=1 name=\"Alpha\""
    );
    let brief = printed(&["script", "it.script", "--brief"]);
    assert_eq!(
        brief,
        "ParticipantCreated participant=1 name=\"Alpha\"\nCommandDone request=9 template=150\n"
    );
    let json = printed(&["script", "it.script", "--json"]);
    assert_eq!(json.lines().count(), 2);
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["message"], "ParticipantCreated");
    assert_eq!(first["name"], "Alpha");
    assert_eq!(printed(&["script", "it.script", "--quiet"]), "");
}

#[test]
fn standard_input_is_a_script_too_and_stats_go_to_standard_error() {
    let folder = folder_with("");
    let mut child = Command::new(env!("CARGO_BIN_EXE_exahour"))
        .current_dir(folder.path())
        .args(["script", "-", "--brief", "--stats"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(SCRIPT.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout).lines().count(), 2);
    assert!(text(&output.stderr).starts_with("1 lines, 1 commands, 2 events in "));
}

#[test]
fn an_error_has_a_place_and_nothing_runs_past_it() {
    let folder = folder_with("participant 1\n\n  acount 100 of 1\nparticipant 2\n");
    let output = exahour(folder.path(), &["script", "it.script", "--brief"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout).lines().count(), 2);
    let error = text(&output.stderr);
    assert!(error.starts_with("exahour: it.script:3:3: `acount` is not a command; expected "));
    assert!(
        error.ends_with("      acount 100 of 1\n      ^\n"),
        "{error}"
    );
}

#[test]
fn what_cannot_be_read_or_understood_is_named() {
    let folder = folder_with("include \"market.script\"\n");
    std::fs::write(folder.path().join("latin.script"), b"# caf\xe9\n").unwrap();
    std::fs::write(folder.path().join("open.script"), "tick\nbatch\ntick\n").unwrap();
    std::fs::write(
        folder.path().join("circle.script"),
        "include \"circle.script\"\n",
    )
    .unwrap();
    std::fs::write(
        folder.path().join("hash.script"),
        "hash\ncheckpoint hash ff\n",
    )
    .unwrap();
    for (name, script) in [
        ("unhashed.script", "hash\ncheckpoint at 3 hash ff\n"),
        ("never.script", "checkpoint at 1 hash ff\n"),
        ("large.script", "after 99999999d\n"),
        ("span.script", "after soon\n"),
        ("bell.script", "\u{1b}[2J\u{7}\n"),
    ] {
        std::fs::write(folder.path().join(name), script).unwrap();
    }
    std::fs::write(
        folder.path().join("back.script"),
        "after 1s\nat 2026-01-01\n",
    )
    .unwrap();
    for (script, start) in [
        ("none.script", "none.script: cannot be read: "),
        ("it.script", "it.script:1:9: market.script cannot be read; "),
        ("latin.script", "latin.script:1:6: not UTF-8 text; "),
        ("open.script", "open.script:2:1: this batch is never sent; "),
        (
            "circle.script",
            "circle.script: scripts include each other more than 8 deep",
        ),
        (
            "hash.script",
            "hash.script:2:1: the state after command 1 hashes to ",
        ),
        (
            "unhashed.script",
            "unhashed.script:2:1: no hash was taken at command 3, so nothing would be compared; \
             expected one of the commands 1",
        ),
        (
            "never.script",
            "never.script:1:1: no hash was taken at command 1",
        ),
        (
            "large.script",
            "large.script:1:7: `99999999d` is too large; ",
        ),
        ("span.script", "span.script:1:7: `soon` is not a span; "),
        ("bell.script", "bell.script:1:1: `\\u{1b}[2J\\u{7}` is not"),
        ("back.script", "back.script:2:1: time does not go back; "),
    ] {
        let output = exahour(folder.path(), &["script", script, "--quiet"]);
        let code = match script {
            "none.script" | "it.script" => 2,
            _ => 1,
        };
        assert_eq!(output.status.code(), Some(code), "{script}");
        let error = text(&output.stderr);
        assert!(error.starts_with(&format!("exahour: {start}")), "{error}");
        let control = |it: char| it.is_control() && it != '\n';
        assert!(!error.contains(control), "{error:?}");
    }
}

#[test]
fn a_fault_names_every_script_that_led_to_it_and_shows_no_bytes() {
    let folder = folder_with("participant 1 \"A\"\ninclude \"outer.script\"\n");
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("outer.script", b"\ninclude \"inner.script\"\n");
    write("inner.script", b"particle 1\n");
    let output = exahour(folder.path(), &["script", "it.script"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("inner.script:1:1: `particle`"), "{said}");
    let way = "    included by outer.script:2\n    included by it.script:2\n";
    assert!(said.ends_with(way), "{said}");

    write("it.script", b"tick\xFF\x07\xFE\n");
    let output = exahour(folder.path(), &["script", "it.script"]);
    let said = text(&output.stderr);
    assert!(said.contains("it.script:1:5: not UTF-8"), "{said}");
    assert!(said.ends_with("    tick\n        ^\n"), "{said}");

    let long = format!("tick{}", " ".repeat(5_000) + "x");
    write("it.script", long.as_bytes());
    let output = exahour(folder.path(), &["script", "it.script"]);
    let said = text(&output.stderr);
    assert!(
        said.contains("it.script:1:5005:") && said.len() < 600,
        "{said}"
    );
}

#[test]
fn a_check_shows_the_difference_and_an_update_mends_it() {
    let folder = folder_with("participant 1\n> ParticipantCreated participant=2 ...\n>\n# end\n");
    let output = exahour(folder.path(), &["script", "it.script", "--check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("      participant: 2 expected, 1 came\n"));
    let output = exahour(folder.path(), &["script", "it.script", "--update"]);
    assert_eq!(output.status.code(), Some(0));
    let updated = std::fs::read_to_string(folder.path().join("it.script")).unwrap();
    assert_eq!(
        updated,
        "participant 1\n> ParticipantCreated participant=1 name=\"Participant 1\"\n\
         > CommandDone template=150\n# end\n"
    );
    let output = exahour(folder.path(), &["script", "it.script", "--check"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn expected_events_may_stand_in_a_file_of_their_own() {
    let folder = folder_with("participant 1\ntick\n");
    let expected = folder.path().join("it.script.expected");
    std::fs::write(&expected, "ParticipantCreated ...\n").unwrap();
    let output = exahour(folder.path(), &["script", "it.script", "--check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("  + CommandDone template=150\n"));
    let output = exahour(
        folder.path(),
        &["script", "it.script", "--check", "--update"],
    );
    assert_eq!(output.status.code(), Some(0));
    let updated = std::fs::read_to_string(&expected).unwrap();
    assert_eq!(
        updated,
        "ParticipantCreated ...\nCommandDone template=150\n"
    );
    let script = std::fs::read_to_string(folder.path().join("it.script")).unwrap();
    assert_eq!(script, "participant 1\ntick\n");
}

#[test]
fn standard_input_cannot_be_rewritten() {
    let folder = folder_with("");
    let output = exahour(folder.path(), &["script", "-", "--update"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("standard input cannot be rewritten"),
        "{said}"
    );
}

#[test]
fn a_checkpoint_within_a_batch_is_compared_too() {
    let folder = folder_with("batch\nhash\ncheckpoint at 1 hash ff\nend\n");
    let output = exahour(folder.path(), &["script", "it.script"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("the state after command 1 hashes to"),
        "{said}"
    );
}

#[test]
fn a_wrong_command_line_is_code_two() {
    let folder = folder_with("");
    for arguments in [
        &["script"][..],
        &["script", "it.script", "--json", "--brief"],
        &["nonsense"],
        &[],
    ] {
        assert_eq!(
            exahour(folder.path(), arguments).status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
    let output = exahour(folder.path(), &["script", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("docs/SCRIPT.md"));
}

#[test]
fn a_hundred_thousand_lines_run_in_seconds() {
    let mut script = String::from(
        "participant 1\nparticipant 2\naccount 100 of 1 deposit 1000000\n\
         account 200 of 2 deposit 1000000\nsession 1 of 1\nsession 2 of 2\n\
         instrument 1 GPU spot reference 2.50\nconnect 1\nconnect 2\n",
    );
    for number in 0..100_000 {
        let side = if number % 3 == 0 { "sell" } else { "buy" };
        let line = format!("{}: {side} 3 @ 2.{}\n", number % 2 + 1, 45 + number % 7);
        script.push_str(&line);
    }
    let folder = folder_with(&script);
    let start = std::time::Instant::now();
    let output = exahour(folder.path(), &["script", "it.script"]);
    let elapsed = start.elapsed();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.len() > 10_000_000);
    // A loose bound that holds for an unoptimised build on a busy machine; a release build needs
    // 0.6 s on two quiet cores.
    assert!(elapsed.as_secs() < 60, "{elapsed:?}");
}
