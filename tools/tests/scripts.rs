//! Runs every rule script and compares; `UPDATE_EXPECT=1` rewrites what differs.
//!
//! Always holds: every reason to refuse or to cancel, and every event of the engine, is earned by
//! some script; what cannot be earned is listed here with the reason. Followers of a script's events
//! agree on the books.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use exahour_gateway::feed::publisher::Publisher;
use exahour_gateway::image::{Applied, BookImage, FeedImage};
use exahour_tools::script::{Source, Verdict, check_script};
use exahour_tools::text::{Kind, form_of, forms};
use exahour_wire::codes::FeedDepth;
use exahour_wire::events::FrameEnd;
use exahour_wire::limits::MESSAGE_BYTES_MAX;
use exahour_wire::message::messages;

/// Values that no script can earn, and why.
const UNREACHABLE: &[(&str, &str)] = &[
    // A message whose template is no command has no record: the gateway refuses it before the
    // engine could, and a script cannot write it.
    ("OrderRejected.reason", "UnknownTemplate"),
];

/// The fields whose every value must be earned.
const EARNED: &[&str] = &[
    "OrderRejected.reason",
    "OrderCancelled.reason",
    "OrderReplaced.priority",
    "OrderFilled.liquidity",
    "SessionClosed.cause",
    "KillSwitchSet.action",
    "MoneyMoved.kind",
    "DeliverySettled.outcome",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

fn scripts() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "script"));
    paths.sort();
    assert!(
        paths.len() > 20,
        "rule scripts are missing from {}",
        folder().display()
    );
    paths
}

fn run(path: &Path) -> Verdict {
    let reader = BufReader::new(File::open(path).unwrap());
    check_script(&Source::file(path), reader).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_rule_script_does_what_it_says() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1");
    let mut differences = String::new();
    for path in scripts() {
        let verdict = run(&path);
        assert!(verdict.compared > 0, "{} expects nothing", path.display());
        if !verdict.differences.is_empty() && update {
            std::fs::write(&path, &verdict.updated).unwrap();
        } else {
            differences.push_str(&verdict.differences);
        }
    }
    assert!(
        differences.is_empty(),
        "UPDATE_EXPECT=1 rewrites:\n{differences}"
    );
}

/// Every value that a field of an event had in any script, as `Event.field` and the value's name.
fn earned() -> (BTreeSet<(String, &'static str)>, BTreeSet<&'static str>) {
    let (mut values, mut events) = (BTreeSet::new(), BTreeSet::new());
    for path in scripts() {
        for event in messages(&run(&path).events) {
            let form = form_of(event).unwrap();
            let event_name = form.declaration.name;
            events.insert(event_name);
            // Orders and other commands are refused with the same reasons.
            let place = event_name.replace("CommandRejected", "OrderRejected");
            for field in &form.fields {
                let Kind::Enumeration(names) = field.kind else {
                    continue;
                };
                let mut wide = [0; 8];
                wide[..field.bytes].copy_from_slice(field.of(event));
                let number = u64::from_le_bytes(wide);
                let name = names.iter().find(|(it, _, _)| *it == number);
                values.extend(name.map(|(_, name, _)| (format!("{place}.{}", field.name), *name)));
            }
        }
    }
    (values, events)
}

#[test]
fn every_reason_and_every_event_is_earned_by_a_script() {
    let (values, events) = earned();
    let mut missing = Vec::new();
    for place in EARNED {
        let (event, field) = place.split_once('.').unwrap();
        let form = forms()
            .iter()
            .find(|form| form.declaration.name == event)
            .unwrap();
        let Kind::Enumeration(names) = form.field(field).unwrap().kind else {
            panic!("{place} is no enumeration");
        };
        for (_, name, _) in names {
            let is_earned = values.contains(&((*place).to_owned(), *name));
            let is_listed = UNREACHABLE.contains(&(place, name));
            assert!(
                !(is_earned && is_listed),
                "{place} {name} can be earned: take it off the list"
            );
            if !is_earned && !is_listed {
                missing.push(format!("{place}={name}"));
            }
        }
    }
    for form in forms()
        .iter()
        .filter(|form| (300..500).contains(&form.declaration.template_id))
    {
        if !events.contains(form.declaration.name) {
            missing.push(form.declaration.name.to_owned());
        }
    }
    assert!(missing.is_empty(), "no script earns {}", missing.join(", "));
}

/// What a follower of the event log makes of it, and what a client makes of the feed, is the same.
#[test]
fn the_feed_follows_every_script() {
    let (mut orders, mut room) = (0, [0; MESSAGE_BYTES_MAX]);
    let (mut guarded, mut ranges) = ([0; 2], 0);
    let market = std::fs::read_to_string(folder().join("setup/market.script")).unwrap();
    for path in scripts() {
        // What another script leads to is not among a script's events, so it stands in it here.
        let script = std::fs::read_to_string(&path).unwrap();
        let whole = script.replace("include \"setup/market.script\"", &market);
        let verdict = check_script(&Source::file(&path), BufReader::new(whole.as_bytes()));
        let events = verdict.unwrap_or_else(|error| panic!("{error}")).events;
        let mut books = BookImage::new();
        books
            .apply_batch(&events, FrameEnd::Command, &mut |_, _| ())
            .unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
        let mut publisher = Publisher::new(1 << 20, 0);
        publisher.on_batch(&events, FrameEnd::Command).unwrap();
        let mut feed = FeedImage::from_start(FeedDepth::Orders);
        while let Some(message) = publisher
            .history(FeedDepth::Orders)
            .message(feed.next_sequence(), &mut room)
        {
            assert_eq!(
                feed.apply(message),
                Ok(Applied::Update),
                "{}",
                path.display()
            );
        }
        for (instrument, book) in books.books().all() {
            let own = feed.books().book(instrument).unwrap();
            assert_eq!(own.state(), book.state(), "{}", path.display());
            assert_eq!(own.extras(), book.extras(), "{}", path.display());
            let guards = [
                book.extras().band.is_some(),
                book.extras().breaker.is_some(),
            ];
            guarded = [0, 1].map(|it| guarded[it] + usize::from(guards[it]));
            ranges += usize::from(book.state().in_call());
            let told: Vec<_> = feed.books().orders_of(instrument).collect();
            let right: Vec<_> = books.books().orders_of(instrument).collect();
            assert_eq!(told, right, "{}: instrument {instrument}", path.display());
            orders += right.len();
        }
    }
    assert!(
        orders > 50,
        "only {orders} orders rest at the ends of all scripts"
    );
    let enough = guarded.iter().all(|count| *count > 0) && ranges > 3;
    assert!(enough, "{guarded:?} bands and breakers, {ranges} calls");
}
