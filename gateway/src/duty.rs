//! What a node is, as its clients must know it: the leader of the exchange, or one that follows.
//!
//! The node's sequencer pushes each change into a ring; `order_gateway` drains it at the begin of
//! each turn and again before it believes a frame of the event log.
//!
//! Always holds: changes take effect in the order they were pushed; a node leads, as its clients see
//! it, only once its gateway has read all that the exchange did before.
//! Does not: know how a leader is found.
//!
//! ```text
//!   unknown --Leads--> (reads the event log) --> leads
//!      |                    |                     |
//!      +----Follows---------+------Follows--------+--> follows, and knows of whom or not
//! ```

use std::net::SocketAddr;

use exahour_journal::{Position, Reader};
use exahour_rings::Consumer;

/// What this node is.
///
/// `Leads` is to be pushed once the events of everything up to this node's own `NodeStarted` are in
/// the event log; `Follows` at once, before anything that a later leader did is published to the
/// engine: the gateway relies on hearing of the loss before the log tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// It takes orders.
    Leads,
    /// Another does: the address where that one takes orders, if it is known.
    Follows(Option<SocketAddr>),
}

/// The duty of a node, and how its changes come.
pub(crate) struct Office {
    news: Option<Consumer<Duty>>,
    now: Duty,
    /// Whether anything was said yet.
    known: bool,
    /// It leads once the event log is read up to here.
    leads_from: Option<Position>,
}

impl Office {
    /// That of a node that always leads.
    pub(crate) fn alone() -> Self {
        Self {
            news: None,
            now: Duty::Leads,
            known: true,
            leads_from: None,
        }
    }

    /// That of a node whose duty changes; it has none before the first change.
    pub(crate) fn following(news: Consumer<Duty>) -> Self {
        Self {
            news: Some(news),
            now: Duty::Follows(None),
            known: false,
            leads_from: None,
        }
    }

    /// The duty as it stands; that of a follower before the first word.
    #[inline]
    pub(crate) fn duty(&self) -> &Duty {
        &self.now
    }

    /// Whether clients may be let in, if only to be told who leads.
    #[inline]
    pub(crate) fn is_known(&self) -> bool {
        self.known
    }

    /// The next change that takes effect, when the gateway has read the event log as far as `log`.
    #[inline]
    pub(crate) fn poll(&mut self, log: &Reader) -> Option<Duty> {
        let news = self.news.as_mut()?;
        match news.try_pop() {
            Some(Duty::Leads) => self.leads_from = Some(log.appended()),
            Some(follows) => {
                self.leads_from = None;
                return Some(self.take_up(follows));
            }
            None => {}
        }
        if self.leads_from.is_some_and(|end| log.position() >= end) {
            self.leads_from = None;
            return Some(self.take_up(Duty::Leads));
        }
        None
    }

    fn take_up(&mut self, duty: Duty) -> Duty {
        self.now = duty;
        self.known = true;
        duty
    }
}

#[cfg(test)]
mod tests {
    use exahour_journal::{Config, FrameMeta, Journal, LogId, Verify};
    use exahour_rings::{Capacity, ring};

    use super::*;

    fn frame(index: u64) -> FrameMeta {
        FrameMeta {
            index,
            term: 1,
            count: 1,
            kind: 1,
            first_sequence: index,
            time_ns: 0,
        }
    }

    #[test]
    fn a_node_leads_once_its_gateway_has_read_what_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path(), LogId([3; 16])).with_segment_bytes(1 << 20);
        let mut journal = Journal::create(&config).unwrap();
        let mut log = Reader::follow(dir.path(), Verify::Trust).unwrap();
        let (mut news, duty) = ring(Capacity::new(8).unwrap());
        let mut office = Office::following(duty);
        assert_eq!((office.poll(&log), office.is_known()), (None, false));

        journal.appender.append(&frame(1), &[&[1; 64]]).unwrap();
        news.try_push(Duty::Leads).unwrap();
        assert_eq!((office.poll(&log), office.is_known()), (None, false));
        // What comes after the change is not waited for.
        log.next(Position::new(u64::MAX)).unwrap().unwrap();
        journal.appender.append(&frame(2), &[&[2; 64]]).unwrap();
        assert_eq!(office.poll(&log), Some(Duty::Leads));
        assert_eq!((office.poll(&log), office.duty()), (None, &Duty::Leads));

        // A role that is lost before it took effect never does.
        let elsewhere = Duty::Follows(Some("192.0.2.1:9001".parse().unwrap()));
        news.try_push(Duty::Leads).unwrap();
        assert_eq!(office.poll(&log), None);
        news.try_push(elsewhere).unwrap();
        assert_eq!(office.poll(&log), Some(elsewhere));
        log.next(Position::new(u64::MAX)).unwrap().unwrap();
        assert_eq!((office.poll(&log), office.duty()), (None, &elsewhere));
    }

    #[test]
    fn a_node_without_news_leads() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path(), LogId([3; 16])).with_segment_bytes(1 << 20);
        let _journal = Journal::create(&config).unwrap();
        let log = Reader::follow(dir.path(), Verify::Trust).unwrap();
        let mut office = Office::alone();
        assert_eq!((office.poll(&log), office.duty()), (None, &Duty::Leads));
    }
}
