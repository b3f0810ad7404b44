//! One side's session: what was sent and not answered yet, and what lives in the book.
//!
//! Called by `feed::flow`.
//!
//! Always holds: the exchange answers a session's commands in their order, so answers are matched
//! from the front; what waits for an answer is bounded by the window.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use exahour_gateway::client::{Client, ClientError, ClientEvent, TypedReport};
use exahour_wire::codes::{Liquidity, OrderType, SelfTradePrevention, Side, TimeInForce};
use exahour_wire::events::OrderAccepted;
use exahour_wire::ids::{
    AccountId, ClientOrderId, InstrumentId, MessageSequence, OrderId, SessionId,
};
use exahour_wire::message::Message;
use exahour_wire::orders::{CancelOrder, NewOrder, OrderStatusRequest, ReplaceOrder};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Price, Quantity};

use super::summary::Counts;

/// What is asked of the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Enter an order.
    New { side: Side },
    /// Change its total; the one before is kept for a refusal.
    Replace { before: u64 },
    /// Cancel it.
    Cancel,
    /// Answer last.
    Last,
}

/// A request that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    sequence: MessageSequence,
    name: ClientOrderId,
    request: Request,
    since: Instant,
}

/// An order that lives, as far as reports have said.
#[derive(Clone, Copy, Debug)]
struct Live {
    price: Price,
    total: u64,
    filled: u64,
    cancelling: bool,
}

/// What the exchange has said of an order that it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Acknowledged {
    /// Whose order.
    pub(crate) session: SessionId,
    /// The number of the message that entered it: one message enters one order.
    pub(crate) sequence: MessageSequence,
    /// The sender's name for it.
    pub(crate) name: ClientOrderId,
    /// The exchange's name for it.
    pub(crate) order: OrderId,
}

impl Acknowledged {
    pub(crate) fn of(accepted: &OrderAccepted) -> Self {
        Self {
            session: accepted.session,
            sequence: accepted.client_sequence,
            name: accepted.client_order_id,
            order: accepted.order,
        }
    }
}

/// A session, its account and its orders.
pub(crate) struct Desk {
    client: Client,
    account: AccountId,
    instrument: InstrumentId,
    pending: VecDeque<Pending>,
    live: HashMap<ClientOrderId, Live>,
    /// Kept where somebody asks for it in the end: it grows with every order.
    acknowledged: Option<Vec<Acknowledged>>,
}

impl Desk {
    pub(crate) fn new(
        client: Client,
        account: AccountId,
        instrument: InstrumentId,
        window: usize,
    ) -> Self {
        Self {
            client,
            account,
            instrument,
            pending: VecDeque::with_capacity(window),
            live: HashMap::new(),
            acknowledged: None,
        }
    }

    /// From now on, notes every order that the exchange acknowledges.
    pub(crate) fn noting_acknowledged(mut self) -> Self {
        self.acknowledged = Some(Vec::new());
        self
    }

    pub(super) fn in_flight(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn live(&self) -> usize {
        self.live.len()
    }

    /// Enters an order of `lots`.
    pub(super) fn enter(
        &mut self,
        name: ClientOrderId,
        (side, price, lots): (Side, Price, u64),
        since: Instant,
    ) -> Result<()> {
        let order = NewOrder {
            client_order_id: name,
            price,
            quantity: Quantity(lots),
            account: self.account,
            instrument: self.instrument,
            side: side.into(),
            order_type: OrderType::Limit.into(),
            time_in_force: TimeInForce::GoodTillCancelled.into(),
            // Both sides may have one owner, and real crossings are meant to trade.
            self_trade_prevention: SelfTradePrevention::None.into(),
            ..NewOrder::blank()
        };
        let live = Live {
            price,
            total: lots,
            filled: 0,
            cancelling: false,
        };
        // A second order of one name is the exchange's to refuse; the first stays as it is.
        self.live.entry(name).or_insert(live);
        self.send(&order, name, Request::New { side }, since)
    }

    /// Makes what is open of an order `lots`; whether anything was to be sent.
    pub(super) fn change(
        &mut self,
        name: ClientOrderId,
        (price, lots): (Price, u64),
        since: Instant,
    ) -> Result<Changed> {
        let Some(live) = self.live.get_mut(&name).filter(|it| !it.cancelling) else {
            return Ok(Changed::NotLive);
        };
        // The exchange counts the whole order, with what has traded.
        let total = live.filled + lots;
        if live.total == total && live.price == price {
            return Ok(Changed::Already);
        }
        let before = live.total;
        (live.total, live.price) = (total, price);
        let replace = ReplaceOrder {
            client_order_id: name,
            original: name,
            price,
            quantity: Quantity(total),
            instrument: self.instrument,
            ..ReplaceOrder::blank()
        };
        self.send(&replace, name, Request::Replace { before }, since)?;
        Ok(Changed::Sent)
    }

    /// Cancels an order; whether anything was to be sent.
    pub(super) fn cancel(&mut self, name: ClientOrderId, since: Instant) -> Result<Changed> {
        let Some(live) = self.live.get_mut(&name).filter(|it| !it.cancelling) else {
            return Ok(Changed::NotLive);
        };
        live.cancelling = true;
        let cancel = CancelOrder {
            request: name,
            client_order_id: name,
            instrument: self.instrument,
            ..CancelOrder::blank()
        };
        self.send(&cancel, name, Request::Cancel, since)?;
        Ok(Changed::Sent)
    }

    /// Asks for an order that nobody has: its answer comes behind everything else that this session is told
    /// of what was sent before, on whichever session.
    pub(super) fn ask_last(&mut self) -> Result<()> {
        let nobodys = ClientOrderId(u64::MAX);
        let question = OrderStatusRequest {
            request: nobodys,
            client_order_id: nobodys,
            instrument: self.instrument,
            ..OrderStatusRequest::blank()
        };
        self.send(&question, nobodys, Request::Last, Instant::now())
    }

    fn send<M: Message>(
        &mut self,
        command: &M,
        name: ClientOrderId,
        request: Request,
        since: Instant,
    ) -> Result<()> {
        let sequence = self.client.queue(command)?;
        self.pending.push_back(Pending {
            sequence,
            name,
            request,
            since,
        });
        Ok(())
    }

    /// Whether commands can be sent now.
    pub(super) fn is_established(&self) -> bool {
        self.client.is_established()
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        match self.client.flush() {
            // The next look says whether that is the end, or another leader is found.
            Err(ClientError::Disconnected { .. }) => Ok(()),
            flushed => Ok(flushed?),
        }
    }

    /// Takes in what the exchange has said; whether it said anything.
    pub(super) fn poll(&mut self, counts: &mut Counts) -> Result<bool> {
        let mut any = false;
        while self.take(None, counts)? {
            any = true;
        }
        Ok(any)
    }

    /// As [`Desk::poll`], waiting for the first word for `patience`.
    pub(super) fn wait(&mut self, patience: Duration, counts: &mut Counts) -> Result<bool> {
        Ok(self.take(Some(patience), counts)? | self.poll(counts)?)
    }

    fn take(&mut self, patience: Option<Duration>, counts: &mut Counts) -> Result<bool> {
        let event = match patience {
            None => self.client.poll()?,
            Some(patience) => self.client.wait(patience)?,
        };
        match event {
            None => return Ok(false),
            Some(ClientEvent::Report(report)) => {
                let report = report.typed();
                self.on_report(&report, counts)?;
            }
            Some(ClientEvent::Busy { sequence }) => {
                counts.busy += 1;
                self.drop_pending(|it| it == sequence);
            }
            Some(ClientEvent::NotApplied { from, count }) => {
                counts.not_applied += u64::from(count);
                let end = from.0.saturating_add(count);
                self.drop_pending(|it| (from.0..end).contains(&it.0));
            }
            Some(ClientEvent::Established { .. }) => {}
            Some(ClientEvent::Terminated { code, detail }) => {
                bail!("the exchange ended the session: {code:?} (detail {detail})")
            }
        }
        Ok(true)
    }

    /// Takes the session up again: what was missed follows, what was lost is told.
    pub(super) fn reconnect(&mut self, address: SocketAddr) -> Result<()> {
        Ok(self.client.reconnect_to(address)?)
    }

    /// Every order that the exchange has acknowledged, in the order of its reports, where they are
    /// noted.
    pub(crate) fn acknowledged(&self) -> impl Iterator<Item = Acknowledged> {
        self.acknowledged.iter().flatten().copied()
    }

    /// Leaves in good order; orders stay in the book.
    pub(super) fn leave(mut self) -> Result<()> {
        Ok(self.client.terminate()?)
    }

    /// Forgets requests that were not applied: an order among them never lived.
    fn drop_pending(&mut self, gone: impl Fn(MessageSequence) -> bool) {
        let live = &mut self.live;
        self.pending.retain(|it| {
            if !gone(it.sequence) {
                return true;
            }
            match it.request {
                Request::New { .. } => {
                    live.remove(&it.name);
                }
                Request::Replace { before } => {
                    if let Some(order) = live.get_mut(&it.name) {
                        order.total = before;
                    }
                }
                Request::Cancel => {
                    if let Some(order) = live.get_mut(&it.name) {
                        order.cancelling = false;
                    }
                }
                Request::Last => {}
            }
            false
        });
    }

    fn on_report(&mut self, report: &TypedReport, counts: &mut Counts) -> Result<()> {
        match report {
            TypedReport::Accepted(it) => {
                counts.accepted += 1;
                if let Some(acknowledged) = &mut self.acknowledged {
                    acknowledged.push(Acknowledged::of(it));
                }
                self.answered(counts)?;
            }
            TypedReport::Replaced(it) => {
                counts.replaced += 1;
                self.answered(counts)?;
                if let Some(live) = self.live.get_mut(&it.client_order_id) {
                    live.filled = it.quantity.0.saturating_sub(it.leaves.0);
                }
            }
            TypedReport::Filled(it) => {
                if it.liquidity.decode() == Some(Liquidity::Taker) {
                    counts.trades += 1;
                    counts.lots += it.quantity.0;
                }
                if it.leaves == Quantity(0) {
                    self.live.remove(&it.client_order_id);
                } else if let Some(live) = self.live.get_mut(&it.client_order_id) {
                    live.filled += it.quantity.0;
                }
            }
            TypedReport::Cancelled(it) => {
                counts.cancelled += 1;
                self.live.remove(&it.client_order_id);
                if it.request != ClientOrderId::NONE {
                    self.answered(counts)?;
                }
            }
            TypedReport::Rejected(_) if self.is_asked_last() => {
                self.pending.pop_front();
            }
            TypedReport::Rejected(it) => {
                counts.reject(it.reason);
                let pending = self.answered(counts)?;
                if pending.sequence != it.client_sequence {
                    bail!(
                        "the exchange answered message {} before message {}: a fault, keep the \
                         journal",
                        it.client_sequence,
                        pending.sequence
                    );
                }
                self.on_refusal(pending, it.reason);
            }
            // The sessions belong to this feed alone; what else they are told concerns others.
            _ => {}
        }
        Ok(())
    }

    /// Whether the next answer is that to [`Desk::ask_last`].
    fn is_asked_last(&self) -> bool {
        let next = self.pending.front();
        next.is_some_and(|it| matches!(it.request, Request::Last))
    }

    fn on_refusal(&mut self, pending: Pending, reason: exahour_wire::codes::Raw<Reject>) {
        let twice = reason.decode() == Some(Reject::DuplicateClientOrderId);
        match pending.request {
            Request::New { .. } if !twice => {
                self.live.remove(&pending.name);
            }
            Request::New { .. } => {}
            Request::Replace { before } => {
                if let Some(live) = self.live.get_mut(&pending.name) {
                    live.total = before;
                }
            }
            // It traded before the cancel came.
            Request::Cancel => {
                self.live.remove(&pending.name);
            }
            Request::Last => {}
        }
    }

    /// Takes the request that is answered.
    fn answered(&mut self, counts: &mut Counts) -> Result<Pending> {
        let Some(pending) = self.pending.pop_front() else {
            bail!(
                "the exchange answered a request that this feed never made: is the session used by \
                 somebody else?"
            );
        };
        counts.latency(pending.since.elapsed());
        Ok(pending)
    }
}

/// What a row asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// A command was sent.
    Sent,
    /// The order is not live here: it came before the capture, or has traded.
    NotLive,
    /// The order is so already.
    Already,
}
