//! A command that was sent, and which reports are about it.
//!
//! Called by every part of the small client that waits for an answer.
//!
//! Always holds: what is reported of something else, such as a fill of an earlier order, is never taken for
//! the answer; a refusal counts only where it is of this command.

use anyhow::Result;
use exahour_gateway::client::Client;
use exahour_wire::codes::Raw;
use exahour_wire::events::{
    CommandDone, CommandRejected, InstrumentStatus, InstrumentTerms, OrderAccepted, OrderCancelled,
    OrderRejected, OrderReplaced, OrderStatus,
};
use exahour_wire::ids::{ClientOrderId, MessageSequence};
use exahour_wire::message::Message;
use exahour_wire::orders::{CancelOrder, MassQuote, ReplaceOrder};
use exahour_wire::reject::Reject;

/// A command that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// What the sender calls it, or the order that it makes.
    name: ClientOrderId,
    /// Its number in the session's flow.
    sequence: MessageSequence,
    /// The template of the message.
    template: u16,
    /// What to say where no answer comes.
    doubt: String,
}

/// What a report says of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing: it is about something else, or not all that there is to say.
    Nothing,
    /// It was carried out.
    Done,
    /// It was refused.
    Refused(Raw<Reject>),
    /// One side of a quote was refused; the answer to all of them follows.
    PartRefused(Raw<Reject>),
}

impl Sent {
    /// Sends a command, or an order, of this name. `doubt` tells what is known and what to do where no
    /// answer comes.
    ///
    /// # Errors
    /// Where the connection does not take it.
    pub(super) fn send<M: Message>(
        client: &mut Client,
        command: &M,
        name: ClientOrderId,
        doubt: impl Into<String>,
    ) -> Result<Self> {
        Ok(Self {
            name,
            sequence: client.send(command)?,
            template: M::TEMPLATE_ID,
            doubt: doubt.into(),
        })
    }

    /// What to say where no answer comes.
    pub(super) fn doubt(&self) -> &str {
        &self.doubt
    }

    /// What a report says of it.
    pub(super) fn hear(&self, report: &[u8]) -> Heard {
        if let Some(it) = CommandRejected::read(report)
            && self.is_meant(it.request, it.client_sequence, it.template)
        {
            return Heard::Refused(it.reason);
        }
        // The sides of a quote have names of their own.
        if let Some(it) = OrderRejected::read(report)
            && (it.client_sequence, it.template) == (self.sequence, self.template)
        {
            return match self.template {
                MassQuote::TEMPLATE_ID => Heard::PartRefused(it.reason),
                _ => Heard::Refused(it.reason),
            };
        }
        match self.is_answered_by(report) {
            true => Heard::Done,
            false => Heard::Nothing,
        }
    }

    fn is_answered_by(&self, report: &[u8]) -> bool {
        if let Some(it) = CommandDone::read(report) {
            return self.is_meant(it.request, it.client_sequence, it.template);
        }
        let (name, sequence) = (self.name, self.sequence);
        let asked = |request, by| (request, by) == (name, sequence);
        if let Some(it) = OrderAccepted::read(report) {
            asked(it.client_order_id, it.client_sequence)
        } else if let Some(it) = OrderStatus::read(report) {
            asked(it.request, it.client_sequence)
        } else if let Some(it) = InstrumentTerms::read(report) {
            asked(it.request, it.client_sequence)
        } else if let Some(it) = InstrumentStatus::read(report) {
            asked(it.request, it.client_sequence)
        } else if let Some(it) = OrderReplaced::read(report) {
            self.template == ReplaceOrder::TEMPLATE_ID && it.client_order_id == name
        } else if let Some(it) = OrderCancelled::read(report) {
            // A replace that leaves nothing open is a cancel; a mass cancel ends with a report of its own.
            let alone = [CancelOrder::TEMPLATE_ID, ReplaceOrder::TEMPLATE_ID];
            alone.contains(&self.template) && it.request == name
        } else {
            false
        }
    }

    fn is_meant(&self, request: ClientOrderId, sequence: MessageSequence, template: u16) -> bool {
        (request, sequence, template) == (self.name, self.sequence, self.template)
    }
}

#[cfg(test)]
mod tests {
    use exahour_wire::events::{OrderFilled, OrderRepriced};
    use exahour_wire::operations::{BustTrade, HaltTrading, InstrumentStatusRequest};
    use exahour_wire::orders::{MassCancel, NewOrder};

    use super::*;

    const NAME: ClientOrderId = ClientOrderId(77);
    const OTHER: ClientOrderId = ClientOrderId(76);

    fn sent<M: Message>() -> Sent {
        Sent {
            name: NAME,
            sequence: MessageSequence(3),
            template: M::TEMPLATE_ID,
            doubt: String::new(),
        }
    }

    fn done(request: ClientOrderId, sequence: u32, template: u16) -> CommandDone {
        CommandDone {
            request,
            client_sequence: MessageSequence(sequence),
            template,
            ..CommandDone::blank()
        }
    }

    fn refused(request: ClientOrderId, sequence: u32, template: u16) -> CommandRejected {
        CommandRejected {
            request,
            client_sequence: MessageSequence(sequence),
            template,
            reason: Reject::NothingToChange.into(),
            ..CommandRejected::blank()
        }
    }

    #[test]
    fn what_happens_to_orders_is_no_answer_to_an_operator() {
        let halt = sent::<HaltTrading>();
        let fill = OrderFilled {
            client_order_id: NAME,
            ..OrderFilled::blank()
        };
        let gone = OrderCancelled {
            client_order_id: OTHER,
            request: NAME,
            ..OrderCancelled::blank()
        };
        for other in [fill.bytes(), OrderRepriced::blank().bytes(), gone.bytes()] {
            assert_eq!(halt.hear(other), Heard::Nothing);
            assert_eq!(sent::<MassCancel>().hear(other), Heard::Nothing);
        }
        let template = HaltTrading::TEMPLATE_ID;
        for (name, sequence, of) in [
            (OTHER, 3, template),
            (NAME, 2, template),
            (NAME, 3, BustTrade::TEMPLATE_ID),
        ] {
            let (done, refused) = (done(name, sequence, of), refused(name, sequence, of));
            assert_eq!(halt.hear(done.bytes()), Heard::Nothing);
            assert_eq!(halt.hear(refused.bytes()), Heard::Nothing);
        }
        assert_eq!(halt.hear(done(NAME, 3, template).bytes()), Heard::Done);
        assert_eq!(
            halt.hear(refused(NAME, 3, template).bytes()),
            Heard::Refused(Reject::NothingToChange.into())
        );
    }

    #[test]
    fn an_order_is_answered_by_its_own_name() {
        let order = sent::<NewOrder>();
        let accepted = |client_order_id, sequence| OrderAccepted {
            client_order_id,
            client_sequence: MessageSequence(sequence),
            ..OrderAccepted::blank()
        };
        assert_eq!(order.hear(accepted(NAME, 3).bytes()), Heard::Done);
        assert_eq!(order.hear(accepted(OTHER, 3).bytes()), Heard::Nothing);
        assert_eq!(order.hear(accepted(NAME, 2).bytes()), Heard::Nothing);
        let rejected = |sequence, template| OrderRejected {
            client_order_id: OTHER,
            client_sequence: MessageSequence(sequence),
            template,
            reason: Reject::UnknownOrder.into(),
            ..OrderRejected::blank()
        };
        let why = Reject::UnknownOrder.into();
        let of_order = rejected(3, NewOrder::TEMPLATE_ID);
        assert_eq!(order.hear(of_order.bytes()), Heard::Refused(why));
        let earlier = rejected(2, NewOrder::TEMPLATE_ID);
        assert_eq!(order.hear(earlier.bytes()), Heard::Nothing);
        let side = rejected(3, MassQuote::TEMPLATE_ID);
        assert_eq!(
            sent::<MassQuote>().hear(side.bytes()),
            Heard::PartRefused(why)
        );
        assert_eq!(order.hear(side.bytes()), Heard::Nothing);
    }

    #[test]
    fn a_change_or_a_cancel_is_answered_by_the_name_of_the_request() {
        let gone = |request| OrderCancelled {
            client_order_id: OTHER,
            request,
            ..OrderCancelled::blank()
        };
        let replaced = |client_order_id| OrderReplaced {
            client_order_id,
            ..OrderReplaced::blank()
        };
        let (cancel, replace) = (sent::<CancelOrder>(), sent::<ReplaceOrder>());
        for it in [&cancel, &replace] {
            assert_eq!(it.hear(gone(NAME).bytes()), Heard::Done);
            assert_eq!(it.hear(gone(OTHER).bytes()), Heard::Nothing);
            assert_eq!(it.hear(gone(ClientOrderId::NONE).bytes()), Heard::Nothing);
        }
        assert_eq!(replace.hear(replaced(NAME).bytes()), Heard::Done);
        assert_eq!(replace.hear(replaced(OTHER).bytes()), Heard::Nothing);
        assert_eq!(cancel.hear(replaced(NAME).bytes()), Heard::Nothing);
        // An order of another session of the firm: that one has the report, we have this.
        let done = done(NAME, 3, CancelOrder::TEMPLATE_ID);
        assert_eq!(cancel.hear(done.bytes()), Heard::Done);
    }

    #[test]
    fn a_question_is_answered_by_what_was_asked_for() {
        let question = sent::<InstrumentStatusRequest>();
        let status = |request| InstrumentStatus {
            request,
            client_sequence: MessageSequence(3),
            ..InstrumentStatus::blank()
        };
        assert_eq!(question.hear(status(NAME).bytes()), Heard::Done);
        assert_eq!(question.hear(status(OTHER).bytes()), Heard::Nothing);
    }
}
