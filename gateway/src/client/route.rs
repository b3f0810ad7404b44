//! Which node a client tries next, and when.
//!
//! Asked by `Client` whenever it has no session with the leader.
//!
//! Always holds: the node that was named as the leader comes first, then the known ones in turn; once
//! as many attempts have failed as there are nodes, the next waits, a quarter longer each time up to
//! [`PAUSE_MAX`]. A node among several is given [`PATIENCE_MIN`] to say anything, and twice as long after each
//! such round: a machine without power does not refuse a connection, and another may lead already.
//! Does not: touch a socket or a clock.

use std::net::SocketAddr;

use exahour_wire::units::{Millis, Nanos};

use crate::clock::Steady;

/// The first wait after a round of failures.
const PAUSE_MIN: Nanos = Nanos(20_000_000);

/// The longest.
pub(super) const PAUSE_MAX: Nanos = Nanos(1_000_000_000);

/// How long one of several nodes may be silent in the first round.
const PATIENCE_MIN: Nanos = Nanos(250_000_000);

#[derive(Debug)]
pub(super) struct Route {
    /// At least one.
    nodes: Box<[SocketAddr]>,
    /// The place of the one that is next in turn.
    next: usize,
    /// Named as the leader, and not tried since.
    named: Option<SocketAddr>,
    current: SocketAddr,
    failures: usize,
    pause: Nanos,
    patience: Nanos,
    ready_at: Steady,
}

impl Route {
    /// A route that begins with `first`.
    pub(super) fn new(first: SocketAddr, further: &[SocketAddr]) -> Self {
        let mut nodes = vec![first];
        for node in further {
            if !nodes.contains(node) {
                nodes.push(*node);
            }
        }
        Self {
            nodes: nodes.into_boxed_slice(),
            next: 0,
            named: None,
            current: first,
            failures: 0,
            pause: PAUSE_MIN,
            patience: PATIENCE_MIN,
            ready_at: Steady::default(),
        }
    }

    /// Has this node take the place of the one that was given first, and be tried next.
    pub(super) fn set_first(&mut self, address: SocketAddr) {
        self.nodes[0] = address;
        self.next = 0;
        self.named = None;
    }

    /// The node tried last.
    pub(super) fn current(&self) -> SocketAddr {
        self.current
    }

    /// How long a node may be silent at first; `longest` where there is no other.
    pub(super) fn patience(&self, longest: Nanos) -> Nanos {
        match self.nodes.len() {
            1 => longest,
            _ => self.patience.min(longest),
        }
    }

    /// When the next one may be tried.
    pub(super) fn ready_at(&self) -> Steady {
        self.ready_at
    }

    /// Takes the next node.
    pub(super) fn take(&mut self) -> SocketAddr {
        self.current = self.named.take().unwrap_or_else(|| {
            let node = self.nodes[self.next];
            self.next = (self.next + 1) % self.nodes.len();
            node
        });
        self.current
    }

    /// Has this node tried next, as one that is known to lead.
    pub(super) fn on_named(&mut self, leader: SocketAddr) {
        if leader.port() != 0 && !leader.ip().is_unspecified() {
            self.named = Some(leader);
        }
    }

    /// Whether a leader was named and not tried since.
    pub(super) fn is_named(&self) -> bool {
        self.named.is_some()
    }

    /// An attempt has failed; the node asks to be left alone for `back_off`.
    pub(super) fn on_failed(&mut self, back_off: Millis, now: Steady) {
        self.failures += 1;
        self.ready_at = now.after(Nanos::from(back_off));
        if self.failures >= self.nodes.len() {
            self.failures = 0;
            self.ready_at = self.ready_at.max(now.after(self.pause));
            // A leader that is there again is found when so long a part of its absence has passed once more.
            self.pause = Nanos(self.pause.0 + self.pause.0 / 4).min(PAUSE_MAX);
            self.patience = Nanos(self.patience.0.saturating_mul(2));
        }
    }

    /// The session is open, or somebody wants it to be at once.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
        self.pause = PAUSE_MIN;
        self.patience = PATIENCE_MIN;
        self.ready_at = Steady::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], number))
    }

    #[test]
    fn nodes_are_tried_in_turn_and_a_named_one_before_them() {
        let mut route = Route::new(node(1), &[node(2), node(1), node(3)]);
        let now = Steady(1_000);
        let mut tried = Vec::new();
        for attempt in 0..9 {
            tried.push(route.take().port());
            if attempt == 1 {
                route.on_named(node(7));
            }
            if attempt == 4 {
                // Nobody can be reached there.
                route.on_named(SocketAddr::from(([0, 0, 0, 0], 9)));
                route.on_named(node(0));
            }
            route.on_failed(Millis(0), now);
        }
        assert_eq!(tried, [1, 2, 7, 3, 1, 2, 3, 1, 2]);
    }

    #[test]
    fn each_round_of_failures_waits_longer_and_never_for_long() {
        let mut route = Route::new(node(1), &[node(2)]);
        let mut now = Steady(0);
        let mut waits = Vec::new();
        for _ in 0..40 {
            route.take();
            route.on_failed(Millis(0), now);
            waits.push(route.ready_at().since(now).0 / 1_000_000);
            now = now.max(route.ready_at());
        }
        assert_eq!(waits[..8], [0, 20, 0, 25, 0, 31, 0, 39]);
        assert_eq!(waits[36..], [0, 1_000, 0, 1_000]);
        route.on_failed(Millis(3_000), now);
        assert_eq!(route.ready_at().since(now), Nanos(3_000_000_000));
        route.reset();
        assert!(route.ready_at() <= now);
    }

    #[test]
    fn one_of_several_nodes_is_waited_for_longer_each_round() {
        let longest = Nanos(3_000_000_000);
        let mut route = Route::new(node(1), &[node(2)]);
        let mut waits = Vec::new();
        for _ in 0..10 {
            route.take();
            waits.push(route.patience(longest).0 / 1_000_000);
            route.on_failed(Millis(0), Steady(0));
        }
        assert_eq!(
            waits,
            [250, 250, 500, 500, 1_000, 1_000, 2_000, 2_000, 3_000, 3_000]
        );
        route.reset();
        assert_eq!(route.patience(longest), PATIENCE_MIN);
        assert_eq!(Route::new(node(1), &[]).patience(longest), longest);
    }

    /// Nodes that name each other for ever are not asked without a pause.
    #[test]
    fn whoever_is_sent_round_in_circles_waits_too() {
        let mut route = Route::new(node(1), &[node(2)]);
        let mut now = Steady(0);
        let mut attempts = 0;
        while now < Steady(10_000_000_000) {
            let at = route.take();
            route.on_named(node(3 - at.port()));
            route.on_failed(Millis(0), now);
            now = now.max(route.ready_at());
            attempts += 1;
            assert!(attempts < 60, "{now:?}");
        }
    }
}
