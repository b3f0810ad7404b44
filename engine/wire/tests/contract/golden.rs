//! The bytes of every message, fixed in a file: a change of the wire shows as a change of the file.
//!
//! `tests/golden/messages.hex` has one line a sample, name and bytes, header first. Beside it
//! `messages.json` says what each field of each sample means, for decoders in other languages.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Once;

use exahour_wire::message::{HEADER_BYTES, peek_length};

use crate::every::forms;
use crate::samples::{Sample, samples};

static REWRITTEN: Once = Once::new();

/// The folder of the golden files, rewritten before the first test sees them where `UPDATE_EXPECT`
/// is set.
pub(crate) fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        REWRITTEN.call_once(|| {
            let samples = samples();
            std::fs::write(folder.join("messages.hex"), hex_lines(&samples)).unwrap();
            std::fs::write(folder.join("messages.json"), json_lines(&samples)).unwrap();
        });
    }
    folder
}

/// Compares a golden file with what it should be, or rewrites it where `UPDATE_EXPECT` is set.
pub(crate) fn expect_file(path: &PathBuf, wanted: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        // In one step, so that tests beside this one never read half a file.
        let whole = path.with_extension("new");
        std::fs::write(&whole, wanted).unwrap();
        std::fs::rename(&whole, path).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    let differing = found
        .lines()
        .zip(wanted.lines())
        .find(|(found, wanted)| found != wanted);
    assert!(
        found == wanted,
        "{} differs from what the structs give; if that is meant, run with UPDATE_EXPECT=1.\n\
         first difference: {differing:#?}",
        path.display()
    );
}

fn hex_lines(samples: &[Sample]) -> String {
    let mut lines = String::from(
        "# Golden bytes: name of the message, then its bytes in hex, SBE header first, framing\n\
         # excluded. A name with .none has every field that can be empty empty.\n",
    );
    for sample in samples {
        lines.push_str(&sample.name);
        lines.push(' ');
        for byte in &sample.bytes {
            lines.push_str(&format!("{byte:02x}"));
        }
        lines.push('\n');
    }
    lines
}

fn json_lines(samples: &[Sample]) -> String {
    let lines = samples.iter().map(|sample| {
        serde_json::json!({
            "sample": sample.name,
            "message": sample.message.name,
            "template": sample.message.template_id,
            "fields": sample.meaning,
        })
        .to_string()
    });
    let lines: Vec<String> = lines.collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

/// The committed bytes, by sample.
fn committed() -> BTreeMap<String, Vec<u8>> {
    let text = std::fs::read_to_string(folder().join("messages.hex")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, hex) = line.split_once(' ').unwrap();
            let bytes = (0..hex.len() / 2)
                .map(|place| u8::from_str_radix(&hex[place * 2..place * 2 + 2], 16).unwrap());
            (name.to_owned(), bytes.collect())
        })
        .collect()
}

#[test]
fn the_bytes_of_every_message_are_fixed() {
    let samples = samples();
    expect_file(&folder().join("messages.hex"), &hex_lines(&samples));
    expect_file(&folder().join("messages.json"), &json_lines(&samples));
}

#[test]
fn every_message_reads_its_golden_bytes_and_gives_them_back() {
    let golden = committed();
    let forms = forms();
    assert_eq!(golden.len(), forms.len() * 2);
    for form in &forms {
        for name in [form.name.to_owned(), format!("{}.none", form.name)] {
            let bytes = &golden[&name];
            assert_eq!(bytes.len(), form.bytes, "{name}");
            assert_eq!(peek_length(bytes), Some(form.bytes), "{name}");
            assert_eq!((form.read)(bytes).as_ref(), Some(bytes), "{name}");
            let shown = (form.show)(bytes).unwrap();
            assert!(shown.starts_with(form.name), "{shown}");
        }
    }
}

#[test]
fn a_message_cut_short_is_none() {
    let golden = committed();
    for form in forms() {
        let bytes = &golden[form.name];
        for length in 0..bytes.len() {
            assert_eq!(
                (form.read)(&bytes[..length]),
                None,
                "{} at {length}",
                form.name
            );
        }
        let shorter = (bytes.len() - HEADER_BYTES - 8) as u16;
        let mut short_block = bytes.clone();
        short_block[..2].copy_from_slice(&shorter.to_le_bytes());
        assert_eq!((form.read)(&short_block), None, "{}", form.name);
    }
}

#[test]
fn a_message_is_read_only_as_itself() {
    let golden = committed();
    let forms = forms();
    for form in &forms {
        for other in forms.iter().filter(|other| other.name != form.name) {
            assert_eq!((form.read)(&golden[other.name]), None);
        }
        let mut foreign = golden[form.name].clone();
        foreign[4] ^= 1;
        assert_eq!((form.read)(&foreign), None, "{}", form.name);
        assert_eq!((form.read)(&(form.blank)()), Some((form.blank)()));
    }
}

#[test]
fn a_longer_block_of_a_newer_schema_is_read_for_its_known_part() {
    let golden = committed();
    for form in forms() {
        let known = &golden[form.name];
        let longer = (known.len() - HEADER_BYTES + 8) as u16;
        let mut newer = known.clone();
        newer.extend_from_slice(&[0xEE; 8]);
        newer[..2].copy_from_slice(&longer.to_le_bytes());
        newer[6..8].copy_from_slice(&1_u16.to_le_bytes());
        let read = (form.read)(&newer).unwrap();
        assert_eq!(read[HEADER_BYTES..], known[HEADER_BYTES..], "{}", form.name);
        assert_eq!(peek_length(&newer), Some(newer.len()));
    }
}
