//! How long a node waits for a word from the leader before it asks for votes.
//!
//! Used by `consensus` after every step of raft, which would draw from the system's dice.
//!
//! Always holds: it follows from the members and the term alone, so that a run can be repeated; no two voters
//! of a term wait equally long, so that the first to ask has its votes before another asks; nobody asks while
//! the others may still hold to the leader.

use super::mix;

/// Ticks for which nodes hold to a leader that they have heard: its silence lasts longer before anybody asks
/// for votes. Far above what a flush or a stall of the machine takes.
pub(super) const ELECTION_TICKS: usize = 20;

/// Ticks on top, at least: what was heard last came to one a little later than to another.
const MARGIN_TICKS: usize = 2;

/// Over so many ticks the voters are spread.
const SPREAD_TICKS: usize = ELECTION_TICKS - MARGIN_TICKS;

/// Ticks that a node waits in a term: less than twice [`ELECTION_TICKS`].
///
/// The voters stand around a circle of [`SPREAD_TICKS`] at equal distances, and each term turns it anew.
pub(super) fn election_ticks(voters: &[u64], node: u64, term: u64) -> usize {
    let rank = voters.iter().filter(|voter| **voter < node).count();
    let place = rank * SPREAD_TICKS / voters.len().max(1);
    // The remainder is below `SPREAD_TICKS`.
    let turned = (mix(term) % SPREAD_TICKS as u64) as usize;
    ELECTION_TICKS + MARGIN_TICKS + (turned + place) % SPREAD_TICKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_voters_ask_at_about_the_same_time_and_each_is_the_first_in_some_term() {
        for (voters, apart) in [
            (vec![1, 2, 3], 6),
            (vec![4, 2, 9, 7, 5], 3),
            ((1..=7).collect::<Vec<u64>>(), 2),
        ] {
            let mut first = std::collections::BTreeSet::new();
            for term in 1..1_000 {
                let ticks = |node: &u64| election_ticks(&voters, *node, term);
                let mut all: Vec<(usize, u64)> = voters.iter().map(|it| (ticks(it), *it)).collect();
                all.sort_unstable();
                assert!(all.iter().all(|(ticks, _)| (22..40).contains(ticks)));
                for pair in all.windows(2) {
                    assert!(
                        pair[1].0 - pair[0].0 >= apart,
                        "{voters:?}, {term}: {all:?}"
                    );
                }
                first.insert(all[0].1);
            }
            assert_eq!(first.len(), voters.len());
        }
    }
}
