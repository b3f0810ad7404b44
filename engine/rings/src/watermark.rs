//! A number that only grows, published by one writer and followed by many readers.
//!
//! Called by the disk agent (durable up to here), the replicas (committed, applied) and every
//! follower of a log.
//!
//! Always holds: values never fall; a reader that sees a value also sees everything its writer
//! wrote before publishing it.
//! Does not: say what it counts (the owner names the unit), or wake a waiting reader.

use crate::sync::{Arc, AtomicU64, Site};
use crossbeam::utils::CachePadded;

/// Makes a watermark that stands at zero; the reader is cloned for each follower.
pub fn watermark() -> (WatermarkWriter, WatermarkReader) {
    let mark = Arc::new(CachePadded::new(AtomicU64::new(0)));
    (
        WatermarkWriter {
            mark: Arc::clone(&mark),
            published: 0,
        },
        WatermarkReader { mark },
    )
}

/// The one end that moves the watermark.
#[derive(Debug)]
pub struct WatermarkWriter {
    mark: Arc<CachePadded<AtomicU64>>,
    published: u64,
}

impl WatermarkWriter {
    /// Moves the watermark up to `value`; publishing the same value again changes nothing.
    ///
    /// # Panics
    /// When `value` is below the published one: what was promised cannot be taken back.
    #[inline]
    pub fn publish(&mut self, value: u64) {
        assert!(
            value >= self.published,
            "watermark moved back from {} to {value}",
            self.published
        );
        if value > self.published {
            self.published = value;
            self.mark.store(value, Site::MarkPublish.ordering());
        }
    }

    /// The value last published.
    #[inline]
    pub fn published(&self) -> u64 {
        self.published
    }

    /// Another reader of this watermark.
    pub fn reader(&self) -> WatermarkReader {
        WatermarkReader {
            mark: Arc::clone(&self.mark),
        }
    }
}

/// One end that follows the watermark; clones are independent.
#[derive(Clone, Debug)]
pub struct WatermarkReader {
    mark: Arc<CachePadded<AtomicU64>>,
}

impl WatermarkReader {
    /// The newest value visible to this thread.
    #[inline]
    pub fn current(&self) -> u64 {
        self.mark.load(Site::MarkObserve.ordering())
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn readers_follow_the_writer() {
        let (mut writer, reader) = watermark();
        let other = writer.reader();
        assert_eq!(reader.current(), 0);
        writer.publish(7);
        writer.publish(7);
        assert_eq!(
            (reader.current(), other.current(), writer.published()),
            (7, 7, 7)
        );
    }

    #[test]
    #[should_panic(expected = "watermark moved back from 7 to 6")]
    fn going_back_is_refused() {
        let (mut writer, _reader) = watermark();
        writer.publish(7);
        writer.publish(6);
    }

    #[test]
    fn a_reader_on_another_thread_never_sees_it_fall() {
        let (mut writer, reader) = watermark();
        let follower = std::thread::spawn(move || {
            let mut last = 0;
            while last < 100_000 {
                let now = reader.current();
                assert!(now >= last, "fell from {last} to {now}");
                if now == last {
                    std::thread::yield_now();
                }
                last = now;
            }
        });
        (1..=100_000).for_each(|value| writer.publish(value));
        follower.join().unwrap();
    }
}
