//! How a subcommand reaches a node: its addresses, the keys, and a logged-on session.
//!
//! Called by the small client, by `feed` and `demo`, and by `start`, which writes the addresses
//! down.
//!
//! Always holds: what is named on the command line counts before what the data folder says, and
//! that before the defaults; a key is never printed.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use exahour_gateway::client::{Client, ClientConfig};
use exahour_gateway::credentials::{Key, Keys};
use exahour_gateway::feed::drop_copy_client::DropCopyClient;
use exahour_replicas::{Addresses, Genesis, NodeConfig};
use exahour_wire::ids::{AccountId, EventSequence, ParticipantId, SessionId};
use serde::{Deserialize, Serialize};

use crate::cluster::folder::ClusterFolder;

/// The file of a data folder in which a running node says where it is reached.
pub const ADDRESSES_FILE: &str = "addresses.json";

/// Where a running node is reached, as `start` writes it down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    /// Order entry.
    pub orders: SocketAddr,
    /// Market data.
    pub market_data: SocketAddr,
    /// Drop copy.
    pub drop_copy: SocketAddr,
    /// The data folder.
    pub data: PathBuf,
    /// The file of the sessions' keys.
    pub keys: PathBuf,
    /// The process of the node.
    pub process: u32,
    /// Peers and operators, where the node belongs to a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<SocketAddr>,
    /// The configuration of a node of a cluster, which says where its key and its members are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
}

impl Serving {
    /// Writes it to `path`, wholly or not at all.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let draft = path.with_extension(format!("{}.new", self.process));
        let mut text = serde_json::to_vec(self).context("addresses cannot be written as JSON")?;
        text.push(b'\n');
        let written = fs::write(&draft, text).and_then(|()| fs::rename(&draft, path));
        if written.is_err() {
            // Part of it may be there.
            let _ = fs::remove_file(&draft);
        }
        written.with_context(|| format!("cannot write the addresses to {}", path.display()))
    }

    /// Reads what a node wrote; `None` where there is no such file.
    ///
    /// # Errors
    /// Where the file is there and cannot be read.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let serving = serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} is not what a node wrote; remove it and start the node again",
                path.display()
            )
        })?;
        Ok(Some(serving))
    }
}

/// The heading of these options in the help of a command: its own come first.
const REACHED: &str = "Which node";

/// Which node, and whose keys.
#[derive(Clone, Debug, Args)]
pub struct NodeArguments {
    /// The node's data folder: its keys and its addresses are read from there. The folder of a cluster on this
    /// machine stands for all of its nodes: the command finds the leader, and the next one where it is lost.
    #[arg(long, value_name = "DIR", default_value = "exahour-data", help_heading = REACHED)]
    pub data: PathBuf,
    /// The file of session keys [default: DATA/keys].
    #[arg(long, value_name = "FILE", help_heading = REACHED)]
    pub keys: Option<PathBuf>,
    /// The node's configuration: whose a session is, and where the node is reached if DATA does not say
    /// [default for the former: the node's own defaults].
    #[arg(long, value_name = "FILE.toml", help_heading = REACHED)]
    pub config: Option<PathBuf>,
    /// Where orders are entered; of a cluster any number of nodes, with commas between them: the command
    /// finds the leader [default: what the running node wrote into DATA, else as --config says].
    #[arg(long, value_name = "ADDRESSES", value_parser = address, value_delimiter = ',', help_heading = REACHED)]
    pub node: Vec<SocketAddr>,
    /// Where market data is served, which books and symbols are read from [default: as for --node].
    #[arg(long, value_name = "ADDRESS", value_parser = address, help_heading = REACHED)]
    pub market_data: Option<SocketAddr>,
    /// Where drop copies are served, which live orders are read from [default: as for --node].
    #[arg(long, value_name = "ADDRESS", value_parser = address, help_heading = REACHED)]
    pub drop_copy: Option<SocketAddr>,
}

/// Reads an address as a command line names it.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let parsed = text.parse();
    parsed.map_err(|_| "expected an IP address and a port, such as 127.0.0.1:7801".to_owned())
}

impl NodeArguments {
    /// Where orders are entered: a node to begin with, and further ones.
    ///
    /// # Errors
    /// Where nothing says so, or what says so cannot be read.
    pub fn orders(&self) -> Result<(SocketAddr, Vec<SocketAddr>)> {
        let named = self.node.split_first();
        let first = self.address(named.map(|(first, _)| *first), "--node", |it| it.orders)?;
        let further = match named {
            Some((_, further)) => further.to_vec(),
            None if ClusterFolder::is_one(&self.data) => {
                let members = ClusterFolder::open(&self.data)?.members()?;
                let orders = members.into_iter().map(|member| member.orders);
                orders.filter(|orders| *orders != first).collect()
            }
            None => Vec::new(),
        };
        Ok((first, further))
    }

    /// Where market data is served, by somebody who answers.
    ///
    /// # Errors
    /// As [`Self::orders`], and where nobody listens there.
    pub fn market_data(&self) -> Result<SocketAddr> {
        let found = self.address(self.market_data, "--market-data", |it| it.market_data)?;
        answering(found, "market data")
    }

    /// Where drop copies are served, by somebody who answers.
    ///
    /// # Errors
    /// As [`Self::market_data`].
    pub fn drop_copy(&self) -> Result<SocketAddr> {
        let found = self.address(self.drop_copy, "--drop-copy", |it| it.drop_copy)?;
        answering(found, "drop copy")
    }

    /// The address named, the one that the node wrote down, or the one of the configuration named:
    /// another node may listen on the usual ports, so they are never guessed.
    fn address(
        &self,
        named: Option<SocketAddr>,
        option: &str,
        pick: impl Fn(Addresses) -> SocketAddr,
    ) -> Result<SocketAddr> {
        // A configuration that is named is one that can be read, whether it is needed or not.
        let listen = match &self.config {
            Some(path) => Some(NodeConfig::load(path)?.listen),
            None => None,
        };
        if let Some(named) = named {
            return Ok(named);
        }
        if let Some(it) = Serving::read(&self.node_folder()?.join(ADDRESSES_FILE))? {
            return Ok(pick(Addresses {
                orders: it.orders,
                market_data: it.market_data,
                drop_copy: it.drop_copy,
                peers: None,
            }));
        }
        match listen {
            Some(it) => Ok(pick(Addresses {
                orders: it.orders,
                market_data: it.market_data,
                drop_copy: it.drop_copy,
                peers: None,
            })),
            None => bail!(
                "no node serves from {}: it has no {ADDRESSES_FILE}; start one there, or name \
                 {option} ADDRESS",
                self.data.display()
            ),
        }
    }

    /// The data folder of the node: in a cluster's, that of one whose port answers. Whoever comes to a node that
    /// does not lead is told which one does.
    fn node_folder(&self) -> Result<PathBuf> {
        if !ClusterFolder::is_one(&self.data) {
            return Ok(self.data.clone());
        }
        let cluster = ClusterFolder::open(&self.data)?;
        for node in cluster.nodes() {
            let folder = cluster.data_of(*node)?;
            let serving = Serving::read(&folder.join(ADDRESSES_FILE))?;
            // A node that was killed has left its file.
            if serving.is_some_and(|it| answering(it.orders, "orders").is_ok()) {
                return Ok(folder);
            }
        }
        bail!("no node of the cluster in {} runs", self.data.display())
    }

    /// The configuration named, or the defaults.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn node_config(&self) -> Result<NodeConfig> {
        Ok(match &self.config {
            Some(path) => NodeConfig::load(path)?,
            None => NodeConfig::defaults()?,
        })
    }

    /// A client of the drop copy of a participant, the one named or the session's own, and where it is
    /// reached.
    ///
    /// # Errors
    /// Where nothing answers, the session's key is not there, or nobody knows whose it is.
    pub fn copies(
        &self,
        session: SessionId,
        participant: Option<u32>,
    ) -> Result<(DropCopyClient, SocketAddr)> {
        let participant = match participant {
            Some(participant) => ParticipantId(participant),
            None => owner_of(&self.node_config()?.genesis, session).with_context(|| {
                format!(
                    "the participant of session {session} is not known here: name it with \
                     --participant"
                )
            })?,
        };
        let (address, key) = (self.drop_copy()?, self.key(session)?);
        let first = EventSequence(0);
        let client = DropCopyClient::new(address, session, participant, key, first);
        Ok((client, address))
    }

    /// The key of a session.
    ///
    /// # Errors
    /// Where the key file cannot be read or has no such session.
    pub fn key(&self, session: SessionId) -> Result<Key> {
        let path = match &self.keys {
            Some(path) => path.clone(),
            None => self.node_folder()?.join("keys"),
        };
        ensure!(
            path.exists(),
            "session keys are needed, and {} is not there: name the node's folder with --data, or a \
             file with --keys",
            path.display()
        );
        let keys = Keys::load(&path)?;
        match keys.key_of(session) {
            Some(key) => Ok(key.clone()),
            None => bail!(
                "{} holds no key of session {session}: choose another --session, or ask the \
                 operator for the key",
                path.display()
            ),
        }
    }

    /// Logs a session on.
    ///
    /// # Errors
    /// Where the key is missing, nobody listens, or the exchange refuses.
    pub fn connect(&self, session: SessionId) -> Result<Client> {
        let mut config = ClientConfig::new(session, self.key(session)?);
        let (address, further) = self.orders()?;
        config.nodes = further;
        config.failover_timeout = LEADER_WITHIN;
        Client::connect(address, config).with_context(|| format!("session {session} cannot log on"))
    }
}

/// How long a command looks for the leader among the nodes it was given.
const LEADER_WITHIN: Duration = Duration::from_secs(10);

/// How long somebody may take to answer a knock.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Knocks at a port once: its clients try again and again without a word.
fn answering(address: SocketAddr, what: &str) -> Result<SocketAddr> {
    match TcpStream::connect_timeout(&address, ANSWER_WITHIN) {
        Ok(_) => Ok(address),
        Err(error) => {
            bail!("no {what} from {address}: {error}: is the node running, and is this its port?")
        }
    }
}

/// The owner of a session, as the genesis says.
#[must_use]
pub fn owner_of(genesis: &Genesis, session: SessionId) -> Option<ParticipantId> {
    let found = genesis.session.iter().find(|it| it.id == session.0);
    found.map(|it| ParticipantId(it.participant))
}

/// The first account of the owner of a session, as the genesis says.
#[must_use]
pub fn account_of(genesis: &Genesis, session: SessionId) -> Option<AccountId> {
    let owner = owner_of(genesis, session)?;
    let found = genesis.account.iter().find(|it| it.participant == owner.0);
    found.map(|it| AccountId(it.id))
}

/// The account named, or the first one of the owner of a session.
///
/// # Errors
/// Where none is named and nobody knows whose the session is.
pub fn account_for(
    node: &NodeArguments,
    session: SessionId,
    named: Option<u32>,
) -> Result<AccountId> {
    if let Some(account) = named {
        return Ok(AccountId(account));
    }
    account_of(&node.node_config()?.genesis, session).with_context(|| {
        format!("the account of session {session} is not known here: name it with --account")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(ADDRESSES_FILE);
        assert_eq!(Serving::read(&path).unwrap(), None);
        let serving = Serving {
            orders: "127.0.0.1:1".parse().unwrap(),
            market_data: "127.0.0.1:2".parse().unwrap(),
            drop_copy: "127.0.0.1:3".parse().unwrap(),
            data: folder.path().to_path_buf(),
            keys: folder.path().join("keys"),
            process: 7,
            peers: Some("127.0.0.1:4".parse().unwrap()),
            config: None,
        };
        serving.write(&path).unwrap();
        assert_eq!(Serving::read(&path).unwrap(), Some(serving));
        fs::write(&path, "{").unwrap();
        let refused = format!("{:#}", Serving::read(&path).unwrap_err());
        assert!(refused.contains("remove it"), "{refused}");
    }

    #[test]
    fn the_default_owners_are_those_of_the_genesis() {
        let genesis = NodeConfig::defaults().unwrap().genesis;
        assert_eq!(owner_of(&genesis, SessionId(2)), Some(ParticipantId(2)));
        assert_eq!(account_of(&genesis, SessionId(2)), Some(AccountId(200)));
        assert_eq!(account_of(&genesis, SessionId(9)), None);
        assert_eq!(owner_of(&genesis, SessionId(77)), None);
    }
}
