//! Moments as ISO 8601 in UTC with nine digits, and spans with their units.
//!
//! Called by the value forms and by the script language's clock.
//!
//! Always holds: every 64-bit count of nanoseconds since 1970 writes and reads back unchanged.
//! Does not: know leap seconds or zones; a time without the final `Z` is refused.

use exahour_wire::units::Nanos;

const SECONDS_PER_DAY: u64 = 86_400;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Writes a moment, such as `2026-01-01T00:00:00.000000000Z`.
pub fn write_time(time: Nanos, out: &mut String) {
    let (seconds, fraction) = (time.0 / NANOS_PER_SECOND, time.0 % NANOS_PER_SECOND);
    let (days, second) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
    let (year, month, day) = date_of(days);
    write_digits(out, year, 4);
    out.push('-');
    write_digits(out, month, 2);
    out.push('-');
    write_digits(out, day, 2);
    out.push('T');
    write_digits(out, second / 3_600, 2);
    out.push(':');
    write_digits(out, second / 60 % 60, 2);
    out.push(':');
    write_digits(out, second % 60, 2);
    out.push('.');
    write_digits(out, fraction, 9);
    out.push('Z');
}

fn write_digits(out: &mut String, number: u64, width: u32) {
    for place in (0..width).rev() {
        let digit = number / 10_u64.pow(place) % 10;
        out.push(char::from(b'0' + digit.to_le_bytes()[0]));
    }
}

/// The day, month and year of a day since 1970-01-01.
///
/// # Source
/// Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`, for days that
/// are never before the epoch.
fn date_of(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// Days since 1970-01-01 of a date that is not before it.
fn days_of(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let era = year / 400;
    let year_of_era = year % 400;
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Reads a moment: a date, or a date and a time of day with up to nine digits of fraction and `Z`.
#[must_use]
pub fn parse_time(text: &str) -> Option<Nanos> {
    let (date, clock) = match text.split_once('T') {
        Some((date, clock)) => (date, clock.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let mut date = date.splitn(3, '-');
    let year = digits(date.next()?, 4)?;
    let month = digits(date.next()?, 2)?;
    let day = digits(date.next()?, 2)?;
    let lawful = year >= 1970 && (1..=12).contains(&month) && day >= 1;
    if !lawful || date_of(days_of(year, month, day)) != (year, month, day) {
        return None;
    }
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.splitn(3, ':');
    let hour = digits(clock.next()?, 2)?;
    let minute = digits(clock.next()?, 2)?;
    let second = match clock.next() {
        Some(second) => digits(second, 2)?,
        None => 0,
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days_of(year, month, day) * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second;
    let nanos = seconds
        .checked_mul(NANOS_PER_SECOND)?
        .checked_add(parse_fraction(fraction)?)?;
    Some(Nanos(nanos))
}

fn digits(text: &str, width: usize) -> Option<u64> {
    let plain = text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

fn parse_fraction(text: &str) -> Option<u64> {
    let width = text.len();
    if !(1..=9).contains(&width) || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(9 - width).ok()?);
    text.parse::<u64>().ok().map(|number| number * scale)
}

/// Reads a span: whole nanoseconds, or a whole number with `ns`, `us`, `ms`, `s`, `m`, `h` or `d`.
#[must_use]
pub fn parse_span(text: &str) -> Option<Nanos> {
    let (number, scale) = span_parts(text)?;
    number.parse::<u64>().ok()?.checked_mul(scale).map(Nanos)
}

/// Whether a text would be a span if it were not above what 64 bits hold.
pub(crate) fn is_large_span(text: &str) -> bool {
    let digits = span_parts(text).is_some_and(|(number, _)| !number.is_empty());
    digits && parse_span(text).is_none()
}

/// The digits of a span, and its unit in nanoseconds.
fn span_parts(text: &str) -> Option<(&str, u64)> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale: u64 = match unit {
        "" | "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => NANOS_PER_SECOND,
        "m" => 60 * NANOS_PER_SECOND,
        "h" => 3_600 * NANOS_PER_SECOND,
        "d" => SECONDS_PER_DAY * NANOS_PER_SECOND,
        _ => return None,
    };
    Some((number, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(nanos: u64) -> String {
        let mut out = String::new();
        write_time(Nanos(nanos), &mut out);
        out
    }

    #[test]
    fn known_moments_write_and_read() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (1_767_225_600_000_000_000, "2026-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (4_107_542_399_999_999_999, "2100-02-28T23:59:59.999999999Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551615Z"),
        ] {
            assert_eq!(written(nanos), text);
            assert_eq!(parse_time(text), Some(Nanos(nanos)));
        }
        assert_eq!(parse_time("2026-01-01"), parse_time("2026-01-01T00:00:00Z"));
        assert_eq!(
            parse_time("2026-01-01T09:30Z"),
            parse_time("2026-01-01T09:30:00.0Z")
        );
    }

    #[test]
    fn every_day_of_five_centuries_reads_back() {
        for day in 0..213_000 {
            let (year, month, date) = date_of(day);
            assert_eq!(days_of(year, month, date), day);
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2026",
            "2026-1-1",
            "2026-13-01",
            "2026-02-29",
            "1969-12-31",
            "2026-01-01T00:00:00",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.1234567890Z",
            "2555-01-01",
            "9999-12-31",
            "2026-01-0é",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn spans_have_units() {
        assert_eq!(parse_span("300s"), Some(Nanos(300_000_000_000)));
        assert_eq!(parse_span("17"), Some(Nanos(17)));
        assert_eq!(parse_span("2h"), Some(Nanos(7_200_000_000_000)));
        for text in ["", "s", "-1s", "1.5s", "5 s", "18446744073709551615s", "1w"] {
            assert_eq!(parse_span(text), None, "{text}");
        }
    }
}
