//! Which rules are in force: the behaviours this program can do, and when another may be switched on.
//!
//! A changed rule stands beside the old one and asks here which of them counts, so that an old journal
//! gives the old bytes, and replicas of different versions agree until all of them can do the new one.
//!
//! Always holds: a behaviour is switched on by the log alone, at one command for every replica, and never
//! taken back. Whoever cannot do it stops there.
//! Does not: know who the members of a group are; whoever proposes asks [`activation`] with what they said.

use exahour_wire::ids::{Behaviour, ClientOrderId, CommandSequence};
use exahour_wire::internal::ActivateBehaviour;
use exahour_wire::message::Message;

/// What every exchange begins with, and a journal stays at that says nothing else.
pub const BEHAVIOUR_FIRST: Behaviour = Behaviour(1);

/// The newest behaviour that this program can do.
///
/// | behaviour | what is new |
/// |---|---|
/// | 2 | a side of a mass quote does not trade with what the other side, refused, has left (rulebook 5) |
pub const BEHAVIOUR_MAX: Behaviour = Behaviour(2);

/// From here on a side of a mass quote is refused rather than trade with what the other side has left.
pub(crate) const QUOTES_KEEP_APART: Behaviour = Behaviour(2);

const _: () = assert!(BEHAVIOUR_FIRST.0 <= BEHAVIOUR_MAX.0);
const _: () = assert!(QUOTES_KEEP_APART.0 <= BEHAVIOUR_MAX.0);

/// The behaviour in force, and since which command: none, where the exchange began with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InForce {
    pub(crate) behaviour: Behaviour,
    pub(crate) since: CommandSequence,
}

impl InForce {
    /// What an exchange begins with.
    pub(crate) const FIRST: Self = Self {
        behaviour: BEHAVIOUR_FIRST,
        since: CommandSequence::NONE,
    };

    /// Whether rules of this behaviour count.
    #[inline]
    pub(crate) fn has(self, behaviour: Behaviour) -> bool {
        self.behaviour >= behaviour
    }
}

/// The log wants rules that this program does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "behaviour {behaviour} was activated at command {since}; this program can do up to {known}: \
     start a newer one"
)]
pub struct UnknownBehaviour {
    /// What was activated.
    pub behaviour: Behaviour,
    /// The command that did it.
    pub since: CommandSequence,
    /// The newest that this program can do.
    pub known: Behaviour,
}

/// A member of the group, a learner too, and what it says that it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The id of the node.
    pub node_id: u64,
    /// The newest behaviour that it can do, where it has said so.
    pub newest: Option<Behaviour>,
}

/// Why a behaviour may not be proposed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActivationRefused {
    /// It would change nothing, or go back.
    #[error("behaviour {in_force} is in force, and none is ever taken back: ask for a higher one")]
    NotNewer {
        /// What is in force.
        in_force: Behaviour,
    },
    /// Somebody could not go on.
    #[error("node {node_id} can do up to behaviour {newest}: start a newer program there first")]
    Cannot {
        /// The node.
        node_id: u64,
        /// The newest that it can do.
        newest: Behaviour,
    },
    /// Somebody might not be able to go on.
    #[error("node {node_id} has not said what it can do: ask again once it is connected")]
    Unheard {
        /// The node.
        node_id: u64,
    },
    /// Nobody could.
    #[error("the group has no members yet: ask again once it has")]
    Nobody,
}

/// The command that activates a behaviour, to be sequenced like every other; `members` are all of the
/// group, the proposing node among them.
///
/// # Errors
/// [`ActivationRefused`]: a member could not follow it, or it is nothing new.
pub fn activation(
    asked: Behaviour,
    in_force: Behaviour,
    members: impl IntoIterator<Item = Member>,
    request: ClientOrderId,
) -> Result<ActivateBehaviour, ActivationRefused> {
    if asked <= in_force {
        return Err(ActivationRefused::NotNewer { in_force });
    }
    let mut refused = Err(ActivationRefused::Nobody);
    for Member { node_id, newest } in members {
        match newest {
            None => return Err(ActivationRefused::Unheard { node_id }),
            Some(newest) if newest < asked => {
                return Err(ActivationRefused::Cannot { node_id, newest });
            }
            Some(_) => refused = Ok(()),
        }
    }
    refused?;
    Ok(ActivateBehaviour {
        request,
        behaviour: asked,
        ..ActivateBehaviour::blank()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node_id: u64, newest: u32) -> Member {
        Member {
            node_id,
            newest: Some(Behaviour(newest)),
        }
    }

    fn ask(asked: u32, members: &[Member]) -> Result<ActivateBehaviour, ActivationRefused> {
        let members = members.iter().copied();
        activation(Behaviour(asked), Behaviour(2), members, ClientOrderId(7))
    }

    #[test]
    fn what_every_member_can_do_may_be_proposed() {
        let command = ask(3, &[member(1, 3), member(2, 4), member(3, 3)]);
        let expected = ActivateBehaviour {
            request: ClientOrderId(7),
            behaviour: Behaviour(3),
            ..ActivateBehaviour::blank()
        };
        assert_eq!(command, Ok(expected));
    }

    #[test]
    fn one_member_that_cannot_do_it_is_enough_for_a_refusal() {
        for place in 0..3 {
            let mut members = [member(1, 3), member(2, 3), member(3, 3)];
            members[place].newest = Some(Behaviour(2));
            let refused = ActivationRefused::Cannot {
                node_id: place as u64 + 1,
                newest: Behaviour(2),
            };
            assert_eq!(ask(3, &members), Err(refused));
            members[place].newest = None;
            let refused = ActivationRefused::Unheard {
                node_id: place as u64 + 1,
            };
            assert_eq!(ask(3, &members), Err(refused));
        }
    }

    #[test]
    fn what_is_in_force_may_not_be_proposed_again() {
        for asked in 0..=2 {
            let in_force = Behaviour(2);
            let refused = ActivationRefused::NotNewer { in_force };
            assert_eq!(ask(asked, &[member(1, 3)]), Err(refused));
        }
    }

    #[test]
    fn nobody_can_do_nothing() {
        assert_eq!(ask(3, &[]), Err(ActivationRefused::Nobody));
    }
}
