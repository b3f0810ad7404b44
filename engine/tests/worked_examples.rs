//! Rules with figures worked out by hand: the engine and its twin must both come to them.
//!
//! The comparison of the two proves nothing where both misread a rule; these examples do.

use exahour_engine::{Batch, Capacity, Engine};
use exahour_twin::{Twin, readable};
use exahour_wire::codes::{
    CancelOnDisconnect, CancelReason, ContractKind, DisconnectCause, Firmness, OrderFlags,
    OrderType, Permissions, Raw, ResourceClass, Scope, SelfTradePrevention, Side, TimeInForce,
};
use exahour_wire::events::{
    DeliveryAssigned, DeliverySettled, MoneyMoved, OrderAccepted, OrderCancelled, OrderFilled,
    OrderRejected, OrderReplaced, OrderTriggered, StopEntered,
};
use exahour_wire::ids::{
    AccountId, ClientOrderId, CommandSequence, InstrumentId, MessageSequence, ObligationId,
    ParticipantId, SessionId, SessionVersion,
};
use exahour_wire::internal::{CloseSession, OpenSession, ReadySession, Tick};
use exahour_wire::message::{Message, Text8, Text16, Text32, messages};
use exahour_wire::operations::{
    ConfirmDelivery, CreateAccount, CreateInstrument, CreateParticipant, CreateSession, Deposit,
    SettlePrice, Withdraw,
};
use exahour_wire::orders::{MassCancel, NewAdvancedOrder, NewOrder, ReplaceOrder};
use exahour_wire::reject::Reject;
use exahour_wire::units::{Hours, Millis, Money, Nanos, PartsPerMillion, Price, Quantity};

const START: u64 = 1_800_000_000_000_000_000;

/// An engine and its twin, with members 1 to 4. Member n has account 100 + n and session n.
struct Exchange {
    engine: Engine,
    twin: Twin,
    time: u64,
    commands: u64,
    sequences: [u32; 5],
}

impl Exchange {
    fn new() -> Self {
        let mut exchange = Self {
            engine: Engine::new(&Capacity {
                orders: 100,
                ..Capacity::default()
            }),
            twin: Twin::new(),
            time: START,
            commands: 0,
            sequences: [1; 5],
        };
        for id in 1..=4 {
            exchange.admit_member(id, 0, 0);
        }
        exchange
    }

    fn admit_member(&mut self, id: u32, rate: u32, burst: u32) {
        let name = Text32::new("A member").unwrap_or_default();
        self.send(&CreateParticipant {
            participant: ParticipantId(id),
            name,
            ..CreateParticipant::blank()
        });
        self.send(&CreateAccount {
            account: AccountId(100 + id),
            participant: ParticipantId(id),
            name,
            ..CreateAccount::blank()
        });
        self.send(&CreateSession {
            new_session: SessionId(id),
            participant: ParticipantId(id),
            permissions: Permissions::TRADE,
            throttle_rate: rate,
            throttle_burst: burst,
            ..CreateSession::blank()
        });
        self.send(&OpenSession {
            session: SessionId(id),
            version: SessionVersion(1),
            ..OpenSession::blank()
        });
        self.send(&ReadySession {
            session: SessionId(id),
            version: SessionVersion(1),
            next_sequence: MessageSequence(1),
            timestamp: Nanos(START),
            ..ReadySession::blank()
        });
    }

    /// Sends one command and gives its events, on which both machines must agree.
    fn send<M: Message>(&mut self, command: &M) -> Vec<u8> {
        self.commands += 1;
        let batch = Batch {
            time: Nanos(self.time),
            first: CommandSequence(self.commands),
            commands: command.bytes(),
        };
        let (mut events, mut of_twin) = (Vec::new(), Vec::new());
        assert_eq!(self.engine.apply(&batch, &mut events), Ok(()));
        self.twin
            .apply(batch.time, batch.first, batch.commands, &mut of_twin);
        assert_eq!(readable::lines(&events), readable::lines(&of_twin));
        events
    }

    fn list(&mut self, change: impl Fn(&mut CreateInstrument)) {
        let mut listing = CreateInstrument {
            instrument: InstrumentId(1),
            kind: ContractKind::Future.into(),
            class: ResourceClass::Gpu.into(),
            grade_performance: 1,
            grade_reliability: 1,
            grade_energy: 1,
            firmness: Firmness::Firm.into(),
            hours: Hours(2),
            symbol: Text16::new("GPU").unwrap_or_default(),
            zone: Text8::new("EU").unwrap_or_default(),
            tick: Price(10),
            delivery_start: Nanos(START + 1_000),
            last_trade_at: Nanos(START + 1_000),
            initial_margin: Money(100),
            reference_price: Price(1_000),
            quantity_max: Quantity(1_000),
            notional_max: Money(1_000_000_000),
            ..CreateInstrument::blank()
        };
        change(&mut listing);
        self.send(&listing);
    }

    fn deposit(&mut self, member: u32, amount: i64) {
        self.send(&Deposit {
            account: AccountId(100 + member),
            amount: Money(amount),
            ..Deposit::blank()
        });
    }

    /// Whether exactly this much can be withdrawn, and not one more. Leaves the money out.
    fn available_is(&mut self, member: u32, amount: i64) -> bool {
        let mut withdraw = |amount: i64| {
            let events = self.send(&Withdraw {
                account: AccountId(100 + member),
                amount: Money(amount),
                ..Withdraw::blank()
            });
            messages(&events).any(|event| MoneyMoved::read(event).is_some())
        };
        !withdraw(amount + 1) && (amount == 0 || withdraw(amount))
    }

    fn order(&mut self, member: u32, side: Side, price: i64, lots: u64) -> Vec<u8> {
        self.order_with(member, side, price, lots, |_| {})
    }

    fn order_with(
        &mut self,
        member: u32,
        side: Side,
        price: i64,
        lots: u64,
        change: impl Fn(&mut NewOrder),
    ) -> Vec<u8> {
        let sequence = self.next_sequence(member);
        let mut order = NewOrder {
            session: SessionId(member),
            sequence: MessageSequence(sequence),
            client_order_id: ClientOrderId(u64::from(sequence)),
            price: Price(price),
            quantity: Quantity(lots),
            account: AccountId(100 + member),
            instrument: InstrumentId(1),
            side: side.into(),
            order_type: OrderType::Limit.into(),
            time_in_force: TimeInForce::GoodTillCancelled.into(),
            ..NewOrder::blank()
        };
        change(&mut order);
        self.send(&order)
    }

    /// A buy with a limit and a stop price, from which it is a market order.
    fn one_cancels_other(
        &mut self,
        member: u32,
        (limit, stop_price): (i64, i64),
        lots: u64,
    ) -> Vec<u8> {
        let sequence = self.next_sequence(member);
        self.send(&NewAdvancedOrder {
            session: SessionId(member),
            sequence: MessageSequence(sequence),
            client_order_id: ClientOrderId(u64::from(sequence)),
            price: Price(limit),
            quantity: Quantity(lots),
            account: AccountId(100 + member),
            instrument: InstrumentId(1),
            side: Side::Buy.into(),
            order_type: OrderType::OneCancelsOther.into(),
            time_in_force: TimeInForce::GoodTillCancelled.into(),
            stop_price: Price(stop_price),
            stop_limit: Price::NONE,
            ..NewAdvancedOrder::blank()
        })
    }

    fn next_sequence(&mut self, member: u32) -> u32 {
        let sequence = self.sequences[member as usize];
        self.sequences[member as usize] += 1;
        sequence
    }
}

fn all<M: Message>(events: &[u8]) -> Vec<M> {
    messages(events).filter_map(M::read).collect()
}

fn rejection(events: &[u8]) -> Option<Reject> {
    let rejected = all::<OrderRejected>(events).into_iter().next()?;
    rejected.reason.decode()
}

fn transfers(events: &[u8]) -> Vec<(u32, u32, i64)> {
    all::<MoneyMoved>(events)
        .iter()
        .map(|moved| (moved.debit.0, moved.credit.0, moved.amount.0))
        .collect()
}

/// 5 lots x margin 100 + (1,010 - 1,000) x 5 lots x 2 hours = 600.
#[test]
fn a_buy_above_the_settlement_price_locks_margin_and_the_loss_it_would_make() {
    let mut exchange = Exchange::new();
    exchange.list(|_| {});
    exchange.deposit(1, 599);
    let refused = exchange.order(1, Side::Buy, 1_010, 5);
    assert_eq!(rejection(&refused), Some(Reject::InsufficientFunds));
    exchange.deposit(1, 1);
    assert_eq!(rejection(&exchange.order(1, Side::Buy, 1_010, 5)), None);
    assert!(exchange.available_is(1, 0));
}

/// A spot buyer locks the settlement price: 5 x 1,000 x 2 = 10,000; a seller its margin of 100 a lot.
#[test]
fn spot_buyers_lock_the_price_and_sellers_the_margin() {
    let mut exchange = Exchange::new();
    exchange.list(|listing| listing.kind = ContractKind::Spot.into());
    exchange.deposit(1, 10_700);
    exchange.order(1, Side::Buy, 1_000, 5);
    // The larger of the two sides counts: 7 sells lock 700, which is less.
    exchange.order(1, Side::Sell, 2_000, 7);
    assert!(exchange.available_is(1, 700));
}

/// Buyer 1 pays (1,030 - 1,000) x 4 x 2 = 240 to seller 2 at once; 4 lots then lock 400 each.
#[test]
fn a_trade_away_from_the_settlement_price_moves_the_difference() {
    let mut exchange = Exchange::new();
    exchange.list(|_| {});
    exchange.deposit(1, 1_000);
    exchange.deposit(2, 1_000);
    exchange.order(2, Side::Sell, 1_030, 4);
    let events = exchange.order(1, Side::Buy, 1_050, 4);
    assert_eq!(transfers(&events), [(101, 2, 240), (2, 102, 240)]);
    let fills: Vec<_> = all::<OrderFilled>(&events)
        .iter()
        .map(|fill| (fill.account.0, fill.price.0, fill.leaves.0))
        .collect();
    assert_eq!(fills, [(102, 1_030, 0), (101, 1_030, 0)]);
    // Marking to 990 takes (1,000 - 990) x 4 x 2 = 80 more from the buyer.
    let events = exchange.send(&SettlePrice {
        instrument: InstrumentId(1),
        price: Price(990),
        ..SettlePrice::blank()
    });
    assert_eq!(transfers(&events), [(101, 2, 80), (2, 102, 80)]);
    // 1,000 - 240 - 80 - 400, and 1,000 + 240 + 80 - 400.
    assert!(exchange.available_is(1, 280));
    assert!(exchange.available_is(2, 920));
}

/// Protection of 2.5 % on 1,010 is 25: to 1,030 on a tick of 10. So 5 lots lock 5 x 100 + 30 x 5 x 2 = 800,
/// though the limit is below the settlement price.
#[test]
fn a_one_cancels_other_order_is_held_at_its_worse_limit_and_trades_each_lot_once() {
    let mut exchange = Exchange::new();
    exchange.list(|listing| listing.protection = PartsPerMillion(25_000));
    exchange.deposit(1, 799);
    exchange.deposit(2, 10_000);
    exchange.deposit(3, 10_000);
    let refused = exchange.one_cancels_other(1, (990, 1_010), 5);
    assert_eq!(rejection(&refused), Some(Reject::InsufficientFunds));
    exchange.deposit(1, 1);
    let entered = exchange.one_cancels_other(1, (990, 1_010), 5);
    assert_eq!(all::<StopEntered>(&entered).len(), 1);
    // Two lots trade at the limit: the seller pays 10 x 2 x 2 = 40, and 5 x 100 + 30 x 3 x 2 = 680 stay locked.
    exchange.order(2, Side::Sell, 990, 2);
    assert!(exchange.available_is(1, 160));
    // A trade at its stop price: the other three trade at 1,020, which costs 20 x 3 x 2 = 120.
    exchange.order(2, Side::Sell, 1_010, 1);
    exchange.order(2, Side::Sell, 1_020, 9);
    let events = exchange.order(3, Side::Buy, 1_010, 1);
    let triggered = all::<OrderTriggered>(&events)[0];
    assert_eq!((triggered.price.0, triggered.quantity.0), (1_030, 3));
    let fills: Vec<_> = all::<OrderFilled>(&events)
        .iter()
        .filter(|fill| fill.order == triggered.order)
        .map(|fill| (fill.price.0, fill.quantity.0, fill.leaves.0))
        .collect();
    assert_eq!(fills, [(1_020, 3, 0)]);
    // 680 - 120 - 5 x 100.
    assert!(exchange.available_is(1, 60));
    assert!(all::<OrderFilled>(&exchange.order(2, Side::Sell, 990, 1)).is_empty());
}

/// Protection of 2.5 % on 1,000 is 25: to 1,020 and 980 on a tick of 10.
#[test]
fn a_market_order_becomes_a_limit_order_on_a_tick_within_its_band() {
    let mut exchange = Exchange::new();
    exchange.list(|listing| listing.protection = PartsPerMillion(25_000));
    exchange.deposit(1, 100_000);
    for (side, limit) in [(Side::Buy, 1_020), (Side::Sell, 980)] {
        let events = exchange.order_with(1, side, Price::NONE.0, 1, |order| {
            order.order_type = OrderType::Market.into();
            order.time_in_force = TimeInForce::ImmediateOrCancel.into();
        });
        assert_eq!(all::<OrderAccepted>(&events)[0].price, Price(limit));
        assert_eq!(all::<OrderCancelled>(&events)[0].price, Price(limit));
    }
}

/// A collar of 5 % about 1,000 admits 950 and 1,050; after a trade at 1,050, at most 1,102.5.
#[test]
fn a_collar_admits_its_edge_and_follows_the_last_trade() {
    let mut exchange = Exchange::new();
    exchange.list(|listing| listing.collar = PartsPerMillion(50_000));
    exchange.deposit(1, 100_000);
    exchange.deposit(2, 100_000);
    let outside = Some(Reject::PriceOutsideCollar);
    assert_eq!(rejection(&exchange.order(1, Side::Buy, 940, 1)), outside);
    assert_eq!(rejection(&exchange.order(1, Side::Buy, 950, 1)), None);
    assert_eq!(rejection(&exchange.order(1, Side::Sell, 1_060, 1)), outside);
    assert_eq!(rejection(&exchange.order(1, Side::Sell, 1_050, 1)), None);
    exchange.order(2, Side::Buy, 1_050, 1);
    assert_eq!(rejection(&exchange.order(2, Side::Buy, 1_100, 1)), None);
    assert_eq!(rejection(&exchange.order(2, Side::Buy, 1_110, 1)), outside);
}

/// Two a second and three at once: a whole message comes back after half a second, not sooner.
#[test]
fn a_throttle_gives_back_one_message_when_its_time_has_come() {
    let mut exchange = Exchange::new();
    exchange.sequences = [1; 5];
    let name = Text32::new("Slow").unwrap();
    exchange.send(&CreateParticipant {
        participant: ParticipantId(9),
        name,
        ..CreateParticipant::blank()
    });
    exchange.send(&CreateSession {
        new_session: SessionId(9),
        participant: ParticipantId(9),
        permissions: Permissions::TRADE,
        throttle_rate: 2,
        throttle_burst: 3,
        ..CreateSession::blank()
    });
    exchange.send(&OpenSession {
        session: SessionId(9),
        version: SessionVersion(1),
        ..OpenSession::blank()
    });
    exchange.send(&ReadySession {
        session: SessionId(9),
        version: SessionVersion(1),
        next_sequence: MessageSequence(1),
        timestamp: Nanos(START),
        ..ReadySession::blank()
    });
    let mut sequence = 0;
    let mut is_throttled = |exchange: &mut Exchange, after_ns: u64| {
        sequence += 1;
        exchange.time += after_ns;
        let events = exchange.send(&MassCancel {
            session: SessionId(9),
            sequence: MessageSequence(sequence),
            target: 9,
            scope: Raw::from(Scope::Session),
            ..MassCancel::blank()
        });
        rejection(&events) == Some(Reject::Throttled)
    };
    assert!(!is_throttled(&mut exchange, 0));
    assert!(!is_throttled(&mut exchange, 0));
    assert!(!is_throttled(&mut exchange, 0));
    assert!(is_throttled(&mut exchange, 0));
    assert!(is_throttled(&mut exchange, 499_999_999));
    assert!(!is_throttled(&mut exchange, 1));
    assert!(is_throttled(&mut exchange, 0));
}

/// What the orders of the own participant hide from a fill-or-kill order depends on its prevention.
#[test]
fn fill_or_kill_counts_own_orders_by_its_prevention() {
    for (prevention, fills) in [
        (SelfTradePrevention::None, true),
        (SelfTradePrevention::CancelOldest, true),
        (SelfTradePrevention::CancelNewest, false),
        (SelfTradePrevention::CancelBoth, false),
        (SelfTradePrevention::Decrement, false),
    ] {
        let mut exchange = Exchange::new();
        exchange.list(|_| {});
        exchange.deposit(1, 100_000);
        exchange.deposit(2, 100_000);
        exchange.order(1, Side::Sell, 1_000, 3);
        exchange.order(2, Side::Sell, 1_000, 5);
        let events = exchange.order_with(1, Side::Buy, 1_000, 5, |order| {
            order.time_in_force = TimeInForce::FillOrKill.into();
            order.self_trade_prevention = prevention.into();
        });
        let traded = !all::<OrderFilled>(&events).is_empty();
        assert_eq!(traded, fills, "{prevention:?}");
    }
}

/// 10 lots, of which 4 traded and 2 were taken away: a total of 8 changes nothing, 7 leaves 3.
#[test]
fn the_total_of_a_replace_counts_trades_and_not_what_prevention_took() {
    let mut exchange = Exchange::new();
    exchange.list(|_| {});
    exchange.deposit(1, 100_000);
    exchange.deposit(2, 100_000);
    exchange.order(1, Side::Sell, 1_000, 10);
    exchange.order(2, Side::Buy, 1_000, 4);
    exchange.order_with(1, Side::Buy, 1_000, 2, |order| {
        order.self_trade_prevention = SelfTradePrevention::Decrement.into();
    });
    let mut replace = |total: u64| {
        let sequence = exchange.next_sequence(1);
        exchange.send(&ReplaceOrder {
            session: SessionId(1),
            sequence: MessageSequence(sequence),
            client_order_id: ClientOrderId(1),
            original: ClientOrderId(1),
            price: Price(1_000),
            quantity: Quantity(total),
            instrument: InstrumentId(1),
            ..ReplaceOrder::blank()
        })
    };
    assert_eq!(rejection(&replace(8)), Some(Reject::NothingToChange));
    assert_eq!(all::<OrderReplaced>(&replace(7))[0].leaves, Quantity(3));
}

#[test]
fn a_post_only_order_that_would_trade_is_cancelled_whole() {
    let mut exchange = Exchange::new();
    exchange.list(|_| {});
    exchange.deposit(1, 100_000);
    exchange.deposit(2, 100_000);
    exchange.order(2, Side::Sell, 1_000, 1);
    let events = exchange.order_with(1, Side::Buy, 1_000, 5, |order| {
        order.flags = OrderFlags::POST_ONLY;
    });
    assert_eq!(all::<OrderCancelled>(&events)[0].quantity, Quantity(5));
}

/// Longs: 1 holds 7, 3 holds 5. Shorts: 2 owes 7, 4 owes 5. Equal sizes meet. F is 1,010, so the
/// pairs are worth 1,010 x 7 x 2 = 14,140 and 1,010 x 5 x 2 = 10,100.
#[test]
fn expiry_pairs_equal_sizes_and_delivery_pays_verified_time() {
    let mut exchange = Exchange::new();
    exchange.list(|_| {});
    for member in 1..=4 {
        exchange.deposit(member, 100_000);
    }
    exchange.order(2, Side::Sell, 1_000, 7);
    exchange.order(4, Side::Sell, 1_010, 5);
    exchange.order(3, Side::Buy, 1_000, 5);
    exchange.order(1, Side::Buy, 1_010, 7);
    exchange.time = START + 1_000;
    let events = exchange.send(&Tick::blank());
    let pairs: Vec<_> = all::<DeliveryAssigned>(&events)
        .iter()
        .map(|pair| {
            (
                pair.obligation.0,
                pair.buyer.0,
                pair.seller.0,
                pair.quantity.0,
            )
        })
        .collect();
    assert_eq!(pairs, [(1, 101, 102, 7), (2, 103, 104, 5)]);
    // Marked from 1,000 to 1,010 by account: 102 pays 140, 104 pays 100, 101 and 103 receive.
    let moved = [
        (102, 2, 140),
        (104, 2, 100),
        (2, 101, 140),
        (2, 103, 100),
        (101, 3, 14_140),
        (103, 3, 10_100),
    ];
    assert_eq!(transfers(&events), moved);
    // A third of two hours: floor(10,100 / 3) = 3,366; 6,734 come back; a tenth of that is 674.
    let events = exchange.send(&ConfirmDelivery {
        obligation: ObligationId(2),
        verified: Nanos(2_400_000_000_000),
        ..ConfirmDelivery::blank()
    });
    let paid = [(3, 104, 3_366), (3, 103, 6_734), (104, 103, 674)];
    assert_eq!(transfers(&events), paid);
    let settled = all::<DeliverySettled>(&events)[0];
    assert_eq!(
        (settled.paid.0, settled.refunded.0, settled.compensated.0),
        (3_366, 6_734, 674)
    );
    // 104: sold at 1,010 against 1,000, so +100; marked -100; +3,366 - 674; its collateral is free.
    assert!(exchange.available_is(4, 102_692));
    // 102: sold 7, of them 5 at 1,000 and 2 at 1,000; marked -140; 7 x 100 stay locked.
    assert!(exchange.available_is(2, 99_160));
}

/// Three things are due at once: an order's date, a lost session's grace and a contract's end.
#[test]
fn what_is_due_at_once_happens_by_kind() {
    let due = START + 1_000_000;
    let mut exchange = Exchange::new();
    exchange.list(|listing| {
        listing.last_trade_at = Nanos(due);
        listing.delivery_start = Nanos(due);
    });
    exchange.deposit(1, 100_000);
    exchange.deposit(2, 100_000);
    exchange.send(&ReadySession {
        session: SessionId(1),
        version: SessionVersion(1),
        next_sequence: MessageSequence(1),
        timestamp: Nanos(START + 1),
        cancel_grace: Millis(1),
        cancel_mode: CancelOnDisconnect::OnDisconnect.into(),
        ..ReadySession::blank()
    });
    exchange.order(2, Side::Buy, 900, 1);
    exchange.order(1, Side::Buy, 900, 2);
    exchange.order_with(1, Side::Buy, 900, 3, |order| {
        order.time_in_force = TimeInForce::GoodTillDate.into();
        order.expire_at = Nanos(due);
    });
    exchange.send(&CloseSession {
        session: SessionId(1),
        version: SessionVersion(1),
        cause: DisconnectCause::ConnectionLost.into(),
        ..CloseSession::blank()
    });
    exchange.time = due - 1;
    assert!(exchange.send(&Tick::blank()).is_empty());
    exchange.time = due;
    let gone: Vec<_> = all::<OrderCancelled>(&exchange.send(&Tick::blank()))
        .iter()
        .map(|cancelled| (cancelled.quantity.0, cancelled.reason.decode()))
        .collect();
    let expected = [
        (3, Some(CancelReason::Expired)),
        (2, Some(CancelReason::Disconnect)),
        (1, Some(CancelReason::InstrumentExpired)),
    ];
    assert_eq!(gone, expected);
}
