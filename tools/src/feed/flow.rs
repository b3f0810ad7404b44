//! Both sides of a flow at work: rows go in, commands go out, answers are heard.
//!
//! Turned by `feed::run` and by `demo`.
//!
//! Always holds: never more than the window is in flight, except by [`Flow::act`] alone; an exchange
//! that lives and does not answer is given up on.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use exahour_wire::codes::Side;
use exahour_wire::ids::{ClientOrderId, InstrumentId};

use super::desk::{Acknowledged, Changed, Desk};
use super::rows::{Action, Row};
use super::summary::Counts;
use crate::interrupt::Interrupt;

/// How long a flow sleeps at most while it waits for answers or for its time.
const NAP: Duration = Duration::from_millis(1);

/// How long the exchange may keep a full window, or the last commands, without an answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// How long the sessions may take to be taken up again, at a leader that is found meanwhile.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(30);

/// Both sides at work.
pub(crate) struct Flow {
    /// The bids' desk, and the asks' where they have one of their own.
    desks: Vec<Desk>,
    pub(crate) counts: Counts,
    instrument: InstrumentId,
    lot: u64,
    window: usize,
    /// Ends every wait but the last.
    interrupt: Option<Interrupt>,
}

impl Flow {
    pub(crate) fn new(
        desks: Vec<Desk>,
        instrument: InstrumentId,
        lot: u64,
        window: usize,
    ) -> Result<Self> {
        Ok(Self {
            desks,
            counts: Counts::new()?,
            instrument,
            lot,
            window,
            interrupt: None,
        })
    }

    /// The same, with waits that end where somebody wants no more of it.
    pub(super) fn heeding(self, interrupt: Interrupt) -> Self {
        Self {
            interrupt: Some(interrupt),
            ..self
        }
    }

    /// Sends what a row asks for, once it is due and there is room.
    pub(crate) fn step(&mut self, row: &Row, due: Instant) -> Result<()> {
        while Instant::now() < due {
            self.flush()?;
            let left = due.saturating_duration_since(Instant::now());
            self.hear(left.min(NAP))?;
        }
        let until = Instant::now() + ANSWERS_WITHIN;
        while self.in_flight() >= self.window {
            self.flush()?;
            self.hear(NAP)?;
            self.check_patience(until)?;
        }
        self.await_sessions()?;
        self.act(row, due)
    }

    /// Waits for sessions that have lost their leader and look for the next one.
    fn await_sessions(&mut self) -> Result<()> {
        let until = Instant::now() + TAKEN_UP_WITHIN;
        while !self.desks.iter().all(Desk::is_established) {
            self.hear(NAP)?;
            self.check_patience(until)?;
        }
        Ok(())
    }

    /// Queues what a row asks for, without hearing or waiting for anything.
    pub(crate) fn act(&mut self, row: &Row, due: Instant) -> Result<()> {
        // Ids of a run are its own: earlier runs may have left orders of the same file in the book.
        let name = ClientOrderId(u64::from(self.instrument.0) << 40 | row.id);
        let lots = row.volume.div_ceil(self.lot);
        let place = match row.side {
            Side::Sell if self.desks.len() > 1 => 1,
            _ => 0,
        };
        self.counts.rows += 1;
        let desk = &mut self.desks[place];
        let changed = match row.action {
            Action::Created => {
                desk.enter(name, (row.side, row.price, lots), due)?;
                self.counts.orders += 1;
                return Ok(());
            }
            Action::Changed if lots > 0 => {
                let changed = desk.change(name, (row.price, lots), due)?;
                self.counts.replaces += u64::from(changed == Changed::Sent);
                changed
            }
            Action::Changed | Action::Deleted => {
                let changed = desk.cancel(name, due)?;
                self.counts.cancels += u64::from(changed == Changed::Sent);
                changed
            }
        };
        self.counts.not_live += u64::from(changed == Changed::NotLive);
        self.counts.unchanged += u64::from(changed == Changed::Already);
        Ok(())
    }

    /// Takes in what was said, and waits for it for `patience` where nothing was.
    fn hear(&mut self, patience: Duration) -> Result<()> {
        if let Some(interrupt) = &self.interrupt {
            interrupt.check()?;
        }
        let mut any = false;
        for desk in &mut self.desks {
            any |= desk.poll(&mut self.counts)?;
        }
        if any {
            return Ok(());
        }
        let busiest = self.desks.iter_mut().max_by_key(|desk| desk.in_flight());
        if let Some(desk) = busiest {
            desk.wait(patience, &mut self.counts)?;
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.desks.iter_mut().try_for_each(Desk::flush)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.desks.iter().map(Desk::in_flight).sum()
    }

    /// Takes the sessions up again at the node's new address.
    pub(crate) fn reconnect(&mut self, address: SocketAddr) -> Result<()> {
        let mut desks = self.desks.iter_mut();
        desks.try_for_each(|desk| desk.reconnect(address))
    }

    /// Every order that the exchange has acknowledged to these desks.
    pub(crate) fn acknowledged(&self) -> impl Iterator<Item = Acknowledged> {
        self.desks.iter().flat_map(Desk::acknowledged)
    }

    pub(super) fn live(&self) -> usize {
        self.desks.iter().map(Desk::live).sum()
    }

    /// Waits for the answers to all that was sent.
    pub(crate) fn drain(&mut self) -> Result<()> {
        let until = Instant::now() + ANSWERS_WITHIN;
        while self.in_flight() > 0 {
            self.flush()?;
            self.hear(NAP)?;
            self.check_patience(until)?;
        }
        Ok(())
    }

    /// As [`Flow::drain`], and for what else came of it: an order may have traded on one session while
    /// its counterpart's was answered. Not to be interrupted: whoever was wants to know.
    pub(super) fn drain_to_the_end(&mut self) -> Result<()> {
        self.interrupt = None;
        self.drain()?;
        self.await_sessions()?;
        self.desks.iter_mut().try_for_each(Desk::ask_last)?;
        self.drain()
    }

    /// Gives up on an exchange that lives and does not answer.
    fn check_patience(&self, until: Instant) -> Result<()> {
        if Instant::now() > until {
            bail!(
                "{} commands were not answered within {} s: is the node overloaded, or its disk full?",
                self.in_flight(),
                ANSWERS_WITHIN.as_secs()
            );
        }
        Ok(())
    }

    pub(crate) fn leave(self) -> Result<()> {
        self.desks.into_iter().try_for_each(Desk::leave)
    }
}
