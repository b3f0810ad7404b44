//! The settlement process and the node as processes of their own, to be killed.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setpgid};

use exahour_replicas::NodeConfig;

use super::market::{start, start_node};

/// Names the data folder to a test binary that is to be a node.
const NODE_DATA: &str = "EXAHOUR_TEST_NODE_DATA";

/// Names its configuration too, where it is one of several.
const NODE_CONFIG: &str = "EXAHOUR_TEST_NODE_CONFIG";

/// The settlement process on the folders `data` and `state` below `dir`; what it says goes to
/// `dir`/said.
pub(crate) fn settlement(dir: &Path, arguments: &[&str]) -> Command {
    settlement_beside(&dir.join("data"), dir, arguments)
}

/// The same, on another node's data.
pub(crate) fn settlement_beside(data: &Path, dir: &Path, arguments: &[&str]) -> Command {
    let mut said = fs::OpenOptions::new();
    let said = said.create(true).append(true).open(dir.join("said"));
    let said = said.expect("file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_exahour-settlement"));
    command
        .args(["run", "--json", "--cpu", "200", "--memory", "96", "--data"])
        .arg(data)
        .arg("--state")
        .arg(dir.join("state"))
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(said.try_clone().expect("file"))
        .stdout(said);
    die_with_this_thread(&mut command);
    command
}

fn die_with_this_thread(command: &mut Command) {
    // SAFETY: between fork and exec the child makes system calls only and touches no memory.
    unsafe {
        command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(Into::into));
    }
}

/// What the settlement processes in a folder have said.
pub(crate) fn said(dir: &Path) -> String {
    fs::read_to_string(dir.join("said")).unwrap_or_default()
}

/// Runs a process to its end, which must be a good one.
pub(crate) fn complete(dir: &Path, mut command: Command, when: &str) {
    let mut child = command.spawn().expect("settlement");
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            assert!(status.success(), "{when}: {status}: {}", said(dir));
            return;
        }
        if Instant::now() >= until {
            child.kill().expect("kill");
            child.wait().expect("wait");
            panic!("{when}: it has not settled in time: {}", said(dir));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process that is killed when it goes out of scope.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node in a process of its own, on the folder `data`; waits until it serves.
pub(crate) fn node(data: &Path) -> Killed {
    node_of(data, None)
}

/// The same, with a configuration of its own.
pub(crate) fn node_of(data: &Path, config: Option<&Path>) -> Killed {
    let addresses = data.join("addresses.json");
    // Written again once the new node serves.
    let _ = fs::remove_file(&addresses);
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["process::a_node_when_asked_to_be_one", "--exact"])
        .env(NODE_DATA, data)
        .envs(config.map(|path| (NODE_CONFIG, path)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    die_with_this_thread(&mut command);
    let mut child = Killed(command.spawn().expect("node"));
    super::market::wait_for("the node", || {
        assert_eq!(child.0.try_wait().expect("wait"), None, "the node ended");
        addresses.exists()
    });
    child
}

/// Not a test: what `node` starts.
#[test]
fn a_node_when_asked_to_be_one() {
    let Some(data) = std::env::var_os(NODE_DATA).map(PathBuf::from) else {
        return;
    };
    let node = match std::env::var_os(NODE_CONFIG) {
        None => start_node(&data),
        Some(path) => {
            let mut config = NodeConfig::load(Path::new(&path)).expect("configuration");
            if let Some(cluster) = &mut config.cluster {
                cluster.founding = !data.exists();
            }
            config.data = data;
            start(&config)
        }
    };
    node.join().expect("node");
}

/// How a traced process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// By the tracer's hand.
    Killed,
    /// By itself, and well.
    Finished,
}

/// Which acts of a process are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effects {
    /// All that anybody else could see: a write, a sync, a send, a new process, a changed folder.
    All,
    /// What is sent to the exchange.
    Sends,
}

/// Runs a process and kills it, all threads at once, before its `effect`-th act of a kind. What
/// lies between two effects leaves no trace, so these are all the moments there are.
pub(crate) fn kill_before_effect(
    mut command: Command,
    kind: Effects,
    effect: u32,
    when: &str,
) -> Fate {
    // SAFETY: between fork and exec the child makes system calls only and touches no memory.
    unsafe {
        command.pre_exec(|| {
            setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
            ptrace::traceme().map_err(Into::into)
        });
    }
    let mut child = command.spawn().expect("settlement");
    let leader = Pid::from_raw(i32::try_from(child.id()).expect("pid"));
    // Its threads are in its group; nobody else's children are.
    let group = Pid::from_raw(-leader.as_raw());
    let wait = || waitpid(group, Some(WaitPidFlag::__WALL)).expect("wait");
    assert_eq!(wait(), WaitStatus::Stopped(leader, Signal::SIGTRAP));
    let options = ptrace::Options::PTRACE_O_TRACECLONE
        | ptrace::Options::PTRACE_O_TRACESYSGOOD
        | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(leader, options).expect("options");
    ptrace::syscall(leader, None).expect("step");
    let mut effects = 0;
    let mut fate = Fate::Killed;
    loop {
        let (thread, pass) = match wait() {
            WaitStatus::PtraceSyscall(thread) => {
                effects += u32::from(is_effect(thread, kind));
                (thread, None)
            }
            WaitStatus::PtraceEvent(thread, ..) => (thread, None),
            // A new thread begins with a stop of its own.
            WaitStatus::Stopped(thread, Signal::SIGSTOP | Signal::SIGTRAP) => (thread, None),
            WaitStatus::Stopped(thread, other) => (thread, Some(other)),
            WaitStatus::Exited(thread, code) if thread == leader => {
                assert!(effects < effect && code == 0, "{when}: exit code {code}");
                fate = Fate::Finished;
                break;
            }
            WaitStatus::Signaled(thread, ..) if thread == leader => break,
            _ => continue,
        };
        if effects == effect {
            child.kill().expect("kill");
            effects += 1;
        }
        // A thread that is being killed cannot be continued, nor need it.
        let _ = ptrace::syscall(thread, pass);
    }
    // Reaped above; this closes what the handle holds.
    let _ = child.wait();
    fate
}

/// Whether a thread is about to do what is counted.
fn is_effect(thread: Pid, kind: Effects) -> bool {
    let Ok(info) = ptrace::syscall_info(thread) else {
        return false;
    };
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return false;
    }
    // SAFETY: at an entry, this is the part of the union that the kernel has filled in.
    let entry = unsafe { info.u.entry };
    let number = libc::c_long::try_from(entry.nr).unwrap_or(-1);
    if kind == Effects::Sends {
        return number == libc::SYS_sendto;
    }
    // What is said on standard output is news for people.
    if number == libc::SYS_write && entry.args[0] <= 2 {
        return false;
    }
    [
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_pwrite64,
        libc::SYS_fsync,
        libc::SYS_fdatasync,
        libc::SYS_ftruncate,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_connect,
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_mkdirat,
        libc::SYS_unlinkat,
        libc::SYS_renameat2,
        libc::SYS_pidfd_send_signal,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_mkdir,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_unlink,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rmdir,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork,
    ]
    .contains(&number)
}
