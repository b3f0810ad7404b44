//! JSON as every command prints it, for programs to read.
//!
//! Called by this crate's subcommands, and by all others of the `exahour` command.
//!
//! Always holds: no whole number is changed by a reader that knows only doubles: beyond 2^53 it stands
//! in quotes. Does not: read; what this process writes for itself to read again is written plainly.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::Formatter;

/// The largest whole number up to which every JSON reader keeps all of them exactly.
const EXACT_MAX: u64 = 1 << 53;

/// A value as JSON, without the end of the line.
///
/// # Errors
/// Where the value cannot be JSON: a map whose keys are no texts.
pub fn to_vec(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(128);
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Exact))?;
    Ok(out)
}

/// Writes a value as one JSON object on its line.
///
/// # Errors
/// As [`to_vec`], and where `out` cannot be written: the error is then the one of `out`.
pub fn write_line(out: &mut (impl Write + ?Sized), value: &impl Serialize) -> io::Result<()> {
    let mut line = to_vec(value)?;
    line.push(b'\n');
    out.write_all(&line)
}

/// Compact JSON in which whole numbers stay exact.
struct Exact;

/// Writes a number, in quotes where its magnitude is too large.
fn write_exactly(
    out: &mut (impl Write + ?Sized),
    number: impl std::fmt::Display,
    magnitude: u64,
) -> io::Result<()> {
    match magnitude <= EXACT_MAX {
        true => write!(out, "{number}"),
        false => write!(out, "\"{number}\""),
    }
}

// Shorter integers are always exact, and 128 bits are in no answer.
impl Formatter for Exact {
    fn write_u64<W: ?Sized + Write>(&mut self, out: &mut W, number: u64) -> io::Result<()> {
        write_exactly(out, number, number)
    }

    fn write_i64<W: ?Sized + Write>(&mut self, out: &mut W, number: i64) -> io::Result<()> {
        write_exactly(out, number, number.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Serialize)]
    struct Inner {
        money: i64,
    }

    #[derive(Serialize)]
    struct Outer {
        order: Option<u64>,
        #[serde(flatten)]
        inner: Inner,
        counts: BTreeMap<&'static str, u64>,
    }

    fn text(order: u64, money: i64) -> String {
        let value = Outer {
            order: Some(order),
            inner: Inner { money },
            counts: [("it", order)].into(),
        };
        let direct = to_vec(&value).unwrap();
        // The same on the way through a value without a type.
        let value = serde_json::to_value(&value).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&direct).unwrap();
        let again: serde_json::Value = serde_json::from_slice(&to_vec(&value).unwrap()).unwrap();
        assert_eq!(read, again);
        String::from_utf8(direct).unwrap()
    }

    #[test]
    fn numbers_that_a_double_would_change_stand_in_quotes() {
        let exact = 1 << 53;
        assert_eq!(
            text(exact, -(1 << 53)),
            r#"{"order":9007199254740992,"money":-9007199254740992,"counts":{"it":9007199254740992}}"#
        );
        assert_eq!(
            text(exact + 1, -(1 << 53) - 1),
            r#"{"order":"9007199254740993","money":"-9007199254740993","counts":{"it":"9007199254740993"}}"#
        );
        assert_eq!(
            text(u64::MAX, i64::MIN),
            r#"{"order":"18446744073709551615","money":"-9223372036854775808","counts":{"it":"18446744073709551615"}}"#
        );
    }

    #[test]
    fn a_line_is_whole_and_tells_why_it_cannot_be_written() {
        let mut out = Vec::new();
        write_line(&mut out, &Inner { money: 7 }).unwrap();
        assert_eq!(out, b"{\"money\":7}\n");
        let mut full: &mut [u8] = &mut [0; 3];
        let error = write_line(&mut full, &Inner { money: 7 }).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
