//! Whoever reads our output may leave at any time (`exahour audit DIR | head -1`): that ends a command
//! quietly, and is no error of it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::exchange::{Exchange, exahour, texts};

/// Runs a command whose output nobody reads.
fn unread(mut command: Command) {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let (_, said) = texts(&output);
    assert!(output.status.success(), "{command:?}: {said}");
    for word in ["exahour:", "panicked"] {
        assert!(!said.contains(word), "{command:?}: {said}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut exchange = Exchange::start();
    let data = exchange.data();
    for words in [
        &["book", "1", "--data", &data][..],
        &["orders", "--data", &data],
        &["order", "buy", "1", "@", "2.40", "1", "--data", &data],
        &["orders", "--data", &data, "--json"],
    ] {
        unread(exahour(words));
    }
    exchange.stop();
    let script = exchange.path("it.script");
    std::fs::write(&script, "participant 1\n").unwrap();
    let script = script.display().to_string();
    let scratch = exchange.path("").display().to_string();
    for words in [
        &["audit", &data][..],
        &["audit", &data, "--json"],
        &["replay", &data],
        &["journal", "inspect", &data],
        &["journal", "dump", &data],
        &["script", &script],
        &["bench", "--only", "machine", "--scratch", &scratch],
        &[
            "bench",
            "--only",
            "machine",
            "--scratch",
            &scratch,
            "--json",
        ],
        &["--help"],
    ] {
        unread(exahour(words));
    }
}

/// A terminal that is gone takes standard error with it, too.
#[test]
fn a_summary_that_nobody_hears_is_no_error() {
    let mut exchange = Exchange::start();
    exchange.stop();
    let data = exchange.data();
    let rows = exchange.path("rows.csv").display().to_string();
    let mut audit = exahour(&["audit", &data, "--format", "csv", "--output", &rows])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(audit.stderr.take());
    assert!(audit.wait().unwrap().success());
    let written = std::fs::read_to_string(&rows).unwrap();
    assert!(written.lines().count() > 10);
}

#[test]
fn a_demo_that_nobody_watches_ends_and_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(temporary.path(), open).unwrap();
    let mut demo = exahour(&["demo", "--rows", "1000"])
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(demo.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert!(first.starts_with("== start"), "{first}");
    let output = demo.wait_with_output().unwrap();
    let (_, said) = texts(&output);
    assert!(output.status.success() && said.is_empty(), "{said}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}
