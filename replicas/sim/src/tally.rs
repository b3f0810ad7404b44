//! How often a world did what it is for: a world in which nothing of it happens holds, too.
//!
//! Filled while a world runs and when it is over; tests ask that enough of each has happened.

/// Counts of one world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Snapshots of another node that a node went on from.
    pub snapshots_installed: u64,
    /// Nodes whose journal has given up its beginning at the end.
    pub journals_released: u64,
    /// Machines that lost their power while their node started.
    pub deaths_at_start: u64,
    /// Members that were added, removed or replaced.
    pub members_changed: u64,
    /// Members among them whose machine was lost for good before.
    pub machines_lost: u64,
    /// Leaders that gave the lead up when they were asked to.
    pub leads_given_up: u64,
    /// Snapshots that an operator asked for.
    pub snapshots_asked: u64,
    /// Terms in which a node has led peers.
    pub terms_led: u64,
}

impl Tally {
    /// Adds what happened in another world.
    pub fn add(&mut self, other: &Self) {
        self.snapshots_installed += other.snapshots_installed;
        self.journals_released += other.journals_released;
        self.deaths_at_start += other.deaths_at_start;
        self.members_changed += other.members_changed;
        self.machines_lost += other.machines_lost;
        self.leads_given_up += other.leads_given_up;
        self.snapshots_asked += other.snapshots_asked;
        self.terms_led += other.terms_led;
    }
}
