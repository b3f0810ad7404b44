//! That a crash of the settlement process or of the node, at any moment, leaves one machine for one
//! obligation and one payment, never two, never none.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use exahour_settlement::provision::{Folder, LocalConfig, LocalProvider, MachineKey, Provisioner};
use exahour_settlement::settle::machines_folder;
use exahour_settlement::status::{self, Status};
use exahour_wire::ids::ObligationId;
use tempfile::TempDir;

use super::machines::{buyer, insides, marked, now_ns};
use super::market::{self, Market, assigned, folder, start_node};
use super::process::{Effects, Fate, Killed, complete, kill_before_effect, node, said, settlement};

/// How long the sweep of the default run may take; `EXAHOUR_LONG=1` takes as long as it needs.
const SWEEP_BUDGET: Duration = Duration::from_secs(40);

/// A node's data folder in which this many deliveries are assigned and nothing was done yet.
fn assigned_market(count: usize) -> (TempDir, Vec<ObligationId>) {
    let mut market = Market::open();
    market.register_key(
        buyer()
            .public_key()
            .key_data()
            .ed25519()
            .expect("ed25519")
            .0,
    );
    let ids = (0..count).map(|_| market.deliver(1)).collect();
    market.stop();
    let kept = folder();
    fs::rename(market.data(), kept.path().join("data")).expect("keep");
    (kept, ids)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("folder");
    for entry in fs::read_dir(from).expect("folder") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("type").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("copy")),
        }
    }
}

/// What is left of a scene is removed, also where a test has failed in the middle of it.
struct Scene {
    dir: TempDir,
}

impl Scene {
    fn set(template: &Path) -> Scene {
        let dir = folder();
        copy(&template.join("data"), &dir.path().join("data"));
        Scene { dir }
    }

    fn machines(&self) -> std::path::PathBuf {
        machines_folder(&self.dir.path().join("state"))
    }

    fn nonce(&self, id: ObligationId) -> Option<String> {
        let folder = Folder::new(&self.machines(), MachineKey(id.0));
        Some(folder.intent().expect("intent")?.nonce)
    }

    /// One machine at most, whoever was killed.
    fn assert_not_two(&self, id: ObligationId, when: &str) {
        if let Some(nonce) = self.nonce(id) {
            let found = insides(&nonce);
            assert!(found.len() <= 1, "{when}: {found:?}");
        }
    }

    /// There was one machine, it is gone, it was paid once, and the records say so.
    fn assert_settled(&self, id: ObligationId, when: &str) {
        let dir = self.dir.path();
        let paid = market::settlement(&dir.join("data"), id);
        market::assert_split(&paid, 1);
        let nonce = self.nonce(id).expect("it was asked for");
        assert_eq!(marked(&nonce), Vec::<i32>::new(), "{when}");
        let all = status::read(&dir.join("state")).expect("status");
        let it: Vec<&Status> = all.iter().filter(|it| it.obligation == id.0).collect();
        assert_eq!(it.len(), 1, "{when}");
        let it = it[0];
        assert_eq!(it.state, "Settled", "{when}");
        assert!(it.address.is_some(), "{when}: a machine had come up");
        assert_eq!(it.paid, Some(paid.paid.0), "{when}");
        let mut kinds: Vec<&str> = it.commands.iter().map(|told| told.kind.as_str()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["Fail", "Started"], "{when}");
        let open = it.commands.iter().any(|told| told.state != "applied");
        assert!(!open, "{when}: {:?}", it.commands);
        let settled = it.history.iter().filter(|line| line.to == "Settled");
        assert_eq!(settled.count(), 1, "{when}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let program = env!("CARGO_BIN_EXE_exahour-settlement");
        let Ok(mut provider) = LocalProvider::open(LocalConfig::new(self.machines(), program))
        else {
            return;
        };
        for key in provider.list().unwrap_or_default() {
            // A failed test has said so already.
            let _ = provider.release(key);
        }
    }
}

/// Assigns, kills before the given effect, starts again, and looks at what became of it.
fn kill_once(template: &Path, id: ObligationId, kind: Effects, effect: u32) -> Fate {
    let once = ["--once", "--close-early", "0"];
    let scene = Scene::set(template);
    let dir = scene.dir.path();
    let node = start_node(&dir.join("data"));
    let when = format!("killed before effect {effect} of {kind:?}");
    let fate = kill_before_effect(settlement(dir, &once), kind, effect, &when);
    scene.assert_not_two(id, &when);
    complete(dir, settlement(dir, &once), &when);
    scene.assert_settled(id, &when);
    node.stop().expect("stop");
    fate
}

#[test]
fn a_settlement_process_killed_before_any_effect_settles_once() {
    let (template, ids) = assigned_market(1);
    let long = std::env::var_os("EXAHOUR_LONG").is_some();
    let begun = Instant::now();
    let (mut effect, mut points, mut step) = (1, 0, if long { 1 } else { 9 });
    while kill_once(template.path(), ids[0], Effects::All, effect) == Fate::Killed {
        points += 1;
        if !long && begun.elapsed() > SWEEP_BUDGET / 2 {
            step = 31;
        }
        effect += step;
    }
    let took = begun.elapsed();
    eprintln!("{points} points of {effect} effects swept in {took:?}");
    assert!(points > 5, "only {points} points: was anything traced?");
}

#[test]
fn a_settlement_process_killed_before_any_send_loses_no_report() {
    let (template, ids) = assigned_market(1);
    let mut sends = 1;
    while kill_once(template.path(), ids[0], Effects::Sends, sends) == Fate::Killed {
        sends += 1;
    }
    // Negotiate, Establish and two reports, at the least.
    assert!(sends > 4, "only {sends} sends: was anything traced?");
}

/// A small generator of seeded choices.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn node_and_settlement_killed_at_any_moment_settle_everything_once() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(now_ns);
    eprintln!("SEED={seed}");
    let mut chance = Seeded(seed);
    let (template, ids) = assigned_market(3);
    let scene = Scene::set(template.path());
    let dir = scene.dir.path();
    let data = dir.join("data");
    let arguments = ["--close-early", "1"];
    let spawn = || Killed(settlement(dir, &arguments).spawn().expect("settlement"));
    let (mut exchange, mut settler) = (node(&data), spawn());
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(chance.below(400)));
        match chance.below(3) {
            0 => {
                drop(exchange);
                std::thread::sleep(Duration::from_millis(chance.below(100)));
                exchange = node(&data);
            }
            1 => {
                drop(settler);
                settler = spawn();
            }
            _ => {
                drop(settler);
                drop(exchange);
                exchange = node(&data);
                settler = spawn();
            }
        }
        for id in &ids {
            scene.assert_not_two(*id, &format!("SEED={seed}"));
        }
    }
    market::wait_for("all settlements", || {
        market::settled(&data).len() >= ids.len()
    });
    drop(settler);
    complete(
        dir,
        settlement(dir, &["--once", "--close-early", "1"]),
        "at the end",
    );
    assert_eq!(assigned(&data).len(), ids.len());
    for id in &ids {
        scene.assert_settled(*id, &format!("SEED={seed}: {}", said(dir)));
    }
    drop(exchange);
}

#[test]
fn a_process_that_is_told_to_stop_leaves_its_machines_to_the_next() {
    let (template, ids) = assigned_market(1);
    let scene = Scene::set(template.path());
    let dir = scene.dir.path();
    let node = start_node(&dir.join("data"));
    let mut settler = Killed(settlement(dir, &[]).spawn().expect("settlement"));
    market::wait_for("the machine", || said(dir).contains("Metering"));
    let before = insides(&scene.nonce(ids[0]).expect("asked for"));
    assert_eq!(before.len(), 1);
    let pid = i32::try_from(settler.0.id()).expect("pid");
    let term = nix::sys::signal::Signal::SIGTERM;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), term).expect("signal");
    assert!(settler.0.wait().expect("wait").success(), "{}", said(dir));
    assert!(said(dir).contains("stopped"));
    let nonce = scene.nonce(ids[0]).expect("asked for");
    assert_eq!(insides(&nonce), before, "the machine goes on");
    complete(
        dir,
        settlement(dir, &["--once", "--close-early", "0"]),
        "adopted",
    );
    scene.assert_settled(ids[0], "adopted");
    node.stop().expect("stop");
}
