//! `exahour key`: a buyer's way from a key file to the machine, as SETTLEMENT.md tells it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::exchange::{Exchange, exahour, fail, refuse, succeed, texts, until};
use crate::machine_output::check_keys;

/// The configuration in the guide, whose contract here expires within seconds.
fn soon() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SETTLEMENT.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, text) = text.split_once("```toml\n").unwrap();
    let (config, _) = text.split_once("```").unwrap();
    let (long, short) = ("trades_for_s = 120", "trades_for_s = 4");
    assert!(config.contains(long));
    config.replace(long, short)
}

/// A new key in the exchange's folder: the name of its public half.
fn new_key(exchange: &Exchange, kind: &str) -> String {
    let file = exchange.path(kind);
    let status = Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-t", kind, "-f"])
        .arg(&file)
        .status();
    assert!(status.unwrap().success());
    file.with_extension("pub").display().to_string()
}

#[test]
fn a_buyer_registers_a_key_and_is_told_how_to_log_in() {
    let mut exchange = Exchange::start_with(&soon());
    // Machines of other users must pass through.
    let open = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(exchange.path(""), open).unwrap();
    let data = exchange.data();
    let public = new_key(&exchange, "ed25519");
    let registered = succeed(&["key", &public, "--data", &data]);
    assert!(
        registered.contains("opens the machines of account 100"),
        "{registered}"
    );
    let sell = ["order", "sell", "1", "@", "3.60", "1", "--session", "2"];
    succeed(&[&sell[..], &["--data", &data]].concat());
    let bought = succeed(&["order", "buy", "1", "@", "3.60", "1", "--data", &data]);
    assert!(bought.contains("OrderFilled"), "{bought}");
    let log = std::fs::File::create(exchange.path("settle.log")).unwrap();
    let mut settle = exahour(&["settle", "--close-early", "3", "--data", &data])
        .stderr(log.try_clone().unwrap())
        .stdout(log)
        .spawn()
        .unwrap();
    let waited = exahour(&["key", &public, "--wait", "--json", "--data", &data])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = texts(&waited);
    let log = || std::fs::read_to_string(exchange.path("settle.log")).unwrap();
    assert!(waited.status.success(), "{out}{err}{}", log());
    assert!(
        err.contains("waiting for a machine of account 100"),
        "{err}"
    );
    let told: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    check_keys(&told, "key");
    assert_eq!(told["state"], "ready");
    let print = told["host_key"].as_str().unwrap();
    assert!(print.starts_with("SHA256:") && print.len() == 50, "{told}");
    // What is told is what ssh finds.
    let port = told["port"].as_u64().unwrap().to_string();
    let address = told["address"].as_str().unwrap();
    let scan = Command::new("sh")
        .args(["-c", "ssh-keyscan -p \"$0\" \"$1\" 2>&1 | ssh-keygen -lf -"])
        .args([&port, address])
        .output()
        .unwrap();
    assert!(texts(&scan).0.contains(print), "{told} {:?}", texts(&scan));
    let command = told["command"].as_str().unwrap().replacen(
        "ssh ",
        "ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null ",
        1,
    );
    let shell = Command::new("sh")
        .args(["-c", &format!("{command} echo $((6 * 7))")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(texts(&shell).0.contains("42"), "{:?}", texts(&shell));
    until("the delivery is paid", || {
        log().contains("Settled").then_some(())
    });
    let id = i32::try_from(settle.id()).unwrap();
    let process = nix::unistd::Pid::from_raw(id);
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(settle.wait().unwrap().success(), "{}", log());
    exchange.stop();
    audit_shows_the_delivery(&data);
}

/// Whatever an auditor asks for, what became of the contract is among it.
fn audit_shows_the_delivery(data: &str) {
    for asked in [
        &["--instrument", "1"][..],
        &["--instrument", "CPU-SOON"],
        &["--who", "account", "100"],
        &["--who", "account", "200"],
        &["--who", "participant", "2"],
        &["--obligation", "1"],
    ] {
        let rows = succeed(&[&["audit", data], asked].concat());
        for message in [
            "DeliveryAssigned",
            "MachineReady",
            "kind=DeliveryPrepayment",
            "kind=DeliveryPayment",
            "kind=DeliveryRefund",
            "kind=DeliveryCompensation",
            "DeliverySettled",
            "DeliveryStarted",
            "DeliveryFailed",
        ] {
            assert!(rows.contains(message), "{asked:?}: no {message} in {rows}");
        }
        let settled = rows.lines().find(|it| it.contains("DeliverySettled"));
        assert!(settled.unwrap().contains("CPU-SOON"), "{rows}");
    }
    let other = succeed(&["audit", data, "--obligation", "2"]);
    assert_eq!(other, "");
    let trades = succeed(&["audit", data, "--obligation", "1"]);
    assert!(!trades.contains("NewOrder"), "{trades}");
}

#[test]
fn a_key_that_will_not_do_is_refused_by_name() {
    let exchange = Exchange::start();
    let data = exchange.data();
    let other = new_key(&exchange, "ecdsa");
    let refused = refuse(&["key", &other, "--data", &data]);
    assert!(
        refused.contains("ecdsa.pub") && refused.contains("ecdsa-sha2-nistp256"),
        "{refused}"
    );
    let public = new_key(&exchange, "ed25519");
    let private = public.trim_end_matches(".pub");
    let refused = refuse(&["key", private, "--data", &data]);
    assert!(refused.contains("a private key"), "{refused}");
    let refused = refuse(&["key", "nowhere.pub", "--data", &data]);
    assert!(refused.contains("cannot read nowhere.pub"), "{refused}");
    let refused = fail(&["key", &public, "--account", "200", "--data", &data]);
    assert!(refused.contains("UnknownAccount"), "{refused}");
}
