//! Fractions: in percent, or in parts per million.
//!
//! Always holds: what is read is exact; a fraction finer than one part per million is none.

use exahour_wire::units::{PartsPerMillion, Price};

/// Reads `5%`, `0.25%` or `50000`.
#[must_use]
pub fn parse_parts(text: &str) -> Option<PartsPerMillion> {
    let Some(percent) = text.strip_suffix('%') else {
        let plain = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        return text.parse().ok().filter(|_| plain).map(PartsPerMillion);
    };
    // A price has six decimals, and a percent is ten thousand parts.
    let hundredths = percent.parse::<Price>().ok()?.0;
    let whole = hundredths % 100 == 0;
    let parts = u32::try_from(hundredths / 100).ok().filter(|_| whole)?;
    Some(PartsPerMillion(parts))
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
        for wrong in ["0.00001%", "-1%", "+5", "-5", "", "%", "5 %", "4294967296"] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }
}
