//! Process 1 of a machine: joins its bounds, enters its namespaces, gives up its rights, and then
//! serves logins and beats until the window or the supervisor ends.
//!
//! Started by the supervisor, which sends its orders on standard input and reads reports from
//! standard output.
//!
//! Always holds: no byte from the network is read before every right that can be given up is
//! given up; whoever logs in can neither trace nor signal this process, nor change how it runs.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddrV4, TcpListener};
use std::os::fd::BorrowedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Gid, Pid, Uid, chown, getegid, geteuid, setgroups, setresgid, setresuid};

use crate::provision::cgroup::{Door, Leaf, ServersQuota};
use crate::provision::kill::kill_marked;
use crate::provision::{LeastIsolation, Limits, Millicores, Namespace};

use super::namespaces::{self, Had};
use super::report::{Orders, Report};
use super::rights::{self, Bounding};
use super::root::{self, Owner};
use super::shells::{ShellRules, Shells};
use super::{cores, guard, probe, ssh};

/// How long the buyer's processes have between SIGTERM and the end of everything.
const FAREWELL: Duration = Duration::from_millis(300);

/// Runs process 1; `lock` is the number of the inherited descriptor of the machine's lock.
pub(super) fn run(lock: &OsStr) -> anyhow::Result<ExitCode> {
    keep_lock_from_children(lock)?;
    // The supervisor holds signals back for itself; the buyer's processes must not inherit that.
    SigSet::empty()
        .thread_set_mask()
        .context("cannot let signals through")?;
    let mut control = BufReader::new(io::stdin());
    let orders = read_orders(&mut control)?;
    let server = Door::open(&orders.cgroups, Leaf::Server).context("cannot find the cgroup")?;
    let shells = Door::open(&orders.cgroups, Leaf::Shells).context("cannot find the cgroup")?;
    let quota = ServersQuota::open(&orders.cgroups).context("cannot find the quota")?;
    server.enter().context("cannot join the cgroup")?;
    let mut had = Had {
        namespaces: orders.namespaces.clone(),
        notes: Vec::new(),
    };
    if let Err(e) = fs::write("/proc/self/oom_score_adj", "-1000") {
        had.notes.push(format!(
            "the login server may be chosen when memory runs out: {e}"
        ));
    }
    // Before the machine leaves the host's network: the listener stays behind in it.
    let listener = listen(&orders.addresses)?;
    let spec = &orders.intent.spec;
    let mut had = namespaces::enter(had, orders.intent.network, &spec.label);
    let owner = owner(&orders, &had);
    let own_root = enter_root(&orders, &mut had, owner)?;
    if orders.limits == Limits::Rlimits {
        bound_without_cgroup(&orders, &mut had)?;
    }
    give_up_rights(owner, &had, orders.limits)?;
    prctl::set_child_subreaper(true).context("cannot adopt orphans")?;
    let address = match listener.local_addr().context("cannot tell the address")? {
        std::net::SocketAddr::V4(address) => address,
        std::net::SocketAddr::V6(_) => anyhow::bail!("listens on an IPv6 address"),
    };
    let shells = Arc::new(Shells::start(ShellRules {
        home: match own_root {
            true => root::HOME.into(),
            false => orders.home.clone(),
        },
        label: spec.label.clone(),
        memory_limit: (orders.limits == Limits::Rlimits).then_some(spec.memory_bytes),
        group: keep_apart((shells, &server), quota, spec.cpu_share, &mut had)?,
    })?);
    let own_processes = had.has(Namespace::Pid);
    let Had { namespaces, notes } = had;
    say(
        &mut io::stdout(),
        &Report::Listening {
            address,
            namespaces,
            own_root,
            notes,
        },
    )
    .context("the supervisor is gone")?;
    start_beats(&orders, own_processes);
    end_with_supervisor(control, &orders, own_processes);
    ssh::serve(listener, &orders, shells)?;
    Ok(ExitCode::SUCCESS)
}

/// The lock must end with this process and not live on in somebody's background job.
fn keep_lock_from_children(lock: &OsStr) -> anyhow::Result<()> {
    let number: i32 = lock
        .to_str()
        .and_then(|n| n.parse().ok())
        .context("no lock descriptor")?;
    // SAFETY: only borrowed for this call; fcntl refuses a number that is not open.
    let lock = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(lock, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).context("the lock was not handed down")?;
    Ok(())
}

fn read_orders(control: &mut impl BufRead) -> anyhow::Result<Orders> {
    let mut line = String::new();
    control
        .read_line(&mut line)
        .context("cannot read the orders")?;
    serde_json::from_str(&line).context("cannot make sense of the orders")
}

fn listen(addresses: &[SocketAddrV4]) -> anyhow::Result<TcpListener> {
    let mut refused = String::from("no address to listen on");
    for address in addresses {
        match TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(e) => refused = format!("cannot listen on {address}: {e}; choose another"),
        }
    }
    anyhow::bail!(refused)
}

fn owner(orders: &Orders, had: &Had) -> Owner {
    match (had.has(Namespace::User), geteuid().is_root()) {
        // The only user of a user namespace of its own, and powerless outside it.
        (true, _) => Owner { uid: 0, gid: 0 },
        (false, true) => Owner {
            uid: orders.intent.uid,
            gid: orders.intent.uid,
        },
        (false, false) => Owner {
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
        },
    }
}

/// Gives the machine its own file tree, or else, where the operator permits it, a home on the
/// host's.
fn enter_root(orders: &Orders, had: &mut Had, owner: Owner) -> anyhow::Result<bool> {
    let spec = &orders.intent.spec;
    let built = match had.has(Namespace::Mount) {
        true => root::build(&orders.root, had, owner, &spec.label, spec.memory_bytes),
        false => Err(anyhow::anyhow!(had.notes.join("; "))),
    };
    let Err(refused) = built else {
        root::turn(&orders.root)?;
        return Ok(true);
    };
    if orders.intent.least_isolation == LeastIsolation::Tree {
        anyhow::bail!(
            "not started, because the buyer would see the host's files: {refused:#}; mend that, \
             or permit it with `--isolation process`"
        );
    }
    had.notes
        .push(format!("sees the host's files: {refused:#}"));
    if owner.uid != geteuid().as_raw() {
        chown(
            &orders.home,
            Some(Uid::from_raw(owner.uid)),
            Some(Gid::from_raw(owner.gid)),
        )
        .context("cannot give the home to its user")?;
    }
    Ok(false)
}

/// Bounds that are left where there is no cgroup.
fn bound_without_cgroup(orders: &Orders, had: &mut Had) -> anyhow::Result<()> {
    let count = cores::keep_to(orders.intent.key, orders.intent.spec.cpu_share)?;
    had.notes.push(format!(
        "processor time is bounded to {count} whole cores, not by a quota; other machines and the \
         host may use the same cores"
    ));
    had.notes
        .push("memory is bounded for each process, not for the machine".into());
    Ok(())
}

fn give_up_rights(owner: Owner, had: &Had, limits: Limits) -> anyhow::Result<()> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    rights::empty_bounding_set(match had.has(Namespace::User) {
        true => Bounding::MustGo,
        false => Bounding::MayStay,
    })?;
    if geteuid().is_root() && !had.has(Namespace::User) {
        setgroups(&[]).context("cannot leave groups")?;
        setresgid(gid, gid, gid).context("cannot change group")?;
        setresuid(uid, uid, uid).context("cannot change user")?;
    }
    rights::drop_capabilities()?;
    rights::forbid_user_namespaces()?;
    guard::shield_process_1()?;
    if limits == Limits::Rlimits {
        rights::forbid_other_cores()?;
    }
    // The buyer runs as the same user and must not trace the process that holds the host key.
    prctl::set_dumpable(false).context("cannot forbid tracing")?;
    // After the change of user, which would have cleared it.
    prctl::set_pdeathsig(Signal::SIGKILL).context("cannot follow the supervisor")
}

/// Tries the way that every login will take, and the way back.
fn try_both_ways(shells: Door, server: &Door, had: &mut Had) -> anyhow::Result<Option<Arc<Door>>> {
    match shells.enter() {
        Ok(()) => {
            server.enter().context("cannot come back to its cgroup")?;
            Ok(Some(Arc::new(shells)))
        }
        Err(e) => {
            // Whatever part of the way was gone; where none was, there is none to go back.
            let _ = server.enter();
            had.notes.push(format!(
                "logins share the meter's bounds and can delay its beats: {e}"
            ));
            Ok(None)
        }
    }
}

/// The way into the bounds of logins, if they can be kept apart; where they cannot, they have what
/// was promised here. The quota is let go of: later on this process changes its own bounds no more.
fn keep_apart(
    (shells, server): (Door, &Door),
    quota: Option<ServersQuota>,
    promised: Millicores,
    had: &mut Had,
) -> anyhow::Result<Option<Arc<Door>>> {
    let apart = try_both_ways(shells, server, had)?;
    if let (None, Some(quota)) = (&apart, quota) {
        let given = quota.set(promised);
        given.context("cannot give logins what was promised")?;
    }
    Ok(apart)
}

/// Says one line to the supervisor.
///
/// # Errors
/// When the supervisor no longer listens.
pub(super) fn say(to: &mut impl Write, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

fn start_beats(orders: &Orders, own_processes: bool) {
    let period = Duration::from_nanos(orders.intent.beat_period_ns);
    let window_end_ns = orders.intent.spec.window_end_ns;
    let nonce = orders.intent.nonce.clone();
    std::thread::spawn(move || {
        probe::beat(io::stdout(), period, window_end_ns);
        end(own_processes, &nonce);
    });
}

/// The supervisor closes the pipe when it wants the end, or when it is dead.
fn end_with_supervisor(mut control: impl Read + Send + 'static, orders: &Orders, own: bool) {
    let nonce = orders.intent.nonce.clone();
    std::thread::spawn(move || {
        // Whether it ends well or badly, it is the end.
        let _ = control.read_to_end(&mut Vec::new());
        end(own, &nonce);
    });
}

/// Lets the buyer's processes go, and then this one; with it goes whatever is left in its
/// namespaces.
fn end(own_processes: bool, nonce: &str) {
    if own_processes {
        // Everybody in this namespace but process 1; none left is no error.
        let _ = kill(Pid::from_raw(-1), Signal::SIGTERM);
        let until = std::time::Instant::now() + FAREWELL;
        while std::time::Instant::now() < until && kill(Pid::from_raw(-1), None).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    } else {
        // The supervisor does it again once this process cannot start any more of them.
        let _ = kill_marked(nonce);
    }
    std::process::exit(0);
}
