//! Two real threads and a ring: random batch sizes from a seed, every message checked.
//!
//! Always holds: a red test prints its seed; set `RINGS_SEED` to run that one again.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used)]

use exahour_rings::{Capacity, Consumer, Producer, ring};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::thread;

/// Messages sent in one round.
const MESSAGES: u64 = 200_000;
/// The longest slice pushed; also the smallest ring, so that every slice fits one day.
const SLICE_MAX: usize = 8;

/// A 64-byte message: each word depends on the number, so that a mixture of two is found.
fn message(number: u64) -> [u64; 8] {
    std::array::from_fn(|word| {
        number
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(word as u32)
    })
}

fn send(mut producer: Producer<[u64; 8]>, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut slice = Vec::with_capacity(SLICE_MAX);
    let mut next = 0;
    while next < MESSAGES {
        let count = random
            .random_range(1..=SLICE_MAX as u64)
            .min(MESSAGES - next);
        slice.clear();
        slice.extend((next..next + count).map(message));
        let single = count == 1 && random.random_bool(0.5);
        let pushed = if single {
            producer.try_push(slice[0])
        } else {
            producer.try_push_slice(&slice)
        };
        match pushed {
            Ok(()) => next += count,
            Err(_full) => thread::yield_now(),
        }
    }
}

fn receive(mut consumer: Consumer<[u64; 8]>, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(!seed);
    let mut next = 0;
    while next < MESSAGES {
        let before = next;
        let counted = consumer.len();
        let mut check = |found: &[u64; 8]| {
            assert_eq!(*found, message(next), "message {next}, seed {seed}");
            next += 1;
        };
        if random.random_bool(0.2) {
            let peeked = consumer.peek();
            let popped = consumer.try_pop();
            assert!(peeked.is_none() || peeked == popped, "seed {seed}");
            popped.iter().for_each(&mut check);
        } else {
            let limit = random.random_range(1..=64);
            let drained = consumer.drain(limit, &mut check);
            assert!(
                drained >= counted.min(limit),
                "len promised {counted}, seed {seed}"
            );
        }
        if next == before {
            thread::yield_now();
        }
    }
    assert_eq!(
        (consumer.len(), consumer.try_pop()),
        (0, None),
        "seed {seed}"
    );
}

fn round(slots: usize, seed: u64) {
    let (producer, consumer) = ring(Capacity::new(slots).unwrap());
    let sending = thread::spawn(move || send(producer, seed));
    receive(consumer, seed);
    sending.join().unwrap();
}

#[test]
fn everything_arrives_once_whole_and_in_order() {
    let chosen = std::env::var("RINGS_SEED")
        .ok()
        .map(|text| text.parse::<u64>().unwrap());
    let seeds = chosen.map_or(1..=4, |seed| seed..=seed);
    for seed in seeds {
        for slots in [SLICE_MAX, 64, 4096] {
            round(slots, seed);
        }
    }
}

/// A ring is compared, step by step, with a queue that is obviously right.
#[test]
fn one_thread_agrees_with_a_slow_twin() {
    for seed in 1..=20 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let slots = 1 << random.random_range(0..6);
        let (mut producer, mut consumer) = ring(Capacity::new(slots).unwrap());
        let mut twin = std::collections::VecDeque::new();
        let mut number = 0_u64;
        for step in 0..5_000 {
            let place = format!("seed {seed}, step {step}");
            let count = random.random_range(0..=slots + 1);
            if random.random_bool(0.5) {
                let slice: Vec<u64> = (number..number + count as u64).collect();
                let fits = twin.len() + count <= slots;
                assert_eq!(producer.try_push_slice(&slice).is_ok(), fits, "{place}");
                if fits {
                    twin.extend(slice);
                    number += count as u64;
                }
            } else {
                let mut seen = Vec::new();
                let drained = consumer.drain(count, |message| seen.push(*message));
                let expected: Vec<u64> = twin.drain(..count.min(twin.len())).collect();
                assert_eq!((drained, seen), (expected.len(), expected), "{place}");
            }
            assert_eq!(producer.free(), slots - twin.len(), "{place}");
            assert_eq!(consumer.len(), twin.len(), "{place}");
            assert_eq!(consumer.peek(), twin.front().copied(), "{place}");
            assert_eq!(consumer.is_empty(), twin.is_empty(), "{place}");
        }
    }
}
