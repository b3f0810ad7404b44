//! `exahour --help` as a newcomer meets it.

use crate::exchange::succeed;

#[test]
fn every_command_says_in_one_manner_what_it_does() {
    let help = succeed(&["--help"]);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    for line in commands.lines() {
        let (name, about) = line.trim().split_once(' ').unwrap();
        let about = about.trim();
        let verb = about.split_whitespace().next().unwrap();
        // A command is given, not reported: `Run`, not `Runs`.
        assert!(verb.starts_with(char::is_uppercase), "{name}: {about}");
        assert!(!verb.ends_with('s'), "{name}: {about}");
        assert!(!about.ends_with('.'), "{name}: {about}");
    }
}

#[test]
fn what_an_order_is_made_of_is_named() {
    let help = succeed(&["order", "--help"]);
    assert!(
        help.contains("<buy|sell> <LOTS> [@ <PRICE>] <INSTRUMENT>"),
        "{help}"
    );
    assert!(!help.contains("<WORDS>"), "{help}");
    for word in ["gtc, until", "cancel-newest", "clientOrderId"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

#[test]
fn what_a_command_of_the_desk_does_comes_before_where_its_node_is() {
    for command in [
        "order",
        "replace",
        "cancel",
        "mass-cancel",
        "quote",
        "order-status",
        "orders",
        "book",
        "key",
    ] {
        let help = succeed(&[command, "--help"]);
        let (own, rest) = help.split_once("Which node:").unwrap();
        assert!(own.contains("--json") && rest.contains("--data"), "{help}");
        let (_, example) = rest.split_once("Example").unwrap();
        assert!(example.contains(&format!("exahour {command}")), "{help}");
    }
}
