//! A node to try things on, and short words for its clients.

use std::path::Path;
use std::time::{Duration, Instant};

use exahour_gateway::client::{Client, ClientConfig, ClientEvent};
use exahour_gateway::credentials::Keys;
use exahour_replicas::{Node, NodeConfig};
use exahour_wire::ids::SessionId;
use exahour_wire::message::Message;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn config(data: &Path) -> NodeConfig {
    config_with(data, "")
}

pub(crate) fn config_with(data: &Path, more: &str) -> NodeConfig {
    let text = format!(
        "{more}\n[listen]\norders = \"127.0.0.1:0\"\nmarket_data = \"127.0.0.1:0\"\n\
         drop_copy = \"127.0.0.1:0\"\n[journal]\nsegment_bytes = 1048576\n"
    );
    let mut config = NodeConfig::from_text("test", &text).unwrap();
    config.data = data.to_path_buf();
    config
}

pub(crate) fn connect(node: &Node, session: u32) -> Client {
    let keys = Keys::load(node.keys()).unwrap();
    let session = SessionId(session);
    let key = keys.key_of(session).unwrap().clone();
    Client::connect(node.addresses().orders, ClientConfig::new(session, key)).unwrap()
}

pub(crate) fn next_report<M: Message>(client: &mut Client) -> M {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(ClientEvent::Report(report)) = client.wait(Duration::from_secs(1)).unwrap() {
            return report
                .read()
                .unwrap_or_else(|| panic!("another report: {:?}", report.prefix()));
        }
    }
    panic!("no report within {PATIENCE:?}");
}
