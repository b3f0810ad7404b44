//! Who makes way for a new connection where every place is taken.
//!
//! Called by `order_gateway` at most once in a turn: it looks at every connection.
//!
//! Always holds: an established session stays, and so does a place whose end the engine has yet to be
//! told of. Does not: favour anybody by address; whoever came first without a logon goes first.

use super::{Connection, OrderGateway, Stage};
use crate::clock::Clock;
use crate::net::Slot;

/// Why a connection may make way; the lesser goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// Its socket is closed.
    Closed,
    /// It has ended: what it was still to be told has been written as far as it reads.
    Ended,
    /// It has not proved who it is.
    Unproven,
    /// It has, and has not gone on to establish the session.
    Negotiated,
}

impl Standing {
    /// None where the connection must stay.
    fn of(connection: &Connection) -> Option<Self> {
        let session = &connection.session;
        if session.owes() || session.is_claimed() {
            return None;
        }
        Some(match connection.stage {
            Stage::Closed => Self::Closed,
            _ if session.ends() => Self::Ended,
            _ if session.session().is_some() => Self::Negotiated,
            _ => Self::Unproven,
        })
    }
}

impl<C: Clock> OrderGateway<C> {
    /// Frees the place of whoever of the least standing came first, if anybody may make way.
    pub(super) fn make_room(&mut self) {
        let standing = |(index, slot): (usize, &Slot)| {
            let connection = &self.connections[slot.0];
            let standing = Standing::of(connection)?;
            Some((standing, connection.session.connection(), index))
        };
        let first = self.active.iter().enumerate().filter_map(standing).min();
        let Some((_, _, index)) = first else {
            return;
        };
        let slot = self.active[index];
        self.with_desk(slot, |session, desk| {
            session.on_evicted(desk);
        });
        // Told if it reads: there is no waiting for it.
        self.write_to(slot);
        self.on_lost(slot);
        self.take_down(index, slot);
    }
}
