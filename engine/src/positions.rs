//! Positions and what they keep locked, with open orders counted at their worst.
//!
//! Called by `execute` when orders are accepted, filled, shrunk or cancelled, and when an
//! instrument is marked.
//!
//! Always holds: the lock in the ledger is the function of net position, open orders and settlement
//! price that the rulebook gives (4.3); it is kept by differences and checked by the slow twin.

use exahour_wire::codes::Side;
use exahour_wire::ids::{AccountId, InstrumentId};
use exahour_wire::limits::{HOURS_MAX, PRICE_MAX, QUANTITY_MAX};
use exahour_wire::units::{Price, Quantity};

use crate::by_side::{BySide, signed};
use crate::capacity::Capacity;
use crate::slot_index::SlotIndex;
use crate::terms::Terms;

/// One account in one instrument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) account: AccountId,
    pub(crate) instrument: InstrumentId,
    /// Lots held: long is positive.
    pub(crate) net: i64,
    /// Lots of open orders.
    pub(crate) open: BySide<u64>,
    /// What open buys would pay at once above the settlement price, and open sells below it.
    pub(crate) adverse: BySide<i128>,
    /// What of the ledger's lock is this position's.
    pub(crate) lock: i128,
    /// The limit set for the account; `u64::MAX` where none is.
    pub(crate) position_max: u64,
}

impl Position {
    /// Nothing held, nothing open.
    pub(crate) fn new(account: AccountId, instrument: InstrumentId) -> Self {
        Self {
            account,
            instrument,
            net: 0,
            open: BySide::default(),
            adverse: BySide::default(),
            lock: 0,
            position_max: u64::MAX,
        }
    }

    /// Adds an open order, or a part of one.
    #[inline]
    pub(crate) fn open(&mut self, side: Side, quantity: u64, adverse: i128) {
        *self.open.at_mut(side) += quantity;
        *self.adverse.at_mut(side) += adverse;
    }

    /// Takes away an open order, or a part of one.
    #[inline]
    pub(crate) fn close(&mut self, side: Side, quantity: u64, adverse: i128) {
        let open = self.open.at_mut(side);
        assert!(*open >= quantity);
        *open -= quantity;
        *self.adverse.at_mut(side) -= adverse;
    }

    /// Books a trade.
    #[inline]
    pub(crate) fn trade(&mut self, side: Side, quantity: u64) {
        // Positions are capped far below 63 bits by the terms.
        self.net += signed(side, quantity as i64);
    }

    /// The most lots that could be held on `side` if its open orders all traded.
    #[inline]
    pub(crate) fn worst(&self, side: Side) -> i64 {
        // At most twice a position cap and one order more: far below 63 bits.
        self.open.at(side).cast_signed() + signed(side, self.net)
    }

    /// What must be locked at this settlement price.
    #[inline]
    pub(crate) fn required(&self, terms: &Terms, settlement: Price) -> i128 {
        let (long, short) = terms.margins(settlement);
        let bought = wide_product(self.worst(Side::Buy).max(0), long);
        let sold = wide_product(self.worst(Side::Sell).max(0), short);
        bought.max(sold) + self.adverse.at(Side::Buy) + self.adverse.at(Side::Sell)
    }

    /// What it would be with `more` lots open on a side in place of `fewer`, each with what they would
    /// pay at once.
    #[inline(always)]
    pub(crate) fn with_open(
        &self,
        side: Side,
        (fewer, freed): (u64, i128),
        (more, taken): (u64, i128),
        terms: &Terms,
        settlement: Price,
    ) -> Change {
        let other = side.opposite();
        let open = *self.open.at(side) - fewer + more;
        let adverse = *self.adverse.at(side) - freed + taken;
        let worst = open.cast_signed() + signed(side, self.net);
        let (long, short) = terms.margins(settlement);
        let margins = BySide::new(long, short);
        let this = wide_product(worst.max(0), *margins.at(side));
        let opposite = wide_product(self.worst(other).max(0), *margins.at(other));
        let lock = this.max(opposite) + adverse + self.adverse.at(other);
        Change {
            side,
            open,
            adverse,
            lock,
            more: lock - self.lock,
            worst,
        }
    }

    /// Makes a change.
    #[inline]
    pub(crate) fn take(&mut self, change: &Change) {
        *self.open.at_mut(change.side) = change.open;
        *self.adverse.at_mut(change.side) = change.adverse;
        self.lock = change.lock;
    }

    /// The largest position that may be reached.
    #[inline]
    pub(crate) fn limit(&self, terms: &Terms) -> i64 {
        // The cap is within the range of money.
        self.position_max.min(terms.position_cap.0).cast_signed()
    }
}

/// What an open order at `limit` would pay at once when it trades, against the settlement price.
#[inline]
pub(crate) fn adverse(
    side: Side,
    limit: Price,
    settlement: Price,
    quantity: Quantity,
    terms: &Terms,
) -> i128 {
    let distance = signed(side, limit.0 - settlement.0).max(0);
    let lot_hours = quantity.0.cast_signed() * i64::from(terms.hours.0);
    wide_product(distance, lot_hours)
}

/// The exact product: one multiplication, where two factors of 128 bits would take three.
#[inline]
fn wide_product(left: i64, right: i64) -> i128 {
    i128::from(left) * i128::from(right)
}

// The lot hours of the largest order fit 63 bits, and so does what a lot keeps locked.
const _: () = {
    let hours = HOURS_MAX.0 as u128;
    assert!(QUANTITY_MAX.0 as u128 * hours < 1 << 63);
    assert!(PRICE_MAX.0 as u128 * hours < 1 << 63);
};

/// What would change of a position with other open orders on one side. Only this is written then: a
/// position that was copied, changed in part and copied back would make the processor wait for itself.
pub(crate) struct Change {
    side: Side,
    open: u64,
    adverse: i128,
    lock: i128,
    /// What it would lock beyond what it locks now; negative where that is less.
    pub(crate) more: i128,
    /// The most lots that could be held on that side.
    pub(crate) worst: i64,
}

/// All positions.
pub(crate) struct Positions {
    positions: Vec<Position>,
    index: SlotIndex,
    /// Where keys were found last: an account mostly trades what it has just traded.
    recent: Box<[u32; RECENT]>,
}

/// Places that are remembered: a few times the accounts that are busy at once.
const RECENT: usize = 1_024;

/// How far apart the same account's places in neighbouring instruments are remembered.
const NEIGHBOURS_APART: u32 = 97;

impl Positions {
    /// Room for this many.
    pub(crate) fn new(capacity: &Capacity) -> Self {
        let room = capacity.positions as usize;
        Self {
            positions: Vec::with_capacity(room),
            index: SlotIndex::new(room, capacity.index_seed),
            recent: Box::new([0; RECENT]),
        }
    }

    #[inline]
    fn hash(&self, account: AccountId, instrument: InstrumentId) -> u32 {
        self.index
            .hash_of(u64::from(instrument.0), u64::from(account.0))
    }

    /// The place of a position, where there is one.
    #[inline]
    pub(crate) fn find(&self, account: AccountId, instrument: InstrumentId) -> Option<u32> {
        self.index.find(self.hash(account, instrument), |slot| {
            let position = &self.positions[slot as usize];
            position.account == account && position.instrument == instrument
        })
    }

    /// As [`Positions::find`], at once where the same was asked a short while ago.
    #[inline]
    pub(crate) fn find_again(
        &mut self,
        account: AccountId,
        instrument: InstrumentId,
    ) -> Option<u32> {
        let key = account
            .0
            .wrapping_add(instrument.0.wrapping_mul(NEIGHBOURS_APART)) as usize;
        let slot = self.recent[key % RECENT];
        let is_it =
            |position: &Position| position.account == account && position.instrument == instrument;
        if self.positions.get(slot as usize).is_some_and(is_it) {
            return Some(slot);
        }
        let slot = self.find(account, instrument)?;
        self.recent[key % RECENT] = slot;
        Some(slot)
    }

    /// The place of a position, which is made where there is none.
    pub(crate) fn find_or_make(&mut self, account: AccountId, instrument: InstrumentId) -> u32 {
        if let Some(slot) = self.find(account, instrument) {
            return slot;
        }
        let slot = self.positions.len() as u32;
        self.positions.push(Position::new(account, instrument));
        self.index.insert(self.hash(account, instrument), slot);
        slot
    }

    /// The position at a place.
    #[inline]
    pub(crate) fn at(&self, slot: u32) -> &Position {
        &self.positions[slot as usize]
    }

    /// As [`Positions::at`], to change.
    #[inline]
    pub(crate) fn at_mut(&mut self, slot: u32) -> &mut Position {
        &mut self.positions[slot as usize]
    }

    /// The places of all positions in an instrument, by account.
    pub(crate) fn of_instrument(&self, instrument: InstrumentId) -> Vec<u32> {
        let mut slots: Vec<u32> = (0..self.positions.len() as u32)
            .filter(|slot| self.at(*slot).instrument == instrument)
            .collect();
        slots.sort_unstable_by_key(|slot| self.at(*slot).account);
        slots
    }

    /// All positions, in the order in which they were made.
    pub(crate) fn all(&self) -> &[Position] {
        &self.positions
    }
}
