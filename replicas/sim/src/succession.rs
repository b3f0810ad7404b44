//! How soon a leader is followed by another, and that nobody follows one who lives.
//!
//! Tests only: worlds in which nothing else happens.

#![cfg(test)]

use exahour_wire::codes::Durability;
use exahour_wire::units::{Nanos, PartsPerMillion};

use crate::cluster::Cluster;
use crate::net::{Death, HostId};
use crate::node::SimNode;
use crate::swarm::{Options, Plan};
use crate::trace::Trace;

const MILLI: u64 = 1_000_000;

/// For so long nodes hold to a leader that they do not hear, unless they know better.
const ELECTION: Nanos = Nanos(200 * MILLI);

/// Rounds of each test: with three nodes every place is the first in some term.
const ROUNDS: usize = 12;

/// Three nodes that are well, at rest.
fn three(seed: u64) -> Cluster {
    let mut cluster = calm(seed, 3, Durability::Durable);
    settle(&mut cluster);
    cluster
}

/// So many nodes that are well, and that nothing befalls.
pub(crate) fn calm(seed: u64, nodes: usize, durability: Durability) -> Cluster {
    let options = Options {
        nodes: Some(nodes),
        ..Options::default()
    };
    let mut plan = Plan::of(seed, &options);
    plan.troubles.kinds.clear();
    plan.duties = None;
    plan.onlookers = false;
    plan.programs = None;
    plan.durability = durability;
    plan.forgets = false;
    plan.weather.delay = (Nanos(20_000), Nanos(200_000));
    plan.weather.loss = PartsPerMillion(0);
    plan.weather.reset = PartsPerMillion(0);
    plan.weather.ghost = PartsPerMillion(0);
    plan.wear.flush = (Nanos(100_000), Nanos(300_000));
    plan.wear.slow = PartsPerMillion(0);
    Cluster::new(seed, plan, Trace::default()).unwrap()
}

/// Lets all of them start, follow one, and hear it for a while.
pub(crate) fn settle(cluster: &mut Cluster) {
    let end = cluster.now().after(Nanos(20_000 * MILLI));
    let level = |it: &Cluster| {
        let last = it.nodes.iter().map(SimNode::committed).max();
        let here = |node: &SimNode| node.is_up() && Some(node.committed()) == last;
        it.overheard.last_leader().is_some() && last > Some(0) && it.nodes.iter().all(here)
    };
    while !level(cluster) {
        assert!(cluster.now() < end, "they do not come together");
        cluster.step().unwrap();
    }
    pass(cluster, Nanos(500 * MILLI));
}

pub(crate) fn pass(cluster: &mut Cluster, span: Nanos) {
    let end = cluster.now().after(span);
    while cluster.now() < end {
        cluster.step().unwrap();
    }
}

pub(crate) fn leader(cluster: &Cluster) -> HostId {
    let id = cluster.overheard.last_leader().unwrap();
    HostId(id as usize - 1)
}

/// How long it takes until another leads, where the present leader ends like this.
fn succession(cluster: &mut Cluster, death: Death) -> Nanos {
    let (gone, terms) = (leader(cluster), cluster.overheard.terms_led());
    let began = cluster.now();
    cluster.nodes[gone.0].kill(death, began, Nanos(3_000 * MILLI));
    while cluster.overheard.terms_led() == terms {
        assert!(cluster.now() < began.after(Nanos(2_000 * MILLI)));
        cluster.step().unwrap();
    }
    assert_eq!(cluster.overheard.terms_led(), terms + 1);
    assert_ne!(leader(cluster), gone);
    Nanos(cluster.now().0 - began.0)
}

/// The links of a process that ends break, and nobody waits as long as for a leader that is silent.
#[test]
fn a_leader_whose_process_ends_is_followed_before_its_silence_would_tell() {
    let mut cluster = three(1);
    for round in 0..ROUNDS {
        let took = succession(&mut cluster, Death::Process);
        assert!(took < ELECTION, "round {round}: {took:?}");
        settle(&mut cluster);
    }
}

/// A machine that loses its power breaks no link.
#[test]
fn a_leader_that_falls_silent_is_followed_after_an_election_timeout() {
    let mut cluster = three(2);
    for round in 0..ROUNDS {
        let took = succession(&mut cluster, Death::Machine);
        let most = Nanos(2 * ELECTION.0 + 20 * MILLI);
        let least = Nanos(ELECTION.0 - 50 * MILLI);
        assert!(took > least && took < most, "round {round}: {took:?}");
        settle(&mut cluster);
    }
}

/// A connection that breaks is made anew, and whoever hears the leader holds to it meanwhile. How long the others
/// wait changes with the term.
#[test]
fn links_that_break_cost_a_living_leader_nothing() {
    let mut cluster = three(3);
    for _ in 0..ROUNDS {
        let (before, terms) = (leader(&cluster), cluster.overheard.terms_led());
        for _ in 0..10 {
            cluster.break_a_connection();
            pass(&mut cluster, Nanos(400 * MILLI));
        }
        assert_eq!(cluster.overheard.terms_led(), terms);
        assert_eq!(leader(&cluster), before);
        succession(&mut cluster, Death::Process);
        settle(&mut cluster);
    }
}

/// One follower that does not hear the leader any more gets no vote from one that does.
#[test]
fn a_link_that_is_cut_costs_a_living_leader_nothing() {
    let mut cluster = three(4);
    let before = leader(&cluster);
    let terms = cluster.overheard.terms_led();
    for follower in (0..3).map(HostId).filter(|it| *it != before) {
        cluster.cut(before, follower, true);
        pass(&mut cluster, Nanos(4_000 * MILLI));
        cluster.cut(before, follower, false);
        settle(&mut cluster);
    }
    assert_eq!(cluster.overheard.terms_led(), terms);
    assert_eq!(leader(&cluster), before);
}
