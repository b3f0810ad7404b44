//! What a delivery survives: providers that fail, machines that die, nodes and logs that go away.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use exahour_gateway::clock::ManualClock;
use exahour_settlement::clock::Utc;
use exahour_settlement::obligation::{Ending, Removal, State};
use exahour_settlement::settle::Settler;
use exahour_settlement::status;
use exahour_wire::codes::DeliveryOutcome;
use exahour_wire::events::MachineReady;
use exahour_wire::ids::{ClientOrderId, ObligationId, SessionId};
use exahour_wire::message::Message;
use exahour_wire::operations::ConfirmDelivery;
use exahour_wire::units::Nanos;

use super::market::{Market, SELLER, assert_split, events, folder, settled, settlement};
use super::simulated::{Simulated, clock, settings, turn_on, turn_until};

/// A market with one delivery assigned to a buyer with a key, and everything to settle it.
struct Scene {
    market: Market,
    provider: Simulated,
    clock: ManualClock,
    id: ObligationId,
}

impl Scene {
    fn set() -> Scene {
        let mut market = Market::open();
        market.register_key([7; 32]);
        let id = market.deliver(1);
        Scene {
            market,
            provider: Simulated::default(),
            clock: clock(),
            id,
        }
    }

    fn settler(&self) -> Settler<ManualClock> {
        let settings = settings(self.market.dir.path());
        Settler::open(settings, self.provider.registry(), self.clock.clone()).expect("settler")
    }

    fn turn_on(&self, settler: &mut Settler<ManualClock>, wanted: State) {
        turn_on(settler, &self.clock, self.id, wanted);
    }
}

#[test]
fn a_provider_that_fails_a_while_delivers_in_the_end() {
    let scene = Scene::set();
    scene.provider.world().refuse = 3;
    let mut settler = scene.settler();
    scene.turn_on(&mut settler, State::Metering);
    assert_eq!(scene.provider.world().starts, [scene.id.0]);
    let history = settler.changes_after(0).expect("history");
    let tried = |it: &&exahour_settlement::database::Change| it.why.contains("tried again");
    assert_eq!(
        history.iter().filter(tried).count(),
        1,
        "the same error is told once"
    );
}

#[test]
fn a_provider_that_always_fails_costs_the_seller_the_penalty() {
    let scene = Scene::set();
    scene.provider.world().refuse = u32::MAX;
    let mut settler = scene.settler();
    turn_until(&mut settler, scene.id, "many attempts", |it| {
        scene.clock.advance(Nanos(20_000_000));
        it.failures > 15
    });
    scene.clock.advance(Nanos::HOUR);
    scene.turn_on(&mut settler, State::Settled);
    let over = settler.obligation(scene.id).expect("obligation");
    assert_eq!(over.ending, Some(Ending::WindowOver));
    let paid = settlement(&scene.market.data(), scene.id);
    assert_eq!(paid.outcome.decode(), Some(DeliveryOutcome::Failed));
    assert_split(&paid, 1);
}

#[test]
fn a_machine_that_dies_is_brought_up_again_and_announced_once() {
    let scene = Scene::set();
    let mut settler = scene.settler();
    scene.turn_on(&mut settler, State::Metering);
    scene.provider.world().up.clear();
    scene.turn_on(&mut settler, State::Provisioning);
    scene.turn_on(&mut settler, State::Metering);
    assert_eq!(scene.provider.world().starts, [scene.id.0; 2]);
    drop(settler);
    let all = status::read(&settings(scene.market.dir.path()).state).expect("status");
    assert_eq!(all[0].commands.len(), 1, "{:?}", all[0].commands);
}

#[test]
fn a_machine_that_comes_back_elsewhere_is_announced_again() {
    let scene = Scene::set();
    let mut settler = scene.settler();
    scene.turn_on(&mut settler, State::Metering);
    scene.provider.world().up.clear();
    scene.provider.world().port = 2_223;
    scene.turn_on(&mut settler, State::Provisioning);
    scene.turn_on(&mut settler, State::Metering);
    let told: Vec<u16> = events::<MachineReady>(&scene.market.data())
        .iter()
        .map(|it| it.port)
        .collect();
    assert_eq!(told, [0, 2_223]);
}

#[test]
fn a_machine_that_will_not_die_is_asked_again_before_anything_is_paid() {
    let scene = Scene::set();
    scene.provider.world().immortal = 3;
    let mut settler = scene.settler();
    scene.turn_on(&mut settler, State::Metering);
    scene.clock.advance(Nanos::HOUR);
    scene.turn_on(&mut settler, State::Ended);
    assert!(settled(&scene.market.data()).is_empty());
    scene.turn_on(&mut settler, State::Settled);
    assert_eq!(scene.provider.world().released, [scene.id.0]);
}

#[test]
fn a_node_that_goes_away_is_told_when_it_is_back() {
    let mut scene = Scene::set();
    let mut settler = scene.settler();
    scene.turn_on(&mut settler, State::Metering);
    scene.market.stop();
    scene.provider.world().verified = Nanos::SECOND.0;
    scene.clock.advance(Nanos::HOUR);
    scene.turn_on(&mut settler, State::Confirmed);
    scene.market.restart();
    scene.turn_on(&mut settler, State::Settled);
    assert_eq!(
        settlement(&scene.market.data(), scene.id).verified,
        Nanos::SECOND
    );
}

#[test]
fn an_event_log_that_is_written_anew_is_not_applied_again() {
    let mut scene = Scene::set();
    let mut settler = scene.settler();
    scene.turn_on(&mut settler, State::Metering);
    let before = settler.event();
    scene.market.stop();
    fs::remove_dir_all(scene.market.data().join("events")).expect("lose the log");
    scene.market.restart();
    scene.clock.advance(Nanos::HOUR);
    scene.turn_on(&mut settler, State::Settled);
    assert!(settler.event() > before);
    // And so it is for a process that starts only now.
    drop(settler);
    let mut settler = scene.settler();
    assert!(settler.event() > before);
    settler.turn().expect("turn");
    assert_eq!(scene.provider.world().starts, [scene.id.0]);
    settlement(&scene.market.data(), scene.id);
}

#[test]
fn a_state_that_was_lost_is_rebuilt_without_a_second_machine_or_payment() {
    let scene = Scene::set();
    let mut settler = scene.settler();
    scene.turn_on(&mut settler, State::Metering);
    drop(settler);
    let state = settings(scene.market.dir.path()).state;
    fs::remove_dir_all(&state).expect("lose the state");
    let mut settler = scene.settler();
    scene.turn_on(&mut settler, State::Metering);
    assert_eq!(scene.provider.world().starts, [scene.id.0], "it was found");
    scene.clock.advance(Nanos::HOUR);
    scene.turn_on(&mut settler, State::Settled);
    drop(settler);
    fs::remove_dir_all(&state).expect("lose the state again");
    let mut settler = scene.settler();
    turn_until(&mut settler, scene.id, "the old news", |it| {
        it.state == State::Settled
    });
    settlement(&scene.market.data(), scene.id);
}

#[test]
fn a_state_that_was_lost_until_the_window_is_over_is_settled_by_the_providers_record() {
    let scene = Scene::set();
    let mut settler = scene.settler();
    scene.turn_on(&mut settler, State::Metering);
    drop(settler);
    scene.provider.world().verified = 60 * Nanos::SECOND.0;
    fs::remove_dir_all(settings(scene.market.dir.path()).state).expect("lose the state");
    scene.clock.advance(Nanos(2 * Nanos::HOUR.0));
    let mut settler = scene.settler();
    scene.turn_on(&mut settler, State::Settled);
    assert_eq!(scene.provider.world().starts, [scene.id.0]);
    assert!(scene.provider.world().up.is_empty(), "it was removed");
    let settled = settlement(&scene.market.data(), scene.id);
    assert_eq!(settled.verified, Nanos(60 * Nanos::SECOND.0), "{settled:?}");
}

#[test]
fn a_key_that_comes_late_in_the_log_is_found_before_anything_is_ended() {
    let mut market = Market::open();
    let id = market.deliver(1);
    // More than is applied in one turn.
    market.register_keys(SELLER, 600);
    market.register_key([7; 32]);
    let scene = Scene {
        market,
        provider: Simulated::default(),
        clock: clock(),
        id,
    };
    // The state was lost, and the window is over.
    scene.clock.advance(Nanos(2 * Nanos::HOUR.0));
    let mut settler = scene.settler();
    scene.turn_on(&mut settler, State::Settled);
    let over = settler.obligation(id).expect("obligation");
    assert_eq!(over.ending, Some(Ending::WindowOver));
    let settled = settlement(&scene.market.data(), id);
    assert!(
        settled.verified < Nanos(60 * Nanos::SECOND.0),
        "a buyer with a key pays only for what he was given: {settled:?}"
    );
}

#[test]
fn a_log_that_is_behind_its_journal_ends_nothing_before_its_node_is_back() {
    let mut market = Market::open();
    let id = market.deliver(1);
    let mut scene = Scene {
        market,
        provider: Simulated::default(),
        clock: clock(),
        id,
    };
    let mut settler = scene.settler();
    scene.turn_on(&mut settler, State::Assigned);
    drop(settler);
    scene.market.stop();
    let (events, before) = (scene.market.data().join("events"), folder());
    copy(&events, &before.path().join("events"));
    scene.market.restart();
    // In the journal for good; a power cut takes the end of the event log, which is derived from it.
    scene.market.register_key([7; 32]);
    scene.market.stop();
    fs::remove_dir_all(&events).expect("remove");
    copy(&before.path().join("events"), &events);
    scene.clock.advance(Nanos(2 * Nanos::HOUR.0));
    let mut settler = scene.settler();
    for _ in 0..200 {
        settler.turn().expect("turn");
        let waits = settler.obligation(id).expect("obligation");
        assert_eq!(waits.state, State::Assigned, "it is not over yet");
        settler.wait(Duration::from_millis(1)).expect("wait");
    }
    scene.market.restart();
    scene.turn_on(&mut settler, State::Settled);
    let settled = settlement(&scene.market.data(), id);
    assert!(
        settled.verified < Nanos(60 * Nanos::SECOND.0),
        "a buyer with a key pays only for what he was given: {settled:?}"
    );
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).expect("folder");
    for entry in fs::read_dir(from).expect("folder") {
        let entry = entry.expect("entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copy");
    }
}

/// The scene's clock, so much behind as a test says.
struct Behind {
    clock: ManualClock,
    by: Arc<AtomicU64>,
}

impl Utc for Behind {
    fn utc(&mut self) -> Nanos {
        let by = self.by.load(Ordering::Relaxed);
        Nanos(self.clock.utc().0 - by)
    }
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_wait_for_so_long() {
    let scene = Scene::set();
    let by = Arc::new(AtomicU64::new(0));
    let clock = Behind {
        clock: scene.clock.clone(),
        by: Arc::clone(&by),
    };
    let settings = settings(scene.market.dir.path());
    let mut settler = Settler::open(settings, scene.provider.registry(), clock).expect("settler");
    let looked_at = |settler: &mut Settler<Behind>| {
        turn_until(settler, scene.id, "a machine", |it| {
            scene.clock.advance(Nanos(5_000_000));
            it.state == State::Metering
        });
    };
    looked_at(&mut settler);
    by.store(Nanos::HOUR.0 / 2, Ordering::Relaxed);
    scene.provider.world().up.clear();
    turn_until(&mut settler, scene.id, "the loss", |it| {
        it.state == State::Provisioning
    });
    looked_at(&mut settler);
    assert_eq!(scene.provider.world().starts, [scene.id.0; 2]);
}

#[test]
fn a_machine_that_a_lost_state_asked_for_in_another_size_goes_on() {
    let scene = Scene::set();
    let mut settler = scene.settler();
    scene.turn_on(&mut settler, State::Metering);
    drop(settler);
    fs::remove_dir_all(settings(scene.market.dir.path()).state).expect("lose the state");
    let mut larger = settings(scene.market.dir.path());
    larger.size.memory_per_lot *= 2;
    let registry = scene.provider.registry();
    let mut settler = Settler::open(larger, registry, scene.clock.clone()).expect("settler");
    scene.turn_on(&mut settler, State::Metering);
    assert_eq!(scene.provider.world().starts, [scene.id.0], "it was found");
    assert!(scene.provider.world().released.is_empty());
}

#[test]
fn a_provider_that_panics_has_failed_and_is_asked_again() {
    let scene = Scene::set();
    scene.provider.world().panics = 1;
    let mut settler = scene.settler();
    let told = turn_until(&mut settler, scene.id, "the failure", |it| it.failures > 0);
    let told = told.error.expect("an error");
    assert!(told.contains("as a test asked for"), "{told}");
    scene.turn_on(&mut settler, State::Metering);
}

#[test]
fn a_session_that_may_not_settle_is_named_and_its_report_kept() {
    let scene = Scene::set();
    let mut wrong = settings(scene.market.dir.path());
    wrong.session = SessionId(1);
    let registry = scene.provider.registry();
    let mut settler = Settler::open(wrong, registry, scene.clock.clone()).expect("settler");
    turn_until(&mut settler, scene.id, "a machine", |it| {
        it.state == State::Active
    });
    let refused = || -> Vec<String> {
        let all = status::read(&settings(scene.market.dir.path()).state).expect("status");
        let told = all[0].commands.iter().filter_map(|it| it.reason.clone());
        told.collect()
    };
    turn_until(&mut settler, scene.id, "a refusal", |_| {
        !refused().is_empty()
    });
    assert_eq!(refused(), ["NotPermitted"]);
    let sends = || {
        let all = status::read(&settings(scene.market.dir.path()).state).expect("status");
        all[0].commands.iter().map(|it| it.sends).sum::<u32>()
    };
    turn_until(&mut settler, scene.id, "more refusals", |_| {
        scene.clock.advance(Nanos::SECOND);
        sends() > 3
    });
    let history = settler.changes_after(0).expect("history");
    let told = history.iter().filter(|it| it.why.contains("refused"));
    assert_eq!(told.count(), 1, "the same refusal is told once");
    drop(settler);
    // The right session takes it up where it lies.
    let mut settler = scene.settler();
    scene.turn_on(&mut settler, State::Active);
    scene.clock.advance(Nanos(10 * Nanos::SECOND.0));
    scene.turn_on(&mut settler, State::Metering);
}

#[test]
fn what_cannot_be_is_refused_by_name_at_the_start() {
    let scene = Scene::set();
    let open = |settings, registry| {
        Settler::open(settings, registry, scene.clock.clone())
            .map(|_| ())
            .expect_err("refused")
            .to_string()
    };
    let right = || settings(scene.market.dir.path());
    let mut nowhere = right();
    nowhere.data = "/nowhere".into();
    let text = open(nowhere, scene.provider.registry());
    assert!(text.contains("/nowhere"), "{text}");
    let mut keyless = right();
    keyless.session = SessionId(77);
    let text = open(keyless, scene.provider.registry());
    assert!(
        text.contains("session 77") && text.contains("--session"),
        "{text}"
    );
    let text = open(right(), exahour_settlement::registry::Registry::new());
    assert!(text.contains("no provider"), "{text}");
    let first = scene.settler();
    let text = open(right(), scene.provider.registry());
    assert!(text.contains("in use"), "{text}");
    drop(first);
}

#[test]
fn the_log_of_another_exchange_is_refused() {
    let scene = Scene::set();
    let mut settler = scene.settler();
    scene.turn_on(&mut settler, State::Metering);
    drop(settler);
    let other = Market::open();
    let mut mixed = settings(scene.market.dir.path());
    mixed.data = other.data();
    let registry = scene.provider.registry();
    let mut settler = Settler::open(mixed, registry, scene.clock.clone()).expect("settler");
    let refused = settler.turn().expect_err("refused").to_string();
    assert!(refused.contains("another --state"), "{refused}");
}

#[test]
fn a_log_that_tells_another_story_is_refused() {
    let mut scene = Scene::set();
    let mut settler = scene.settler();
    scene.turn_on(&mut settler, State::Metering);
    drop(settler);
    scene.market.stop();
    // The same exchange, but its commands were lost and others came instead.
    let data = scene.market.data();
    let old = folder();
    fs::rename(data.join("events"), old.path().join("events")).expect("move");
    fs::rename(data.join("journal"), old.path().join("journal")).expect("move");
    fs::remove_file(data.join("raft-state")).expect("forget");
    scene.market.restart();
    for session in 0..40 {
        let mut client = scene.market.connect(1 + session % 2);
        client.terminate().expect("goodbye");
    }
    let mut settler = scene.settler();
    let refused = (0..500)
        .find_map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            settler.turn().err()
        })
        .expect("refused")
        .to_string();
    assert!(
        refused.contains("not the one that was applied"),
        "{refused}"
    );
}

#[test]
fn what_an_operator_settles_by_hand_is_cleaned_up_and_not_reported_again() {
    let scene = Scene::set();
    let mut settler = scene.settler();
    scene.turn_on(&mut settler, State::Metering);
    let mut operator = scene.market.connect(9);
    operator
        .send(&ConfirmDelivery {
            request: ClientOrderId(1),
            obligation: scene.id,
            verified: Nanos::HOUR,
            ..ConfirmDelivery::blank()
        })
        .expect("send");
    scene.turn_on(&mut settler, State::Settled);
    turn_until(&mut settler, scene.id, "the removal", |it| {
        it.removal == Removal::Done
    });
    assert!(scene.provider.world().up.is_empty());
    assert_eq!(
        settlement(&scene.market.data(), scene.id).verified,
        Nanos::HOUR
    );
}

#[test]
fn a_machine_that_a_lost_state_has_forgotten_is_removed() {
    let scene = Scene::set();
    let mut settler = scene.settler();
    scene.turn_on(&mut settler, State::Metering);
    let spec = scene.provider.world().up[&scene.id.0].clone();
    scene.clock.advance(Nanos::HOUR);
    scene.turn_on(&mut settler, State::Settled);
    drop(settler);
    let state = settings(scene.market.dir.path()).state;
    fs::remove_dir_all(&state).expect("lose the state");
    // One that is owed to nobody known here is left alone.
    scene.provider.world().up.insert(scene.id.0, spec.clone());
    scene.provider.world().up.insert(999, spec);
    let mut settler = scene.settler();
    turn_until(&mut settler, scene.id, "the removal", |it| {
        it.removal == Removal::Done
    });
    let left: Vec<u64> = scene.provider.world().up.keys().copied().collect();
    assert_eq!(left, [999]);
}
