//! Three nodes of raft-rs, turned by hand on the caller's thread, each over the library's storage in memory: the
//! floor that `exahour bench raft` has, too.

use bytes::Bytes;
use exahour_tools::bench::bare_raft::BareGroup;

use crate::{Failure, Group};

/// The nodes; the first one leads.
pub(crate) struct RaftGroup(BareGroup);

impl RaftGroup {
    /// A group whose first node was elected.
    pub(crate) fn found() -> Result<Self, Failure> {
        Ok(Self(BareGroup::found()?))
    }
}

impl Group for RaftGroup {
    fn name(&self) -> &'static str {
        "raft-rs"
    }

    fn agree(&mut self, batch: Bytes) -> Result<(), Failure> {
        self.0.agree(batch.to_vec())?;
        Ok(())
    }
}
