//! Gives a machine kernel namespaces of its own, as many as this host permits.
//!
//! The supervisor opens those that only a child can enter; the inside enters the rest.
//!
//! Always holds: what could not be had is noted in a sentence; nothing is claimed that was refused.

use std::fs;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid, sethostname};

use crate::provision::Namespace;
use crate::provision::Network;

/// Namespaces had, and a sentence for each one refused.
#[derive(Clone, Debug, Default)]
pub(super) struct Had {
    pub(super) namespaces: Vec<Namespace>,
    pub(super) notes: Vec<String>,
}

impl Had {
    pub(super) fn has(&self, namespace: Namespace) -> bool {
        self.namespaces.contains(&namespace)
    }

    fn try_open(&mut self, flag: CloneFlags, namespace: Namespace) -> Result<(), Errno> {
        let result = unshare(flag);
        match result {
            Ok(()) => self.namespaces.push(namespace),
            Err(e) => self
                .notes
                .push(format!("no {namespace:?} namespace of its own: {e}")),
        }
        result
    }
}

/// Opens the namespaces that the next child will be born into. The caller must have one thread
/// only, and can start none afterwards.
pub(super) fn open_for_child() -> Had {
    let mut had = Had::default();
    if !geteuid().is_root() && !open_user(&mut had) {
        return had;
    }
    // A refusal is noted, and the machine comes up without.
    let _ = had.try_open(CloneFlags::CLONE_NEWPID, Namespace::Pid);
    had
}

/// Becomes root of a user namespace in which nobody else exists.
fn open_user(had: &mut Had) -> bool {
    let (uid, gid) = (geteuid(), getegid());
    if had
        .try_open(CloneFlags::CLONE_NEWUSER, Namespace::User)
        .is_err()
    {
        return false;
    }
    let mapped = fs::write("/proc/self/setgroups", "deny")
        .and_then(|()| fs::write("/proc/self/uid_map", format!("0 {uid} 1")))
        .and_then(|()| fs::write("/proc/self/gid_map", format!("0 {gid} 1")));
    if let Err(e) = &mapped {
        had.notes.push(format!("user namespace without ids: {e}"));
    }
    mapped.is_ok()
}

/// Enters the rest of the namespaces; the caller must not have started a thread yet.
pub(super) fn enter(mut had: Had, network: Network, label: &str) -> Had {
    let wanted = [
        (CloneFlags::CLONE_NEWNS, Namespace::Mount),
        (CloneFlags::CLONE_NEWUTS, Namespace::Uts),
        (CloneFlags::CLONE_NEWIPC, Namespace::Ipc),
        (CloneFlags::CLONE_NEWCGROUP, Namespace::Cgroup),
    ];
    for (flag, namespace) in wanted {
        // A refusal is noted, and the machine comes up without.
        let _ = had.try_open(flag, namespace);
    }
    if had.has(Namespace::Uts)
        && let Err(e) = sethostname(label)
    {
        had.notes.push(format!("the host's name stays: {e}"));
    }
    match network {
        Network::Host => had
            .notes
            .push("shares the host's network, as configured".into()),
        Network::Own => {
            if had
                .try_open(CloneFlags::CLONE_NEWNET, Namespace::Net)
                .is_ok()
                && let Err(e) = raise_loopback()
            {
                had.notes.push(format!("its loopback is down: {e}"));
            }
        }
    }
    had
}

/// Brings up the loopback of a new network namespace, which is born down.
fn raise_loopback() -> std::io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: ifreq is plain old data for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: the socket is open and the request is a valid, initialised ifreq that outlives the
    // call.
    match unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS, &request) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
