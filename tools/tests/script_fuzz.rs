//! Feeds broken scripts to the script runner: seeded mutations of the rule scripts, and bytes from
//! nowhere.
//!
//! Always holds: whatever comes in, the answer is success or an error with a place inside the
//! script; nothing panics. A failure prints its seed and the line.

#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use exahour_tools::script::{Runner, ScriptError, Source, check_script};

/// SplitMix64: small, seeded, good enough to break things.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let place = self.below(items.len());
        &items[place]
    }
}

/// Words that are worth putting where they do not belong.
const WORDS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2.50",
    "18446744073709551615",
    "18446744073709551616",
    "4294967295",
    "9223372036854775807",
    "9223372036854.775807",
    "99999999999999999999999999",
    "none",
    "never",
    "@",
    "@2.50",
    "#",
    "#7",
    "#1:7",
    "order",
    "market",
    "\"",
    "\"a b\"",
    "\"\\x00\"",
    "\\",
    "=",
    "price=",
    "price=none",
    "side=255",
    "order=#1:1",
    "sequence=0",
    "seq",
    "request",
    "1:",
    ":",
    "4294967295:",
    "at",
    "after",
    "batch",
    "end",
    "include",
    "send",
    "NewOrder",
    "Checkpoint",
    "300s",
    "18446744073709551615d",
    "2554-07-21T23:34:33Z",
    "1970-01-01",
    "2026-02-29",
    "50%",
    "0.00001%",
    "é",
    "\u{2028}",
    "\t",
    ">",
    "> CommandDone",
    "...",
    "trade|0xffffffffff",
    "1/2/3/4",
    "ffff",
    "fff",
    "127.0.0.1:65536",
    "hash",
    "tick",
    "stp",
    "until",
    "of",
    "on",
    "for",
    "to",
];

/// The lines of every rule script, with what they include in place.
fn lines() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let market = std::fs::read_to_string(folder.join("setup/market.script")).unwrap();
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "script"));
    paths.sort();
    let mut lines: Vec<String> = market.lines().map(str::to_owned).collect();
    for path in paths {
        let text = std::fs::read_to_string(path).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    lines
}

fn market() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    std::fs::read_to_string(folder.join("setup/market.script")).unwrap()
}

/// Breaks a line in one to three ways.
fn mutate(line: &str, chance: &mut Chance) -> Vec<u8> {
    let mut bytes = line.as_bytes().to_vec();
    for _ in 0..=chance.below(3) {
        let place = chance.below(bytes.len() + 1);
        match chance.below(7) {
            0 if place < bytes.len() => bytes[place] ^= 1 << chance.below(8),
            1 => bytes.truncate(place),
            2 => {
                let word = chance.pick(WORDS).as_bytes();
                bytes.splice(place..place, word.iter().copied());
            }
            3 => {
                let spaced = format!(" {}", chance.pick(WORDS));
                bytes.extend_from_slice(spaced.as_bytes());
            }
            4 => {
                let end = (place + chance.below(8)).min(bytes.len());
                bytes.drain(place..end);
            }
            _ => replace_word(&mut bytes, chance),
        }
    }
    bytes.retain(|byte| *byte != b'\n');
    bytes
}

fn replace_word(bytes: &mut Vec<u8>, chance: &mut Chance) {
    let words: Vec<Vec<u8>> = bytes
        .split(|byte| *byte == b' ')
        .map(<[u8]>::to_vec)
        .collect();
    let place = chance.below(words.len());
    let mut changed = words;
    changed[place] = chance.pick(WORDS).as_bytes().to_vec();
    *bytes = changed.join(&b' ');
}

fn source() -> Source {
    Source {
        name: "fuzz".to_owned(),
        folder: None,
    }
}

/// Runs a script and checks the answer.
fn run(script: &[u8], seed: u64) {
    let shown = || String::from_utf8_lossy(script).into_owned();
    let outcome = catch_unwind(AssertUnwindSafe(|| check_script(&source(), script)));
    let outcome = outcome.unwrap_or_else(|_| panic!("seed {seed} panicked on\n{}", shown()));
    let Err(error) = outcome else { return };
    let (ScriptError::Line(failure) | ScriptError::Missing(failure)) = &error else {
        panic!(
            "seed {seed}: an error without a place: {error}\n{}",
            shown()
        );
    };
    let lines = script.split(|byte| *byte == b'\n').count();
    assert!((1..=lines).contains(&failure.line), "seed {seed}: {error}");
    let columns = failure.text.chars().count() + 1;
    assert!(
        (1..=columns).contains(&failure.column()),
        "seed {seed}: {error}"
    );
    assert!(!failure.misfit.what.is_empty() && !failure.misfit.expected.is_empty());
}

#[test]
fn mutated_lines_are_understood_or_refused_with_a_place() {
    let lines = lines();
    for seed in 0..100 {
        let mut chance = Chance(seed);
        let mut runner = Runner::new();
        for line in market().lines() {
            runner.on_line(line).unwrap();
        }
        for _ in 0..500 {
            let line = mutate(&lines[chance.below(lines.len())], &mut chance);
            let Ok(line) = std::str::from_utf8(&line) else {
                continue;
            };
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                runner.on_line(line).err().map(|misfit| misfit.offset)
            }));
            match outcome {
                Ok(offset) => assert!(offset.unwrap_or(0) <= line.len(), "seed {seed}: {line}"),
                Err(_) => panic!("seed {seed} panicked on {line}"),
            }
        }
    }
}

#[test]
fn mutated_scripts_are_understood_or_refused_with_a_place() {
    let lines = lines();
    let market = market();
    for seed in 0..300 {
        let mut chance = Chance(1_000 + seed);
        let mut script = market.clone().into_bytes();
        let start = chance.below(lines.len());
        for line in lines.iter().skip(start).take(12) {
            script.extend_from_slice(line.as_bytes());
            script.push(b'\n');
        }
        script.extend(mutate(&lines[chance.below(lines.len())], &mut chance));
        run(&script, seed);
    }
}

#[test]
fn bytes_from_nowhere_are_refused_with_a_place() {
    for seed in 0..2_000 {
        let mut chance = Chance(10_000 + seed);
        let length = chance.below(200);
        let mut script = Vec::new();
        for _ in 0..length {
            let byte = chance.next().to_le_bytes()[0];
            // Half of the scripts are printable, so that they get past the encoding.
            let printable = 32 + byte % 95;
            let kept = if seed % 2 == 0 { byte } else { printable };
            script.push(if byte.is_multiple_of(29) { b'\n' } else { kept });
        }
        run(&script, seed);
    }
}
