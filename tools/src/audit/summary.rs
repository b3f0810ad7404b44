//! What an audit verified and what the rows chosen add up to.
//!
//! Called by `audit`. In text it goes to standard error, so that exports stay clean; in JSON it is
//! the last row.

use std::collections::BTreeMap;
use std::fmt::Write;

use exahour_wire::codes::Raw;
use exahour_wire::events::{
    CommandRejected, OrderFilled, OrderRejected, TradeBusted, TradeCorrected,
};
use exahour_wire::ids::TradeId;
use exahour_wire::limits::TRADES_KEPT;
use exahour_wire::message::Message;
use exahour_wire::reject::Reject;
use exahour_wire::units::Nanos;
use serde::Serialize;

use super::record::{Record, Registry, name_of};
use super::selection::Selection;
use super::walk::Verified;
use crate::journal::{time_text, time_value};

/// What is said in JSON.
#[derive(Serialize)]
pub(super) struct Findings<'a> {
    row: &'static str,
    verified: VerifiedFindings,
    chosen: ChosenFindings<'a>,
}

#[derive(Serialize)]
struct VerifiedFindings {
    /// The last frame and command before the journal's own beginning, which a snapshot stands for.
    began_behind_frame: Option<u64>,
    began_behind_command: Option<u64>,
    frames: u64,
    empty_frames: u64,
    commands: u64,
    events: u64,
    checkpoints: u64,
    first_time: Option<String>,
    last_time: Option<String>,
}

#[derive(Serialize)]
struct ChosenFindings<'a> {
    from_time: Option<String>,
    to_time: Option<String>,
    frames: u64,
    commands: u64,
    events: u64,
    commands_by_name: &'a BTreeMap<&'static str, u64>,
    rejects: &'a BTreeMap<String, u64>,
    trades: u64,
    lots: u64,
    busted: u64,
}

/// Counts over the rows chosen.
#[derive(Debug, Default)]
pub(super) struct Summary {
    commands: BTreeMap<&'static str, u64>,
    rejects: BTreeMap<String, u64>,
    events: u64,
    /// Trades as they stand now: without those busted.
    trades: u64,
    lots: u64,
    busted: u64,
    /// The lots of the newest of these trades, which may still be undone.
    recent: BTreeMap<TradeId, u64>,
    frames: u64,
    last_frame: u64,
}

impl Summary {
    pub(super) fn count(
        &mut self,
        record: &Record<'_>,
        selection: &Selection,
        registry: &Registry,
    ) {
        let whole = selection.chooses_command(record, registry);
        if whole {
            *self.commands.entry(name_of(record.command)).or_default() += 1;
        }
        let mut any = whole;
        for event in &record.events {
            if !whole && !selection.chooses(event.bytes, registry) {
                continue;
            }
            any = true;
            self.events += 1;
            if let Some(rejected) = OrderRejected::read(event.bytes) {
                self.reject(rejected.reason);
            } else if let Some(rejected) = CommandRejected::read(event.bytes) {
                self.reject(rejected.reason);
            } else {
                self.count_trade(event.bytes);
            }
        }
        if any && record.index != self.last_frame {
            self.frames += 1;
            self.last_frame = record.index;
        }
    }

    /// Counts a trade, or what became of one that was counted. Each side is told; where one is chosen it
    /// still counts once.
    fn count_trade(&mut self, event: &[u8]) {
        if let Some(fill) = OrderFilled::read(event) {
            let lots = fill.quantity.0;
            if self.recent.insert(fill.trade, lots).is_none() {
                self.trades += 1;
                self.lots = self.lots.saturating_add(lots);
            }
            let kept = fill.trade.0.saturating_sub(TRADES_KEPT.into());
            while let Some(oldest) = self.recent.first_entry()
                && oldest.key().0 <= kept
            {
                oldest.remove();
            }
        } else if let Some(busted) = TradeBusted::read(event) {
            if let Some(lots) = self.recent.remove(&busted.trade) {
                self.trades -= 1;
                self.busted += 1;
                self.lots -= lots;
            }
        } else if let Some(corrected) = TradeCorrected::read(event)
            && let Some(lots) = self.recent.get_mut(&corrected.trade)
        {
            self.lots = self.lots - *lots + corrected.quantity.0;
            *lots = corrected.quantity.0;
        }
    }

    fn reject(&mut self, reason: Raw<Reject>) {
        *self.rejects.entry(format!("{reason:?}")).or_default() += 1;
    }

    pub(super) fn findings(&self, verified: &Verified, selection: &Selection) -> Findings<'_> {
        Findings {
            row: "summary",
            verified: VerifiedFindings {
                began_behind_frame: Some(verified.before.frames).filter(|it| *it > 0),
                began_behind_command: Some(verified.before.commands).filter(|it| *it > 0),
                frames: verified.frames,
                empty_frames: verified.empty_frames,
                commands: verified.commands,
                events: verified.events,
                checkpoints: verified.checkpoints,
                first_time: time_value(verified.first_time),
                last_time: time_value(verified.last_time),
            },
            chosen: ChosenFindings {
                from_time: time_value(selection.from),
                to_time: time_value(selection.to).filter(|_| selection.to != Nanos::NEVER),
                frames: self.frames,
                commands: self.commands.values().sum(),
                events: self.events,
                commands_by_name: &self.commands,
                rejects: &self.rejects,
                trades: self.trades,
                lots: self.lots,
                busted: self.busted,
            },
        }
    }

    pub(super) fn text(&self, verified: &Verified, selection: &Selection) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(verified, selection, &mut text);
        text
    }

    fn write(
        &self,
        verified: &Verified,
        selection: &Selection,
        out: &mut String,
    ) -> std::fmt::Result {
        if verified.before.frames > 0 {
            writeln!(
                out,
                "not here   frames 1 to {}, commands 1 to {}: neither the journal nor an archive beside it has all of \
                 them; what follows begins from the snapshot behind them",
                verified.before.frames, verified.before.commands
            )?;
        }
        writeln!(
            out,
            "verified   {} frames ({} without commands), {} commands, {} events, {} checkpoints, {} to \
             {}: checksums, chain, indices, command numbers, times and state hashes hold",
            verified.frames,
            verified.empty_frames,
            verified.commands,
            verified.events,
            verified.checkpoints,
            time_text(verified.first_time),
            time_text(verified.last_time)
        )?;
        let span = match selection.to {
            Nanos::NEVER => "the end".to_owned(),
            to => time_text(to),
        };
        let commands: u64 = self.commands.values().sum();
        writeln!(
            out,
            "chosen     {} to {span}: {} frames, {commands} commands, {} events",
            match selection.from {
                Nanos(0) => "the start".to_owned(),
                from => time_text(from),
            },
            self.frames,
            self.events
        )?;
        for (name, count) in &self.commands {
            writeln!(out, "  command  {name} {count}")?;
        }
        for (reason, count) in &self.rejects {
            writeln!(out, "  reject   {reason} {count}")?;
        }
        writeln!(out, "trades     {}, {} lots", self.trades, self.lots)?;
        if self.busted > 0 {
            writeln!(out, "busted     {}", self.busted)?;
        }
        match self.frames {
            0 if selection.is_narrow() => writeln!(
                out,
                "nothing    in that span of the journal is about what was chosen: is it named rightly?"
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use exahour_wire::ids::OrderId;
    use exahour_wire::units::Quantity;

    use super::*;

    fn fill(trade: u64, order: u64, lots: u64) -> Vec<u8> {
        let fill = OrderFilled {
            trade: TradeId(trade),
            order: OrderId(order),
            quantity: Quantity(lots),
            ..OrderFilled::blank()
        };
        fill.bytes().to_vec()
    }

    #[test]
    fn trades_count_once_and_as_they_stand_now() {
        let mut summary = Summary::default();
        for trade in 1..=3 {
            for order in [1, 2] {
                summary.count_trade(&fill(trade, order, 10));
            }
        }
        assert_eq!((summary.trades, summary.lots), (3, 30));
        let corrected = TradeCorrected {
            trade: TradeId(2),
            quantity: Quantity(4),
            ..TradeCorrected::blank()
        };
        let busted = TradeBusted {
            trade: TradeId(3),
            ..TradeBusted::blank()
        };
        for _side in 0..2 {
            summary.count_trade(corrected.bytes());
            summary.count_trade(busted.bytes());
        }
        let counted = (summary.trades, summary.lots, summary.busted);
        assert_eq!(counted, (2, 14, 1));
        // What was not chosen when it was made is not chosen when it is undone.
        let foreign = TradeBusted {
            trade: TradeId(9),
            ..busted
        };
        summary.count_trade(foreign.bytes());
        assert_eq!((summary.trades, summary.busted), (2, 1));
        summary.count_trade(&fill(u64::from(TRADES_KEPT) + 2, 1, 1));
        assert_eq!(summary.recent.len(), 1, "memory is bounded");
    }
}
