//! The dead man's handle: a session that says nothing for too long loses its orders.
//!
//! Armed by `DeadMan`; every command of the session that takes its number is a sign of life, whatever
//! becomes of it. Only the log counts: what a gateway hears and does not journal is no sign.
//!
//! ```text
//!            DeadMan{interval}                      silence for interval
//!   at rest ───────────────────► armed ─ any command ─► armed, anew ──────────────► at rest
//!      ▲                           │                                    orders cancelled
//!      └────── DeadMan{0} ─────────┘
//! ```
//! Always holds: an armed handle has a timer at or before its time. A sign of life moves no timer: one
//! that comes up early is set again, so that signs cost next to nothing.

use exahour_wire::codes::{CancelReason, Scope};
use exahour_wire::events::DeadManFired;
use exahour_wire::ids::{MessageSequence, SessionId};
use exahour_wire::message::Message;
use exahour_wire::orders;
use exahour_wire::units::{Millis, Nanos};

use super::{Execute, Request};
use crate::batch::EventSink;
use crate::reporter::Output;
use crate::timers::Due;

/// One session's handle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadMan {
    /// How long it may say nothing; zero at rest.
    pub(crate) interval: Millis,
    /// When it was heard of last; zero at rest.
    pub(crate) heard_at: Nanos,
    /// When its timer comes up; never, where none is set.
    timer_at: Nanos,
}

impl DeadMan {
    /// At rest, or armed as a snapshot says; its timer is still to be set.
    pub(crate) fn new(interval: Millis, heard_at: Nanos) -> Self {
        Self {
            interval,
            heard_at,
            timer_at: Nanos::NEVER,
        }
    }

    /// When it fires, as things stand.
    fn fires_at(&self) -> Nanos {
        match self.interval {
            Millis(0) => Nanos::NEVER,
            interval => self.heard_at.after(Nanos::from(interval)),
        }
    }

    /// Whether the timer that was set for this time still stands.
    pub(super) fn waits_for(&self, at: Nanos) -> bool {
        self.timer_at == at
    }
}

impl Execute {
    /// Takes a number, which is a sign of life.
    #[inline]
    pub(super) fn hear(&mut self, id: SessionId, sequence: MessageSequence, now: Nanos) {
        let session = &mut self.sessions[id.0 as usize];
        session.expected = MessageSequence(sequence.0.saturating_add(1));
        let dead_man = &mut session.dead_man;
        if dead_man.interval != Millis(0) {
            dead_man.heard_at = now;
        }
    }

    /// Arms the handle anew, or puts it to rest.
    pub(super) fn arm_dead_man<S: EventSink>(
        &mut self,
        command: &orders::DeadMan,
        request: Request,
        out: &mut Output<'_, S>,
    ) {
        let dead_man = &mut self.sessions[command.session.0 as usize].dead_man;
        dead_man.interval = command.interval;
        dead_man.heard_at = match command.interval {
            Millis(0) => Nanos(0),
            _ => out.time,
        };
        self.watch_dead_man(command.session);
        self.done(out, request, 0);
    }

    /// Sets the timer of an armed handle, unless one comes up before.
    pub(crate) fn watch_dead_man(&mut self, id: SessionId) {
        let dead_man = &mut self.sessions[id.0 as usize].dead_man;
        let fires_at = dead_man.fires_at();
        if fires_at < dead_man.timer_at {
            dead_man.timer_at = fires_at;
            self.timers.schedule(fires_at, Due::DeadMan(id.0));
            self.shed_timers();
        }
    }

    /// Its timer has come up: fires, or waits on where there was a sign of life.
    pub(super) fn dead_man_due<S: EventSink>(
        &mut self,
        id: SessionId,
        at: Nanos,
        out: &mut Output<'_, S>,
    ) {
        let dead_man = &mut self.sessions[id.0 as usize].dead_man;
        if !dead_man.waits_for(at) {
            return;
        }
        dead_man.timer_at = Nanos::NEVER;
        if dead_man.fires_at() > at {
            self.watch_dead_man(id);
            return;
        }
        let fired = DeadManFired {
            heard_at: dead_man.heard_at,
            interval: dead_man.interval,
            ..Message::blank()
        };
        *dead_man = DeadMan::new(Millis(0), Nanos(0));
        self.reporter.report(out, id, fired);
        self.cancel_scope(Scope::Session, id.0, CancelReason::DeadMan, out);
    }
}
