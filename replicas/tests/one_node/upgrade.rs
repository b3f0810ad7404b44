//! Rules change by the log: an exchange keeps the rules that it has, whichever program runs it, until the log
//! says otherwise; and a program that does not know them stops there.

use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use exahour_engine::{BEHAVIOUR_FIRST, BEHAVIOUR_MAX};
use exahour_replicas::{Node, NodeConfig, replay};
use exahour_wire::codes::Side;
use exahour_wire::events::{BehaviourActivated, OrderAccepted};
use exahour_wire::ids::Behaviour;
use exahour_wire::internal::ActivateBehaviour;
use exahour_wire::message::{Message, messages};

use crate::append;
use crate::exchange::{PATIENCE, config, connect, next_report};
use crate::in_and_out::order;

fn program(data: &Path, behaviour_max: Behaviour) -> NodeConfig {
    let mut settings = config(data);
    settings.capacity.behaviour_max = behaviour_max;
    settings
}

/// Starts a node, has it take an order, and stops it.
fn run(settings: &NodeConfig, name: u64) {
    let node = Node::start(settings).unwrap();
    let mut alpha = connect(&node, 1);
    alpha.send(&order(name, 100, Side::Buy, 1)).unwrap();
    let _: OrderAccepted = next_report(&mut alpha);
    drop(alpha);
    node.stop().unwrap();
}

/// What was activated, and by which command, as a replay finds.
fn activations(data: &Path) -> Vec<(Behaviour, u64)> {
    let mut events = Vec::new();
    replay(&data.join("journal"), &mut events).unwrap();
    let activated = messages(&events).filter_map(BehaviourActivated::read);
    activated.map(|it| (it.behaviour, it.command.0)).collect()
}

#[test]
fn a_new_exchange_begins_with_the_newest_rules() {
    let folder = tempfile::tempdir().unwrap();
    run(&program(folder.path(), BEHAVIOUR_MAX), 1);
    run(&program(folder.path(), BEHAVIOUR_MAX), 2);
    // The first command is the start of the node.
    assert_eq!(activations(folder.path()), [(BEHAVIOUR_MAX, 2)]);
}

#[test]
fn an_old_exchange_keeps_its_rules_and_an_old_program_stops_where_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = [BEHAVIOUR_FIRST, BEHAVIOUR_MAX].map(|max| program(folder.path(), max));
    run(&old, 1);
    run(&new, 2);
    run(&old, 3);
    assert_eq!(activations(folder.path()), []);
    let activate = ActivateBehaviour {
        behaviour: BEHAVIOUR_MAX,
        ..ActivateBehaviour::blank()
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    append(
        &folder.path().join("journal"),
        now.as_nanos() as u64,
        &activate,
        1,
    );
    let activated = activations(folder.path());
    let [(BEHAVIOUR_MAX, at)] = activated[..] else {
        panic!("{activated:?}")
    };

    let node = Node::start(&old).unwrap();
    let end = Instant::now() + PATIENCE;
    while !node.finished() {
        assert!(
            Instant::now() < end,
            "it goes on by rules that do not count any more"
        );
        std::thread::yield_now();
    }
    let stopped = node.join().err().unwrap().to_string();
    let expected = format!(
        "behaviour 2 was activated at command {at}; this program can do up to 1: start a newer one"
    );
    assert!(stopped.contains(&expected), "{stopped}");

    run(&new, 4);
    assert_eq!(activations(folder.path()), activated);
}
