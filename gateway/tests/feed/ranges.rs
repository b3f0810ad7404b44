//! Lost messages over TCP: a range comes as it was, and what cannot be sent again is refused by name.

use std::io::{Read, Write};
use std::net::TcpStream;

use exahour_gateway::clock::{Clock, ManualClock};
use exahour_gateway::feed::allowance::{
    BURST_MESSAGES, FEED_REQUEST_COSTS, MESSAGES_PER_SECOND, RANGE_MESSAGES_MAX, REQUESTS_AT_ONCE,
    REQUESTS_PER_SECOND,
};
use exahour_gateway::feed::market_data::MarketData;
use exahour_gateway::feed::updates::DEPTHS;
use exahour_wire::codes::{FeedDepth, FeedRejectCode, FeedRequestKind, Raw};
use exahour_wire::framing::{Cut, FRAMING_BYTES, cut, framing_header};
use exahour_wire::ids::FeedSequence;
use exahour_wire::limits::MESSAGE_BYTES_MAX;
use exahour_wire::market_data::{FeedRange, FeedRangeRequest, FeedReject, FeedRequest, FeedSource};
use exahour_wire::message::Message;
use exahour_wire::units::Nanos;

use crate::event_log::{Flood, settle, turn_until};

fn framed(depth: Raw<FeedDepth>, from: u64, count: u32) -> Vec<u8> {
    let request = FeedRangeRequest {
        from_sequence: FeedSequence(from),
        count,
        depth,
        ..FeedRangeRequest::blank()
    };
    [&framing_header(FeedRangeRequest::BYTES), request.bytes()].concat()
}

/// A client that says what it likes and keeps all that it hears.
struct Asker {
    stream: TcpStream,
    heard: Vec<u8>,
    /// Whose feed it is said to be.
    sources: usize,
}

impl Asker {
    fn new(agent: &MarketData<impl Clock>) -> Self {
        let stream = TcpStream::connect(agent.address()).unwrap();
        stream.set_nonblocking(true).unwrap();
        Asker {
            stream,
            heard: Vec::new(),
            sources: 0,
        }
    }

    /// The next `count` messages behind the source, which comes first and once.
    fn hear(&mut self, agent: &mut MarketData<impl Clock>, count: usize) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        turn_until(agent, "an answer", || {
            let mut room = [0; 65_536];
            if let Ok(read) = self.stream.read(&mut room) {
                assert!(read > 0, "the connection ended");
                self.heard.extend_from_slice(&room[..read]);
            }
            while messages.len() < count
                && let Cut::Whole { bytes } = cut(&self.heard)
            {
                let rest = self.heard.split_off(FRAMING_BYTES + bytes);
                let message = std::mem::replace(&mut self.heard, rest);
                let message = message[FRAMING_BYTES..].to_vec();
                let source = FeedSource::read(&message).is_some();
                assert_eq!(source, self.sources == 0, "it comes first and once");
                self.sources = 1;
                if !source {
                    messages.push(message);
                }
            }
            messages.len() == count
        });
        messages
    }
}

#[test]
fn ranges_come_as_they_were_one_after_the_other() {
    let (mut flood, mut log) = Flood::logged();
    for _ in 0..100 {
        log.append(&flood.churn(20));
    }
    let mut agent = log.market_data(4 << 20, 4096, ManualClock::new(Nanos(1)));
    settle(&mut agent);
    let mut asker = Asker::new(&agent);
    let wanted = [(1, 3), (500, 700), (2, 1), (3999, 2)];
    // All at once: those behind wait for those before.
    for depth in DEPTHS {
        for (from, count) in wanted {
            let request = framed(depth.into(), from, count);
            asker.stream.write_all(&request).unwrap();
        }
    }
    let mut room = [0; MESSAGE_BYTES_MAX];
    for depth in DEPTHS {
        for (from, count) in wanted {
            let heard = asker.hear(&mut agent, 1 + count as usize);
            let head = FeedRange::read(&heard[0]).unwrap();
            assert_eq!((head.from_sequence.0, head.count), (from, count));
            assert_eq!(head.depth.decode(), Some(depth));
            let history = agent.subscribers().publisher().history(depth);
            for (number, message) in (from..).zip(&heard[1..]) {
                let kept = history.message(FeedSequence(number), &mut room);
                assert_eq!(kept, Some(&message[..]), "{depth:?} {number}");
            }
        }
    }
    assert_eq!(asker.heard, [0; 0], "and nothing after them");
}

#[test]
fn what_cannot_be_sent_again_is_refused_by_name() {
    let (mut flood, mut log) = Flood::logged();
    // More than the short history keeps.
    for _ in 0..100 {
        log.append(&flood.churn(20));
    }
    let mut agent = log.market_data(64 << 10, 4096, ManualClock::new(Nanos(1)));
    settle(&mut agent);
    let history = agent.subscribers().publisher().history(FeedDepth::Orders);
    let (oldest, next) = (history.oldest().0, history.next().0);
    assert!(oldest > 1);
    let orders = FeedDepth::Orders.into();
    let mut asker = Asker::new(&agent);
    use FeedRejectCode::{BadRequest, OutOfRange, TooMany};
    for (depth, from, count, code) in [
        (orders, oldest, 0, BadRequest),
        (Raw::new(9), oldest, 1, BadRequest),
        (orders, oldest, RANGE_MESSAGES_MAX + 1, TooMany),
        (orders, oldest - 1, 1, OutOfRange),
        (orders, 0, 1, OutOfRange),
        (orders, next, 1, OutOfRange),
        (orders, next - 1, 2, OutOfRange),
        (orders, u64::MAX, 1, OutOfRange),
    ] {
        let request = framed(depth, from, count);
        asker.stream.write_all(&request).unwrap();
        let heard = asker.hear(&mut agent, 1);
        let reject = FeedReject::read(&heard[0]).unwrap();
        assert_eq!(reject.code.decode(), Some(code), "from {from}, {count}");
        let told = (reject.oldest_sequence.0, reject.next_sequence.0);
        assert_eq!(told, (oldest, next));
    }
    // The connection is as good as before.
    let request = framed(orders, next - 1, 1);
    asker.stream.write_all(&request).unwrap();
    assert!(FeedRange::read(&asker.hear(&mut agent, 2)[0]).is_some());
}

#[test]
fn who_asks_too_often_is_refused_by_name_on_that_connection_until_time_has_passed() {
    let (_, log) = Flood::logged();
    let clock = ManualClock::new(Nanos(1));
    let mut agent = log.market_data(1 << 20, 4096, clock.clone());
    settle(&mut agent);
    let updates = FeedRequest {
        from_sequence: FeedSequence(2),
        kind: FeedRequestKind::UpdatesFrom.into(),
        ..FeedRequest::blank()
    };
    let updates = [&framing_header(FeedRequest::BYTES), updates.bytes()].concat();
    let range = framed(FeedDepth::Orders.into(), 1, 1);
    let mut asker = Asker::new(&agent);
    let throttled = |heard: &[u8]| {
        let reject = FeedReject::read(heard).unwrap();
        assert_eq!(reject.code.decode(), Some(FeedRejectCode::Throttled));
    };
    // Those that are met are answered with nothing: there is no update yet.
    for _ in 0..=REQUESTS_AT_ONCE / FEED_REQUEST_COSTS {
        asker.stream.write_all(&updates).unwrap();
    }
    throttled(&asker.hear(&mut agent, 1)[0]);
    asker.stream.write_all(&range).unwrap();
    throttled(&asker.hear(&mut agent, 1)[0]);
    // Another connection is as good as before.
    let mut other = Asker::new(&agent);
    other.stream.write_all(&range).unwrap();
    assert!(FeedRange::read(&other.hear(&mut agent, 2)[0]).is_some());
    // So much time that one more is met, and one range.
    let requests = u64::from(FEED_REQUEST_COSTS + 1);
    clock.advance(Nanos(
        requests * Nanos::SECOND.0 / u64::from(REQUESTS_PER_SECOND),
    ));
    for request in [&updates, &updates, &range] {
        asker.stream.write_all(request).unwrap();
    }
    let heard = asker.hear(&mut agent, 3);
    throttled(&heard[0]);
    assert!(FeedRange::read(&heard[1]).is_some());
    asker.stream.write_all(&range).unwrap();
    throttled(&asker.hear(&mut agent, 1)[0]);
}

#[test]
fn who_asks_for_too_much_is_throttled_on_every_connection_until_time_has_passed() {
    let (mut flood, mut log) = Flood::logged();
    for _ in 0..110 {
        log.append(&flood.churn(20));
    }
    let clock = ManualClock::new(Nanos(1));
    let mut agent = log.market_data(1 << 20, 4096, clock.clone());
    settle(&mut agent);
    let orders = FeedDepth::Orders.into();
    let request = framed(orders, 1, RANGE_MESSAGES_MAX);
    for _ in 0..BURST_MESSAGES / RANGE_MESSAGES_MAX {
        let mut asker = Asker::new(&agent);
        asker.stream.write_all(&request).unwrap();
        asker.hear(&mut agent, 1 + RANGE_MESSAGES_MAX as usize);
    }
    let mut asker = Asker::new(&agent);
    let mut answer = |agent: &mut MarketData<ManualClock>, count: u32| {
        let request = framed(orders, 1, count);
        asker.stream.write_all(&request).unwrap();
        let heard = asker.hear(agent, 1);
        if FeedRange::read(&heard[0]).is_some() {
            asker.hear(agent, count as usize);
            return None;
        }
        FeedReject::read(&heard[0]).unwrap().code.decode()
    };
    let throttled = Some(FeedRejectCode::Throttled);
    assert_eq!(answer(&mut agent, 1), throttled);
    clock.advance(Nanos(Nanos::SECOND.0 / 2));
    assert_eq!(answer(&mut agent, MESSAGES_PER_SECOND / 2), None);
    assert_eq!(answer(&mut agent, 1), throttled);
}
