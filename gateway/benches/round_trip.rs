//! An order's way through the gateway and back, beside a bare TCP echo of the same bytes.
//!
//! `cargo bench -p exahour-gateway --bench round_trip`. One thread turns the gateway, the test
//! exchange and its event log, as the fused layout does; the client spins on the other core. The
//! rounds of both kinds are interleaved in one run: compare the ratio, not the microseconds.
#![allow(clippy::unwrap_used)] // What cannot be set up ends the run.

#[path = "../tests/exchange/mod.rs"]
mod exchange;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use exahour_gateway::client::{Client, ClientEvent};
use exahour_gateway::clock::SystemClock;
use exahour_gateway::order_gateway::{GatewaySettings, OrderGateway};
use exahour_rings::{Agent, Capacity, ring};
use exahour_wire::events::OrderAccepted;
use exahour_wire::framing::FRAMING_BYTES;
use exahour_wire::message::Message;
use exahour_wire::orders::NewOrder;

use exchange::{Exchange, Told, config, keys, order};

const ROUNDS: usize = 12;
const TRIPS: usize = 4_000;
const BURST: usize = 16;
const WINDOW: usize = 1_024;
const ORDERS: usize = 400_000;

/// Which of the two serves at present: they never compete for the core.
const ECHO: u8 = 0;
const GATEWAY: u8 = 1;
const OVER: u8 = 2;

fn main() {
    let turn = Arc::new(AtomicU8::new(ECHO));
    let (echo, gateway) = serve(&turn);
    let mut bare = TcpStream::connect(echo).unwrap();
    bare.set_nodelay(true).unwrap();
    bare.set_nonblocking(true).unwrap();
    turn.store(GATEWAY, Ordering::SeqCst);
    let mut client = Client::connect(gateway, config(1)).unwrap();
    let (mut echoes, mut trips) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        turn.store(ECHO, Ordering::SeqCst);
        let measured = (0..TRIPS).map(|_| echo_once(&mut bare)).collect();
        turn.store(GATEWAY, Ordering::SeqCst);
        let through = (0..TRIPS).map(|_| trip_once(&mut client)).collect();
        // The first round warms up.
        if round > 0 {
            keep(&mut echoes, measured);
            keep(&mut trips, through);
        }
    }
    echoes.sort_unstable();
    trips.sort_unstable();
    println!(
        "{:>28} {:>10} {:>10} {:>7}",
        "ns", "echo", "gateway", "ratio"
    );
    for (name, part) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
        let at = |sorted: &[u64]| sorted[(sorted.len() as f64 * part) as usize];
        let (echo, trip) = (at(&echoes), at(&trips));
        println!(
            "{name:>28} {echo:>10} {trip:>10} {:>7.2}",
            trip as f64 / echo as f64
        );
    }
    // Beyond a few connections the gateway asks epoll before it reads.
    let mut idle = Vec::new();
    for session in 2..=17 {
        idle.push(Client::connect(gateway, config(session)).unwrap());
        if matches!(idle.len(), 1 | 3 | 4 | 8 | 16) {
            let mut trips: Vec<_> = (0..2 * TRIPS).map(|_| trip_once(&mut client)).collect();
            trips.sort_unstable();
            println!("{:>18} idle, p50 {:>21}", idle.len(), trips[TRIPS]);
        }
    }
    drop(idle);
    let (before, begun) = (server_seconds(), Instant::now());
    burst(&mut client);
    let rate = ORDERS as f64 / begun.elapsed().as_secs_f64();
    let cost = ORDERS as f64 / (server_seconds() - before);
    println!("{:>28} {rate:>10.0}", "orders/s, 16 a packet");
    // On a machine that others use, the time that the thread was given says more.
    println!("{:>28} {cost:>10.0}", "for a second of its CPU");
    turn.store(OVER, Ordering::SeqCst);
}

fn keep(all: &mut Vec<u64>, mut round: Vec<u64>) {
    all.append(&mut round);
}

/// The server thread: an echo, and a gateway with its exchange.
fn serve(turn: &Arc<AtomicU8>) -> (SocketAddr, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let echo = listener.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let events = dir.path().join("events");
    let (producer, consumer) = ring(Capacity::new(8_192).unwrap());
    let mut exchange = Exchange::new(&events, 256 << 20, consumer, Told::default());
    let settings = GatewaySettings::new("127.0.0.1:0".parse().unwrap(), &events);
    let mut gateway =
        OrderGateway::start(settings, keys(), SystemClock::default(), producer).unwrap();
    let address = gateway.address();
    let turn = Arc::clone(turn);
    let started = Arc::new(AtomicBool::new(false));
    let begun = Arc::clone(&started);
    std::thread::spawn(move || {
        let _dir = dir;
        begun.store(true, Ordering::SeqCst);
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        let answer = [7; FRAMING_BYTES + OrderAccepted::BYTES];
        let mut buffer = [0; 16 << 10];
        gateway.on_start().unwrap();
        loop {
            match turn.load(Ordering::Relaxed) {
                ECHO => {
                    if let Some(_count) = read_some(&mut stream, &mut buffer) {
                        stream.write_all(&answer).unwrap();
                    }
                }
                GATEWAY => {
                    gateway.do_work().unwrap();
                    exchange.turn();
                }
                _ => return,
            }
        }
    });
    (echo, address)
}

fn read_some(stream: &mut TcpStream, buffer: &mut [u8]) -> Option<usize> {
    match stream.read(buffer) {
        Ok(count) => Some(count),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

fn echo_once(stream: &mut TcpStream) -> u64 {
    let asked = Instant::now();
    stream
        .write_all(&[5; FRAMING_BYTES + NewOrder::BYTES])
        .unwrap();
    let mut buffer = [0; 16 << 10];
    let mut left = FRAMING_BYTES + OrderAccepted::BYTES;
    while left > 0 {
        left -= read_some(stream, &mut buffer).unwrap_or(0);
    }
    nanos(asked)
}

fn trip_once(client: &mut Client) -> u64 {
    let asked = Instant::now();
    client.send(&order(1, 1, 0)).unwrap();
    while !matches!(client.poll().unwrap(), Some(ClientEvent::Report(_))) {}
    nanos(asked)
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Sends [`ORDERS`] with [`BURST`] to a packet and [`WINDOW`] unanswered.
fn burst(client: &mut Client) {
    let orders = [order(1, 1, 0); BURST];
    let (mut sent, mut answered) = (0, 0);
    let begun = Instant::now();
    while answered < ORDERS {
        if sent < ORDERS && sent - answered + BURST <= WINDOW {
            sent += client.send_all(&orders).unwrap().1;
        }
        while let Some(event) = client.poll().unwrap() {
            assert!(matches!(event, ClientEvent::Report(_)), "{event:?}");
            answered += 1;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{answered} of {sent}"
        );
    }
}

/// Seconds of processor time that the server thread has had.
fn server_seconds() -> f64 {
    let own = std::fs::read_link("/proc/thread-self").unwrap();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let others = tasks
        .map(|task| task.unwrap().path())
        .filter(|path| path.file_name() != own.file_name());
    let nanos = others.map(|path| {
        let times = std::fs::read_to_string(path.join("schedstat")).unwrap();
        times.split(' ').next().unwrap().parse::<f64>().unwrap()
    });
    nanos.sum::<f64>() / 1e9
}
