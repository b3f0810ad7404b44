//! The rows of an order-by-order file, one at a time, each checked.
//!
//! Called by `feed`, and by `demo` where a file is named.
//!
//! Always holds: a row that is not as it should be is refused with file, line and column; memory
//! does not grow with the file.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use csv::{Reader, ReaderBuilder, StringRecord, Terminator};
use exahour_wire::codes::Side;
use exahour_wire::units::Price;

/// The columns that are read; others are passed over.
const NAMES: [&str; 6] = ["id", "timestamp", "price", "volume", "action", "direction"];

/// How much of a header that is none is shown.
const HEADER_SHOWN: usize = 80;

/// The largest id: the rest of the 64 bits names the instrument.
pub(super) const ID_MAX: u64 = (1 << 40) - 1;

/// What happened to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It was entered.
    Created,
    /// Its remaining volume changed.
    Changed,
    /// It left the book.
    Deleted,
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The order's name in the file.
    pub(crate) id: u64,
    /// When, in milliseconds.
    pub(crate) at_ms: u64,
    /// Its limit.
    pub(crate) price: Price,
    /// What remains of it after the event, in units of the file.
    pub(crate) volume: u64,
    /// What happened.
    pub(crate) action: Action,
    /// Bid or ask.
    pub(crate) side: Side,
}

/// The rows of a file.
pub(crate) struct Rows {
    path: PathBuf,
    reader: Reader<File>,
    record: StringRecord,
    /// Where each of [`NAMES`] stands.
    columns: [usize; NAMES.len()],
}

impl Rows {
    /// Opens a file and reads its header.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        // With the usual terminator a row behind a CR LF is counted with the line before it. What is
        // left of the CR here is trimmed with the field's other spaces.
        let mut reader = ReaderBuilder::new()
            .flexible(true)
            .terminator(Terminator::Any(b'\n'))
            .from_reader(file);
        let header = reader
            .headers()
            .map_err(|error| not_text(path, &error))?
            .clone();
        if header.is_empty() {
            bail!(
                "{} is empty: expected a header with {}, then a row for each event",
                path.display(),
                NAMES.join(",")
            );
        }
        let mut columns = [0; NAMES.len()];
        for (place, name) in columns.iter_mut().zip(NAMES) {
            *place = header
                .iter()
                .position(|it| it.trim() == name)
                .ok_or_else(|| {
                    let found = header.iter().collect::<Vec<_>>().join(",");
                    let found: String = found.chars().take(HEADER_SHOWN).collect();
                    anyhow!(
                        "{}:1:1: no column `{name}` in the header `{found}`; expected {}: is this \
                         an order-by-order file?",
                        path.display(),
                        NAMES.join(",")
                    )
                })?;
        }
        Ok(Self {
            path: path.to_path_buf(),
            reader,
            record: StringRecord::new(),
            columns,
        })
    }

    /// Bytes read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.reader.position().byte()
    }

    /// The next row.
    pub(crate) fn next(&mut self) -> Result<Option<Row>> {
        let path = &self.path;
        loop {
            let more = self.reader.read_record(&mut self.record);
            let more = more.map_err(|error| not_text(path, &error))?;
            if !more {
                return Ok(None);
            }
            let blank = self.record.len() == 1 && self.record[0].trim().is_empty();
            if !blank {
                break;
            }
        }
        let [id, at, price, volume, action, side] = self.columns;
        let row = Row {
            id: self.number(id, ID_MAX)?,
            at_ms: self.number(at, u64::MAX)?,
            price: self.price(price)?,
            volume: self.number(volume, u64::MAX)?,
            action: self.word(
                action,
                &[
                    ("created", Action::Created),
                    ("changed", Action::Changed),
                    ("deleted", Action::Deleted),
                ],
            )?,
            side: self.word(side, &[("bid", Side::Buy), ("ask", Side::Sell)])?,
        };
        Ok(Some(row))
    }

    fn field(&self, place: usize) -> Result<&str> {
        match self.record.get(place) {
            Some(text) => Ok(text.trim()),
            None => bail!(self.misfit(
                place,
                &format!("the row ends after {} fields", self.record.len()),
                &format!("{} fields", self.columns.len())
            )),
        }
    }

    fn number(&self, place: usize, max: u64) -> Result<u64> {
        let text = self.field(place)?;
        let expected = format!("a whole number of at most {max}");
        match text.parse::<u64>() {
            Ok(number) if number <= max => Ok(number),
            Ok(_) => Err(self.misfit(place, &format!("{text} is too large"), &expected)),
            Err(_) => Err(self.misfit(place, &format!("`{text}` is no such number"), &expected)),
        }
    }

    fn price(&self, place: usize) -> Result<Price> {
        let text = self.field(place)?;
        text.parse().map_err(|error| {
            let what = format!("the price `{text}` is {error}");
            self.misfit(place, &what, "dollars such as 236.47")
        })
    }

    fn word<T: Copy>(&self, place: usize, known: &[(&str, T)]) -> Result<T> {
        let text = self.field(place)?;
        let found = known.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
            let what = format!("`{text}` is not known here");
            self.misfit(place, &what, &words.join(", "))
        })
    }

    /// A refusal of the field at `place`: its column counts characters, as an editor does.
    fn misfit(&self, place: usize, what: &str, expected: &str) -> anyhow::Error {
        let line = self.record.position().map_or(0, csv::Position::line);
        let before = self.record.iter().take(place);
        let column = 1 + before.map(|field| field.chars().count() + 1).sum::<usize>();
        refused(&self.path, line, column, what, expected)
    }
}

/// A refusal of what is no CSV text, or cannot be read at all.
fn not_text(path: &Path, error: &csv::Error) -> anyhow::Error {
    let line = error.position().map_or(1, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::Io(error) => anyhow!(
            "cannot read {}: {error}; name an order-by-order file",
            path.display()
        ),
        csv::ErrorKind::Utf8 { err, .. } => anyhow!(
            "{}:{line}: field {} is not UTF-8 text: is this an order-by-order file?",
            path.display(),
            err.field() + 1
        ),
        _ => anyhow!("{}:{line}: {error}", path.display()),
    }
}

fn refused(path: &Path, line: u64, column: usize, what: &str, expected: &str) -> anyhow::Error {
    anyhow!(
        "{}:{line}:{column}: {what}; expected {expected}: mend the row or take it out",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "id,timestamp,exchange.timestamp,price,volume,action,direction\n";

    fn read(text: &str) -> Result<Vec<Row>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.csv");
        std::fs::write(&path, text).unwrap();
        let mut rows = Rows::open(&path)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(row);
        }
        Ok(found)
    }

    #[test]
    fn rows_are_read() {
        let rows = read(&format!("{HEADER}7,1500,1000,236.47,20,created,bid\n")).unwrap();
        let expected = Row {
            id: 7,
            at_ms: 1_500,
            price: Price(236_470_000),
            volume: 20,
            action: Action::Created,
            side: Side::Buy,
        };
        assert_eq!(rows, [expected]);
    }

    #[test]
    fn lines_may_end_as_on_windows() {
        let row = "7,1500,1000,236.47,20,created,bid";
        let windows = format!("{HEADER}{row}\n\n{row}\n").replace('\n', "\r\n");
        assert_eq!(read(&windows).unwrap().len(), 2);
        let wrong = format!("{HEADER}{row}\nx{row}\n").replace('\n', "\r\n");
        let refused = read(&wrong).unwrap_err().to_string();
        assert!(refused.contains("orders.csv:3:1"), "{refused}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (row, place, what) in [
            ("x,1,1,2.5,1,created,bid", "orders.csv:3:1", "`x`"),
            ("7,1,1,dear,1,created,bid", "orders.csv:3:7", "`dear`"),
            ("7,1,1,2.5,-1,created,bid", "orders.csv:3:11", "`-1`"),
            (
                "7,1,1,2.5,1,eaten,bid",
                "orders.csv:3:13",
                "created, changed, deleted",
            ),
            ("7,1,1,2.5,1,created,up", "orders.csv:3:21", "bid, ask"),
            ("7,1,1,2.5", "orders.csv:3:11", "after 4 fields"),
            (
                "1099511627776,1,1,2.5,1,created,bid",
                "orders.csv:3:1",
                "too large",
            ),
        ] {
            let text = format!("{HEADER}7,1,1,2.5,1,created,bid\n{row}\n");
            let refused = read(&text).unwrap_err().to_string();
            assert!(
                refused.contains(place) && refused.contains(what),
                "{row}: {refused}"
            );
        }
        let refused = read("id,price\n").unwrap_err().to_string();
        assert!(refused.contains("no column `timestamp`"), "{refused}");
    }
}
