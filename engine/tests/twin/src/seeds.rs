//! Which seeds a test runs: its own few, or what the environment asks for.
//!
//! `EXAHOUR_SEED=s` runs one seed, to see a red test again; `EXAHOUR_SEEDS=n` runs the first n.

use std::env::var;

/// The seeds to run, where the test by itself would run `usual` of them.
///
/// # Panics
/// If a variable is set and is no number.
#[must_use]
pub fn seeds(usual: u64) -> Vec<u64> {
    match (number("EXAHOUR_SEED"), number("EXAHOUR_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, Some(count)) => (0..count).collect(),
        (None, None) => (0..usual).collect(),
    }
}

fn number(name: &str) -> Option<u64> {
    let text = var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name}={text} is no number: give a whole number"),
    }
}
