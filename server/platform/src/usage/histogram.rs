//! Latency histograms with logarithmic buckets: eight per doubling, so that a bucket is 9 % wide and a percentile, which is read in its middle,
//! at most 4.5 % off. Sparse, and merged by addition.

use std::collections::BTreeMap;

/// Upper bound of the first bucket, in microseconds.
const FIRST_US: f64 = 100.0;
const PER_DOUBLING: f64 = 8.0;
/// Number of buckets: up to about 420 seconds.
pub const BUCKETS: usize = 177;

/// How many calls took how long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Histogram(BTreeMap<usize, i64>);

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

/// The longest latency of a bucket, in milliseconds.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
pub fn upper_ms(bucket: usize) -> f64 {
    FIRST_US * (bucket as f64 / PER_DOUBLING).exp2() / 1000.0
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

impl Histogram {
    /// What the database keeps: counts from that bucket on.
    pub(super) fn from_stored(first: i32, counts: Vec<Option<i64>>) -> Self {
        let first = usize::try_from(first - 1).unwrap_or(0);
        let counts = counts.into_iter().enumerate().filter_map(|(i, count)| Some((first + i, count?)));
        Self(counts.filter(|(_, count)| *count != 0).collect())
    }

    pub(super) fn count(&mut self, latency_us: i64) {
        *self.0.entry(bucket(latency_us)).or_default() += 1;
    }

    /// Adds another one that often.
    pub(super) fn merge(&mut self, other: &Self, times: i64) {
        for (bucket, count) in &other.0 {
            *self.0.entry(*bucket).or_default() += times * count;
        }
        self.0.retain(|_, count| *count != 0);
    }

    /// As Postgres reads it, from its first bucket to its last.
    pub(super) fn to_text(&self) -> String {
        let (Some((first, _)), Some((last, _))) = (self.0.first_key_value(), self.0.last_key_value()) else {
            return "{}".to_owned();
        };
        let counts = (*first..=*last).map(|bucket| self.0.get(&bucket).map_or_else(|| "NULL".to_owned(), ToString::to_string));
        format!("[{}:{}]={{{}}}", first + 1, last + 1, counts.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(latencies_us: &[i64]) -> Vec<i64> {
        let mut counts = vec![0; BUCKETS];
        for latency_us in latencies_us {
            counts[bucket(*latency_us)] += 1;
        }
        counts
    }

    /// Known sets, from even to very uneven, against the exact percentile of the sorted latencies.
    #[test]
    fn quantiles_are_within_five_percent_of_exact() {
        let even: Vec<i64> = (1_000..=100_000).collect();
        let doubling: Vec<i64> = (0..20_000).map(|i| 120 << (i % 20)).collect();
        let tail: Vec<i64> = (1..=10_000).map(|i| 2_000 + 3_000_000 / i).collect();
        let same = vec![7_777; 1_000];
        let two: Vec<i64> = (0..1_000).map(|i| if i < 940 { 1_001 } else { 59_999_999 }).collect();
        for mut set in [even, doubling, tail, same, two] {
            let counts = counts(&set);
            set.sort_unstable();
            for (quantile, percent) in [(0.5, 50), (0.95, 95), (0.99, 99)] {
                #[expect(clippy::cast_precision_loss, reason = "microseconds")]
                let exact = set[(set.len() * percent).div_ceil(100) - 1] as f64 / 1000.0;
                let found = quantile_ms(&counts, quantile).expect("not empty");
                assert!((found / exact - 1.0).abs() < 0.05, "{quantile}: {found} instead of {exact}");
            }
        }
        assert_eq!(quantile_ms(&[], 0.5), None);
    }

    #[test]
    fn extremes_have_a_bucket() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(-5), 0);
        assert_eq!(bucket(i64::MAX), BUCKETS - 1);
    }

    #[test]
    fn only_what_is_in_it_is_stored() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.to_text(), "{}");
        for latency_us in [100, 110, 50, 120] {
            histogram.count(latency_us);
        }
        assert_eq!(histogram.to_text(), "[1:4]={2,NULL,1,1}");
        let stored = Histogram::from_stored(1, vec![Some(2), None, Some(1), Some(1), Some(0)]);
        assert_eq!(stored, histogram);
        histogram.merge(&stored, -1);
        assert_eq!(histogram, Histogram::default());
    }
}
