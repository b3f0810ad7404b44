//! One value as text, and back.
//!
//! Called by the line form for every field, and by the script language for the fields it names.
//!
//! Always holds: a value that is nothing (no price, no time, an empty set, a digest of zeros) is
//! written `none`; an id of zero is written `0`.
//! Does not: check ranges that only the engine knows.

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};

use exahour_wire::units::{DecimalError, Money, Nanos, Price};

use super::form::{Bits, FieldForm, Kind, Names};
use super::time::{is_large_span, parse_span, parse_time, write_time};

/// Why a text is not a value of a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; expected {expected}")]
pub struct ValueError {
    /// What is wrong.
    pub what: String,
    /// What was expected.
    pub expected: String,
}

fn refuse<T>(what: impl Into<String>, expected: impl Into<String>) -> Result<T, ValueError> {
    Err(ValueError {
        what: what.into(),
        expected: expected.into(),
    })
}

pub(super) fn unsigned(bytes: &[u8]) -> u64 {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(wide)
}

fn signed(bytes: &[u8]) -> i64 {
    unsigned(bytes).cast_signed()
}

/// Whether the value stands for nothing: no price, no time, no such thing, an empty set or text.
#[must_use]
pub fn is_nothing(field: &FieldForm, message: &[u8]) -> bool {
    let bytes = field.of(message);
    match field.kind {
        Kind::Price => signed(bytes) == Price::NONE.0,
        _ => bytes.iter().all(|byte| *byte == 0),
    }
}

/// Writes the value of a field.
pub fn write_value(field: &FieldForm, message: &[u8], out: &mut String) {
    let bytes = field.of(message);
    match field.kind {
        Kind::Unsigned | Kind::Span => write_number(unsigned(bytes), out),
        Kind::Price => write_shown(Price(signed(bytes)), out),
        Kind::Money => write_shown(Money(signed(bytes)), out),
        Kind::Time => write_moment(Nanos(unsigned(bytes)), out),
        Kind::Enumeration(names) => write_enumeration(names, unsigned(bytes), out),
        Kind::Set(bits) => write_set(bits, unsigned(bytes), out),
        Kind::Address => write_address(bytes, out),
        Kind::Text => write_quoted(bytes, out),
        Kind::Hex => write_hex(bytes, out),
    }
}

fn write_address(bytes: &[u8], out: &mut String) {
    if let Ok(octets) = <[u8; 16]>::try_from(bytes) {
        return write_shown(Ipv6Addr::from(octets).to_canonical(), out);
    }
    for (place, part) in bytes.iter().enumerate() {
        out.push_str(if place == 0 { "" } else { "." });
        write_number(u64::from(*part), out);
    }
}

fn write_shown(value: impl std::fmt::Display, out: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{value}");
}

fn write_number(mut number: u64, out: &mut String) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10).to_le_bytes()[0];
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend(digits[start..].iter().map(|digit| char::from(*digit)));
}

fn write_moment(time: Nanos, out: &mut String) {
    match time {
        Nanos(0) => out.push_str("none"),
        Nanos::NEVER => out.push_str("never"),
        _ => write_time(time, out),
    }
}

fn write_enumeration(names: Names, number: u64, out: &mut String) {
    match names.iter().find(|(it, _, _)| *it == number) {
        Some((_, name, _)) => out.push_str(name),
        None if number == 0 => out.push_str("none"),
        None => write_number(number, out),
    }
}

fn write_set(bits: Bits, set: u64, out: &mut String) {
    if set == 0 {
        out.push_str("none");
        return;
    }
    let mut unnamed = set;
    let mut separator = "";
    for (bit, name, _) in bits.iter().filter(|(bit, _, _)| set >> bit & 1 == 1) {
        unnamed &= !(1 << bit);
        out.push_str(separator);
        out.push_str(name);
        separator = "|";
    }
    if unnamed != 0 {
        let _ = write!(out, "{separator}{unnamed:#x}");
    }
}

fn write_quoted(bytes: &[u8], out: &mut String) {
    let filled = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    out.push('"');
    for byte in &bytes[..filled] {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(*byte));
            }
            b' '..=b'~' => out.push(char::from(*byte)),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push('"');
}

pub(super) fn write_hex(bytes: &[u8], out: &mut String) {
    if bytes.iter().all(|byte| *byte == 0) {
        out.push_str("none");
        return;
    }
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// Reads `text` as a value of `field` and puts it into `message`.
///
/// # Errors
/// Says what is wrong with the text and what the field takes.
pub fn set_value(field: &FieldForm, text: &str, message: &mut [u8]) -> Result<(), ValueError> {
    let room = field.of_mut(message);
    match field.kind {
        Kind::Text => parse_quoted(text, room),
        Kind::Hex => parse_hex(text, room),
        Kind::Address => parse_address(text, room),
        _ => {
            let number = parse_number(field, text)?;
            let bytes = number.to_le_bytes();
            if bytes[room.len()..].iter().any(|byte| *byte != 0) {
                let largest = u64::MAX >> (64 - 8 * room.len());
                return refuse(format!("{text} is too large"), format!("at most {largest}"));
            }
            room.copy_from_slice(&bytes[..room.len()]);
            Ok(())
        }
    }
}

fn parse_number(field: &FieldForm, text: &str) -> Result<u64, ValueError> {
    match field.kind {
        Kind::Price if text == "none" => Ok(Price::NONE.0.cast_unsigned()),
        Kind::Price => match text.parse::<Price>() {
            Ok(price) => Ok(price.0.cast_unsigned()),
            Err(why) => refuse(not_decimal(text, why), "a price such as 2.50"),
        },
        Kind::Money => match text.parse::<Money>() {
            Ok(money) => Ok(money.0.cast_unsigned()),
            Err(why) => refuse(not_decimal(text, why), "an amount such as 2.50"),
        },
        Kind::Time => match text {
            "none" => Ok(0),
            "never" => Ok(Nanos::NEVER.0),
            _ => parse_time(text).map(|time| time.0).map_or_else(
                || {
                    refuse(
                        format!("`{text}` is not a time"),
                        "a time such as 2026-01-01T00:00:00Z",
                    )
                },
                Ok,
            ),
        },
        Kind::Span => parse_span(text).map(|span| span.0).map_or_else(
            || {
                let what = match is_large_span(text) {
                    true => "is too large",
                    false => "is not a span",
                };
                refuse(
                    format!("`{text}` {what}"),
                    "nanoseconds, or a span such as 300s",
                )
            },
            Ok,
        ),
        Kind::Enumeration(names) => parse_enumeration(names, text),
        Kind::Set(bits) => parse_set(bits, text),
        _ => parse_unsigned(text),
    }
}

/// Says why a text is no decimal, without its remedy.
pub(crate) fn not_decimal(text: &str, why: DecimalError) -> String {
    match why {
        DecimalError::NotANumber => format!("`{text}` is not a number"),
        DecimalError::TooFine => format!("`{text}` has more than six digits after the point"),
        DecimalError::TooLarge => format!("{text} is too large"),
    }
}

fn parse_unsigned(text: &str) -> Result<u64, ValueError> {
    match text.parse::<u64>() {
        Ok(number) if text.starts_with(|first: char| first.is_ascii_digit()) => Ok(number),
        _ => refuse(
            format!("`{text}` is not a number"),
            "a whole number such as 12",
        ),
    }
}

/// Whether two names are the same but for case and hyphens, so that `cancel-oldest` is
/// `CancelOldest`.
pub(crate) fn same_name(name: &str, text: &str) -> bool {
    let mut letters = text.chars().filter(|letter| *letter != '-');
    name.chars().all(|it| {
        letters
            .next()
            .is_some_and(|letter| it.eq_ignore_ascii_case(&letter))
    }) && letters.next().is_none()
}

fn parse_enumeration(names: Names, text: &str) -> Result<u64, ValueError> {
    if let Some((number, _, _)) = names.iter().find(|(_, name, _)| same_name(name, text)) {
        return Ok(*number);
    }
    if text == "none" {
        return Ok(0);
    }
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return parse_unsigned(text);
    }
    let known: Vec<_> = names.iter().map(|(_, name, _)| *name).collect();
    refuse(
        format!("`{text}` is not known here"),
        format!("one of {}", known.join(", ")),
    )
}

pub(crate) fn parse_set(bits: Bits, text: &str) -> Result<u64, ValueError> {
    if text == "none" {
        return Ok(0);
    }
    let mut set = 0;
    for part in text.split(['|', ',']) {
        let named = bits.iter().find(|(_, name, _)| same_name(name, part));
        set |= match named {
            Some((bit, _, _)) => 1 << bit,
            None => match part
                .strip_prefix("0x")
                .map(|hex| u64::from_str_radix(hex, 16))
            {
                Some(Ok(rest)) => rest,
                _ => {
                    let known: Vec<_> = bits.iter().map(|(_, name, _)| *name).collect();
                    let expected = format!("none, or some of {}", known.join(", "));
                    return refuse(format!("`{part}` is not known here"), expected);
                }
            },
        };
    }
    Ok(set)
}

fn parse_address(text: &str, room: &mut [u8]) -> Result<(), ValueError> {
    match text.parse() {
        Ok(IpAddr::V4(address)) if room.len() == 4 => room.copy_from_slice(&address.octets()),
        Ok(IpAddr::V4(address)) => room.copy_from_slice(&address.to_ipv6_mapped().octets()),
        Ok(IpAddr::V6(address)) if room.len() == 16 => room.copy_from_slice(&address.octets()),
        Ok(IpAddr::V6(_)) | Err(_) => {
            return refuse(format!("`{text}` is not an address"), "such as 127.0.0.1");
        }
    }
    Ok(())
}

fn parse_hex(text: &str, room: &mut [u8]) -> Result<(), ValueError> {
    room.fill(0);
    if text == "none" {
        return Ok(());
    }
    let wrong = || {
        let expected = format!("`none` or {} hexadecimal digits", 2 * room.len());
        refuse(format!("`{text}` is not a digest or key"), expected)
    };
    if text.len() != 2 * room.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return wrong();
    }
    for (place, pair) in text.as_bytes().chunks_exact(2).enumerate() {
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0).to_le_bytes()[0];
        room[place] = digit(pair[0]) << 4 | digit(pair[1]);
    }
    Ok(())
}

fn parse_quoted(text: &str, room: &mut [u8]) -> Result<(), ValueError> {
    let expected = || format!("at most {} ASCII characters in double quotes", room.len());
    let inner = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let Some(inner) = inner.filter(|_| text.len() >= 2) else {
        return refuse(format!("`{text}` is not quoted"), expected());
    };
    let mut bytes = Vec::with_capacity(room.len());
    let mut rest = inner.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let byte = match (first, after) {
            (b'\\', [quoted @ (b'"' | b'\\'), after @ ..]) => {
                rest = after;
                *quoted
            }
            (b'\\', [b'x', high, low, after @ ..]) => {
                rest = after;
                let pair = [
                    char::from(*high).to_digit(16),
                    char::from(*low).to_digit(16),
                ];
                match pair {
                    [Some(high), Some(low)] => (high << 4 | low).to_le_bytes()[0],
                    _ => {
                        return refuse(
                            "`\\x` is not followed by two hexadecimal digits",
                            expected(),
                        );
                    }
                }
            }
            (b'\\', _) => return refuse("a lone backslash", "`\\\\`, `\\\"` or `\\x20`"),
            (b'"', _) => return refuse("a quote within the text", "`\\\"`"),
            (b' '..=b'~', _) => *first,
            _ => return refuse("a character that is not printable ASCII", expected()),
        };
        bytes.push(byte);
    }
    if bytes.len() > room.len() {
        return refuse(
            format!("the text has {} characters", bytes.len()),
            expected(),
        );
    }
    room.fill(0);
    room[..bytes.len()].copy_from_slice(&bytes);
    Ok(())
}
