//! The round trip of an order: through the gateway of a real node and back to its client.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use exahour_gateway::client::{Client, ClientConfig, ClientEvent};
use exahour_gateway::credentials::Keys;
use exahour_replicas::{Node, NodeConfig};
use exahour_rings::{CoreId, IdleStrategy, Layout, ThreadLayout};
use exahour_wire::codes::{Durability, OrderType, Side, TimeInForce};
use exahour_wire::events::OrderAccepted;
use exahour_wire::ids::{AccountId, ClientOrderId, InstrumentId, OrderId, SessionId};
use exahour_wire::message::Message;
use exahour_wire::orders::{CancelOrder, NewOrder};
use exahour_wire::units::{Price, Quantity};

use super::pace::Counterpart;

/// Messages in one packet while throughput is measured.
const PACKET: usize = 16;

/// Messages on their way while throughput is measured.
const IN_FLIGHT_MAX: u64 = 4_096;

/// How long nothing may be answered while throughput is measured.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A node as the benches run it: everything an order passes through on one spinning core.
///
/// # Errors
/// What keeps a node from starting.
pub fn start(data: &Path, durability: Durability, core: Option<CoreId>) -> anyhow::Result<Node> {
    let mut config = NodeConfig::defaults()?;
    config.data = data.to_path_buf();
    config.set_durability(durability);
    for address in [
        &mut config.listen.orders,
        &mut config.listen.market_data,
        &mut config.listen.drop_copy,
    ] {
        address.set_port(0);
    }
    // An acknowledgement that waits for the flush waits on the same thread; one that does not must
    // not be held up by it.
    let (path, behind): (&[&str], &[&str]) = match durability {
        Durability::Durable => (
            &["order-gateway", "sequencer", "disk", "engine"],
            &[
                "market-data",
                "drop-copy",
                "staging",
                "snapshots",
                "courier",
            ],
        ),
        Durability::Replicated => (
            &["order-gateway", "sequencer", "engine"],
            &[
                "disk",
                "market-data",
                "drop-copy",
                "staging",
                "snapshots",
                "courier",
            ],
        ),
    };
    let mut exchange = ThreadLayout::new("exchange", IdleStrategy::Spin, path);
    if let Some(core) = core {
        exchange = exchange.pinned(core);
    }
    let followers = ThreadLayout::new("followers", IdleStrategy::Park { micros: 1_000 }, behind);
    config.layout = Layout::new(vec![exchange, followers]);
    Ok(Node::start(&config)?)
}

/// A trader of the bench: session 1 of the default genesis.
pub struct Trader {
    client: Client,
    next_name: u64,
    first_name: u64,
}

impl Trader {
    /// Logs in.
    ///
    /// # Errors
    /// What keeps it out.
    pub fn connect(node: &Node) -> anyhow::Result<Self> {
        Self::log_on(node.addresses().orders, node.keys())
    }

    /// As [`Trader::connect`], to a node of another process, with the file of its keys.
    ///
    /// # Errors
    /// What keeps it out.
    pub fn log_on(node: SocketAddr, keys: &Path) -> anyhow::Result<Self> {
        Self::with(node, settings(keys)?)
    }

    /// As [`Trader::log_on`], as a client that is set up in another way.
    ///
    /// # Errors
    /// What keeps it out.
    pub fn with(node: SocketAddr, settings: ClientConfig) -> anyhow::Result<Self> {
        let client = Client::connect(node, settings)?;
        Ok(Self {
            client,
            next_name: 1,
            first_name: 1,
        })
    }

    /// Sends packets of orders and cancels as fast as answers come, for `span`; messages a second.
    ///
    /// # Errors
    /// Whatever ends the connection; an exchange that does not keep up answers `Busy`, which counts
    /// as an error here.
    pub fn throughput(&mut self, span: Duration) -> anyhow::Result<f64> {
        self.flood(|_, elapsed| elapsed < span)
    }

    /// As [`Trader::throughput`], until `count` messages were sent.
    ///
    /// # Errors
    /// As there.
    pub fn messages(&mut self, count: u64) -> anyhow::Result<f64> {
        self.flood(|sent, _| sent < count)
    }

    /// Goes on while `wanted` says so, which is told how many were sent, and for how long.
    fn flood(&mut self, wanted: impl Fn(u64, Duration) -> bool) -> anyhow::Result<f64> {
        let (mut sent, mut answered) = (0u64, 0u64);
        let began = Instant::now();
        let mut answered_at = began;
        let mut open = true;
        while open || answered < sent {
            open = open && wanted(sent, began.elapsed());
            if open && sent - answered + PACKET as u64 <= IN_FLIGHT_MAX {
                for _ in 0..PACKET / 2 {
                    let name = self.name();
                    self.client.queue(&order(name))?;
                    self.client.queue(&cancel(name))?;
                }
                self.client.flush()?;
                sent += PACKET as u64;
            }
            let before = answered;
            while let Some(event) = self.client.poll()? {
                anyhow::ensure!(
                    matches!(event, ClientEvent::Report(_)),
                    "unexpected: {event:?}"
                );
                answered += 1;
            }
            if answered > before {
                answered_at = Instant::now();
            }
            anyhow::ensure!(
                answered_at.elapsed() < SILENCE_MAX,
                "{answered} of {sent} were answered"
            );
        }
        Ok(answered as f64 / began.elapsed().as_secs_f64())
    }

    fn name(&mut self) -> ClientOrderId {
        self.next_name += 1;
        ClientOrderId(self.next_name - 1)
    }
}

/// What session 1 logs on with, its key from the file of a node's keys.
///
/// # Errors
/// Where there is no such file, or the key is not in it.
pub fn settings(keys: &Path) -> anyhow::Result<ClientConfig> {
    let session = SessionId(1);
    let keys = Keys::load(keys)?;
    let key = keys
        .key_of(session)
        .ok_or_else(|| anyhow::anyhow!("no key for session 1"))?;
    Ok(ClientConfig::new(session, key.clone()))
}

/// A buy order of the bench, which rests.
#[must_use]
pub fn order(name: ClientOrderId) -> NewOrder {
    NewOrder {
        client_order_id: name,
        price: Price(2_000_000),
        quantity: Quantity(1),
        account: AccountId(100),
        instrument: InstrumentId(1),
        side: Side::Buy.into(),
        order_type: OrderType::Limit.into(),
        time_in_force: TimeInForce::GoodTillCancelled.into(),
        ..NewOrder::blank()
    }
}

/// Cancels the order of this name.
#[must_use]
pub fn cancel(name: ClientOrderId) -> CancelOrder {
    CancelOrder {
        request: name,
        order: OrderId::NONE,
        client_order_id: name,
        instrument: InstrumentId(1),
        ..CancelOrder::blank()
    }
}

impl Counterpart for Trader {
    fn begin(&mut self) {
        self.first_name = self.next_name;
    }

    fn send(&mut self, _number: u64) -> anyhow::Result<()> {
        let name = self.name();
        self.client.send(&order(name))?;
        Ok(())
    }

    fn poll(&mut self, answered: &mut dyn FnMut(u64)) -> anyhow::Result<()> {
        while let Some(event) = self.client.poll()? {
            let ClientEvent::Report(report) = event else {
                anyhow::bail!("unexpected: {event:?}");
            };
            let accepted: OrderAccepted = report
                .read()
                .ok_or_else(|| anyhow::anyhow!("an order was not accepted"))?;
            answered(accepted.client_order_id.0 - self.first_name);
        }
        Ok(())
    }
}
