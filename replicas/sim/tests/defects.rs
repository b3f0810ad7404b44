//! Mistakes that are made on purpose are found, each within a number of seeds.
//!
//! `cargo test -p exahour-sim --features defects --test defects`

use exahour_journal::defects::Defect;
use exahour_sim::{Options, run};

/// Seeds within which a mistake has to be found, and in clusters of how many nodes it is looked for.
fn within(defect: Defect) -> (u64, Option<usize>) {
    match defect {
        Defect::SkippedFlush | Defect::EarlyAck => (60, None),
        Defect::AckBeforeFlush => (200, Some(3)),
        Defect::ForgottenVote => (400, Some(3)),
        Defect::SkippedFolderSync => (60, Some(3)),
        Defect::TrustedLength => (200, Some(3)),
        Defect::DoubleProposal | Defect::LostBatch | Defect::LostReports => (20, None),
        Defect::StaleRings => (200, Some(3)),
        Defect::BackwardStamp => (60, Some(3)),
    }
}

#[test]
fn every_mistake_is_found() {
    let mut missed = Vec::new();
    for defect in Defect::ALL {
        let (seeds, nodes) = within(defect);
        let options = Options {
            nodes,
            defect: Some(defect),
            ..Options::default()
        };
        let holds = Options {
            defect: None,
            ..options
        };
        // Where the world does not hold without the mistake either, it shows nothing.
        let found = (0..seeds).find_map(|seed| {
            let why = run(seed, &options).violation?;
            run(seed, &holds).violation.is_none().then_some((seed, why))
        });
        match found {
            Some((seed, why)) => println!("{defect:?} is found at seed {seed}: {why}"),
            None => missed.push(defect),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
