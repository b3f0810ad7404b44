//! `exahour status`: how the nodes of a cluster stand.
//!
//! Called by the command line; `run` prints the same table when its nodes are up.
//!
//! Always holds: all nodes are asked at the same time; that one does not answer is an answer. Nothing is
//! changed.

use std::fmt::Write;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use exahour_replicas::{MemberStatus, NodeId, NodeRole, NodeStatus, Standing};
use serde::Serialize;

use super::reach::ClusterArguments;
use super::survey::{Seen, Survey};
use crate::exit::finding;
use crate::output::{print, print_json};

/// Show who leads a cluster, how far its nodes are, and which of them are linked.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Exit code 0: a node leads and has a quorum; 1: none does; 2: no node answers.\n\n\
                  Examples:\n  exahour status --data exahour-cluster\n  exahour status --config node.toml\n  \
                  exahour status --connect 10.0.0.2:7804 --key cluster.key"
)]
pub struct Arguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Write one JSON object.
    #[arg(long)]
    json: bool,
}

/// What is said of a cluster.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    leader: Option<u64>,
    term: Option<u64>,
    /// Whether the leader has enough voters beside it to decide.
    quorum: bool,
    nodes: Vec<NodeFindings>,
}

/// What is said of a node.
#[derive(Debug, Serialize)]
struct NodeFindings {
    node: Option<u64>,
    /// Leader, follower or candidate; none where it does not answer.
    role: Option<&'static str>,
    /// Voter, learner or leaving; none where it is no member.
    standing: Option<&'static str>,
    term: Option<u64>,
    first_index: Option<u64>,
    last_index: Option<u64>,
    committed_index: Option<u64>,
    applied_index: Option<u64>,
    /// Entries that the leader has and the node has not; none where nobody knows what it has.
    behind_entries: Option<u64>,
    /// Whether the leader listens to it; none where there is no leader, or it is no member.
    listened_to: Option<bool>,
    /// Whether it gives no vote, because it may have lost what it acknowledged.
    forgetful: Option<bool>,
    /// The behaviour in force, as far as its engine has come, and the newest that it can do.
    behaviour: Option<u32>,
    behaviour_max: Option<u32>,
    /// The entry that its newest snapshot stands behind; none where it has none.
    snapshot_index: Option<u64>,
    /// The nodes that it is linked to, as it says itself.
    linked_nodes: Option<Vec<u64>>,
    peers_address: String,
    orders_address: Option<String>,
    /// Why it did not answer.
    fault: Option<String>,
}

/// Asks all nodes and prints how they stand.
///
/// # Errors
/// Where no node answers; a finding, where none leads or the leader has no quorum.
pub fn run(arguments: &Arguments) -> Result<()> {
    let survey = Survey::take(&arguments.cluster.reach()?);
    if let Some(why) = survey.silence() {
        bail!("no node of the cluster answers: {why}");
    }
    let findings = findings(&survey);
    match arguments.json {
        true => print_json(&findings)?,
        false => print(&text(&findings))?,
    }
    match (findings.leader, findings.quorum) {
        (None, _) => Err(finding(anyhow!("no node leads"))),
        (Some(leader), false) => Err(finding(anyhow!(
            "node {leader} says that it leads, and has no quorum"
        ))),
        (Some(_), true) => Ok(()),
    }
}

pub(super) fn findings(survey: &Survey) -> Findings {
    let leader = survey.leader();
    let nodes = survey.nodes();
    Findings {
        leader: leader.map(|it| it.id.0),
        term: leader.map(|it| it.term),
        quorum: survey.quorum(),
        nodes: nodes.iter().map(|node| of_node(node, leader)).collect(),
    }
}

fn of_node(node: &Seen<'_>, leader: Option<&NodeStatus>) -> NodeFindings {
    let said = node.answer.ok();
    let (peers, orders) = match node.member {
        Some(member) => (member.member.peers, Some(member.member.orders.to_string())),
        None => (node.peers, None),
    };
    NodeFindings {
        node: node.id.map(|id| id.0),
        role: said.map(|it| role(it.role)),
        standing: node.member.map(|it| standing(it.standing)),
        term: said.map(|it| it.term),
        first_index: said.map(|it| it.first_index),
        last_index: said.map(|it| it.last_index),
        committed_index: said.map(|it| it.committed),
        applied_index: said.map(|it| it.applied),
        behind_entries: behind(node, leader),
        listened_to: known(node, leader).map(|it| !it.refused),
        forgetful: said.map(|it| it.forgetful),
        behaviour: said.map(|it| it.behaviour),
        behaviour_max: said.map(|it| it.behaviour_max),
        snapshot_index: said.map(|it| it.snapshot).filter(|index| *index > 0),
        linked_nodes: said.map(linked),
        peers_address: peers.to_string(),
        orders_address: orders,
        fault: node.answer.err().map(str::to_owned),
    }
}

/// A member in the leader's words.
fn known<'a>(node: &Seen<'_>, leader: Option<&'a NodeStatus>) -> Option<&'a MemberStatus> {
    let mut members = leader?.members.iter();
    members.find(|it| Some(it.member.id) == node.id)
}

/// How far a node is behind the leader's journal: by its own word where it answers, by the leader's where only that
/// reaches it. What the leader has heard of a node that nobody reaches may be true no more: its disk may be gone.
fn behind(node: &Seen<'_>, leader: Option<&NodeStatus>) -> Option<u64> {
    let has = match node.answer {
        Ok(status) => status.last_index,
        Err(_) => {
            let reached = known(node, leader).filter(|it| it.linked && !it.refused);
            reached?.matched
        }
    };
    Some(leader?.last_index.saturating_sub(has))
}

fn linked(status: &NodeStatus) -> Vec<u64> {
    let others = status.members.iter();
    others
        .filter(|it| it.linked && it.member.id != status.id)
        .map(|it| it.member.id.0)
        .collect()
}

pub(super) fn role(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Leader => "leader",
        NodeRole::Follower => "follower",
        NodeRole::Candidate => "candidate",
    }
}

pub(super) fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Voter => "voter",
        Standing::Learner => "learner",
        Standing::Leaving => "leaving",
    }
}

/// The findings for people: a sentence, a line each, and what is wrong.
pub(super) fn text(findings: &Findings) -> String {
    let mut out = headline(findings);
    let header = [
        "node",
        "role",
        "standing",
        "term",
        "log",
        "applied",
        "behind",
        "linked to",
        "orders",
        "peers",
    ];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(findings.nodes.iter().map(row));
    let widths: [usize; 10] = std::array::from_fn(|column| {
        let lengths = rows.iter().map(|row| row[column].len());
        lengths.max().unwrap_or(0)
    });
    for row in &rows {
        let mut line = String::new();
        for (column, (word, width)) in row.iter().zip(widths).enumerate() {
            // Writing to a string cannot fail. Numbers are flush right.
            let _ = match (3..=6).contains(&column) || column == 0 {
                true => write!(line, "{word:>width$}  "),
                false => write!(line, "{word:<width$}  "),
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    for node in &findings.nodes {
        let name = name_of(node);
        if let Some(fault) = &node.fault {
            let known = match node.behind_entries {
                Some(_) => "",
                None => "; what it has is not known",
            };
            let _ = writeln!(out, "{name} does not answer: {fault}{known}");
        }
        if node.listened_to == Some(false) {
            let _ = writeln!(
                out,
                "{name} has come with another folder than it had: nobody listens to it, and it counts for nothing. \
                 Stop it, and put a node with a new number in its place (`exahour replace-node`)"
            );
        }
        if node.forgetful == Some(true) {
            let _ = writeln!(
                out,
                "{name} may have lost what it acknowledged: it gives no vote until it has caught up"
            );
        }
        if node.standing.is_none() {
            let _ = writeln!(
                out,
                "{name} is no member of the cluster, or does not know yet that it is"
            );
        }
    }
    out
}

fn headline(findings: &Findings) -> String {
    let voters = findings
        .nodes
        .iter()
        .filter(|it| it.standing == Some("voter"));
    let voters = voters.count();
    match (findings.leader, findings.term) {
        (Some(leader), Some(term)) => format!(
            "node {leader} leads in term {term}; {} of {voters} voters\n",
            match findings.quorum {
                true => "it has a quorum",
                false => "it has NO quorum",
            }
        ),
        _ => "NO node leads: nothing is accepted until one does\n".to_owned(),
    }
}

fn name_of(node: &NodeFindings) -> String {
    match node.node {
        Some(id) => format!("node {}", NodeId(id)),
        None => format!("the node at {}", node.peers_address),
    }
}

fn row(node: &NodeFindings) -> [String; 10] {
    let number = |it: Option<u64>| it.map_or("-".to_owned(), |it| it.to_string());
    let word = |it: Option<&str>| it.unwrap_or("-").to_owned();
    let log = match (node.first_index, node.last_index) {
        (Some(first), Some(last)) => format!("{first}..{last}"),
        _ => "-".to_owned(),
    };
    let linked = node.linked_nodes.as_ref().map(|ids| {
        let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
        ids.join(" ")
    });
    [
        number(node.node),
        word(node.role),
        word(node.standing),
        number(node.term),
        log,
        number(node.applied_index),
        number(node.behind_entries),
        linked.filter(|it| !it.is_empty()).unwrap_or("-".to_owned()),
        word(node.orders_address.as_deref()),
        node.peers_address.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::survey::tests::{status, survey};
    use super::*;

    #[test]
    fn a_healthy_cluster_is_told_in_one_table() {
        let mut late = status(3, NodeRole::Follower, 7);
        late.last_index = 80;
        let found = findings(&survey(&[
            status(1, NodeRole::Leader, 7),
            status(2, NodeRole::Follower, 7),
            late,
        ]));
        let text = text(&found);
        assert!(
            text.starts_with("node 1 leads in term 7; it has a quorum of 3 voters\n"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 5, "{text}");
        let behind: Vec<_> = found.nodes.iter().map(|it| it.behind_entries).collect();
        assert_eq!(behind, [Some(0), Some(0), Some(10)]);
        assert_eq!(found.nodes[0].linked_nodes, Some(vec![2, 3]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut forgetful = status(2, NodeRole::Follower, 7);
        forgetful.forgetful = true;
        let found = findings(&survey(&[status(1, NodeRole::Leader, 7), forgetful]));
        let told = text(&found);
        assert!(told.contains("node 3 does not answer: gone\n"), "{told}");
        assert!(told.contains("node 2 may have lost"), "{told}");
        // By the leader's word.
        assert_eq!(found.nodes[2].behind_entries, Some(90 - 83));
        // Of a node that nobody reaches nothing is known, whatever it had once.
        let mut leader = status(1, NodeRole::Leader, 7);
        leader.members[2].linked = false;
        leader.members[2].matched = leader.last_index;
        let found = findings(&survey(&[leader.clone(), status(2, NodeRole::Follower, 7)]));
        let told = text(&found);
        assert_eq!(found.nodes[2].behind_entries, None, "{told}");
        assert!(told.contains("gone; what it has is not known\n"), "{told}");
        // One that has come with another folder says what it has, and is not listened to.
        leader.members[2].linked = true;
        leader.members[2].refused = true;
        leader.members[1].linked = false;
        let found = findings(&survey(&[leader, status(3, NodeRole::Follower, 7)]));
        let told = text(&found);
        assert!(!found.quorum, "{told}");
        assert!(
            told.contains("node 3 has come with another folder"),
            "{told}"
        );
        let heard: Vec<_> = found.nodes.iter().map(|it| it.listened_to).collect();
        assert_eq!(heard, [Some(true), Some(true), Some(false)]);
        let found = findings(&survey(&[status(2, NodeRole::Candidate, 9)]));
        assert!(
            text(&found).starts_with("NO node leads"),
            "{}",
            text(&found)
        );
    }
}
