//! What a group can do without once members have left: nobody is sent home too early.
//!
//! Tests only: worlds in which nothing else happens.

#![cfg(test)]

use exahour_replicas::{NodeId, NodeStatus, Reply, Request};
use exahour_wire::codes::Durability;
use exahour_wire::units::Nanos;

use crate::cluster::Cluster;
use crate::net::{Death, HostId};
use crate::operator::Heard;
use crate::succession::{calm, leader, pass, settle};

const MILLI: u64 = 1_000_000;

/// The id of the node on a host.
fn id(host: HostId) -> NodeId {
    NodeId(host.0 as u64 + 1)
}

fn ask(cluster: &mut Cluster, host: HostId, request: Request) -> Reply {
    match cluster.call(host.0, request).unwrap() {
        Heard::Reply(reply) => reply,
        Heard::Lost => panic!("{host} does not answer {request:?}"),
    }
}

fn status(cluster: &mut Cluster, host: HostId) -> NodeStatus {
    match ask(cluster, host, Request::Status) {
        Reply::Status(status) => *status,
        reply => panic!("{reply:?}"),
    }
}

fn members(status: &NodeStatus) -> usize {
    status.members.len()
}

/// The leader knows that a member has left, and those who may lead next do not: they would need the member to
/// choose one, should the leader end.
#[test]
fn a_member_has_left_only_once_nobody_needs_it_to_choose_the_next_leader() {
    for seed in 10..20 {
        let mut cluster = calm(seed, 4, Durability::Replicated);
        settle(&mut cluster);
        let leads = leader(&cluster);
        let others: Vec<HostId> = (0..4).map(HostId).filter(|it| *it != leads).collect();
        let [gone, hears, cut_off] = others[..] else {
            panic!("{others:?}");
        };
        let remove = Request::RemoveNode(id(gone));
        let first = ask(&mut cluster, leads, remove);
        assert!(matches!(first, Reply::NotNow(_)), "{first:?}");
        pass(&mut cluster, Nanos(50 * MILLI));
        let before = cluster.nodes[leads.0].committed();
        let mut call = Some(cluster.begin_call(leads.0, remove).unwrap());
        while cluster.nodes[leads.0].committed() == before {
            let heard = call.as_mut().and_then(|call| call.turn(cluster.now()));
            if heard.is_some() {
                call = None;
            }
            cluster.step().unwrap();
        }
        for other in [hears, cut_off] {
            assert_eq!(cluster.nodes[other.0].committed(), before);
            cluster.cut(leads, other, true);
        }
        pass(&mut cluster, Nanos(50 * MILLI));
        let said = status(&mut cluster, leads);
        assert_eq!((members(&said), said.members_known), (3, false));
        cluster.cut(leads, hears, false);
        let end = cluster.now().after(Nanos(5_000 * MILLI));
        while !status(&mut cluster, leads).members_known {
            assert!(cluster.now() < end, "seed {seed}: it is never known");
        }
        let (now, terms) = (cluster.now(), cluster.overheard.terms_led());
        cluster.nodes[gone.0].retire(Death::Process, now);
        cluster.nodes[leads.0].retire(Death::Process, now);
        while cluster.overheard.terms_led() == terms {
            assert!(cluster.now() < end, "seed {seed}: nobody leads");
            cluster.step().unwrap();
        }
    }
}

/// A machine without power breaks no link, so it seems to be there for a while.
#[test]
fn a_voter_whose_end_is_not_noticed_yet_is_not_counted_on() {
    let mut cluster = calm(30, 3, Durability::Durable);
    settle(&mut cluster);
    let leads = leader(&cluster);
    let others: Vec<HostId> = (0..3).map(HostId).filter(|it| *it != leads).collect();
    let [dead, alive] = others[..] else {
        panic!("{others:?}");
    };
    let remove = Request::RemoveNode(id(alive));
    let began = cluster.now();
    cluster.nodes[dead.0].kill(Death::Machine, began, Nanos(3_000 * MILLI));
    let mut refused = false;
    while cluster.now() < began.after(Nanos(2_900 * MILLI)) {
        match ask(&mut cluster, leads, remove) {
            Reply::NotNow(_) => assert!(!refused),
            Reply::Refused(_) => refused = true,
            reply => panic!("{reply:?}"),
        }
        pass(&mut cluster, Nanos(30 * MILLI));
    }
    assert!(refused, "its silence is never noticed");
    settle(&mut cluster);
    let end = cluster.now().after(Nanos(5_000 * MILLI));
    while ask(&mut cluster, leads, remove) != Reply::Done {
        assert!(cluster.now() < end, "it is not counted on again");
        pass(&mut cluster, Nanos(30 * MILLI));
    }
}
