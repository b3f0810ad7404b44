//! Builds the file tree that a machine sees: the host's programs read-only, everything else its
//! own and in memory.
//!
//! Called by the inside, in its own mount namespace, before it gives up its rights.
//!
//! Always holds: nothing of the host's data is in the tree; all of it but the home, tmp, and shm is
//! read-only, whoever owns it; in proc the buyer finds his own processes, not process 1; what is
//! mounted here is seen nowhere else and goes away with the machine.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Context;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{Gid, Uid, chdir, chown, pivot_root};

use crate::provision::Namespace;

use super::mounts::show;
use super::namespaces::Had;

/// Where the buyer arrives.
pub(super) const HOME: &str = "/home/compute";
/// The name of the machine's only user.
pub(super) const USER: &str = "compute";

/// Host folders that hold programs; symbolic links among them stay links.
const PROGRAMS: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib64", "lib32", "libx32"];
/// Host settings without which programs do not start.
const SETTINGS: [&str; 7] = [
    "alternatives",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "ssl/certs",
    "terminfo",
];
/// Host devices that hold no data.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Who the machine's user is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Builds the tree in the empty folder `at`.
///
/// # Errors
/// Names the step that this host refused; the process still sees the host's tree then.
pub(super) fn build(
    at: &Path,
    had: &Had,
    owner: Owner,
    label: &str,
    memory_bytes: u64,
) -> anyhow::Result<()> {
    // Logins are started by way of proc, and the host's would show the host's processes.
    anyhow::ensure!(
        had.has(Namespace::Pid),
        "no processes of its own, and so no proc in its tree"
    );
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot make mounts private")?;
    tmpfs(at, "mode=755,size=1m")?;
    for name in PROGRAMS {
        show_programs(at, name)?;
    }
    write_settings(at, owner, label)?;
    make_devices(at)?;
    let half = memory_bytes / 2;
    fs::create_dir_all(at.join("home/compute")).context("cannot make the home")?;
    tmpfs(&at.join("home/compute"), &format!("mode=700,size={half}"))?;
    chown(
        &at.join("home/compute"),
        Some(Uid::from_raw(owner.uid)),
        Some(Gid::from_raw(owner.gid)),
    )
    .context("cannot give the home to its user")?;
    for (name, share) in [("tmp", half / 2), ("dev/shm", half / 2)] {
        fs::create_dir(at.join(name)).with_context(|| format!("cannot make {name}"))?;
        tmpfs(&at.join(name), &format!("mode=1777,size={share}"))?;
    }
    fs::create_dir(at.join("proc")).context("cannot make proc")?;
    show_processes(&at.join("proc"))?;
    // Last, when every mount has its place: whoever owns the tree, and without root that is the
    // buyer, cannot leave a loader's setting or a link in it for the next login to follow.
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    let flags = flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(none, at, none, flags, none).context("cannot make the tree read-only")
}

/// Makes the tree built in `at` the root of this process and lets go of the host's.
///
/// # Errors
/// After an error the process may see both trees and must end.
pub(super) fn turn(at: &Path) -> anyhow::Result<()> {
    // Stacking the old root on the new one and letting go of it needs no folder for it.
    chdir(at).context("cannot enter the new root")?;
    pivot_root(".", ".").context("cannot turn the root")?;
    umount2(".", MntFlags::MNT_DETACH).context("cannot let go of the old root")?;
    chdir("/").context("cannot enter the root")
}

fn tmpfs(at: &Path, options: &str) -> anyhow::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options))
        .with_context(|| format!("cannot mount memory at {}", at.display()))
}

fn show_programs(at: &Path, name: &str) -> anyhow::Result<()> {
    let host = Path::new("/").join(name);
    let Ok(found) = fs::symlink_metadata(&host) else {
        return Ok(());
    };
    if found.is_symlink() {
        let target = fs::read_link(&host).context("cannot read a link")?;
        return symlink(target, at.join(name)).context("cannot make a link");
    }
    fs::create_dir(at.join(name)).context("cannot make a folder")?;
    show(&host, &at.join(name))
}

/// Shows the machine's processes, each to those who may trace it: process 1 forbids that, and its
/// files, by which it could be slowed or chosen when memory runs out, are the buyer's by their user.
fn show_processes(at: &Path) -> anyhow::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let show_with = |options| mount(Some("proc"), at, Some("proc"), flags, Some(options));
    match show_with("hidepid=ptraceable") {
        // Before Linux 5.8 it has a number only, and lets pass whoever is in the host's group 0.
        Err(Errno::EINVAL) => show_with("hidepid=2"),
        shown => shown,
    }
    .context("cannot mount proc")?;
    let settings = at.join("sys");
    show(&settings, &settings)
}

fn write_settings(at: &Path, owner: Owner, label: &str) -> anyhow::Result<()> {
    let Owner { uid, gid } = owner;
    let etc = at.join("etc");
    fs::create_dir(&etc).context("cannot make etc")?;
    let shell = login_shell();
    let files = [
        ("passwd", format!("{USER}:x:{uid}:{gid}::{HOME}:{shell}\n")),
        ("group", format!("{USER}:x:{gid}:\n")),
        ("hostname", format!("{label}\n")),
        ("hosts", format!("127.0.0.1 localhost {label}\n")),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files\n".into(),
        ),
    ];
    for (name, text) in files {
        fs::write(etc.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    for name in SETTINGS {
        let host = Path::new("/etc").join(name);
        // Following links: the localtime link would lead nowhere else.
        let Ok(found) = fs::metadata(&host) else {
            continue;
        };
        let place = etc.join(name);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).context("cannot make a folder")?;
        }
        match found.is_dir() {
            true => fs::create_dir(&place).context("cannot make a folder")?,
            false => fs::write(&place, "").context("cannot make a file")?,
        }
        show(&host, &place)?;
    }
    Ok(())
}

fn make_devices(at: &Path) -> anyhow::Result<()> {
    let dev = at.join("dev");
    fs::create_dir(&dev).context("cannot make dev")?;
    for name in DEVICES {
        let place = dev.join(name);
        fs::write(&place, "").context("cannot make a device")?;
        let host = Path::new("/dev").join(name);
        mount(
            Some(&host),
            &place,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .with_context(|| format!("cannot show {}", host.display()))?;
    }
    let pts = dev.join("pts");
    fs::create_dir(&pts).context("cannot make dev/pts")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let options = Some("newinstance,ptmxmode=0666,mode=620");
    mount(Some("devpts"), &pts, Some("devpts"), flags, options).context("cannot mount devpts")?;
    let links = [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ];
    for (name, target) in links {
        symlink(target, dev.join(name)).context("cannot make a link")?;
    }
    Ok(())
}

/// The friendliest shell that is there.
pub(super) fn login_shell() -> &'static str {
    match Path::new("/bin/bash").exists() {
        true => "/bin/bash",
        false => "/bin/sh",
    }
}
