//! `exahour sim`: one world, many, and what is refused. Worlds are short here; `replicas/sim` has the long ones.

use crate::exchange::{count, json, refuse, succeed};
use crate::machine_output::check_keys;

#[test]
fn many_worlds_are_counted_and_said_to_have_kept_every_promise() {
    let found = json(&[
        "sim",
        "--seeds",
        "4",
        "--from",
        "10",
        "--length",
        "1",
        "--threads",
        "2",
        "--json",
    ]);
    assert_eq!(count(&found, "worlds"), 4);
    assert_eq!(count(&found, "threads"), 2);
    assert!(count(&found, "commands") > 0 && count(&found, "reports") > 0);
    assert!(found["worlds_per_minute"].as_f64().unwrap() > 0.0);
    assert!(found["cpu_ms_per_world"].as_f64().unwrap() > 0.0);
    assert!(found["violation"].is_null(), "{found}");
    check_keys(&found, "sim");
    assert!(count(&found["did"], "terms_led") > 0, "{found}");
}

#[test]
fn one_world_is_the_same_again() {
    let call = ["sim", "--seed", "11", "--nodes", "3", "--length", "1"];
    let (one, other) = (succeed(&call), succeed(&call));
    let world = |text: &str| {
        let (counts, _) = text.split_once("worlds a minute").unwrap();
        let (_, counts) = counts.split_once(" s: ").unwrap();
        let end = counts.rfind('\n').unwrap();
        counts[..end].to_owned()
    };
    assert!(one.contains("every promise was kept"), "{one}");
    assert_eq!(world(&one), world(&other));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (call, said) in [
        (&["sim", "--seed", "1", "--seeds", "2"][..], "--seeds"),
        (&["sim", "--seed", "1", "--minutes", "2"], "--minutes"),
        (&["sim", "--seeds", "0"], "--seeds"),
        (&["sim", "--length", "0"], "--length"),
        (&["sim", "--threads", "0"], "--threads"),
    ] {
        let told = refuse(call);
        assert!(told.contains(said), "{call:?}: {told}");
    }
}
