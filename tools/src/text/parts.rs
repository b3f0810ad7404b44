//! Fractions: in percent, or in parts per million.
//!
//! Called by the script reader, and by the command line for what an operator says.
//!
//! Always holds: what is read is exact; a fraction finer than one part per million is none.

use exahour_wire::units::{PartsPerMillion, Price};

/// Parts per million in a percent.
const PARTS_IN_PERCENT: u32 = 10_000;

/// Reads `5%`, `0.25%`, `50000ppm` or `50000`, which is parts per million too.
#[must_use]
pub fn parse_parts(text: &str) -> Option<PartsPerMillion> {
    let Some(percent) = text.strip_suffix('%') else {
        let digits = text.strip_suffix("ppm").unwrap_or(text);
        let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        return digits.parse().ok().filter(|_| plain).map(PartsPerMillion);
    };
    // A price has six decimals, and a percent is ten thousand parts.
    let hundredths = percent.parse::<Price>().ok()?.0;
    let whole = hundredths % 100 == 0;
    let parts = u32::try_from(hundredths / 100).ok().filter(|_| whole)?;
    Some(PartsPerMillion(parts))
}

/// Reads `5%`, `0.25%`, `50000ppm` or `0`: of a bare number nobody could tell the unit.
#[must_use]
pub fn parse_parts_with_unit(text: &str) -> Option<PartsPerMillion> {
    let has_unit = text.ends_with(['%', 'm']) || text == "0";
    parse_parts(text).filter(|_| has_unit)
}

/// Writes a fraction in percent, exactly, such as `15%` or `0.25%`.
#[must_use]
pub fn percent(parts: PartsPerMillion) -> String {
    let (whole, rest) = (parts.0 / PARTS_IN_PERCENT, parts.0 % PARTS_IN_PERCENT);
    let decimals = format!("{rest:04}");
    match decimals.trim_end_matches('0') {
        "" => format!("{whole}%"),
        decimals => format!("{whole}.{decimals}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_exact() {
        let parts = |text| parse_parts(text).map(|parts| parts.0);
        assert_eq!(parts("5%"), Some(50_000));
        assert_eq!(parts("0.0001%"), Some(1));
        assert_eq!(parts("70"), Some(70));
        assert_eq!(parts("70ppm"), Some(70));
        for wrong in [
            "0.00001%",
            "-1%",
            "+5",
            "-5",
            "",
            "%",
            "ppm",
            "5 %",
            "5 ppm",
            "4294967296",
        ] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_fraction_of_an_operator_has_a_unit() {
        let parts = |text| parse_parts_with_unit(text).map(|parts| parts.0);
        assert_eq!(parts("15%"), Some(150_000));
        assert_eq!(parts("150000ppm"), Some(150_000));
        assert_eq!(parts("0"), Some(0));
        for wrong in ["15", "0.15", "150000", "00", "15m", "15%ppm"] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn percents_are_written_as_they_are_read() {
        for (parts, text) in [
            (0, "0%"),
            (1, "0.0001%"),
            (2_500, "0.25%"),
            (150_000, "15%"),
            (1_000_000, "100%"),
        ] {
            assert_eq!(percent(PartsPerMillion(parts)), text);
            assert_eq!(parse_parts(text), Some(PartsPerMillion(parts)));
        }
    }
}
