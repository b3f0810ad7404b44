//! Every interleaving and every permitted reordering of the ring and the watermark, at small size.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p exahour-rings --test loom --release`; an ordinary
//! build leaves this file empty.
//!
//! Always holds: each promise has a model that passes, and each ordering it rests on has a model
//! that fails once that ordering alone is relaxed, so the models are known to be able to fail.
//! Loom's cells report torn, lost or racing payload accesses by themselves.

#![cfg(loom)]
#![allow(clippy::unwrap_used)]

use exahour_rings::sync::{Site, weaken::weaken};
use exahour_rings::{Capacity, Consumer, Producer, ring, watermark};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

fn of(slots: usize) -> (Producer<[u64; 2]>, Consumer<[u64; 2]>) {
    ring(Capacity::new(slots).unwrap())
}

/// A message whose halves differ when it is torn.
fn message(number: u64) -> [u64; 2] {
    [number, !number]
}

/// Pushes numbers from 1 in `attempts` tries, without waiting; gives how many went in.
fn push_some(producer: &mut Producer<[u64; 2]>, attempts: usize) -> u64 {
    let mut accepted = 0;
    for _ in 0..attempts {
        if producer.try_push(message(accepted + 1)).is_ok() {
            accepted += 1;
        }
    }
    accepted
}

/// One message at a time through two slots, over the wrap: nothing lost, repeated or reordered.
fn pops_follow_pushes() {
    loom::model(|| {
        let (mut producer, mut consumer) = of(2);
        let pushing = thread::spawn(move || push_some(&mut producer, 4));
        let mut seen = Vec::new();
        seen.extend((0..3).filter_map(|_| consumer.try_pop()));
        let accepted = pushing.join().unwrap();
        seen.extend(std::iter::from_fn(|| consumer.try_pop()));
        let expected: Vec<[u64; 2]> = (1..=accepted).map(message).collect();
        assert_eq!(seen, expected);
    });
}

/// The same, read in batches in place.
fn drains_follow_pushes() {
    loom::model(|| {
        let (mut producer, mut consumer) = of(2);
        let pushing = thread::spawn(move || push_some(&mut producer, 4));
        let mut seen = Vec::new();
        for _ in 0..2 {
            consumer.drain(2, |message| seen.push(*message));
        }
        let accepted = pushing.join().unwrap();
        consumer.drain(2, |message| seen.push(*message));
        let expected: Vec<[u64; 2]> = (1..=accepted).map(message).collect();
        assert_eq!(seen, expected);
    });
}

/// Two messages as one slice.
fn by_slice(producer: &mut Producer<[u64; 2]>, pair: [[u64; 2]; 2]) -> bool {
    producer.try_push_slice(&pair).is_ok()
}

/// Two messages written in place and staged one by one, then published.
fn by_stages(producer: &mut Producer<[u64; 2]>, pair: [[u64; 2]; 2]) -> bool {
    let staged = pair.iter().all(|it| {
        let written = producer.write_next(|slot| *slot = *it);
        written.and_then(|()| producer.stage_next()).is_ok()
    });
    if staged {
        producer.publish();
    }
    staged
}

/// Two slots handed over together are seen together or not at all, also over the wrap.
fn pairs_are_whole(push: fn(&mut Producer<[u64; 2]>, [[u64; 2]; 2]) -> bool) {
    loom::model(move || {
        let (mut producer, mut consumer) = of(4);
        // One slot out of the way, so that the second slice lies across the end of the buffer.
        producer.try_push(message(0)).unwrap();
        assert_eq!(consumer.try_pop(), Some(message(0)));
        let pushing = thread::spawn(move || {
            let mut accepted = 0;
            for first in [1, 3, 5] {
                if !push(&mut producer, [message(first), message(first + 1)]) {
                    break;
                }
                accepted = first + 1;
            }
            accepted
        });
        let mut seen = Vec::new();
        let count = consumer.drain(4, |message| seen.push(*message));
        assert_eq!(count % 2, 0, "a pair was seen in part");
        let accepted = pushing.join().unwrap();
        consumer.drain(4, |message| seen.push(*message));
        let expected: Vec<[u64; 2]> = (1..=accepted).map(message).collect();
        assert_eq!(seen, expected);
    });
}

/// What `len` counts can be popped.
fn lengths_are_kept() {
    loom::model(|| {
        let (mut producer, mut consumer) = of(2);
        let pushing = thread::spawn(move || push_some(&mut producer, 2));
        let promised = consumer.len();
        for _ in 0..promised {
            assert!(consumer.try_pop().is_some(), "len promised {promised}");
        }
        pushing.join().unwrap();
    });
}

/// `Full` is said when and only when no slot is free, as far as the producer can know.
fn full_is_true() {
    loom::model(|| {
        let (mut producer, mut consumer) = of(1);
        producer.try_push(message(1)).unwrap();
        let popping = thread::spawn(move || {
            assert_eq!(consumer.try_pop(), Some(message(1)));
            consumer
        });
        let pushed = producer.try_push(message(2));
        let mut consumer = popping.join().unwrap();
        if pushed.is_err() {
            assert_eq!(producer.free(), 1, "a slot that was returned stays full");
            producer.try_push(message(2)).unwrap();
        }
        assert_eq!(producer.try_push(message(3)), Err(exahour_rings::Full));
        assert_eq!(consumer.try_pop(), Some(message(2)));
    });
}

/// Two readers: values never fall, and what was written below a seen value is there.
fn watermarks_hand_over() {
    loom::model(|| {
        let data = Arc::new([UnsafeCell::new(0_u64), UnsafeCell::new(0_u64)]);
        let (mut writer, reader) = watermark();
        let following: Vec<_> = [reader.clone(), reader]
            .into_iter()
            .map(|reader| {
                let data = Arc::clone(&data);
                thread::spawn(move || {
                    let first = reader.current();
                    let second = reader.current();
                    assert!(second >= first, "fell from {first} to {second}");
                    for (index, cell) in data.iter().enumerate().take(second as usize) {
                        // SAFETY: the watermark says that this cell was written and is final.
                        assert_eq!(cell.with(|value| unsafe { *value }), index as u64 + 1);
                    }
                })
            })
            .collect();
        for (index, cell) in data.iter().enumerate() {
            // SAFETY: readers leave this cell alone until the watermark passes it.
            cell.with_mut(|value| unsafe { *value = index as u64 + 1 });
            writer.publish(index as u64 + 1);
        }
        following
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn pops_give_what_was_pushed() {
    pops_follow_pushes();
}

#[test]
fn drains_give_what_was_pushed() {
    drains_follow_pushes();
}

#[test]
fn slices_are_seen_whole() {
    pairs_are_whole(by_slice);
}

#[test]
fn what_is_staged_is_seen_when_published() {
    pairs_are_whole(by_stages);
}

#[test]
fn lengths_promise_pops() {
    lengths_are_kept();
}

#[test]
fn full_is_told_truly() {
    full_is_true();
}

#[test]
fn watermarks_hand_over_what_lies_below() {
    watermarks_hand_over();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_relaxed_tail_publish_is_caught() {
    weaken(Site::TailPublish);
    pops_follow_pushes();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_relaxed_tail_observe_is_caught() {
    weaken(Site::TailObserve);
    pops_follow_pushes();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_relaxed_tail_publish_is_caught_in_slices() {
    weaken(Site::TailPublish);
    pairs_are_whole(by_slice);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_relaxed_tail_publish_is_caught_in_stages() {
    weaken(Site::TailPublish);
    pairs_are_whole(by_stages);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_relaxed_head_publish_is_caught() {
    weaken(Site::HeadPublish);
    pops_follow_pushes();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_relaxed_head_observe_is_caught() {
    weaken(Site::HeadObserve);
    pops_follow_pushes();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_relaxed_head_publish_is_caught_in_batches() {
    weaken(Site::HeadPublish);
    drains_follow_pushes();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_relaxed_head_observe_is_caught_in_batches() {
    weaken(Site::HeadObserve);
    drains_follow_pushes();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_relaxed_mark_publish_is_caught() {
    weaken(Site::MarkPublish);
    watermarks_hand_over();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_relaxed_mark_observe_is_caught() {
    weaken(Site::MarkObserve);
    watermarks_hand_over();
}
