//! An ordered log of opaque frames in memory-mapped segment files.
//!
//! Used for the command journal, which is the raft log, and for the event log that is derived from
//! it. [`Journal::open`] recovers a log and gives its three ends: an [`Appender`] for the thread
//! that decides the order, a [`Flusher`] for a disk agent, a [`Stager`] for the background. Any
//! number of [`Reader`]s, in any process, follow it through their own maps.
//!
//! Always holds: an appended frame is visible at once and survives the process; a frame below the
//! durable mark survives the machine; recovery never skips or alters one.
//! Does not: know what it stores, or anything of raft beyond an index and a term.

mod config;
mod error;
mod position;

#[cfg(feature = "defects")]
pub mod defects;
pub mod disk;

mod journal;

mod append;
mod archive;
mod flush;
mod live;
mod read;
mod stage;
mod uring;

mod recovery;
mod set_aside;

mod control;
mod cursor;
mod directory;
mod frame;
mod index_map;
mod segment;

pub use append::Appender;
pub use archive::leading_to;
pub use config::{
    Chain, Config, FRAME_BYTES_MAX_DEFAULT, FlushBody, LogId, OnDamage, SEGMENT_BYTES_DEFAULT,
    SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, Verify,
};
pub use error::{JournalError, Result};
pub use flush::Flusher;
pub use frame::{
    ChainValue, FRAME_HEADER_BYTES, FRAME_VERSION, Frame, FrameHeader, FrameMeta,
    KIND_RESERVED_FIRST, KIND_RESTART, KIND_SEGMENT_END,
};
pub use journal::Journal;
pub use live::{Live, LiveReader};
pub use position::{FRAME_ALIGN, Position, SEGMENT_HEADER_BYTES};
pub use read::Reader;
pub use recovery::{MachineRun, Recovered, Tail, inspect, inspect_good, inspect_on};
pub use segment::{FrameRef, SegmentHeader, SegmentMap};
pub use set_aside::Damage;
pub use stage::{STAGE_BYTES_BEHIND, STAGE_BYTES_PER_TURN, Stager};
