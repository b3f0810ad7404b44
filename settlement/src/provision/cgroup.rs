//! Bounds a machine's processor time and memory with control groups, through their plain files.
//!
//! ```text
//! exahour-NONCE   memory and processes of the whole machine
//!   server        process 1, the login server and the meter: a small quota of its own
//!   shells        everything the buyer starts: the quota that was promised to him, less memory
//!                 and fewer processes than the whole
//! ```
//! Called by the supervisor of a machine and, once that is dead, by the provider that cleans up.
//! Knows version 1 (a folder for each controller) and version 2 (one folder).
//!
//! Always holds: a machine's group is made below its caller's own group, or beside it where that is
//! the subgroup `settlement` that the caller has moved into, so that it never escapes a bound set on
//! the service; whatever the buyer's processes take, some of it is left to process 1; only groups
//! that carry the machine's nonce are emptied or removed.
//! Does not: decide how much a machine may use.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Limits, MachineSpec, Millicores};

use super::delegated::{self, Room};
use super::kill::kill_where;

/// Period over which the processor quota is given out.
const QUOTA_PERIOD_US: u64 = 100_000;
/// The login server's and meter's own share. A quota that they had in common with the buyer would
/// be used up by him: he overruns it on every core, and the debt keeps all of a group waiting.
const SERVER_CPU_SHARE: Millicores = Millicores(200);
const QUOTA_V2: &str = "cpu.max";
const QUOTA_V1: &str = "cpu.cfs_quota_us";
const PERIOD_V1: &str = "cpu.cfs_period_us";
/// Smallest quota that the kernel accepts.
const QUOTA_MIN_US: u64 = 1_000;
/// Most processes and threads in one machine, the login server included.
const PROCESSES_MAX: u32 = 1_024;
/// Those of them that the buyer's can be; the others are left to process 1.
pub(crate) const SHELL_PROCESSES_MAX: u32 = PROCESSES_MAX - 64;
/// Memory for the login server, beyond what was promised to the buyer.
pub(crate) const SERVER_MEMORY_BYTES: u64 = 32 << 20;

/// Where a machine's group can be made, found from the host's mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) version: Limits,
    /// One folder for each hierarchy.
    pub(crate) folders: Vec<PathBuf>,
}

/// A group below a machine's own; processes are only in these, as version 2 demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// Process 1.
    Server,
    /// Whatever the buyer starts.
    Shells,
}

const LEAVES: [Leaf; 2] = [Leaf::Server, Leaf::Shells];

impl Leaf {
    fn of(self, group: &Path) -> PathBuf {
        group.join(match self {
            Leaf::Server => "server",
            Leaf::Shells => "shells",
        })
    }
}

/// The name of a machine's group.
fn group_name(nonce: &str) -> String {
    format!("exahour-{nonce}")
}

/// Finds where the group of the machine with this nonce belongs; none when there is no hierarchy
/// with both a processor and a memory controller.
pub(crate) fn plan(parent: Option<&Path>, nonce: &str) -> io::Result<Option<Plan>> {
    let name = group_name(nonce);
    if let Some(parent) = parent {
        let version = match parent.join("cgroup.controllers").exists() {
            true => Limits::CgroupV2,
            false => Limits::CgroupV1,
        };
        return Ok(Some(Plan {
            version,
            folders: vec![parent.join(name)],
        }));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let memberships = fs::read_to_string("/proc/self/cgroup")?;
    let mut found = plan_v2(&mounts, &memberships);
    if found.is_none() {
        found = plan_v1(&mounts, &memberships);
    }
    Ok(found.map(|(version, parents)| Plan {
        version,
        folders: parents.into_iter().map(|p| p.join(&name)).collect(),
    }))
}

/// Makes room for machines' groups where this process is in the way; called once at its start.
///
/// # Errors
/// When the kernel refuses; machines then come up with weaker limits, and say so.
pub(crate) fn make_room() -> io::Result<Room> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let memberships = fs::read_to_string("/proc/self/cgroup")?;
    match own_group_v2(&mounts, &memberships) {
        Some(own) => delegated::make_room(&own, std::process::id()),
        None => Ok(Room::AsItWas),
    }
}

fn plan_v2(mounts: &str, memberships: &str) -> Option<(Limits, Vec<PathBuf>)> {
    let own = own_group_v2(mounts, memberships)?;
    let parent = delegated::parent_of_machines(&own);
    Some((Limits::CgroupV2, vec![parent]))
}

/// This process's own group, where version 2 has both a processor and a memory controller.
fn own_group_v2(mounts: &str, memberships: &str) -> Option<PathBuf> {
    let own = memberships.lines().find_map(|l| l.strip_prefix("0::"))?;
    let mount = parse_mounts(mounts)
        .into_iter()
        .find(|m| m.kind == "cgroup2")?;
    let own = mount.place(own)?;
    let parent = delegated::parent_of_machines(&own);
    let controllers = fs::read_to_string(parent.join("cgroup.controllers")).ok()?;
    let has = |name: &str| controllers.split_ascii_whitespace().any(|c| c == name);
    (has("cpu") && has("memory")).then_some(own)
}

fn plan_v1(mounts: &str, memberships: &str) -> Option<(Limits, Vec<PathBuf>)> {
    let mounts = parse_mounts(mounts);
    let parent = |controller: &str| -> Option<PathBuf> {
        let mount = mounts
            .iter()
            .find(|m| m.kind == "cgroup" && m.options.split(',').any(|o| o == controller))?;
        let own = memberships.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let controllers = parts.next()?;
            let path = parts.next()?;
            controllers
                .split(',')
                .any(|c| c == controller)
                .then_some(path)
        })?;
        mount.place(own)
    };
    let mut parents = vec![parent("cpu")?, parent("memory")?];
    for optional in ["cpuacct", "pids"] {
        parents.extend(parent(optional));
    }
    parents.sort();
    parents.dedup();
    Some((Limits::CgroupV1, parents))
}

/// One line of mountinfo.
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl Mount<'_> {
    /// Where a group of this hierarchy is in the file tree, if this mount shows it.
    fn place(&self, group: &str) -> Option<PathBuf> {
        let inside = Path::new(group).strip_prefix(self.root).ok()?;
        Some(Path::new(self.point).join(inside))
    }
}

fn parse_mounts(text: &str) -> Vec<Mount<'_>> {
    let parse = |line: &'_ str| -> Option<(usize, usize)> {
        let dash = line.find(" - ")?;
        Some((dash, line.len()))
    };
    let mut mounts = Vec::new();
    for line in text.lines() {
        let Some((dash, _)) = parse(line) else {
            continue;
        };
        let before: Vec<&str> = line[..dash].split(' ').collect();
        let after: Vec<&str> = line[dash + 3..].split(' ').collect();
        if let (Some(root), Some(point), Some(kind), Some(options)) =
            (before.get(3), before.get(4), after.first(), after.get(2))
        {
            mounts.push(Mount {
                root,
                point,
                kind,
                options,
            });
        }
    }
    mounts
}

/// Makes the group and the two below it, and sets their bounds.
///
/// # Errors
/// When a folder or a bound cannot be written; nothing half made is left then.
pub(crate) fn make(plan: &Plan, spec: &MachineSpec) -> io::Result<()> {
    let made = try_make(plan, spec);
    if made.is_err() {
        for folder in &plan.folders {
            // Empty groups of ours; if they cannot go either, the first error says why.
            for leaf in LEAVES {
                let _ = fs::remove_dir(leaf.of(folder));
            }
            let _ = fs::remove_dir(folder);
        }
    }
    made
}

fn try_make(plan: &Plan, spec: &MachineSpec) -> io::Result<()> {
    let Plan { version, folders } = plan;
    for folder in folders {
        if let (Limits::CgroupV2, Some(parent)) = (version, folder.parent()) {
            hand_down_controllers(parent)?;
        }
        make_folder(folder)?;
    }
    if *version != Limits::CgroupV2 {
        // What a group below uses counts here too; newer kernels know no other way.
        set_if_there(folders, "memory.use_hierarchy", "1")?;
    }
    let memory = spec.memory_bytes;
    let with_server = memory.saturating_add(SERVER_MEMORY_BYTES);
    bound(*version, folders, with_server, PROCESSES_MAX)?;
    for folder in folders {
        if *version == Limits::CgroupV2 {
            hand_down_controllers(folder)?;
        }
        for leaf in LEAVES {
            make_folder(&leaf.of(folder))?;
        }
    }
    let [server, shells] =
        LEAVES.map(|leaf| folders.iter().map(|f| leaf.of(f)).collect::<Vec<_>>());
    share(*version, &server, SERVER_CPU_SHARE)?;
    share(*version, &shells, spec.cpu_share)?;
    bound(*version, &shells, memory, SHELL_PROCESSES_MAX)
}

fn share(version: Limits, folders: &[PathBuf], share: Millicores) -> io::Result<()> {
    if version != Limits::CgroupV2 {
        set(folders, PERIOD_V1, &QUOTA_PERIOD_US.to_string())?;
    }
    let (file, quota) = quota(version, share);
    set(folders, file, &quota)
}

/// The file that holds a group's quota, and what to write there.
fn quota(version: Limits, share: Millicores) -> (&'static str, String) {
    let quota_us = u64::from(share.0) * QUOTA_PERIOD_US / 1_000;
    let quota_us = quota_us.max(QUOTA_MIN_US);
    match version {
        Limits::CgroupV2 => (QUOTA_V2, format!("{quota_us} {QUOTA_PERIOD_US}")),
        Limits::CgroupV1 | Limits::Rlimits => (QUOTA_V1, quota_us.to_string()),
    }
}

/// The quota of process 1, kept open by it to share what was promised with the buyer's processes
/// where they cannot be kept apart.
#[derive(Debug)]
pub(crate) struct ServersQuota {
    file: File,
    version: Limits,
}

impl ServersQuota {
    /// Opens the quota in the group with these folders; none where there are none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn open(folders: &[PathBuf]) -> io::Result<Option<ServersQuota>> {
        let known = [(QUOTA_V2, Limits::CgroupV2), (QUOTA_V1, Limits::CgroupV1)];
        for folder in folders {
            for (name, version) in known {
                match OpenOptions::new()
                    .write(true)
                    .open(Leaf::Server.of(folder).join(name))
                {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    file => return file.map(|file| Some(ServersQuota { file, version })),
                }
            }
        }
        Ok(None)
    }

    /// Gives it this share instead.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn set(&self, share: Millicores) -> io::Result<()> {
        let (_, quota) = quota(self.version, share);
        (&self.file).write_all(quota.as_bytes())
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

fn bound(version: Limits, folders: &[PathBuf], memory: u64, processes: u32) -> io::Result<()> {
    let memory = memory.to_string();
    match version {
        Limits::CgroupV2 => {
            set(folders, "memory.max", &memory)?;
            set_if_there(folders, "memory.swap.max", "0")?;
        }
        Limits::CgroupV1 | Limits::Rlimits => {
            set(folders, "memory.limit_in_bytes", &memory)?;
            set_if_there(folders, "memory.memsw.limit_in_bytes", &memory)?;
        }
    }
    set_if_there(folders, "pids.max", &processes.to_string())
}

/// Version 2 gives the groups below only the controllers that a group hands down.
fn hand_down_controllers(group: &Path) -> io::Result<()> {
    let control = group.join("cgroup.subtree_control");
    let handed = fs::read_to_string(&control)?;
    for controller in ["cpu", "memory", "pids"] {
        if !handed.split_ascii_whitespace().any(|c| c == controller) {
            let result = fs::write(&control, format!("+{controller}"));
            // Without a bound on the number of processes a machine is still bounded by memory.
            if controller != "pids" {
                result.map_err(|e| {
                    let cannot = format!("handing {controller} down from {}", group.display());
                    io::Error::new(e.kind(), format!("{cannot}: {e}"))
                })?;
            }
        }
    }
    Ok(())
}

fn set(folders: &[PathBuf], file: &str, value: &str) -> io::Result<()> {
    let path = folders.iter().map(|f| f.join(file)).find(|p| p.exists());
    let path = path.ok_or_else(|| io::Error::other(format!("no cgroup offers {file}")))?;
    fs::write(&path, value).map_err(|e| {
        io::Error::new(
            e.kind(),
            format!("writing {value} to {}: {e}", path.display()),
        )
    })
}

fn set_if_there(folders: &[PathBuf], file: &str, value: &str) -> io::Result<()> {
    match folders.iter().any(|f| f.join(file).exists()) {
        true => set(folders, file, value),
        false => Ok(()),
    }
}

/// The way into a leaf, kept open by a process that will have neither the sight of it nor the
/// rights to open it.
#[derive(Debug)]
pub(crate) struct Door {
    members: Vec<File>,
}

impl Door {
    /// Opens the way into a leaf of the group with these folders.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn open(folders: &[PathBuf], leaf: Leaf) -> io::Result<Door> {
        let open = |group: &PathBuf| {
            let members = leaf.of(group).join("cgroup.procs");
            OpenOptions::new().write(true).open(members)
        };
        let members = folders.iter().map(open).collect::<io::Result<_>>()?;
        Ok(Door { members })
    }

    /// Moves the calling process through. Makes system calls only, so that a child may call it
    /// between its birth and its program.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn enter(&self) -> io::Result<()> {
        for mut members in &self.members {
            members.write_all(b"0")?;
        }
        Ok(())
    }
}

/// What a group uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Processor time since the group was made, in nanoseconds.
    pub(crate) cpu_used_ns: u64,
    /// Memory charged now, in bytes.
    pub(crate) memory_bytes: u64,
}

/// Reads what a group uses; none when there is no such group.
pub(crate) fn usage(folders: &[PathBuf]) -> Option<Usage> {
    let number = |file: &str| -> Option<u64> {
        let text = folders
            .iter()
            .find_map(|f| fs::read_to_string(f.join(file)).ok())?;
        text.trim().parse().ok()
    };
    let cpu_used_ns = number("cpuacct.usage").or_else(|| {
        let stat = folders
            .iter()
            .find_map(|f| fs::read_to_string(f.join("cpu.stat")).ok())?;
        let micros = stat.lines().find_map(|l| l.strip_prefix("usage_usec "))?;
        micros.parse::<u64>().ok()?.checked_mul(1_000)
    })?;
    let memory_bytes = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    Some(Usage {
        cpu_used_ns,
        memory_bytes,
    })
}

/// What is left of a group after an attempt to remove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remains {
    /// Nothing.
    None,
    /// Processes that have been signalled but are not gone yet; try again.
    Some,
}

/// Kills whatever is left in the groups of the machine with this nonce, and removes them.
///
/// # Errors
/// When a group can be neither read nor removed.
pub(crate) fn remove(folders: &[PathBuf], nonce: &str) -> io::Result<Remains> {
    let mut remains = Remains::None;
    let ours = |f: &&PathBuf| f.file_name().is_some_and(|n| *n == *group_name(nonce));
    let whole = |group: &PathBuf| {
        let below = LEAVES.map(|leaf| leaf.of(group));
        below.into_iter().chain([group.clone()])
    };
    for folder in &folders
        .iter()
        .filter(ours)
        .flat_map(whole)
        .collect::<Vec<_>>()
    {
        let members = || members(folder);
        for pid in members()? {
            kill_where(pid, || Ok(members()?.contains(&pid)))?;
        }
        match fs::remove_dir(folder) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => remains = Remains::Some,
            Err(e) => return Err(e),
        }
    }
    Ok(remains)
}

pub(super) fn members(folder: &Path) -> io::Result<Vec<i32>> {
    match fs::read_to_string(folder.join("cgroup.procs")) {
        Ok(text) => Ok(text.lines().filter_map(|l| l.parse().ok()).collect()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        // The group went away between opening and reading.
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::Millicores;

    fn spec() -> MachineSpec {
        MachineSpec {
            cpu_share: Millicores(250),
            memory_bytes: 64 << 20,
            access_key: [0; 32],
            window_start_ns: 0,
            window_end_ns: 1,
            label: "m".into(),
        }
    }

    #[test]
    fn finds_its_place_below_its_own_groups_in_version_1() {
        let mounts = "30 29 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      31 29 0:27 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let memberships = "4:memory:/docker/x\n2:cpu,cpuacct:/slice\n0::/\n";
        let (version, parents) = plan_v1(mounts, memberships).expect("found");
        assert_eq!(version, Limits::CgroupV1);
        let expected: Vec<PathBuf> = vec![
            "/sys/fs/cgroup/cpu,cpuacct/slice".into(),
            "/sys/fs/cgroup/memory/".into(),
        ];
        assert_eq!(parents, expected);
        assert_eq!(plan_v1(mounts, "2:cpu,cpuacct:/slice\n"), None);
    }

    #[test]
    fn in_version_2_machines_are_made_beside_the_process_that_made_room() {
        let dir = tempfile::tempdir().expect("temp dir");
        let service = dir.path().join("exahour.service");
        fs::create_dir_all(service.join("settlement")).expect("group");
        fs::write(service.join("cgroup.controllers"), "cpu memory pids").expect("write");
        let mounts = format!("30 29 0:26 / {} rw - cgroup2 c rw\n", dir.path().display());
        for own in ["0::/exahour.service\n", "0::/exahour.service/settlement\n"] {
            let (version, parents) = plan_v2(&mounts, own).expect("found");
            assert_eq!(version, Limits::CgroupV2);
            assert_eq!(parents, std::slice::from_ref(&service));
        }
        assert_eq!(plan_v2(&mounts, "0::/elsewhere\n"), None);
    }

    #[test]
    fn writes_version_2_bounds_into_plain_files() {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::write(dir.path().join("cgroup.controllers"), "cpu memory pids").expect("write");
        fs::write(dir.path().join("cgroup.subtree_control"), "cpu memory pids").expect("write");
        let plan = plan(Some(dir.path()), "n0").expect("plan").expect("found");
        assert_eq!(plan.version, Limits::CgroupV2);
        // The kernel makes these files; here the test stands in for it.
        fs::create_dir(&plan.folders[0]).expect("group");
        for file in [
            "cgroup.subtree_control",
            "memory.max",
            "memory.swap.max",
            "pids.max",
        ] {
            fs::write(plan.folders[0].join(file), "").expect("write");
        }
        for leaf in LEAVES.map(|l| l.of(&plan.folders[0])) {
            fs::create_dir(&leaf).expect("group");
            for file in [
                "cpu.max",
                "memory.max",
                "memory.swap.max",
                "pids.max",
                "cgroup.procs",
            ] {
                fs::write(leaf.join(file), "").expect("write");
            }
        }
        make(&plan, &spec()).expect("bounds");
        let read = |f: &str| fs::read_to_string(plan.folders[0].join(f)).expect("read");
        assert_eq!(read("shells/cpu.max"), "25000 100000");
        assert_eq!(read("server/cpu.max"), "20000 100000");
        assert!(!plan.folders[0].join("cpu.max").exists(), "none in common");
        assert_eq!(read("memory.max"), "100663296");
        assert_eq!(read("memory.swap.max"), "0");
        assert_eq!(read("pids.max"), "1024");
        assert_eq!(read("shells/memory.max"), "67108864");
        assert_eq!(read("shells/memory.swap.max"), "0");
        assert_eq!(read("shells/pids.max"), "960");
        assert_eq!(read("server/memory.max"), "", "bounded by the whole");
        // Version 2 has no processes in a group that hands controllers down.
        assert_eq!(read("cgroup.subtree_control"), "+pids", "the last written");
        for (leaf, name) in [(Leaf::Server, "server"), (Leaf::Shells, "shells")] {
            let door = Door::open(&plan.folders, leaf).expect("door");
            door.enter().expect("in");
            assert_eq!(read(&format!("{name}/cgroup.procs")), "0");
        }
        fs::write(
            plan.folders[0].join("cpu.stat"),
            "usage_usec 12\nuser_usec 1\n",
        )
        .expect("write");
        fs::write(plan.folders[0].join("memory.current"), "4096\n").expect("write");
        let used = usage(&plan.folders).expect("usage");
        assert_eq!(
            used,
            Usage {
                cpu_used_ns: 12_000,
                memory_bytes: 4_096
            }
        );
    }

    #[test]
    fn writes_version_1_quotas_into_plain_files() {
        let dir = tempfile::tempdir().expect("temp dir");
        let plan = plan(Some(dir.path()), "n0").expect("plan").expect("found");
        assert_eq!(plan.version, Limits::CgroupV1);
        let group = &plan.folders[0];
        fs::create_dir(group).expect("group");
        fs::write(group.join("memory.limit_in_bytes"), "").expect("write");
        for leaf in LEAVES.map(|l| l.of(group)) {
            fs::create_dir(&leaf).expect("group");
            for file in [
                "cpu.cfs_period_us",
                "cpu.cfs_quota_us",
                "memory.limit_in_bytes",
            ] {
                fs::write(leaf.join(file), "").expect("write");
            }
        }
        make(&plan, &spec()).expect("bounds");
        let read = |f: &str| fs::read_to_string(group.join(f)).expect("read");
        assert_eq!(read("shells/cpu.cfs_period_us"), "100000");
        assert_eq!(read("shells/cpu.cfs_quota_us"), "25000");
        assert_eq!(read("server/cpu.cfs_period_us"), "100000");
        assert_eq!(read("server/cpu.cfs_quota_us"), "20000");
        // Where the buyer's processes have to stay there, too.
        let quota = ServersQuota::open(&plan.folders).expect("open");
        quota.expect("found").set(Millicores(700)).expect("set");
        assert_eq!(read("server/cpu.cfs_quota_us"), "70000");
        assert!(ServersQuota::open(&[]).expect("open").is_none());
    }

    #[test]
    fn a_folder_of_another_name_is_never_emptied() {
        let dir = tempfile::tempdir().expect("temp dir");
        let folder = dir.path().join("exahour-other");
        fs::create_dir(&folder).expect("group");
        fs::write(folder.join("cgroup.procs"), std::process::id().to_string()).expect("write");
        assert_eq!(
            remove(std::slice::from_ref(&folder), "mine").expect("remove"),
            Remains::None
        );
        assert!(folder.exists());
    }
}
