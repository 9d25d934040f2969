//! Latency histograms with logarithmic buckets: four per doubling, so that a percentile is at most 19 % wide and read in its middle (9 %).
//! Stored as counts, merged by addition.

/// Upper bound of the first bucket, in microseconds.
const FIRST_US: f64 = 100.0;
const PER_DOUBLING: f64 = 4.0;
/// Number of buckets: up to about 420 seconds.
pub const BUCKETS: usize = 89;

/// The bucket of a latency.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the buckets"
)]
pub fn bucket(latency_us: i64) -> usize {
    let above = (latency_us.max(1) as f64 / FIRST_US).log2() * PER_DOUBLING;
    (above.ceil().max(0.0) as usize).min(BUCKETS - 1)
}

/// The latency that stands for a bucket, in microseconds: its geometric middle.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn middle_us(bucket: usize) -> f64 {
    FIRST_US * ((bucket as f64 - 0.5) / PER_DOUBLING).exp2()
}

/// The quantile (0 to 1) of a histogram in milliseconds; `None` if it is empty.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^52")]
pub fn quantile_ms(counts: &[i64], quantile: f64) -> Option<f64> {
    let total: i64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = (total as f64 * quantile).ceil().max(1.0);
    let mut below = 0;
    for (bucket, count) in counts.iter().enumerate() {
        below += count;
        if below as f64 >= rank {
            return Some(middle_us(bucket) / 1000.0);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_ten_percent() {
        let mut counts = vec![0; BUCKETS];
        for latency_us in 1_000..=100_000 {
            counts[bucket(latency_us)] += 1;
        }
        for (quantile, expected) in [(0.5, 50.5), (0.95, 95.05), (0.99, 99.01)] {
            let found = quantile_ms(&counts, quantile).expect("not empty");
            assert!((found / expected - 1.0).abs() < 0.10, "{quantile}: {found} instead of {expected}");
        }
        assert_eq!(quantile_ms(&[], 0.5), None);
    }

    #[test]
    fn extremes_have_a_bucket() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(-5), 0);
        assert_eq!(bucket(i64::MAX), BUCKETS - 1);
    }
}
