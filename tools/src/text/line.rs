//! A message as one line: its name, then `field=value` in wire order.
//!
//! Called by `script` for every event and every raw command, and by the tools that dump.
//!
//! Always holds: `parse_line(write_line(m)) == m` for every message whose padding is zero.
//! Does not: end the line; the caller does.

use super::form::{FieldForm, MessageForm, form_named, form_of};
use super::value::{is_nothing, set_value, write_value};

/// How much of a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Every field.
    Full,
    /// Without event number, time and command number, and without fields that hold nothing.
    Brief,
}

/// Why bytes have no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The bytes are not a whole message of this schema.
    #[error(
        "not a message of this schema, or cut short: check that file and program belong together"
    )]
    NotAMessage,
}

/// What is wrong with a line, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; expected {expected}")]
pub struct Misfit {
    /// Bytes before the place.
    pub offset: usize,
    /// What is wrong.
    pub what: String,
    /// What was expected.
    pub expected: String,
}

/// Whether the brief form leaves this field out whatever it holds.
#[must_use]
pub fn is_quiet_by_default(field: &FieldForm) -> bool {
    matches!(field.name.as_str(), "event" | "time" | "command")
}

/// Writes a message as one line, without its end.
///
/// # Errors
/// [`TextError::NotAMessage`].
pub fn write_line(message: &[u8], verbosity: Verbosity, out: &mut String) -> Result<(), TextError> {
    let form = form_of(message).ok_or(TextError::NotAMessage)?;
    out.push_str(form.declaration.name);
    for field in &form.fields {
        let hidden = is_quiet_by_default(field) || is_nothing(field, message);
        if verbosity == Verbosity::Brief && hidden {
            continue;
        }
        out.push(' ');
        out.push_str(&field.name);
        out.push('=');
        write_value(field, message, out);
    }
    Ok(())
}

/// A line taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    /// Which message it is.
    pub(crate) form: &'static MessageForm,
    /// Its bytes; fields that are not named are zero.
    pub(crate) message: Vec<u8>,
    /// The offsets of the fields that are named.
    pub(crate) named: Vec<usize>,
}

/// Reads a message from its line. Fields that are not named are zero.
///
/// # Errors
/// [`Misfit`] with the place.
pub fn parse_line(line: &str) -> Result<Vec<u8>, Misfit> {
    parse_fields(line).map(|parsed| parsed.message)
}

/// As [`parse_line`], and says which fields were named.
pub(crate) fn parse_fields(line: &str) -> Result<Parsed, Misfit> {
    let mut words = words(line);
    let misfit = |offset, what: String, expected: &str| Misfit {
        offset,
        what,
        expected: expected.to_owned(),
    };
    let Some((offset, name)) = words.next() else {
        return Err(misfit(
            0,
            "the line is empty".to_owned(),
            "the name of a message",
        ));
    };
    let form = form_named(name).ok_or_else(|| {
        misfit(
            offset,
            format!("no message is named `{name}`"),
            "such as NewOrder",
        )
    })?;
    let mut message = form.blank();
    let mut named = Vec::new();
    for (offset, word) in words {
        let (name, text) = word
            .split_once('=')
            .ok_or_else(|| misfit(offset, format!("`{word}` has no `=`"), "`field=value`"))?;
        let field = form.field(name).ok_or_else(|| Misfit {
            offset,
            what: format!("{} has no field `{name}`", form.declaration.name),
            expected: format!("one of {}", field_names(&form.fields)),
        })?;
        if named.contains(&field.offset) {
            return Err(misfit(
                offset,
                format!("`{name}` is given twice"),
                "each field once",
            ));
        }
        named.push(field.offset);
        set_value(field, text, &mut message).map_err(|error| Misfit {
            offset: offset + name.len() + 1,
            what: error.what,
            expected: error.expected,
        })?;
    }
    Ok(Parsed {
        form,
        message,
        named,
    })
}

/// The names of fields, for an error.
pub(crate) fn field_names(fields: &[FieldForm]) -> String {
    let names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
    names.join(", ")
}

/// The words of a line with the bytes before each; a quoted text is part of its word.
pub(crate) fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut place = 0;
    std::iter::from_fn(move || {
        let rest = &line[place..];
        let start = place + rest.find(|letter: char| !letter.is_whitespace())?;
        let end = start + word_length(&line[start..]);
        place = end;
        Some((start, &line[start..end]))
    })
}

/// Bytes up to the first white space that is not inside double quotes.
fn word_length(text: &str) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    for (place, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if letter.is_whitespace() && !quoted => return place,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use exahour_wire::units::Price;

    use super::*;
    use crate::text::{Kind, forms};

    /// SplitMix64: small, seeded, good enough to vary bytes.
    struct Chance(u64);

    impl Chance {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = self.0;
            mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ mixed >> 31
        }
    }

    fn vary(field: &FieldForm, chance: &mut Chance, message: &mut [u8]) {
        let room = field.of_mut(message);
        // Full width, few bits, all ones or nothing: the ends of a range matter most.
        let mask = [u64::MAX, 0xFF, 0xFFFF_FFFF, 0][usize::try_from(chance.next() % 4).unwrap()];
        for chunk in room.chunks_mut(8) {
            let bytes = (chance.next() & mask).to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        if chance.next().is_multiple_of(8) {
            room.fill(0xFF);
        }
        // One number below the range of amounts has no decimal that reads back.
        if matches!(field.kind, Kind::Money) && room == i64::MIN.to_le_bytes() {
            room.fill(0);
        }
    }

    #[test]
    fn every_message_reads_back_what_was_written() {
        for seed in 0..200 {
            let mut chance = Chance(seed);
            for form in forms() {
                let mut message = form.blank();
                for field in &form.fields {
                    vary(field, &mut chance, &mut message);
                }
                let mut line = String::new();
                write_line(&message, Verbosity::Full, &mut line).unwrap();
                let read =
                    parse_line(&line).unwrap_or_else(|error| panic!("{seed} {line}: {error}"));
                assert_eq!(read, message, "seed {seed}: {line}");
                assert!(
                    line.is_ascii() && !line.contains('\n'),
                    "seed {seed}: {line}"
                );
            }
        }
    }

    #[test]
    fn an_order_reads_as_expected() {
        let line = "NewOrder session=1 sequence=3 clientOrderId=7 price=12.50 quantity=10 \
                    expireAt=none account=100 instrument=1 side=Buy orderType=Limit \
                    timeInForce=Day selfTradePrevention=None flags=PostOnly";
        let message = parse_line(line).unwrap();
        let mut again = String::new();
        write_line(&message, Verbosity::Full, &mut again).unwrap();
        assert_eq!(again, line);
        let field = form_named("NewOrder").unwrap().field("price").unwrap();
        assert_eq!(field.of(&message), Price(12_500_000).0.to_le_bytes());
    }

    #[test]
    fn unknown_numbers_and_texts_keep_their_bytes() {
        for line in [
            "NewOrder side=9 flags=PostOnly|0xa2 price=none expireAt=never",
            "CreateParticipant name=\"a \\\"b\\\\ \\x07\\x00c\"",
            "MachineReady address=10.0.0.255 port=65535",
        ] {
            let message = parse_line(line).unwrap();
            let mut full = String::new();
            write_line(&message, Verbosity::Full, &mut full).unwrap();
            for word in words(line).map(|(_, word)| word) {
                assert!(
                    words(&full).any(|(_, other)| other == word),
                    "{word} in {full}"
                );
            }
        }
    }

    #[test]
    fn a_misfit_names_its_place() {
        for (line, offset) in [
            ("", 0),
            ("  NoSuch", 2),
            ("NewOrder price", 9),
            ("NewOrder prize=1", 9),
            ("NewOrder price=x", 15),
            ("NewOrder side=Hold", 14),
            ("NewOrder account=4294967296", 17),
            ("NewOrder account=+4", 17),
            ("NewOrder account=1 account=1", 19),
            ("CreateParticipant name=\"open", 23),
            ("CreateParticipant name=\"\\q\"", 23),
            ("CreateParticipant name=\"é\"", 23),
            (
                "CreateParticipant name=\"123456789012345678901234567890123\"",
                23,
            ),
            ("Checkpoint stateHash=abc", 21),
            ("MachineReady address=1.2.3", 21),
        ] {
            assert_eq!(parse_line(line).unwrap_err().offset, offset, "{line}");
        }
    }
}
