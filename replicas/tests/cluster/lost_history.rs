//! A majority loses what was only in memory, or what its disks kept, and the group goes on without it: nobody tells
//! of it any longer.

use exahour_replicas::{Reply, Request};
use exahour_wire::codes::{Durability, Side};

use crate::group::{Group, accepted_in};
use crate::in_and_out::{first_segment, flip_a_bit, keep_for_power_loss, lose_power, order};
use crate::trade::{place, place_all};

/// Node 3 has everything, and nodes 1 and 2 have only the first 50 of 100 orders, of which they told their clients.
/// They are trusted one after the other until one of them leads, and take ten others. `before` is done once all have
/// all.
fn that_has_lost(before: impl FnOnce(&Group)) -> Group {
    let small = "[journal]\nsegment_bytes = 262144\n";
    let mut group = Group::founded_under(Durability::Replicated, 3, small);
    place_all(&mut group.connect_to_all(1), 1..=50);
    group.wait_until_level();
    let all = [1, 2, 3];
    for id in all {
        group.stop(id);
        keep_for_power_loss(&group.data(id));
    }
    all.iter().for_each(|id| group.start(*id));
    place_all(&mut group.connect_to_all(1), 51..=100);
    group.wait_until_level();
    before(&group);
    all.iter().for_each(|id| group.stop(*id));
    for id in [1, 2] {
        lose_power(&group.data(id));
        group.start(id);
    }
    for id in [1, 2] {
        assert_eq!(group.ask(id, &Request::TrustMemory), Reply::Done);
    }
    let leader = group.leader();
    let mut client = group.connect(leader, 2);
    for name in 1..=10 {
        place(&mut client, &order(name, 200, Side::Buy, 1));
    }
    group
}

#[test]
fn a_node_that_told_of_what_the_group_has_lost_tells_of_it_no_longer() {
    let mut group = that_has_lost(|_| {});
    group.start(3);
    group.until("it finds out", |group| group.has_ended(3));
    assert_eq!(group.reopen(), [3]);
    group.wait_until_level();
    let events = [1, 2, 3].map(|id| group.events(id));
    assert_eq!(accepted_in(&events[0]), 60);
    // Not by `assert_eq`: it would print all of both.
    assert!(events[1] == events[0], "node 2 tells of other events");
    assert!(events[2] == events[0], "node 3 tells of other events");
}

/// All journals are damaged, and two nodes are trusted: the third catches up with what they go on with.
#[test]
fn who_lost_commands_to_damage_and_is_not_trusted_tells_of_them_no_longer() {
    let mut group = Group::founded(3);
    place_all(&mut group.connect_to_all(1), 1..=100);
    group.wait_until_level();
    let all = [1, 2, 3];
    all.iter().for_each(|id| group.stop(*id));
    for id in all {
        flip_a_bit(
            &first_segment(&group.journal(id)),
            12_000 + 600 * id as usize,
        );
    }
    all.iter().for_each(|id| group.start(*id));
    for id in [1, 2] {
        assert_eq!(group.ask(id, &Request::TrustMemory), Reply::Done);
    }
    let leader = group.leader();
    let mut client = group.connect(leader, 2);
    for name in 1..=200 {
        place(&mut client, &order(name, 200, Side::Buy, 1));
    }
    group.wait_until_level();
    let events = all.map(|id| group.events(id));
    assert!((200..300).contains(&accepted_in(&events[0])));
    // Not by `assert_eq`: it would print all of both.
    assert!(events[1] == events[0], "node 2 tells of other events");
    assert!(events[2] == events[0], "node 3 tells of other events");
}

#[test]
fn a_node_whose_snapshot_is_of_what_the_group_has_lost_stops_and_says_so() {
    let mut group = that_has_lost(|group| {
        let last = group.wait_until_level();
        assert_eq!(group.ask(3, &Request::TakeSnapshot), Reply::Done);
        group.until("node 3 has a snapshot", |group| {
            group.status(3).is_some_and(|it| it.snapshot >= last)
        });
    });
    group.start(3);
    let why = group.ended_because(3);
    assert!(
        why.contains("is of a history that the group has gone on without"),
        "{why}"
    );
    assert!(why.contains("replace-node"), "{why}");
}
