//! A round: the load goes on for a while, something is done to the nodes, and the exchange answers again.
//!
//! Called by `torture` for each round of its plan.
//!
//! Always holds: at its end every node runs, and everything that was cut is mended.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use exahour_replicas::{Reply, Request};
use nix::sys::signal::Signal;

use super::load::Load;
use super::plan::{Fault, Round, Victim};
use super::report::Report;
use super::site::Site;
use crate::cluster::survey::ask;
use crate::exit::finding;

/// Plays a round.
///
/// # Errors
/// A finding, where the exchange does not answer again, or a node ends that nobody has killed.
pub(super) fn play(site: &mut Site, load: &Load, round: &Round, report: &mut Report) -> Result<()> {
    await_answers(site, load, round.answers)?;
    let leader = site.leader()?;
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
            for link in site.links_of(node) {
                link.cut_off();
            }
            mend_after(site, load, node, span, round.chance)?;
        }
        Fault::Deafen(victim, span) => {
            let node = whom(site, victim);
            for link in site.links_of(node) {
                link.deafen(node);
            }
            mend_after(site, load, node, span, round.chance)?;
        }
    }
    await_first(site, load)?;
    report.on_round(round.fault, load.outage().unwrap_or_default());
    Ok(())
}

fn follower(site: &Site, leader: u64, chance: u64) -> u64 {
    let others: Vec<u64> = site.ids().into_iter().filter(|id| *id != leader).collect();
    others[chance as usize % others.len()]
}

/// Lets the load go on.
fn await_answers(site: &mut Site, load: &Load, count: u64) -> Result<()> {
    let enough = load.answers() + count;
    site.until("the load goes on", |_| {
        load.check_abandoned()?;
        Ok((load.answers() >= enough).then_some(()))
    })
}

/// Waits for the first answer to something that was sent after the round's fault.
fn await_first(site: &mut Site, load: &Load) -> Result<()> {
    site.until("the exchange answers again", |_| {
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

/// Lets time pass, and mends what is cut; in one of two cases connections do not outlive it.
fn mend_after(site: &Site, load: &Load, node: u64, span: Duration, chance: u64) -> Result<()> {
    load.begin_outage(Instant::now());
    let rested = site.rest(span);
    for link in site.links_of(node) {
        link.mend(chance & 1 == 1);
    }
    rested
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
