//! What every account has free, to the last micro-dollar, is what the slow twin works out from its open
//! orders. Only who asks for all of it sees a lock that is too large or too small.
//!
//! Always holds: the question is asked of copies, so the flow goes on as if nobody had asked.

#![allow(clippy::unwrap_used)] // A test may fail where it stands.

use exahour_engine::{Batch, Capacity, Engine};
use exahour_twin::flow::{Commands, Flow, Style};
use exahour_twin::{Twin, readable, seeds::seeds};
use exahour_wire::ids::AccountId;
use exahour_wire::limits::MONEY_MAX;
use exahour_wire::message::Message;
use exahour_wire::operations::Withdraw;
use exahour_wire::units::Money;

const BATCHES: u32 = 400;

/// How many batches lie between two looks.
const APART: u32 = 8;

#[test]
fn of_realistic_flows() {
    for seed in seeds(24) {
        run(seed, Style::Realistic);
    }
}

#[test]
fn of_hostile_flows() {
    for seed in seeds(24) {
        run(seed, Style::Hostile);
    }
}

fn run(seed: u64, style: Style) {
    let mut flow = Flow::new(seed, style);
    let (mut engine, mut twin) = (Engine::new(&Capacity::default()), Twin::new());
    for place in 0..BATCHES {
        let commands = flow.next_batch();
        let (events, _) = apply(&mut engine, &mut twin, &commands);
        flow.observe(&events);
        if place % APART == 0 {
            let context = format!("EXAHOUR_SEED={seed} {style:?}, batch {place}");
            look(&engine, &twin, &commands, &context);
        }
    }
}

/// Asks for all that every account has, and for a micro-dollar more.
fn look(engine: &Engine, twin: &Twin, last: &Commands, context: &str) {
    let bytes = engine.snapshot().unwrap();
    let hash = engine.state_hash();
    let mut engine = Engine::restore(&bytes, &hash, &Capacity::default()).unwrap();
    let mut twin = twin.clone();
    let mut records = Vec::new();
    for (account, available) in twin.purses() {
        records.extend(withdraw(account, available.max(0) + 1));
        records.extend(withdraw(account, available));
    }
    let commands = Commands {
        time: last.time,
        first: last.first,
        records,
    };
    let (of_engine, of_twin) = apply(&mut engine, &mut twin, &commands);
    assert_eq!(
        readable::lines(&of_engine),
        readable::lines(&of_twin),
        "{context}"
    );
}

fn apply(engine: &mut Engine, twin: &mut Twin, commands: &Commands) -> (Vec<u8>, Vec<u8>) {
    let bytes = commands.bytes();
    let batch = Batch {
        time: commands.time,
        first: commands.first,
        commands: &bytes,
    };
    let (mut events, mut others) = (Vec::new(), Vec::new());
    engine.apply(&batch, &mut events).unwrap();
    twin.apply(commands.time, commands.first, &bytes, &mut others);
    (events, others)
}

fn withdraw(account: AccountId, amount: i128) -> Option<Vec<u8>> {
    let in_range = 0 < amount && amount <= i128::from(MONEY_MAX.0);
    let command = Withdraw {
        account,
        amount: Money(i64::try_from(amount).ok().filter(|_| in_range)?),
        ..Withdraw::blank()
    };
    Some(command.bytes().to_vec())
}
