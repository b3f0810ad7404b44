//! Mistakes that are made on purpose are found, each within a number of seeds.
//!
//! `cargo test -p exahour-sim --features defects --test defects`

use exahour_journal::defects::Defect;
use exahour_sim::{Options, Pace, run};

/// The simulator finds a mistake within so many seeds, in worlds that hold without it.
fn found_within(seeds: u64, nodes: Option<usize>, pace: Pace, defect: Defect) {
    let options = Options {
        nodes,
        pace,
        defect: Some(defect),
        ..Options::default()
    };
    let holds = Options {
        defect: None,
        ..options
    };
    let found = (0..seeds).find_map(|seed| {
        let why = run(seed, &options).violation?;
        run(seed, &holds).violation.is_none().then_some((seed, why))
    });
    let Some((seed, why)) = found else {
        panic!("{defect:?} is not found within {seeds} seeds");
    };
    println!("{defect:?} is found at seed {seed}: {why}");
}

#[test]
fn what_is_said_to_be_safe_and_is_not() {
    for (seeds, defect) in [
        (60, Defect::SkippedFlush),
        (100, Defect::EarlyAck),
        (200, Defect::AckBeforeFlush),
    ] {
        found_within(seeds, None, Pace::Drawn, defect);
    }
}

#[test]
fn a_vote_that_is_not_written_down() {
    found_within(200, Some(3), Pace::Drawn, Defect::ForgottenVote);
}

#[test]
fn a_batch_that_is_proposed_again() {
    found_within(20, Some(3), Pace::Drawn, Defect::DoubleProposal);
}

#[test]
fn a_stamp_before_the_last() {
    found_within(100, Some(3), Pace::Drawn, Defect::BackwardStamp);
}

#[test]
fn reports_that_are_passed_over() {
    found_within(20, None, Pace::Drawn, Defect::LostReports);
}
