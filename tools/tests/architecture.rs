//! Imports run downwards only, as `docs/ARCHITECTURE.md` draws them.

#![allow(clippy::unwrap_used)] // A test may fail where it stands.

use std::collections::BTreeMap;
use std::process::Command;

/// The crates by height: one may import what is strictly below it. Two at one height may not import
/// each other.
const HEIGHTS: &[(&str, u32)] = &[
    ("exahour-wire", 0),
    ("exahour-rings", 0),
    ("exahour-journal", 1),
    ("exahour-engine", 1),
    ("exahour-gateway", 2),
    ("exahour-settlement", 3),
    ("exahour-replicas", 3),
    ("exahour-sim", 4),
    ("exahour-tools", 5),
    ("exahour-benches", 4),
    ("exahour-abi", 4),
];

/// Arrows that would run downwards and are absent on purpose.
const ABSENT: &[(&str, &str)] = &[
    ("exahour-gateway", "exahour-engine"),
    ("exahour-settlement", "exahour-engine"),
    ("exahour-journal", "exahour-wire"),
    ("exahour-journal", "exahour-rings"),
    ("exahour-engine", "exahour-rings"),
];

/// What must not be reached from these crates at all.
const FOREIGN: &[(&str, &[&str])] = &[
    ("exahour-wire", &["mio", "raft", "tokio", "rusqlite"]),
    (
        "exahour-engine",
        &["mio", "raft", "tokio", "rusqlite", "memmap2", "rand"],
    ),
    ("exahour-journal", &["mio", "raft", "tokio", "rusqlite"]),
    (
        "exahour-gateway",
        &["raft", "tokio", "rusqlite", "serde_json"],
    ),
];

fn imports() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
            "--locked",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut imports = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap().to_owned();
        let normal = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
            .collect();
        imports.insert(name, normal);
    }
    imports
}

fn height(name: &str) -> Option<u32> {
    HEIGHTS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, height)| *height)
}

/// Every arrow that breaks the drawing.
fn breaches(imports: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut breaches = Vec::new();
    for (name, used) in imports {
        let Some(own) = height(name) else {
            // Crates that only tests use stand outside the drawing.
            continue;
        };
        for other in used {
            let upwards = height(other).is_some_and(|height| height >= own);
            let absent = ABSENT.contains(&(name.as_str(), other.as_str()));
            let foreign = FOREIGN
                .iter()
                .any(|(place, names)| place == name && names.contains(&other.as_str()));
            if upwards || absent || foreign {
                breaches.push(format!("{name} imports {other}"));
            }
        }
    }
    breaches
}

#[test]
fn imports_run_downwards() {
    let imports = imports();
    for (name, _) in HEIGHTS {
        assert!(imports.contains_key(*name), "{name} is drawn but not there");
    }
    assert_eq!(breaches(&imports), Vec::<String>::new());
}

#[test]
fn an_arrow_upwards_is_seen() {
    let mut imports = imports();
    let engine = imports.get_mut("exahour-engine").unwrap();
    engine.push("exahour-gateway".to_owned());
    engine.push("rand".to_owned());
    let found = breaches(&imports);
    assert_eq!(
        found,
        [
            "exahour-engine imports exahour-gateway",
            "exahour-engine imports rand"
        ]
    );
}
