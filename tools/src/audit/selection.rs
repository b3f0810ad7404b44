//! Which rows an audit shows: a span of time, and whom or what they concern.
//!
//! Called by `audit` for every command and by `export` and `summary` for every event.
//!
//! Always holds: a command that is chosen shows all its events; another command shows only those of
//! its events that are chosen themselves.

use anyhow::{Result, anyhow, bail};
use exahour_wire::units::Nanos;

use super::record::{Record, Registry, id_in, obligation_of};
use crate::exit::finding;
use crate::listings::InstrumentName;
use crate::text::parse_time;

/// Whose rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Session(u64),
    Participant(u64),
    Account(u64),
}

impl Who {
    /// Reads `session N`, `participant N` or `account N`.
    pub(super) fn parse(words: &[String]) -> Result<Self> {
        let [kind, number] = words else {
            bail!("--who takes a kind and a number, such as `--who account 100`");
        };
        let Ok(number) = number.parse() else {
            bail!("--who {kind}: `{number}` is not a number");
        };
        Ok(match kind.as_str() {
            "session" => Self::Session(number),
            "participant" => Self::Participant(number),
            "account" => Self::Account(number),
            _ => bail!("--who: `{kind}` is none of session, participant and account"),
        })
    }
}

/// What is chosen.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) from: Nanos,
    /// The first moment that is not chosen any more.
    pub(super) to: Nanos,
    pub(super) who: Option<Who>,
    pub(super) order: Option<u64>,
    pub(super) obligation: Option<u64>,
    pub(super) instrument: Option<InstrumentName>,
}

impl Selection {
    /// Whether something is chosen by more than its time.
    pub(super) fn is_narrow(&self) -> bool {
        self.who.is_some()
            || self.order.is_some()
            || self.obligation.is_some()
            || self.instrument.is_some()
    }

    /// Refuses an instrument that the whole journal has never listed: nothing that is shown could be about it.
    ///
    /// # Errors
    /// A finding that names it.
    pub(super) fn ensure_listed(&self, registry: &Registry) -> Result<()> {
        match &self.instrument {
            Some(name) if !registry.has_listed(name) => Err(finding(anyhow!(
                "instrument {name} was never listed in this journal; an audit without --instrument shows \
                 which were (`InstrumentListed`)"
            ))),
            _ => Ok(()),
        }
    }

    /// Whether a command lies in the span.
    pub(super) fn covers(&self, record: &Record<'_>) -> bool {
        self.from <= record.time && record.time < self.to
    }

    /// Whether a message is chosen by whom and what it concerns.
    pub(super) fn chooses(&self, message: &[u8], registry: &Registry) -> bool {
        let who = match self.who {
            None => true,
            Some(Who::Session(id)) => id_in(message, "session") == Some(id),
            Some(Who::Account(id)) => registry.accounts_of(message).any(|it| it == id),
            Some(Who::Participant(id)) => registry.concerns(message, id),
        };
        let order = self
            .order
            .is_none_or(|id| id_in(message, "order") == Some(id));
        let obligation = self
            .obligation
            .is_none_or(|id| obligation_of(message) == Some(id));
        let instrument = match &self.instrument {
            None => true,
            Some(InstrumentName::Number(id)) => {
                registry.is_about(message, |it| it == u64::from(id.0))
            }
            Some(InstrumentName::Symbol(symbol)) => registry.is_about(message, |it| {
                let found = registry.symbol_of(it);
                found.is_some_and(|it| it.eq_ignore_ascii_case(symbol))
            }),
        };
        who && order && obligation && instrument
    }

    /// Whether a command is chosen: by itself, or because it is the one that a chosen report of its
    /// own session answers.
    pub(super) fn chooses_command(&self, record: &Record<'_>, registry: &Registry) -> bool {
        if self.chooses(record.command, registry) {
            return true;
        }
        let sender = id_in(record.command, "session");
        let answers = record
            .events
            .iter()
            .filter(|event| sender.is_some() && id_in(event.bytes, "session") == sender);
        answers
            .into_iter()
            .any(|event| self.chooses(event.bytes, registry))
    }
}

/// The start of the day of a moment.
fn day_of(moment: Nanos) -> u64 {
    moment.0 - moment.0 % Nanos::DAY.0
}

/// Reads an ISO 8601 time, or a time of day on the day of `last`.
pub(super) fn moment_of(text: &str, last: Nanos) -> Result<Nanos> {
    span_of(text, last).map(|(from, _)| from)
}

/// As [`moment_of`], and where the unit that the text ends with is over: the next minute after
/// `14:03`, the next second after `14:03:07`.
pub(super) fn span_of(text: &str, last: Nanos) -> Result<(Nanos, Nanos)> {
    let iso = match text.contains(['T', '-']) {
        true => text.to_owned(),
        false => format!("1970-01-01T{}Z", text.trim_end_matches('Z')),
    };
    let Some(parsed) = parse_time(&iso) else {
        bail!(
            "`{text}` is not a time: write 2026-01-31T14:03:07Z (UTC), or 14:03:07 for the last \
             day in the journal"
        );
    };
    let from = match text.contains(['T', '-']) {
        true => parsed,
        false => Nanos(day_of(last) + parsed.0),
    };
    let clock = iso.split_once('T').map_or("", |(_, clock)| clock);
    let unit = match (clock.split_once('.'), clock.matches(':').count()) {
        (Some((_, fraction)), _) => {
            let digits = u32::try_from(fraction.trim_end_matches('Z').len()).unwrap_or(9);
            10_u64.pow(9_u32.saturating_sub(digits))
        }
        (None, 2) => Nanos::SECOND.0,
        (None, 1) => 60 * Nanos::SECOND.0,
        (None, _) => Nanos::DAY.0,
    };
    Ok((from, from.after(Nanos(unit))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_of_the_last_day() {
        let last = parse_time("2026-03-04T22:00:00Z").unwrap();
        let moment = parse_time("2026-03-04T14:03:07Z").unwrap();
        assert_eq!(moment_of("14:03:07", last).unwrap(), moment);
        assert_eq!(moment_of("2026-03-04T14:03:07Z", Nanos(0)).unwrap(), moment);
        let whole = |text| span_of(text, last).unwrap();
        assert_eq!(whole("14:03:07").1.0 - moment.0, 1_000_000_000);
        assert_eq!(whole("14:03").1.0 - whole("14:03").0.0, 60_000_000_000);
        assert_eq!(whole("14:03:07.250").1.0 - moment.0, 251_000_000);
        assert_eq!(
            whole("2026-03-04").1.0 - whole("2026-03-04").0.0,
            Nanos::DAY.0
        );
        for text in ["", "25:00:00", "now", "14", "2026-03-04T14:03:07"] {
            let refused = moment_of(text, last).unwrap_err().to_string();
            assert!(refused.contains("14:03:07"), "{text}: {refused}");
        }
    }

    #[test]
    fn who_is_a_kind_and_a_number() {
        let parse = |kind: &str, number: &str| Who::parse(&[kind.to_owned(), number.to_owned()]);
        assert_eq!(parse("account", "100").unwrap(), Who::Account(100));
        assert!(parse("firm", "1").is_err());
        assert!(parse("session", "x").is_err());
    }
}
