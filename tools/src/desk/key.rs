//! `exahour key`: registers the SSH key that opens a buyer's machines, and waits for one.
//!
//! Called by the command line.
//!
//! Always holds: only public halves are read; a machine that is shown is one of the account, and not
//! paid yet. Its host key is told as `ssh` tells it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use exahour_gateway::clock::{Clock, SystemClock};
use exahour_wire::events::{DeliverySettled, MachineReady};
use exahour_wire::ids::{AccountId, ObligationId, SessionId};
use exahour_wire::message::{AccessKey, Message};
use exahour_wire::operations::RegisterAccessKey;
use russh::keys::PublicKey;
use russh::keys::ssh_key::Fingerprint;
use russh::keys::ssh_key::public::KeyData;
use serde::Serialize;

use super::{Seen, Sent, follow, fresh_name, leave};
use crate::connection::{NodeArguments, account_for};
use crate::output::{print, print_json, tell};
use crate::shell::shell_path;

/// More than any line of an Ed25519 key has.
const FILE_MAX: u64 = 16_384;

/// How long the drop copy may be silent before that is told.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(5);

/// Register the SSH key that opens the machines of an account, and wait for one.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example:\n  ssh-keygen -t ed25519 -f compute\n  exahour key compute.pub --wait"
)]
pub struct Arguments {
    /// The public half of an Ed25519 key, as `ssh-keygen -t ed25519` writes it: FILE.pub.
    #[arg(value_name = "FILE.pub")]
    file: PathBuf,
    /// The session that registers it.
    #[arg(long, value_name = "N", default_value_t = 1)]
    session: u32,
    /// The account whose machines it opens [default: the first of the session's owner].
    #[arg(long, value_name = "N")]
    account: Option<u32>,
    /// The firm that the session belongs to, for --wait [default: as the configuration says].
    #[arg(long, value_name = "N")]
    participant: Option<u32>,
    /// Then wait until a machine of the account is ready, and print how to log in. The session needs
    /// the permission `drop-copy`; orders may be entered with it meanwhile.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    node: NodeArguments,
    /// Write JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// How to log in to a machine.
#[derive(Debug, Serialize)]
struct Login {
    state: &'static str,
    account: u32,
    obligation: u64,
    address: String,
    port: u16,
    host_key: String,
    command: String,
}

/// Registers the key, and waits for a machine where that is asked for.
///
/// # Errors
/// Where the file is no Ed25519 public key, nobody listens, or the exchange refuses.
pub fn run(arguments: &Arguments) -> Result<()> {
    let key = read_key(&arguments.file)?;
    let session = SessionId(arguments.session);
    let account = account_for(&arguments.node, session, arguments.account)?;
    let mut client = arguments.node.connect(session)?;
    let command = RegisterAccessKey {
        request: fresh_name(),
        account,
        key,
        ..RegisterAccessKey::blank()
    };
    let doubt = "it is not known whether the key is registered; saying it again does no harm";
    let sent = Sent::send(&mut client, &command, command.request, doubt)?;
    let (at_once, json) = (Duration::ZERO, arguments.json);
    let outcome = follow(&mut client, &sent, at_once, json, |_| Seen::Enough);
    leave(client);
    outcome?;
    if !arguments.json {
        print(&format!(
            "{} opens the machines of account {account}\n",
            arguments.file.display()
        ))?;
    }
    if !arguments.wait {
        return Ok(());
    }
    tell(&format!(
        "waiting for a machine of account {account}; Ctrl-C ends the wait, not the delivery"
    ));
    for ready in await_machines(arguments, session, account)? {
        show(arguments, &ready)?;
    }
    Ok(())
}

/// The 32 bytes of an Ed25519 key in OpenSSH's form.
fn read_key(path: &Path) -> Result<AccessKey> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX).read_to_end(&mut text))
        .with_context(|| format!("cannot read {}", path.display()))?;
    parse_key(&text).with_context(|| {
        format!(
            "{} will not do: `ssh-keygen -t ed25519 -f compute` makes a key; name its compute.pub",
            path.display()
        )
    })
}

fn parse_key(text: &[u8]) -> Result<AccessKey> {
    let text = str::from_utf8(text).context("it is not text")?.trim();
    ensure!(!text.is_empty(), "it is empty");
    ensure!(
        !text.contains("PRIVATE KEY"),
        "it is a private key, which nobody else should have"
    );
    ensure!(
        text.lines().count() == 1,
        "it has more than the one line of a key"
    );
    let kind = text.split_whitespace().next().unwrap_or_default();
    let key = PublicKey::from_openssh(text).ok();
    let Some(key) = key else {
        let known =
            kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-");
        match (kind, known) {
            ("ssh-ed25519", _) => bail!("the key in it is damaged"),
            (_, true) => bail!("it is a key of the kind {kind}, and machines take ssh-ed25519"),
            _ => bail!("it is no OpenSSH public key, a line that begins with ssh-ed25519"),
        }
    };
    match key.key_data() {
        KeyData::Ed25519(key) if key.0 != [0; 32] => Ok(AccessKey(key.0)),
        KeyData::Ed25519(_) => bail!("its key is all zeros, which stands for none"),
        _ => bail!("it is a key of the kind {kind}, and machines take ssh-ed25519"),
    }
}

/// The machines of an account that are ready and not paid yet; waits until there is one.
fn await_machines(
    arguments: &Arguments,
    session: SessionId,
    account: AccountId,
) -> Result<Vec<MachineReady>> {
    let (mut client, address) = arguments.node.copies(session, arguments.participant)?;
    let mut clock = SystemClock::default();
    let mut ready = BTreeMap::new();
    let begun = Instant::now();
    let mut told = false;
    loop {
        let (now, utc) = (clock.steady(), clock.now());
        let count = client.poll(now, utc, &mut |event| note(event, account, &mut ready))?;
        if client.caught_up() && !ready.is_empty() {
            return Ok(ready.into_values().collect());
        }
        told |= count > 0 || client.caught_up();
        ensure!(
            told || begun.elapsed() < FIRST_WORD_WITHIN,
            "no drop copy from {address}: is the node running, and is this its port?"
        );
        client.wait(Duration::from_millis(50));
    }
}

/// Takes one event into account.
fn note(event: &[u8], account: AccountId, ready: &mut BTreeMap<ObligationId, MachineReady>) {
    if let Some(it) = MachineReady::read(event) {
        if it.buyer == account {
            ready.insert(it.obligation, it);
        }
    } else if let Some(it) = DeliverySettled::read(event) {
        ready.remove(&it.obligation);
    }
}

fn show(arguments: &Arguments, ready: &MachineReady) -> Result<()> {
    let login = login(&arguments.file, ready);
    if arguments.json {
        return print_json(&login);
    }
    print(&format!(
        "machine of obligation {}: address {}, port {}\nhost key {}\n{}\n",
        login.obligation, login.address, login.port, login.host_key, login.command
    ))
}

fn login(file: &Path, ready: &MachineReady) -> Login {
    let address = Ipv4Addr::from(ready.address.0).to_string();
    // `ssh -i` takes the private half: the same name without its ending.
    let identity = match file.extension() {
        Some(ending) if ending == "pub" => file.with_extension(""),
        _ => file.to_path_buf(),
    };
    Login {
        state: "ready",
        account: ready.buyer.0,
        obligation: ready.obligation.0,
        host_key: Fingerprint::Sha256(ready.host_key.0).to_string(),
        command: format!(
            "ssh -i {} -p {} compute@{address}",
            shell_path(&identity),
            ready.port
        ),
        address,
        port: ready.port,
    }
}

#[cfg(test)]
mod tests {
    use exahour_wire::message::{Digest, Ipv4};

    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn one_line_of_an_ed25519_key_is_taken_and_nothing_else() {
        let key = parse_key(format!("{KEY} ada@home\r\n").as_bytes()).unwrap();
        assert_eq!(key.0[..4], [0xb3, 0x3e, 0xae, 0xf3]);
        let short = &KEY[..KEY.len() - 8];
        let zeros = format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{}", "A".repeat(43));
        for (text, why) in [
            (String::new(), "is empty"),
            ("hello".to_owned(), "no OpenSSH public key"),
            (format!("{KEY}\n{KEY}"), "more than the one line"),
            (short.to_owned(), "damaged"),
            (zeros, "all zeros"),
            (
                "ssh-rsa AAAAB3NzaC1yc2E= x".to_owned(),
                "of the kind ssh-rsa",
            ),
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----\nx".to_owned(),
                "a private key",
            ),
        ] {
            let refused = parse_key(text.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    #[test]
    fn a_machine_is_told_until_it_is_paid() {
        let mut ready = BTreeMap::new();
        let machine = |obligation, buyer| MachineReady {
            obligation: ObligationId(obligation),
            buyer: AccountId(buyer),
            ..MachineReady::blank()
        };
        for (obligation, buyer) in [(1, 100), (2, 200), (3, 100)] {
            note(
                machine(obligation, buyer).bytes(),
                AccountId(100),
                &mut ready,
            );
        }
        let settled = DeliverySettled {
            obligation: ObligationId(1),
            ..DeliverySettled::blank()
        };
        note(settled.bytes(), AccountId(100), &mut ready);
        assert_eq!(ready.keys().copied().collect::<Vec<_>>(), [ObligationId(3)]);
    }

    #[test]
    fn the_login_is_a_line_for_a_shell() {
        let ready = MachineReady {
            obligation: ObligationId(7),
            buyer: AccountId(100),
            address: Ipv4([127, 0, 0, 1]),
            port: 2222,
            host_key: Digest([0; 32]),
            ..MachineReady::blank()
        };
        let told = login(Path::new("my keys/compute.pub"), &ready);
        assert_eq!(
            told.command,
            "ssh -i 'my keys/compute' -p 2222 compute@127.0.0.1"
        );
        let zeros = format!("SHA256:{}", "A".repeat(43));
        assert_eq!(told.host_key, zeros);
    }
}
