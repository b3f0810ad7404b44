//! Files are reached through the disk alone: no code of the journal or of a node calls the system's own
//! files.

#![allow(clippy::unwrap_used)] // A test may fail where it stands.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders whose code goes through the disk, and within them what stands for the system.
const COVERED: &[(&str, &[&str])] = &[
    ("journal/src", &["journal/src/disk"]),
    (
        "replicas/src",
        &[
            // Operators' files, read before there is a node.
            "replicas/src/config.rs",
            "replicas/src/cluster_config.rs",
        ],
    ),
];

/// Words that reach files without the disk.
const FORBIDDEN: &[&str] = &[
    "std::fs",
    "fs::",
    "File::",
    "OpenOptions",
    "unix::fs",
    "memmap2",
    ".exists()",
    ".is_dir()",
    ".is_file()",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The lines of a program's text, without its tests, that reach files without the disk.
fn breaches(name: &str, text: &str) -> Vec<String> {
    let program = text.split("#[cfg(test)]").next().unwrap_or_default();
    let numbered = program.lines().enumerate();
    let code = numbered.filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.filter(|(_, line)| FORBIDDEN.iter().any(|word| says(line, word)))
        .map(|(at, line)| format!("{name}:{}: {}", at + 1, line.trim()))
        .collect()
}

/// Whether a line has a word that is no end of a longer one.
fn says(line: &str, word: &str) -> bool {
    let begins = |at: usize| !line[..at].ends_with(|it: char| it.is_alphanumeric());
    line.match_indices(word)
        .any(|(at, _)| word.starts_with('.') || begins(at))
}

fn collect(folder: &Path, spared: &[&str], found: &mut Vec<String>) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
        if spared.contains(&name) {
            continue;
        }
        if path.is_dir() {
            files += collect(&path, spared, found);
        } else if name.ends_with(".rs") {
            files += 1;
            found.extend(breaches(name, &fs::read_to_string(&path).unwrap()));
        }
    }
    files
}

#[test]
fn files_are_reached_through_the_disk() {
    for (folder, spared) in COVERED {
        let mut found = Vec::new();
        let files = collect(&root().join(folder), spared, &mut found);
        assert!(files > 0, "{folder} is covered but holds no program");
        assert_eq!(found, Vec::<String>::new());
    }
}

#[test]
fn a_call_around_the_disk_is_seen() {
    let text = "//! std::fs is not used.\nfn it() {\n    BackOffs::new();\n    File::open(path)\n    \
                path.exists()\n}\n#[cfg(test)]\nmod tests {\n    use std::fs::File;\n}\n";
    assert_eq!(
        breaches("it.rs", text),
        ["it.rs:4: File::open(path)", "it.rs:5: path.exists()"]
    );
}
