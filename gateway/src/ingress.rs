//! The gateway's way into the exchange: commands go into its own ring, whole or not at all.
//!
//! Called by `session` for every message it accepts.
//!
//! Always holds: all lines of a command become visible together; full is an answer.

use exahour_rings::{Full, Producer, WatermarkReader};
use exahour_wire::message::Message;
use exahour_wire::record::{Line, NoRecord, Record};

/// Why a message was not handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The exchange is behind.
    Busy,
    /// The bytes are no command.
    NoRecord(NoRecord),
}

/// The writing end of the gateway's ring.
pub struct Ingress {
    lines: Producer<Line>,
    /// How often those behind have closed and opened the intake: odd while it is closed.
    intakes: Vec<WatermarkReader>,
}

impl Ingress {
    /// Takes the writing end.
    #[must_use]
    pub fn new(lines: Producer<Line>) -> Self {
        Self {
            lines,
            intakes: Vec::new(),
        }
    }

    /// Lets somebody behind close the intake, as they do while the disk is full: an odd mark means
    /// closed.
    pub fn follow_intake(&mut self, intake: WatermarkReader) {
        self.intakes.push(intake);
    }

    /// Hands on a command as it came from a client.
    ///
    /// # Errors
    /// [`Refused`]; nothing was handed on.
    #[inline]
    pub fn push_wire(&mut self, message: &[u8]) -> Result<(), Refused> {
        let record = Record::from_wire(message).map_err(Refused::NoRecord)?;
        if self.is_closed() {
            return Err(Refused::Busy);
        }
        self.push(&record).map_err(|Full| Refused::Busy)
    }

    #[inline]
    fn is_closed(&self) -> bool {
        self.intakes.iter().any(|intake| intake.current() % 2 == 1)
    }

    #[inline]
    fn push(&mut self, record: &Record) -> Result<(), Full> {
        self.lines.try_push_slice(record.lines())
    }

    /// Hands on a wish to log on, which waits for an answer like a client's command.
    ///
    /// # Errors
    /// [`Full`] where the exchange is behind or takes nothing; nothing was handed on.
    pub fn push_logon<M: Message>(&mut self, command: &M) -> Result<(), Full> {
        if self.is_closed() {
            return Err(Full);
        }
        self.push_own(command)
    }

    /// Hands on the gateway's own news, whether or not the intake is closed.
    ///
    /// # Errors
    /// [`Full`] where the exchange is behind; nothing was handed on.
    pub fn push_own<M: Message>(&mut self, command: &M) -> Result<(), Full> {
        self.push(&Record::new(command))
    }
}
