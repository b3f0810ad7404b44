//! Images against the right books: from events, from the feed, and from a feed with holes.

use exahour_gateway::feed::history::History;
use exahour_gateway::feed::publisher::Publisher;
use exahour_gateway::feed::send_buffer::SendBuffer;
use exahour_gateway::feed::snapshot::{Shadow, SnapshotProgress};
use exahour_gateway::feed::updates::DEPTHS;
use exahour_gateway::image::{Applied, BookImage, FeedImage, Flow, ImageFault};
use exahour_wire::codes::{FeedDepth, FeedRequestKind};
use exahour_wire::events::FrameEnd;
use exahour_wire::framing::{Cut, FRAMING_BYTES, cut};
use exahour_wire::ids::FeedSequence;
use exahour_wire::limits::MESSAGE_BYTES_MAX;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::market::{Market, frames};

const HISTORY_BYTES: usize = 1 << 20;

fn cut_all(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Cut::Whole { bytes: length } = cut(bytes) {
        found.push(bytes[FRAMING_BYTES..FRAMING_BYTES + length].to_vec());
        bytes = &bytes[FRAMING_BYTES + length..];
    }
    assert!(bytes.is_empty());
    found
}

#[test]
fn the_image_of_events_is_right_after_every_command() {
    for seed in 0..30 {
        let mut market = Market::new(seed);
        let mut image = BookImage::new();
        for step in 0..1500 {
            image
                .apply_batch(&market.step(), FrameEnd::Command, &mut |_, _| ())
                .unwrap();
            market.check(image.books(), &format!("seed {seed}, command {step}"));
        }
    }
}

#[test]
fn the_image_of_the_feed_is_right_after_every_command() {
    for seed in 100..120 {
        let mut market = Market::new(seed);
        let mut publisher = Publisher::new(HISTORY_BYTES, 0);
        let mut images = DEPTHS.map(FeedImage::from_start);
        let mut room = [0; MESSAGE_BYTES_MAX];
        for step in 0..1500 {
            publisher
                .on_batch(&market.step(), FrameEnd::Command)
                .unwrap();
            for image in &mut images {
                let history = publisher.history(image.depth());
                while let Some(message) = history.message(image.next_sequence(), &mut room) {
                    assert_eq!(image.apply(message), Ok(Applied::Update), "seed {seed}");
                }
                market.check_image(image, &format!("seed {seed}, command {step}"));
            }
            let context = format!("seed {seed}, command {step}");
            market.check(images[0].books(), &context);
        }
    }
}

#[test]
fn the_feed_is_the_same_bytes_whatever_the_frames() {
    for seed in 200..210 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut market = Market::new(seed);
        let commands: Vec<_> = (0..1000).map(|_| market.step()).collect();
        let feeds: Vec<Vec<u8>> = (0..3)
            .map(|_| {
                let mut publisher = Publisher::new(HISTORY_BYTES, 0);
                for (frame, end) in frames(&commands, &mut rng) {
                    publisher.on_batch(&frame, end).unwrap();
                }
                let mut buffer = SendBuffer::new(HISTORY_BYTES);
                let end = publisher.history(FeedDepth::Orders).copy(
                    FeedSequence(1),
                    Flow::All,
                    &mut buffer,
                );
                assert_eq!(
                    end,
                    Ok(publisher.history(FeedDepth::Orders).next()),
                    "seed {seed}"
                );
                buffer.waiting().to_vec()
            })
            .collect();
        assert!(feeds[0] == feeds[1] && feeds[1] == feeds[2], "seed {seed}");
        assert!(cut_all(&feeds[0]).len() > 1000, "seed {seed}");
    }
}

/// What an exchange answers to an image, with nothing between them.
struct Exchange {
    market: Market,
    publisher: Publisher,
    shadow: Shadow,
    depth: FeedDepth,
}

impl Exchange {
    fn new(seed: u64, depth: FeedDepth) -> Self {
        Exchange {
            depth,
            market: Market::new(seed),
            publisher: Publisher::new(HISTORY_BYTES, 0),
            shadow: Shadow::new(depth, 0),
        }
    }

    fn step(&mut self) {
        self.publisher
            .on_batch(&self.market.step(), FrameEnd::Command)
            .unwrap();
        self.shadow
            .catch_up(self.publisher.history(self.depth), usize::MAX)
            .unwrap();
    }

    fn history(&self) -> &History {
        self.publisher.history(self.depth)
    }

    fn image(&self, flow: Flow) -> FeedImage {
        FeedImage::new(self.depth, flow)
    }

    /// All that is sent for what the image asks, while the market goes on during a snapshot.
    fn answer(&mut self, image: &mut FeedImage, rng: &mut ChaCha8Rng) -> Vec<Vec<u8>> {
        let request = image.ask();
        let mut sent = Vec::new();
        let mut buffer = SendBuffer::new(0);
        let mut next = request.from_sequence;
        if request.kind.decode() == Some(FeedRequestKind::SnapshotThenUpdates) {
            let mut walk = self.shadow.begin(image.flow());
            next = loop {
                let progress = self.shadow.write(&mut walk, &mut buffer);
                sent.extend(cut_all(buffer.waiting()));
                buffer.clear();
                if let SnapshotProgress::Done { next } = progress {
                    break next;
                }
                (0..rng.random_range(0..5)).for_each(|_| self.step());
            };
            self.shadow.end(walk);
        }
        while next < self.history().next() {
            next = self
                .history()
                .copy(next, image.flow(), &mut buffer)
                .unwrap();
            sent.extend(cut_all(buffer.waiting()));
            buffer.clear();
        }
        sent
    }
}

#[test]
fn a_consumer_that_joins_anywhere_and_loses_anything_ends_with_the_book() {
    let (mut gaps, mut contradictions) = (0, 0);
    for seed in 300..400 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut exchange = Exchange::new(seed, DEPTHS[seed as usize % 3]);
        (0..rng.random_range(1..600)).for_each(|_| exchange.step());
        let mut image = exchange.image(Flow::All);
        for round in 0..12 {
            (0..rng.random_range(0..60)).for_each(|_| exchange.step());
            // The last round loses nothing; others lose single messages or runs of them.
            let loss = if round == 11 {
                0.0
            } else {
                [0.0, 0.002, 0.02, 0.3][rng.random_range(0..4)]
            };
            if rng.random_bool(0.3) {
                image = exchange.image(Flow::All);
            }
            let snapshot = !image.whole();
            let mut fault = None;
            for message in exchange.answer(&mut image, &mut rng) {
                if rng.random_bool(loss) {
                    continue;
                }
                match image.apply(&message) {
                    Ok(_) => {}
                    Err(found) => {
                        fault = Some(found);
                        break;
                    }
                }
            }
            match fault {
                Some(ImageFault::FeedGap { .. }) => gaps += 1,
                Some(_) => contradictions += 1,
                // A snapshot that lost all of an instrument at once cannot know; TCP loses nothing
                // within a connection, so a client never has to.
                None if image.whole() && !(snapshot && loss > 0.0) => {
                    if image.next_sequence() == exchange.history().next() {
                        let context = format!("seed {seed}, round {round}");
                        exchange.market.check_image(&image, &context);
                    }
                }
                None => image = exchange.image(Flow::All),
            }
        }
        for message in exchange.answer(&mut image, &mut rng) {
            image.apply(&message).unwrap();
        }
        assert_eq!(
            image.next_sequence(),
            exchange.history().next(),
            "seed {seed}"
        );
        exchange
            .market
            .check_image(&image, &format!("seed {seed}, at the end"));
    }
    assert!(
        gaps > 100 && contradictions > 50,
        "{gaps} gaps, {contradictions} contradictions"
    );
}

#[test]
fn a_consumer_of_one_instrument_holds_its_book() {
    for seed in 400..430 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut exchange = Exchange::new(seed, DEPTHS[seed as usize % 3]);
        (0..300).for_each(|_| exchange.step());
        let instrument = exchange.market.instruments().last().unwrap();
        let mut image = exchange.image(Flow::One(instrument));
        for round in 0..10 {
            for message in exchange.answer(&mut image, &mut rng) {
                image.apply(&message).unwrap();
            }
            let expected = exchange.market.expected(instrument);
            expected.check(&image, &format!("seed {seed}, round {round}"));
            (0..rng.random_range(0..50)).for_each(|_| exchange.step());
        }
    }
}

#[test]
fn a_log_that_contradicts_itself_is_named() {
    let mut market = Market::new(7);
    let first = market.step();
    let second = market.step();
    let mut image = BookImage::new();
    let gap = image.apply_batch(&second, FrameEnd::Command, &mut |_, _| ());
    assert!(matches!(gap, Err(ImageFault::EventGap { .. })), "{gap:?}");
    image
        .apply_batch(&first, FrameEnd::Command, &mut |_, _| ())
        .unwrap();
    let cut = image.apply_batch(
        &second[..second.len() - 8],
        FrameEnd::Command,
        &mut |_, _| (),
    );
    assert!(matches!(cut, Err(ImageFault::CutBatch { .. })), "{cut:?}");
}
