//! A provider without machines, and a settlement process in this process that uses it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use exahour_gateway::clock::ManualClock;
use exahour_settlement::clock::Utc;
use exahour_settlement::obligation::{Obligation, Policy, State};
use exahour_settlement::provision::{
    Isolation, Limits, Machine, MachineKey, MachineSpec, Measurement, ProvisionError, Provisioner,
};
use exahour_settlement::registry::Registry;
use exahour_settlement::settle::{MachineSize, Settings, Settler};
use exahour_wire::ids::ObligationId;
use exahour_wire::units::Nanos;

use super::machines::now_ns;
use super::market::SETTLEMENT;

/// What a simulated provider does and has done; tests write the first and read the second.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// Machines that are up.
    pub(crate) up: BTreeMap<u64, MachineSpec>,
    /// Machines that were brought up, each time they were.
    pub(crate) starts: Vec<u64>,
    /// Calls to bring one up.
    pub(crate) asked: u32,
    /// Machines that were removed.
    pub(crate) released: Vec<u64>,
    /// What was asked for under each key.
    pub(crate) specs: BTreeMap<u64, MachineSpec>,
    /// Fails so many calls to bring one up.
    pub(crate) refuse: u32,
    /// Panics in the next call to bring one up, if it is 1.
    pub(crate) panics: u32,
    /// Fails so many calls to remove one.
    pub(crate) immortal: u32,
    /// Where machines come up that come up from now on.
    pub(crate) port: u16,
    /// Time that every machine is said to have run.
    pub(crate) verified: u64,
}

/// A provider whose world is shared with the test.
#[derive(Clone, Debug, Default)]
pub(crate) struct Simulated {
    world: Arc<Mutex<World>>,
}

impl Simulated {
    pub(crate) fn world(&self) -> std::sync::MutexGuard<'_, World> {
        // A test may have it panic.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn registry(&self) -> Registry {
        let mut registry = Registry::new();
        let own = self.clone();
        registry.add("simulated", 0, move || Ok(Box::new(own.clone())));
        registry
    }
}

impl Provisioner for Simulated {
    fn provision(
        &mut self,
        key: MachineKey,
        spec: &MachineSpec,
    ) -> Result<Machine, ProvisionError> {
        spec.check()?;
        let mut world = self.world();
        world.asked += 1;
        if world.released.contains(&key.0) {
            return Err(ProvisionError::Released { key });
        }
        if world.refuse > 0 {
            world.refuse -= 1;
            return Err(ProvisionError::Busy { key });
        }
        if world.specs.entry(key.0).or_insert_with(|| spec.clone()) != spec {
            return Err(ProvisionError::SpecConflict { key });
        }
        assert_ne!(std::mem::take(&mut world.panics), 1, "as a test asked for");
        if world.up.insert(key.0, spec.clone()).is_none() {
            world.starts.push(key.0);
        }
        Ok(Machine {
            key,
            address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, world.port),
            host_key_fingerprint: [9; 32],
            pid: 1,
            started_ns: now_ns(),
            isolation: Isolation {
                namespaces: Vec::new(),
                own_root: false,
                limits: Limits::Rlimits,
                notes: Vec::new(),
            },
        })
    }

    fn inspect(&mut self, key: MachineKey) -> Result<Option<Machine>, ProvisionError> {
        let spec = self.world().up.get(&key.0).cloned();
        spec.map(|spec| self.provision(key, &spec)).transpose()
    }

    fn measure(&mut self, key: MachineKey) -> Result<Measurement, ProvisionError> {
        let world = self.world();
        let alive = world.up.contains_key(&key.0);
        if !alive && !world.starts.contains(&key.0) {
            return Err(ProvisionError::Unknown { key });
        }
        Ok(Measurement {
            at_ns: now_ns(),
            alive,
            ssh_banner_ok: alive,
            cpu_used_ns: 0,
            memory_bytes: 0,
            verified_share_ppm: 1_000_000,
            verified_ns: world.verified,
        })
    }

    fn asked(&mut self, key: MachineKey) -> Result<Option<MachineSpec>, ProvisionError> {
        Ok(self.world().specs.get(&key.0).cloned())
    }

    fn record_digest(&mut self, key: MachineKey) -> Result<Option<[u8; 32]>, ProvisionError> {
        let record = format!("record of {key}");
        Ok(Some(*blake3::hash(record.as_bytes()).as_bytes()))
    }

    fn release(&mut self, key: MachineKey) -> Result<(), ProvisionError> {
        let mut world = self.world();
        if world.immortal > 0 {
            world.immortal -= 1;
            return Err(ProvisionError::WillNotDie { key });
        }
        world.up.remove(&key.0);
        world.released.push(key.0);
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<MachineKey>, ProvisionError> {
        Ok(self.world().up.keys().map(|key| MachineKey(*key)).collect())
    }
}

/// Settings that make everything due at once.
pub(crate) fn settings(dir: &Path) -> Settings {
    let span = |milliseconds: u64| Nanos(milliseconds * 1_000_000);
    Settings {
        data: dir.join("data"),
        state: dir.join("state"),
        node: None,
        session: SETTLEMENT,
        policy: Policy {
            retry_first: span(10),
            retry_longest: span(100),
            look_every: span(20),
            measure_every: span(50),
            ..Policy::default()
        },
        size: MachineSize::default(),
    }
}

/// A clock that shows the time of now until a test moves it.
pub(crate) fn clock() -> ManualClock {
    ManualClock::new(Nanos(now_ns()))
}

/// Turns until a delivery is as wanted.
pub(crate) fn turn_until<C: Utc>(
    settler: &mut Settler<C>,
    id: ObligationId,
    what: &str,
    wanted: impl Fn(&Obligation) -> bool,
) -> Obligation {
    let until = Instant::now() + Duration::from_secs(30);
    let mut last = None;
    while Instant::now() < until {
        settler.turn().expect("turn");
        if let Ok(it) = settler.obligation(id) {
            if wanted(&it) {
                return it;
            }
            last = Some(it);
        }
        settler.wait(Duration::from_millis(2)).expect("wait");
    }
    panic!(
        "waited in vain for {what}: {last:?}, link {:?}",
        settler.link()
    );
}

/// As [`turn_until`], moving a manual clock on at each turn.
pub(crate) fn turn_on(
    settler: &mut Settler<ManualClock>,
    clock: &ManualClock,
    id: ObligationId,
    wanted: State,
) -> Obligation {
    turn_until(settler, id, &format!("{wanted:?}"), |it| {
        clock.advance(Nanos(5_000_000));
        it.state == wanted
    })
}
