//! Who belongs to a node's group, as its folder says: for whoever starts the nodes of a machine.
//!
//! Called by tools. Reads beside a node that runs, too.
//!
//! Always holds: nothing is changed. Of several folders the one that knows the latest entry is right.

use std::path::Path;

use exahour_journal::disk::system_disk;

use crate::error::NodeError;
use crate::hard_state::HardStateFile;
use crate::members::NodeId;
use crate::on_disk::PROMISES;

/// A group, as one of its nodes knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptGroup {
    /// The members, whether they vote or not.
    pub members: Vec<NodeId>,
    /// As of this entry of the log.
    pub at: u64,
    /// The highest number that a member is known to have had.
    pub highest: NodeId,
}

impl KeptGroup {
    /// Whether a number was given, or passed over, and is no member's any more.
    #[must_use]
    pub fn is_past(&self, node: NodeId) -> bool {
        node <= self.highest && !self.members.contains(&node)
    }
}

/// The group as the folder of a node says; none where the node has not begun.
///
/// # Errors
/// [`NodeError`] where the file of promises cannot be read.
pub fn kept_group(data: &Path) -> Result<Option<KeptGroup>, NodeError> {
    let (disk, path) = (system_disk(), data.join(PROMISES));
    if !HardStateFile::stands(disk.as_ref(), &path)? {
        return Ok(None);
    }
    let kept = HardStateFile::peek(disk.as_ref(), &path)?;
    Ok(Some(KeptGroup {
        members: kept.members.addresses.keys().copied().map(NodeId).collect(),
        at: kept.members.at,
        highest: NodeId(kept.highest_id),
    }))
}
