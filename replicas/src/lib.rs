//! The node: everything the exchange needs in one process, from the order of commands to their
//! events.
//!
//! Used by `tools` (`exahour start`) and by tests. Read in this order: `node` puts the agents
//! together over what `on_disk` opens, `sequencer` decides the order, `consensus` has the group agree
//! on it, over the links in `peers`, `storage` keeps it, `engine_agent` applies it.
//!
//! Always holds: the journal is the raft log; the engine sees only committed commands, in order; a
//! single node is a raft group of one on the same path.
//! Does not: match, check or parse what clients send.

mod administration;
mod admission_agent;
mod batch;
mod cluster_config;
mod config;
mod consensus;
mod couriers;
mod data_folder;
mod disk_agent;
mod draft;
mod engine_agent;
mod error;
mod event_log;
mod first_start;
mod frames;
mod genesis;
mod hard_state;
mod install;
mod intake;
mod kept_group;
mod members;
mod multicast_config;
mod node;
mod on_disk;
mod open_files;
mod operator;
mod operator_link;
mod peers;
mod recent;
mod repair;
mod replay;
mod sequencer;
mod snapshots;
mod storage;
mod views;
mod wide_layout;
mod world;
mod written;

pub use cluster_config::{ClusterConfig, ClusterKey};
pub use config::{ConfigError, ListenConfig, NodeConfig, SessionConfig};
pub use error::NodeError;
pub use event_log::EventLog;
pub use genesis::{Genesis, GenesisCalendar, GenesisError, time_of_day};
pub use kept_group::{KeptGroup, kept_group};
pub use members::{Member, NodeId, Standing};
pub use node::{Addresses, Assembled, Node, node_error, opens_again};
pub use on_disk::Recovery;
pub use operator::{Operator, OperatorError};
pub use operator_link::{Answer, OperatorLink};
pub use peers::LinkFault;
pub use peers::operation::{MemberStatus, NodeRole, NodeStatus, Reply, Request};
pub use repair::{FilesFound, find_snapshots, find_views, repair, whole_promises};
pub use replay::{Head, Replay, ReplayReport, head, replay};
pub use storage::{FRAME_COMMANDS, FRAME_CONF_CHANGE, FRAME_CONF_CHANGE_V2, FRAME_EMPTY};
pub use world::{Clocks, World};
