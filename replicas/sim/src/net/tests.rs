//! Ports over the simulated network: what TCP promises holds, and what it does not promise breaks.

use exahour_gateway::net::{Accepted, Net, Port, Received, Slot, Written};
use exahour_wire::units::{Nanos, PartsPerMillion};

use super::{Death, HostId, Network, Shared, Weather};
use crate::chance::{Chance, Stream};
use crate::trace::Trace;

const MILLI: Nanos = Nanos(1_000_000);

fn calm() -> Weather {
    Weather {
        delay: (Nanos(50_000), Nanos(200_000)),
        bytes_per_ms: 1_000_000,
        loss: PartsPerMillion(0),
        resend_after: Nanos(200_000_000),
        reset: PartsPerMillion(0),
        ghost: PartsPerMillion(0),
        short: PartsPerMillion(0),
        window: 4_096,
        dial_for: Nanos(1_000_000_000),
    }
}

struct Bench {
    network: Shared,
    now: Nanos,
    near: Box<dyn Port>,
    far: Box<dyn Port>,
}

impl Bench {
    fn new(seed: u64, weather: Weather) -> Self {
        let network = Shared::new(Network::new(seed, 2, weather, Trace::default()));
        let port = |host| {
            let life = network.lock().begin_life(host);
            let net = network.of(host, life);
            net.listen("0.0.0.0:0".parse().unwrap(), 8).unwrap()
        };
        let (near, far) = (port(HostId(0)), port(HostId(1)));
        Self {
            network,
            now: Nanos(0),
            near,
            far,
        }
    }

    fn pass(&mut self, span: Nanos) {
        self.now = self.now.after(span);
        self.network.lock().turn_to(self.now);
        self.near.poll_ready().unwrap();
        self.far.poll_ready().unwrap();
    }

    /// A connection, as both ends know it.
    fn connect(&mut self) -> (Slot, Slot) {
        let near = self.near.connect(self.far.address()).unwrap();
        let mut turns = (0..1_000).map(|_| {
            self.pass(MILLI);
            self.far.accept()
        });
        let Some(Accepted::Connection(far)) = turns.find_map(|accepted| accepted) else {
            panic!("it did not come");
        };
        self.pass(MILLI);
        (near, far)
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|place| (place * 31) as u8).collect()
}

#[test]
fn bytes_come_in_order_whatever_the_weather() {
    for seed in 0..50 {
        let mut bench = Bench::new(
            seed,
            Weather {
                loss: PartsPerMillion(100_000),
                short: PartsPerMillion(500_000),
                ..calm()
            },
        );
        let (near, far) = bench.connect();
        let said = bytes(20_000);
        let (mut sent, mut heard) = (0, Vec::<u8>::new());
        let mut chance = Chance::new(seed, Stream::Order, 0);
        while heard.len() < said.len() {
            let piece = (said.len() - sent).min(1 + chance.below(3_000));
            match bench.near.try_write(near, &said[sent..sent + piece]) {
                Written::Bytes(count) => sent += count,
                Written::Nothing => {}
                Written::Ended => panic!("nothing breaks here"),
            }
            let mut room = vec![0; 1 + chance.below(2_000)];
            match bench.far.try_read(far, &mut room) {
                Received::Bytes(count) => heard.extend(&room[..count]),
                Received::Nothing => {}
                Received::Ended => panic!("nothing breaks here"),
            }
            assert!(sent - heard.len() <= 4_096, "more is under way than may be");
            bench.pass(Nanos(100_000));
        }
        assert_eq!(heard, said);
        bench.near.end_writing(near);
        // It may be sent again, too.
        bench.pass(Nanos(1_000_000_000));
        let mut room = [0; 8];
        assert_eq!(bench.far.try_read(far, &mut room), Received::Ended);
        // The other direction goes on.
        let written = bench.far.try_write(far, b"yes");
        assert!(matches!(written, Written::Bytes(1..=3)), "{written:?}");
    }
}

#[test]
fn a_break_leaves_a_beginning_of_what_was_written() {
    let (mut whole, mut cut) = (0, 0);
    for seed in 0..200 {
        let mut bench = Bench::new(seed, calm());
        let (near, far) = bench.connect();
        let said = bytes(500);
        assert_eq!(bench.near.try_write(near, &said), Written::Bytes(500));
        bench.network.lock().break_one();
        bench.pass(MILLI);
        let mut room = [0; 1_000];
        let heard = match bench.far.try_read(far, &mut room) {
            Received::Bytes(count) => count,
            _ => 0,
        };
        assert_eq!(room[..heard], said[..heard]);
        assert_eq!(bench.far.try_read(far, &mut room), Received::Ended);
        assert_eq!(bench.near.try_write(near, b"more"), Written::Ended);
        assert_eq!(bench.near.try_read(near, &mut room), Received::Ended);
        whole += usize::from(heard == 500);
        cut += usize::from((1..500).contains(&heard));
    }
    assert!(cut > 50 && whole < 50, "{whole} whole, {cut} cut");
}

#[test]
fn a_link_that_is_cut_one_way_leaves_a_connection_half_open() {
    let mut bench = Bench::new(3, calm());
    bench.network.lock().set_cut(HostId(1), HostId(0), true);
    let near = bench.near.connect(bench.far.address()).unwrap();
    bench.pass(MILLI);
    let accepted = bench.far.accept();
    assert!(matches!(accepted, Some(Accepted::Connection(_))));
    bench.pass(MILLI);
    assert_eq!(bench.near.try_write(near, b"anyone?"), Written::Nothing);
    assert_eq!(bench.near.try_read(near, &mut [0; 8]), Received::Nothing);
    // The one that dialled gives up.
    bench.pass(Nanos(2_000_000_000));
    assert_eq!(bench.near.try_write(near, b"anyone?"), Written::Ended);
    assert_eq!(bench.near.try_read(near, &mut [0; 8]), Received::Ended);
    bench.near.close(near);
    bench.near.release(near);
    assert_eq!(bench.near.taken_count(), 0);
}

#[test]
fn what_waits_at_a_cut_comes_when_it_is_mended() {
    let mut bench = Bench::new(4, calm());
    let (near, far) = bench.connect();
    bench.network.lock().set_cut(HostId(0), HostId(1), true);
    assert_eq!(bench.near.try_write(near, b"late"), Written::Bytes(4));
    bench.pass(Nanos(5_000_000_000));
    let mut room = [0; 8];
    assert_eq!(bench.far.try_read(far, &mut room), Received::Nothing);
    bench.network.lock().mend();
    bench.pass(MILLI);
    assert_eq!(bench.far.try_read(far, &mut room), Received::Bytes(4));
    assert_eq!(&room[..4], b"late");
}

#[test]
fn a_killed_process_is_noticed_and_a_lost_machine_is_not() {
    for (death, noticed) in [(Death::Process, true), (Death::Machine, false)] {
        let mut bench = Bench::new(5, calm());
        let (near, _) = bench.connect();
        bench.network.lock().end_life(HostId(1), death);
        bench.pass(MILLI);
        let expected = if noticed {
            Received::Ended
        } else {
            Received::Nothing
        };
        assert_eq!(bench.near.try_read(near, &mut [0; 8]), expected);
        if noticed {
            continue;
        }
        assert_eq!(
            bench.near.try_write(near, b"still there?"),
            Written::Bytes(12)
        );
        bench.pass(Nanos(1_000_000_000));
        assert_eq!(bench.near.try_read(near, &mut [0; 8]), Received::Nothing);
        // Started again, the machine knows nothing of the connection, and says so.
        bench.network.lock().begin_life(HostId(1));
        bench.pass(MILLI);
        bench.pass(MILLI);
        assert_eq!(bench.near.try_read(near, &mut [0; 8]), Received::Ended);
    }
}

#[test]
fn nobody_listens_and_the_port_of_a_dead_process_does_nothing() {
    let mut bench = Bench::new(6, calm());
    let nobody = std::net::SocketAddr::new(bench.far.address().ip(), 9);
    let near = bench.near.connect(nobody).unwrap();
    bench.pass(MILLI);
    bench.pass(MILLI);
    assert_eq!(bench.near.try_write(near, b"hello"), Written::Ended);
    let (near, far) = bench.connect();
    bench.network.lock().end_life(HostId(0), Death::Process);
    assert_eq!(
        bench.near.try_write(near, b"a ghost speaks"),
        Written::Ended
    );
    bench.pass(MILLI);
    assert_eq!(bench.far.try_read(far, &mut [0; 8]), Received::Ended);
    let address = bench.near.address();
    assert_eq!(bench.far.connect(address).map(|slot| slot.0), Some(1));
    bench.pass(MILLI);
    assert_eq!(bench.near.accept(), None);
}

#[test]
fn a_port_has_as_many_places_as_it_was_made_for() {
    let mut bench = Bench::new(7, calm());
    for _ in 0..8 {
        bench.connect();
    }
    let address = bench.near.address();
    assert_eq!(bench.near.connect(address), None);
    // One more comes from elsewhere: nobody makes room for it, so it is closed.
    let life = bench.network.lock().begin_life(HostId(0));
    let net = bench.network.of(HostId(0), life);
    let mut other = net.listen("0.0.0.0:0".parse().unwrap(), 1).unwrap();
    let slot = other.connect(bench.far.address()).unwrap();
    bench.pass(MILLI);
    assert_eq!(bench.far.accept(), Some(Accepted::Full));
    assert_eq!(bench.far.accept(), Some(Accepted::Refused));
    bench.pass(MILLI);
    assert_eq!(other.try_read(slot, &mut [0; 8]), Received::Ended);
}
