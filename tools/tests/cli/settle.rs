//! `exahour settle`: what no machine can be is refused by the command line.

use crate::exchange::refuse;

#[test]
fn a_size_that_no_machine_can_have_is_refused_with_its_limits() {
    for (option, value, limits) in [
        ("--cpu", "0", "10..=1000000"),
        ("--cpu", "9", "10..=1000000"),
        ("--cpu", "4000000000", "10..=1000000"),
        ("--memory", "0", "32..=16777216"),
        ("--memory", "31", "32..=16777216"),
        ("--memory", "18446744073709551615", "32..=16777216"),
    ] {
        let said = refuse(&["settle", "--data", "/nowhere", option, value]);
        assert!(
            said.contains(option) && said.contains(limits),
            "{option} {value}: {said}"
        );
    }
}
