//! Every limit has a name, and limits are checked against each other at compile time.
//!
//! Used by whoever allocates, refuses or indexes.

use crate::ids::AccountId;
use crate::units::{Hours, Millis, Money, PartsPerMillion, Price, Quantity};

/// A record of the journal is a whole number of these.
pub const RECORD_LINE_BYTES: usize = 64;

/// The longest message that may cross a socket, header included, framing excluded.
pub const MESSAGE_BYTES_MAX: usize = 256;

/// The shortest message: a bare header.
pub const MESSAGE_BYTES_MIN: usize = 8;

/// The highest price of an order: one million dollars per Compute Hour.
pub const PRICE_MAX: Price = Price(1_000_000_000_000);

/// How far above its listing reference the price of an instrument may ever go, as a factor.
///
/// It bounds the value of every position exactly, so that marking one can never overflow.
pub const PRICE_RANGE_FACTOR: i64 = 100;

/// The largest quantity of an order.
pub const QUANTITY_MAX: Quantity = Quantity(1_000_000_000_000);

/// The longest delivery window: one leap year.
pub const HOURS_MAX: Hours = Hours(8_784);

/// The largest amount that one posting, one order's value or one position's value may reach.
///
/// A quarter of what 64 bits hold, so that sums of a balance, a reservation and one more amount
/// stay exact before they are checked.
pub const MONEY_MAX: Money = Money(i64::MAX / 4);

/// The largest net position in one instrument, in lots.
pub const POSITION_MAX: Quantity = Quantity(1_000_000_000_000_000);

/// The first account id that a participant may own; lower ones are the exchange's own.
pub const FIRST_ACCOUNT: AccountId = AccountId(100);

/// The most sessions, accounts, participants and instruments that one node can hold.
pub const SESSIONS_MAX: u32 = 65_535;
/// See [`SESSIONS_MAX`].
pub const ACCOUNTS_MAX: u32 = 1_048_575;
/// See [`SESSIONS_MAX`].
pub const PARTICIPANTS_MAX: u32 = 65_535;
/// See [`SESSIONS_MAX`].
pub const INSTRUMENTS_MAX: u32 = 65_535;

/// The most live orders that order ids can name.
pub const ORDERS_MAX: u32 = 1 << 24;

/// The most messages a retransmission may carry.
pub const RETRANSMIT_COUNT_MAX: u32 = 65_536;

/// The most by which chance may delay an auction.
pub const RANDOM_END_MAX: Millis = Millis(60_000);

/// How long a circuit breaker halts trading, and by how much such a halt may be extended.
pub const BREAKER_HALT: Millis = Millis(300_000);

/// For how long after the opening auction a price band is twice as wide.
pub const BAND_OPENING: Millis = Millis(15 * 60_000);

/// For how long before the closing call a price band is twice as wide.
pub const BAND_CLOSING: Millis = Millis(25 * 60_000);

/// How often the outlook of an auction is published, at most.
pub const INDICATIVE_INTERVAL: Millis = Millis(100);

/// How many stop orders one command, or one batch's timers, may let into the market, and pegged orders move.
pub const ELECTIONS_MAX: u32 = 64;

/// The most pegged orders that an instrument may have.
///
/// It bounds how many orders stand before the one whose price they follow.
pub const PEGGED_MAX: usize = 64;

/// The most of them that one participant may have: no one takes all places.
pub const PEGGED_OWN_MAX: usize = 8;

/// What one command may carry out is enough to move every pegged order of an instrument.
const _: () = assert!(PEGGED_MAX <= ELECTIONS_MAX as usize && PEGGED_OWN_MAX < PEGGED_MAX);

/// The most parts in which an iceberg order shows itself: it shows at least so small a part of all.
///
/// It bounds how many trades one order can add to what an order that comes may cause.
pub const DISPLAY_PARTS_MAX: u64 = 100;

/// Messages refused by the throttle in a row before the session is logged out.
pub const THROTTLE_REFUSALS_MAX: u32 = 100;

/// How many of the latest trades are remembered, so that they can still be busted or corrected.
pub const TRADES_KEPT: u32 = 65_536;

/// What a seller pays the buyer beyond the refund, of the value that was not delivered.
pub const NON_DELIVERY_PENALTY: PartsPerMillion = PartsPerMillion(100_000);

/// The exchange's own ledger accounts.
pub const BANK_ACCOUNT: AccountId = AccountId(1);
/// Where variation margin passes through; zero between commands.
pub const CLEARING_ACCOUNT: AccountId = AccountId(2);
/// What buyers have paid for windows that are not settled yet.
pub const ESCROW_ACCOUNT: AccountId = AccountId(3);

/// The most messages in one batch: one journal frame, one raft entry.
pub const BATCH_MESSAGES_MAX: usize = 1_024;

// The count of a journal frame is 16 bits wide.
const _: () = assert!(BATCH_MESSAGES_MAX <= u16::MAX as usize);
// A command fills whole lines, so the longest message must be whole lines too.
const _: () = assert!(MESSAGE_BYTES_MAX.is_multiple_of(RECORD_LINE_BYTES));
// Any position, at any price, must be valued in 128 bits without overflow.
const _: () = assert!(POSITION_MAX.0 < 1 << 50 && PRICE_MAX.0 < 1 << 40 && HOURS_MAX.0 < 1 << 14);
// What all parts come to must be counted in 64 bits.
const _: () = assert!(QUANTITY_MAX.0 < u64::MAX / DISPLAY_PARTS_MAX);
// A position must be able to hold the largest order many times over.
const _: () = assert!(POSITION_MAX.0 >= QUANTITY_MAX.0 * 100);
