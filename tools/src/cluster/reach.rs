//! Which cluster is meant, and where its nodes are asked.
//!
//! Used by every command about a running cluster.
//!
//! Always holds: what is named counts before what a folder says; addresses are never guessed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use exahour_replicas::{ClusterConfig, ClusterKey, NodeConfig, NodeId};

use super::folder::{ClusterFolder, KEY_FILE, load_key};
use crate::connection::{ADDRESSES_FILE, Serving, address};
use crate::output::{print, print_json};

/// The folder that `exahour cluster` takes where none is named.
pub(super) const USUAL_FOLDER: &str = "exahour-cluster";

/// The folder that `exahour start` takes.
const USUAL_NODE: &str = "exahour-data";

/// The heading of these options in the help of a command: its own come first.
const REACHED: &str = "Which cluster";

/// Which cluster.
#[derive(Clone, Debug, Args)]
pub(super) struct ClusterArguments {
    /// The folder of `exahour cluster`, or the data folder of a node that runs [default: exahour-cluster if
    /// it is there, else exahour-data].
    #[arg(long, value_name = "DIR", help_heading = REACHED, conflicts_with = "config")]
    data: Option<PathBuf>,
    /// The configuration of one of its nodes.
    #[arg(long, value_name = "NODE.toml", help_heading = REACHED)]
    config: Option<PathBuf>,
    /// Where peers reach one or more of its nodes; needs --key unless --data or --config says it.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', value_parser = address, help_heading = REACHED)]
    connect: Vec<SocketAddr>,
    /// The key of the cluster [default: as --data or --config says].
    #[arg(long, value_name = "FILE", help_heading = REACHED)]
    key: Option<PathBuf>,
}

/// A cluster as it is asked.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) key: ClusterKey,
    /// Where to ask first; the nodes tell of each other.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The node that was named, where one was.
    pub(crate) node: Option<NodeId>,
}

impl ClusterArguments {
    /// Finds the key and the first addresses.
    ///
    /// # Errors
    /// Where nothing says them.
    pub(super) fn reach(&self) -> Result<Reach> {
        let named = self.key.as_deref().map(load_key).transpose()?;
        if let (Some(key), false) = (&named, self.connect.is_empty()) {
            return Ok(Reach {
                key: key.clone(),
                addresses: self.connect.clone(),
                node: None,
            });
        }
        let mut reach = match &self.config {
            Some(path) => by_config(path)?,
            None => match by_folder(&self.folder()) {
                Err(_) if self.data.is_none() && !self.connect.is_empty() => {
                    bail!("--connect needs the key of the cluster, too: give --key FILE")
                }
                found => found?,
            },
        };
        reach.key = named.unwrap_or(reach.key);
        if !self.connect.is_empty() {
            reach.addresses.clone_from(&self.connect);
        }
        Ok(reach)
    }

    fn folder(&self) -> PathBuf {
        match &self.data {
            Some(data) => data.clone(),
            None if ClusterFolder::is_one(Path::new(USUAL_FOLDER)) => USUAL_FOLDER.into(),
            None => USUAL_NODE.into(),
        }
    }
}

fn by_folder(path: &Path) -> Result<Reach> {
    if ClusterFolder::is_one(path) {
        let folder = ClusterFolder::open(path)?;
        let members = folder.members()?;
        return Ok(Reach {
            key: folder.key()?,
            addresses: members.iter().map(|member| member.peers).collect(),
            node: None,
        });
    }
    let Some(serving) = Serving::read(&path.join(ADDRESSES_FILE))? else {
        bail!(
            "no node runs from {0}, and it is no folder of a cluster: it has neither {ADDRESSES_FILE} nor \
             {KEY_FILE}; name another folder with --data, a node's configuration with --config, or --connect \
             ADDRESS --key FILE",
            path.display()
        );
    };
    let config = serving.config.with_context(|| {
        format!(
            "the node in {} belongs to no cluster: it is alone",
            path.display()
        )
    })?;
    let mut reach = by_config(&config)?;
    reach.addresses.splice(0..0, serving.peers);
    Ok(reach)
}

/// Reads the configuration of a member.
///
/// # Errors
/// Where it cannot be read, or is that of a node alone.
pub(super) fn member_config(path: &Path) -> Result<(NodeConfig, ClusterConfig)> {
    let config = NodeConfig::load(path)?;
    let cluster = config.cluster.clone().with_context(|| {
        format!(
            "{} is no node of a cluster: it has no [cluster]",
            path.display()
        )
    })?;
    Ok((config, cluster))
}

fn by_config(path: &Path) -> Result<Reach> {
    let (_, cluster) = member_config(path)?;
    let founders = cluster.founders.iter().map(|member| member.peers);
    Ok(Reach {
        key: cluster.key,
        addresses: std::iter::once(cluster.listen).chain(founders).collect(),
        node: Some(cluster.node),
    })
}

/// What every command that changes a cluster is told.
#[derive(Clone, Debug, Args)]
pub(super) struct ChangeArguments {
    /// How long to try before giving up, such as 30s or 10m.
    #[arg(long = "timeout", value_name = "SPAN", value_parser = crate::desk::span, default_value = "30s")]
    pub(super) patience: Duration,
    #[command(flatten)]
    pub(super) cluster: ClusterArguments,
    /// Write one JSON object.
    #[arg(long)]
    json: bool,
}

impl ChangeArguments {
    /// Writes what came of it, in words or as an object.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn answer(&self, object: &serde_json::Value, words: &str) -> Result<()> {
        match self.json {
            true => print_json(object),
            false => print(words),
        }
    }
}
