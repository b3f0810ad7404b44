//! What the tests share: a provider in a folder of its own, a client that logs in, and a look at
//! which processes are left.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use exahour_settlement::provision::{
    LeastIsolation, LocalConfig, LocalProvider, Machine, MachineKey, MachineSpec, Millicores,
    Provisioner,
};
use russh::client::{self, Handle};
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, Sig};
use tempfile::TempDir;

/// The buyer's key in all tests, from a fixed seed.
pub(crate) fn buyer() -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]))
}

/// Somebody else's key.
pub(crate) fn stranger() -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[8; 32]))
}

pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("clock");
    u64::try_from(since.as_nanos()).expect("before 2554")
}

pub(crate) fn spec() -> MachineSpec {
    let access_key = buyer()
        .public_key()
        .key_data()
        .ed25519()
        .expect("ed25519")
        .0;
    MachineSpec {
        cpu_share: Millicores(500),
        memory_bytes: 96 << 20,
        access_key,
        window_start_ns: now_ns() - 1_000_000_000,
        // Far enough for any test, near enough that nothing stays for long if a test is killed.
        window_end_ns: now_ns() + 120_000_000_000,
        label: "compute-1".into(),
    }
}

/// A provider whose machines are all gone when it is dropped.
pub(crate) struct Site {
    pub(crate) provider: LocalProvider,
    pub(crate) dir: TempDir,
}

pub(crate) fn config(dir: &std::path::Path) -> LocalConfig {
    let mut config = LocalConfig::new(dir, env!("CARGO_BIN_EXE_exahour-settlement"));
    config.beat_period = Duration::from_millis(200);
    // What a weaker host cannot show, a test skips in plain words.
    config.least_isolation = LeastIsolation::Process;
    config
}

impl Site {
    pub(crate) fn new() -> Site {
        let dir = tempfile::tempdir().expect("temp dir");
        // Others must be able to pass, as in any place an operator would choose.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir.path(), open).expect("open");
        let provider = LocalProvider::open(config(dir.path())).expect("provider");
        Site { provider, dir }
    }

    /// The name by which everything that belongs to a machine is known.
    pub(crate) fn nonce(&self, key: MachineKey) -> String {
        let intent = self.provider.folder(key).intent().expect("intent");
        intent.expect("something was asked for").nonce
    }

    pub(crate) fn release(&mut self, key: MachineKey) {
        self.provider.release(key).expect("release");
        self.assert_nothing_left(key);
    }

    /// Nothing of the machine is left: process, mount, cgroup, port.
    pub(crate) fn assert_nothing_left(&mut self, key: MachineKey) {
        assert!(!self.provider.list().expect("list").contains(&key));
        let path = self.provider.folder(key).path().display().to_string();
        wait_until("the machine's processes are gone", || {
            processes_of(&path).is_empty()
        });
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        assert!(!mounts.contains(&path), "a mount of {path} is left");
        if let Some(intent) = self.provider.folder(key).intent().expect("intent") {
            assert_eq!(marked(&intent.nonce), Vec::<i32>::new());
            assert_eq!(cgroups_of(&intent.nonce), Vec::<std::path::PathBuf>::new());
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Those too that are dead: their cgroups may be left.
        for entry in fs::read_dir(self.dir.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            let Some(key) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            let key = MachineKey(key);
            let released = self.provider.folder(key).file("released.json").exists();
            if released && !std::thread::panicking() {
                continue;
            }
            let released = self.provider.release(key);
            if !std::thread::panicking() {
                released.expect("release");
            }
        }
    }
}

/// Waits for a condition that another process brings about.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        std::thread::yield_now();
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn all_pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("proc");
    entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect()
}

fn arguments(pid: i32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes
        .split(|b| *b == 0)
        .map(|a| String::from_utf8_lossy(a).into_owned())
        .collect()
}

/// Processes that were started with this folder as an argument.
pub(crate) fn processes_of(folder: &str) -> Vec<i32> {
    all_pids()
        .into_iter()
        .filter(|p| arguments(*p).iter().any(|a| a == folder))
        .collect()
}

/// Processes that carry a machine's mark.
pub(crate) fn marked(nonce: &str) -> Vec<i32> {
    let mark = format!("EXAHOUR_MACHINE={nonce}");
    let carries = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|b| *b == 0).any(|e| e == mark.as_bytes())
    };
    all_pids().into_iter().filter(carries).collect()
}

/// Those of them that are process 1 of a machine.
pub(crate) fn insides(nonce: &str) -> Vec<i32> {
    let inside = |pid: &i32| arguments(*pid).iter().any(|a| a == "inside");
    marked(nonce).into_iter().filter(inside).collect()
}

fn cgroups_of(nonce: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut frontier = vec![(std::path::PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((path, depth)) = frontier.pop() {
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(nonce) {
                found.push(entry.path());
            }
            if depth < 6 && entry.file_type().is_ok_and(|t| t.is_dir()) {
                frontier.push((entry.path(), depth + 1));
            }
        }
    }
    found
}

/// What a command said and how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: Option<u32>,
    pub(crate) signal: Option<String>,
}

/// A client that insists on the machine's host key.
pub(crate) struct Client {
    fingerprint: [u8; 32],
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else {
            return Ok(false);
        };
        Ok(key.fingerprint(HashAlg::Sha256).sha256() == Some(self.fingerprint))
    }
}

pub(crate) fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(40), work)
            .await
            .expect("in time")
    })
}

/// Logs in; none when the key is refused.
pub(crate) async fn log_in(machine: &Machine, key: PrivateKey) -> Option<Handle<Client>> {
    let config = Arc::new(client::Config::default());
    let client = Client {
        fingerprint: machine.host_key_fingerprint,
    };
    let mut session = client::connect(config, machine.address, client)
        .await
        .expect("connect");
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    let answer = session
        .authenticate_publickey("compute", key)
        .await
        .expect("an answer");
    answer.success().then_some(session)
}

/// Runs one command and hears it out.
pub(crate) async fn run_in(session: &Handle<Client>, command: &str, input: &[u8]) -> Outcome {
    let mut channel = session.channel_open_session().await.expect("channel");
    channel.exec(true, command).await.expect("exec");
    let mut outcome = Outcome::default();
    if !input.is_empty() {
        channel.data(input).await.expect("input");
    }
    channel.eof().await.expect("eof");
    while let Some(message) = channel.wait().await {
        hear(&mut outcome, message);
    }
    outcome
}

pub(crate) fn hear(outcome: &mut Outcome, message: ChannelMsg) {
    let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
    match message {
        ChannelMsg::Data { data } => outcome.out.push_str(&text(&data)),
        ChannelMsg::ExtendedData { data, .. } => outcome.err.push_str(&text(&data)),
        ChannelMsg::ExitStatus { exit_status } => outcome.code = Some(exit_status),
        ChannelMsg::ExitSignal { signal_name, .. } => {
            outcome.signal = Some(match signal_name {
                Sig::Custom(name) => name,
                known => format!("{known:?}"),
            });
        }
        _ => {}
    }
}

/// Logs in as the buyer and runs one command.
pub(crate) fn run(machine: &Machine, command: &str) -> Outcome {
    on_runtime(async {
        let session = log_in(machine, buyer())
            .await
            .expect("the buyer's key is accepted");
        run_in(&session, command, b"").await
    })
}

/// Nothing but what is the buyer's own can be written, made or replaced.
pub(crate) fn assert_tree_is_read_only(machine: &Machine) {
    let places = "/ /etc /dev /usr /usr/lib /usr/local /home";
    let probe = format!(
        "for d in {places}; do (echo x > $d/x) 2>/dev/null && echo wrote $d; \
         mkdir $d/y 2>/dev/null && echo made in $d; done; \
         (echo x > /etc/ld.so.preload) 2>/dev/null && echo wrote preload; \
         (echo x >> /etc/passwd) 2>/dev/null && echo wrote passwd; \
         ln -sfn /tmp /lib64 2>/dev/null && echo replaced lib64; \
         for d in ~ /tmp /dev/shm; do echo mine > $d/x && cat $d/x; done"
    );
    let said = run(machine, &probe);
    assert_eq!(said.out, "mine\nmine\nmine\n", "{said:?}");
}

/// Neither a shell nor process 1 has a capability or can get one from a program.
pub(crate) fn assert_no_rights(machine: &Machine) {
    let look = |process: &str| format!("grep -hE '^(Cap|NoNewPrivs)' /proc/{process}/status");
    let shell = run(machine, &look("self")).out;
    let first = on_host(machine, &look("$P"));
    for (who, said) in [("a shell", shell), ("process 1", first)] {
        let none = "0000000000000000";
        let expected = format!(
            "CapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\nCapBnd:\t{none}\n\
             CapAmb:\t{none}\nNoNewPrivs:\t1\n"
        );
        assert_eq!(said, expected, "{who}");
    }
}

/// Asks the host about process 1 of a machine, $P, which is the only child of its supervisor.
pub(crate) fn on_host(machine: &Machine, what: &str) -> String {
    let find = format!("P=$(echo $(ps -o pid= --ppid {})); {what}", machine.pid);
    let said = Command::new("sh").args(["-c", &find]).output();
    let said = said.expect("shell");
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).expect("text")
}

/// No login can become root of a new user namespace.
pub(crate) fn assert_no_user_namespace(machine: &Machine) {
    let probe = "unshare -Ur grep CapEff /proc/self/status; echo refused $?";
    let said = run(machine, probe);
    assert!(said.err.contains("Operation not permitted"), "{said:?}");
    assert_eq!(said.out, "refused 1\n", "{said:?}");
}
