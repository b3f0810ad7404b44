//! Runs every example of docs/SCRIPT.md.
//!
//! Always holds: each example starts from the market that the document shows first; its expected
//! events are the ones that come; each error is the one that is shown below it; every command of
//! the wire is named.

#![allow(clippy::unwrap_used)]

use exahour_tools::script::{Runner, Source, check_after, check_script};
use exahour_tools::text::forms;

const DOCUMENT: &str = include_str!("../../docs/SCRIPT.md");

/// The fenced blocks of the document: what stands behind the fence, line number, text.
fn blocks() -> Vec<(&'static str, usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, usize, String)> = None;
    for (line, number) in DOCUMENT.lines().zip(1..) {
        match (line.strip_prefix("```"), open.take()) {
            (Some(_), Some(block)) => blocks.push(block),
            (Some(kind), None) => open = Some((kind, number, String::new())),
            (None, Some((kind, start, text))) => open = Some((kind, start, text + line + "\n")),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block of the document is not closed");
    blocks
}

fn source(number: usize) -> Source {
    Source {
        name: format!("docs/SCRIPT.md, block at line {number}"),
        folder: None,
    }
}

#[test]
fn every_example_does_what_the_document_says() {
    let blocks = blocks();
    let (_, _, market) = blocks
        .iter()
        .find(|(kind, _, _)| *kind == "script market")
        .unwrap();
    let (mut differences, mut examples, mut compared) = (String::new(), 0, 0);
    for (_, number, text) in blocks.iter().filter(|(kind, _, _)| *kind == "script") {
        let mut runner = Runner::new();
        check_after(&mut runner, &source(*number), market.as_bytes()).unwrap();
        let verdict = check_after(&mut runner, &source(*number), text.as_bytes());
        let verdict = verdict.unwrap_or_else(|error| panic!("{error}"));
        differences.push_str(&verdict.differences);
        examples += 1;
        compared += verdict.compared;
    }
    assert!(differences.is_empty(), "{differences}");
    assert!(
        examples >= 15 && compared >= 60,
        "{examples} examples, {compared} expectations"
    );
}

#[test]
fn every_error_is_the_one_that_is_shown() {
    let blocks = blocks();
    let mut shown = 0;
    for pair in blocks.windows(2).filter(|pair| pair[0].0 == "script-error") {
        let source = Source {
            name: "FILE".to_owned(),
            folder: None,
        };
        let error = check_script(&source, pair[0].2.as_bytes()).unwrap_err();
        assert_eq!(error.to_string().trim_end(), pair[1].2.trim_end());
        shown += 1;
    }
    assert!(shown > 0, "the document shows no error");
}

#[test]
fn every_command_is_documented() {
    let commands = forms().iter().map(|form| form.declaration);
    for command in commands.filter(|it| (100..300).contains(&it.template_id)) {
        let named = format!("({})", command.name);
        assert!(
            DOCUMENT.contains(&named),
            "docs/SCRIPT.md has no form for {}",
            command.name
        );
    }
}
