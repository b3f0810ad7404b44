//! That the bounds of a machine hold, and that they bound nothing else.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use nix::sys::signal::{SigHandler, Signal, signal};

use exahour_settlement::provision::{Limits, Machine, MachineKey, Millicores, Provisioner};

use super::support::{
    Outcome, Site, buyer, hear, log_in, on_runtime, run, run_in, spec, wait_until,
};

const KEY: MachineKey = MachineKey(2);

#[test]
fn a_memory_hog_dies_inside_and_the_machine_lives_on() {
    let mut site = Site::new();
    let mut small = spec();
    small.memory_bytes = 64 << 20;
    let machine = site.provider.provision(KEY, &small).expect("machine");
    // One line of 400 MB has to be held whole; then a sign that the rest still works.
    let hog =
        "head -c 400000000 /dev/zero | tail -c 300000000 | wc -c; echo status ${PIPESTATUS[*]}";
    let said = run(&machine, &format!("exec bash -c '{hog}'"));
    assert!(
        !said.out.contains("300000000"),
        "the hog got its memory: {said:?}"
    );
    assert_eq!(run(&machine, "echo alive").out, "alive\n");
    let measured = site.provider.measure(KEY).expect("measure");
    assert!(measured.alive && measured.ssh_banner_ok);
    if machine.isolation.limits == Limits::Rlimits {
        eprintln!("skipped: no cgroups here, memory is bounded for each process only");
    } else {
        assert!(measured.memory_bytes <= small.memory_bytes, "{measured:?}");
    }
    site.release(KEY);
}

#[test]
fn a_spinner_gets_its_share_and_no_more() {
    let mut site = Site::new();
    let mut slow = spec();
    slow.cpu_share = Millicores(200);
    let machine = site.provider.provision(KEY, &slow).expect("machine");
    if machine.isolation.limits == Limits::Rlimits {
        eprintln!("skipped: no cgroups here, processor time has no quota");
        return;
    }
    let before = site.provider.measure(KEY).expect("measure");
    let begun = Instant::now();
    let spinners = "for i in 1 2 3; do timeout 2 sh -c 'while :; do :; done' & done; wait";
    run(&machine, spinners);
    let elapsed_ns = u64::try_from(begun.elapsed().as_nanos()).expect("short");
    let after = site.provider.measure(KEY).expect("measure");
    let used_ns = after.cpu_used_ns - before.cpu_used_ns;
    let millicores = u128::from(used_ns) * 1_000 / u128::from(elapsed_ns);
    eprintln!("promised 200 millicores, used {millicores}");
    // From below it depends on who else uses the host; from above it does not.
    assert!((20..=260).contains(&millicores), "{millicores}");
    site.release(KEY);
}

#[test]
fn processes_cannot_multiply_without_end() {
    let mut site = Site::new();
    // Enough memory and time that the bound on processes is met first.
    let mut roomy = spec();
    roomy.memory_bytes = 1 << 30;
    roomy.cpu_share = Millicores(2_000);
    let machine = site.provider.provision(KEY, &roomy).expect("machine");
    if machine.isolation.limits == Limits::Rlimits {
        eprintln!("skipped: no cgroups here, processes are not counted");
        return;
    }
    let many = "n=0; while [ $n -lt 3000 ]; do sleep 30 >/dev/null 2>&1 & n=$((n+1)); done";
    // Who fails leaves his place; it is taken, and this shell keeps its own.
    let bomb = format!("({many}) 2>&1; sleep 30 >/dev/null 2>&1 & echo full; exec sleep 30");
    let (full, second) = on_runtime(async {
        let session = log_in(&machine, buyer()).await.expect("login");
        let mut channel = session.channel_open_session().await.expect("channel");
        channel.exec(true, bomb).await.expect("exec");
        let mut full = Outcome::default();
        while !full.out.contains("full") {
            hear(&mut full, channel.wait().await.expect("more"));
        }
        // There is still room for a login, which can end the others.
        (full, run_in(&session, "echo in; kill -9 -1", b"").await)
    });
    assert!(
        full.out.contains("fork"),
        "3000 processes were allowed: {full:?}"
    );
    assert_eq!(second.out, "in\n", "{second:?}");
    assert_eq!(run(&machine, "echo alive").out, "alive\n");
    site.release(KEY);
}

#[test]
fn what_nobody_reads_does_not_end_the_machine() {
    let mut site = Site::new();
    let mut small = spec();
    small.memory_bytes = 32 << 20;
    let machine = site.provider.provision(KEY, &small).expect("machine");
    let before = site.provider.beats(KEY).expect("beats").len();
    let opened = on_runtime(async {
        let mut sessions = Vec::new();
        let mut floods = Vec::new();
        for _ in 0..6 {
            let session = log_in(&machine, buyer()).await.expect("login");
            for _ in 0..16 {
                let Ok(channel) = session.channel_open_session().await else {
                    break;
                };
                channel.exec(true, "exec sleep 100").await.expect("exec");
                floods.push(channel);
            }
            sessions.push(session);
        }
        let opened = floods.len();
        // More than all of them may leave unread, which is why none of these returns.
        let flood = |channel: russh::Channel<russh::client::Msg>| async move {
            let _ = channel.data(&vec![0u8; 1_900_000][..]).await;
            std::future::pending::<()>().await;
        };
        let floods: Vec<_> = floods.into_iter().map(|c| tokio::spawn(flood(c))).collect();
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        for flood in floods {
            flood.abort();
        }
        opened
    });
    assert_eq!(opened, 64, "a bound on all logins together");
    let measured = site.provider.measure(KEY).expect("measure");
    assert!(measured.alive, "{measured:?}");
    assert!(site.provider.beats(KEY).expect("beats").len() > before);
    assert_eq!(site.provider.provision(KEY, &small).expect("same"), machine);
    site.release(KEY);
}

#[test]
fn a_login_ends_with_its_client_also_while_it_reads_nothing() {
    // As where a provider is started by `nohup`.
    let (hang_up, ignore) = (Signal::SIGHUP, SigHandler::SigIgn);
    // SAFETY: no handler is set.
    unsafe { signal(hang_up, ignore) }.expect("ignored");
    let mut site = Site::new();
    let machine = site.provider.provision(KEY, &spec()).expect("machine");
    on_runtime(async {
        let session = log_in(&machine, buyer()).await.expect("login");
        let channel = session.channel_open_session().await.expect("channel");
        channel.exec(true, "exec sleep 77").await.expect("exec");
        // A little more than its channel takes, three messages and a pipe: the rest fits into what the
        // kernel keeps, in however many segments it comes, so that the end of it is seen there.
        channel.data(&vec![0u8; 102_400][..]).await.expect("data");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    });
    wait_until("its shell has ended", || {
        run(&machine, "ps ax -o args= | grep -c '^slee[p] 77'").out == "0\n"
    });
    site.release(KEY);
}

/// Puts a file system of its own below the host's programs, for its arguments alone.
const MORE_MOUNTED: &str = "mount -t tmpfs none /usr/local; exec \"$0\" \"$@\"";

#[test]
fn what_the_host_has_mounted_below_its_programs_cannot_be_written() {
    let unshare = ["unshare", "-m", "sh", "-ec", MORE_MOUNTED];
    let mut works = Command::new(unshare[0]);
    works.args(&unshare[1..]).arg("true");
    if !works.status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: nothing can be mounted here");
        return;
    }
    let mut site = Site::new();
    let asked = site.dir.path().join("spec");
    fs::write(&asked, spec_text()).expect("spec");
    let said = Command::new(unshare[0])
        .args(&unshare[1..])
        .args([env!("CARGO_BIN_EXE_exahour-settlement"), "machine", "--dir"])
        .arg(site.dir.path())
        .args(["provision", &KEY.to_string()])
        .stdin(fs::File::open(asked).expect("spec"))
        .output()
        .expect("operator");
    let machine: Machine = serde_json::from_slice(&said.stdout).expect("machine");
    super::support::assert_tree_is_read_only(&machine);
    site.release(KEY);
    // Without root the host's mounts are locked: they can be closed further, and not opened.
    let mut locked = without(MORE_MOUNTED).to_vec();
    locked.insert(1, "-m");
    if wrapper_works(&locked) {
        deliver_as_nobody(&locked);
    }
}

/// A user who owns nothing on this host.
const NOBODY: u32 = 65_534;

#[test]
fn without_root_it_is_weaker_says_so_and_still_works() {
    deliver_as_nobody(&[]);
}

/// Allows its arguments no processes of their own, which spoils a file tree half way.
const NO_PROCESSES: &str = "echo 0 > /proc/sys/user/max_pid_namespaces; exec \"$0\" \"$@\"";

/// The program, permitted fewer namespaces by a shell script that runs before it.
fn without(script: &'static str) -> [&'static str; 7] {
    [
        "unshare",
        "-U",
        "--map-user=1000",
        "--keep-caps",
        "sh",
        "-ec",
        script,
    ]
}

#[test]
fn without_a_tree_of_its_own_no_machine_is_started_unless_permitted() {
    for script in [NO_PROCESSES, NO_NAMESPACES] {
        let wrapper = without(script);
        if !nix::unistd::geteuid().is_root() || !wrapper_works(&wrapper) {
            eprintln!("skipped: this host cannot take namespaces away from a process");
            return;
        }
        let nobody = Nobody::new(&wrapper);
        let said = nobody.act(&[], "provision", &spec_text());
        assert!(!said.status.success(), "{said:?}");
        let why = String::from_utf8_lossy(&said.stderr);
        assert!(why.contains("--isolation process"), "{why}");
        let inspected = nobody.act(&[], "inspect", b"");
        assert_eq!(inspected.stdout, b"null\n", "{inspected:?}");
        let released = nobody.act(&[], "release", b"");
        assert!(released.status.success(), "{released:?}");
        deliver_as_nobody(&wrapper);
    }
}

/// Allows its arguments no namespace of any kind.
const NO_NAMESPACES: &str = "for n in user pid mnt uts ipc net cgroup; do \
    echo 0 > /proc/sys/user/max_${n}_namespaces; done; exec \"$0\" \"$@\"";

#[test]
fn without_any_namespace_it_says_so_and_still_works() {
    let wrapper = without(NO_NAMESPACES);
    if !wrapper_works(&wrapper) {
        eprintln!("skipped: this host cannot take namespaces away from a process");
        return;
    }
    if let Some(machine) = deliver_as_nobody(&wrapper) {
        assert_eq!(machine.isolation.namespaces, []);
        assert!(!machine.isolation.own_root);
    }
}

fn wrapper_works(wrapper: &[&str]) -> bool {
    let trial = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg("true")
        .uid(NOBODY)
        .gid(NOBODY)
        .status();
    trial.is_ok_and(|status| status.success())
}

fn spec_text() -> Vec<u8> {
    serde_json::to_vec(&spec()).expect("spec")
}

/// A user without rights who works the provider by hand.
struct Nobody<'a> {
    wrapper: &'a [&'a str],
    site: Site,
}

impl Nobody<'_> {
    fn new<'a>(wrapper: &'a [&'a str]) -> Nobody<'a> {
        let site = Site::new();
        let nobody = Nobody { wrapper, site };
        let dir = nobody.dir();
        fs::create_dir(&dir).expect("folder");
        std::os::unix::fs::chown(&dir, Some(NOBODY), Some(NOBODY)).expect("chown");
        // The build's own folder may be closed to others. The copy is made by a process of its own: a child
        // that another test forks meanwhile would hold what is open for writing here, and nobody may
        // start what is.
        let program = nobody.program();
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_exahour-settlement"))
            .arg(&program)
            .status();
        assert!(copied.expect("cp").success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
        nobody
    }

    fn dir(&self) -> PathBuf {
        self.site.dir.path().join("nobody")
    }

    fn program(&self) -> PathBuf {
        self.site.dir.path().join("exahour-settlement")
    }

    fn act(&self, options: &[&str], act: &str, input: &[u8]) -> Output {
        let program = self.program();
        let whole: Vec<&std::ffi::OsStr> = self
            .wrapper
            .iter()
            .map(std::ffi::OsStr::new)
            .chain([program.as_os_str()])
            .collect();
        let mut child = Command::new(whole[0])
            .args(&whole[1..])
            .args(["machine", "--dir"])
            .arg(self.dir())
            .args(options)
            .args([act, "4"])
            .uid(NOBODY)
            .gid(NOBODY)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("operator");
        // A tool that fails at once does not read; its own words say why.
        let _ = child.stdin.take().expect("pipe").write_all(input);
        child.wait_with_output().expect("operator")
    }
}

/// Delivers, uses and releases a machine as a user without rights; none when already one.
fn deliver_as_nobody(wrapper: &[&str]) -> Option<Machine> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: all the other tests run without root already");
        return None;
    }
    let nobody = Nobody::new(wrapper);
    let dir = nobody.dir();
    let act = |act: &str, input: &[u8]| nobody.act(&["--isolation", "process"], act, input);
    let said = act("provision", &spec_text());
    assert!(said.status.success(), "{said:?}");
    let machine: Machine = serde_json::from_slice(&said.stdout).expect("machine");
    eprintln!("without root: {:?}", machine.isolation);
    assert!(!machine.isolation.notes.is_empty());
    assert_eq!(machine.isolation.limits, Limits::Rlimits);
    let notes = machine.isolation.notes.join("; ");
    assert!(notes.contains("may use the same cores"), "{notes}");
    if machine.isolation.own_root {
        super::support::assert_tree_is_read_only(&machine);
        super::support::assert_no_rights(&machine);
        super::guard::assert_process_1_is_shielded(&machine);
    }
    super::support::assert_no_user_namespace(&machine);
    let (hello, hog) = on_runtime(async {
        let session = log_in(&machine, buyer()).await.expect("login");
        let hello = run_in(&session, "cd; pwd; echo x > f; cat f; nproc", b"").await;
        let hog = "head -c 400000000 /dev/zero | tail -c 300000000 | wc -c";
        (hello, run_in(&session, hog, b"").await)
    });
    assert!(
        hello.out.contains("\nx\n1\n"),
        "half a core is rounded up to one: {hello:?}"
    );
    assert!(!hog.out.contains("300000000"), "{hog:?}");
    // Whoever could choose his cores would have all of the host's.
    let cores = run(
        &machine,
        "taskset -p ffff $$ >/dev/null && echo moved; nproc",
    );
    assert_eq!(cores.out, "1\n", "{cores:?}");
    run(
        &machine,
        "setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo",
    );
    let many = "n=0; while [ $n -lt 1100 ]; do sleep 30 >/dev/null 2>&1 & n=$((n+1)); done";
    let said = run(&machine, &format!("({many}) 2>&1"));
    assert!(said.out.contains("fork"), "1100 were allowed: {said:?}");
    assert_eq!(run(&machine, "echo in").out, "in\n");
    let measured = act("measure", b"");
    assert!(
        String::from_utf8_lossy(&measured.stdout).contains("\"alive\":true"),
        "{measured:?}"
    );
    let released = act("release", b"");
    assert!(released.status.success(), "{released:?}");
    let folder = dir.join("4").display().to_string();
    wait_until("its processes are gone", || {
        super::support::processes_of(&folder).is_empty()
    });
    let intent = fs::read_to_string(dir.join("4/intent.json")).expect("intent");
    let nonce = intent.split("\"nonce\":\"").nth(1).expect("nonce")[..32].to_owned();
    assert_eq!(super::support::marked(&nonce), Vec::<i32>::new());
    Some(machine)
}
