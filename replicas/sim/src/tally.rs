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
    /// Starts that did not read the whole event log, but went on from the ports' views.
    pub starts_from_views: u64,
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
    /// Machines that lost their power, and with it what was not flushed, where nobody waits for the disk.
    pub memories_lost: u64,
    /// Reports that were told where nobody waits for the disk.
    pub told_from_memory: u64,
    /// Sessions that the client library has taken up again.
    pub reconnections: u64,
    /// Reports that it gave.
    pub told_by_library: u64,
    /// Events that a back office was shown.
    pub drop_copies: u64,
    /// Messages of market data that somebody was sent.
    pub market_data: u64,
    /// Books of which somebody was shown every change.
    pub books_shown: u64,
    /// Streams of either that were taken up again.
    pub streams_resumed: u64,
    /// Majorities that lost what they had in memory, and were trusted again.
    pub majorities_lost: u64,
    /// Event logs that may have told of commands which were lost, and were cut.
    pub events_cut: u64,
    /// Segments of journals that went to an archive.
    pub segments_archived: u64,
    /// Parts of event logs that were damaged.
    pub events_harmed: u64,
    /// Terms in which a node has led peers.
    pub terms_led: u64,
    /// Programs that were put in the place of another version, the older one included.
    pub programs_changed: u64,
    /// Behaviours that came into force while programs of two versions had been at work.
    pub behaviours_activated: u64,
    /// Activations that were refused because somebody could not have followed.
    pub activations_refused: u64,
    /// Programs that stopped at rules which they do not know.
    pub programs_stopped: u64,
}

impl Tally {
    /// Every count, with what it is of.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 25] {
        [
            ("snapshots installed", self.snapshots_installed),
            ("journals released", self.journals_released),
            ("starts from views", self.starts_from_views),
            ("deaths at a start", self.deaths_at_start),
            ("members changed", self.members_changed),
            ("machines lost for good", self.machines_lost),
            ("leads given up", self.leads_given_up),
            ("snapshots asked for", self.snapshots_asked),
            ("memories lost", self.memories_lost),
            ("reports from memory", self.told_from_memory),
            ("sessions taken up again", self.reconnections),
            ("reports by the client library", self.told_by_library),
            ("drop copies", self.drop_copies),
            ("market data messages", self.market_data),
            ("books shown", self.books_shown),
            ("streams taken up again", self.streams_resumed),
            ("majorities lost", self.majorities_lost),
            ("event logs cut", self.events_cut),
            ("segments archived", self.segments_archived),
            ("parts of event logs damaged", self.events_harmed),
            ("terms led", self.terms_led),
            ("programs changed", self.programs_changed),
            ("behaviours activated", self.behaviours_activated),
            ("activations refused", self.activations_refused),
            ("programs stopped", self.programs_stopped),
        ]
    }

    /// Adds what happened in another world.
    pub fn add(&mut self, other: &Self) {
        self.snapshots_installed += other.snapshots_installed;
        self.journals_released += other.journals_released;
        self.starts_from_views += other.starts_from_views;
        self.deaths_at_start += other.deaths_at_start;
        self.members_changed += other.members_changed;
        self.machines_lost += other.machines_lost;
        self.leads_given_up += other.leads_given_up;
        self.snapshots_asked += other.snapshots_asked;
        self.memories_lost += other.memories_lost;
        self.told_from_memory += other.told_from_memory;
        self.reconnections += other.reconnections;
        self.told_by_library += other.told_by_library;
        self.drop_copies += other.drop_copies;
        self.market_data += other.market_data;
        self.books_shown += other.books_shown;
        self.streams_resumed += other.streams_resumed;
        self.majorities_lost += other.majorities_lost;
        self.events_cut += other.events_cut;
        self.segments_archived += other.segments_archived;
        self.events_harmed += other.events_harmed;
        self.terms_led += other.terms_led;
        self.programs_changed += other.programs_changed;
        self.behaviours_activated += other.behaviours_activated;
        self.activations_refused += other.activations_refused;
        self.programs_stopped += other.programs_stopped;
    }
}
