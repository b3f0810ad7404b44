//! What traders, risk desks, operators, gateways and the settlement process send.
//!
//! Always holds: one call, one record. Most commands make sense; a few are late, doubled, for
//! somebody else's things, or missing a message before them.

use exahour_wire::codes::{
    DisconnectCause, KillAction, OrderFlags, OrderType, Permissions, Raw, Scope,
    SelfTradePrevention, Side, TimeInForce,
};
use exahour_wire::ids::{
    AccountId, Behaviour, ClientOrderId, CommandSequence, InstrumentId, MessageSequence,
    ObligationId, OrderId, ParticipantId, SessionId, SessionVersion,
};
use exahour_wire::internal::{Checkpoint, CloseSession, TakeStateHash, Tick};
use exahour_wire::message::{AccessKey, Digest, Ipv4, Message, Text32};
use exahour_wire::operations::{
    ConfirmDelivery, ConfirmRelease, CreateAccount, CreateParticipant, CreateSession,
    DeliveryFailed, DeliveryStarted, Deposit, KillSwitch, RegisterAccessKey,
    SessionActivityRequest, SetPositionLimit, SettlePrice, Withdraw,
};
use exahour_wire::orders::{
    CancelOrder, DeadMan, MassCancel, NewOrder, OrderStatusRequest, ReplaceOrder,
};
use exahour_wire::units::{Millis, Money, Nanos, Price, Quantity};

use super::advanced;
use super::amends::amend;
use super::dice::Dice;
use super::market::{Instrument, Market, PARTICIPANTS, Session, owner};
use super::phases;
use super::quotes;
use crate::behaviour::NEWEST;

/// The next command.
pub(super) fn command(market: &mut Market, dice: &mut Dice, now: Nanos) -> Vec<u8> {
    // A session whose numbers are used up is worth nothing until it is opened anew.
    let used_up = |session: &Session| session.next_sequence > u32::MAX / 2;
    if let Some(place) = market.sessions.iter().position(used_up)
        && dice.percent(30)
    {
        return market.open(place).bytes().to_vec();
    }
    let away = market.sessions.iter().filter(|session| !session.ready);
    if away.count() > 2 && dice.percent(40) {
        return session_news(market, dice, now);
    }
    if !market.stopped.is_empty() && dice.percent(30) {
        return release(market, dice);
    }
    if let Some(halted) = market.halted.first().copied()
        && dice.percent(1)
    {
        return phases::resume(halted);
    }
    match dice.below(1_000) {
        0..60 => quotes::mass_quote(market, dice).bytes().to_vec(),
        60..460 => new_order(market, dice, now).bytes().to_vec(),
        460..560 => advanced::new_order(market, dice, now),
        560..645 => cancel_order(market, dice),
        645..655 => order_status(market, dice),
        655..660 => dead_man(market, dice),
        660..780 => replace_order(market, dice),
        780..795 => mass_cancel(market, dice),
        795..864 => operation(market, dice, now),
        864..870 => phases::command(market, dice, now),
        870..890 => delivery(market, dice),
        890..900 => amend(market, dice),
        900..985 => session_news(market, dice, now),
        985..988 => market.start(dice),
        988..993 => TakeStateHash::blank().bytes().to_vec(),
        993..996 => Checkpoint {
            at_command: CommandSequence(u64::MAX - dice.below(9)),
            ..Checkpoint::blank()
        }
        .bytes()
        .to_vec(),
        996..998 if market.activates => market.activate(dice.pick(&[Behaviour(1), NEWEST])),
        _ => Tick::blank().bytes().to_vec(),
    }
}

/// Messages of one session without a pause, more than its throttle allows in a row.
pub(super) fn flood(market: &mut Market, dice: &mut Dice) -> Vec<Vec<u8>> {
    let place = dice.below(market.sessions.len() as u64) as usize;
    let session = &mut market.sessions[place];
    let mut records = Vec::new();
    for _ in 0..dice.between(90, 200) {
        let command = CancelOrder {
            session: session.id,
            sequence: MessageSequence(session.next_sequence),
            ..CancelOrder::blank()
        };
        session.next_sequence = session.next_sequence.saturating_add(1);
        records.push(command.bytes().to_vec());
    }
    records
}

/// A session that may do it, mostly; and the number of its message, mostly the next one.
pub(super) fn sender(
    market: &mut Market,
    dice: &mut Dice,
    permission: Permissions,
) -> (Session, MessageSequence) {
    let places: Vec<usize> = (0..market.sessions.len())
        .filter(|place| {
            let session = &market.sessions[*place];
            session.ready && session.permissions.contains(permission)
        })
        .collect();
    let anyone = dice.below(market.sessions.len() as u64) as usize;
    let place = if dice.percent(2) {
        anyone
    } else {
        dice.try_pick(&places).unwrap_or(anyone)
    };
    let session = &mut market.sessions[place];
    let sequence = match dice.below(100) {
        0 => session.next_sequence.saturating_sub(1),
        1 => {
            let skipped = dice.below(3) as u32;
            session.next_sequence = session.next_sequence.saturating_add(skipped);
            session.next_sequence
        }
        _ => session.next_sequence,
    };
    if sequence == session.next_sequence {
        session.next_sequence = sequence.saturating_add(1);
    }
    (*session, MessageSequence(sequence))
}

/// As [`sender`], or the exchange itself.
pub(super) fn sender_or_exchange(
    market: &mut Market,
    dice: &mut Dice,
    permission: Permissions,
) -> (SessionId, MessageSequence, u32) {
    if dice.percent(25) {
        return (SessionId::NONE, MessageSequence(dice.below(3) as u32), 1);
    }
    let (session, sequence) = sender(market, dice, permission);
    (session.id, sequence, session.participant)
}

pub(super) fn account_of(participant: u32, dice: &mut Dice) -> AccountId {
    if dice.percent(1) {
        return AccountId(dice.between(98, 112) as u32);
    }
    let own: Vec<u32> = (100..109).filter(|id| owner(*id) == participant).collect();
    AccountId(dice.pick(&own))
}

pub(super) fn instrument(market: &mut Market, dice: &mut Dice) -> Option<Instrument> {
    if dice.percent(1) {
        return None;
    }
    let picked = dice.try_pick(&market.listed())?;
    let known = market
        .instruments
        .get_mut(&picked.definition.instrument.0)?;
    if dice.percent(20) {
        // The market wanders.
        let step = 1 + known.mid / 200;
        known.mid = (known.mid + dice.between(0, 2) as i64 * step - step).max(2);
    }
    Some(*known)
}

pub(super) fn any_instrument(market: &Market, dice: &mut Dice) -> InstrumentId {
    InstrumentId(dice.below(u64::from(market.instruments_listed) + 2) as u32)
}

pub(super) fn price_near(instrument: &Instrument, dice: &mut Dice) -> Price {
    let tick = instrument.definition.tick.0;
    let ticks = match dice.below(60) {
        0 => instrument.mid * 2,
        1 => 1,
        2..12 => {
            let width = 2 + instrument.mid / 10;
            instrument.mid + dice.below(2 * width as u64) as i64 - width
        }
        _ => instrument.mid + dice.below(9) as i64 - 4,
    };
    let off_tick = i64::from(dice.percent(1));
    Price((ticks * tick + off_tick).max(1))
}

fn lots(dice: &mut Dice) -> Quantity {
    match dice.below(50) {
        0 => Quantity(dice.between(50, 2_000)),
        1 => Quantity(0),
        2..8 => Quantity(dice.between(10, 60)),
        _ => Quantity(dice.between(1, 9)),
    }
}

fn time_in_force(dice: &mut Dice) -> TimeInForce {
    match dice.below(100) {
        0..25 => TimeInForce::Day,
        25..60 => TimeInForce::GoodTillCancelled,
        60..75 => TimeInForce::GoodTillDate,
        75..90 => TimeInForce::ImmediateOrCancel,
        _ => TimeInForce::FillOrKill,
    }
}

/// Any order that a `NewOrder` can say.
pub(super) fn new_order(market: &mut Market, dice: &mut Dice, now: Nanos) -> NewOrder {
    let (session, sequence) = sender(market, dice, Permissions::TRADE);
    let account = account_of(session.participant, dice);
    let contract = instrument(market, dice);
    let order_type = match dice.below(100) {
        0..12 => OrderType::Market,
        12..20 => OrderType::MarketToLimit,
        _ => OrderType::Limit,
    };
    let market_order = order_type == OrderType::Market;
    let called = contract.is_some_and(|it| market.called.contains(&it.definition.instrument));
    let time_in_force = match market_order && dice.percent(97) {
        _ if dice.percent(if called { 40 } else { 1 }) => TimeInForce::GoodForAuction,
        true => dice.pick(&[TimeInForce::ImmediateOrCancel, TimeInForce::FillOrKill]),
        false => time_in_force(dice),
    };
    let price = match &contract {
        _ if order_type != OrderType::Limit => Price::NONE,
        None => Price(1),
        Some(contract) => price_near(contract, dice),
    };
    let expire_at = match time_in_force == TimeInForce::GoodTillDate {
        true => {
            let span = dice.pick(&[5, 6, 10_000_000, Nanos::SECOND.0, Nanos::DAY.0]);
            Nanos((now.0 - 5).saturating_add(span))
        }
        false => Nanos(u64::from(dice.percent(1))),
    };
    let expire_at = match dice.percent(1) {
        true => Nanos(expire_at.0 / 2),
        false => expire_at,
    };
    let immediate = matches!(
        time_in_force,
        TimeInForce::ImmediateOrCancel | TimeInForce::FillOrKill
    );
    let takes = immediate || order_type != OrderType::Limit;
    let post_only = dice.percent(if takes { 1 } else { 15 });
    let name = market.fresh_name();
    let any_prevention = Raw::<SelfTradePrevention>::new(dice.below(5) as u8);
    NewOrder {
        session: session.id,
        sequence,
        client_order_id: match dice.percent(2) {
            true => ClientOrderId(dice.below(name.0)),
            false => name,
        },
        price,
        quantity: lots(dice),
        expire_at,
        account,
        instrument: contract.map_or(any_instrument(market, dice), |contract| {
            contract.definition.instrument
        }),
        side: dice.pick(&[Side::Buy, Side::Sell]).into(),
        order_type: order_type.into(),
        time_in_force: time_in_force.into(),
        self_trade_prevention: match dice.percent(40) {
            true => any_prevention,
            false => session.prevention.into(),
        },
        flags: OrderFlags(u8::from(post_only)),
        ..NewOrder::blank()
    }
}

/// Names of an order that a session might cancel, mostly.
struct Meant {
    session: SessionId,
    sequence: MessageSequence,
    request: ClientOrderId,
    order: OrderId,
    client_order_id: ClientOrderId,
    instrument: InstrumentId,
}

fn order_meant(market: &mut Market, dice: &mut Dice) -> Meant {
    let (session, sequence) = sender(market, dice, Permissions::TRADE);
    let own: Vec<_> = market
        .orders()
        .into_iter()
        .filter(|order| {
            let entered_by = market.sessions.iter().find(|by| by.id == order.session);
            entered_by.is_some_and(|by| by.participant == session.participant)
        })
        .collect();
    let everyone = market.orders();
    let among = if dice.percent(5) { everyone } else { own };
    let found = dice.try_pick(&among);
    let by_id = dice.percent(60);
    let request = market.fresh_name();
    Meant {
        session: session.id,
        sequence,
        request,
        order: match (found, by_id) {
            (Some(order), true) => OrderId(order.id),
            (None, true) => OrderId(dice.any()),
            _ => OrderId::NONE,
        },
        client_order_id: ClientOrderId(found.map_or(1, |order| order.client_order_id)),
        instrument: match dice.percent(2) {
            true => any_instrument(market, dice),
            false => found.map_or(InstrumentId(1), |order| order.instrument),
        },
    }
}

fn cancel_order(market: &mut Market, dice: &mut Dice) -> Vec<u8> {
    let meant = order_meant(market, dice);
    CancelOrder {
        session: meant.session,
        sequence: meant.sequence,
        request: meant.request,
        order: meant.order,
        client_order_id: meant.client_order_id,
        instrument: meant.instrument,
        ..CancelOrder::blank()
    }
    .bytes()
    .to_vec()
}

fn order_status(market: &mut Market, dice: &mut Dice) -> Vec<u8> {
    let meant = order_meant(market, dice);
    OrderStatusRequest {
        session: meant.session,
        sequence: meant.sequence,
        request: meant.request,
        order: meant.order,
        client_order_id: meant.client_order_id,
        instrument: meant.instrument,
        ..OrderStatusRequest::blank()
    }
    .bytes()
    .to_vec()
}

fn dead_man(market: &mut Market, dice: &mut Dice) -> Vec<u8> {
    let (session, sequence) = sender(market, dice, Permissions::TRADE);
    let request = market.fresh_name();
    DeadMan {
        session: session.id,
        sequence,
        request,
        interval: Millis(dice.pick(&[0, 1, 5, 40, 1_000, 3_600_000])),
        ..DeadMan::blank()
    }
    .bytes()
    .to_vec()
}

fn replace_order(market: &mut Market, dice: &mut Dice) -> Vec<u8> {
    let (session, sequence) = sender(market, dice, Permissions::TRADE);
    let orders = market.orders();
    let own: Vec<_> = orders
        .iter()
        .copied()
        .filter(|order| order.session == session.id)
        .collect();
    let found = match dice.percent(4) {
        true => dice.try_pick(&orders),
        false => dice.try_pick(&own),
    };
    let name = market.fresh_name();
    let (order, original, contract, price, quantity) = match found {
        None => (dice.below(3), 1, 1, 1, 1),
        Some(order) => (
            order.id,
            order.client_order_id,
            order.instrument.0,
            order.price,
            order.quantity,
        ),
    };
    let known = market.instruments.get(&contract).copied();
    let new_price = match known {
        Some(known) if dice.percent(50) => price_near(&known, dice),
        _ => Price(price),
    };
    let new_quantity = match dice.below(10) {
        0..3 => quantity,
        3..6 => dice.between(1, quantity.max(1)),
        6..8 => quantity.saturating_add(dice.between(1, 9)),
        8 => 1,
        _ => lots(dice).0,
    };
    let by_name = dice.percent(50);
    let client_order_id = match dice.below(20) {
        0..5 => ClientOrderId(original),
        5 => ClientOrderId(dice.try_pick(&own).map_or(0, |other| other.client_order_id)),
        _ => name,
    };
    ReplaceOrder {
        session: session.id,
        sequence,
        client_order_id,
        order: OrderId(if by_name { 0 } else { order }),
        original: ClientOrderId(original),
        price: new_price,
        quantity: Quantity(new_quantity),
        instrument: match dice.percent(2) {
            true => any_instrument(market, dice),
            false => InstrumentId(contract),
        },
        ..ReplaceOrder::blank()
    }
    .bytes()
    .to_vec()
}

/// What a scope may point at, mostly of this participant.
fn target(scope: Scope, market: &Market, dice: &mut Dice, participant: u32) -> u32 {
    if dice.percent(10) {
        return dice.below(130) as u32;
    }
    match scope {
        Scope::Session => {
            let own: Vec<u32> = market
                .sessions
                .iter()
                .filter(|session| session.participant == participant)
                .map(|session| session.id.0)
                .collect();
            dice.pick(&own)
        }
        Scope::Account => account_of(participant, dice).0,
        Scope::Participant => participant,
        Scope::Instrument => any_instrument(market, dice).0,
    }
}

fn mass_cancel(market: &mut Market, dice: &mut Dice) -> Vec<u8> {
    let (session, sequence) = sender(market, dice, Permissions::TRADE);
    let scope = dice.pick(&[
        Scope::Session,
        Scope::Account,
        Scope::Participant,
        Scope::Instrument,
    ]);
    let request = market.fresh_name();
    MassCancel {
        session: session.id,
        sequence,
        request,
        target: target(scope, market, dice, session.participant),
        scope: scope.into(),
        ..MassCancel::blank()
    }
    .bytes()
    .to_vec()
}

fn operation(market: &mut Market, dice: &mut Dice, now: Nanos) -> Vec<u8> {
    let kind = dice.below(100);
    match kind {
        0..12 => move_money(market, dice),
        12..35 => kill_switch(market, dice),
        35..60 => settle_price(market, dice),
        60..72 => position_limit(market, dice),
        72..79 => access_key(market, dice),
        79..82 => session_activity(market, dice),
        82..94 => list(market, dice, now),
        _ => create(market, dice),
    }
}

fn move_money(market: &mut Market, dice: &mut Dice) -> Vec<u8> {
    let (session, sequence, _) = sender_or_exchange(market, dice, Permissions::OPERATOR);
    let request = market.fresh_name();
    let account = account_of(dice.between(1, u64::from(PARTICIPANTS)) as u32, dice);
    let amount = match dice.below(12) {
        0 => Money(0),
        1 => Money(i64::MAX / 4),
        _ => Money(dice.between(1, 2_000_000_000_000) as i64),
    };
    if dice.percent(50) {
        let command = Deposit {
            session,
            sequence,
            request,
            account,
            amount,
            ..Deposit::blank()
        };
        return command.bytes().to_vec();
    }
    Withdraw {
        session,
        sequence,
        request,
        account,
        amount,
        ..Withdraw::blank()
    }
    .bytes()
    .to_vec()
}

fn kill_switch(market: &mut Market, dice: &mut Dice) -> Vec<u8> {
    let (session, sequence, participant) = sender_or_exchange(market, dice, Permissions::RISK);
    let scope = dice.pick(&[Scope::Session, Scope::Account, Scope::Participant]);
    let scope = if dice.percent(3) {
        Scope::Instrument
    } else {
        scope
    };
    let action = match dice.percent(60) {
        true => KillAction::Engage,
        false => KillAction::Release,
    };
    let request = market.fresh_name();
    KillSwitch {
        session,
        sequence,
        request,
        target: target(scope, market, dice, participant),
        scope: scope.into(),
        action: action.into(),
        ..KillSwitch::blank()
    }
    .bytes()
    .to_vec()
}

/// Ends a stop, so that trading goes on: mostly one asks and another confirms.
fn release(market: &mut Market, dice: &mut Dice) -> Vec<u8> {
    let (scope, target, asked) = dice.pick(&market.stopped);
    let (session, sequence, _) = sender_or_exchange(market, dice, Permissions::OPERATOR);
    let request = market.fresh_name();
    let scope = Raw::new(scope);
    if asked != dice.percent(8) {
        let command = ConfirmRelease {
            session,
            sequence,
            request,
            target,
            scope,
            ..ConfirmRelease::blank()
        };
        return command.bytes().to_vec();
    }
    KillSwitch {
        session,
        sequence,
        request,
        target,
        scope,
        action: KillAction::Release.into(),
        ..KillSwitch::blank()
    }
    .bytes()
    .to_vec()
}

fn settle_price(market: &mut Market, dice: &mut Dice) -> Vec<u8> {
    let (session, sequence, _) = sender_or_exchange(market, dice, Permissions::OPERATOR);
    let request = market.fresh_name();
    let contract = instrument(market, dice);
    SettlePrice {
        session,
        sequence,
        request,
        instrument: contract.map_or(any_instrument(market, dice), |contract| {
            contract.definition.instrument
        }),
        price: contract.map_or(Price(1), |contract| price_near(&contract, dice)),
        ..SettlePrice::blank()
    }
    .bytes()
    .to_vec()
}

fn position_limit(market: &mut Market, dice: &mut Dice) -> Vec<u8> {
    let (session, sequence, participant) = sender_or_exchange(market, dice, Permissions::RISK);
    let request = market.fresh_name();
    SetPositionLimit {
        session,
        sequence,
        request,
        account: account_of(participant, dice),
        instrument: any_instrument(market, dice),
        position_max: Quantity(dice.pick(&[0, 20, 100, 100_000, 1_000_000_000_000_001])),
        ..SetPositionLimit::blank()
    }
    .bytes()
    .to_vec()
}

fn access_key(market: &mut Market, dice: &mut Dice) -> Vec<u8> {
    let (session, sequence, participant) = sender_or_exchange(market, dice, Permissions::TRADE);
    let request = market.fresh_name();
    RegisterAccessKey {
        session,
        sequence,
        request,
        account: account_of(participant, dice),
        key: AccessKey([dice.below(256) as u8; 32]),
        ..RegisterAccessKey::blank()
    }
    .bytes()
    .to_vec()
}

fn session_activity(market: &mut Market, dice: &mut Dice) -> Vec<u8> {
    let permission = dice.pick(&[Permissions::NONE, Permissions::OPERATOR]);
    let (session, sequence, participant) = sender_or_exchange(market, dice, permission);
    let request = market.fresh_name();
    SessionActivityRequest {
        session,
        sequence,
        request,
        target: target(Scope::Session, market, dice, participant),
        ..SessionActivityRequest::blank()
    }
    .bytes()
    .to_vec()
}

fn list(market: &mut Market, dice: &mut Dice, now: Nanos) -> Vec<u8> {
    let (session, sequence, _) = sender_or_exchange(market, dice, Permissions::OPERATOR);
    let mut command = market.listing(dice, now);
    command.session = session;
    command.sequence = sequence;
    command.request = market.fresh_name();
    if dice.percent(10) {
        command.instrument = any_instrument(market, dice);
    }
    command.bytes().to_vec()
}

fn create(market: &mut Market, dice: &mut Dice) -> Vec<u8> {
    let (session, sequence, _) = sender_or_exchange(market, dice, Permissions::OPERATOR);
    let request = market.fresh_name();
    let participant = ParticipantId(dice.below(7) as u32);
    let name = Text32::new("Another name").unwrap_or_default();
    match dice.below(3) {
        0 => CreateParticipant {
            session,
            sequence,
            request,
            participant,
            name,
            ..CreateParticipant::blank()
        }
        .bytes()
        .to_vec(),
        1 => CreateAccount {
            session,
            sequence,
            request,
            account: AccountId(dice.between(98, 125) as u32),
            participant,
            name,
            ..CreateAccount::blank()
        }
        .bytes()
        .to_vec(),
        _ => CreateSession {
            session,
            sequence,
            request,
            new_session: SessionId(dice.below(20) as u32),
            participant,
            permissions: Permissions(dice.below(36) as u32),
            throttle_rate: dice.below(3) as u32,
            throttle_burst: dice.below(3) as u32,
            ..CreateSession::blank()
        }
        .bytes()
        .to_vec(),
    }
}

fn delivery(market: &mut Market, dice: &mut Dice) -> Vec<u8> {
    let (session, sequence, _) = sender_or_exchange(market, dice, Permissions::SETTLEMENT);
    let request = market.fresh_name();
    let (id, hours) = dice.try_pick(&market.obligations).unwrap_or((0, 1));
    let obligation = ObligationId(if dice.percent(5) { dice.below(9) } else { id });
    let window = u64::from(hours) * Nanos::HOUR.0;
    let verified = Nanos(match dice.below(8) {
        0 => window + 1,
        1 => 0,
        2..5 => window,
        _ => dice.below(window),
    });
    match dice.below(5) {
        0..2 => DeliveryStarted {
            session,
            sequence,
            obligation,
            host_key: Digest([7; 32]),
            address: Ipv4([127, 0, 0, 1]),
            port: 2_222,
            ..DeliveryStarted::blank()
        }
        .bytes()
        .to_vec(),
        2..4 => ConfirmDelivery {
            session,
            sequence,
            request,
            obligation,
            verified,
            ..ConfirmDelivery::blank()
        }
        .bytes()
        .to_vec(),
        _ => DeliveryFailed {
            session,
            sequence,
            request,
            obligation,
            verified,
            ..DeliveryFailed::blank()
        }
        .bytes()
        .to_vec(),
    }
}

fn session_news(market: &mut Market, dice: &mut Dice, now: Nanos) -> Vec<u8> {
    let everyone: Vec<usize> = (0..market.sessions.len()).collect();
    let away: Vec<usize> = everyone
        .iter()
        .copied()
        .filter(|place| !market.sessions[*place].ready)
        .collect();
    let place = match dice.try_pick(&away) {
        Some(place) if dice.percent(85) => place,
        _ => dice.pick(&everyone),
    };
    let session = market.sessions[place];
    match dice.below(10) {
        0 => {
            let mut command = market.open(place);
            if dice.percent(15) {
                command.version = SessionVersion(dice.below(command.version.0 + 1));
            }
            if dice.percent(5) {
                command.session = SessionId(dice.below(30) as u32);
            }
            command.bytes().to_vec()
        }
        1..4 if session.ready => CloseSession {
            session: session.id,
            version: SessionVersion(session.version),
            connection: session.connection + u64::from(dice.percent(5)),
            cause: dice
                .pick(&[
                    DisconnectCause::ClientTerminated,
                    DisconnectCause::ClientTerminated,
                    DisconnectCause::ConnectionLost,
                    DisconnectCause::SlowReader,
                    DisconnectCause::KeepAliveMissed,
                ])
                .into(),
            ..CloseSession::blank()
        }
        .bytes()
        .to_vec(),
        _ => {
            let mut command = market.make_ready(place, dice, now);
            match dice.below(40) {
                0 => command.version = SessionVersion(dice.below(4)),
                1 => command.timestamp = Nanos(dice.below(2)),
                2 => command.next_sequence = MessageSequence(dice.below(9) as u32),
                3 => command.cancel_mode = Raw::new(dice.below(6) as u8),
                4 => command.session = SessionId(dice.below(30) as u32),
                _ => {}
            }
            command.bytes().to_vec()
        }
    }
}
