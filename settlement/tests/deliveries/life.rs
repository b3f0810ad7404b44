//! How a delivery goes when nothing goes wrong, and when little does.

use std::time::Duration;

use exahour_settlement::clock::HostClock;
use exahour_settlement::obligation::{Ending, State};
use exahour_settlement::provision::{LeastIsolation, MachineKey};
use exahour_settlement::registry::{LOCAL, Registry};
use exahour_settlement::settle::{Settler, machines_folder};
use exahour_settlement::status;
use exahour_wire::codes::DeliveryOutcome;
use exahour_wire::events::MachineReady;
use exahour_wire::message::Evidence;
use exahour_wire::units::Nanos;

use super::machines::{buyer, run};
use super::market::{BUYER, Market, assert_split, keys_registered, next, settlement};
use super::simulated::{Simulated, clock, settings, turn_on, turn_until};

fn buyer_key() -> [u8; 32] {
    buyer()
        .public_key()
        .key_data()
        .ed25519()
        .expect("ed25519")
        .0
}

#[test]
fn a_contract_becomes_a_machine_that_the_buyer_logs_in_to_and_pays_for() {
    let mut market = Market::open();
    market.register_key(buyer_key());
    let mut settings = settings(market.dir.path());
    settings.policy.close_after = Some(Nanos(2 * Nanos::SECOND.0));
    let state = settings.state.clone();
    let guest = env!("CARGO_BIN_EXE_exahour-settlement").into();
    let registry = Registry::local(
        machines_folder(&state),
        guest,
        Duration::from_millis(200),
        LeastIsolation::Process,
    );
    let id = market.deliver(3);
    let mut buyer = market.connect(BUYER.0);
    let mut settler = Settler::open(settings, registry.clone(), HostClock).expect("settler");

    let up = turn_until(&mut settler, id, "a machine", |it| it.announced);
    let ready: MachineReady = next(&mut buyer);
    let place = up.place.expect("place");
    assert_eq!(ready.address.0, place.address.ip().octets());
    assert_eq!(
        (ready.port, ready.host_key),
        (place.address.port(), place.host_key)
    );
    let mut provider = registry.open(LOCAL).expect("local").expect("opens");
    let key = MachineKey(id.0);
    let machine = provider.inspect(key).expect("inspect").expect("up");
    assert_eq!(run(&machine, "echo mine").out, "mine\n");

    let over = turn_until(&mut settler, id, "the payment", |it| {
        it.state == State::Settled
    });
    let paid = settlement(&market.data(), id);
    assert!(paid.verified > Nanos(0) && paid.paid.0 > 0, "{paid:?}");
    assert_eq!(paid.outcome.decode(), Some(DeliveryOutcome::Partial));
    assert_split(&paid, 3);
    assert_eq!(over.verified, paid.verified);
    // Cut short is no delivery, and is not called one.
    assert_eq!(over.ending, Some(Ending::ClosedEarly));
    let record = state.join(format!("machines/{id}/heartbeats"));
    let record = std::fs::read(record).expect("record");
    let mut evidence = Evidence::default();
    evidence
        .0
        .copy_from_slice(&blake3::hash(&record).as_bytes()[..24]);
    assert_eq!(
        over.evidence, evidence,
        "the evidence can be checked by anybody"
    );
    assert!(
        provider.list().expect("list").is_empty(),
        "the machine is gone"
    );

    let shown = status::read(&state).expect("status");
    assert_eq!(shown[0].state, "Settled");
    assert_eq!(shown[0].paid, Some(paid.paid.0));
    let states: Vec<&str> = shown[0]
        .history
        .iter()
        .map(|line| line.to.as_str())
        .collect();
    let life = [
        "Assigned",
        "Provisioning",
        "Active",
        "Metering",
        "Ended",
        "Failed",
        "Settled",
    ];
    assert_eq!(states, life);
    assert!(
        shown[0].commands.iter().all(|told| told.state == "applied"),
        "{shown:?}"
    );
}

#[test]
fn a_window_served_to_its_end_is_paid_in_full() {
    let mut market = Market::open();
    market.register_key([7; 32]);
    let (provider, clock) = (Simulated::default(), clock());
    let id = market.deliver(2);
    let mut settler = Settler::open(
        settings(market.dir.path()),
        provider.registry(),
        clock.clone(),
    )
    .expect("settler");
    turn_on(&mut settler, &clock, id, State::Metering);
    provider.world().verified = u64::MAX;
    clock.advance(Nanos::HOUR);
    let over = turn_on(&mut settler, &clock, id, State::Settled);
    let paid = settlement(&market.data(), id);
    assert_eq!(paid.outcome.decode(), Some(DeliveryOutcome::Delivered));
    assert_eq!((paid.verified, paid.refunded.0), (Nanos::HOUR, 0));
    assert_split(&paid, 2);
    assert_eq!(over.ending, Some(Ending::WindowOver));
    assert_eq!(provider.world().starts, [id.0]);
    assert_eq!(provider.world().released, [id.0]);
}

#[test]
fn a_buyer_without_a_key_gets_his_machine_when_he_registers_one() {
    let mut market = Market::open();
    let (provider, clock) = (Simulated::default(), clock());
    let id = market.deliver(1);
    let mut settler = Settler::open(
        settings(market.dir.path()),
        provider.registry(),
        clock.clone(),
    )
    .expect("settler");
    turn_until(&mut settler, id, "a word", |it| it.due_at > Nanos(0));
    assert_eq!(provider.world().asked, 0, "nobody could open it");
    market.register_key([5; 32]);
    turn_on(&mut settler, &clock, id, State::Metering);
    assert_eq!(keys_registered(&market.data()), 1);
    assert_eq!(provider.world().up[&id.0].access_key, [5; 32]);
}

#[test]
fn a_buyer_who_never_registers_a_key_pays_all_the_same() {
    let mut market = Market::open();
    let (provider, clock) = (Simulated::default(), clock());
    let id = market.deliver(1);
    let mut settler = Settler::open(
        settings(market.dir.path()),
        provider.registry(),
        clock.clone(),
    )
    .expect("settler");
    turn_until(&mut settler, id, "a word", |it| it.due_at > Nanos(0));
    clock.advance(Nanos::HOUR);
    let over = turn_on(&mut settler, &clock, id, State::Settled);
    assert_eq!(over.ending, Some(Ending::NoKey));
    let paid = settlement(&market.data(), id);
    assert_eq!(paid.outcome.decode(), Some(DeliveryOutcome::Delivered));
    assert_eq!((paid.refunded.0, paid.compensated.0), (0, 0));
    assert!(paid.paid.0 > 0);
    assert_split(&paid, 1);
    assert_eq!(provider.world().asked, 0);
}
