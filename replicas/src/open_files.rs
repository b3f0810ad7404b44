//! How many files the process may have open: asked of the system before anything needs them.
//!
//! Called by `node` at every start.
//!
//! Always holds: no number of connections that the ports take leaves the logs without a file to open
//! for their next segment.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::error::NodeError;

/// Files beside connections: segments of the logs, epoll, snapshots, whatever the process has open.
const OTHER_FILES: u64 = 256;

/// Raises the soft limit to what `connections` and the logs may need.
///
/// # Errors
/// [`NodeError::OpenFiles`] where the hard limit is lower.
pub(crate) fn allow(connections: usize) -> Result<(), NodeError> {
    let needed = (connections as u64).saturating_add(OTHER_FILES);
    let refused = |limit| NodeError::OpenFiles { needed, limit };
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|_| refused(0))?;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        return Err(refused(hard));
    }
    setrlimit(Resource::RLIMIT_NOFILE, needed, hard).map_err(|_| refused(soft))
}
