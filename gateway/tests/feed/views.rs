//! A port that goes on from views says what one says that has read the whole log.

use bytemuck::Zeroable;
use exahour_gateway::clock::{Clock, ManualClock};
use exahour_gateway::directory::Directory;
use exahour_gateway::feed::client::FeedClient;
use exahour_gateway::feed::drop_copy_client::DropCopyClient;
use exahour_gateway::feed::publisher::Publisher;
use exahour_gateway::feed::updates::DEPTHS;
use exahour_gateway::image::Flow;
use exahour_gateway::views::{Room, Views};
use exahour_journal::{Frame, FrameHeader, Position, Reader, Verify};
use exahour_wire::events::{EventPrefix, FrameEnd};
use exahour_wire::ids::{EventSequence, FeedSequence, MessageSequence, ParticipantId, SessionId};
use exahour_wire::limits::MESSAGE_BYTES_MAX;
use exahour_wire::message::messages;
use exahour_wire::units::Nanos;

use crate::drop_copy::expected;
use crate::event_log::{EventLog, key_of, settle, turn_until};
use crate::exchange::Exchange;
use crate::market::{Market, PARTICIPANTS, back_office};

const ROOM: Room = Room {
    history_bytes: 8 << 20,
    orders: 0,
};

/// Has views take in a frame at a position; where the next one begins.
fn take_in(views: &mut Views, events: &[u8], end: FrameEnd, position: Position) -> Position {
    let header = FrameHeader {
        length: (size_of::<FrameHeader>() + events.len()) as u32,
        kind: end as u8,
        ..FrameHeader::zeroed()
    };
    let frame = Frame {
        header: &header,
        payload: events,
        position,
    };
    views.on_frame(&frame).unwrap();
    frame.end()
}

/// All that both feeds tell is the same, from where the shorter begins; how many messages.
fn compare_feeds(whole: &Publisher, begun: &Publisher, context: &str) -> u64 {
    let mut compared = 0;
    for depth in DEPTHS {
        let (whole, begun) = (whole.history(depth), begun.history(depth));
        assert_eq!(whole.next(), begun.next(), "{context}");
        let (mut one, mut other) = ([0; MESSAGE_BYTES_MAX], [0; MESSAGE_BYTES_MAX]);
        for number in begun.oldest().0..begun.next().0 {
            let number = FeedSequence(number);
            let message = begun.message(number, &mut one).unwrap();
            assert_eq!(
                whole.message(number, &mut other),
                Some(message),
                "{context}, {depth:?} message {number}"
            );
            compared += 1;
        }
    }
    compared
}

/// Both know the same of every session; how many reports they find a place for.
fn compare_sessions(whole: &Directory, read: &Directory, context: &str) -> usize {
    let mut found = 0;
    for session in (0..=100).map(SessionId) {
        assert_eq!(whole.version(session), read.version(session), "{context}");
        for sequence in (1..=400).map(MessageSequence) {
            let place = whole.find(session, sequence);
            assert_eq!(place, read.find(session, sequence), "{context}, {session}");
            found += usize::from(place.is_some());
        }
    }
    found
}

#[test]
fn whatever_the_engine_does_views_that_were_read_go_on_as_those_that_were_written() {
    let (mut compared, mut sessions, mut found) = (0, 0, 0);
    for seed in 700..712 {
        let mut exchange = Exchange::new(seed);
        let mut whole = Views::new(ROOM);
        let mut begun: Option<Views> = None;
        let mut position = Position::new(4_096);
        for step in 0..400 {
            let events = exchange.step();
            if events.is_empty() {
                continue;
            }
            let (first, rest) = match step % 3 {
                // A frame that ends within a command.
                0 => events.split_at(messages(&events).next().unwrap().len()),
                _ => events.split_at(0),
            };
            let parts = [(first, FrameEnd::Anywhere), (rest, FrameEnd::Command)];
            for (part, end) in parts.into_iter().filter(|(part, _)| !part.is_empty()) {
                let after = take_in(&mut whole, part, end, position);
                if let Some(begun) = &mut begun {
                    take_in(begun, part, end, position);
                }
                position = after;
            }
            assert!(whole.between_commands() || rest.is_empty());
            if step % 150 == 70 && whole.between_commands() {
                let written = whole.write();
                let read = Views::read(&written, ROOM).unwrap();
                assert_eq!(read.position(), position);
                assert!(read.write() == written, "seed {seed}, step {step}");
                assert!(Views::read(&written[..written.len() - 1], ROOM).is_none());
                begun = Some(read);
            }
            sessions += messages(&events)
                .filter_map(EventPrefix::peek)
                .filter(|it| it.session != SessionId::NONE)
                .count();
        }
        let begun = begun.unwrap();
        assert!(whole.write() == begun.write(), "seed {seed}");
        let ((known, whole, _), (read, begun, _)) = (whole.into_parts(), begun.into_parts());
        found += compare_sessions(&known, &read, &format!("seed {seed}"));
        compared += compare_feeds(&whole, &begun, &format!("seed {seed}"));
    }
    assert!(
        compared > 1_000 && sessions > 1_000 && found > 100,
        "{compared}, {sessions}, {found}"
    );
}

/// What views make of a log, up to its present end, once they were written and read.
fn views_of(log: &EventLog) -> Views {
    let mut reader = Reader::follow(log.folder.path(), Verify::Every).unwrap();
    let mut views = Views::new(ROOM);
    while let Some(frame) = reader.next(Position::new(u64::MAX)).unwrap() {
        views.on_frame(&frame).unwrap();
    }
    Views::read(&views.write(), ROOM).unwrap()
}

#[test]
fn market_data_that_begins_behind_views_serves_the_books() {
    for seed in 720..724 {
        let (mut market, mut log) = (Market::new(seed), EventLog::new());
        (0..300).for_each(|_| log.append(&market.step()));
        let views = views_of(&log);
        // The port must not need what is before.
        let before = log.folder.path().join(format!("{:020}.log", 0));
        let mut bytes = std::fs::read(&before).unwrap();
        bytes[4_096 + 100] ^= 1;
        std::fs::write(&before, &bytes).unwrap();
        (0..200).for_each(|_| log.append(&market.step()));

        let mut clock = ManualClock::new(Nanos(1));
        let mut agent = log.market_data(1 << 20, 65_536, clock.clone());
        let position = views.position();
        let (_, publisher, _) = views.into_parts();
        agent.begin_behind(publisher, position).unwrap();
        settle(&mut agent);
        for depth in DEPTHS {
            let mut client = FeedClient::new(agent.address(), depth, Flow::All);
            let next = agent.subscribers().publisher().history(depth).next();
            turn_until(&mut agent, &format!("seed {seed}"), || {
                clock.advance(Nanos(10_000));
                client.poll(clock.steady(), &mut |_, _| ()).unwrap();
                client.image().whole() && client.image().next_sequence() == next
            });
            market.check_image(client.image(), &format!("seed {seed}, {depth:?}"));
        }
    }
}

#[test]
fn drop_copy_that_begins_behind_views_has_every_report_since_the_first() {
    let (mut market, mut log) = (Market::new(731), EventLog::new());
    let mut events = Vec::new();
    let mut go_on = |log: &mut EventLog, batches: u32| {
        for _ in 0..batches {
            let batch = market.step();
            log.append(&batch);
            events.push(batch);
        }
    };
    go_on(&mut log, 300);
    let views = views_of(&log);
    go_on(&mut log, 200);

    let mut clock = ManualClock::new(Nanos(1));
    let mut agent = log.drop_copy(65_536, clock.clone());
    let (_, _, learnt) = views.into_parts();
    agent.begin_behind(learnt).unwrap();
    settle(&mut agent);
    for participant in (1..=PARTICIPANTS).map(ParticipantId) {
        let wanted = expected(&events, participant, EventSequence(0));
        let session = back_office(participant);
        let (key, after) = (key_of(session), EventSequence(0));
        let mut client = DropCopyClient::new(agent.address(), session, participant, key, after);
        let mut got: Vec<Vec<u8>> = Vec::new();
        turn_until(&mut agent, "drop copy", || {
            clock.advance(Nanos(100_000));
            client
                .poll(clock.steady(), clock.now(), &mut |event| {
                    got.push(event.to_vec());
                })
                .unwrap();
            got.len() >= wanted.len()
        });
        assert!(wanted.len() > 50 && got == wanted, "{participant}");
    }
}
