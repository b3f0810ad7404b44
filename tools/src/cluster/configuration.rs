//! `exahour cluster config`: the configuration of one node of a cluster.
//!
//! Called by the command line and by `folder`, which writes those of a whole cluster.
//!
//! Always holds: what is written is read again before anybody gets it, so a node takes it.
//! Does not: change a file.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use exahour_replicas::{ListenConfig, Member, NodeConfig, NodeId};
use exahour_wire::codes::Durability;

use super::folder::ClusterFolder;
use super::key::draw;
use crate::connection::address;
use crate::output::{print, print_json};
use crate::start::durability;

/// Print the configuration of a node, one of the first of a new cluster or one to be added.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  exahour cluster config --node 1 --member 1,10.0.0.1:7804,10.0.0.1:7801 \\\n    \
                  --member 2,10.0.0.2:7804,10.0.0.2:7801 --member 3,10.0.0.3:7804,10.0.0.3:7801\n  \
                  exahour cluster config --node 4 --config node.toml --peers 10.0.0.4:7804 --orders 10.0.0.4:7801"
)]
pub(super) struct Arguments {
    /// The node's number; of one to be added above all that nodes of the cluster ever had.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    node: u64,
    /// One of the first members: its number, where peers and where clients reach it. The same ones for every
    /// node.
    #[arg(long = "member", value_name = "N,PEERS,ORDERS", value_parser = member, conflicts_with_all = ["config", "data"])]
    members: Vec<Member>,
    /// The configuration of another node of the cluster, to take the first members from.
    #[arg(long, value_name = "FILE.toml", conflicts_with = "data")]
    config: Option<PathBuf>,
    /// A folder of `exahour cluster`, to take them from, and free ports of this machine.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where peers reach the node [default: as its --member says].
    #[arg(long, value_name = "ADDRESS", value_parser = address, requires = "orders")]
    peers: Option<SocketAddr>,
    /// Where orders are entered; market data and drop copy get the two ports behind it [default: as its
    /// --member says].
    #[arg(long, value_name = "ADDRESS", value_parser = address, requires = "peers")]
    orders: Option<SocketAddr>,
    /// The key file, as it is called beside the configuration.
    #[arg(long, value_name = "FILE", default_value = "cluster.key")]
    key: PathBuf,
    /// The node's data folder [default: exahour-data].
    #[arg(long, value_name = "DIR")]
    node_data: Option<PathBuf>,
    /// What an acknowledgement promises; the same on every node.
    #[arg(long, value_name = "PROMISE", value_parser = durability)]
    durability: Option<Durability>,
    /// Write JSON: the text, and what it says.
    #[arg(long)]
    json: bool,
}

/// Reads `N,PEERS,ORDERS`.
fn member(text: &str) -> Result<Member, String> {
    let wanted = || "expected N,PEERS,ORDERS such as 1,10.0.0.1:7804,10.0.0.1:7801".to_owned();
    let parts: Vec<&str> = text.split(',').collect();
    let [id, peers, orders] = parts[..] else {
        return Err(wanted());
    };
    let id = id.parse().ok().filter(|id| *id > 0).ok_or_else(wanted)?;
    Ok(Member {
        id: NodeId(id),
        peers: address(peers)?,
        orders: address(orders)?,
    })
}

/// What a node's configuration says.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) node: Member,
    /// The data folder; none for the default.
    pub(crate) data: Option<&'a Path>,
    /// The key file, as it is called beside the configuration.
    pub(crate) key: &'a Path,
    /// The first members.
    pub(crate) founders: &'a [Member],
    pub(crate) durability: Durability,
    /// Whether the nodes share this machine: then none may keep a core for itself.
    pub(crate) shares: bool,
    /// What else is to be said.
    pub(crate) more: More<'a>,
}

/// What else a configuration says, as TOML.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct More<'a> {
    /// Keys outside of tables.
    pub(crate) keys: &'a str,
    pub(crate) tables: &'a str,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let (founders, told) = founders(arguments)?;
    let own = founders.iter().find(|it| it.id.0 == arguments.node);
    let named = match (arguments.peers, arguments.orders) {
        (Some(peers), Some(orders)) => Some(Member {
            id: NodeId(arguments.node),
            peers,
            orders,
        }),
        _ => None,
    };
    let folder = arguments
        .data
        .as_deref()
        .map(ClusterFolder::open)
        .transpose()?;
    let node = match (named, own, &folder) {
        (Some(node), ..) => node,
        (None, Some(own), _) => *own,
        (None, None, Some(_)) => ClusterFolder::new_member(arguments.node)?,
        (None, None, None) => bail!(
            "node {} is none of the first members: say where it is reached with --peers and --orders",
            arguments.node
        ),
    };
    let data = match (&arguments.node_data, &folder) {
        (None, Some(folder)) => Some(folder.data(arguments.node)),
        (data, _) => data.clone(),
    };
    let plan = Plan {
        node,
        data: data.as_deref(),
        key: &arguments.key,
        founders: &founders,
        durability: arguments.durability.or(told).unwrap_or(Durability::Durable),
        shares: folder.is_some(),
        more: More::default(),
    };
    let text = text_of(&plan)?;
    if !arguments.json {
        return print(&text);
    }
    print_json(&serde_json::json!({
        "node": node.id.0,
        "peers_address": node.peers,
        "orders_address": node.orders,
        "text": text,
    }))
}

/// The first members, and the promise of their cluster where it is known.
fn founders(arguments: &Arguments) -> Result<(Vec<Member>, Option<Durability>)> {
    let path = match (&arguments.config, &arguments.data) {
        (Some(path), _) => path.clone(),
        (None, Some(data)) => ClusterFolder::open(data)?.any_config(),
        (None, None) => {
            ensure!(
                !arguments.members.is_empty(),
                "name the first members with --member, or a file or folder that has them with --config or \
                 --data"
            );
            return Ok((arguments.members.clone(), None));
        }
    };
    let config = NodeConfig::load(&path)?;
    let cluster = config.cluster.with_context(|| {
        format!(
            "{} is no node of a cluster: it has no [cluster]",
            path.display()
        )
    })?;
    Ok((cluster.founders, Some(config.durability)))
}

/// The configuration of a node as text.
///
/// # Errors
/// Where no node would take it, with the reason.
pub(crate) fn text_of(plan: &Plan<'_>) -> Result<String> {
    let listen = listen_of(&plan.node)?;
    let mut out = format!(
        "# Node {} of a cluster. Its first start, and no other, is `exahour start --found` where it is one of\n\
         # the first members; the key beside this file is the secret of the cluster.\n",
        plan.node.id
    );
    let mut say = |line: String| {
        out.push_str(&line);
        out.push('\n');
    };
    if let Some(data) = plan.data {
        say(format!("data = {}", quoted(&data.display().to_string())));
    }
    say(format!("durability = \"{}\"", promise(plan.durability)));
    if !plan.more.keys.is_empty() {
        say(plan.more.keys.trim().to_owned());
    }
    say(format!(
        "\n[listen]\norders = \"{}\"\nmarket_data = \"{}\"\ndrop_copy = \"{}\"",
        listen.orders, listen.market_data, listen.drop_copy
    ));
    say(format!(
        "\n[cluster]\nnode = {}\nkey = {}",
        plan.node.id,
        quoted(&plan.key.display().to_string())
    ));
    if !plan.shares {
        // A firewall has to let it pass, so it is not left to the system.
        let port = plan.node.peers.port().checked_add(1);
        let port =
            port.with_context(|| format!("{}: there is no port behind it", plan.node.peers))?;
        say(format!("files = {port}"));
    }
    if !plan.founders.iter().any(|it| it.id == plan.node.id) {
        say(format!("listen = \"{}\"", plan.node.peers));
    }
    for member in plan.founders {
        say(format!(
            "\n[[cluster.member]]\nid = {}\npeers = \"{}\"\norders = \"{}\"",
            member.id, member.peers, member.orders
        ));
    }
    if plan.shares {
        say(shared_layout(plan.durability));
    }
    if !plan.more.tables.is_empty() {
        say(format!("\n{}", plan.more.tables.trim()));
    }
    check(&out)?;
    Ok(out)
}

/// Orders as the member says; market data and drop copy on the two ports behind.
fn listen_of(node: &Member) -> Result<ListenConfig> {
    let behind = |steps: u16| {
        let port = node.orders.port().checked_add(steps);
        port.map(|port| SocketAddr::new(node.orders.ip(), port))
            .ok_or_else(|| anyhow!("{}: there are no two ports behind it", node.orders))
    };
    Ok(ListenConfig {
        orders: node.orders,
        market_data: behind(1)?,
        drop_copy: behind(2)?,
    })
}

/// Threads that sleep where they have nothing to do, for nodes that share cores.
fn shared_layout(durability: Durability) -> String {
    let mut way = vec!["order-gateway", "sequencer", "disk", "engine"];
    let mut text =
        "\n# The nodes share this machine, so their threads sleep where they wait.\n".to_owned();
    let mut thread = |name: &str, idle: &str, agents: &[&str]| {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "[[thread]]\nname = \"{name}\"\nidle = \"{idle}\"\nagents = {agents:?}\n"
        );
    };
    if durability == Durability::Replicated {
        way.retain(|agent| *agent != "disk");
        thread("disk", "park:200us", &["disk"]);
    }
    thread("exchange", "park:200us", &way);
    thread(
        "others",
        "park:2000us",
        &["market-data", "drop-copy", "staging"],
    );
    thread("snapshots", "park:20000us", &["snapshots"]);
    text.truncate(text.trim_end().len());
    text
}

/// Reads a configuration as a node would; the key file is not there yet.
fn check(text: &str) -> Result<()> {
    let own: Vec<&str> = text.lines().collect();
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let key = scratch.path().join("key");
    draw(&key)?;
    let keyed: Vec<String> = own
        .iter()
        .map(|line| match line.starts_with("key = ") {
            true => format!("key = {}", quoted(&key.display().to_string())),
            false => (*line).to_owned(),
        })
        .collect();
    NodeConfig::from_text("as it would be", &keyed.join("\n"))?;
    Ok(())
}

/// A promise as a configuration has it.
pub(crate) fn promise(durability: Durability) -> &'static str {
    match durability {
        Durability::Durable => "durable",
        Durability::Replicated => "replicated",
    }
}

/// A string as TOML has it.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            it if it.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(it))),
            it => out.push(it),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Vec<Member> {
        (1..=3)
            .map(|id| member(&format!("{id},10.0.0.{id}:7804,10.0.0.{id}:7801")).unwrap())
            .collect()
    }

    fn plan<'a>(node: Member, founders: &'a [Member], data: &'a Path) -> Plan<'a> {
        Plan {
            node,
            data: Some(data),
            key: Path::new("cluster.key"),
            founders,
            durability: Durability::Replicated,
            shares: true,
            more: More {
                keys: "checkpoint_every = 1000",
                tables: "[snapshots]\nkeep = 3\n",
            },
        }
    }

    #[test]
    fn what_is_written_is_what_a_node_reads() {
        let folder = tempfile::tempdir().unwrap();
        draw(&folder.path().join("cluster.key")).unwrap();
        let founders = members();
        let data = Path::new("a \"quoted\\ folder");
        let added = member("4,10.0.0.4:7804,10.0.0.4:7801").unwrap();
        for node in [founders[1], added] {
            let path = folder.path().join("node.toml");
            std::fs::write(&path, text_of(&plan(node, &founders, data)).unwrap()).unwrap();
            let config = NodeConfig::load(&path).unwrap();
            let cluster = config.cluster.unwrap();
            assert_eq!(cluster.node, node.id);
            assert_eq!(cluster.listen, node.peers);
            assert_eq!(cluster.founders, founders);
            assert_eq!(config.data, data);
            assert_eq!(config.listen.orders, node.orders);
            assert_eq!(config.listen.drop_copy.port(), 7803);
            assert_eq!(config.durability, Durability::Replicated);
            assert_eq!((config.snapshots.keep, config.checkpoint_every), (3, 1_000));
            assert_eq!(config.layout.threads[0].agents, ["disk"]);
        }
    }

    #[test]
    fn what_no_node_would_take_is_refused() {
        let mut founders = members();
        founders[2].peers = founders[1].peers;
        let refused = text_of(&plan(founders[0], &founders, Path::new("data"))).unwrap_err();
        assert!(
            refused.to_string().contains("addresses of its own"),
            "{refused}"
        );
        let mut last = members()[0];
        last.orders.set_port(65_534);
        assert!(text_of(&plan(last, &members(), Path::new("data"))).is_err());
        for text in ["1,a,b", "0,10.0.0.1:1,10.0.0.1:2", "1,10.0.0.1:1", ""] {
            assert!(member(text).is_err(), "{text}");
        }
    }
}
