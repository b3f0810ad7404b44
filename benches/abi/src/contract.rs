//! The benchmark's words, as its C header `matching_engine_api.h` lays them out.
//!
//! Always holds: sizes and offsets are those of the header; the last lines check the sizes.

use std::ffi::c_int;

use bytemuck::{Pod, Zeroable};

/// A new order.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct NewOrder {
    /// The client's name for it; small numbers, given out in a row.
    pub order_id: u64,
    /// The number of the message.
    pub sequence: u64,
    /// The limit, in ticks.
    pub price: i64,
    /// Lots.
    pub quantity: u32,
    /// 0 to buy, 1 to sell.
    pub side: u8,
    /// 1 where what is not filled at once is cancelled.
    pub immediate: u8,
    /// Unused.
    pub reserved: [u8; 2],
}

/// A cancel.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Cancel {
    /// Which order.
    pub order_id: u64,
    /// The number of the message.
    pub sequence: u64,
}

/// A new price and quantity for an order, which loses its place.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Modify {
    /// Which order.
    pub order_id: u64,
    /// The number of the message.
    pub sequence: u64,
    /// The new limit, in ticks.
    pub price: i64,
    /// The new open lots.
    pub quantity: u32,
    /// The side of the order.
    pub side: u8,
    /// Unused.
    pub reserved: [u8; 3],
}

/// One message of a batch: its kind, then room for the largest.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Message {
    /// 0 new, 1 cancel, 2 modify.
    pub kind: u8,
    /// Unused.
    pub reserved: [u8; 7],
    /// The bytes of a [`NewOrder`], a [`Cancel`] or a [`Modify`].
    pub body: [u64; 4],
}

impl Message {
    /// The name of the order it is about.
    #[inline(always)]
    #[must_use]
    pub fn order_id(&self) -> u64 {
        self.body[0]
    }

    /// The body of a new order.
    #[inline(always)]
    #[must_use]
    pub fn new_order(&self) -> &NewOrder {
        bytemuck::cast_ref(&self.body)
    }

    /// The body of a cancel.
    #[inline(always)]
    #[must_use]
    pub fn cancel(&self) -> &Cancel {
        let [cancel, _]: &[Cancel; 2] = bytemuck::cast_ref(&self.body);
        cancel
    }

    /// The body of a modify.
    #[inline(always)]
    #[must_use]
    pub fn modify(&self) -> &Modify {
        bytemuck::cast_ref(&self.body)
    }
}

/// The kinds of report.
pub mod kind {
    /// A new order was accepted.
    pub const ORDER_ACK: u8 = 0;
    /// A trade.
    pub const TRADE: u8 = 1;
    /// An order, or what was left of an immediate one, was cancelled.
    pub const CANCEL_ACK: u8 = 2;
    /// An order was changed.
    pub const MODIFY_ACK: u8 = 3;
    /// There is no such order to cancel.
    pub const CANCEL_REJECT: u8 = 4;
    /// There is no such order to change.
    pub const MODIFY_REJECT: u8 = 5;
}

/// A report: one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Report {
    /// One of [`kind`].
    pub kind: u8,
    /// The side of the order it is about, where that means anything.
    pub side: u8,
    /// Unused.
    pub reserved: [u8; 6],
    /// The number of the message that caused it.
    pub sequence: u64,
    /// The order it is about; in a trade none.
    pub order_id: u64,
    /// A limit; in a trade that of the resting order.
    pub price: i64,
    /// Lots.
    pub quantity: u32,
    /// Unused.
    pub reserved_2: u32,
    /// In a trade, the resting order.
    pub maker: u64,
    /// In a trade, the order that arrived.
    pub taker: u64,
    /// Unused.
    pub reserved_3: u64,
}

/// How reports are carried: five functions over a handle.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Transport<Q> {
    /// Makes one with room for so many reports.
    pub create: unsafe extern "C" fn(u32) -> *mut Q,
    /// Carries one report; 0 where it is full.
    pub push: unsafe extern "C" fn(*mut Q, *const Report) -> c_int,
    /// Takes up to so many reports, and says how many.
    pub drain: unsafe extern "C" fn(*mut Q, *mut Report, u32) -> u32,
    /// Makes visible what was carried.
    pub flush: unsafe extern "C" fn(*mut Q),
    /// Ends it.
    pub destroy: unsafe extern "C" fn(*mut Q),
}

const _: () = assert!(size_of::<NewOrder>() == 32);
const _: () = assert!(size_of::<Cancel>() == 16);
const _: () = assert!(size_of::<Modify>() == 32);
const _: () = assert!(size_of::<Message>() == 40);
const _: () = assert!(size_of::<Report>() == 64);
