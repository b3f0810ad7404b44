//! Takes away what a machine leaves: its processes, its groups, and folders its buyer could write in.
//!
//! Called by the provider at a release, and by a new guest for the one before it.
//!
//! Always holds: only what carries the machine's nonce is ended; links are not followed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::ProvisionError;
use super::cgroup::{self, Remains};
use super::folder::Folder;
use super::kill::kill_marked;

/// How long to sleep between two looks at what was killed.
const LOOK: Duration = Duration::from_millis(2);
/// How long the kernel has to take away what was killed.
const SWEEP: Duration = Duration::from_secs(5);

/// Removes what a dead guest left; the caller holds the guest's lock.
///
/// # Errors
/// `WillNotDie` when something outlives SIGKILL for too long.
pub(crate) fn sweep(folder: &Folder, nonce: &str) -> Result<(), ProvisionError> {
    let cgroups = folder.guest()?.map(|g| g.cgroups).unwrap_or_default();
    let until = Instant::now() + SWEEP;
    loop {
        let io = || ProvisionError::io("cannot clean up after the guest of", folder.path());
        let marked = kill_marked(nonce).map_err(io())?;
        let remains = cgroup::remove(&cgroups, nonce).map_err(io())?;
        if marked == 0 && remains == Remains::None {
            return folder.remove("guest.json");
        }
        if Instant::now() >= until {
            return Err(ProvisionError::WillNotDie { key: folder.key() });
        }
        std::thread::sleep(LOOK);
    }
}

/// Removes a folder that its buyer could write in, whatever rights he left on what is in it.
pub(super) fn remove_tree(path: &Path) -> std::io::Result<()> {
    let removed = match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Gives its owner all rights on a folder and on every folder in it; links are not followed.
fn open_up(path: &Path) -> std::io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As an ordinary user: rights on folders are nothing to root.
    #[test]
    fn no_rights_that_a_buyer_leaves_keep_his_folder() {
        let parent = tempfile::tempdir().expect("temp dir");
        let home = parent.path().join("home");
        fs::create_dir_all(home.join("a/b")).expect("folders");
        fs::write(home.join("a/b/file"), b"x").expect("file");
        std::os::unix::fs::symlink("/", home.join("a/link")).expect("link");
        let nobody = nix::unistd::Uid::from_raw(65_534);
        if nix::unistd::geteuid().is_root() {
            for path in [parent.path(), &home, &home.join("a"), &home.join("a/b")] {
                nix::unistd::chown(path, Some(nobody), None).expect("chown");
            }
        }
        for path in ["a/b", "a"] {
            fs::set_permissions(home.join(path), fs::Permissions::from_mode(0o000))
                .expect("rights");
        }
        let looked_at = home.clone();
        let removed = std::thread::spawn(move || {
            // Of this thread alone; with it go root's rights on files.
            nix::unistd::setfsuid(nobody);
            assert!(fs::read_dir(looked_at.join("a")).is_err(), "it is closed");
            remove_tree(&looked_at)
        });
        removed.join().expect("thread").expect("removed");
        assert!(!home.exists());
        remove_tree(&home).expect("what is gone is removed");
    }
}
