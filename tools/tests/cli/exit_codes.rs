//! One rule of exit codes for all subcommands: what could not be done is 2, everywhere. That a bad
//! answer is 1 is seen where each subcommand is tested.

use crate::exchange::{refuse, succeed};

/// Nothing is there.
const NOWHERE: &str = "/nowhere/at/all";

/// A call of every subcommand that lacks what it needs.
const CALLS: &[&[&str]] = &[
    &["demo", "--orders", NOWHERE],
    &["start", "--config", NOWHERE],
    &["cluster", "key", NOWHERE],
    &["status", "--data", NOWHERE],
    &["step-down", "--config", NOWHERE],
    &["add-node", "--node-config", NOWHERE, "--data", NOWHERE],
    &["remove-node", "--id", "2", "--data", NOWHERE],
    &[
        "replace-node",
        "--old",
        "2",
        "--new",
        "4",
        "--data",
        NOWHERE,
    ],
    &["take-snapshot", "--data", NOWHERE],
    &["activate", "2", "--data", NOWHERE],
    &["trust-memory", "--node", "2", "--yes", "--data", NOWHERE],
    &["repair", "--data", NOWHERE],
    &["feed", NOWHERE, "--data", NOWHERE],
    &["replay", NOWHERE],
    &["audit", NOWHERE],
    &["journal", "inspect", NOWHERE],
    &["journal", "dump", NOWHERE, "--events"],
    &["order", "buy", "1", "@", "2.50", "1", "--data", NOWHERE],
    &["replace", "1", "2", "--data", NOWHERE],
    &["cancel", "1", "--data", NOWHERE],
    &["mass-cancel", "--data", NOWHERE],
    &["quote", "1", "0", "/", "0", "--data", NOWHERE],
    &["order-status", "1", "--data", NOWHERE],
    &["orders", "--data", NOWHERE],
    &["book", "1", "--data", NOWHERE],
    &["key", NOWHERE, "--data", NOWHERE],
    &["operate", "halt", "1", "--data", NOWHERE],
    &["settle", "--data", NOWHERE, "--once"],
    &["deliveries", "--state", NOWHERE],
    &["script", NOWHERE],
    &["bench", "--scratch", "/dev/null/folder"],
    &["sim", "--nodes", "2"],
    &["torture", "--data", "/dev/null/folder"],
];

#[test]
fn what_could_not_be_done_is_code_two_in_every_subcommand() {
    for call in CALLS {
        let said = refuse(call);
        // A simulation needs nothing that could be missing: its arguments are refused before it begins.
        let begins = if call[0] == "sim" {
            "error: "
        } else {
            "exahour: "
        };
        assert!(said.starts_with(begins), "{call:?}: {said}");
        let unknown = refuse(&[call[0], "--no-such-option"]);
        assert!(unknown.contains("--no-such-option"), "{call:?}: {unknown}");
    }
}

#[test]
fn the_help_tells_the_rule_and_no_subcommand_is_forgotten_here() {
    let help = succeed(&["--help"]);
    for code in ["  0 ", "  1 ", "  2 ", "  130 ", "  143 "] {
        assert!(help.contains(code), "{code}: {help}");
    }
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let names: Vec<&str> = commands
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() > 10, "{help}");
    for name in names {
        assert!(CALLS.iter().any(|call| call[0] == name), "{name}");
    }
}
