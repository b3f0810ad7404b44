//! Disks of the nodes' own: file systems in files, which can be filled, and stand still.
//!
//! ```text
//!  DIR/node-1.disk      the file; an ext4 file system in it
//!  DIR/node-1/          where it is mounted, for this process and the nodes only
//! ```
//! Set up by `site` where they are asked for, used by its rounds. Takes the rights of root, and the system's own
//! `mkfs.ext4`, `mount` and `fsfreeze`.
//!
//! Always holds: nobody else on the machine sees the mounts; the system takes them away with the last process
//! that does. What stands still runs on when this process ends, however it does: who holds it waits for that.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Room on each disk: for all that a node keeps of an hour. The file takes what is used of it.
const DISK_BYTES: u64 = 8 << 30;

/// What a disk is filled with.
const FILLER: &str = "filler";

/// Bytes written at once while a disk is filled; the last ones are smaller.
const FILL_BYTES: [u64; 3] = [256 << 20, 1 << 20, 4 << 10];

/// Freezes what is mounted at its first argument, says so, and thaws it once its input ends: when the one who
/// asked closes it, or is no more.
const HOLD: &str = "fsfreeze -f \"$1\" && echo still && { read -r _; fsfreeze -u \"$1\"; }";

/// The disk of a node.
pub(super) struct NodeDisk {
    image: PathBuf,
    place: PathBuf,
    /// Who lets it stand still.
    holder: Option<Child>,
}

/// Lets mounts that follow be seen by this process only, and by those that it starts.
///
/// # Errors
/// Where the system refuses.
pub(super) fn keep_mounts_to_us() -> Result<()> {
    let refused = "disks of the nodes' own: the system does not let this process mount (it takes root's rights)";
    unshare(CloneFlags::CLONE_NEWNS).context(refused)?;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).context(refused)
}

impl NodeDisk {
    /// Makes a disk in the file `image`, and mounts it at `place`.
    ///
    /// # Errors
    /// Where the system refuses, or has not what it takes.
    pub(super) fn make(image: &Path, place: &Path) -> Result<Self> {
        let written = |path: &Path| format!("cannot write {}", path.display());
        let file = File::create_new(image).with_context(|| written(image))?;
        file.set_len(DISK_BYTES).with_context(|| written(image))?;
        drop(file);
        fs::create_dir(place).with_context(|| written(place))?;
        call(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(image))?;
        call(
            Command::new("mount")
                .args(["-o", "loop"])
                .arg(image)
                .arg(place),
        )?;
        let disk = Self {
            image: image.to_path_buf(),
            place: place.to_path_buf(),
            holder: None,
        };
        // An empty folder is what a new node expects.
        fs::remove_dir(place.join("lost+found")).with_context(|| written(place))?;
        Ok(disk)
    }

    /// Leaves no room on it.
    ///
    /// # Errors
    /// Where it cannot be written for another reason.
    pub(super) fn fill(&self) -> Result<()> {
        let path = self.place.join(FILLER);
        let failed = || format!("cannot fill {}", path.display());
        let mut file = File::create(&path).with_context(failed)?;
        let mut bytes = 0;
        for step in FILL_BYTES {
            loop {
                match nix::fcntl::posix_fallocate(&file, length(bytes), length(step)) {
                    Ok(()) => bytes += step,
                    Err(nix::errno::Errno::ENOSPC) => break,
                    Err(error) => return Err(error).with_context(failed),
                }
            }
        }
        // What is left is not in whole blocks of the file system's own.
        match file.write_all(&[0]) {
            Err(error) if error.kind() != ErrorKind::StorageFull => Err(error).with_context(failed),
            _ => Ok(()),
        }
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// Where it cannot.
    pub(super) fn empty(&self) -> Result<()> {
        let path = self.place.join(FILLER);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Lets whoever writes to it, or waits for a flush, wait.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(super) fn freeze(&mut self) -> Result<()> {
        let mut holder = Command::new("sh")
            .args(["-c", HOLD, "sh"])
            .arg(&self.place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run sh, which the system has to have")?;
        let mut said = [0; 5];
        let heard = holder.stdout.as_mut().map(|it| it.read_exact(&mut said));
        let still = matches!(heard, Some(Ok(())));
        self.holder = Some(holder);
        match still {
            true => Ok(()),
            false => self.thaw(),
        }
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// Where the system refuses, or did when it was to stand still.
    pub(super) fn thaw(&mut self) -> Result<()> {
        let Some(mut holder) = self.holder.take() else {
            return Ok(());
        };
        drop(holder.stdin.take());
        let ended = holder.wait_with_output().context("cannot wait for sh")?;
        checked("fsfreeze", &ended)
    }

    /// Puts what is on it into the folder where it was mounted, when nobody uses it any more, and removes it.
    ///
    /// # Errors
    /// Where it cannot; the disk is kept.
    pub(super) fn bring_out(self) -> Result<()> {
        let out = self.image.with_extension("out");
        call(
            Command::new("cp")
                .args(["-a", "--sparse=always"])
                .arg(&self.place)
                .arg(&out),
        )?;
        let failed = || format!("cannot take {} away", self.place.display());
        umount2(&self.place, MntFlags::empty()).with_context(failed)?;
        fs::remove_dir(&self.place).with_context(failed)?;
        fs::rename(&out, &self.place).with_context(failed)?;
        fs::remove_file(&self.image).with_context(failed)
    }
}

impl Drop for NodeDisk {
    fn drop(&mut self) {
        let _ = self.thaw();
    }
}

/// A length as the system takes it; none here comes near its bounds.
fn length(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Runs a program of the system.
///
/// # Errors
/// Where it is not there, or fails, with what it said.
pub(super) fn call(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot run {name}, which the system has to have"))?;
    checked(&name, &output)
}

/// What a program said, where it has failed.
fn checked(name: &str, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{name} failed, {}: {}", output.status, said.trim())
}
