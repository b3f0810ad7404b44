//! Compares the events that came with those that a script expects, and shows where they differ.
//!
//! Called by checks. An expected line names a message and its fields in the brief form. What it
//! leaves out must hold nothing, but for event number, time and command number, which may be
//! anything; a line that ends in `...` leaves out what it likes.
//!
//! Always holds: the brief line that is written for an event matches that event.

use std::fmt::Write;

use crate::text::{
    FieldForm, MessageForm, Misfit, Verbosity, form_of, is_nothing, is_quiet_by_default,
    parse_fields, write_line, write_value,
};

/// An expected event.
#[derive(Clone, Debug)]
pub struct Expectation {
    text: String,
    form: &'static MessageForm,
    message: Vec<u8>,
    named: Vec<usize>,
    rest: Rest,
}

/// What the fields that are not named may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Nothing,
    Anything,
}

impl Expectation {
    /// Reads an expected line, as it stands after the `>`.
    ///
    /// # Errors
    /// [`Misfit`] with the place within `text`.
    pub fn parse(text: &str) -> Result<Self, Misfit> {
        let (line, rest) = match text.strip_suffix("...") {
            Some(line) => (line, Rest::Anything),
            None => (text, Rest::Nothing),
        };
        let parsed = parse_fields(line)?;
        Ok(Self {
            text: text.to_owned(),
            form: parsed.form,
            message: parsed.message,
            named: parsed.named,
            rest,
        })
    }

    /// Whether this is the event that was expected.
    #[must_use]
    pub fn matches(&self, event: &[u8]) -> bool {
        self.is_same_message(event) && self.differing(event).next().is_none()
    }

    fn is_same_message(&self, event: &[u8]) -> bool {
        form_of(event).is_some_and(|form| std::ptr::eq(form, self.form))
    }

    /// The fields of an event of the same message that are not as expected.
    fn differing<'a>(&'a self, event: &'a [u8]) -> impl Iterator<Item = &'a FieldForm> {
        self.form.fields.iter().filter(move |field| {
            if self.named.contains(&field.offset) {
                field.of(&self.message) != field.of(event)
            } else {
                let free = self.rest == Rest::Anything || is_quiet_by_default(field);
                !free && !is_nothing(field, event)
            }
        })
    }
}

/// The brief line of an event.
#[must_use]
pub fn brief(event: &[u8]) -> String {
    let mut line = String::new();
    match write_line(event, Verbosity::Brief, &mut line) {
        Ok(()) => line,
        Err(error) => error.to_string(),
    }
}

/// One line of a comparison.
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Both(&'a Expectation),
    Missing(&'a Expectation),
    Unexpected(&'a [u8]),
}

/// How the events that came compare with those expected.
#[derive(Debug)]
pub struct Comparison<'a> {
    steps: Vec<Step<'a>>,
}

/// Beyond this many pairs the longest common part is not looked for: lines are paired as they come.
const PAIRS_MAX: usize = 4_000_000;

impl<'a> Comparison<'a> {
    /// Compares.
    #[must_use]
    pub fn new(expected: &'a [Expectation], events: &[&'a [u8]]) -> Self {
        let same = expected.len() == events.len()
            && expected
                .iter()
                .zip(events)
                .all(|(line, event)| line.matches(event));
        let steps = if same || expected.len() * events.len() > PAIRS_MAX {
            pairwise(expected, events)
        } else {
            longest_common(expected, events)
        };
        Self { steps }
    }

    /// Whether every event was expected and every expected one came.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Both(_)))
    }

    /// The expected lines as they should be: those that matched stay as they were written.
    #[must_use]
    pub fn updated(&self) -> Vec<String> {
        let kept = self.steps.iter().filter_map(|step| match step {
            Step::Both(line) => Some(line.text.clone()),
            Step::Missing(_) => None,
            Step::Unexpected(event) => Some(brief(event)),
        });
        kept.collect()
    }

    /// The difference, a line each: ` ` as expected, `-` expected, `+` came; then the fields that
    /// differ between neighbours.
    #[must_use]
    pub fn difference(&self) -> String {
        let mut out = String::new();
        for (place, step) in self.steps.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = match step {
                Step::Both(line) => writeln!(out, "    {}", line.text),
                Step::Missing(line) => writeln!(out, "  - {}", line.text),
                Step::Unexpected(event) => writeln!(out, "  + {}", brief(event)),
            };
            let before = place.checked_sub(1).map(|place| self.steps[place]);
            if let (Some(Step::Missing(line)), Step::Unexpected(event)) = (before, step)
                && line.is_same_message(event)
            {
                write_differing(line, event, &mut out);
            }
        }
        out
    }
}

fn write_differing(line: &Expectation, event: &[u8], out: &mut String) {
    for field in line.differing(event) {
        let _ = write!(out, "      {}: ", field.name);
        if line.named.contains(&field.offset) {
            write_value(field, &line.message, out);
        } else {
            out.push_str("nothing");
        }
        out.push_str(" expected, ");
        write_value(field, event, out);
        out.push_str(" came\n");
    }
}

fn pairwise<'a>(expected: &'a [Expectation], events: &[&'a [u8]]) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    for place in 0..expected.len().max(events.len()) {
        match (expected.get(place), events.get(place)) {
            (Some(line), Some(event)) if line.matches(event) => steps.push(Step::Both(line)),
            (line, event) => {
                steps.extend(line.map(Step::Missing));
                steps.extend(event.map(|event| Step::Unexpected(event)));
            }
        }
    }
    steps
}

/// The usual table of the longest common subsequence, walked from the front.
fn longest_common<'a>(expected: &'a [Expectation], events: &[&'a [u8]]) -> Vec<Step<'a>> {
    let width = events.len() + 1;
    let mut lengths = vec![0_u32; (expected.len() + 1) * width];
    for row in (0..expected.len()).rev() {
        for column in (0..events.len()).rev() {
            let place = row * width + column;
            lengths[place] = if expected[row].matches(events[column]) {
                lengths[place + width + 1] + 1
            } else {
                lengths[place + width].max(lengths[place + 1])
            };
        }
    }
    let mut steps = Vec::new();
    let (mut row, mut column) = (0, 0);
    while row < expected.len() && column < events.len() {
        let place = row * width + column;
        if expected[row].matches(events[column]) {
            steps.push(Step::Both(&expected[row]));
            (row, column) = (row + 1, column + 1);
        } else if lengths[place + width] >= lengths[place + 1] {
            steps.push(Step::Missing(&expected[row]));
            row += 1;
        } else {
            steps.push(Step::Unexpected(events[column]));
            column += 1;
        }
    }
    steps.extend(expected[row..].iter().map(Step::Missing));
    steps.extend(events[column..].iter().map(|event| Step::Unexpected(event)));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse_line;

    const EVENT: &str = "OrderCancelled session=1 sequence=4 event=9 time=2026-01-01T00:00:00Z \
        command=8 clientOrderId=7 order=5 price=2.50 quantity=3 account=100 instrument=1 side=Buy \
        reason=Requested";

    #[test]
    fn what_is_left_out_must_hold_nothing() {
        let event = parse_line(EVENT).unwrap();
        let matches = |text: &str| Expectation::parse(text).unwrap().matches(&event);
        assert!(matches(EVENT));
        assert!(matches(&brief(&event)));
        assert!(matches("OrderCancelled price=2.5 ..."));
        assert!(matches("OrderCancelled ..."));
        assert!(!matches("OrderCancelled price=2.5"));
        assert!(!matches("OrderCancelled price=2.51 ..."));
        assert!(!matches("OrderReplaced ..."));
        assert!(!matches(&format!("{} request=1", brief(&event))));
        assert!(!matches(&format!("{} event=1", brief(&event))));
    }

    #[test]
    fn a_difference_shows_lines_and_fields_and_update_keeps_what_matched() {
        let events: Vec<_> = [
            "CommandDone count=1",
            "CommandDone count=2",
            "CommandDone count=4",
        ]
        .map(|line| parse_line(line).unwrap())
        .into();
        let events: Vec<_> = events.iter().map(Vec::as_slice).collect();
        let expected: Vec<_> = ["CommandDone count=2 ...", "CommandDone count=3"]
            .map(|line| Expectation::parse(line).unwrap())
            .into();
        let comparison = Comparison::new(&expected, &events);
        assert!(!comparison.agrees());
        assert_eq!(
            comparison.difference(),
            "  + CommandDone count=1\n    CommandDone count=2 ...\n  - CommandDone count=3\n  \
             + CommandDone count=4\n      count: 3 expected, 4 came\n"
        );
        assert_eq!(
            comparison.updated(),
            [
                "CommandDone count=1",
                "CommandDone count=2 ...",
                "CommandDone count=4"
            ]
        );
    }
}
