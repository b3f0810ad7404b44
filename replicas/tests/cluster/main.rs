//! Three nodes of one cluster, in this process and over real sockets: they agree, one of them goes, and
//! nothing that was acknowledged is lost.

#![allow(clippy::unwrap_used)] // A test may fail where it stands.

mod clients;
mod group;
#[path = "../in_and_out/mod.rs"]
mod in_and_out;
mod lost_history;
mod trade;

use std::os::unix::fs::MetadataExt;

use exahour_journal::{Verify, inspect};
use exahour_replicas::{Member, MemberStatus, NodeRole, Reply, Request, Standing};
use exahour_wire::codes::Side;

use group::Group;
use in_and_out::{first_segment, flip_a_bit, order};
use trade::{Trade, flood, place, place_all, place_many};

#[test]
fn three_nodes_elect_one_and_all_have_what_it_acknowledged() {
    let mut group = Group::founded(3);
    let leader = group.leader();
    let mut client = group.connect(leader, 1);
    place_all(&mut client, 1..=200);
    let statuses = group.statuses();
    assert_eq!(
        statuses
            .iter()
            .filter(|it| it.role == NodeRole::Leader)
            .count(),
        1
    );
    let end = group.wait_until_level();
    assert_eq!(group::orders_in(&group.history(end)), 200);
}

#[test]
fn a_leader_that_goes_is_followed_by_another_that_has_everything() {
    let mut group = Group::founded(3);
    let mut end = 0;
    for round in 0..3 {
        let leader = group.leader();
        let mut client = group.connect(leader, 1);
        place_all(&mut client, round * 1_000 + 1..=round * 1_000 + 50);
        drop(client);
        group.stop(leader);
        let next = group.leader();
        assert_ne!(next, leader);
        let mut client = group.connect(next, 2);
        place(&mut client, &order(round + 1, 200, Side::Buy, 1));
        group.start(leader);
        end = group.wait_until_level();
    }
    assert_eq!(group::orders_in(&group.history(end)), 3 * 51);
}

#[test]
fn a_leader_steps_down_for_the_node_that_is_asked_for() {
    let group = Group::founded(3);
    let leader = group.leader();
    let next = if leader == 1 { 2 } else { 1 };
    let asked = group.ask(
        leader,
        &Request::StepDown(Some(exahour_replicas::NodeId(next))),
    );
    assert_eq!(asked, Reply::Done);
    group.until("the role has moved", |group| {
        group.try_leader() == Some(next)
    });
    let refused = group.ask(leader, &Request::StepDown(None));
    let Reply::NotNow(why) = refused else {
        panic!("{refused:?}")
    };
    assert!(why.contains(&format!("node {next} leads")), "{why}");
}

#[test]
fn a_node_that_was_away_is_sent_more_than_a_message_can_carry() {
    let mut group = Group::founded(3);
    let leader = group.leader();
    let away = if leader == 3 { 2 } else { 3 };
    group.stop(away);
    let mut client = group.connect(leader, 1);
    // Nearly twice the longest frame between peers.
    place_many(&mut client, 30_000);
    group.start(away);
    let end = group.wait_until_level();
    assert_eq!(group::orders_in(&group.history(end)), 30_000);
}

#[test]
fn a_node_is_added_catches_up_and_takes_the_place_of_another_while_trading_goes_on() {
    let mut group = Group::founded(3);
    let leader = group.leader();
    let mut client = group.connect(leader, 1);
    place_all(&mut client, 1..=100);
    let member = group.new_member(4);
    group.start(4);
    assert_eq!(group.ask_leader(&Request::AddNode(member)), Reply::Done);
    group.until("node 4 learns", |group| {
        let members = group.leader_status().map(|it| it.members);
        let four = members.and_then(|all| all.into_iter().find(|it| it.member == member));
        four.is_some_and(|it| it.standing == Standing::Learner && it.matched > 0)
    });
    place(&mut client, &order(101, 100, Side::Buy, 1));
    let old = if leader == 3 { 2 } else { 3 };
    let change = Request::ReplaceNode {
        old: exahour_replicas::NodeId(old),
        new: member.id,
    };
    group.until("node 4 votes", |group| {
        if group.try_leader() == Some(old) {
            group.ask(old, &Request::StepDown(None));
        }
        group.ask_leader(&change);
        let members = group.leader_status().map(|it| it.members);
        let Some(members) = members else {
            return false;
        };
        let ids: Vec<u64> = members.iter().map(|it| it.member.id.0).collect();
        !ids.contains(&old) && members.iter().all(|it| it.standing == Standing::Voter)
    });
    place_all(&mut client, 102..=150);
    group.stop(old);
    // Two of the three that are left decide, the new one among them.
    let other = (1..=3).find(|id| *id != old && *id != leader).unwrap();
    group.stop(other);
    place(&mut client, &order(151, 100, Side::Buy, 1));
    group.start(other);
    let end = group.wait_until_level();
    assert_eq!(group::orders_in(&group.history(end)), 151);
}

#[test]
fn an_empty_folder_of_a_first_member_is_refused_unless_the_cluster_is_new() {
    let mut group = Group::founded(3);
    group.leader();
    group.stop(2);
    group.empty_folder(2);
    let error = group.refused_start(2);
    assert!(error.contains("Was the disk lost?"), "{error}");
}

/// A bit of what a follower has acknowledged flips while it is down.
#[test]
fn a_damaged_journal_is_cut_and_had_again_from_the_others() {
    let mut group = Group::founded(3);
    let leader = group.leader();
    let mut client = group.connect(leader, 1);
    place_all(&mut client, 1..=100);
    group.wait_until_level();
    let hurt = if leader == 1 { 2 } else { 1 };
    group.stop(hurt);
    let journal = group.journal(hurt);
    let before = inspect(&journal, Verify::Every).unwrap();
    flip_a_bit(
        &first_segment(&journal),
        (before.appended.value() / 2) as usize,
    );
    place_all(&mut client, 101..=120);

    group.start(hurt);
    group.until("the node remembers everything", |group| {
        group.status(hurt).is_some_and(|it| !it.forgetful)
    });
    let end = group.wait_until_level();
    // The leader and this one decide now.
    let other = (1..=3).find(|id| ![leader, hurt].contains(id)).unwrap();
    group.stop(other);
    place(&mut client, &order(121, 100, Side::Buy, 1));
    group.start(other);
    assert!(end < group.wait_until_level());
    let kept: Vec<_> = std::fs::read_dir(&journal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0].extension(), None, "it is known");
    // It is counted on again, though its link is the one on which it said that it may have forgotten.
    let leads = group.leader();
    let gone = (1..=3).find(|id| ![leads, hurt].contains(id)).unwrap();
    let removed = group.ask_leader(&Request::RemoveNode(exahour_replicas::NodeId(gone)));
    assert_eq!(removed, Reply::Done);
    group.stop(gone);
    let end = group.wait_until_level();
    assert_eq!(group::orders_in(&group.history(end)), 121);
}

#[test]
fn nodes_too_far_behind_fetch_a_snapshot_and_go_on_from_it() {
    let mut group = Group::that_releases();
    let leader = group.leader();
    let behind = if leader == 3 { 2 } else { 3 };
    group.stop(behind);
    let mut trade = Trade::new(group.connect(leader, 1));
    // Until the leader has given up what the others need.
    trade.until_released(&group, &[leader], 1_000);
    let fourth = group.new_member(4);
    group.start(behind);
    group.start(4);
    assert_eq!(group.ask_leader(&Request::AddNode(fourth)), Reply::Done);
    let again = trade.until_reopened(&mut group, &[behind, 4]);
    assert!(!again.contains(&leader), "{again:?}");
    trade.place(100);
    while !group.level() {
        group.reopen();
    }
    let end = group.wait_until_level();
    for id in [behind, 4] {
        assert!(group.status(id).unwrap().first_index > 1, "node {id}");
    }
    // They start again from what they have, and lead with it.
    group.stop(behind);
    group.start(behind);
    group.wait_until_level();
    let next = Request::StepDown(Some(exahour_replicas::NodeId(behind)));
    group.until("the role has moved", |group| {
        let led = group.try_leader() == Some(behind);
        led || group.ask_leader(&next) != Reply::Done && group.try_leader() == Some(behind)
    });
    let mut client = group.connect(behind, 2);
    place(&mut client, &order(1, 200, Side::Buy, 1));
    assert!(group.wait_until_level() > end);
    let events: Vec<Vec<u8>> = [1, 2, 3, 4].map(|id| group.events(id)).into();
    // What came while they stopped need not have reached all.
    let least = events.iter().min_by_key(|it| it.len()).unwrap();
    assert_eq!(group::accepted_in(least), trade.orders + 1);
    assert!(
        events.iter().all(|it| it.starts_with(least)),
        "events differ"
    );
}

/// Only the events that it lacks come, and follow those that it has.
#[test]
fn a_node_that_fetches_a_snapshot_keeps_its_own_events() {
    let mut group = Group::that_releases();
    let leader = group.leader();
    let behind = if leader == 3 { 2 } else { 3 };
    let mut trade = Trade::new(group.connect(leader, 1));
    trade.until_released(&group, &[behind], 1);
    group.wait_until_level();
    let had = group.status(behind).unwrap().last_index;
    group.stop(behind);
    let segment = first_segment(&group.events_folder(behind));
    let before = std::fs::metadata(&segment).unwrap().ino();
    trade.until_released(&group, &[leader], had + 1_000);
    group.start(behind);
    trade.until_reopened(&mut group, &[behind]);
    while !group.level() {
        group.reopen();
    }
    group.wait_until_level();
    assert_eq!(std::fs::metadata(&segment).unwrap().ino(), before);
    let [own, others] = [behind, leader].map(|id| group.events(id));
    assert!(own == others, "events differ");
    assert_eq!(group::accepted_in(&own), trade.orders);
}

/// A leader that is new knows nothing of what a member has which was away, until that says so.
#[test]
fn a_member_that_lacks_little_is_sent_no_snapshot_by_a_leader_that_is_new() {
    let mut group = Group::that_releases();
    let leader = group.leader();
    let mut trade = Trade::new(group.connect(leader, 1));
    trade.until_released(&group, &[1, 2, 3], 1);
    let had = group.wait_until_level();
    let away = if leader == 3 { 2 } else { 3 };
    let next = 6 - leader - away;
    group.stop(away);
    let step_down = Request::StepDown(Some(exahour_replicas::NodeId(next)));
    group.until("the role has moved", |group| {
        let led = group.try_leader() == Some(next);
        led || group.ask_leader(&step_down) != Reply::Done && group.try_leader() == Some(next)
    });
    // It has a snapshot to send which the member has not, and everything that the member lacks.
    trade.place(1);
    assert_eq!(group.ask(next, &Request::TakeSnapshot), Reply::Done);
    group.until("a snapshot is taken", |group| {
        group.status(next).is_some_and(|it| it.snapshot > had)
    });
    assert!(group.status(next).unwrap().first_index <= had);
    group.start(away);
    group.until("it is level", |group| {
        assert!(!group.has_ended(away), "it was sent for a snapshot");
        group.level()
    });
}

/// The snapshots of a follower are lost, whose journal begins behind one of them.
#[test]
fn a_journal_whose_snapshot_is_gone_is_set_aside_and_its_node_has_all_again() {
    let mut group = Group::that_releases();
    let leader = group.leader();
    let hurt = if leader == 3 { 2 } else { 3 };
    let mut trade = Trade::new(group.connect(leader, 1));
    trade.until_released(&group, &[leader, hurt], 1);
    group.stop(hurt);
    // Those of another version of the program are not gone.
    for snapshot in std::fs::read_dir(group.snapshots(hurt)).unwrap() {
        let path = snapshot.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8] ^= 0x40;
        std::fs::write(&path, bytes).unwrap();
    }
    let refused = group.refused_start(hurt);
    assert!(refused.contains("no snapshot of that place"), "{refused}");
    assert_eq!(group.damaged_parts(hurt), 0);
    std::fs::remove_dir_all(group.snapshots(hurt)).unwrap();
    group.start(hurt);
    assert_eq!(group.damaged_parts(hurt), 1);
    let again = trade.until_reopened(&mut group, &[hurt]);
    assert_eq!(again, [hurt]);
    trade.place(20);
    while !group.level() {
        group.reopen();
    }
    group.until("it has everything again", |group| {
        group.status(hurt).is_some_and(|it| !it.forgetful)
    });
    let (left, right) = (group.events(leader), group.events(hurt));
    let least = if left.len() < right.len() {
        &left
    } else {
        &right
    };
    assert_eq!(group::accepted_in(least), trade.orders);
    assert!(
        left.starts_with(least) && right.starts_with(least),
        "events differ"
    );
}

/// What a leader would send cannot be read at that moment: the node that asks waits, and nobody else.
#[test]
fn a_leader_that_cannot_send_a_snapshot_trades_on() {
    let mut group = Group::that_releases();
    let leader = group.leader();
    let behind = if leader == 3 { 2 } else { 3 };
    group.stop(behind);
    let mut trade = Trade::new(group.connect(leader, 1));
    trade.until_released(&group, &[leader], 1);
    let marks = group.events_folder(leader).join("control");
    let hidden = marks.with_extension("hidden");
    std::fs::rename(&marks, &hidden).unwrap();
    let refused = group::notices_of("a snapshot was not sent");
    group.start(behind);
    group.until("the leader could not send it", |_| {
        group::notices_of("a snapshot was not sent") > refused
    });
    trade.place(1);
    std::fs::rename(&hidden, &marks).unwrap();
    let again = trade.until_reopened(&mut group, &[behind]);
    assert_eq!(again, [behind]);
    assert_eq!(group.leader(), leader);
}

#[test]
fn a_damaged_journal_is_had_again_from_the_peers_and_until_then_its_node_gives_no_vote() {
    let mut group = Group::founded(3);
    let leader = group.leader();
    let damaged = if leader == 3 { 2 } else { 3 };
    let other = (1..=3).find(|id| *id != leader && *id != damaged).unwrap();
    let mut client = group.connect(leader, 1);
    place_all(&mut client, 1..=300);
    group.wait_until_level();
    group.stop(damaged);
    flip_a_bit(&first_segment(&group.journal(damaged)), 8_192);
    // Of the two others one alone is no quorum, and the third does not know what it has promised.
    group.stop(other);
    group.start(damaged);
    group.until("it knows that it may have forgotten", |group| {
        group.status(damaged).is_some_and(|it| it.forgetful)
    });
    group.start(other);
    group.until("it has everything again", |group| {
        group.status(damaged).is_some_and(|it| !it.forgetful)
    });
    let leader = group.leader();
    let mut client = group.connect(leader, 2);
    place(&mut client, &order(1, 200, Side::Buy, 1));
    let end = group.wait_until_level();
    assert!(group.damaged_parts(damaged) > 0);
    assert_eq!(group::orders_in(&group.history(end)), 301);
}

#[test]
fn operators_have_a_snapshot_taken_and_a_behaviour_brought_into_force() {
    let group = Group::founded_with(
        3,
        "[journal]\nsegment_bytes = 1048576\n[snapshots]\njournal_bytes = 0\n",
    );
    let leader = group.leader();
    let mut client = group.connect(leader, 1);
    place(&mut client, &order(1, 100, Side::Buy, 1));
    for id in 1..=3 {
        assert_eq!(group.ask(id, &Request::TakeSnapshot), Reply::Done);
    }
    group.until("every node has a snapshot", |group| {
        group.statuses().iter().all(|it| it.snapshot > 0)
    });
    let status = group.status(leader).unwrap();
    // A new exchange has the newest there is.
    assert_eq!(status.behaviour, status.behaviour_max);
    let refused = group.ask_leader(&Request::Activate(status.behaviour));
    assert!(matches!(refused, Reply::Refused(_)), "{refused:?}");
    let refused = group.ask_leader(&Request::Activate(status.behaviour_max + 1));
    assert!(matches!(refused, Reply::Refused(_)), "{refused:?}");
}

/// A member lacks much more than fits one message of raft's.
#[test]
fn a_follower_megabytes_behind_catches_up_by_the_log() {
    let mut group = Group::founded(3);
    let leader = group.leader();
    let behind = if leader == 3 { 2 } else { 3 };
    group.stop(behind);
    let mut client = group.connect(leader, 1);
    flood(&mut client, 100, 60_000);
    group.start(behind);
    let end = group.wait_until_level();
    assert_eq!(group::orders_in(&group.history(end)), 60_000);
}

#[test]
fn a_change_that_would_leave_no_quorum_is_refused() {
    let mut group = Group::founded(3);
    let leader = group.leader();
    let [dead, alive] = [(leader % 3) + 1, (leader + 1) % 3 + 1];
    group.stop(dead);
    let remove = Request::RemoveNode(exahour_replicas::NodeId(alive));
    let refused = group.ask_leader(&remove);
    assert!(matches!(refused, Reply::Refused(_)), "{refused:?}");
    let remove = Request::RemoveNode(exahour_replicas::NodeId(dead));
    assert_eq!(group.ask_leader(&remove), Reply::Done);
    group.until("it is gone", |group| {
        group
            .leader_status()
            .is_some_and(|it| it.members.len() == 2)
    });
}

#[test]
fn a_later_member_with_an_empty_folder_is_not_listened_to() {
    let mut group = Group::founded(3);
    group.leader();
    let member = group.new_member(4);
    group.start(4);
    assert_eq!(group.ask_leader(&Request::AddNode(member)), Reply::Done);
    group.until("node 4 votes", |group| {
        group.ask_leader(&Request::Promote(member.id));
        let members = group.leader_status().map(|it| it.members);
        members.is_some_and(|all| all.iter().all(|it| it.standing == Standing::Voter))
    });
    group.wait_until_level();
    let told = group.leader_status().unwrap().last_index;
    group.stop(4);
    group.empty_folder(4);
    group.start(4);
    // Long enough for many appends and votes.
    group.until("time has passed", |group| {
        let mut client = group.connect(group.leader(), 1);
        place(&mut client, &order(told, 100, Side::Buy, 1));
        group.leader_status().is_some_and(|it| it.last_index > told)
    });
    let four = group.status(4).unwrap();
    assert_eq!((four.last_index, four.committed), (0, 0), "{four:?}");
    // The leader says of whom it is that it does not listen to it.
    group.until("the leader tells of it", |group| {
        let members = group.leader_status().map_or(Vec::new(), |it| it.members);
        let refused: Vec<u64> = members
            .iter()
            .filter(|it| it.refused)
            .map(|it| it.member.id.0)
            .collect();
        refused == [4]
    });
    // Nor is it counted on: without two more the leader and this one would decide.
    let leader = group.leader();
    let [dead, alive] = [(leader % 3) + 1, (leader + 1) % 3 + 1];
    group.stop(dead);
    group.until("the leader knows", |group| {
        let members = group.leader_status().map(|it| it.members);
        let lost =
            |all: Vec<MemberStatus>| all.iter().any(|it| it.member.id.0 == dead && !it.linked);
        members.is_some_and(lost)
    });
    let remove = Request::RemoveNode(exahour_replicas::NodeId(alive));
    let refused = group.ask(leader, &remove);
    assert!(matches!(refused, Reply::Refused(_)), "{refused:?}");
}

/// Also by a leader that was away while a node came and went, and knows by a snapshot who is left.
#[test]
fn a_number_is_never_given_again() {
    let mut group = Group::that_releases();
    let leader = group.leader();
    let behind = if leader == 3 { 2 } else { 3 };
    group.stop(behind);
    let gone = group.new_member(9);
    group.start(9);
    assert_eq!(group.ask_leader(&Request::AddNode(gone)), Reply::Done);
    let is_member = |group: &Group| {
        let status = group.leader_status()?;
        Some(status.members.iter().any(|it| it.member == gone))
    };
    group.until("it is a member", |group| is_member(group) == Some(true));
    let remove = Request::RemoveNode(gone.id);
    group.until("it is gone", |group| {
        group.ask_leader(&remove);
        is_member(group) == Some(false)
    });
    group.stop(9);
    let mut trade = Trade::new(group.connect(leader, 1));
    trade.until_released(&group, &[leader], 1);
    group.start(behind);
    trade.until_reopened(&mut group, &[behind]);
    while !group.level() {
        group.reopen();
    }
    group.wait_until_level();
    for next in [leader, behind] {
        let step_down = Request::StepDown(Some(exahour_replicas::NodeId(next)));
        group.until("the role has moved", |group| {
            let led = group.try_leader() == Some(next);
            led || group.ask_leader(&step_down) != Reply::Done && group.try_leader() == Some(next)
        });
        for id in [9, 4] {
            let member = Member {
                id: exahour_replicas::NodeId(id),
                ..gone
            };
            let refused = group.ask_leader(&Request::AddNode(member));
            let Reply::Refused(why) = refused else {
                panic!("{refused:?}")
            };
            assert!(why.contains("take 10 or a higher one"), "{why}");
        }
    }
}

/// A node that is started long before it is added links to the others by itself.
#[test]
fn a_node_that_is_linked_already_is_added() {
    let mut group = Group::founded(3);
    group.leader();
    let member = group.new_member(4);
    group.start(4);
    group.until("it is linked", |group| {
        let members = group.status(4).map_or(Vec::new(), |it| it.members);
        members.len() == 3 && members.iter().all(|it| it.linked)
    });
    assert_eq!(group.ask_leader(&Request::AddNode(member)), Reply::Done);
    group.until("it follows", |group| {
        let members = group.leader_status().map_or(Vec::new(), |it| it.members);
        members
            .iter()
            .any(|it| it.member == member && it.matched > 0)
    });
}

/// It learns so where it is removed while it runs, and where it was not there then.
#[test]
fn a_node_that_was_removed_says_so() {
    let mut group = Group::founded(3);
    group.leader();
    let said = |id: u64| group::notices_of(&format!("node {id} was removed from its cluster"));
    for id in [7, 8] {
        let member = group.new_member(id);
        group.start(id);
        assert_eq!(group.ask_leader(&Request::AddNode(member)), Reply::Done);
        group.until("it follows", |group| {
            let members = group.leader_status().map_or(Vec::new(), |it| it.members);
            let has = |it: &MemberStatus| it.member == member && it.matched > 0;
            members.iter().any(has) && group.level()
        });
    }
    assert_eq!((said(7), said(8)), (0, 0));
    group.stop(8);
    for id in [7, 8] {
        let remove = Request::RemoveNode(exahour_replicas::NodeId(id));
        group.until("it is gone", |group| {
            group.ask_leader(&remove);
            let members = group.leader_status().map(|it| it.members);
            members.is_some_and(|all| all.iter().all(|it| it.member.id.0 != id))
        });
    }
    group.until("7 says so", |_| said(7) == 1);
    for times in 1..=2 {
        group.start(8);
        group.until("8 says so", |_| said(8) == times);
        group.stop(8);
    }
}

/// What is left of the promises says nothing of them, and the journal says that there were some.
#[test]
fn promises_without_a_byte_beside_a_journal_are_lost() {
    let mut group = Group::founded(3);
    group.leader();
    group.wait_until_level();
    group.stop(2);
    let promises = group.journal(2).with_file_name("raft-state");
    std::fs::write(&promises, "").unwrap();
    let error = group.refused_start(2);
    assert!(error.contains("raft-state is gone"), "{error}");
}

#[test]
fn an_empty_journal_beside_promises_is_refused() {
    let mut group = Group::founded(3);
    group.leader();
    group.stop(2);
    std::fs::remove_dir_all(group.journal(2)).unwrap();
    std::fs::create_dir(group.journal(2)).unwrap();
    let error = group.refused_start(2);
    assert!(error.contains("may have forgotten"), "{error}");
}

/// A leader is left alone with orders that nobody else has; they are superseded while it is down.
#[test]
fn a_node_whose_last_entries_are_superseded_serves_market_data_again() {
    let mut group = Group::founded(3);
    let leader = group.leader();
    let mut client = group.connect(leader, 1);
    place(&mut client, &order(1, 100, Side::Buy, 1));
    let committed = group.wait_until_level();
    let followers: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    followers.iter().for_each(|id| group.stop(*id));
    let mut name = 1;
    group.until("the leader has more than is committed", |group| {
        name += 1;
        let _ = client.send(&order(name, 100, Side::Buy, 1));
        group
            .status(leader)
            .is_some_and(|it| it.last_index >= committed + 7)
    });
    drop(client);
    group.stop(leader);
    followers.iter().for_each(|id| group.start(*id));
    group.leader();
    group.start(leader);
    let end = group.wait_until_level();
    assert!(end < committed + 7, "{end} after {committed}");
    assert!(group.serves_market_data(leader));
}

/// The damage lies before all snapshots, and the beginning of the journal is given up.
#[test]
fn a_damaged_event_log_costs_no_node_its_journal() {
    let mut group = Group::that_releases();
    let leader = group.leader();
    let hurt = if leader == 3 { 2 } else { 3 };
    let mut trade = Trade::new(group.connect(leader, 1));
    trade.until_released(&group, &[leader, hurt], 1);
    group.stop(hurt);
    flip_a_bit(&first_segment(&group.events_folder(hurt)), 8_192);
    for _ in 0..2 {
        let refused = group.refused_start(hurt);
        assert!(
            refused.contains("journal and snapshots are whole"),
            "{refused}"
        );
        assert_eq!(group.damaged_parts(hurt), 0);
    }
    trade.place(1);
}
