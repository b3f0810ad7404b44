//! Shows a part of the host in a machine's file tree so that nothing in it can be written.
//!
//! Called by `root` while it builds the tree, in a mount namespace whose mounts are private.
//!
//! Always holds: what is shown is read-only and without set-user-id programs and devices, and so
//! is every file system that the host has mounted somewhere below it.

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::mount::{MsFlags, mount};

/// Shows a host file or folder read-only at a place that exists.
///
/// # Errors
/// When the host refuses; what was shown until then may be writable, and must not be used.
pub(super) fn show(host: &Path, at: &Path) -> anyhow::Result<()> {
    let none = None::<&str>;
    let doing = || format!("cannot show {}", host.display());
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(host), at, none, bind, none).with_context(doing)?;
    match close_at_once(at) {
        // Not there, or refused by a filter that does not know it, as in a container.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            close_one_by_one(at)
        }
        closed => closed,
    }
    .with_context(doing)
}

/// Closes the mount at `at` and all mounts below it in one call, on Linux 5.12 and later.
fn close_at_once(at: &Path) -> io::Result<()> {
    let path = CString::new(at.as_os_str().as_bytes())?;
    let wanted = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path ends with a zero and the attributes are as large as is said; the kernel
    // only reads both, and both outlive the call.
    let closed = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const wanted,
            size_of_val(&wanted),
        )
    };
    match closed {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The same for older kernels, a call for each mount that the kernel lists.
fn close_one_by_one(at: &Path) -> io::Result<()> {
    let at = fs::canonicalize(at)?;
    // Of this thread: a mount namespace belongs to threads.
    let listed = fs::read("/proc/thread-self/mountinfo")?;
    for Mounted { place, flags } in mounted_at_or_below(&listed, &at) {
        let closed = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let flags = flags | closed | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
        mount(None::<&str>, &place, None::<&str>, flags, None::<&str>)
            .map_err(|e| io::Error::other(format!("{}: {e}", place.display())))?;
    }
    Ok(())
}

/// A mount, and what of its flags a change must name lest it be lost.
#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    place: PathBuf,
    flags: MsFlags,
}

/// Reads the kernel's list of mounts; a place with several mounts on it is there several times.
fn mounted_at_or_below(listed: &[u8], at: &Path) -> Vec<Mounted> {
    let parse = |line: &[u8]| {
        let mut fields = line.split(|b| *b == b' ').skip(4);
        let place = unescape(fields.next()?);
        let flags = fields.next()?.split(|b| *b == b',').map(flag).collect();
        place.starts_with(at).then_some(Mounted { place, flags })
    };
    listed.split(|b| *b == b'\n').filter_map(parse).collect()
}

/// Settings of time stamps are kept by a change that names none of them.
fn flag(option: &[u8]) -> MsFlags {
    match option {
        b"noexec" => MsFlags::MS_NOEXEC,
        _ => MsFlags::empty(),
    }
}

/// Paths are listed with a backslash and three octal digits for what would split a line.
fn unescape(listed: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(listed.len());
    let mut rest = listed;
    while let Some((first, after)) = rest.split_first() {
        let coded = after.get(..3).filter(|_| *first == b'\\');
        let code = coded
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = match code {
            Some(_) => &after[3..],
            None => after,
        };
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::rights::refuse;
    use nix::sched::{CloneFlags, unshare};
    use nix::sys::statvfs::{FsFlags, statvfs};

    /// Runs in a mount namespace of its own: a host folder with two more mounts in it.
    fn with_host_folder(test: impl FnOnce(&Path, &Path) + Send + 'static) {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can mount");
            return;
        }
        let apart = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).expect("a namespace of its own");
            let none = None::<&str>;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(none, "/", none, private, none).expect("private");
            let dir = tempfile::tempdir().expect("temp dir");
            let (host, at) = (dir.path().join("host"), dir.path().join("at"));
            fs::create_dir(&at).expect("folder");
            for place in ["", "local", "local/o pt"] {
                let place = host.join(place);
                fs::create_dir(&place).expect("folder");
                mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), none).expect("mount");
            }
            test(&host, &at);
        });
        apart.join().expect("test");
    }

    fn assert_closed(host: &Path, at: &Path) {
        for place in ["", "local", "local/o pt"] {
            let flags = statvfs(&at.join(place)).expect("look").flags();
            let closed = FsFlags::ST_RDONLY | FsFlags::ST_NOSUID;
            assert!(flags.contains(closed), "{place}: {flags:?}");
            fs::write(at.join(place).join("x"), "x").expect_err("written");
            fs::write(host.join(place).join("x"), "x").expect("the host's own stays open");
        }
    }

    #[test]
    fn what_the_host_has_mounted_below_is_closed_too() {
        with_host_folder(|host, at| {
            show(host, at).expect("shown");
            assert_closed(host, at);
        });
    }

    #[test]
    fn an_older_kernel_closes_the_same_mounts() {
        with_host_folder(|host, at| {
            let none = None::<&str>;
            let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(host), at, none, bind, none).expect("bind");
            close_one_by_one(at).expect("closed");
            assert_closed(host, at);
        });
    }

    #[test]
    fn a_filter_that_does_not_know_the_call_is_no_hindrance() {
        with_host_folder(|host, at| {
            let call = [(libc::SYS_mount_setattr, Vec::new())];
            refuse(&call, libc::EPERM).expect("filter");
            show(host, at).expect("shown");
            assert_closed(host, at);
        });
    }

    #[test]
    fn mounts_are_read_from_the_kernels_list() {
        let listed = b"1 0 0:1 / / rw - ext4 d rw\n\
            2 1 0:2 / /m/usr rw,noexec,relatime shared:1 - ext4 d rw\n\
            3 2 0:3 / /m/usr/o\\040pt ro - tmpfs t rw\n4 1 0:4 / /m/usr2 rw - tmpfs t rw\n";
        let mounted = |place: &str, flags| Mounted {
            place: place.into(),
            flags,
        };
        assert_eq!(
            mounted_at_or_below(listed, Path::new("/m/usr")),
            [
                mounted("/m/usr", MsFlags::MS_NOEXEC),
                mounted("/m/usr/o pt", MsFlags::empty())
            ]
        );
    }
}
