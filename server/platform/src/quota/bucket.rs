//! Token buckets as GCRA (generic cell rate algorithm): one number per bucket, the time at which it is full again. Pure arithmetic.

use serde::{Deserialize, Serialize};

use super::Scope;

/// So many a minute in the long run, so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Calls per minute in the long run.
    pub per_minute: u32,
    /// Calls at once.
    pub burst: u32,
}

impl Rate {
    /// A bucket that holds one minute's worth.
    pub const fn per_minute(per_minute: u32) -> Self {
        Self { per_minute, burst: per_minute }
    }

    /// Time per call in microseconds.
    pub fn interval_us(self) -> f64 {
        60_000_000.0 / f64::from(self.per_minute.max(1))
    }

    /// Time from empty to full in microseconds.
    pub fn fill_us(self) -> f64 {
        self.interval_us() * f64::from(self.burst.max(1))
    }

    /// A tenth of it, for an agent that was refused too often; at least one call.
    #[must_use]
    pub fn throttled(self) -> Self {
        Self { per_minute: (self.per_minute / 10).max(1), burst: (self.burst / 10).max(1) }
    }

    /// A replica's share of it; at least one call at once.
    #[must_use]
    pub fn scaled(self, share: f64) -> ScaledRate {
        ScaledRate { interval_us: self.interval_us() / share, burst: (f64::from(self.burst.max(1)) * share).ceil() }
    }
}

/// A rate in the units of the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScaledRate {
    pub(super) interval_us: f64,
    pub(super) burst: f64,
}

/// One bucket that a call is charged to.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// What it limits.
    pub scope: Scope,
    /// Its key, unique in the installation.
    pub key: String,
    /// Its rate.
    pub rate: Rate,
}

/// What one bucket says at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    /// The new time at which it is full again.
    Admit { full_at_us: f64 },
    /// How long to wait.
    Wait { us: f64 },
}

/// Decides one bucket. `full_at_us` is what is stored, `None` for a full bucket. A clock that went back never locks longer than one fill.
pub(super) fn decide(rate: ScaledRate, full_at_us: Option<f64>, now_us: f64) -> Verdict {
    let fill = rate.interval_us * rate.burst;
    let full_at = full_at_us.unwrap_or(now_us).clamp(now_us, now_us + fill);
    let after = full_at + rate.interval_us;
    // A thousandth of a microsecond: the sums of many intervals are not exact.
    if after - now_us <= fill + 0.001 {
        Verdict::Admit { full_at_us: after }
    } else {
        Verdict::Wait { us: after - now_us - fill }
    }
}

/// Calls that would be admitted at once, in a bucket that is full at that time.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and burst, which is a u32")]
pub(super) fn remaining(rate: ScaledRate, full_at_us: f64, now_us: f64) -> u32 {
    (rate.burst - (full_at_us - now_us) / rate.interval_us + 1e-6).floor().clamp(0.0, rate.burst) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls admitted when asked every `step_us` for `total_us`.
    fn admitted(rate: Rate, step_us: f64, total_us: f64) -> u32 {
        let (mut full_at, mut now, mut count) = (None, 0.0, 0);
        while now <= total_us {
            if let Verdict::Admit { full_at_us } = decide(rate.scaled(1.0), full_at, now) {
                full_at = Some(full_at_us);
                count += 1;
            }
            now += step_us;
        }
        count
    }

    #[test]
    fn admits_the_burst_and_then_the_rate() {
        let rate = Rate { per_minute: 6000, burst: 50 };
        assert_eq!(admitted(rate, 10.0, 0.0), 1);
        let ten_seconds = admitted(rate, 997.0, 10_000_000.0);
        assert!((1049..=1051).contains(&ten_seconds), "{ten_seconds}");
    }

    #[test]
    fn waiting_as_told_is_enough() {
        let rate = Rate { per_minute: 5, burst: 5 }.scaled(1.0);
        let mut full_at = None;
        for _ in 0..5 {
            let Verdict::Admit { full_at_us } = decide(rate, full_at, 0.0) else { panic!("the burst") };
            full_at = Some(full_at_us);
        }
        assert_eq!(remaining(rate, full_at.unwrap_or_default(), 0.0), 0);
        let Verdict::Wait { us } = decide(rate, full_at, 0.0) else { panic!("empty") };
        assert!((us - 12_000_000.0).abs() < 1.0, "{us}");
        assert!(matches!(decide(rate, full_at, us), Verdict::Admit { .. }));
    }

    #[test]
    fn clock_that_went_back_locks_no_longer_than_one_fill() {
        let rate = Rate { per_minute: 60, burst: 2 }.scaled(1.0);
        let Verdict::Wait { us } = decide(rate, Some(3_600_000_000.0), 0.0) else { panic!("full") };
        assert!(us <= 2_000_000.0, "{us}");
    }
}
