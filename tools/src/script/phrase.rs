//! One line of a script as words, taken one after the other.
//!
//! Called by the parsers of statements. Options that every command takes (`seq`, `request`,
//! `field=value`) are gathered here on the way.
//!
//! Always holds: every refusal carries the place of the word it is about.

use exahour_wire::codes::{Enumeration, Raw};
use exahour_wire::units::{DecimalError, Money, Nanos, PartsPerMillion, Price};

use crate::text::{
    Misfit, is_large_span, not_decimal, parse_parts, parse_span, parse_time, same_name, words,
};

/// A word and the bytes of the line before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) offset: usize,
}

impl Word<'_> {
    /// A refusal of this word.
    pub(super) fn misfit(self, what: impl Into<String>, expected: impl Into<String>) -> Misfit {
        Misfit {
            offset: self.offset,
            what: what.into(),
            expected: expected.into(),
        }
    }
}

/// A line, word by word.
#[derive(Debug)]
pub(super) struct Phrase<'a> {
    words: Vec<Word<'a>>,
    place: usize,
    end: usize,
    /// `seq N`, where it was given.
    pub(super) sequence: Option<u32>,
    /// `request N`, where it was given.
    pub(super) request: Option<u64>,
    /// Every `field=value`, in order.
    pub(super) overrides: Vec<Word<'a>>,
    /// Every option, in order: none may come twice, or contradict another.
    options: Vec<Word<'a>>,
}

/// Options of which a command has one at most: each says the same thing differently.
const ALTERNATIVES: &[&[&str]] = &[
    &["@", "market", "market-to-limit"],
    &["stop", "or-stop", "market", "market-to-limit", "peg"],
    &["day", "gtc", "ioc", "fok", "gfa", "until"],
    &["firm", "preemptible"],
    &[
        "lost",
        "terminated",
        "keep-alive",
        "slow",
        "breach",
        "expelled",
        "stopped",
    ],
];

impl<'a> Phrase<'a> {
    /// The words of a line, up to a word that starts with `#`, unless it names an order.
    pub(super) fn new(line: &'a str) -> Self {
        let mut found: Vec<Word<'a>> = Vec::new();
        for (offset, text) in words(line) {
            let names_order = found.last().is_some_and(|last| last.text == "order");
            if text.starts_with('#') && !names_order {
                break;
            }
            found.push(Word { text, offset });
        }
        let words = found;
        let end = words.last().map_or(0, |word| word.offset + word.text.len());
        Self {
            words,
            place: 0,
            end,
            sequence: None,
            request: None,
            overrides: Vec::new(),
            options: Vec::new(),
        }
    }

    /// The next word, which stays.
    pub(super) fn peek(&self) -> Option<Word<'a>> {
        self.words.get(self.place).copied()
    }

    /// The next word, if there is one.
    pub(super) fn next(&mut self) -> Option<Word<'a>> {
        let word = self.peek()?;
        self.place += 1;
        Some(word)
    }

    /// A refusal of the end of the line.
    pub(super) fn misfit_at_end(&self, expected: impl Into<String>) -> Misfit {
        Misfit {
            offset: self.end,
            what: "the line ends here".to_owned(),
            expected: expected.into(),
        }
    }

    /// The next word.
    pub(super) fn word(&mut self, expected: &str) -> Result<Word<'a>, Misfit> {
        self.next().ok_or_else(|| self.misfit_at_end(expected))
    }

    /// The next word, which must be this one.
    pub(super) fn keyword(&mut self, keyword: &str) -> Result<(), Misfit> {
        let word = self.word(&format!("`{keyword}`"))?;
        if word.text == keyword {
            Ok(())
        } else {
            Err(word.misfit(
                format!("`{}` does not fit here", word.text),
                format!("`{keyword}`"),
            ))
        }
    }

    /// Takes the next word if it is this one.
    pub(super) fn takes(&mut self, keyword: &str) -> bool {
        let fits = self.peek().is_some_and(|word| word.text == keyword);
        self.place += usize::from(fits);
        fits
    }

    /// The next option, after taking those that every command has.
    pub(super) fn option(&mut self) -> Result<Option<Word<'a>>, Misfit> {
        while let Some(word) = self.next() {
            self.note_option(word)?;
            match word.text {
                "seq" => self.sequence = Some(self.number("a sequence number")?),
                "request" => self.request = Some(self.number("a request number")?),
                text if text.contains('=') && !text.starts_with('"') => self.overrides.push(word),
                _ => return Ok(Some(word)),
            }
        }
        Ok(None)
    }

    /// Refuses an option that was there before, or contradicts one that was.
    fn note_option(&mut self, word: Word<'a>) -> Result<(), Misfit> {
        let name = option_name(word.text);
        for earlier in self.options.iter().map(|it| it.text) {
            let other = option_name(earlier);
            if name == other {
                let what = format!("`{}` comes after `{earlier}`", word.text);
                return Err(word.misfit(what, format!("`{name}` once in a command")));
            }
            let mut groups = ALTERNATIVES.iter();
            if groups.any(|group| group.contains(&name) && group.contains(&other)) {
                let what = format!("`{}` contradicts `{earlier}`", word.text);
                return Err(word.misfit(what, format!("`{other}` or `{name}`, not both")));
            }
        }
        self.options.push(word);
        Ok(())
    }

    /// Takes the options that every command has; there must be no other.
    pub(super) fn finish(&mut self) -> Result<(), Misfit> {
        match self.option()? {
            None => Ok(()),
            Some(word) => Err(word.misfit(
                format!("`{}` does not fit here", word.text),
                "the end of the line, or `field=value`",
            )),
        }
    }

    /// The next word as a whole number.
    pub(super) fn number<T: TryFrom<u64>>(&mut self, expected: &str) -> Result<T, Misfit> {
        let word = self.word(expected)?;
        number_of(word, word.text, expected)
    }

    /// The next word as a price.
    pub(super) fn price(&mut self) -> Result<Price, Misfit> {
        let word = self.word("a price such as 2.50")?;
        price_of(word, word.text)
    }

    /// The next word as an amount of money.
    pub(super) fn money(&mut self) -> Result<Money, Misfit> {
        let expected = "an amount such as 1000000 or 12.50";
        let word = self.word(expected)?;
        let money = word.text.parse();
        money.map_err(|why| word.misfit(not_decimal(word.text, why), expected))
    }

    /// The next word as a moment, or as a span after `now`.
    pub(super) fn moment(&mut self, now: Nanos) -> Result<Nanos, Misfit> {
        let expected = "a time such as 2026-01-01T00:00:00Z, or a span from now such as 300s";
        let word = self.word(expected)?;
        let moment = parse_time(word.text);
        // A bare number would be read as nanoseconds from now, which nobody means.
        let has_unit = word.text.ends_with(|last: char| last.is_ascii_lowercase());
        let after = || {
            parse_span(word.text)
                .filter(|_| has_unit)
                .map(|span| now.after(span))
        };
        moment.or_else(after).ok_or_else(|| {
            let what = match is_large_span(word.text) {
                true => "is too large",
                false => "is neither a time nor a span",
            };
            word.misfit(format!("`{}` {what}", word.text), expected)
        })
    }

    /// The next word as a span.
    pub(super) fn span(&mut self) -> Result<Nanos, Misfit> {
        let expected = "a span such as 300s, 5m, 1h or 250ms";
        let word = self.word(expected)?;
        parse_span(word.text).ok_or_else(|| match is_large_span(word.text) {
            true => word.misfit(
                format!("`{}` is too large", word.text),
                "a span of at most 213503d",
            ),
            false => word.misfit(format!("`{}` is not a span", word.text), expected),
        })
    }

    /// The next word as a fraction: percent, or parts per million.
    pub(super) fn fraction(&mut self) -> Result<PartsPerMillion, Misfit> {
        let expected = "a fraction such as 5%, 0.25% or 50000 (parts per million)";
        let word = self.word(expected)?;
        parse_parts(word.text)
            .ok_or_else(|| word.misfit(format!("`{}` is not a fraction", word.text), expected))
    }

    /// The next word as a value of an enumeration; case and hyphens do not matter.
    pub(super) fn named<E: Enumeration<Repr = u8>>(&mut self) -> Result<Raw<E>, Misfit> {
        let known = || {
            let names: Vec<_> = E::TABLE
                .iter()
                .map(|(_, name, _)| hyphenated(name))
                .collect();
            format!("one of {}", names.join(", "))
        };
        let Some(word) = self.next() else {
            return Err(self.misfit_at_end(known()));
        };
        let found = E::TABLE
            .iter()
            .find(|(_, name, _)| same_name(name, word.text));
        match found {
            Some((number, _, _)) => Ok(Raw::new(number.to_le_bytes()[0])),
            None => Err(word.misfit(format!("`{}` is not known here", word.text), known())),
        }
    }

    /// Up to `N` bytes in hexadecimal, filled up with zeros.
    pub(super) fn hex<const N: usize>(&mut self) -> Result<[u8; N], Misfit> {
        let expected = format!("up to {} hexadecimal digits", 2 * N);
        let word = self.word(&expected)?;
        let digits: Option<Vec<u32>> = word.text.chars().map(|digit| digit.to_digit(16)).collect();
        let digits = digits.filter(|digits| digits.len() % 2 == 0 && digits.len() <= 2 * N);
        let Some(digits) = digits else {
            let what = format!(
                "`{}` is not an even number of hexadecimal digits",
                word.text
            );
            return Err(word.misfit(what, expected));
        };
        let mut bytes = [0; N];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (pair[0] << 4 | pair[1]).to_le_bytes()[0];
        }
        Ok(bytes)
    }
}

/// What an option says, without its value where that belongs to the same word.
fn option_name(text: &str) -> &str {
    match text.find('=') {
        _ if text.starts_with('@') => "@",
        // A text in quotes is a value.
        Some(end) if !text.starts_with('"') => &text[..end],
        _ => text,
    }
}

/// A whole number out of a part of a word.
pub(super) fn number_of<T: TryFrom<u64>>(
    word: Word<'_>,
    text: &str,
    expected: &str,
) -> Result<T, Misfit> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain {
        return Err(word.misfit(format!("`{text}` is not a whole number"), expected));
    }
    let number = text
        .parse::<u64>()
        .ok()
        .and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| word.misfit(format!("{text} is too large"), expected))
}

/// A price out of a part of a word.
pub(super) fn price_of(word: Word<'_>, text: &str) -> Result<Price, Misfit> {
    let price: Result<Price, DecimalError> = text.parse();
    price.map_err(|why| word.misfit(not_decimal(text, why), "a price such as 2.50"))
}

/// `CancelOldest` as `cancel-oldest`.
fn hyphenated(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use exahour_wire::codes::SelfTradePrevention;

    use super::*;

    #[test]
    fn common_options_are_gathered_anywhere() {
        let mut phrase = Phrase::new("seq 5 on price=none request 9 for # the rest is a comment");
        assert_eq!(phrase.option().unwrap().unwrap().text, "on");
        assert_eq!(phrase.option().unwrap().unwrap().text, "for");
        assert!(phrase.option().unwrap().is_none());
        assert_eq!((phrase.sequence, phrase.request), (Some(5), Some(9)));
        assert_eq!(phrase.overrides[0].text, "price=none");
    }

    #[test]
    fn options_neither_repeat_nor_contradict_each_other() {
        let refused = |line| {
            let mut phrase = Phrase::new(line);
            loop {
                match phrase.option() {
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(misfit) => return Some((misfit.offset, misfit.what)),
                }
            }
        };
        for (line, offset, what) in [
            ("gtc post-only gtc", 14, "`gtc` comes after `gtc`"),
            ("@2.50 day @2.60", 10, "`@2.60` comes after `@2.50`"),
            ("price=1 price=2", 8, "`price=2` comes after `price=1`"),
            ("seq 1 seq 2", 6, "`seq` comes after `seq`"),
            ("ioc fok", 4, "`fok` contradicts `ioc`"),
            ("@2.50 market", 6, "`market` contradicts `@2.50`"),
            ("lost slow", 5, "`slow` contradicts `lost`"),
        ] {
            assert_eq!(refused(line), Some((offset, what.to_owned())), "{line}");
        }
        assert_eq!(
            refused("@2.50 stop gtc post-only price=none quantity=1"),
            None
        );
    }

    #[test]
    fn names_read_with_hyphens() {
        let mode = Phrase::new("cancel-oldest")
            .named::<SelfTradePrevention>()
            .unwrap();
        assert_eq!(mode.decode(), Some(SelfTradePrevention::CancelOldest));
        let error = Phrase::new("oldest")
            .named::<SelfTradePrevention>()
            .unwrap_err();
        assert!(error.expected.contains("cancel-both"), "{error}");
    }

    #[test]
    fn the_end_of_the_line_has_a_place() {
        let mut phrase = Phrase::new("  buy ");
        phrase.next();
        assert_eq!(phrase.number::<u64>("lots").unwrap_err().offset, 5);
    }
}
