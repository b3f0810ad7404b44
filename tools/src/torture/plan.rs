//! What is done to the nodes, round by round, from a seed.
//!
//! Always holds: the same seed and numbers give the same rounds; the numbers of each kind are exact, only
//! their order and their details are drawn.

use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Of so many kills one is of all nodes at once.
const KILLS_OF_ALL: u64 = 6;
/// Of so many kills one is of a follower.
const KILLS_OF_A_FOLLOWER: u64 = 6;
/// So many kills come with one fault of each other kind.
const KILLS_A_ROUND_OF_OTHERS: u64 = 12;
/// Of so many rounds of the other faults one has a node that is away for long; the first has.
const ROUNDS_AN_ABSENCE: u64 = 2;

/// Whom a fault befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    Leader,
    Follower,
}

/// What happens in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// kill -9.
    Kill(Victim),
    /// kill -9 of every node.
    KillAll,
    /// SIGSTOP, and SIGCONT after this time.
    Pause(Victim, Duration),
    /// The leader hands over.
    StepDown,
    /// Nothing passes between the node and the others for this time.
    CutOff(Victim, Duration),
    /// The node hears nothing of the others, and they hear it.
    Deafen(Victim, Duration),
    /// The others hear nothing of the node, and it hears them.
    Mute(Victim, Duration),
    /// Nothing passes between the leader and one follower; both reach everybody else.
    Part(Duration),
    /// A follower is killed, and away until the leader's journal has given up what it lacks: it comes back by
    /// a snapshot.
    Away,
    /// The cable of the node is pulled: nobody reaches it, clients neither.
    Unplug(Victim, Duration),
    /// There is no room left on the node's disk for this time, while clients hurry.
    FillDisk(Victim, Duration),
    /// The node's disk stands still for this time.
    StallDisk(Victim, Duration),
    /// The node's disk stands still for a moment, again and again, for this time.
    SlowDisk(Victim, Duration),
}

/// What the nodes have of their own, which can be taken from them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Own {
    pub(super) disks: bool,
    pub(super) networks: bool,
}

/// A round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// Answers to wait for before it.
    pub(super) answers: u64,
    pub(super) fault: Fault,
    /// Whether what was killed comes back before anybody was answered without it.
    pub(super) back_at_once: bool,
    /// For what else is to be drawn.
    pub(super) chance: u64,
}

/// The rounds of a torture with so many kills.
pub(super) fn rounds(kills: u64, seed: u64, own: Own) -> Vec<Round> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let all = kills / KILLS_OF_ALL;
    let followers = kills / KILLS_OF_A_FOLLOWER;
    let mut faults = vec![Fault::KillAll; count(all)];
    faults.resize(count(all + followers), Fault::Kill(Victim::Follower));
    faults.resize(count(kills), Fault::Kill(Victim::Leader));
    for _ in 0..kills.div_ceil(KILLS_A_ROUND_OF_OTHERS) {
        for victim in [Victim::Leader, Victim::Follower] {
            faults.push(Fault::Pause(victim, span(&mut random)));
            faults.push(Fault::CutOff(victim, span(&mut random)));
        }
        faults.push(Fault::Deafen(Victim::Leader, span(&mut random)));
        faults.push(Fault::Mute(either(&mut random), span(&mut random)));
        faults.push(Fault::Part(span(&mut random)));
        faults.push(Fault::StepDown);
        faults.extend(of_own(own, &mut random));
    }
    for _ in 0..(kills / KILLS_A_ROUND_OF_OTHERS).div_ceil(ROUNDS_AN_ABSENCE) {
        faults.push(Fault::Away);
    }
    faults.shuffle(&mut random);
    let round = |fault| Round {
        answers: random.random_range(20..400),
        fault,
        back_at_once: random.random_bool(0.4),
        chance: random.random(),
    };
    faults.into_iter().map(round).collect()
}

/// One of each kind that takes something of the nodes' own.
fn of_own(own: Own, random: &mut ChaCha8Rng) -> Vec<Fault> {
    let mut faults = Vec::new();
    if own.networks {
        faults.push(Fault::Unplug(either(random), span(random)));
    }
    if own.disks {
        for victim in [Victim::Leader, Victim::Follower] {
            faults.push(Fault::FillDisk(victim, span(random) * 2));
            faults.push(Fault::StallDisk(victim, span(random)));
        }
        faults.push(Fault::SlowDisk(either(random), span(random)));
    }
    faults
}

fn either(random: &mut ChaCha8Rng) -> Victim {
    match random.random_bool(0.5) {
        true => Victim::Leader,
        false => Victim::Follower,
    }
}

/// Shorter than an election takes, or much longer.
fn span(random: &mut ChaCha8Rng) -> Duration {
    Duration::from_millis(random.random_range(50..1_500))
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_torture_has_every_kind_in_its_number() {
        let rounds = rounds(24, 5, Own::default());
        let number = |fault: Fault| rounds.iter().filter(|it| it.fault == fault).count();
        assert_eq!(number(Fault::Kill(Victim::Leader)), 16);
        assert_eq!(number(Fault::Kill(Victim::Follower)), 4);
        assert_eq!(number(Fault::KillAll), 4);
        assert_eq!(number(Fault::StepDown), 2);
        assert_eq!(number(Fault::Away), 1);
        assert_eq!(rounds.len(), 24 + 2 * 8 + 1);
    }

    #[test]
    fn what_nodes_have_of_their_own_is_taken_from_them_only_where_they_have_it() {
        let own = Own {
            disks: true,
            networks: true,
        };
        let kinds = |own| {
            let rounds = rounds(12, 5, own);
            let is_own = |round: &&Round| {
                matches!(
                    round.fault,
                    Fault::Unplug(..)
                        | Fault::FillDisk(..)
                        | Fault::StallDisk(..)
                        | Fault::SlowDisk(..)
                )
            };
            rounds.iter().filter(is_own).count()
        };
        assert_eq!(kinds(Own::default()), 0);
        assert_eq!(kinds(own), 6);
    }

    #[test]
    fn a_seed_gives_its_rounds_again() {
        let told = |seed| format!("{:?}", rounds(40, seed, Own::default()));
        assert_eq!(told(3), told(3));
        assert_ne!(told(3), told(4));
    }
}
