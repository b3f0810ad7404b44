//! A full disk: new commands are refused, nothing is lost, and trading goes on once there is room.

#![allow(clippy::unwrap_used)] // A test may fail where it stands.

#[allow(dead_code)] // One test uses all of it, this one less.
mod in_and_out;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use exahour_gateway::client::{Client, ClientConfig, ClientEvent};
use exahour_gateway::credentials::Keys;
use exahour_replicas::{Node, NodeConfig, replay};
use exahour_wire::codes::{Side, TimeInForce};
use exahour_wire::events::OrderAccepted;
use exahour_wire::ids::SessionId;
use exahour_wire::message::{Message, messages};
use exahour_wire::orders::NewOrder;

use in_and_out::order;

/// A file system of a few mebibytes, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where the test may not mount.
    fn mount(at: &Path, mebibytes: u32) -> Option<Self> {
        let size = format!("size={mebibytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_path_buf()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// An order that does not rest.
fn attempt(name: u64) -> NewOrder {
    NewOrder {
        time_in_force: TimeInForce::ImmediateOrCancel.into(),
        ..order(name, 100, Side::Buy, 1)
    }
}

/// Sends orders until the exchange refuses one, or `count` are acknowledged; whether it refused.
fn trade(client: &mut Client, names: &mut u64, acknowledged: &mut Vec<u64>, count: usize) -> bool {
    let until = Instant::now() + Duration::from_secs(60);
    let goal = acknowledged.len() + count;
    let mut sent = 0u32;
    let mut told_at = Instant::now();
    while acknowledged.len() < goal {
        assert!(Instant::now() < until, "{} of {goal}", acknowledged.len());
        // One that hears nothing asks again.
        let asks_again = told_at.elapsed() > Duration::from_millis(200);
        if sent < 256 || asks_again {
            told_at = if asks_again { Instant::now() } else { told_at };
            client.send(&attempt(*names)).unwrap();
            *names += 1;
            sent += 1;
        }
        while let Some(event) = client.poll().unwrap() {
            told_at = Instant::now();
            match event {
                ClientEvent::Report(report) => {
                    if let Some(accepted) = report.read::<OrderAccepted>() {
                        acknowledged.push(accepted.client_order_id.0);
                        sent = sent.saturating_sub(1);
                    }
                }
                ClientEvent::Busy { .. } => return true,
                ClientEvent::NotApplied { .. } | ClientEvent::Established { .. } => {}
                ClientEvent::Terminated { .. } => panic!("terminated: {event:?}"),
            }
        }
    }
    false
}

/// What the node told its operator.
static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn was_told(words: &str) -> bool {
    TOLD.lock().unwrap().iter().any(|text| text.contains(words))
}

#[test]
fn a_full_disk_refuses_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path(), 8) else {
        eprintln!("SKIPPED: mounting a small file system takes root");
        return;
    };
    let data = folder.path().join("data");
    let filler = folder.path().join("filler");
    std::fs::write(&filler, vec![1; 3 << 20]).unwrap();

    let text = "[listen]\norders = \"127.0.0.1:0\"\nmarket_data = \"127.0.0.1:0\"\n\
                drop_copy = \"127.0.0.1:0\"\n[journal]\nsegment_bytes = 262144\n";
    let mut config = NodeConfig::from_text("test", text).unwrap();
    config.data = data.clone();
    config.notice = |text| TOLD.lock().unwrap().push(text.to_owned());
    let node = Node::start(&config).unwrap();
    let keys = Keys::load(node.keys()).unwrap();
    let key = keys.key_of(SessionId(1)).unwrap().clone();
    let mut client = Client::connect(
        node.addresses().orders,
        ClientConfig::new(SessionId(1), key),
    )
    .unwrap();

    let (mut names, mut acknowledged) = (1, Vec::new());
    let refused = trade(&mut client, &mut names, &mut acknowledged, 1_000_000);
    assert!(refused, "the disk never filled");
    assert!(acknowledged.len() > 1_000);
    assert!(!node.finished());
    assert!(was_told("the disk is full") && !was_told("room again"));
    let second = ClientConfig::new(SessionId(2), keys.key_of(SessionId(2)).unwrap().clone());
    let refused = Client::connect(node.addresses().orders, second).err();
    let refused = refused.unwrap().to_string();
    assert!(refused.contains("Busy"), "{refused}");

    std::fs::remove_file(&filler).unwrap();
    let before = acknowledged.len();
    let until = Instant::now() + Duration::from_secs(30);
    while trade(&mut client, &mut names, &mut acknowledged, 100) {
        assert!(Instant::now() < until, "the exchange did not go on");
    }
    assert!(acknowledged.len() >= before + 100);
    assert!(was_told("room again"));
    drop(client);
    node.stop().unwrap();

    let mut events = Vec::new();
    replay(&data.join("journal"), &mut events).unwrap();
    let mut journaled: Vec<u64> = messages(&events)
        .filter_map(OrderAccepted::read)
        .map(|accepted| accepted.client_order_id.0)
        .collect();
    journaled.sort_unstable();
    let once = journaled.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(once, "an order was applied twice");
    for name in &acknowledged {
        assert!(
            journaled.binary_search(name).is_ok(),
            "order {name} was acknowledged and is lost"
        );
    }
    drop(disk);
}
