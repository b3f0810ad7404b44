//! Messages as text, by the names of their declaration.
//!
//! Used when a test is red: events and commands are shown field by field.

use std::fmt::Write;

use exahour_wire::catalogue::{ENUMERATIONS, declaration};
use exahour_wire::message::{Field, HEADER_BYTES, messages, peek_header};

/// A message as one line: its name, then the fields that are not zero.
#[must_use]
pub fn message(bytes: &[u8]) -> String {
    let Some(header) = peek_header(bytes) else {
        return format!("{} bytes that are no message: {bytes:?}", bytes.len());
    };
    let Some(declaration) = declaration(header.template_id) else {
        return format!("template {} {bytes:?}", header.template_id);
    };
    let mut line = declaration.name.to_owned();
    for field in declaration.fields {
        let start = HEADER_BYTES + field.offset;
        let Some(value) = bytes.get(start..start + field.bytes) else {
            line.push_str(" (cut)");
            break;
        };
        if value.iter().any(|byte| *byte != 0) {
            // Writing to a string cannot fail.
            let _ = write!(line, " {}={}", field.name, shown(field, value));
        }
    }
    line
}

/// Messages one after the other, one line each.
#[must_use]
pub fn lines(bytes: &[u8]) -> Vec<String> {
    messages(bytes).map(message).collect()
}

fn shown(field: &Field, value: &[u8]) -> String {
    if value.len() > 8 || field.type_name.starts_with("Text") {
        let text = String::from_utf8_lossy(value);
        let plain = text.trim_end_matches('\0');
        let printable = plain.chars().all(|letter| (' '..='~').contains(&letter));
        return if printable {
            format!("{plain:?}")
        } else {
            value.iter().map(|byte| format!("{byte:02x}")).collect()
        };
    }
    let mut wide = [0; 8];
    wide[..value.len()].copy_from_slice(value);
    let number = u64::from_le_bytes(wide);
    let enumeration = ENUMERATIONS
        .iter()
        .find(|code| code.name == field.type_name);
    if let Some(code) = enumeration {
        let named = code.rows.iter().find(|(value, ..)| *value == number);
        return named.map_or(format!("?{number}"), |(_, name, _)| (*name).to_owned());
    }
    match field.type_name {
        "Price" | "Money" => i64::from_le_bytes(wide).to_string(),
        _ => number.to_string(),
    }
}
