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
pub(super) fn rounds(kills: u64, seed: u64) -> Vec<Round> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let all = kills / KILLS_OF_ALL;
    let followers = kills / KILLS_OF_A_FOLLOWER;
    let others = kills.div_ceil(KILLS_A_ROUND_OF_OTHERS);
    let mut faults = vec![Fault::KillAll; count(all)];
    faults.resize(count(all + followers), Fault::Kill(Victim::Follower));
    faults.resize(count(kills), Fault::Kill(Victim::Leader));
    for _ in 0..others {
        for victim in [Victim::Leader, Victim::Follower] {
            faults.push(Fault::Pause(victim, span(&mut random)));
            faults.push(Fault::CutOff(victim, span(&mut random)));
        }
        faults.push(Fault::Deafen(Victim::Leader, span(&mut random)));
        faults.push(Fault::StepDown);
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
        let rounds = rounds(12, 5);
        let number = |fault: Fault| rounds.iter().filter(|it| it.fault == fault).count();
        assert_eq!(number(Fault::Kill(Victim::Leader)), 8);
        assert_eq!(number(Fault::Kill(Victim::Follower)), 2);
        assert_eq!(number(Fault::KillAll), 2);
        assert_eq!(number(Fault::StepDown), 1);
        assert_eq!(rounds.len(), 12 + 6);
    }

    #[test]
    fn a_seed_gives_its_rounds_again() {
        let told = |seed| format!("{:?}", rounds(40, seed));
        assert_eq!(told(3), told(3));
        assert_ne!(told(3), told(4));
    }
}
