//! What must be true of every event stream, worked out from the events alone.
//!
//! Used on what the engine emits. Knows no rule of how commands are carried out; it knows what
//! nobody may ever see: money made or lost, a crossed book, an order overtaken at its price.
//!
//! Always holds: the first thing that is wrong is named, with the event that shows it.

mod books;
mod gains;
mod money;
mod phases;
mod sessions;

use exahour_wire::events::EventPrefix;
use exahour_wire::message::messages;

use crate::readable;

use books::Books;
use gains::Gains;
use money::Money;
use phases::Phases;
use sessions::Sessions;

/// Follows one event stream from its first event.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    events: u64,
    command: u64,
    time: u64,
    books: Books,
    money: Money,
    gains: Gains,
    sessions: Sessions,
    phases: Phases,
}

/// What is wrong with a stream.
pub type Violation = String;

/// Refuses unless the condition holds.
pub(crate) fn must(condition: bool, rule: impl FnOnce() -> String) -> Result<(), Violation> {
    if condition { Ok(()) } else { Err(rule()) }
}

impl Checker {
    /// Follows the events of one batch.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn follow(&mut self, events: &[u8]) -> Result<(), Violation> {
        let mut length = 0;
        for event in messages(events) {
            length += event.len();
            self.on_event(event)
                .map_err(|rule| format!("{rule}\n  {}", readable::message(event)))?;
        }
        must(length == events.len(), || "events are whole".to_owned())?;
        self.at_end_of_command()
    }

    fn on_event(&mut self, event: &[u8]) -> Result<(), Violation> {
        let prefix = EventPrefix::peek(event).ok_or("an event has its prefix")?;
        self.events += 1;
        must(prefix.event.0 == self.events, || {
            format!(
                "events are numbered without gap: {} comes next",
                self.events
            )
        })?;
        must(prefix.time.0 >= self.time, || "time never falls".to_owned())?;
        must(prefix.command.0 >= self.command, || {
            "command numbers never fall".to_owned()
        })?;
        if prefix.command.0 > self.command {
            self.at_end_of_command()?;
        }
        self.time = prefix.time.0;
        self.command = prefix.command.0;
        self.sessions.on_event(&prefix, event)?;
        self.phases.on_event(event)?;
        self.money.on_event(event)?;
        self.gains.on_event(event)?;
        self.books.on_event(&prefix, event)
    }

    fn at_end_of_command(&mut self) -> Result<(), Violation> {
        let place = |rule| format!("after command {}: {rule}", self.command);
        self.books.at_end_of_command(self.time).map_err(place)?;
        self.money.at_end_of_command().map_err(place)?;
        self.gains.at_end_of_command().map_err(place)
    }
}
