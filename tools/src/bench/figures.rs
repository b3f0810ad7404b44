//! Histograms and how they are shown.

use hdrhistogram::Histogram;

/// One microsecond to one minute in nanoseconds, three digits.
const HIGHEST_NS: u64 = 60_000_000_000;

/// An empty histogram of nanoseconds.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    // One to a minute with three digits is a range the library offers.
    match Histogram::new_with_bounds(1, HIGHEST_NS, 3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("{error}"),
    }
}

/// p50, p99, p99.9, p99.99 and the maximum in nanoseconds.
#[must_use]
pub fn percentiles(histogram: &Histogram<u64>) -> [u64; 5] {
    [
        histogram.value_at_quantile(0.5),
        histogram.value_at_quantile(0.99),
        histogram.value_at_quantile(0.999),
        histogram.value_at_quantile(0.9999),
        histogram.max(),
    ]
}
