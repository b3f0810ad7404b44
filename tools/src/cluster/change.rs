//! Has the leader do something, until it is done: looks at the cluster, asks, and looks again.
//!
//! Called by the commands that change a cluster.
//!
//! Always holds: what is asked next follows from how the cluster stands, never from what was asked before;
//! so a command that was cut short can be given again.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use exahour_replicas::{NodeStatus, Reply, Request};

use super::reach::{ChangeArguments, Reach};
use super::survey::{Survey, ask};
use crate::exit::finding;
use crate::interrupt::Interrupt;

/// How long to wait from one look to the next.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What the leader's words call for.
pub(super) enum Next {
    /// It is so.
    Done,
    /// It can be asked for.
    Ask(Request),
    /// It is on its way, as far as this.
    Wait(String),
}

/// What a change of the members waits for that the leader has made, so long as it could not be lost.
pub(super) fn once_known(leader: &NodeStatus) -> Next {
    match leader.members_known {
        true => Next::Done,
        false => Next::Wait("not enough of the voters know of it yet".to_owned()),
    }
}

/// Asks whoever leads until `judge` finds it done; how the leader stood then.
///
/// # Errors
/// Where it is refused (a finding), and where it is not done in time.
pub(super) fn until_done(
    arguments: &ChangeArguments,
    mut judge: impl FnMut(&NodeStatus) -> Result<Next>,
) -> Result<NodeStatus> {
    let interrupt = Interrupt::watch()?;
    let reach = arguments.cluster.reach()?;
    let end = Instant::now() + arguments.patience;
    loop {
        let survey = Survey::take(&reach);
        let why = match (survey.silence(), survey.leader()) {
            (Some(why), _) => format!("no node answers: {why}"),
            (None, None) => "no node leads".to_owned(),
            (None, Some(leader)) => match judge(leader)? {
                Next::Done => return Ok(leader.clone()),
                Next::Wait(why) => why,
                Next::Ask(request) => ask_leader(&reach, &survey, leader, &request)?,
            },
        };
        interrupt.check()?;
        if Instant::now() >= end {
            bail!(
                "not done within {} s: {why}; it can be asked for again",
                arguments.patience.as_secs()
            );
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// What keeps it from being done at once.
fn ask_leader(
    reach: &Reach,
    survey: &Survey,
    leader: &NodeStatus,
    request: &Request,
) -> Result<String> {
    let Some(address) = survey.address_of(leader.id) else {
        return Ok("no node leads".to_owned());
    };
    match ask(address, &reach.key, request) {
        Ok(Reply::Done) => Ok("the group has not agreed on it yet".to_owned()),
        Ok(Reply::NotNow(why)) => Ok(why),
        Ok(Reply::Refused(why)) => Err(finding(anyhow!("node {} refuses it: {why}", leader.id))),
        Ok(Reply::Status(_)) => {
            bail!("{address} answered another question: is it of this version?")
        }
        // It may have been carried out: the next look tells.
        Err(error) => Ok(error.to_string()),
    }
}
