//! The rows of an audit as text, JSON Lines or CSV.
//!
//! Called by `audit` for every command in the span.
//!
//! Always holds: every row carries time, frame, command number and, where known, session,
//! participant and account; the whole message stands in the last column.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use super::Format;
use super::record::{Record, Registry, id_in, name_of};
use super::selection::Selection;
use crate::journal::time_text;
use crate::output::write_json;
use crate::text::{JsonForm, Verbosity, write_line};

const COLUMNS: [&str; 13] = [
    "time",
    "frame",
    "command",
    "event",
    "row",
    "message",
    "session",
    "participant",
    "account",
    "instrument",
    "symbol",
    "order",
    "detail",
];

/// Where rows go.
pub(super) enum Export<W: Write> {
    Text(W),
    Json(W),
    Csv(Box<csv::Writer<W>>),
}

#[derive(Serialize)]
struct JsonRow<'a> {
    time: &'a str,
    frame: u64,
    command: u64,
    event: Option<u64>,
    row: &'static str,
    session: Option<u64>,
    participant: Option<u64>,
    account: Option<u64>,
    instrument: Option<u64>,
    symbol: Option<&'a str>,
    order: Option<u64>,
    detail: JsonForm<'a>,
}

/// A command or an event, about to be written.
struct Row<'a> {
    time: &'a str,
    frame: u64,
    command: u64,
    event: Option<u64>,
    message: &'a [u8],
    account: Option<u64>,
    instrument: Option<u64>,
    order: Option<u64>,
    /// Whether its command is not written above it.
    alone: bool,
}

impl Row<'_> {
    fn kind(&self) -> &'static str {
        match self.event {
            None => "command",
            Some(_) => "event",
        }
    }
}

impl<W: Write> Export<W> {
    pub(super) fn new(format: Format, out: W) -> Result<Self> {
        Ok(match format {
            Format::Text => Self::Text(out),
            Format::Json => Self::Json(out),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                writer.write_record(COLUMNS)?;
                Self::Csv(Box::new(writer))
            }
        })
    }

    /// Writes what is chosen of a command and its events.
    pub(super) fn write(
        &mut self,
        record: &Record<'_>,
        selection: &Selection,
        registry: &Registry,
    ) -> Result<()> {
        let whole = selection.chooses_command(record, registry);
        let time = time_text(record.time);
        let mut row = Row {
            time: &time,
            frame: record.index,
            command: record.number,
            event: None,
            message: record.command,
            account: known_of(record, |it| registry.accounts_of(it).next()),
            instrument: known_of(record, |it| registry.instrument_of(it)),
            order: known_of(record, |it| id_in(it, "order")),
            alone: !whole,
        };
        if whole {
            self.row(&row, registry)?;
        }
        for event in &record.events {
            if whole || selection.chooses(event.bytes, registry) {
                row.event = Some(event.number);
                row.message = event.bytes;
                row.account = registry.accounts_of(event.bytes).next();
                row.instrument = registry.instrument_of(event.bytes);
                row.order = id_in(event.bytes, "order");
                self.row(&row, registry)?;
            }
        }
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>, registry: &Registry) -> Result<()> {
        let session = id_in(row.message, "session");
        let participant = registry.participant_of(row.message);
        let symbol = row.instrument.and_then(|id| registry.symbol_of(id));
        match self {
            Self::Text(out) => write_text(out, row, participant, symbol),
            Self::Json(out) => {
                let line = JsonRow {
                    time: row.time,
                    frame: row.frame,
                    command: row.command,
                    event: row.event,
                    row: row.kind(),
                    session,
                    participant,
                    account: row.account,
                    instrument: row.instrument,
                    symbol,
                    order: row.order,
                    detail: JsonForm::new(row.message)?,
                };
                write_json(out, &line)
            }
            Self::Csv(writer) => {
                let number = |id: Option<u64>| id.map(|id| id.to_string()).unwrap_or_default();
                let mut detail = String::new();
                write_line(row.message, Verbosity::Brief, &mut detail)?;
                writer.write_record([
                    row.time,
                    &row.frame.to_string(),
                    &row.command.to_string(),
                    &number(row.event),
                    row.kind(),
                    name_of(row.message),
                    &number(session),
                    &number(participant),
                    &number(row.account),
                    &number(row.instrument),
                    symbol.unwrap_or_default(),
                    &number(row.order),
                    &detail,
                ])?;
                Ok(())
            }
        }
    }

    pub(super) fn finish(self) -> Result<()> {
        match self {
            Self::Text(mut out) | Self::Json(mut out) => out.flush()?,
            Self::Csv(mut writer) => writer.flush()?,
        }
        Ok(())
    }
}

/// What a command says of itself, or what the report that answers it says.
fn known_of(record: &Record<'_>, find: impl Fn(&[u8]) -> Option<u64>) -> Option<u64> {
    find(record.command).or_else(|| {
        let sender = id_in(record.command, "session")?;
        let mut own = record
            .events
            .iter()
            .filter(|event| id_in(event.bytes, "session") == Some(sender));
        own.find_map(|event| find(event.bytes))
    })
}

fn write_text(
    out: &mut impl Write,
    row: &Row<'_>,
    participant: Option<u64>,
    symbol: Option<&str>,
) -> Result<()> {
    let mut line = String::new();
    write_line(row.message, Verbosity::Brief, &mut line)?;
    if row.event.is_none() || row.alone {
        let (time, frame, command) = (row.time, row.frame, row.command);
        write!(out, "{time} frame {frame} command {command}")?;
    } else {
        write!(out, " ")?;
    }
    if let Some(event) = row.event {
        write!(out, " event {event}")?;
    }
    write!(out, " {line}")?;
    match (participant, symbol) {
        (Some(participant), Some(symbol)) => {
            writeln!(out, " (participant {participant}, {symbol})")?;
        }
        (Some(participant), None) => writeln!(out, " (participant {participant})")?,
        (None, Some(symbol)) => writeln!(out, " ({symbol})")?,
        (None, None) => writeln!(out)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use exahour_wire::events::OrderAccepted;
    use exahour_wire::ids::OrderId;
    use exahour_wire::message::Message;

    use super::*;

    #[test]
    fn numbers_of_a_row_stay_exact() {
        let accepted = OrderAccepted {
            order: OrderId((1 << 53) + 1),
            ..OrderAccepted::blank()
        };
        let row = Row {
            time: "",
            frame: 1 << 53,
            command: u64::MAX,
            event: Some((1 << 60) + 1),
            message: accepted.bytes(),
            account: None,
            instrument: None,
            order: Some(accepted.order.0),
            alone: true,
        };
        let mut out = Vec::new();
        let mut export = Export::new(Format::Json, &mut out).unwrap();
        export.row(&row, &Registry::default()).unwrap();
        export.finish().unwrap();
        let row: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(row["frame"], 1_u64 << 53);
        assert_eq!(row["command"], "18446744073709551615");
        assert_eq!(row["event"], "1152921504606846977");
        assert_eq!(row["order"], "9007199254740993");
        assert_eq!(row["order"], row["detail"]["order"]);
    }
}
