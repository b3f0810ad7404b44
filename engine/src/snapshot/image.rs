//! The whole state in plain integers, as a snapshot stores it.
//!
//! Made by `take`, read by `restore`. The archived forms of these structs are the format: after any
//! change here [`FORMAT`] must grow, and snapshots of older formats are not read any more, because a
//! replay can always take their place.
//!
//! Always holds: nothing is in it twice, and nothing that follows from the rest (timers, indexes,
//! levels) is in it at all. Amounts are micro-dollars, times nanoseconds, quantities lots.

use rkyv::{Archive, Deserialize, Serialize};

/// The version of the format.
pub const FORMAT: u32 = 12;

#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(crate) struct StateImage {
    pub(super) now: u64,
    pub(super) counters: CountersImage,
    pub(super) participants: Vec<ParticipantImage>,
    pub(super) accounts: Vec<AccountImage>,
    pub(super) sessions: Vec<SessionImage>,
    /// In the order in which they were made, which open orders refer to.
    pub(super) positions: Vec<PositionImage>,
    pub(super) instruments: Vec<InstrumentImage>,
    /// By number, from one.
    pub(super) obligations: Vec<ObligationImage>,
    /// The latest, the oldest of these first.
    pub(super) trades: Vec<TradeImage>,
    /// Free places of the order table, the next one to be used first.
    pub(super) free_slots: Vec<u32>,
    /// What checkpoints to come may be compared with, oldest first.
    pub(super) hashes: Vec<HashImage>,
}

#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct CountersImage {
    pub(super) events: u64,
    pub(super) orders: u64,
    pub(super) trades: u64,
    pub(super) transfers: u64,
    pub(super) auction_seed: [u8; 32],
    pub(super) orders_max: u32,
    /// The end of day for which a timer was set last.
    pub(super) day_end: u64,
    /// When is carried on what a command left: stop orders to let in, pegged orders to move.
    pub(super) elect_at: u64,
    /// The instrument from which pegged orders are moved next.
    pub(super) peg_turn: u32,
    /// Which rules are in force.
    pub(super) behaviour: u32,
    /// The command that put them in force; zero where none did.
    pub(super) behaviour_since: u64,
}

#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) enum SwitchImage {
    Released,
    Engaged,
    /// By this session; zero is the exchange itself.
    ReleaseRequested(u32),
}

#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct ParticipantImage {
    pub(super) id: u32,
    pub(super) kill_switch: SwitchImage,
}

#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct AccountImage {
    pub(super) id: u32,
    /// Zero for the exchange's own.
    pub(super) participant: u32,
    pub(super) kill_switch: SwitchImage,
    pub(super) balance: i128,
    pub(super) locked: i128,
    pub(super) access_key: [u8; 32],
    pub(super) access_session: u32,
}

#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct SessionImage {
    pub(super) id: u32,
    pub(super) participant: u32,
    pub(super) permissions: u32,
    pub(super) version: u64,
    pub(super) connection: u64,
    pub(super) established_at: u64,
    pub(super) expected: u32,
    pub(super) next_report: u32,
    pub(super) ready: bool,
    pub(super) kill_switch: SwitchImage,
    pub(super) throttle: ThrottleImage,
    pub(super) cancel_mode: u8,
    pub(super) cancel_grace_ms: u32,
    pub(super) cancel_at: u64,
    /// Zero where it asked for no watch.
    pub(super) dead_man_ms: u32,
    pub(super) heard_at: u64,
    pub(super) activity: ActivityImage,
}

/// Since the UTC day began.
#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct ActivityImage {
    pub(super) orders: u64,
    pub(super) replaces: u64,
    pub(super) cancels: u64,
    pub(super) rejects: u64,
    pub(super) trades: u64,
    pub(super) lots_ordered: u64,
    pub(super) lots_traded: u64,
}

#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct ThrottleImage {
    pub(super) rate: u32,
    pub(super) burst: u32,
    /// Billionths of a message.
    pub(super) tokens: u64,
    pub(super) last: u64,
    pub(super) refusals: u32,
}

#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct PositionImage {
    pub(super) account: u32,
    pub(super) instrument: u32,
    pub(super) net: i64,
    pub(super) open_buy: u64,
    pub(super) open_sell: u64,
    pub(super) adverse_buy: i128,
    pub(super) adverse_sell: i128,
    pub(super) lock: i128,
    pub(super) position_max: u64,
}

#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct InstrumentImage {
    pub(super) id: u32,
    pub(super) terms: TermsImage,
    pub(super) settlement: i64,
    pub(super) last_trade: Option<i64>,
    pub(super) expired: bool,
    pub(super) trading: TradingImage,
    /// Best price first, oldest first.
    pub(super) bids: Vec<OrderImage>,
    pub(super) asks: Vec<OrderImage>,
    /// Stop prices that wait: buys, then sells, the nearest first.
    pub(super) waiting: Vec<StopImage>,
    /// Those that were reached, in the order in which their orders are let in.
    pub(super) elected: Vec<StopImage>,
    /// Pegged orders, in the order in which they move.
    pub(super) pegs: Vec<PegImage>,
}

/// A pegged order, and what it moves with.
#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct PegImage {
    pub(super) reference: u8,
    pub(super) offset: i64,
    pub(super) place: PegPlaceImage,
}

/// Where a pegged order is.
#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) enum PegPlaceImage {
    /// It waits, and stands in no book.
    Waits { side: u8, order: OrderImage },
    /// It stands in the book, for this target.
    Stands { order: u64, aim: i64 },
}

/// A stop price, and whose it is.
#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct StopImage {
    pub(super) stop_price: i64,
    pub(super) side: u8,
    pub(super) order: StoppedImage,
}

impl StopImage {
    /// Whether its order is not in the market.
    pub(super) fn is_parked(&self) -> bool {
        matches!(self.order, StoppedImage::Parked(_))
    }
}

/// The order of a stop price.
#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) enum StoppedImage {
    /// It is not in the market.
    Parked(OrderImage),
    /// It is in the book under this id, and comes with this limit, of its own or none of its own.
    InBook { id: u64, limit: i64, unpriced: bool },
}

#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct TradingImage {
    /// When phases begin, in milliseconds after midnight; all zero for no trading day.
    pub(super) day: [u32; 4],
    pub(super) random_end_ms: u32,
    pub(super) collar_ppm: u32,
    pub(super) allocation: u8,
    pub(super) phase: u8,
    pub(super) due: u64,
    pub(super) call: Option<CallImage>,
    pub(super) guard: Option<GuardImage>,
}

/// A call; what its unpriced orders come to follows from the orders.
#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct CallImage {
    pub(super) reference: i64,
    pub(super) low: i64,
    pub(super) high: i64,
    pub(super) drawn: bool,
    pub(super) reopening: u8,
    /// What was published last: price, lots, surplus of buyers and of sellers.
    pub(super) told_price: i64,
    pub(super) told: [u64; 3],
    pub(super) tell_at: u64,
}

/// What guards prices.
#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct GuardImage {
    pub(super) breaker: Option<BreakerImage>,
    pub(super) band: Option<BandImage>,
}

/// A price band, and what it has seen.
#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct BandImage {
    pub(super) width_ppm: u32,
    /// Oldest first.
    pub(super) seconds: Vec<SecondImage>,
    /// Since when quotes have leaned on its edge.
    pub(super) since: Option<u64>,
    /// What was published last: lowest and highest price, and when trading pauses.
    pub(super) told: Option<(i64, i64, u64)>,
    pub(super) look_at: u64,
}

/// A circuit breaker, and what it has counted.
#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct BreakerImage {
    pub(super) threshold_ppm: u32,
    pub(super) linked: u32,
    /// Oldest first.
    pub(super) seconds: Vec<SecondImage>,
    pub(super) running: Option<RunningImage>,
    /// Ends of intervals and their prices, oldest first.
    pub(super) intervals: Vec<(u64, i64)>,
}

#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct SecondImage {
    pub(super) number: u64,
    pub(super) low: i64,
    pub(super) high: i64,
    pub(super) sum: u128,
    pub(super) count: u64,
}

#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct RunningImage {
    pub(super) end: u64,
    pub(super) value: u128,
    pub(super) lots: u64,
    pub(super) trades: u64,
    pub(super) last: i64,
}

#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct TermsImage {
    pub(super) kind: u8,
    pub(super) hours: u32,
    pub(super) tick: i64,
    pub(super) price_cap: i64,
    pub(super) position_cap: u64,
    pub(super) initial_margin: i64,
    pub(super) quantity_max: u64,
    pub(super) notional_max: i64,
    pub(super) collar_ppm: u32,
    pub(super) protection_ppm: u32,
    pub(super) reference_price: i64,
    pub(super) delivery_start: u64,
    pub(super) last_trade_at: u64,
}

/// An order; its place in the table is in its id, its side and instrument are where it stands.
#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct OrderImage {
    pub(super) id: u64,
    pub(super) price: i64,
    pub(super) leaves: u64,
    pub(super) total: u64,
    pub(super) client_order_id: u64,
    pub(super) expire_at: u64,
    pub(super) session: u32,
    pub(super) account: u32,
    /// The place of its position.
    pub(super) position: u32,
    pub(super) time_in_force: u8,
    pub(super) self_trade_prevention: u8,
    pub(super) flags: u8,
    /// What an iceberg order shows at a time and what it hides; `leaves` are shown. Else zeros.
    pub(super) display: u64,
    pub(super) hidden: u64,
    /// What it is held at, where that is another price than its own. Else zero.
    pub(super) held: i64,
}

/// A trade as it stands: without lots where it was busted.
#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct TradeImage {
    pub(super) time: u64,
    pub(super) instrument: u32,
    pub(super) price: i64,
    pub(super) quantity: u64,
    pub(super) buyer: PartyImage,
    pub(super) seller: PartyImage,
}

#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct PartyImage {
    pub(super) order: u64,
    pub(super) session: u32,
    pub(super) account: u32,
}

#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct ObligationImage {
    pub(super) buyer: u32,
    pub(super) seller: u32,
    pub(super) hours: u32,
    pub(super) value: i64,
    pub(super) collateral: i128,
    pub(super) settled: bool,
}

#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct HashImage {
    pub(super) after: u64,
    pub(super) hash: [u8; 32],
}
