//! The life of one delivery: its states, the legal moves between them, and what is due next.
//!
//! Asked by `settle` with the clock's time; changed only through `State::after`.
//!
//! ```text
//! Assigned --provide--> Provisioning --come up--> Active --announce--> Metering
//!    |                     |    ^                   |                     |
//!    |                     |    +-------lose--------+---------------------+
//!    +--------end----------+--------end-------------+---------end---------+--> Ended
//! Ended --confirm--> Confirmed --settle--> Settled     any before --settle--> Settled
//!   +-----fail-----> Failed -----settle------^
//! ```
//! Always holds: every other move is refused by name. Does not: touch a clock, a file or a machine.

use std::net::SocketAddrV4;

use exahour_wire::ids::{AccountId, InstrumentId, ObligationId};
use exahour_wire::message::{AccessKey, Digest, Evidence};
use exahour_wire::units::{Hours, Nanos, Price, Quantity};

/// How long after a window's end its machine may still be writing the last beat.
pub const LAST_BEAT_WAIT: Nanos = Nanos(2 * Nanos::SECOND.0);

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The exchange has assigned it; nothing was done for it yet.
    Assigned,
    /// A provider was chosen and is to bring the machine up.
    Provisioning,
    /// The machine answers; the exchange is being told.
    Active,
    /// The exchange knows; the machine is measured.
    Metering,
    /// It is over; the machine is being removed and measured for the last time.
    Ended,
    /// The time verified was reported as a delivery.
    Confirmed,
    /// The time verified was reported as a failure.
    Failed,
    /// The exchange has paid.
    Settled,
}

/// What can happen to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// A provider was chosen, and that was recorded.
    Provide,
    /// The machine answers.
    ComeUp,
    /// The exchange has told the buyer.
    Announce,
    /// The machine is gone before its time.
    Lose,
    /// The window is over, or delivery was given up.
    End,
    /// The report of a delivery was recorded, to be sent.
    Confirm,
    /// The report of a failure was recorded, to be sent.
    Fail,
    /// The exchange has closed the obligation.
    Settle,
}

/// A move that the present state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a delivery that is {from:?} cannot {step:?}")]
pub struct IllegalMove {
    /// The state.
    pub from: State,
    /// The move.
    pub step: Move,
}

impl State {
    /// All states, in the order of a life.
    pub const ALL: [State; 8] = [
        State::Assigned,
        State::Provisioning,
        State::Active,
        State::Metering,
        State::Ended,
        State::Confirmed,
        State::Failed,
        State::Settled,
    ];

    /// The state after a move.
    ///
    /// # Errors
    /// [`IllegalMove`], naming both.
    pub fn after(self, step: Move) -> Result<State, IllegalMove> {
        match (self, step) {
            (State::Assigned, Move::Provide) => Ok(State::Provisioning),
            (State::Provisioning, Move::ComeUp) => Ok(State::Active),
            (State::Active, Move::Announce) => Ok(State::Metering),
            (State::Active | State::Metering, Move::Lose) => Ok(State::Provisioning),
            (
                State::Assigned | State::Provisioning | State::Active | State::Metering,
                Move::End,
            ) => Ok(State::Ended),
            (State::Ended, Move::Confirm) => Ok(State::Confirmed),
            (State::Ended, Move::Fail) => Ok(State::Failed),
            // The exchange's word counts, also where another settled it by hand.
            (from, Move::Settle) if from != State::Settled => Ok(State::Settled),
            (from, step) => Err(IllegalMove { from, step }),
        }
    }

    /// The name under which it is stored and shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Assigned => "Assigned",
            State::Provisioning => "Provisioning",
            State::Active => "Active",
            State::Metering => "Metering",
            State::Ended => "Ended",
            State::Confirmed => "Confirmed",
            State::Failed => "Failed",
            State::Settled => "Settled",
        }
    }

    /// The state of a name, if it is one.
    #[must_use]
    pub fn by_name(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// Why delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The window is over.
    WindowOver,
    /// The window is over, and the buyer never registered a key.
    NoKey,
    /// The provider will never do it.
    Refused,
    /// The operator asked for deliveries to be cut short.
    ClosedEarly,
}

impl Ending {
    /// All endings.
    pub const ALL: [Ending; 4] = [
        Ending::WindowOver,
        Ending::NoKey,
        Ending::Refused,
        Ending::ClosedEarly,
    ];

    /// The name under which it is stored and shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Ending::WindowOver => "WindowOver",
            Ending::NoKey => "NoKey",
            Ending::Refused => "Refused",
            Ending::ClosedEarly => "ClosedEarly",
        }
    }

    /// The ending of a name, if it is one.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Ending> {
        Ending::ALL.into_iter().find(|ending| ending.name() == name)
    }

    /// How the delivery is reported: only a window that was served to its end, or that the buyer let
    /// pass, is a delivery.
    #[must_use]
    pub fn report(self, verified: Nanos) -> Move {
        match self {
            Ending::WindowOver | Ending::NoKey if verified > Nanos(0) => Move::Confirm,
            _ => Move::Fail,
        }
    }
}

/// When a machine is owed, in UTC nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first moment.
    pub start: Nanos,
    /// The moment after the last.
    pub end: Nanos,
}

impl Window {
    /// The window of so many hours from `start`.
    #[must_use]
    pub fn new(start: Nanos, hours: Hours) -> Window {
        let end = start.after(Nanos(u64::from(hours.0).saturating_mul(Nanos::HOUR.0)));
        Window { start, end }
    }

    /// How much of it has passed.
    #[must_use]
    pub fn passed(&self, now: Nanos) -> Nanos {
        Nanos(now.0.min(self.end.0).saturating_sub(self.start.0))
    }

    /// How long it is.
    #[must_use]
    pub fn span(&self) -> Nanos {
        Nanos(self.end.0.saturating_sub(self.start.0))
    }
}

/// Where a machine answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its SSH server.
    pub address: SocketAddrV4,
    /// SHA-256 of its SSH host key.
    pub host_key: Digest,
}

/// Whether the machine must still be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It was not asked for yet.
    NotIntended,
    /// It was recorded and is to be made.
    Due,
    /// It was made.
    Done,
}

/// One delivery, as recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Obligation {
    /// Its name, and the key of everything done for it.
    pub id: ObligationId,
    /// The contract.
    pub instrument: InstrumentId,
    /// Who gets the machine.
    pub buyer: AccountId,
    /// Who is paid for it.
    pub seller: AccountId,
    /// Lots.
    pub quantity: Quantity,
    /// What an hour of a lot costs.
    pub price: Price,
    /// When it is owed.
    pub window: Window,
    /// The key that opens it; none while the buyer has registered none.
    pub key: Option<AccessKey>,
    /// Where it stands.
    pub state: State,
    /// The provider chosen.
    pub provider: Option<String>,
    /// Where the machine answers.
    pub place: Option<Place>,
    /// When the machine of now came up; zero before.
    pub up_since: Nanos,
    /// When the machine first came up; zero before.
    pub first_up: Nanos,
    /// Whether the exchange has told the buyer.
    pub announced: bool,
    /// Failures in a row.
    pub failures: u32,
    /// No attempt before this.
    pub retry_at: Nanos,
    /// The next look at the machine.
    pub look_at: Nanos,
    /// The next measurement.
    pub measure_at: Nanos,
    /// How much of the window passed before the buyer had a key: it counts as taken. A span.
    pub keyless: Nanos,
    /// Time verified: a span.
    pub verified: Nanos,
    /// What that rests on.
    pub evidence: Evidence,
    /// Why it ended.
    pub ending: Option<Ending>,
    /// Whether the machine must still be removed.
    pub removal: Removal,
    /// What went wrong last.
    pub error: Option<String>,
    /// When it must be looked at again.
    pub due_at: Nanos,
}

/// The operator's choices about time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long before the window a machine is brought up: a span.
    pub lead: Nanos,
    /// Wait after a first failure: a span; each further one doubles it.
    pub retry_first: Nanos,
    /// The longest wait: a span.
    pub retry_longest: Nanos,
    /// A machine that has been up for so long makes earlier failures forgotten: a span.
    pub steady_after: Nanos,
    /// Time between two looks at a machine: a span.
    pub look_every: Nanos,
    /// The shortest time between two measurements: a span.
    pub measure_every: Nanos,
    /// Cuts every delivery short after so much of it: a span.
    pub close_after: Option<Nanos>,
}

impl Default for Policy {
    fn default() -> Self {
        let seconds = |count: u64| Nanos(count * Nanos::SECOND.0);
        Policy {
            lead: seconds(900),
            retry_first: seconds(1),
            retry_longest: seconds(60),
            steady_after: seconds(60),
            look_every: seconds(5),
            measure_every: seconds(15),
            close_after: None,
        }
    }
}

impl Policy {
    /// How long to wait after so many failures in a row.
    #[must_use]
    pub fn back_off(&self, failures: u32) -> Nanos {
        let doublings = failures.saturating_sub(1).min(32);
        let wait = self.retry_first.0.saturating_mul(1 << doublings);
        Nanos(wait.min(self.retry_longest.0))
    }

    /// How often a machine is measured: a window's record grows, so long ones are measured less.
    #[must_use]
    pub fn measuring_period(&self, window: Window) -> Nanos {
        let quarter_hour = 900 * Nanos::SECOND.0;
        let fraction = window.span().0 / 240;
        Nanos(fraction.clamp(self.measure_every.0, quarter_hour.max(self.measure_every.0)))
    }
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing before this time.
    Later(Nanos),
    /// To choose a provider and record it.
    Provide,
    /// To bring the machine up.
    BringUp,
    /// To note that the exchange has told the buyer.
    Announce,
    /// To see whether the machine is there.
    Look,
    /// To see that, and to measure it.
    Measure,
    /// To end delivery.
    End(Ending),
    /// To remove the machine and measure it for the last time.
    CloseDown,
}

/// Says what is due for a delivery now.
#[must_use]
pub fn due(it: &Obligation, now: Nanos, policy: &Policy) -> Due {
    match it.state {
        State::Assigned if now >= it.window.end => Due::End(match it.key {
            Some(_) => Ending::WindowOver,
            None => Ending::NoKey,
        }),
        State::Assigned if it.key.is_none() => Due::Later(it.window.end),
        State::Assigned => at(
            now,
            Nanos(it.window.start.0.saturating_sub(policy.lead.0)),
            Due::Provide,
        ),
        State::Provisioning if now >= it.window.end => Due::End(Ending::WindowOver),
        State::Provisioning => at(now, it.retry_at.min(it.window.end), Due::BringUp),
        State::Active | State::Metering => serve(it, now, policy),
        State::Ended => at(now, it.retry_at, Due::CloseDown),
        State::Confirmed | State::Failed => Due::Later(Nanos::NEVER),
        State::Settled if it.removal == Removal::Due => at(now, it.retry_at, Due::CloseDown),
        State::Settled => Due::Later(Nanos::NEVER),
    }
}

fn at(now: Nanos, when: Nanos, what: Due) -> Due {
    if now >= when { what } else { Due::Later(when) }
}

/// What is due while a machine is up.
fn serve(it: &Obligation, now: Nanos, policy: &Policy) -> Due {
    let over = it.window.end.after(LAST_BEAT_WAIT);
    if now >= over {
        return Due::End(Ending::WindowOver);
    }
    let delivering_since = it.first_up.max(it.window.start);
    let cut = policy
        .close_after
        .map_or(Nanos::NEVER, |span| delivering_since.after(span));
    // What ends with its window anyway is not cut short.
    let cut = if cut < it.window.end {
        cut
    } else {
        Nanos::NEVER
    };
    if now >= cut {
        return Due::End(Ending::ClosedEarly);
    }
    if it.state == State::Active && it.announced {
        return Due::Announce;
    }
    // Past the end the machine leaves by itself, and that is no loss.
    if now >= it.window.end {
        return Due::Later(over);
    }
    if now >= it.measure_at {
        return Due::Measure;
    }
    if now >= it.look_at {
        return Due::Look;
    }
    let next = it.look_at.min(it.measure_at).min(cut);
    Due::Later(next.min(it.window.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOVES: [Move; 8] = [
        Move::Provide,
        Move::ComeUp,
        Move::Announce,
        Move::Lose,
        Move::End,
        Move::Confirm,
        Move::Fail,
        Move::Settle,
    ];

    /// The drawing at the head of this file, as a table.
    const LEGAL: [(State, Move, State); 18] = [
        (State::Assigned, Move::Provide, State::Provisioning),
        (State::Provisioning, Move::ComeUp, State::Active),
        (State::Active, Move::Announce, State::Metering),
        (State::Active, Move::Lose, State::Provisioning),
        (State::Metering, Move::Lose, State::Provisioning),
        (State::Assigned, Move::End, State::Ended),
        (State::Provisioning, Move::End, State::Ended),
        (State::Active, Move::End, State::Ended),
        (State::Metering, Move::End, State::Ended),
        (State::Ended, Move::Confirm, State::Confirmed),
        (State::Ended, Move::Fail, State::Failed),
        (State::Assigned, Move::Settle, State::Settled),
        (State::Provisioning, Move::Settle, State::Settled),
        (State::Active, Move::Settle, State::Settled),
        (State::Metering, Move::Settle, State::Settled),
        (State::Ended, Move::Settle, State::Settled),
        (State::Confirmed, Move::Settle, State::Settled),
        (State::Failed, Move::Settle, State::Settled),
    ];

    #[test]
    fn every_legal_move_is_made_and_every_other_refused_by_name() {
        for from in State::ALL {
            for step in MOVES {
                let legal = LEGAL.iter().find(|it| it.0 == from && it.1 == step);
                match (from.after(step), legal) {
                    (Ok(to), Some(it)) => assert_eq!(to, it.2),
                    (Err(refused), None) => {
                        let text = refused.to_string();
                        assert!(text.contains(from.name()), "{text}");
                        assert!(text.contains(&format!("{step:?}")), "{text}");
                    }
                    (found, _) => panic!("{from:?} {step:?}: {found:?}"),
                }
            }
        }
    }

    #[test]
    fn names_come_back_as_what_they_name() {
        for state in State::ALL {
            assert_eq!(State::by_name(state.name()), Some(state));
        }
        for ending in Ending::ALL {
            assert_eq!(Ending::by_name(ending.name()), Some(ending));
        }
        assert_eq!(State::by_name("Lost"), None);
        assert_eq!(Ending::by_name(""), None);
    }

    fn seconds(count: u64) -> Nanos {
        Nanos(count * Nanos::SECOND.0)
    }

    /// An obligation whose window is the hour from second 10,000.
    fn owed(state: State) -> Obligation {
        Obligation {
            id: ObligationId(1),
            instrument: InstrumentId(1),
            buyer: AccountId(100),
            seller: AccountId(200),
            quantity: Quantity(1),
            price: Price(1),
            window: Window::new(seconds(10_000), Hours(1)),
            key: Some(AccessKey([1; 32])),
            state,
            provider: None,
            place: None,
            up_since: Nanos(0),
            first_up: Nanos(0),
            announced: false,
            failures: 0,
            retry_at: Nanos(0),
            look_at: Nanos(0),
            measure_at: Nanos(0),
            keyless: Nanos(0),
            verified: Nanos(0),
            evidence: Evidence::default(),
            ending: None,
            removal: Removal::NotIntended,
            error: None,
            due_at: Nanos(0),
        }
    }

    #[test]
    fn a_machine_is_brought_up_a_lead_before_its_window() {
        let policy = Policy::default();
        let it = owed(State::Assigned);
        let begin = seconds(9_100);
        assert_eq!(due(&it, Nanos(1), &policy), Due::Later(begin));
        assert_eq!(due(&it, begin, &policy), Due::Provide);
        assert_eq!(due(&it, seconds(12_000), &policy), Due::Provide, "late");
        let over = due(&it, seconds(13_600), &policy);
        assert_eq!(over, Due::End(Ending::WindowOver));
    }

    #[test]
    fn what_has_passed_of_a_window_is_never_more_than_all_of_it() {
        let window = Window::new(seconds(10_000), Hours(1));
        for (now, passed) in [
            (0, 0),
            (10_000, 0),
            (10_001, 1),
            (13_600, 3_600),
            (20_000, 3_600),
        ] {
            assert_eq!(window.passed(seconds(now)), seconds(passed));
        }
    }

    #[test]
    fn without_a_key_nothing_is_done_until_the_window_is_over() {
        let policy = Policy::default();
        let keyless = Obligation {
            key: None,
            ..owed(State::Assigned)
        };
        let end = seconds(13_600);
        assert_eq!(due(&keyless, seconds(10_000), &policy), Due::Later(end));
        assert_eq!(due(&keyless, end, &policy), Due::End(Ending::NoKey));
    }

    #[test]
    fn attempts_are_spaced_and_made_until_the_window_is_over() {
        let policy = Policy::default();
        let mut it = owed(State::Provisioning);
        assert_eq!(due(&it, seconds(10_000), &policy), Due::BringUp);
        it.failures = 3;
        it.retry_at = seconds(10_004);
        let later = due(&it, seconds(10_000), &policy);
        assert_eq!(later, Due::Later(seconds(10_004)));
        it.failures = u32::MAX;
        assert_eq!(due(&it, seconds(10_004), &policy), Due::BringUp);
        let over = due(&it, it.window.end, &policy);
        assert_eq!(over, Due::End(Ending::WindowOver));
        let waits = [1, 2, 3, 6, 7, u32::MAX].map(|failures| policy.back_off(failures));
        assert_eq!(waits, [1, 2, 4, 32, 60, 60].map(seconds));
    }

    #[test]
    fn a_machine_that_is_up_is_looked_at_measured_and_ended() {
        let policy = Policy::default();
        let mut it = Obligation {
            first_up: seconds(9_200),
            up_since: seconds(9_200),
            look_at: seconds(10_010),
            measure_at: seconds(10_020),
            ..owed(State::Active)
        };
        let at = |it: &Obligation, second| due(it, seconds(second), &policy);
        assert_eq!(at(&it, 10_000), Due::Later(seconds(10_010)));
        it.announced = true;
        assert_eq!(at(&it, 10_000), Due::Announce);
        it.state = State::Metering;
        assert_eq!(at(&it, 10_010), Due::Look);
        assert_eq!(at(&it, 10_020), Due::Measure);
        // Past the end it leaves by itself, and only after its last beat is it measured for good.
        assert_eq!(at(&it, 13_600), Due::Later(seconds(13_602)));
        assert_eq!(at(&it, 13_602), Due::End(Ending::WindowOver));
        let demonstration = Policy {
            close_after: Some(seconds(5)),
            ..policy
        };
        let cut = |second| due(&it, seconds(second), &demonstration);
        assert_eq!(cut(10_004), Due::Later(seconds(10_005)));
        assert_eq!(cut(10_005), Due::End(Ending::ClosedEarly));
    }

    #[test]
    fn what_is_over_waits_for_the_exchange_alone() {
        let policy = Policy::default();
        let now = seconds(20_000);
        assert_eq!(due(&owed(State::Ended), now, &policy), Due::CloseDown);
        for state in [State::Confirmed, State::Failed, State::Settled] {
            assert_eq!(due(&owed(state), now, &policy), Due::Later(Nanos::NEVER));
        }
        // Settled by another while its machine was up.
        let left = Obligation {
            removal: Removal::Due,
            ..owed(State::Settled)
        };
        assert_eq!(due(&left, now, &policy), Due::CloseDown);
    }

    #[test]
    fn only_a_window_served_to_its_end_or_let_pass_is_a_delivery() {
        for ending in Ending::ALL {
            let delivered = matches!(ending, Ending::WindowOver | Ending::NoKey);
            let expected = if delivered { Move::Confirm } else { Move::Fail };
            assert_eq!(ending.report(Nanos(1)), expected);
            assert_eq!(ending.report(Nanos(0)), Move::Fail);
        }
    }

    #[test]
    fn a_long_window_is_measured_less_often() {
        let policy = Policy::default();
        let period = |hours| policy.measuring_period(Window::new(Nanos(0), Hours(hours)));
        assert_eq!([1, 24, 8_784].map(period), [15, 360, 900].map(seconds));
        assert_eq!(Window::new(Nanos(u64::MAX), Hours(1)).end, Nanos::NEVER);
    }
}
