//! A round: the load goes on for a while, something is done to the nodes, and the exchange answers again.
//!
//! Called by `torture` for each round of its plan.
//!
//! Always holds: at its end every node runs, and everything that was cut is mended.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use exahour_replicas::{NodeStatus, Reply, Request};
use nix::sys::signal::Signal;

use super::load::Load;
use super::plan::{Fault, Round, Victim};
use super::report::Report;
use super::site::{PATIENCE_FOR_SNAPSHOTS, Site};
use super::wires::Cut;
use crate::cluster::survey::ask;
use crate::exit::finding;

/// Entries that a follower may have got since it was asked.
const FRAMES_UNTOLD: u64 = 1_000;

/// How long a slow disk stands still at a time, and how long it runs in between.
const SLOW: (Duration, Duration) = (Duration::from_millis(30), Duration::from_millis(10));

/// Plays a round.
///
/// # Errors
/// A finding, where the exchange does not answer again, or a node ends that nobody has killed.
pub(super) fn play(site: &mut Site, load: &Load, round: &Round, report: &mut Report) -> Result<()> {
    await_answers(site, load, round.answers)?;
    let led = site.leader()?;
    let leader = led.node;
    let whom = |site: &Site, victim| match victim {
        Victim::Leader => leader,
        Victim::Follower => follower(site, leader, round.chance),
    };
    match round.fault {
        Fault::Kill(victim) => {
            let node = whom(site, victim);
            kill(site, load, &[node], round.back_at_once)?;
        }
        Fault::KillAll => {
            let mut nodes = site.ids();
            let turn = round.chance as usize % nodes.len();
            nodes.rotate_left(turn);
            kill(site, load, &nodes, true)?;
        }
        Fault::Pause(victim, span) => {
            let node = whom(site, victim);
            pause(site, load, node, span)?;
        }
        Fault::StepDown => step_down(site, load, leader)?,
        Fault::CutOff(victim, span) => {
            let node = whom(site, victim);
            cut(site, load, (node, Cut::Off, span), round.chance)?;
        }
        Fault::Deafen(victim, span) => {
            let node = whom(site, victim);
            cut(site, load, (node, Cut::Deaf, span), round.chance)?;
        }
        Fault::Mute(victim, span) => {
            let node = whom(site, victim);
            cut(site, load, (node, Cut::Mute, span), round.chance)?;
        }
        Fault::Part(span) => {
            let apart = Cut::Apart(follower(site, leader, round.chance));
            cut(site, load, (leader, apart, span), round.chance)?;
        }
        Fault::Away => keep_away(site, load, leader, round.chance)?,
        Fault::Unplug(victim, span) => {
            let node = whom(site, victim);
            site.wires().unplug(node)?;
            mend_after(site, load, node, span, round.chance)?;
        }
        Fault::FillDisk(victim, span) => {
            let node = whom(site, victim);
            fill(site, load, node, span)?;
        }
        Fault::StallDisk(victim, span) => {
            let node = whom(site, victim);
            stall(site, load, node, span, Duration::MAX)?;
        }
        Fault::SlowDisk(victim, span) => {
            let node = whom(site, victim);
            stall(site, load, node, span, SLOW.0)?;
        }
    }
    await_first(site, load)?;
    report.on_round(round.fault, led, load.outage().unwrap_or_default())?;
    site.check_nodes()
}

fn follower(site: &Site, leader: u64, chance: u64) -> u64 {
    let others: Vec<u64> = site.ids().into_iter().filter(|id| *id != leader).collect();
    others[chance as usize % others.len()]
}

/// Lets the load go on.
fn await_answers(site: &mut Site, load: &Load, count: u64) -> Result<()> {
    let enough = load.answers() + count;
    let span = load.promise().span_of(count);
    site.until_within(span, "the load goes on", |_| {
        load.check_abandoned()?;
        Ok((load.answers() >= enough).then_some(()))
    })
}

/// Waits for the first answer to something that was sent after the round's fault.
fn await_first(site: &mut Site, load: &Load) -> Result<()> {
    let span = load.promise().span_of(1);
    site.until_within(span, "the exchange answers again", |_| {
        load.check_abandoned()?;
        Ok(load.outage().map(drop))
    })
}

fn kill(site: &mut Site, load: &Load, nodes: &[u64], back_at_once: bool) -> Result<()> {
    let began = Instant::now();
    for node in nodes {
        site.kill(*node)?;
    }
    load.begin_outage(began);
    if !back_at_once {
        await_first(site, load)?;
    }
    nodes.iter().try_for_each(|node| site.start(*node))
}

fn pause(site: &mut Site, load: &Load, node: u64, span: Duration) -> Result<()> {
    let began = Instant::now();
    site.signal(node, Signal::SIGSTOP)?;
    load.begin_outage(began);
    let rested = site.rest(span);
    site.signal(node, Signal::SIGCONT)?;
    rested
}

fn cut(
    site: &mut Site,
    load: &Load,
    (node, cut, span): (u64, Cut, Duration),
    chance: u64,
) -> Result<()> {
    let others: Vec<u64> = site.ids().into_iter().filter(|id| *id != node).collect();
    site.wires().cut(node, &others, cut)?;
    mend_after(site, load, node, span, chance)
}

/// Lets time pass, and mends what is cut; in one of two cases connections do not outlive it.
fn mend_after(site: &mut Site, load: &Load, node: u64, span: Duration, chance: u64) -> Result<()> {
    load.begin_outage(Instant::now());
    let rested = site.rest(span);
    site.wires().mend(node, chance & 1 == 1)?;
    rested
}

/// Kills a follower, and lets it come back once the leader has given up what it lacks. The first node is left
/// out, so that there is one whose journal is whole.
fn keep_away(site: &mut Site, load: &Load, leader: u64, chance: u64) -> Result<()> {
    let others = site.ids().into_iter().skip(1).filter(|id| *id != leader);
    let others: Vec<u64> = others.collect();
    let away = others[chance as usize % others.len()];
    let mut had = 0;
    site.until("a follower says how it stands", |site| {
        had = site.status_of(away).map_or(0, |it| it.last_index);
        Ok((had > 0).then_some(()))
    })?;
    site.kill(away)?;
    load.begin_outage(Instant::now());
    load.hurry(true);
    let given_up = site.until_within(
        PATIENCE_FOR_SNAPSHOTS,
        "the leader gives up what a node that is away lacks",
        |site| {
            load.check_abandoned()?;
            // It may have got more before it was killed: nothing that it could lack is to be left.
            let first = |status: &NodeStatus| status.first_index;
            let survey = site.survey();
            let leader = survey.leader().map(first).unwrap_or_default();
            Ok((leader > had + FRAMES_UNTOLD).then_some(()))
        },
    );
    load.hurry(false);
    given_up?;
    site.start(away)?;
    site.until_within(
        PATIENCE_FOR_SNAPSHOTS,
        "a node comes back by a snapshot",
        |site| {
            let came = |status: NodeStatus| status.first_index > had;
            Ok(site.status_of(away).is_some_and(came).then_some(()))
        },
    )
}

/// Leaves no room on a node's disk for a while in which it takes much.
fn fill(site: &mut Site, load: &Load, node: u64, span: Duration) -> Result<()> {
    let began = Instant::now();
    site.disk(node)?.fill()?;
    load.begin_outage(began);
    load.hurry(true);
    let rested = site.rest(span);
    load.hurry(false);
    site.disk(node)?.empty()?;
    rested
}

/// Lets a node's disk stand still for `still` at a time, until `span` is over.
fn stall(site: &mut Site, load: &Load, node: u64, span: Duration, still: Duration) -> Result<()> {
    let began = Instant::now();
    load.begin_outage(began);
    loop {
        let left = span.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        site.disk(node)?.freeze()?;
        let rested = site.rest(left.min(still));
        site.disk(node)?.thaw()?;
        rested?;
        site.rest(SLOW.1)?;
    }
}

fn step_down(site: &mut Site, load: &Load, leader: u64) -> Result<()> {
    let began = Instant::now();
    let (address, key) = site.reach(leader)?;
    match ask(address, key, &Request::StepDown(None))? {
        // It may have lost the role meanwhile.
        Reply::Done | Reply::NotNow(_) => {}
        Reply::Refused(why) => {
            return Err(finding(anyhow!("node {leader} does not step down: {why}")));
        }
        Reply::Status(_) => return Err(finding(anyhow!("node {leader} answers another question"))),
    }
    load.begin_outage(began);
    Ok(())
}
