//! Mistakes that are made on purpose are found, each within a number of seeds (docs/GUARANTEES.md has the table).
//!
//! `cargo test -p exahour-sim --features defects --test defects`

use exahour_journal::defects::Defect;
use exahour_sim::{Options, Pace, run};

/// Worlds in which a mistake shows.
const DRAWN: Options = Options {
    nodes: None,
    length: Options::LENGTH,
    pace: Pace::Drawn,
    trace_lines: Options::TRACE_LINES,
    defect: None,
};

/// The simulator finds a mistake within so many seeds, in worlds that hold without it.
fn found_within(seeds: u64, worlds: Options, defect: Defect) {
    let options = Options {
        defect: Some(defect),
        ..worlds
    };
    let found = (0..seeds).find_map(|seed| {
        let why = run(seed, &options).violation?;
        run(seed, &worlds)
            .violation
            .is_none()
            .then_some((seed, why))
    });
    let Some((seed, why)) = found else {
        panic!("{defect:?} is not found within {seeds} seeds");
    };
    println!("{defect:?} is found at seed {seed}: {why}");
}

fn three(pace: Pace) -> Options {
    Options {
        nodes: Some(3),
        pace,
        ..DRAWN
    }
}

#[test]
fn what_is_said_to_be_safe_and_is_not() {
    found_within(10, DRAWN, Defect::SkippedFlush);
    found_within(10, DRAWN, Defect::EarlyAck);
    found_within(10, three(Pace::Drawn), Defect::AckBeforeFlush);
}

#[test]
fn a_name_that_is_not_kept() {
    found_within(20, DRAWN, Defect::SkippedFolderSync);
}

#[test]
fn a_snapshot_whose_name_is_not_kept_though_what_it_stands_for_is_gone() {
    found_within(20, DRAWN, Defect::SkippedSnapshotSync);
}

#[test]
fn a_tail_that_was_flushed_and_is_cut() {
    found_within(10, DRAWN, Defect::TruncatedTail);
}

#[test]
fn damage_that_nobody_looks_for() {
    found_within(20, three(Pace::Drawn), Defect::UncheckedDamage);
}

#[test]
fn damage_to_the_events_of_a_node_that_is_alone() {
    let alone = Options {
        nodes: Some(1),
        ..DRAWN
    };
    found_within(20, alone, Defect::UncheckedDamage);
}

#[test]
fn a_part_of_the_journal_that_is_in_neither_place() {
    found_within(20, DRAWN, Defect::UnarchivedSegment);
}

#[test]
fn a_later_segment_that_is_gone_while_an_earlier_one_is_back() {
    found_within(100, DRAWN, Defect::SkippedReleaseSync);
}

#[test]
fn market_data_that_is_the_same_everywhere_and_wrong() {
    found_within(20, DRAWN, Defect::UntrueTrade);
}

#[test]
fn a_vote_that_is_forgotten() {
    found_within(20, three(Pace::Toppling), Defect::ForgottenVote);
}

#[test]
fn a_leader_that_believes_too_much() {
    found_within(400, three(Pace::Drawn), Defect::TrustedLength);
}

#[test]
fn a_batch_that_is_proposed_again() {
    found_within(10, three(Pace::Drawn), Defect::DoubleProposal);
}

#[test]
fn a_stamp_before_the_last() {
    found_within(20, three(Pace::Drawn), Defect::BackwardStamp);
}

#[test]
fn rules_that_not_every_member_can_follow() {
    found_within(100, three(Pace::Drawn), Defect::UncheckedActivation);
}

#[test]
fn reports_that_are_passed_over() {
    found_within(10, DRAWN, Defect::LostReports);
}

#[test]
fn what_a_leader_that_was_deposed_says() {
    found_within(20, three(Pace::Drawn), Defect::UntrueNotApplied);
}
