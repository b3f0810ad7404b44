//! A market in which contracts expire within two seconds: the node, its clients and its event log.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use exahour_gateway::client::{Client, ClientConfig, ClientEvent, Report};
use exahour_gateway::credentials::Keys;
use exahour_journal::{Position, Reader, Verify};
use exahour_replicas::{Node, NodeConfig};
use exahour_wire::codes::{ContractKind, Firmness, OrderType, ResourceClass, Side, TimeInForce};
use exahour_wire::events::{
    AccessKeyRegistered, CommandDone, DeliveryAssigned, DeliverySettled, EventPrefix, OrderFilled,
};
use exahour_wire::ids::{AccountId, ClientOrderId, InstrumentId, ObligationId, SessionId};
use exahour_wire::message::{AccessKey, Message, Text8, Text16, messages};
use exahour_wire::operations::{CreateInstrument, RegisterAccessKey};
use exahour_wire::orders::NewOrder;
use exahour_wire::units::{Hours, Money, Nanos, PartsPerMillion, Price, Quantity};
use tempfile::TempDir;

use super::machines::now_ns;

/// The buyer's session and account.
pub(crate) const BUYER: (u32, u32) = (1, 100);
/// The seller's session and account.
pub(crate) const SELLER: (u32, u32) = (2, 200);
/// The session that may settle.
pub(crate) const SETTLEMENT: SessionId = SessionId(8);
const OPERATOR: u32 = 9;

const PATIENCE: Duration = Duration::from_secs(20);

/// A small node for a data folder.
pub(crate) fn config(data: &Path) -> NodeConfig {
    let text = "[listen]\norders = \"127.0.0.1:0\"\nmarket_data = \"127.0.0.1:0\"\n\
                drop_copy = \"127.0.0.1:0\"\n[journal]\nsegment_bytes = 1048576\n\
                [capacity]\norders = 1024\npositions = 1024\n\
                [[thread]]\nname = \"all\"\nidle = \"park:200us\"\n\
                agents = [\"order-gateway\", \"sequencer\", \"disk\", \"engine\", \
                \"market-data\", \"drop-copy\", \"staging\", \"snapshots\"]\n";
    let mut config = NodeConfig::from_text("test", text).expect("configuration");
    config.data = data.to_path_buf();
    config
}

/// Starts a node that is alone.
pub(crate) fn start_node(data: &Path) -> Node {
    start(&config(data))
}

/// Starts a node and writes down where it is reached, as `exahour start` does.
pub(crate) fn start(config: &NodeConfig) -> Node {
    let (data, node) = (&config.data, Node::start(config).expect("node"));
    let text = format!("{{\"orders\":\"{}\"}}", node.addresses().orders);
    let draft = data.join("addresses.new");
    fs::write(&draft, text).expect("addresses");
    fs::rename(draft, data.join("addresses.json")).expect("addresses");
    node
}

/// A folder that machines of other users may pass through.
pub(crate) fn folder() -> TempDir {
    let dir = tempfile::tempdir().expect("temp dir");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(dir.path(), open).expect("open");
    dir
}

/// A node's folder and the node, while it runs in this process.
pub(crate) struct Market {
    pub(crate) dir: TempDir,
    pub(crate) node: Option<Node>,
    traders: Traders,
}

/// Those who trade what is to be delivered.
pub(crate) struct Traders {
    /// Where their keys are, and the events by which they know.
    data: PathBuf,
    /// Where orders are entered: at one of these nodes.
    pub(crate) nodes: Vec<SocketAddr>,
    instruments: u32,
    orders: u64,
}

impl Market {
    pub(crate) fn open() -> Market {
        let dir = folder();
        let data = dir.path().join("data");
        let node = start_node(&data);
        Market {
            dir,
            traders: Traders::new(&data, vec![node.addresses().orders]),
            node: Some(node),
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn stop(&mut self) {
        if let Some(node) = self.node.take() {
            node.stop().expect("stop");
        }
    }

    pub(crate) fn restart(&mut self) {
        self.stop();
        let node = start_node(&self.data());
        self.traders.nodes = vec![node.addresses().orders];
        self.node = Some(node);
    }

    pub(crate) fn connect(&self, session: u32) -> Client {
        self.traders.connect(session)
    }

    pub(crate) fn deliver(&mut self, lots: u64) -> ObligationId {
        self.traders.deliver(lots)
    }

    pub(crate) fn register_key(&self, key: [u8; 32]) {
        self.traders.register(BUYER, [key]);
    }

    /// Registers so many keys of a session for its account, one after the other.
    pub(crate) fn register_keys(&self, owner: (u32, u32), count: u64) {
        let key = |number: u64| {
            let mut key = [1; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            key
        };
        self.traders.register(owner, (1..=count).map(key));
    }
}

impl Traders {
    pub(crate) fn new(data: &Path, nodes: Vec<SocketAddr>) -> Traders {
        Traders {
            data: data.to_path_buf(),
            nodes,
            instruments: 100,
            orders: 0,
        }
    }

    pub(crate) fn connect(&self, session: u32) -> Client {
        connect(&self.data, &self.nodes, session)
    }

    pub(crate) fn register(
        &self,
        (session, account): (u32, u32),
        keys: impl IntoIterator<Item = [u8; 32]>,
    ) {
        let mut owner = self.connect(session);
        for (request, key) in (1..).zip(keys) {
            owner
                .send(&RegisterAccessKey {
                    request: ClientOrderId(request),
                    account: AccountId(account),
                    key: AccessKey(key),
                    ..RegisterAccessKey::blank()
                })
                .expect("send");
            let _: CommandDone = next(&mut owner);
        }
        owner.terminate().expect("goodbye");
    }

    /// Lists a contract for one hour, trades it, and lets it expire.
    pub(crate) fn deliver(&mut self, lots: u64) -> ObligationId {
        for _ in 0..5 {
            let before = assigned(&self.data).len();
            if self.trade(lots) {
                let data = self.data.clone();
                wait_for("the assignment", || assigned(&data).len() > before);
                let all = assigned(&data);
                return all.last().expect("assigned").obligation;
            }
        }
        panic!("this host is too slow to trade within two seconds");
    }

    /// Whether it was traded before it expired.
    fn trade(&mut self, lots: u64) -> bool {
        let (mut operator, mut buyer, mut seller) = (
            self.connect(OPERATOR),
            self.connect(BUYER.0),
            self.connect(SELLER.0),
        );
        self.instruments += 1;
        let instrument = InstrumentId(self.instruments);
        operator.send(&contract(instrument)).expect("send");
        let _: CommandDone = next(&mut operator);
        let mut traded = true;
        for (client, account, side) in [
            (&mut seller, SELLER.1, Side::Sell),
            (&mut buyer, BUYER.1, Side::Buy),
        ] {
            self.orders += 1;
            let order = order(self.orders, account, instrument, side, lots);
            client.send(&order).expect("send");
            let answer = next_of(
                client,
                &[
                    exahour_wire::events::OrderAccepted::TEMPLATE_ID,
                    exahour_wire::events::OrderRejected::TEMPLATE_ID,
                ],
            );
            traded &= answer == exahour_wire::events::OrderAccepted::TEMPLATE_ID;
        }
        if traded {
            let _: OrderFilled = next(&mut buyer);
        }
        for mut client in [operator, buyer, seller] {
            client.terminate().expect("goodbye");
        }
        traded
    }
}

impl Drop for Market {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            let stopped = node.stop();
            if !std::thread::panicking() {
                stopped.expect("stop");
            }
        }
    }
}

/// Of several nodes it looks for the one that leads.
pub(crate) fn connect(data: &Path, nodes: &[SocketAddr], session: u32) -> Client {
    let keys = Keys::load(&data.join("keys")).expect("keys");
    let session = SessionId(session);
    let key = keys.key_of(session).expect("key").clone();
    let mut config = ClientConfig::new(session, key);
    config.nodes = nodes[1..].to_vec();
    Client::connect(nodes[0], config).expect("connect")
}

fn contract(instrument: InstrumentId) -> CreateInstrument {
    let last = Nanos(now_ns() + 1_500_000_000);
    CreateInstrument {
        request: ClientOrderId(u64::from(instrument.0)),
        instrument,
        kind: ContractKind::Future.into(),
        class: ResourceClass::Cpu.into(),
        grade_performance: 2,
        grade_reliability: 2,
        grade_energy: 2,
        firmness: Firmness::Firm.into(),
        reference_version: 1,
        hours: Hours(1),
        symbol: Text16::new("SOON").expect("symbol"),
        zone: Text8::new("eu-1").expect("zone"),
        tick: "0.01".parse().expect("tick"),
        delivery_start: last,
        last_trade_at: last,
        initial_margin: Money(1_000_000),
        reference_price: price(),
        quantity_max: Quantity(1_000),
        notional_max: Money(1_000_000_000_000),
        collar: PartsPerMillion(500_000),
        protection: PartsPerMillion(50_000),
        ..CreateInstrument::blank()
    }
}

/// What an hour of a lot costs here.
pub(crate) fn price() -> Price {
    "3.60".parse().expect("price")
}

fn order(name: u64, account: u32, instrument: InstrumentId, side: Side, lots: u64) -> NewOrder {
    NewOrder {
        client_order_id: ClientOrderId(name),
        price: price(),
        quantity: Quantity(lots),
        account: AccountId(account),
        instrument,
        side: side.into(),
        order_type: OrderType::Limit.into(),
        time_in_force: TimeInForce::GoodTillCancelled.into(),
        ..NewOrder::blank()
    }
}

/// The next report that is of this kind.
pub(crate) fn next<M: Message>(client: &mut Client) -> M {
    hear(client, |report| report.read::<M>())
}

fn next_of(client: &mut Client, templates: &[u16]) -> u16 {
    hear(client, |report| {
        let template = report.prefix().header.template_id;
        templates.contains(&template).then_some(template)
    })
}

fn hear<T>(client: &mut Client, wanted: impl Fn(&Report<'_>) -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(ClientEvent::Report(report)) =
            client.wait(Duration::from_secs(1)).expect("wait")
            && let Some(found) = wanted(&report)
        {
            return found;
        }
    }
    panic!("no such report within {PATIENCE:?}");
}

pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// All events of a kind in a node's log.
pub(crate) fn events<M: Message>(data: &Path) -> Vec<M> {
    let mut found = Vec::new();
    let Ok(mut reader) = Reader::follow(data.join("events"), Verify::Every) else {
        return found;
    };
    while let Some(frame) = reader.next(Position::new(u64::MAX)).expect("event log") {
        let of_kind = messages(frame.payload).filter(|event| {
            EventPrefix::peek(event).is_some_and(|it| it.header.template_id == M::TEMPLATE_ID)
        });
        found.extend(of_kind.filter_map(M::read));
    }
    found
}

pub(crate) fn assigned(data: &Path) -> Vec<DeliveryAssigned> {
    events(data)
}

pub(crate) fn settled(data: &Path) -> Vec<DeliverySettled> {
    events(data)
}

/// How the exchange settled an obligation: exactly once.
pub(crate) fn settlement(data: &Path, id: ObligationId) -> DeliverySettled {
    let all: Vec<DeliverySettled> = settled(data)
        .into_iter()
        .filter(|it| it.obligation == id)
        .collect();
    assert_eq!(all.len(), 1, "obligation {id} is settled once: {all:?}");
    all[0]
}

/// The seller is paid for verified time, the rest goes back, and the penalty is a tenth of it.
pub(crate) fn assert_split(it: &DeliverySettled, lots: u64) {
    let value = i128::from(price().0) * i128::from(lots);
    let paid = value * i128::from(it.verified.0) / i128::from(Nanos::HOUR.0);
    assert_eq!(i128::from(it.paid.0), paid, "{it:?}");
    assert_eq!(i128::from(it.refunded.0), value - paid, "{it:?}");
    let compensated = (value - paid + 9) / 10;
    assert_eq!(i128::from(it.compensated.0), compensated, "{it:?}");
}

/// Whether a key has been registered with the exchange.
pub(crate) fn keys_registered(data: &Path) -> usize {
    events::<AccessKeyRegistered>(data).len()
}
