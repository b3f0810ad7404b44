//! Makes room for machines in a version 2 cgroup that was handed to the settlement process.
//!
//! Called once at the start of `run`. In version 2 no group may both hold processes and hand
//! controllers down to the groups below it, so a process that is to make groups in its own must
//! first leave it for one below:
//!
//! ```text
//! exahour.service      handed over by the service manager; holds no process
//!   settlement         this process, and the supervisors that it starts
//!   exahour-NONCE      a machine
//! ```
//! Always holds: a group that any other process is in is left as it is.
//! Does not: know whether the manager has handed the group over; it must be told to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cgroup::members;

/// The group that the process moves into; systemd's `DelegateSubgroup` may name it as well.
const OPERATOR: &str = "settlement";

/// Whether room had to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// This process is in the group below now.
    Made,
    /// It is there already, in a group where machines cannot be hindered, or not alone.
    AsItWas,
}

/// Where machines' groups belong for a process in `own`.
pub(super) fn parent_of_machines(own: &Path) -> PathBuf {
    match own.file_name() {
        Some(name) if name == OPERATOR => own.parent().unwrap_or(own).to_owned(),
        _ => own.to_owned(),
    }
}

/// Moves the process with this number out of its group into one below, if it is alone there.
///
/// # Errors
/// When the group below cannot be made or entered.
pub(super) fn make_room(own: &Path, process: u32) -> io::Result<Room> {
    // The root of all groups may do both, and has no type.
    let bound_by_rule = own.join("cgroup.type").exists();
    if !bound_by_rule || parent_of_machines(own) != own {
        return Ok(Room::AsItWas);
    }
    let alone = members(own)?
        .iter()
        .all(|pid| u32::try_from(*pid) == Ok(process));
    if !alone {
        return Ok(Room::AsItWas);
    }
    let below = own.join(OPERATOR);
    match fs::create_dir(&below) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    fs::write(below.join("cgroup.procs"), process.to_string())?;
    Ok(Room::Made)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's files, played by plain ones.
    fn group(dir: &Path, members: &str) {
        fs::create_dir_all(dir.join(OPERATOR)).expect("group");
        fs::write(dir.join("cgroup.type"), "domain\n").expect("type");
        fs::write(dir.join("cgroup.procs"), members).expect("members");
    }

    fn moved(dir: &Path) -> Option<String> {
        fs::read_to_string(dir.join("settlement/cgroup.procs")).ok()
    }

    #[test]
    fn a_process_alone_in_its_group_moves_below_it() {
        let dir = tempfile::tempdir().expect("temp dir");
        group(dir.path(), "77\n");
        assert_eq!(make_room(dir.path(), 77).expect("room"), Room::Made);
        assert_eq!(moved(dir.path()).as_deref(), Some("77"));
        let below = dir.path().join(OPERATOR);
        group(&below, "77\n");
        assert_eq!(make_room(&below, 77).expect("room"), Room::AsItWas);
        assert_eq!(moved(&below), None, "once is enough");
        assert_eq!(parent_of_machines(&below), dir.path());
        assert_eq!(parent_of_machines(dir.path()), dir.path());
    }

    #[test]
    fn a_group_with_others_in_it_and_the_root_are_left_alone() {
        let dir = tempfile::tempdir().expect("temp dir");
        group(dir.path(), "77\n78\n");
        assert_eq!(make_room(dir.path(), 77).expect("room"), Room::AsItWas);
        fs::write(dir.path().join("cgroup.procs"), "77\n").expect("members");
        fs::remove_file(dir.path().join("cgroup.type")).expect("the root");
        assert_eq!(make_room(dir.path(), 77).expect("room"), Room::AsItWas);
        assert_eq!(moved(dir.path()), None);
    }
}
