//! `run`: settles until it is told to stop.
//!
//! Called by this crate's program and by any other that offers the same arguments; such a program
//! must also offer `machine::SUBCOMMAND`, because machines are started from it.
//!
//! Always holds: SIGINT, SIGTERM and SIGHUP stop it in good order; machines go on without it and are
//! found again. Does not: know what a turn does.

use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use exahour_wire::ids::SessionId;
use exahour_wire::units::Nanos;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde_json::json;

use crate::clock::HostClock;
use crate::error::SettlementError;
use crate::exchange::Link;
use crate::obligation::Policy;
use crate::provision::cgroup::make_room;
use crate::provision::{LeastIsolation, Millicores};
use crate::registry::Registry;
use crate::settle::{MachineSize, Rest, Settings, Settler, machines_folder};
use crate::status::moment;

/// The longest wait for news between two turns.
const MOMENT: Duration = Duration::from_millis(10);
/// How long `--once` waits for a node that does not answer.
const ONCE_PATIENCE: Duration = Duration::from_secs(15);

/// Deliver what the exchange has assigned: follow its event log, bring machines up, measure them,
/// and report so that sellers are paid.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The node's data folder: its event log and its keys.
    #[arg(long, value_name = "DIR", default_value = "exahour-data")]
    pub data: PathBuf,
    /// This process's own folder: its database and its machines [default: DATA/settlement].
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Where the node takes orders [default: as DATA/addresses.json says, or 127.0.0.1:7801].
    #[arg(long, value_name = "ADDRESS")]
    pub node: Option<SocketAddr>,
    /// The session that has the settlement permission.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub session: u32,
    /// How long before its window a machine is brought up.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    pub lead: u64,
    /// Processor time for each lot, in thousandths of a core.
    #[arg(long, value_name = "MILLICORES", default_value_t = 100,
          value_parser = clap::value_parser!(u32)
              .range(i64::from(crate::provision::CPU_SHARE_MIN.0)..=1_000_000))]
    pub cpu: u32,
    /// Memory for each lot, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 64,
          value_parser = clap::value_parser!(u64)
              .range(crate::provision::MEMORY_BYTES_MIN >> 20..=1 << 24))]
    pub memory: u64,
    /// Without what isolation no machine is started; `process` shows buyers the host's files.
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t)]
    pub isolation: LeastIsolation,
    /// For demonstrations: end every delivery after so much of its window. The exchange is told of
    /// a failed delivery with the time verified so far: the seller is paid for that time alone, and
    /// compensates the buyer for the rest.
    #[arg(long, value_name = "SECONDS")]
    pub close_early: Option<u64>,
    /// Do what is due now, hear the exchange's answers, and stop; machines stay up.
    #[arg(long)]
    pub once: bool,
    /// Write JSON, one object a line.
    #[arg(long)]
    pub json: bool,
}

impl Arguments {
    /// The settings that these arguments stand for.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let seconds = |count: u64| Nanos(count.saturating_mul(Nanos::SECOND.0));
        Settings {
            data: self.data.clone(),
            state: self
                .state
                .clone()
                .unwrap_or_else(|| default_state(&self.data)),
            node: self.node,
            session: SessionId(self.session),
            policy: Policy {
                lead: seconds(self.lead),
                close_after: self.close_early.map(seconds),
                ..Policy::default()
            },
            size: MachineSize {
                cpu_per_lot: Millicores(self.cpu),
                memory_per_lot: self.memory.saturating_mul(1 << 20),
            },
        }
    }
}

/// Where the state is unless another folder is named.
#[must_use]
pub fn default_state(data: &std::path::Path) -> PathBuf {
    data.join("settlement")
}

/// Settles until it is told to stop, or, with `--once`, until nothing is due.
///
/// # Errors
/// Where it cannot start, or finds what cannot be mended by trying again.
pub fn run(arguments: &Arguments) -> Result<()> {
    let settings = arguments.settings();
    // Before any thread is started: threads inherit what is blocked.
    let signals = catch_signals()?;
    // What is refused here shows in the limits and notes of every machine.
    let _ = make_room();
    let guest = std::env::current_exe().context("cannot find this program")?;
    let machines = machines_folder(&settings.state);
    let registry = Registry::local(machines, guest, Duration::from_secs(1), arguments.isolation);
    let mut settler = Settler::open(settings, registry, HostClock)?;
    let mut voice = Voice::new(arguments.json, settler.last_change()?);
    voice.ready(&settler);
    voice.isolation(arguments.isolation);
    let begun = Instant::now();
    loop {
        let rest = settler.turn()?;
        voice.tell(&mut settler)?;
        if told_to_stop(&signals)? {
            break voice.say(
                "stopped; machines stay up and are found again",
                &json!({"event": "stopped"}),
            );
        }
        if rest == Rest::Busy {
            continue;
        }
        if arguments.once {
            match settler.link() {
                Link::Up if settler.settled_down()? => break,
                Link::Down(why) if begun.elapsed() > ONCE_PATIENCE => {
                    return Err(SettlementError::NodeUnreachable(why).into());
                }
                _ => {}
            }
        }
        settler.wait(MOMENT)?;
    }
    Ok(())
}

fn catch_signals() -> Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGINT);
    mask.add(Signal::SIGTERM);
    // The terminal was closed.
    mask.add(Signal::SIGHUP);
    mask.thread_block()
        .context("cannot block the signals that stop this process")?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("cannot watch for the signals that stop this process")
}

fn told_to_stop(signals: &SignalFd) -> Result<bool> {
    let mut ready = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    match poll(&mut ready, PollTimeout::ZERO) {
        Ok(0) | Err(nix::errno::Errno::EINTR) => return Ok(false),
        Ok(_) => {}
        Err(error) => return Err(error).context("cannot look for signals"),
    }
    let signal = signals.read_signal().context("cannot read a signal")?;
    Ok(signal.is_some())
}

/// Says what happens, for people or for programs.
struct Voice {
    json: bool,
    last_change: i64,
    link: Option<Link>,
}

impl Voice {
    fn new(json: bool, last_change: i64) -> Voice {
        Voice {
            json,
            last_change,
            link: None,
        }
    }

    fn say(&self, text: &str, value: &serde_json::Value) {
        let mut out = std::io::stdout().lock();
        // Deliveries go on when nobody reads on.
        let _ = match self.json {
            true => crate::json::write_line(&mut out, value),
            false => writeln!(out, "{text}"),
        };
    }

    fn ready(&self, settler: &Settler<HostClock>) {
        let settings = settler.settings();
        let (state, event) = (settings.state.display(), settler.event());
        self.say(
            &format!(
                "settlement is ready: follows {} after event {event}, keeps its state in {state}",
                settings.data.display()
            ),
            &json!({
                "event": "ready",
                "data": settings.data,
                "state": settings.state,
                "after_event": event.0,
                "session": settings.session.0,
            }),
        );
    }

    fn isolation(&self, least: LeastIsolation) {
        let text = match least {
            LeastIsolation::Tree => "machines are started only with a file tree of their own",
            LeastIsolation::Process => {
                "warning: machines may be started that see this host's files (--isolation process)"
            }
        };
        self.say(text, &json!({"event": "isolation", "least": least}));
    }

    fn tell(&mut self, settler: &mut Settler<HostClock>) -> Result<()> {
        let link = settler.link();
        if self.link.as_ref() != Some(&link) {
            self.tell_link(&link, settler.address());
            self.link = Some(link);
        }
        loop {
            let changes = settler.changes_after(self.last_change)?;
            let Some(last) = changes.last() else {
                return Ok(());
            };
            self.last_change = last.id;
            for it in &changes {
                let place = match it.from == it.to {
                    true => it.to.clone(),
                    false if it.from.is_empty() => it.to.clone(),
                    false => format!("{} -> {}", it.from, it.to),
                };
                self.say(
                    &format!("obligation {}: {place}: {}", it.obligation, it.why),
                    &json!({
                        "event": "change",
                        "obligation": it.obligation.0,
                        "time": moment(it.at),
                        "from": it.from,
                        "to": it.to,
                        "why": it.why,
                    }),
                );
            }
        }
    }

    fn tell_link(&self, link: &Link, address: SocketAddr) {
        match link {
            Link::Up => self.say(
                &format!("connected to the node at {address}"),
                &json!({"event": "connected", "node": address}),
            ),
            // The first turn has not tried yet.
            Link::Down(why) => self.say(
                &format!("not connected to the node at {address}: {why}; trying again"),
                &json!({"event": "disconnected", "node": address, "why": why}),
            ),
        }
    }
}
