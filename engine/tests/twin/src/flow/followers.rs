//! More pegged orders than one command may move.

use exahour_wire::codes::{OrderType, PegReference, Scope, Side, TimeInForce};
use exahour_wire::ids::{AccountId, ClientOrderId, InstrumentId, MessageSequence, SessionId};
use exahour_wire::message::Message;
use exahour_wire::orders::{CancelOrder, MassCancel, NewAdvancedOrder, NewOrder};
use exahour_wire::units::{Nanos, Price, Quantity};

use super::limits::{REFERENCE, contract, member};

/// Members who follow, numbered from 1.
pub const FOLLOWERS: u32 = 9;
const LEADER: u32 = FOLLOWERS + 1;
const OTHER: u32 = FOLLOWERS + 2;

/// A market of contracts, and what each of its members has sent so far.
#[derive(Debug, Default)]
pub struct Followers {
    sent: [u32; OTHER as usize + 1],
}

impl Followers {
    /// Members and so many contracts.
    #[must_use]
    pub fn set_up(contracts: u32) -> Vec<Vec<u8>> {
        let members = (1..=OTHER).flat_map(member);
        let contracts = (1..=contracts).map(|id| contract(id, Nanos::DAY));
        members.chain(contracts).collect()
    }

    fn next(&mut self, member: u32) -> u32 {
        let sent = &mut self.sent[member as usize];
        *sent += 1;
        *sent
    }

    /// A follower's pegged order to buy a lot at the best bid, named as the number of its message.
    pub fn follow(&mut self, follower: u32, contract: u32) -> Vec<u8> {
        let number = self.next(follower);
        let command = NewAdvancedOrder {
            session: SessionId(follower),
            sequence: MessageSequence(number),
            client_order_id: ClientOrderId(u64::from(number)),
            price: Price(REFERENCE),
            quantity: Quantity(1),
            account: AccountId(100 + follower),
            instrument: InstrumentId(contract),
            side: Side::Buy.into(),
            order_type: OrderType::Pegged.into(),
            time_in_force: TimeInForce::GoodTillCancelled.into(),
            peg: PegReference::Primary.into(),
            stop_price: Price::NONE,
            stop_limit: Price::NONE,
            ..NewAdvancedOrder::blank()
        };
        command.bytes().to_vec()
    }

    /// A bid so many ticks below the reference: a better one than before is followed.
    pub fn lead(&mut self, contract: u32, below: u32) -> Vec<u8> {
        self.plain(LEADER, contract, Side::Buy, REFERENCE - i64::from(below))
    }

    /// An offer or a bid of a third member at the reference itself.
    pub fn other(&mut self, contract: u32, side: Side) -> Vec<u8> {
        self.plain(OTHER, contract, side, REFERENCE)
    }

    /// A stop order to sell a lot that a trade at the reference elects.
    pub fn stop(&mut self, contract: u32) -> Vec<u8> {
        let number = self.next(OTHER);
        let command = NewAdvancedOrder {
            session: SessionId(OTHER),
            sequence: MessageSequence(number),
            client_order_id: ClientOrderId(u64::from(number)),
            price: Price(REFERENCE + 1),
            quantity: Quantity(1),
            account: AccountId(100 + OTHER),
            instrument: InstrumentId(contract),
            side: Side::Sell.into(),
            order_type: OrderType::StopLimit.into(),
            time_in_force: TimeInForce::GoodTillCancelled.into(),
            stop_price: Price(REFERENCE),
            stop_limit: Price::NONE,
            ..NewAdvancedOrder::blank()
        };
        command.bytes().to_vec()
    }

    /// Takes a follower's pegged order back.
    pub fn unfollow(&mut self, follower: u32, contract: u32, name: u64) -> Vec<u8> {
        let number = self.next(follower);
        let command = CancelOrder {
            session: SessionId(follower),
            sequence: MessageSequence(number),
            client_order_id: ClientOrderId(name),
            instrument: InstrumentId(contract),
            ..CancelOrder::blank()
        };
        command.bytes().to_vec()
    }

    /// Takes back whatever the leader has bid, in all contracts.
    pub fn abandon(&mut self) -> Vec<u8> {
        let number = self.next(LEADER);
        let command = MassCancel {
            session: SessionId(LEADER),
            sequence: MessageSequence(number),
            request: ClientOrderId(u64::from(number)),
            target: LEADER,
            scope: Scope::Session.into(),
            ..MassCancel::blank()
        };
        command.bytes().to_vec()
    }

    fn plain(&mut self, member: u32, contract: u32, side: Side, price: i64) -> Vec<u8> {
        let number = self.next(member);
        let command = NewOrder {
            session: SessionId(member),
            sequence: MessageSequence(number),
            client_order_id: ClientOrderId(u64::from(number)),
            price: Price(price),
            quantity: Quantity(1),
            account: AccountId(100 + member),
            instrument: InstrumentId(contract),
            side: side.into(),
            order_type: OrderType::Limit.into(),
            time_in_force: TimeInForce::GoodTillCancelled.into(),
            ..NewOrder::blank()
        };
        command.bytes().to_vec()
    }
}
