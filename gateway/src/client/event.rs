//! What a client is told.

use std::net::SocketAddr;

use exahour_wire::codes::{Raw, TerminationCode};
use exahour_wire::events::{
    CommandDone, CommandRejected, DeadManFired, EventPrefix, InstrumentStatus, InstrumentTerms,
    MachineReady, OrderAccepted, OrderCancelled, OrderFilled, OrderReduced, OrderRejected,
    OrderReplaced, OrderRepriced, OrderShown, OrderStatus, OrderTriggered, SequenceGap,
    SessionActivity, StopEntered, TradeBusted, TradeCorrected,
};
use exahour_wire::ids::MessageSequence;
use exahour_wire::message::{Message, peek_header};

/// One thing that happened to a session.
#[derive(Clone, Copy, Debug)]
pub enum ClientEvent<'a> {
    /// A numbered report: each comes once and in order.
    Report(Report<'a>),
    /// Messages that were not applied and never will be; none of them was told before.
    NotApplied {
        /// The first.
        from: MessageSequence,
        /// How many.
        count: u32,
    },
    /// A message was not applied because the exchange is behind; sending it anew gives it a new
    /// number.
    Busy {
        /// The message.
        sequence: MessageSequence,
    },
    /// A client that looks for the leader by itself has logged on, or has taken its session up again:
    /// what it missed follows. Of messages without a report and without `NotApplied` or `Busy` nothing is
    /// known until then.
    Established {
        /// The node that leads.
        node: SocketAddr,
    },
    /// The session on this connection ended; nothing follows.
    Terminated {
        /// Why.
        code: Raw<TerminationCode>,
        /// The length, encoding or template that was wrong, or zero.
        detail: u32,
    },
}

/// A report as it came, byte for byte as it lies in the event log.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    bytes: &'a [u8],
    prefix: EventPrefix,
}

impl<'a> Report<'a> {
    /// Takes bytes whose prefix was read from them.
    pub(super) fn new(bytes: &'a [u8], prefix: EventPrefix) -> Self {
        Self { bytes, prefix }
    }

    /// The bytes, header first.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What every event starts with.
    #[must_use]
    pub fn prefix(&self) -> &EventPrefix {
        &self.prefix
    }

    /// The report as this message, where it is one.
    #[inline]
    #[must_use]
    pub fn read<M: Message>(&self) -> Option<M> {
        M::read(self.bytes)
    }

    /// The report by its kind.
    #[must_use]
    pub fn typed(&self) -> TypedReport {
        let template = peek_header(self.bytes).map_or(0, |header| header.template_id);
        let known = match template {
            OrderAccepted::TEMPLATE_ID => self.read().map(TypedReport::Accepted),
            OrderRejected::TEMPLATE_ID => self.read().map(TypedReport::Rejected),
            OrderCancelled::TEMPLATE_ID => self.read().map(TypedReport::Cancelled),
            OrderReplaced::TEMPLATE_ID => self.read().map(TypedReport::Replaced),
            OrderFilled::TEMPLATE_ID => self.read().map(TypedReport::Filled),
            OrderReduced::TEMPLATE_ID => self.read().map(TypedReport::Reduced),
            OrderShown::TEMPLATE_ID => self.read().map(TypedReport::Shown),
            StopEntered::TEMPLATE_ID => self.read().map(TypedReport::StopEntered),
            OrderRepriced::TEMPLATE_ID => self.read().map(TypedReport::Repriced),
            CommandDone::TEMPLATE_ID => self.read().map(TypedReport::Done),
            CommandRejected::TEMPLATE_ID => self.read().map(TypedReport::CommandRejected),
            SequenceGap::TEMPLATE_ID => self.read().map(TypedReport::Gap),
            OrderStatus::TEMPLATE_ID => self.read().map(TypedReport::Status),
            SessionActivity::TEMPLATE_ID => self.read().map(TypedReport::Activity),
            InstrumentTerms::TEMPLATE_ID => self.read().map(TypedReport::Terms),
            InstrumentStatus::TEMPLATE_ID => self.read().map(TypedReport::Instrument),
            DeadManFired::TEMPLATE_ID => self.read().map(TypedReport::DeadMan),
            OrderTriggered::TEMPLATE_ID => self.read().map(TypedReport::Triggered),
            TradeBusted::TEMPLATE_ID => self.read().map(TypedReport::Busted),
            TradeCorrected::TEMPLATE_ID => self.read().map(TypedReport::Corrected),
            MachineReady::TEMPLATE_ID => self.read().map(TypedReport::MachineReady),
            _ => None,
        };
        known.unwrap_or(TypedReport::Unknown { template })
    }
}

/// A report by its kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TypedReport {
    /// An order was accepted.
    Accepted(OrderAccepted),
    /// An order, cancel or replace was refused.
    Rejected(OrderRejected),
    /// An order left the book.
    Cancelled(OrderCancelled),
    /// An order was changed.
    Replaced(OrderReplaced),
    /// An order traded.
    Filled(OrderFilled),
    /// Self-trade prevention took a part of an order.
    Reduced(OrderReduced),
    /// An iceberg order shows its next lots.
    Shown(OrderShown),
    /// The stop price of an order that was accepted.
    StopEntered(StopEntered),
    /// A pegged order comes at another price, or waits.
    Repriced(OrderRepriced),
    /// Another command was carried out.
    Done(CommandDone),
    /// Another command was refused.
    CommandRejected(CommandRejected),
    /// Messages were not applied. It holds its place among the numbers; what to do about it is told
    /// by [`ClientEvent::NotApplied`], once, which may have come before.
    Gap(SequenceGap),
    /// The present state of an order.
    Status(OrderStatus),
    /// What a session sent and traded in a day.
    Activity(SessionActivity),
    /// The terms of an instrument.
    Terms(InstrumentTerms),
    /// How an instrument trades now.
    Instrument(InstrumentStatus),
    /// Nothing was heard of this session for as long as it had said.
    DeadMan(DeadManFired),
    /// An order comes into the market from its stop price.
    Triggered(OrderTriggered),
    /// A trade was undone.
    Busted(TradeBusted),
    /// A trade was undone and made anew.
    Corrected(TradeCorrected),
    /// A machine that was bought answers.
    MachineReady(MachineReady),
    /// A report of a newer exchange.
    Unknown {
        /// Its template.
        template: u16,
    },
}

#[cfg(test)]
mod tests {
    use exahour_wire::catalogue::MESSAGES;
    use exahour_wire::message::{Header, SCHEMA_ID, SCHEMA_VERSION};

    use super::*;

    #[test]
    fn every_numbered_report_of_the_schema_has_its_kind() {
        let numbered = |template: &u16| {
            let orders = matches!(template, 301..=306 | 310..=312 | 314..=319 | 324..=325 | 328);
            orders || matches!(template, 338 | 339 | 353)
        };
        let mut seen = 0;
        for message in MESSAGES.iter().filter(|it| numbered(&it.template_id)) {
            let header = Header {
                block_length: message.block_length,
                template_id: message.template_id,
                schema_id: SCHEMA_ID,
                version: SCHEMA_VERSION,
            };
            let mut bytes = bytemuck::bytes_of(&header).to_vec();
            bytes.resize(bytes.len() + usize::from(message.block_length), 0);
            let Some(prefix) = EventPrefix::peek(&bytes) else {
                panic!("{} has no prefix", message.name);
            };
            let typed = Report::new(&bytes, prefix).typed();
            let known = !matches!(typed, TypedReport::Unknown { .. });
            assert!(known, "{}", message.name);
            seen += 1;
        }
        assert_eq!(seen, 21);
    }
}
