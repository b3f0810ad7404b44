//! Snapshots: the whole state as bytes, and back.
//!
//! Taken by a replica that keeps up with the journal beside the one that trades, so nothing waits for
//! it; read at a start, which replays only what came after.
//!
//! Always holds: the same state gives the same bytes; what is read back has the state hash of what
//! was taken, or is refused. Bytes of another format are refused by the caller, who keeps [`FORMAT`]
//! beside them.
//! Does not: know of files, or which place of the journal it stands for.

mod image;
mod restore;
mod restore_stops;
mod take;

use exahour_wire::message::Digest;
use rkyv::rancor::Error;
use rkyv::util::AlignedVec;

use crate::behaviour::UnknownBehaviour;
use crate::capacity::Capacity;
use crate::engine::{Engine, hex};

pub use image::FORMAT;
use image::StateImage;

/// Where the bytes of a snapshot must begin: at a multiple of so many bytes.
pub const SNAPSHOT_ALIGN: usize = 16;

/// Why bytes are no snapshot of a state.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// They are not laid out as one.
    #[error("the bytes are no snapshot of format {FORMAT}")]
    Layout,
    /// Their parts do not fit together.
    #[error("the snapshot contradicts itself: {0}")]
    Contradiction(&'static str),
    /// The rules they go on with are none that this program knows.
    #[error(transparent)]
    UnknownBehaviour(#[from] UnknownBehaviour),
    /// The state they hold is another one than they should.
    #[error("the snapshot's state hashes to {found}, not to {expected}", found = hex(.found), expected = hex(.expected))]
    Hash {
        /// The hash that was stated.
        expected: Digest,
        /// The hash of the state that was read.
        found: Digest,
    },
}

impl Engine {
    /// The whole state as bytes, aligned to [`SNAPSHOT_ALIGN`].
    ///
    /// # Errors
    /// [`SnapshotError::Layout`] where there is more state than the format can hold.
    pub fn snapshot(&self) -> Result<AlignedVec, SnapshotError> {
        let (admission, execution) = self.stages();
        let image = take::image_of(admission, execution);
        rkyv::to_bytes::<Error>(&image).map_err(|_| SnapshotError::Layout)
    }

    /// The state that was taken as these bytes and that hashed to `expected`, with at least this much
    /// room.
    ///
    /// # Errors
    /// [`SnapshotError`]: the bytes are not what was taken.
    pub fn restore(
        bytes: &[u8],
        expected: &Digest,
        capacity: &Capacity,
    ) -> Result<Self, SnapshotError> {
        let image =
            rkyv::from_bytes::<StateImage, Error>(bytes).map_err(|_| SnapshotError::Layout)?;
        let (admission, execution) = restore::restore(image, capacity)?;
        let engine = Self::of_stages(admission, execution);
        let found = engine.state_hash();
        if found == *expected {
            Ok(engine)
        } else {
            Err(SnapshotError::Hash {
                expected: *expected,
                found,
            })
        }
    }

    /// Events emitted so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        let (_, execution) = self.stages();
        execution.execute.reporter.events()
    }
}
