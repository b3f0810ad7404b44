//! A cluster as its operators meet it: `exahour cluster`, `status`, and what changes who leads and who
//! belongs to it. Every node is a process of its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::exchange::{
    count, exahour, fail, generated_orders, json, refuse, run, succeed, texts, until,
};
use crate::machine_output::check_keys;

/// What `exahour cluster --json` runs.
struct Cluster {
    folder: tempfile::TempDir,
    process: Option<Child>,
    lines: Option<BufReader<ChildStdout>>,
    /// Nodes that were started beside it.
    others: Vec<Child>,
}

impl Cluster {
    fn start() -> (Self, Value) {
        let mut cluster = Self {
            folder: tempfile::tempdir().unwrap(),
            process: None,
            lines: None,
            others: Vec::new(),
        };
        let serving = cluster.restart(&["--nodes", "3"]);
        (cluster, serving)
    }

    fn restart(&mut self, more: &[&str]) -> Value {
        let mut process = exahour(&["cluster", "--json", "--data", &self.data()])
            .args(more)
            .stderr(std::fs::File::create(self.folder.path().join("told")).unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        self.lines = process.stdout.take().map(BufReader::new);
        self.process = Some(process);
        self.line()
    }

    /// The next line that it prints.
    fn line(&mut self) -> Value {
        let mut text = String::new();
        let read = self.lines.as_mut().unwrap().read_line(&mut text).unwrap();
        assert!(read > 0, "the cluster ended");
        let value = serde_json::from_str(&text).unwrap();
        check_keys(&value, "cluster");
        value
    }

    fn line_with(&mut self, state: &str) -> Value {
        loop {
            let line = self.line();
            if line["state"] == state {
                return line;
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("trial")
    }

    fn data(&self) -> String {
        self.path().display().to_string()
    }

    /// What it has said beside its lines.
    fn told(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("told")).unwrap()
    }

    fn node(&self, id: u64) -> String {
        self.path().join(format!("node-{id}")).display().to_string()
    }

    fn status(&self) -> Value {
        json(&["status", "--json", "--data", &self.data()])
    }

    fn leader(&self) -> u64 {
        until("a leader", || {
            let output = run(&["status", "--json", "--data", &self.data()]);
            let status: Value = serde_json::from_str(&texts(&output).0).ok()?;
            status["quorum"]
                .as_bool()?
                .then(|| count(&status, "leader"))
        })
    }

    fn order(&self, at: u64) {
        let told = until("an order is taken", || {
            let data = self.node(at);
            // The folder of the cluster stands for whichever node runs.
            let data = if at == 0 { self.data() } else { data };
            let output = run(&[
                "order", "buy", "1", "@", "2.40", "1", "--data", &data, "--wait", "0s",
            ]);
            output.status.success().then(|| texts(&output).0)
        });
        assert!(told.contains("OrderAccepted"), "{told}");
    }

    /// Starts a node as one does by hand.
    fn start_node(&mut self, id: u64) {
        let config = self.path().join(format!("node-{id}.toml"));
        let log = std::fs::File::create(self.path().join(format!("by-hand-{id}.log"))).unwrap();
        let node = exahour(&["start", "--config", &config.display().to_string()])
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .spawn()
            .unwrap();
        self.others.push(node);
    }

    fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        signal(&process, Signal::SIGINT);
        let status = until("the cluster ends", || process.try_wait().unwrap());
        assert!(status.success(), "{status}");
        assert_eq!(self.line_with("stopped")["state"], "stopped");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for mut process in self.others.drain(..).chain(self.process.take()) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn signal(process: &Child, signal: Signal) {
    let id = i32::try_from(process.id()).unwrap();
    kill(Pid::from_raw(id), signal).unwrap();
}

fn by_node(value: &Value) -> BTreeMap<u64, Value> {
    let nodes = value["nodes"].as_array().unwrap().iter();
    nodes.map(|it| (count(it, "node"), it.clone())).collect()
}

#[test]
fn a_cluster_survives_its_leader_and_goes_on_where_it_was() {
    let (mut cluster, serving) = Cluster::start();
    assert_eq!(by_node(&serving).len(), 3);
    let mode = std::fs::metadata(cluster.path().join("cluster.key")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    let first = cluster.leader();
    assert_eq!(count(&serving, "leader"), first);
    let status = cluster.status();
    check_keys(&status, "status");
    for (id, node) in by_node(&status) {
        assert_eq!(node["standing"], "voter");
        let role = if id == first { "leader" } else { "follower" };
        assert_eq!(node["role"], role);
        assert_eq!(
            node["linked_nodes"].as_array().unwrap().len(),
            2,
            "{status}"
        );
    }
    cluster.order(first);

    // What follows a kill is told by the command that runs the nodes.
    let process = count(&by_node(&serving)[&first], "process");
    kill(
        Pid::from_raw(i32::try_from(process).unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();
    assert_eq!(cluster.line_with("ended")["node"], first);
    let second = cluster.leader();
    assert_ne!(first, second);
    cluster.order(0);
    let text = succeed(&["status", "--data", &cluster.data()]);
    assert!(text.contains(&format!("node {second} leads")), "{text}");
    assert!(
        text.contains(&format!("node {first} does not answer")),
        "{text}"
    );
    cluster.start_node(first);
    assert_eq!(cluster.line_with("back")["node"], first);
    until("it has caught up", || {
        let node = by_node(&cluster.status()).remove(&first)?;
        (node["behind_entries"] == 0).then_some(())
    });

    // A node's own folder leads to the cluster, too.
    let moved = json(&[
        "step-down",
        "--to",
        &first.to_string(),
        "--json",
        "--data",
        &cluster.node(second),
    ]);
    check_keys(&moved, "step-down");
    assert_eq!(
        (count(&moved, "leader"), count(&moved, "leader_before")),
        (first, second)
    );
    cluster.order(first);
    cluster.stop();
    let mut node = cluster.others.pop().unwrap();
    let runs_on = format!(
        "node {first} was not started here, and runs on as process {}",
        node.id()
    );
    assert!(cluster.told().contains(&runs_on), "{}", cluster.told());
    signal(&node, Signal::SIGTERM);
    assert!(until("the node ends", || node.try_wait().unwrap()).success());
    assert!(refuse(&["status", "--data", &cluster.data()]).contains("no node"));

    let again = cluster.restart(&[]);
    assert_eq!(by_node(&again).len(), 3);
    cluster.order(cluster.leader());
    cluster.stop();
    for command in ["replay", "audit"] {
        let refused = refuse(&[command, &cluster.data()]);
        assert!(refused.contains("is the folder of a cluster"), "{refused}");
        assert!(
            refused.contains("such as ") && refused.contains("node-1"),
            "{refused}"
        );
    }
    let refused = refuse(&["cluster", "--nodes", "5", "--data", &cluster.data()]);
    assert!(
        refused.contains("a cluster of 3 nodes already"),
        "{refused}"
    );
    for id in 1..=3 {
        let orders = succeed(&["audit", &cluster.node(id), "--json"]);
        let orders = orders.matches("\"message\":\"OrderAccepted\"").count();
        assert_eq!(orders, 4, "node {id}");
    }
}

#[test]
fn nodes_come_and_go_while_a_cluster_runs() {
    let (mut cluster, _) = Cluster::start();
    let data = cluster.data();
    cluster.order(cluster.leader());
    for id in [4, 5] {
        let node = id.to_string();
        let text = succeed(&["cluster", "config", "--node", &node, "--data", &data]);
        std::fs::write(cluster.path().join(format!("node-{id}.toml")), text).unwrap();
        cluster.start_node(id);
    }
    let config = |id: u64| {
        cluster
            .path()
            .join(format!("node-{id}.toml"))
            .display()
            .to_string()
    };
    let words = [
        "add-node",
        "--node-config",
        &config(4),
        "--data",
        &data,
        "--json",
    ];
    let added = json(&words);
    check_keys(&added, "add-node");
    assert_eq!(added["voters"], serde_json::json!([1, 2, 3, 4]));
    // Given again it changes nothing.
    assert_eq!(json(&words), added);
    let leader = cluster.leader();
    let old = leader.to_string();
    let words = [
        "replace-node",
        "--old",
        &old,
        "--node-config",
        &config(5),
        "--data",
        &data,
        "--json",
    ];
    let replaced = json(&words);
    check_keys(&replaced, "replace-node");
    let voters: Vec<u64> = (1..=5).filter(|id| *id != leader).collect();
    assert_eq!(replaced["voters"], serde_json::json!(voters));
    cluster.order(cluster.leader());
    let words = ["remove-node", "--id", "4", "--data", &data, "--json"];
    let removed = json(&words);
    check_keys(&removed, "remove-node");
    assert_eq!(
        (
            &removed["was_member"],
            removed["voters"].as_array().unwrap().len()
        ),
        (&true.into(), 3)
    );
    assert_eq!(json(&words)["was_member"], false);
    // Nobody warned: three are left. A number that was given is never given again.
    assert!(removed["warning"].is_null(), "{removed}");
    let told = fail(&["add-node", "--node-config", &config(4), "--data", &data]);
    assert!(told.contains("take 6 or a higher one"), "{told}");
    let status = by_node(&cluster.status());
    assert_eq!(status[&5]["standing"], "voter");
    assert!(!status.contains_key(&4) || status[&4]["standing"].is_null());
    cluster.order(cluster.leader());
    let taken = json(&["take-snapshot", "--data", &data, "--json"]);
    check_keys(&taken, "take-snapshot");
    for (id, node) in by_node(&cluster.status()) {
        let index = by_node(&taken)
            .get(&id)
            .map(|it| count(it, "snapshot_index"));
        assert!(node["standing"].is_null() || count(&node, "snapshot_index") >= index.unwrap());
    }
    // A new exchange has the newest rules there are.
    let newest = status[&5]["behaviour_max"].to_string();
    let told = succeed(&["activate", &newest, "--data", &data]);
    assert!(told.contains("is in force"), "{told}");
    let told = fail(&["activate", "4000000", "--data", &data]);
    assert!(told.contains("refuses it"), "{told}");

    // What cannot be done is said with its reason, and what it is not is a promise to keep trying.
    let gone = ["step-down", "--to", "4", "--data", &data];
    let told = fail(&gone);
    assert!(told.contains("node 4 has no vote"), "{told}");
    for command in ["take-snapshot", "trust-memory"] {
        let told = refuse(&[command, "--node", "9", "--data", &data]);
        assert!(told.contains("there is no node 9"), "{told}");
    }
    let told = fail(&["trust-memory", "--node", "5", "--yes", "--data", &data]);
    assert!(told.contains("has forgotten nothing"), "{told}");
    let nobody = [
        "add-node",
        "--id",
        "6",
        "--peers",
        "127.0.0.1:9",
        "--orders",
        "127.0.0.1:8",
    ];
    let told = refuse(&[&nobody[..], &["--timeout", "1s", "--data", &data]].concat());
    assert!(told.contains("does it run, at 127.0.0.1:9?"), "{told}");
    // Nobody knows what a node has that nobody reaches.
    let six = by_node(&cluster.status()).remove(&6).unwrap();
    assert_eq!(
        (&six["standing"], &six["behind_entries"]),
        (&"learner".into(), &Value::Null)
    );
    let told = succeed(&["status", "--data", &data]);
    assert!(told.contains("; what it has is not known"), "{told}");
    let told = succeed(&["remove-node", "--id", "6", "--data", &data]);
    assert!(told.contains("node 6 is no member any more"), "{told}");
    cluster.stop();
}

/// One that was added keeps its data elsewhere, one was removed, and one cannot start.
#[test]
fn a_cluster_goes_on_with_those_who_are_its_members() {
    let (mut cluster, _) = Cluster::start();
    let data = cluster.data();
    let elsewhere = cluster.folder.path().join("elsewhere");
    let config = cluster.path().join("node-4.toml");
    let words = ["cluster", "config", "--node", "4", "--data", &data];
    let named = ["--node-data", &elsewhere.display().to_string()];
    std::fs::write(&config, succeed(&[&words[..], &named].concat())).unwrap();
    cluster.start_node(4);
    let leader = cluster.leader();
    let gone = if leader == 3 { 2 } else { 3 };
    let old = gone.to_string();
    let config = config.display().to_string();
    let words = ["replace-node", "--old", &old, "--node-config", &config];
    succeed(&[&words[..], &["--data", &data]].concat());
    // What it was told by others it says itself.
    let log = cluster.path().join(format!("node-{gone}.log"));
    until("it says so", || {
        let said = std::fs::read_to_string(&log).unwrap();
        said.contains("was removed from its cluster").then_some(())
    });
    cluster.order(0);
    cluster.stop();
    let mut node = cluster.others.pop().unwrap();
    signal(&node, Signal::SIGTERM);
    assert!(until("the node ends", || node.try_wait().unwrap()).success());

    let members: Vec<u64> = (1..=4).filter(|id| *id != gone).collect();
    let hurt = cluster.path().join(format!("node-{}", members[0]));
    let segment = hurt.join("journal").join(format!("{:020}.log", 0));
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[5_000] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let again = cluster.restart(&[]);
    let started: Vec<u64> = by_node(&again).into_keys().collect();
    assert_eq!(started, members, "{again}");
    assert!(
        !cluster.path().join("node-4").exists(),
        "it has its own folder"
    );
    until("all have caught up", || {
        let nodes = by_node(&cluster.status());
        let level = |it: &Value| {
            it["behind_entries"] == 0 && it["listened_to"] == true && it["forgetful"] == false
        };
        nodes.values().all(level).then_some(())
    });
    // What is left of a journal is not called new.
    let said = std::fs::read_to_string(hurt.with_extension("log")).unwrap();
    let recovered = said.lines().filter(|it| it.contains("  recovered ")).nth(1);
    let recovered = recovered.unwrap();
    assert!(
        recovered.contains("left in its journal, which was damaged"),
        "{said}"
    );
    cluster.order(0);
    cluster.stop();

    let taken = by_node(&again)[&4]["orders_address"].clone();
    let _taken = std::net::TcpListener::bind(taken.as_str().unwrap()).unwrap();
    let ended = cluster.restart(&[]);
    assert_eq!(
        (&ended["state"], &ended["node"]),
        (&"ended".into(), &4.into())
    );
    let serving = cluster.line();
    let started: Vec<u64> = by_node(&serving).into_keys().collect();
    assert_eq!(started, members[..2], "{serving}");
    cluster.order(0);
    cluster.stop();
}

#[test]
fn a_feed_into_the_folder_of_a_cluster_goes_on_with_the_next_leader() {
    let (mut cluster, serving) = Cluster::start();
    let file = cluster.folder.path().join("orders.csv");
    generated_orders(&file, 1_200, 7);
    let (data, file) = (cluster.data(), file.display().to_string());
    // Eight seconds of orders, by the file's own clock.
    let feed = [
        "feed", &file, "--data", &data, "--speed", "real", "--limit", "1200", "--json",
    ];
    let feed = exahour(&feed)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the feed is under way", || {
        let book = run(&["book", "100", "--data", &data, "--json"]);
        let book: Value = serde_json::from_slice(&book.stdout).ok()?;
        (book["orders"].as_u64()? > 3).then_some(())
    });
    let first = cluster.leader();
    let process = count(&by_node(&serving)[&first], "process");
    kill(
        Pid::from_raw(i32::try_from(process).unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();
    assert_eq!(cluster.line_with("ended")["node"], first);
    let output = feed.wait_with_output().unwrap();
    let (fed, errors) = texts(&output);
    assert!(output.status.success(), "{errors}");
    let fed: Value = serde_json::from_str(&fed).unwrap();
    assert_eq!(count(&fed, "rows"), 1_200, "{fed}");
    assert_ne!(cluster.leader(), first);
    cluster.stop();
}

#[test]
fn a_cluster_without_a_quorum_is_told_by_the_exit_code() {
    let (cluster, serving) = Cluster::start();
    let leader = cluster.leader();
    for (id, node) in by_node(&serving) {
        if id != leader {
            let process = i32::try_from(count(&node, "process")).unwrap();
            kill(Pid::from_raw(process), Signal::SIGKILL).unwrap();
        }
    }
    let key = cluster.path().join("cluster.key").display().to_string();
    let peers = by_node(&serving)[&leader]["peers_address"].clone();
    let words = [
        "status",
        "--connect",
        peers.as_str().unwrap(),
        "--key",
        &key,
    ];
    // The leader is the last to know, and says meanwhile that it has no quorum.
    let told = until("nobody leads", || {
        let output = run(&words);
        let told = texts(&output).1;
        assert!(output.status.code() == Some(1) || told.is_empty(), "{told}");
        told.contains("no node leads").then_some(told)
    });
    assert!(told.starts_with("exahour: "), "{told}");
    let alone = ["--connect", peers.as_str().unwrap(), "--key", &key];
    let (taken, told) = texts(&run(&[&["take-snapshot"][..], &alone].concat()));
    assert!(taken.contains("has a snapshot of entry"), "{taken}{told}");
    assert!(told.contains("no node leads: entries"), "{told}");
    let told = refuse(&["step-down", "--timeout", "1s", "--data", &cluster.data()]);
    assert!(
        told.contains("not done within 1 s: no node leads"),
        "{told}"
    );
}

#[test]
fn the_files_of_a_cluster_are_made_for_machines_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let key = at("cluster.key");
    succeed(&["cluster", "key", &key]);
    assert!(refuse(&["cluster", "key", &key]).contains("is there already"));
    let members = ["1", "2", "3"].map(|id| format!("{id},10.0.0.{id}:7804,10.0.0.{id}:7801"));
    let mut words = vec!["cluster", "config", "--node", "2"];
    members.iter().for_each(|it| words.extend(["--member", it]));
    let text = succeed(&words);
    std::fs::write(at("node.toml"), &text).unwrap();
    let config = exahour_replicas::NodeConfig::load(Path::new(&at("node.toml"))).unwrap();
    assert_eq!(config.cluster.unwrap().listen.to_string(), "10.0.0.2:7804");
    assert!(text.contains("market_data = \"10.0.0.2:7802\""), "{text}");
    assert!(
        !text.contains("[[thread]]"),
        "a machine of its own has its own layout: {text}"
    );
    let told = refuse(&[
        "cluster",
        "config",
        "--node",
        "4",
        "--config",
        &at("node.toml"),
    ]);
    assert!(told.contains("--peers and --orders"), "{told}");
    let nowhere = exahour(&["status", "--connect", "127.0.0.1:9"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
    let told = texts(&nowhere).1;
    assert!(told.contains("give --key FILE"), "{told}");
    let told = refuse(&["start", "--found", "--data", &at("data")]);
    assert!(told.contains("this one is alone"), "{told}");
    let told = refuse(&["status", "--data", &at("")]);
    assert!(told.contains("no folder of `exahour cluster`"), "{told}");
}
