//! `exahour start` as an operator meets it: serving, stopping, recovering, refusing.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::exchange::{
    CONFIG, Exchange, exahour, generated_orders, json, refuse, run, succeed, texts, until,
};

/// As on a full disk: what is only told to others keeps no node from serving.
#[test]
fn a_node_that_cannot_write_its_addresses_serves_and_writes_them_later() {
    let mut exchange = Exchange::start();
    exchange.stop();
    let place = exchange.path("data/addresses.json");
    std::fs::create_dir_all(place.join("in the way")).unwrap();
    exchange.restart();
    until("the node says so", || {
        let said = "cannot write the addresses";
        exchange.log().contains(said).then_some(())
    });
    std::fs::remove_dir_all(&place).unwrap();
    let written = until("the addresses are there", || {
        std::fs::read_to_string(&place).ok()
    });
    let ready = std::fs::read_to_string(exchange.path("ready.json")).unwrap();
    assert_eq!(written, ready);
    assert_eq!(
        exchange.log().matches("cannot write the addresses").count(),
        1
    );
    exchange.stop();
    assert!(!place.exists());
}

#[test]
fn a_node_starts_serves_and_stops_in_good_order() {
    let mut exchange = Exchange::start();
    let ready = std::fs::read_to_string(exchange.path("ready.json")).unwrap();
    let written = std::fs::read_to_string(exchange.path("data/addresses.json")).unwrap();
    assert_eq!(ready, written);
    let log = exchange.log();
    for word in [
        "orders",
        "market data",
        "drop copy",
        "keys",
        "new exchange",
        "try it",
    ] {
        assert!(log.contains(word), "{word}: {log}");
    }
    exchange.stop();
    assert!(!exchange.path("data/addresses.json").exists());

    exchange.restart();
    let log = exchange.log();
    assert!(
        log.contains("commands in ") && log.contains("tail clean"),
        "{log}"
    );
    exchange.kill();
    exchange.restart();
    exchange.stop();
    let first = exchange.replay();
    let again = exchange.replay();
    assert_eq!(first["state_hash"], again["state_hash"]);
    assert!(first["checkpoints"].as_u64().unwrap() >= 3, "{first}");
}

#[test]
fn a_killed_node_loses_no_answered_order() {
    let mut exchange = Exchange::start();
    let data = exchange.data();
    let mut names = Vec::new();
    for lots in 1..=5 {
        let (lots, session) = (lots.to_string(), "1");
        let order = json(&[
            "order",
            "buy",
            &lots,
            "@",
            "2.40",
            "1",
            "--session",
            session,
            "--data",
            &data,
            "--wait",
            "0s",
            "--json",
        ]);
        names.push(order["order"].as_u64().unwrap());
    }
    exchange.kill();
    exchange.restart();
    let live = succeed(&["orders", "--data", &data, "--json"]);
    let mut found: Vec<u64> = live
        .lines()
        .map(|line| {
            let order: serde_json::Value = serde_json::from_str(line).unwrap();
            order["order"].as_u64().unwrap()
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found, names);
    exchange.stop();
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let any = "127.0.0.1:0";
    for port in ["--orders", "--market-data", "--drop-copy"] {
        let mut words = vec!["start", "--data", &data];
        for other in ["--orders", "--market-data", "--drop-copy"] {
            words.extend([other, if other == port { &address } else { any }]);
        }
        let refused = refuse(&words);
        assert!(refused.contains(&address), "{port}: {refused}");
        assert!(refused.contains("another port"), "{port}: {refused}");
    }
}

#[test]
fn a_folder_in_use_is_named() {
    let exchange = Exchange::start();
    let words = exchange.start_arguments();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let refused = refuse(&words);
    assert!(refused.contains("in use by another writer"), "{refused}");
    assert!(!refused.contains("recovering"), "{refused}");
    assert!(refused.contains("journal"), "{refused}");
}

#[test]
fn files_of_a_data_folder_that_are_lost_are_named() {
    let mut exchange = Exchange::start();
    exchange.stop();
    let identity = exchange.path("data/identity");
    let written = std::fs::read_to_string(&identity).unwrap();
    std::fs::remove_file(&identity).unwrap();
    let words = exchange.start_arguments();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let refused = refuse(&words);
    assert!(refused.contains(written.trim()), "{refused}");
    assert!(!identity.exists(), "no id is drawn beside a journal");
    std::fs::write(&identity, &written).unwrap();

    std::fs::remove_file(exchange.path("data/keys")).unwrap();
    std::fs::remove_file(exchange.path("data/raft-state")).unwrap();
    exchange.restart();
    let said = exchange.log();
    assert!(said.contains("recovering"), "{said}");
    assert!(said.contains("data/keys is missing: new keys"), "{said}");
    assert!(said.contains("data/raft-state is missing"), "{said}");
    exchange.stop();
    exchange.restart();
    let said = exchange.log();
    assert!(!said.contains("missing"), "{said}");
    exchange.stop();

    let file = exchange.path("node.toml").display().to_string();
    let refused = refuse(&["start", "--data", &file]);
    assert!(refused.contains("node.toml is no folder"), "{refused}");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    // The same sentence for whoever runs the test: a file is in the place of the folder.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let data = file.join("data").display().to_string();
    let refused = refuse(&["start", "--data", &data]);
    assert!(
        refused.contains(&data) && refused.contains("cannot create"),
        "{refused}"
    );

    let shut = folder.path().join("shut");
    std::fs::create_dir(&shut).unwrap();
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    open(folder.path(), 0o755);
    open(&shut, 0o555);
    let data = shut.join("data").display().to_string();
    let mut start = exahour(&["start", "--data", &data]);
    if nix::unistd::geteuid().is_root() {
        // Nothing is read-only to root, so the node is started as nobody.
        start.uid(65_534);
    }
    let output = start.output();
    if let Err(error) = &output {
        eprintln!("skipped: the program cannot be run as nobody: {error}");
        return;
    }
    let refused = texts(&output.unwrap()).1;
    assert!(
        refused.contains(&data) && refused.contains("Permission denied"),
        "{refused}"
    );
}

/// Runs a script where `$1` is a file system of its own of so many megabytes and `$2` the program;
/// `None`, with a word, where no small file system may be mounted.
fn on_a_small_disk(megabytes: u32, script: &str) -> Option<(i32, String)> {
    let folder = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size={megabytes}m tmpfs \"$1\" || exit 77; {script}");
    let output = std::process::Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            &mount,
            "sh",
        ])
        .arg(folder.path())
        .arg(env!("CARGO_BIN_EXE_exahour"))
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: `unshare` cannot be run: {error}");
            return None;
        }
    };
    let (out, err) = texts(&output);
    let code = output.status.code().unwrap();
    if code == 77 || err.contains("unshare:") {
        eprintln!("skipped: no small file system may be mounted here: {err}");
        return None;
    }
    Some((code, out + &err))
}

#[test]
fn a_full_disk_is_named() {
    let script = "exec \"$2\" start --data \"$1/data\" --orders 127.0.0.1:0 \
                  --market-data 127.0.0.1:0 --drop-copy 127.0.0.1:0";
    let Some((code, said)) = on_a_small_disk(1, script) else {
        return;
    };
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("disk full") && said.contains("free some space"),
        "{said}"
    );
}

#[test]
fn a_configuration_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    let name = path.display().to_string();
    for (text, expected) in [
        ("\nspeed = 3\n", "node.toml:2: unknown field `speed`"),
        ("durability = \"maybe\"\n", "durable or replicated"),
        (
            "[listen]\norders = \"nowhere\"\n",
            "node.toml:2: expected an IP address and a port",
        ),
        ("data = \n", "node.toml:1: "),
        (
            "[listen]\norders = \"127.0.0.1:0\"\n[capacity]\norders = 0\n",
            "node.toml:4: capacity.orders",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        let refused = refuse(&["start", "--config", &name]);
        assert!(refused.contains(expected), "{text}: {refused}");
    }
    let refused = refuse(&["start", "--config", "/nowhere/node.toml"]);
    assert!(refused.contains("/nowhere/node.toml"), "{refused}");
    let output = run(&["start", "--flush", "slowly"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(texts(&output).1.contains("pwrite, uring or map"));
}

/// What only a start finds out is told with its line, too.
#[test]
fn a_configuration_that_cannot_be_started_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    let name = path.display().to_string();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("[listen]\norders = \"{}\"\n", taken.local_addr().unwrap());
    let session = "[[genesis.participant]]\nid = 1\nname = \"A\"\n\
                   [[genesis.session]]\nid = 1\nparticipant = 1\nmay = [\"trade\"]\n\
                   [[genesis.session]]\nid = 2\n";
    let thread = "[[thread]]\nname = \"one\"\nidle = \"backoff\"\nagents = [\"disk\"]\n\
                  [[thread]]\nname = \"two\"\nidle = \"backoff\"\nagents = [\"disc\"]\n";
    let any = ["--orders", "--market-data", "--drop-copy"];
    for (text, given, expected) in [
        (
            format!("{session}participant = 7\nmay = []\n"),
            &any[..],
            "node.toml:8: genesis, session 2: the engine would refuse it as UnknownParticipant (",
        ),
        (
            format!("{session}participant = 1\nmay = [\"fly\"]\n"),
            &any,
            "node.toml:11: genesis, session 2, may: \"fly\" is not trade, risk",
        ),
        (
            thread.to_owned(),
            &any,
            "node.toml:5): thread `two` names the agent `disc`",
        ),
        (listen, &any[1..], "node.toml:2 says): cannot listen on"),
    ] {
        let data = folder.path().join("data");
        let text = format!("{text}\n");
        std::fs::write(&path, &text).unwrap();
        let data = data.display().to_string();
        let mut words = vec!["start", "--config", &name, "--data", &data];
        for port in given {
            words.extend([*port, "127.0.0.1:0"]);
        }
        let refused = refuse(&words);
        assert!(refused.contains(expected), "{text}: {refused}");
        assert!(
            !Path::new(&data).exists(),
            "{text}: it leaves a folder behind"
        );
    }
    let file = folder.path().join("file").display().to_string();
    std::fs::write(&path, format!("# Ours.\ndata = \"{file}\"\n")).unwrap();
    let refused = refuse(&["start", "--config", &name]);
    assert!(refused.contains("node.toml:2 says"), "{refused}");
}

#[test]
fn whoever_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().display().to_string();
    let order = ["order", "buy", "1", "@", "2.50", "1", "--data", &data];
    let refused = refuse(&order);
    assert!(refused.contains("--keys"), "{refused}");

    let exchange = Exchange::start();
    let data = exchange.data();
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let refused = refuse(&[
        "order", "buy", "1", "@", "2.50", "1", "--data", &data, "--node", &nobody,
    ]);
    assert!(refused.contains("is the node running"), "{refused}");
    // Of several nodes one that is there is enough.
    let text = std::fs::read_to_string(exchange.path("data").join("addresses.json")).unwrap();
    let addresses: serde_json::Value = serde_json::from_str(&text).unwrap();
    let nodes = format!("{nobody},{}", addresses["orders"].as_str().unwrap());
    let found = succeed(&[
        "order", "buy", "1", "@", "2.50", "1", "--data", &data, "--node", &nodes,
    ]);
    assert!(found.starts_with("OrderAccepted "), "{found}");
    // The readers say so at once too, and never guess a port.
    let begun = std::time::Instant::now();
    for reader in [
        &["book", "1", "--market-data", &nobody][..],
        &["book", "GPU-H100-EU", "--market-data", &nobody],
        &["orders", "--drop-copy", &nobody],
        &["cancel", "1", "--drop-copy", &nobody],
    ] {
        let refused = refuse(&[reader, &["--data", &data]].concat());
        assert!(refused.contains("refused"), "{reader:?}: {refused}");
    }
    assert!(begun.elapsed().as_secs() < 4, "{:?}", begun.elapsed());
    let refused = refuse(&["book", "1", "--data", "/nowhere", "--node", &nobody]);
    assert!(refused.contains("name --market-data"), "{refused}");
    for reader in ["book 1", "orders", "cancel 1", "order buy 1 @ 2.50 1"] {
        let words: Vec<&str> = reader.split(' ').collect();
        let config = ["--data", &data, "--config", "nofile.toml"];
        let refused = refuse(&[&words[..], &config].concat());
        assert!(refused.contains("nofile.toml"), "{reader}: {refused}");
    }
    let refused = refuse(&[
        "order",
        "buy",
        "1",
        "@",
        "2.50",
        "1",
        "--data",
        &data,
        "--session",
        "77",
    ]);
    assert!(refused.contains("session 77"), "{refused}");
    let output = exahour(&["order", "buy"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_feed_that_loses_its_node_says_so() {
    let mut exchange = Exchange::start();
    let file = exchange.path("orders.csv");
    generated_orders(&file, 20_000, 11);
    let (data, name) = (exchange.data(), file.display().to_string());
    let feed = ["feed", &name, "--data", &data, "--speed", "x20", "--json"];
    let feed = exahour(&feed)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The feed is under way once an order of its own instrument rests.
    until("the feed is under way", || {
        let book = run(&["book", "100", "--data", &data, "--json"]);
        let book: serde_json::Value = serde_json::from_slice(&book.stdout).ok()?;
        (book["orders"].as_u64()? > 0).then_some(())
    });
    exchange.kill();
    let output = feed.wait_with_output().unwrap();
    let (_, said) = texts(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("the connection to the node is gone"),
        "{said}"
    );
    assert!(
        said.contains("answered") && said.contains("its end cancels nothing"),
        "{said}"
    );
    exchange.restart();
    exchange.stop();
    let first = exchange.replay();
    assert_eq!(first["events"], first["events_compared"]);
    assert_eq!(first["state_hash"], exchange.replay()["state_hash"]);
}

#[test]
fn what_a_start_offers_to_try_can_be_copied() {
    let mut exchange = Exchange::start();
    exchange.stop();
    let data = exchange.path("two words").display().to_string();
    let ready = exchange.path("ready-two.json");
    let any = "127.0.0.1:0";
    let ports = ["--orders", any, "--market-data", any, "--drop-copy", any];
    let log = std::fs::File::create(exchange.path("two.log")).unwrap();
    let mut node = exahour(&["start", "--data", &data, "--config", &exchange.config()])
        .args(ports)
        .arg("--ready-file")
        .arg(&ready)
        .stdout(log)
        .spawn()
        .unwrap();
    until("the node serves", || ready.exists().then_some(()));
    let said = until("the node says so", || {
        let said = std::fs::read_to_string(exchange.path("two.log")).unwrap();
        said.contains("stop it with").then_some(said)
    });
    let (_, tries) = said.split_once("try it:\n").unwrap();
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_exahour"));
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", folder.parent().unwrap().display());
    for line in tries.lines().filter(|it| it.contains("exahour ")) {
        let mut shell = std::process::Command::new("sh");
        let output = shell.args(["-c", line]).env("PATH", &path).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{line}: {:?}", texts(&output));
    }
    node.kill().unwrap();
    node.wait().unwrap();
}

#[test]
fn a_bench_leaves_no_folder_behind_that_it_made() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("a/b");
    let bench = |scratch: &std::path::Path| {
        let scratch = scratch.display().to_string();
        succeed(&[
            "bench",
            "--quick",
            "--only",
            "machine",
            "--scratch",
            &scratch,
        ]);
    };
    bench(&inner);
    assert!(!folder.path().join("a").exists());
    // What was there before stays.
    std::fs::create_dir(folder.path().join("a")).unwrap();
    bench(&inner);
    let left: Vec<_> = std::fs::read_dir(folder.path().join("a"))
        .unwrap()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A part of the node that cannot go on takes the node with it, and is named.
#[test]
fn an_agent_that_halts_ends_the_node_by_name() {
    let mut exchange = Exchange::start();
    exchange.stop();
    let config = format!("{CONFIG}[snapshots]\njournal_bytes = 1\n");
    std::fs::write(exchange.path("node.toml"), config).unwrap();
    // A snapshot is always due, and what it is made of is gone.
    exchange.restart();
    let folder = exchange.path("data/journal");
    let away = exchange.path("data/moved-away");
    std::fs::rename(&folder, &away).unwrap();
    let order = [
        "order",
        "buy",
        "1",
        "@",
        "2.40",
        "1",
        "--data",
        &exchange.data(),
    ];
    run(&order);
    let status = exchange.await_end();
    assert_eq!(status.code(), Some(1), "{}", exchange.log());
    let log = exchange.log();
    assert!(log.contains("agent `snapshots`"), "{log}");
    assert!(log.contains("data/journal"), "{log}");
    std::fs::rename(&away, &folder).unwrap();
    exchange.restart();
    exchange.stop();
    exchange.replay();
}
