//! Who can log in, and what he finds.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use exahour_settlement::provision::{MachineKey, Namespace, Provisioner};
use russh::ChannelMsg;
use russh::keys::ssh_key::LineEnding;

use super::support::{
    Outcome, Site, assert_no_rights, assert_tree_is_read_only, buyer, hear, insides, log_in,
    on_runtime, run, run_in, spec, stranger,
};

const KEY: MachineKey = MachineKey(1);

#[test]
fn the_buyer_logs_in_and_is_somewhere_else() {
    let mut site = Site::new();
    let machine = site.provider.provision(KEY, &spec()).expect("machine");
    eprintln!("isolation: {:?}", machine.isolation);
    let said = run(
        &machine,
        "hostname; echo $HOME; id -u; ps ax -o pid= | wc -l; exit 7",
    );
    assert_eq!(said.code, Some(7), "{said:?}");
    let lines: Vec<&str> = said.out.lines().collect();
    if machine.isolation.namespaces.contains(&Namespace::Uts) {
        assert_eq!(lines[0], "compute-1");
        let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("hostname");
        assert_ne!(host.trim(), "compute-1", "the host keeps its own name");
    }
    assert_ne!(lines[2], "0", "the buyer is not root of the host");
    site.release(KEY);
}

#[test]
fn process_1_is_ours_and_the_host_is_not_seen() {
    let mut site = Site::new();
    let machine = site.provider.provision(KEY, &spec()).expect("machine");
    let has = |n| machine.isolation.namespaces.contains(&n);
    if !has(Namespace::Pid) || !machine.isolation.own_root || !has(Namespace::Net) {
        eprintln!("skipped: this host permits only {:?}", machine.isolation);
        return;
    }
    let inside = insides(&site.nonce(KEY));
    let status = fs::read_to_string(format!("/proc/{}/status", inside[0])).expect("status");
    let number = status.lines().find_map(|l| l.strip_prefix("NSpid:"));
    assert!(number.expect("number").ends_with("\t1"), "{status}");
    // Seeing, tracing, signalling or reading process 1 is refused to the buyer.
    let probes =
        "cat /proc/1/environ; ls /proc/1/fd; ls -d /proc/[1-4]; kill -9 1; echo still here";
    let probes = run(&machine, probes);
    assert_eq!(probes.out, "still here\n", "{probes:?}");
    let folder = site.provider.folder(KEY).path().display().to_string();
    let seen = run(
        &machine,
        &format!("ls {folder} /root /work; ls /sys; cat /etc/shadow"),
    );
    assert_eq!(seen.out, "", "{seen:?}");
    let net = run(
        &machine,
        "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '",
    );
    assert_eq!(net.out, "lo\n", "{net:?}");
    assert_tree_is_read_only(&machine);
    assert_no_rights(&machine);
    super::support::assert_no_user_namespace(&machine);
    site.release(KEY);
}

#[test]
fn any_other_key_is_refused() {
    let mut site = Site::new();
    let machine = site.provider.provision(KEY, &spec()).expect("machine");
    on_runtime(async {
        assert!(log_in(&machine, stranger()).await.is_none());
        assert!(log_in(&machine, buyer()).await.is_some());
    });
    site.release(KEY);
}

#[test]
fn input_output_and_errors_keep_apart_and_whole() {
    let mut site = Site::new();
    let machine = site.provider.provision(KEY, &spec()).expect("machine");
    let input: Vec<u8> = (0..300_000u32).map(|i| b'a' + (i % 26) as u8).collect();
    let (echoed, both, killed) = on_runtime(async {
        let session = log_in(&machine, buyer()).await.expect("login");
        let echoed = run_in(&session, "cat", &input).await;
        let both = run_in(&session, "echo out; echo err >&2", b"").await;
        let killed = run_in(&session, "kill -TERM $$", b"").await;
        (echoed, both, killed)
    });
    assert_eq!(echoed.out.as_bytes(), input);
    assert_eq!(echoed.code, Some(0));
    assert_eq!((both.out.as_str(), both.err.as_str()), ("out\n", "err\n"));
    assert_eq!(killed.signal.as_deref(), Some("TERM"), "{killed:?}");
    site.release(KEY);
}

#[test]
fn a_shell_on_a_terminal_has_a_size_and_job_control() {
    let mut site = Site::new();
    let machine = site.provider.provision(KEY, &spec()).expect("machine");
    let said = on_runtime(async {
        let session = log_in(&machine, buyer()).await.expect("login");
        let mut channel = session.channel_open_session().await.expect("channel");
        channel
            .request_pty(true, "xterm", 91, 33, 0, 0, &[])
            .await
            .expect("terminal");
        channel.request_shell(true).await.expect("shell");
        let typed = b"stty size; tty; echo term=$TERM; exit 5\n";
        channel.data(&typed[..]).await.expect("typing");
        let mut said = Outcome::default();
        while let Some(message) = channel.wait().await {
            let last = matches!(message, ChannelMsg::Close);
            hear(&mut said, message);
            if last {
                break;
            }
        }
        said
    });
    assert!(said.out.contains("33 91"), "{said:?}");
    assert!(said.out.contains("/dev/pts/"), "{said:?}");
    assert!(said.out.contains("term=xterm"), "{said:?}");
    assert!(!said.out.contains("job control"), "{said:?}");
    assert_eq!(said.code, Some(5), "{said:?}");
    site.release(KEY);
}

#[test]
fn a_stock_client_logs_in() {
    if Command::new("ssh").arg("-V").output().is_err() {
        eprintln!("skipped: no `ssh` on this host");
        return;
    }
    let mut site = Site::new();
    let machine = site.provider.provision(KEY, &spec()).expect("machine");
    let identity = site.dir.path().join("identity");
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&identity)
        .expect("file");
    let text = buyer().to_openssh(LineEnding::LF).expect("key");
    std::io::Write::write_all(&mut file, text.as_bytes()).expect("write");
    let ssh = |extra: &[&str], command: &str| {
        let output = Command::new("timeout")
            .args(["30", "ssh", "-F", "none", "-o", "StrictHostKeyChecking=no"])
            .args([
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "IdentitiesOnly=yes",
            ])
            .args(["-o", "LogLevel=ERROR", "-o", "BatchMode=yes"])
            .args(extra)
            .args(["-p", &machine.address.port().to_string(), "-i"])
            .arg(&identity)
            .args([&format!("compute@{}", machine.address.ip()), command])
            .output()
            .expect("ssh");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            output.stderr,
        )
    };
    let said = ssh(&[], "echo $((6*7)); exit 3");
    assert_eq!((said.0, said.1.as_str()), (Some(3), "42\n"), "{said:?}");
    let on_terminal = ssh(&["-tt"], "tty");
    assert!(on_terminal.1.starts_with("/dev/pts/"), "{on_terminal:?}");
    site.release(KEY);
}

#[test]
fn who_makes_way_is_closed_at_once_however_far_he_is() {
    let mut site = Site::new();
    let machine = site.provider.provision(KEY, &spec()).expect("machine");
    on_runtime(async {
        let first = log_in(&machine, buyer()).await.expect("login");
        // Each is in the middle of logging in when the next one comes.
        let mut crowd = Vec::new();
        for _ in 0..40 {
            let mut one = TcpStream::connect(machine.address).expect("connect");
            one.write_all(b"SSH-2.0-crowd\r\n").expect("greeting");
            let mut answer = [0; 200];
            one.read_exact(&mut answer).expect("more than a greeting");
            crowd.push(one);
        }
        let second = log_in(&machine, buyer()).await.expect("login");
        let oldest = &mut crowd[0];
        let patience = Some(Duration::from_secs(3));
        oldest.set_read_timeout(patience).expect("patience");
        let said = oldest.read_to_end(&mut Vec::new());
        let waits = |e: &std::io::Error| e.kind() == std::io::ErrorKind::WouldBlock;
        assert!(!said.as_ref().is_err_and(waits), "still open: {said:?}");
        for session in [first, second] {
            assert_eq!(run_in(&session, "echo in", b"").await.out, "in\n");
        }
    });
    site.release(KEY);
}

#[test]
fn connections_without_a_login_keep_nobody_out() {
    let mut site = Site::new();
    let machine = site.provider.provision(KEY, &spec()).expect("machine");
    let idle: Vec<TcpStream> = (0..40)
        .map(|_| TcpStream::connect(machine.address).expect("connect"))
        .collect();
    let begun = Instant::now();
    assert_eq!(run(&machine, "echo in").out, "in\n");
    // Long before they would have been closed for not logging in.
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    drop(idle);
    site.release(KEY);
}
