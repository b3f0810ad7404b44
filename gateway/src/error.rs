//! What the world can do to a gateway.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use exahour_journal::JournalError;

use crate::image::ImageFault;
use crate::sockets::Group;

/// Why a gateway cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another port or stop who holds it")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A multicast group cannot be sent to or joined.
    #[error(
        "multicast group {} on interface {}: {source}; check that the interface has this address and \
         allows multicast", .group.address, .group.interface
    )]
    Multicast {
        /// The group.
        group: Group,
        /// What the system said.
        source: io::Error,
    },
    /// The operating system refused to watch sockets.
    #[error("cannot watch sockets: {0}; check the limit of open files")]
    Watch(#[source] io::Error),
    /// A key file cannot be used.
    #[error("key file {path}: {reason}", path = path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The event log cannot be followed.
    #[error("event log: {0}")]
    EventLog(#[from] JournalError),
    /// What was kept of the ports' views contradicts itself.
    #[error("the views of the ports contradict themselves: {0}; move the folder views away")]
    Views(#[source] ImageFault),
    /// A setting is out of range.
    #[error("gateway setting {name} is {value}: {rule}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: u64,
        /// What is allowed.
        rule: &'static str,
    },
}
