//! A start goes on from the newest snapshot that can be used, and nobody can tell.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use exahour_engine::BEHAVIOUR_FIRST;
use exahour_gateway::client::Client;
use exahour_journal::{Config as LogConfig, Journal, Position, Verify, inspect};
use exahour_replicas::{Node, NodeConfig, ReplayReport, replay};
use exahour_wire::codes::Side;
use exahour_wire::events::{OrderAccepted, OrderFilled};
use exahour_wire::internal::Tick;
use exahour_wire::message::Message;
use exahour_wire::orders::NewOrder;

use crate::exchange::{PATIENCE, config_with, connect, next_report};
use crate::in_and_out::{order, read_events};

/// A data folder in which snapshots come often.
struct Trial {
    folder: tempfile::TempDir,
    names: u64,
}

impl Trial {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            names: 0,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> NodeConfig {
        let more = "checkpoint_every = 50\n[snapshots]\njournal_bytes = 20000\nkeep = 3\n";
        config_with(self.folder.path(), more)
    }

    fn snapshots(&self) -> Vec<PathBuf> {
        files(&self.path("snapshots"), "snapshot")
    }

    /// The entry that the newest snapshot stands behind.
    fn newest(&self) -> u64 {
        let newest = self.snapshots().pop().unwrap();
        newest
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Enters an order that nobody trades with.
    fn enter_one(&mut self, alpha: &mut Client) {
        self.names += 2;
        let resting = NewOrder {
            price: "2.40".parse().unwrap(),
            ..order(self.names, 100, Side::Buy, 1)
        };
        alpha.send(&resting).unwrap();
        let _: OrderAccepted = next_report(alpha);
    }

    /// Trades until there is a snapshot that was not there before; what the start came from.
    fn trade_until_snapshot(&mut self) -> (u64, Vec<String>) {
        let before = self.snapshots();
        let node = Node::start(&self.config()).unwrap();
        let (mut alpha, mut beta) = (connect(&node, 1), connect(&node, 2));
        let end = Instant::now() + PATIENCE;
        while self.snapshots().last() == before.last() {
            assert!(Instant::now() < end, "no snapshot within {PATIENCE:?}");
            // One that rests, so that a snapshot has a book in it.
            self.enter_one(&mut alpha);
            let name = self.names + 1;
            beta.send(&order(name, 200, Side::Sell, 3)).unwrap();
            let _: OrderAccepted = next_report(&mut beta);
            alpha.send(&order(name, 100, Side::Buy, 3)).unwrap();
            let _: OrderAccepted = next_report(&mut alpha);
            let _: OrderFilled = next_report(&mut alpha);
            let _: OrderFilled = next_report(&mut beta);
        }
        let recovery = node.recovery().clone();
        drop((alpha, beta));
        node.stop().unwrap();
        (recovery.snapshot_command, recovery.notices)
    }

    /// As [`Self::config`], with a journal that keeps as little as it can.
    fn config_that_gives_up(&self) -> NodeConfig {
        let mut config = self.config();
        (config.segment_bytes, config.journal_keep_bytes) = (65_536, 1);
        config
    }

    fn trade_until_head_is_given_up(&mut self, config: &NodeConfig) {
        let node = Node::start(config).unwrap();
        let mut alpha = connect(&node, 1);
        let head = self.path("journal/00000000000000000000.log");
        let end = Instant::now() + PATIENCE;
        while head.exists() {
            assert!(Instant::now() < end, "nothing given up within {PATIENCE:?}");
            self.enter_one(&mut alpha);
        }
        drop(alpha);
        node.stop().unwrap();
    }

    /// The journal alone gives the events that were written and the states of all snapshots.
    fn verify(&self, snapshots_min: u64) -> ReplayReport {
        let mut replayed = Vec::new();
        let report = replay(&self.path("journal"), &mut replayed).unwrap();
        assert!(report.snapshots >= snapshots_min, "{report:?}");
        assert!(report.checkpoints > 0, "{report:?}");
        let written = read_events(&self.path("events"));
        assert!(!written.is_empty() && replayed.starts_with(&written));
        report
    }
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == ending));
    paths.sort();
    paths
}

#[test]
fn a_start_goes_on_from_the_newest() {
    let mut trial = Trial::new();
    let (first, _) = trial.trade_until_snapshot();
    assert_eq!(first, 0);
    let mut last = 0;
    for _ in 0..4 {
        let (from, notices) = trial.trade_until_snapshot();
        assert!(from > last, "from {from} after {last}");
        assert_eq!(notices, Vec::<String>::new());
        last = from;
    }
    assert!(trial.snapshots().len() <= 3, "{:?}", trial.snapshots());
    trial.verify(2);
}

#[test]
fn one_that_is_damaged_is_passed_over() {
    let mut trial = Trial::new();
    trial.trade_until_snapshot();
    trial.trade_until_snapshot();
    let newest = trial.snapshots().pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, &bytes).unwrap();
    let (from, notices) = trial.trade_until_snapshot();
    assert!(from > 0);
    let name = newest.file_name().unwrap().to_str().unwrap();
    assert_eq!(notices.len(), 1);
    assert!(
        notices[0].contains(name) && notices[0].contains("checksum"),
        "{notices:?}"
    );
    assert!(trial.snapshots().contains(&newest));
    assert_eq!(trial.verify(1).snapshots_passed_over, notices);
}

#[test]
fn a_journal_without_its_head_does_not_start_without_them() {
    let mut trial = Trial::new();
    let config = trial.config_that_gives_up();
    trial.trade_until_head_is_given_up(&config);
    let kept = trial.path("kept");
    fs::rename(trial.path("snapshots"), &kept).unwrap();
    let refused = Node::start(&config).err().unwrap().to_string();
    assert!(refused.contains("no snapshot of that place"), "{refused}");
    fs::remove_dir_all(trial.path("snapshots")).unwrap();
    fs::rename(&kept, trial.path("snapshots")).unwrap();
    Node::start(&config).unwrap().stop().unwrap();
}

/// An audit needs the journal from its first command.
#[test]
fn what_the_journal_gives_up_is_kept_where_there_is_an_archive() {
    let mut trial = Trial::new();
    let mut config = trial.config_that_gives_up();
    config.journal_archive = true;
    trial.trade_until_head_is_given_up(&config);
    let (journal, archive) = (trial.path("journal"), trial.path("archive"));
    let headless = replay(&journal, &mut Vec::new()).unwrap();
    assert!(headless.began_behind > 0);
    for kept in files(&archive, "log") {
        // Where it begins is the first part of its name.
        let name = kept.file_name().unwrap().to_str().unwrap();
        let place = name.split_once('.').unwrap().0;
        fs::copy(&kept, journal.join(format!("{place}.log"))).unwrap();
    }
    let whole = trial.verify(1);
    assert_eq!(whole.began_behind, 0);
    assert_eq!(whole.state_hash, headless.state_hash);
    assert!(whole.commands > headless.commands);
    // The node goes on with it, and gives the same up again: nothing is written over.
    let before = files(&archive, "log");
    let one_more = Node::start(&config).unwrap();
    trial.enter_one(&mut connect(&one_more, 1));
    one_more.stop().unwrap();
    let after = files(&archive, "log");
    assert!(before.iter().all(|kept| after.contains(kept)));
}

/// The journal leads to the same rules, from further back: nothing is replayed to find that out.
#[test]
fn one_of_rules_that_the_program_does_not_know_ends_the_start() {
    let mut trial = Trial::new();
    trial.trade_until_snapshot();
    let mut old = trial.config();
    old.capacity.behaviour_max = BEHAVIOUR_FIRST;
    let refused = Node::start(&old).err().unwrap().to_string();
    // The first command is the start of the node.
    let expected = "behaviour 2 was activated at command 2; this program can do up to 1";
    assert!(refused.contains(expected), "{refused}");
    let (from, notices) = trial.trade_until_snapshot();
    assert!(from > 0 && notices.is_empty(), "{from} {notices:?}");
}

/// Events that only a replay from further back can write again are written again.
#[test]
fn none_is_used_where_the_event_log_is_lost() {
    let mut trial = Trial::new();
    trial.trade_until_snapshot();
    let written = read_events(&trial.path("events"));
    fs::remove_dir_all(trial.path("events")).unwrap();
    let (from, notices) = trial.trade_until_snapshot();
    assert_eq!(from, 0);
    assert!(
        notices[0].contains("event log ends at event 0"),
        "{notices:?}"
    );
    assert!(read_events(&trial.path("events")).starts_with(&written));
    trial.verify(1);
}

/// Somebody may remove them at any time, and the folder with them.
#[test]
fn a_folder_that_is_removed_is_made_again() {
    let mut trial = Trial::new();
    trial.trade_until_snapshot();
    let folder = trial.path("snapshots");
    let node = Node::start(&trial.config()).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let mut alpha = connect(&node, 1);
    let end = Instant::now() + PATIENCE;
    while trial.snapshots().is_empty() {
        assert!(Instant::now() < end, "no snapshot within {PATIENCE:?}");
        trial.enter_one(&mut alpha);
    }
    drop(alpha);
    node.stop().unwrap();
    trial.verify(1);
}

/// Newer snapshots of a journal that was lost do not crowd out those of the one that is there.
#[test]
fn those_of_a_lost_future_make_room() {
    let mut trial = Trial::new();
    trial.trade_until_snapshot();
    let own = trial.snapshots().pop().unwrap();
    let future = [u64::MAX - 1, u64::MAX].map(|index| {
        trial
            .path("snapshots")
            .join(format!("{index:020}.snapshot"))
    });
    for path in &future {
        fs::copy(&own, path).unwrap();
    }
    let node = Node::start(&trial.config()).unwrap();
    let mut alpha = connect(&node, 1);
    let end = Instant::now() + PATIENCE;
    let is_new = |path: &PathBuf| *path > own && !future.contains(path);
    while !trial.snapshots().iter().any(is_new) {
        assert!(Instant::now() < end, "no snapshot within {PATIENCE:?}");
        trial.enter_one(&mut alpha);
    }
    drop(alpha);
    node.stop().unwrap();
    // It is there to stay, and those of the future are gone with the next one at the latest.
    let (from, _) = trial.trade_until_snapshot();
    assert!(from > 0);
    assert!(!trial.snapshots().iter().any(|path| future.contains(path)));
    trial.verify(1);
}

/// A journal restored from a time before the events: no node may go on from there.
#[test]
fn an_older_journal_is_refused_beside_newer_events() {
    let mut trial = Trial::new();
    trial.trade_until_snapshot();
    let saved = trial.path("saved");
    copy_folder(&trial.path("journal"), &saved);
    trial.trade_until_snapshot();
    fs::remove_dir_all(trial.path("journal")).unwrap();
    fs::rename(&saved, trial.path("journal")).unwrap();
    let refused = Node::start(&trial.config()).err().unwrap().to_string();
    assert!(refused.contains("older than the events"), "{refused}");
    fs::remove_dir_all(trial.path("journal")).unwrap();
    let refused = Node::start(&trial.config()).err().unwrap().to_string();
    assert!(refused.contains("journal is gone"), "{refused}");
    assert!(
        !trial.path("journal").exists(),
        "nothing is made in its place"
    );
    fs::remove_file(trial.path("raft-state")).unwrap();
    let refused = Node::start(&trial.config()).err().unwrap().to_string();
    assert!(refused.contains("ends with command 0"), "{refused}");
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn that_of_another_exchange_is_not_used() {
    let (mut one, mut other) = (Trial::new(), Trial::new());
    one.trade_until_snapshot();
    other.trade_until_snapshot();
    let stranger = other.snapshots().pop().unwrap();
    let name = stranger.file_name().unwrap();
    for own in one.snapshots() {
        fs::remove_file(own).unwrap();
    }
    fs::copy(&stranger, one.path("snapshots").join(name)).unwrap();
    let node = Node::start(&one.config()).unwrap();
    let recovery = node.recovery().clone();
    node.stop().unwrap();
    assert_eq!(recovery.snapshot_command, 0);
    assert!(
        recovery.notices[0].contains("another exchange"),
        "{recovery:?}"
    );
}

/// A snapshot whose state is not what the journal gives is found by a replay.
#[test]
fn a_replay_finds_a_state_that_differs() {
    let mut trial = Trial::new();
    trial.trade_until_snapshot();
    trial.trade_until_snapshot();
    let paths = trial.snapshots();
    let (older, newer) = (&paths[0], paths.last().unwrap());
    assert_ne!(older, newer);
    let foreign = fs::read(older).unwrap();
    let mut bytes = fs::read(newer).unwrap();
    // The state hash of the older one in the newer one's header, made believable.
    bytes[112..144].copy_from_slice(&foreign[112..144]);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..144]);
    hasher.update(&bytes[176..]);
    let sum = *hasher.finalize().as_bytes();
    bytes[144..176].copy_from_slice(&sum);
    fs::write(newer, &bytes).unwrap();
    let refused = replay(&trial.path("journal"), &mut Vec::new()).unwrap_err();
    assert!(refused.to_string().contains("another state"), "{refused}");
    let (from, notices) = trial.trade_until_snapshot();
    assert!(from > 0);
    assert!(notices[0].contains("hashes to"), "{notices:?}");
}

/// Segments that only an older snapshot needs are given up: what is left is replayed from the oldest one
/// that will do.
#[test]
fn a_journal_without_its_head_is_replayed_from_a_snapshot() {
    let mut trial = Trial::new();
    trial.trade_until_snapshot();
    let journal = trial.path("journal");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    crate::append(&journal, now.as_nanos() as u64, &Tick::blank(), 20_000);
    // A start takes in so much in pieces, and the first snapshot may stand behind one of them.
    while trial.newest() <= 20_000 {
        trial.trade_until_snapshot();
    }
    let whole = replay(&journal, &mut Vec::new()).unwrap();
    assert_eq!(whole.began_behind, 0);

    let log_id = inspect(&journal, Verify::Trust).unwrap().log_id;
    let shape = LogConfig::new(&journal, log_id).with_segment_bytes(1 << 20);
    let mut opened = Journal::open(&shape).unwrap();
    let released = opened.appender.release_before(Position::new(2 << 20));
    assert_eq!(released, 2);
    opened.stager.finish().unwrap();
    let first = opened.appender.first_index().unwrap();
    drop(opened);
    let rest = replay(&journal, &mut Vec::new()).unwrap();
    assert!(rest.began_behind >= first - 1 && rest.frames < whole.frames);
    assert_eq!(rest.state_hash, whole.state_hash);
    assert_eq!(rest.time, whole.time);
    let old = rest.snapshots_passed_over.first().unwrap();
    assert!(old.contains("was released"), "{old}");

    for path in trial.snapshots() {
        fs::remove_file(path).unwrap();
    }
    let refused = replay(&journal, &mut Vec::new()).unwrap_err().to_string();
    let expected = format!("the journal begins behind frame {}", first - 1);
    assert!(refused.contains(&expected), "{refused}");
}
