//! A first start that is refused leaves nothing behind.

use std::net::TcpListener;

use exahour_replicas::Node;

use crate::exchange::{config, config_with};

#[test]
fn a_first_start_at_a_taken_port_makes_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = config(&folder.path().join("new/data"));
    settings.listen.drop_copy = taken.local_addr().unwrap();
    let refused = Node::start(&settings).err().unwrap().to_string();
    let port = taken.local_addr().unwrap().port().to_string();
    assert!(refused.contains(&port), "{refused}");
    assert!(!folder.path().join("new").exists());
    drop(taken);
    Node::start(&settings).unwrap().stop().unwrap();
    assert!(folder.path().join("new/data/journal").exists());
}

#[test]
fn a_genesis_that_cannot_be_makes_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[[genesis.participant]]\nid = 1\nname = \"A\"\n\
                [[genesis.account]]\nid = 5\nparticipant = 1\nname = \"x\"\n";
    let settings = config_with(&folder.path().join("data"), text);
    let refused = Node::start(&settings).err().unwrap().to_string();
    assert!(refused.contains("account 5"), "{refused}");
    assert!(!folder.path().join("data").exists());
}

#[test]
fn a_layout_that_places_nobody_makes_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let thread = "[[thread]]\nname = \"one\"\nidle = \"backoff\"\nagents = [\"disc\"]\n";
    let settings = config_with(&folder.path().join("data"), thread);
    let refused = Node::start(&settings).err().unwrap().to_string();
    assert!(refused.contains("`disc`"), "{refused}");
    assert!(!folder.path().join("data").exists());
}
