//! Sessions over real TCP: the good path first, then each bad act and its exact answer.

mod exchange;

use std::time::Duration;

use exahour_gateway::client::{Client, ClientError, ClientEvent, SessionPosition, TypedReport};
use exahour_gateway::clock::SystemClock;
use exahour_gateway::credentials::Keys;
use exahour_gateway::error::GatewayError;
use exahour_gateway::order_gateway::{GatewaySettings, OrderGateway};
use exahour_rings::{Capacity, ring};
use exahour_wire::codes::NegotiationRejectCode;
use exahour_wire::events::OrderAccepted;
use exahour_wire::ids::{MessageSequence, SessionVersion};
use exahour_wire::message::Digest;
use exahour_wire::session::{Negotiate, NegotiationReject, NegotiationResponse, Sequence};
use exahour_wire::units::{Millis, Nanos};

use exchange::{Exchange, LAST_REPORTS, Raw64, Rig, Told, config, key, negotiate, numbered, order};

const HOUR: Nanos = Nanos(3_600 * Nanos::SECOND.0);

#[test]
fn an_order_goes_in_and_its_report_comes_back() {
    let rig = Rig::start();
    let mut client = Client::connect(rig.address, config(1)).unwrap();
    for name in 1..=1_000 {
        assert_eq!(
            client.send(&order(name, 1, 0)).unwrap(),
            MessageSequence(name as u32)
        );
        match client.wait(Duration::from_secs(20)).unwrap() {
            Some(ClientEvent::Report(report)) => match report.typed() {
                TypedReport::Accepted(accepted) => {
                    assert_eq!(accepted.client_order_id.0, name);
                    assert_eq!(accepted.sequence.0, name as u32);
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
    client.terminate().unwrap();
    assert_eq!(
        rig.told.orders.load(std::sync::atomic::Ordering::SeqCst),
        1_000
    );
}

#[test]
fn many_sessions_each_get_their_own_reports() {
    let rig = Rig::start();
    let mut clients: Vec<_> = (1..=20)
        .map(|session| Client::connect(rig.address, config(session)).unwrap())
        .collect();
    for round in 0..50 {
        for (place, client) in clients.iter_mut().enumerate() {
            let name = round * 100 + place as u64;
            client
                .send_all(&[order(name, 1 + place as u32, 0); 16])
                .unwrap();
        }
        for (place, client) in clients.iter_mut().enumerate() {
            for _ in 0..16 {
                match client.wait(Duration::from_secs(20)).unwrap() {
                    Some(ClientEvent::Report(report)) => match report.typed() {
                        TypedReport::Accepted(accepted) => {
                            assert_eq!(accepted.client_order_id.0, round * 100 + place as u64);
                            assert_eq!(accepted.session.0, place as u32 + 1);
                        }
                        other => panic!("{other:?}"),
                    },
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

#[test]
fn a_client_is_told_why_it_cannot_log_on() {
    let rig = Rig::start();
    let mut wrong = config(1);
    wrong.key = key(2);
    match Client::connect(rig.address, wrong).unwrap_err() {
        ClientError::NegotiationRefused { code, back_off } => {
            assert_eq!(code.decode(), Some(NegotiationRejectCode::Credentials));
            assert_eq!(back_off, Millis(100));
        }
        other => panic!("{other}"),
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap();
    drop(free);
    let error = Client::connect(nobody, config(1)).unwrap_err().to_string();
    assert!(
        error.contains(&nobody.to_string()) && error.contains("running"),
        "{error}"
    );
    // Somebody listens but never answers.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut hasty = config(1);
    hasty.connect_timeout = Duration::from_millis(50);
    let error = Client::connect(mute.local_addr().unwrap(), hasty).unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
}

#[test]
fn after_the_last_number_of_a_version_comes_an_error_and_then_another_version() {
    let rig = Rig::start();
    drop(Raw64::established(&rig, 1, 1));
    let last = MessageSequence(u32::MAX - 1);
    let position = SessionPosition {
        version: SessionVersion(1),
        next_sequence: MessageSequence(last.0 - 1),
        next_report: MessageSequence(1),
    };
    let mut client = Client::resume(rig.address, config(1), position).unwrap();
    // Fewer are taken than asked, and which ones is told.
    let taken = client.send_all(&[order(1, 1, 0); 3]).unwrap();
    assert_eq!(taken, (position.next_sequence, 2));
    let mut heard = Vec::new();
    while heard.last() != Some(&last) {
        match client.wait(Duration::from_secs(20)).unwrap() {
            Some(ClientEvent::Report(report)) => {
                let accepted = report.read::<OrderAccepted>();
                heard.extend(accepted.map(|accepted| accepted.client_sequence));
            }
            Some(ClientEvent::NotApplied { from, .. }) => assert_eq!(from, MessageSequence(1)),
            other => panic!("{other:?}"),
        }
    }
    for refused in [
        client.send(&order(1, 1, 0)).map(|_| ()),
        client.queue(&order(1, 1, 0)).map(|_| ()),
        client.send_all(&[order(1, 1, 0); 3]).map(|_| ()),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, ClientError::VersionExhausted { .. }));
        assert!(error.to_string().contains("connect anew"), "{error}");
    }
    // The version still lives, and says the same.
    client.reconnect().unwrap();
    assert!(client.send(&order(1, 1, 0)).is_err());
    client.terminate().unwrap();
    let mut anew = Client::connect(rig.address, config(1)).unwrap();
    assert_eq!(anew.send(&order(1, 1, 0)).unwrap(), MessageSequence(1));
}

#[test]
fn the_number_of_the_next_report_stays_at_the_last() {
    let rig = Rig::start();
    let mut raw = Raw64::established(&rig, 1, LAST_REPORTS.0);
    for (sequence, number) in [(1, u32::MAX - 1), (2, u32::MAX), (3, u32::MAX)] {
        raw.say(&numbered(1, sequence, order(1, 1, 0)));
        assert_eq!(raw.hear::<OrderAccepted>().sequence.0, number);
    }
    rig.advance(Nanos(750_000_000));
    assert_eq!(raw.hear::<Sequence>().next_sequence.0, u32::MAX);
}

#[test]
fn a_clock_that_is_set_forward_ends_nobody() {
    let rig = Rig::start();
    let mut established = Raw64::established(&rig, 1, 1);
    let mut client = Client::connect_by(rig.clock.clone(), rig.address, config(2)).unwrap();
    let mut connected = Raw64::connect(&rig);
    rig.clock.set_forward(HOUR);
    // Long enough for every deadline to be looked at, and for none to pass.
    rig.advance(Nanos(5_000_000));
    rig.clock.set_forward(HOUR);
    established.say(&numbered(1, 1, order(1, 1, 0)));
    established.hear::<OrderAccepted>();
    assert!(client.poll().unwrap().is_none());
    client.send(&order(1, 2, 0)).unwrap();
    connected.say(&negotiate(4, 1));
    connected.hear::<NegotiationResponse>();
}

#[test]
fn a_clock_that_is_set_forward_lets_nobody_guess_sooner() {
    let rig = Rig::start();
    let mut guessing = Raw64::connect(&rig);
    for (code, back_off) in [
        (NegotiationRejectCode::Credentials, 100),
        (NegotiationRejectCode::BackOff, 100),
        (NegotiationRejectCode::BackOff, 100),
    ] {
        let forged = Negotiate {
            credentials: Digest([3; 32]),
            ..negotiate(3, 1)
        };
        guessing.say(&forged);
        let reject = guessing.hear::<NegotiationReject>();
        assert_eq!(reject.code.decode(), Some(code));
        assert_eq!(reject.back_off, Millis(back_off));
        rig.clock.set_forward(HOUR);
        rig.advance(Nanos(0));
    }
}

#[test]
fn a_gateway_is_told_why_it_cannot_start() {
    let dir = tempfile::tempdir().unwrap();
    let events = dir.path().join("events");
    let start = |settings: GatewaySettings| {
        let (producer, _consumer) = ring(Capacity::new(8).unwrap());
        OrderGateway::start(settings, Keys::new(), SystemClock::default(), producer)
    };
    let any = "127.0.0.1:0".parse().unwrap();
    let missing = start(GatewaySettings::new(any, &events)).err().unwrap();
    assert!(matches!(missing, GatewayError::EventLog(_)), "{missing}");
    let (_, consumer) = ring(Capacity::new(8).unwrap());
    let _exchange = Exchange::new(&events, 4 << 20, consumer, Told::default());
    let first = start(GatewaySettings::new(any, &events)).unwrap();
    let taken = start(GatewaySettings::new(first.address(), &events))
        .err()
        .unwrap();
    let text = taken.to_string();
    assert!(
        text.contains(&first.address().to_string()) && text.contains("another port"),
        "{text}"
    );
    type Adjust = fn(&mut GatewaySettings);
    let adjusts: [(&str, Adjust); 4] = [
        ("connections_max", |settings| settings.connections_max = 0),
        ("outbox_bytes", |settings| {
            settings.outbox_bytes = usize::MAX
        }),
        ("keep_alive_min", |settings| {
            settings.session.keep_alive_min = Millis(0)
        }),
        ("keep_alive_max", |settings| {
            settings.session.keep_alive_max = Millis(1)
        }),
    ];
    for (name, adjust) in adjusts {
        let mut settings = GatewaySettings::new(any, &events);
        adjust(&mut settings);
        let error = start(settings).err().unwrap().to_string();
        assert!(error.contains(name), "{error}");
    }
}
