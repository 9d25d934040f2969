//! What a call of a tool costs, in whole micro-units of its tenant's currency: money is never counted in fractions.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::error::{Error, Result};

/// A million per call.
const MOST_MICRO: i64 = 1_000_000_000_000;
/// Scripts count in doubles, which are exact up to nine times this.
const MOST_RESERVED_MICRO: i64 = 1_000_000_000_000_000;
const KIB: i128 = 1024;
const SECOND_US: i128 = 1_000_000;

/// The parts of a price; each in micro-units of the tenant's currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Price {
    /// For each call.
    pub call_micro: i64,
    /// For each KiB of the request and of the result.
    pub kib_micro: i64,
    /// For each second that the tool runs.
    pub second_micro: i64,
    /// The most that the tool may say a call has cost beside the rest; 0: what it says is not heard.
    pub reported_micro: i64,
}

/// What is known of a call once it has ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Consumed {
    /// Bytes of the request and of the result.
    pub bytes: i64,
    /// Microseconds that the tool ran.
    pub upstream_us: i64,
    /// Micro-units that the tool says it has cost.
    pub reported_micro: Option<i64>,
}

/// What calls of a tool were like lately, on this replica: each counts an eighth.
#[derive(Debug, Default)]
pub struct Typical {
    bytes_out: AtomicI64,
    upstream_us: AtomicI64,
}

impl Typical {
    /// A call has ended.
    pub fn note(&self, bytes_out: i64, upstream_us: i64) {
        for (mean, one) in [(&self.bytes_out, bytes_out), (&self.upstream_us, upstream_us)] {
            // Of two at the same time one may be lost: it is an estimate.
            let before = mean.load(Ordering::Relaxed);
            let after = if before == 0 { one } else { before + (one - before) / 8 };
            mean.store(after.max(0), Ordering::Relaxed);
        }
    }
}

impl Price {
    /// The same for every call.
    pub const fn per_call(call_micro: i64) -> Self {
        Self { call_micro, kib_micro: 0, second_micro: 0, reported_micro: 0 }
    }

    /// Costs nothing, whatever the tool says.
    pub fn is_free(&self) -> bool {
        *self == Self::default()
    }

    /// What that call costs, rounded up to the next micro-unit part by part. What the tool reports counts up to what it may.
    pub fn of(&self, consumed: Consumed) -> i64 {
        let share = |price: i64, amount: i64, unit: i128| (i128::from(price) * i128::from(amount.max(0)) + unit - 1) / unit;
        let sum = i128::from(self.call_micro)
            + share(self.kib_micro, consumed.bytes, KIB)
            + share(self.second_micro, consumed.upstream_us, SECOND_US)
            + i128::from(consumed.reported_micro.unwrap_or(0).clamp(0, self.reported_micro));
        i64::try_from(sum).unwrap_or(i64::MAX)
    }

    /// What a call will probably cost, of which only the size of the request is known: as long and as large as calls were lately, and all that the
    /// tool may report. Never less than each call costs; something, unless it is free.
    pub fn reserve(&self, bytes_in: i64, typical: &Typical) -> i64 {
        if self.is_free() {
            return 0;
        }
        let bytes = bytes_in.saturating_add(typical.bytes_out.load(Ordering::Relaxed));
        let upstream_us = typical.upstream_us.load(Ordering::Relaxed);
        self.of(Consumed { bytes, upstream_us, reported_micro: Some(self.reported_micro) }).clamp(1, MOST_RESERVED_MICRO)
    }

    pub(super) fn check(&self) -> Result<()> {
        let parts = [
            ("price", self.call_micro),
            ("price_kib", self.kib_micro),
            ("price_second", self.second_micro),
            ("price_reported", self.reported_micro),
        ];
        for (field, micro) in parts {
            if !(0..=MOST_MICRO).contains(&micro) {
                return Err(Error::invalid(field, "expected 0 to 1000000"));
            }
        }
        Ok(())
    }
}

/// Reads an amount in the tenant's currency, such as `0.002`, as micro-units. Empty: nothing.
pub fn parse_price(field: &'static str, text: &str) -> Result<i64> {
    let wrong = || Error::invalid(field, "expected an amount such as 0.002, with at most 6 decimals");
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if text.is_empty() {
        return Ok(0);
    }
    if !digits(whole) || !digits(fraction) || whole.len() > 9 || fraction.len() > 6 || whole.len() + fraction.len() == 0 {
        return Err(wrong());
    }
    format!("{whole}{fraction:0<6}").parse().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amount_is_read_exactly() {
        for (text, micro) in
            [("", 0), ("0", 0), ("0.002", 2_000), (".5", 500_000), ("1.", 1_000_000), (" 12.345678 ", 12_345_678)]
        {
            assert_eq!(parse_price("price", text).ok(), Some(micro), "{text}");
        }
        for text in [".", "-1", "1e3", "0.0000001", "1,5", "ten", "1.2.3", "1234567890", "٣"] {
            assert!(parse_price("price", text).is_err(), "{text}");
        }
    }

    #[test]
    fn parts_of_a_unit_are_rounded_up() {
        let price = Price { call_micro: 10, kib_micro: 3, second_micro: 1_000, reported_micro: 0 };
        let cost = |bytes, upstream_us| price.of(Consumed { bytes, upstream_us, reported_micro: None });
        assert_eq!([cost(0, 0), cost(1, 0), cost(1024, 0), cost(1025, 0)], [10, 11, 13, 14]);
        assert_eq!([cost(0, 1), cost(0, 1_000), cost(0, 1_500_000)], [11, 11, 1_510]);
        assert_eq!(cost(-1, -1), 10);
    }

    #[test]
    fn what_a_tool_reports_counts_up_to_what_it_may() {
        let price = Price { reported_micro: 500, ..Price::per_call(1) };
        let cost = |reported_micro| price.of(Consumed { reported_micro, ..Consumed::default() });
        assert_eq!([cost(None), cost(Some(0)), cost(Some(499)), cost(Some(501)), cost(Some(-7))], [1, 1, 500, 501, 1]);
        assert_eq!(Price::per_call(1).of(Consumed { reported_micro: Some(9), ..Consumed::default() }), 1);
    }

    #[test]
    fn what_is_reserved_follows_what_calls_are_like() {
        let (price, typical) =
            (Price { call_micro: 10, kib_micro: 1_024, second_micro: 1_000_000, reported_micro: 500 }, Typical::default());
        assert_eq!(price.reserve(100, &typical), 10 + 100 + 500);
        typical.note(80, 1_000);
        assert_eq!(price.reserve(100, &typical), 10 + 180 + 1_000 + 500);
        typical.note(0, 0);
        assert_eq!(price.reserve(100, &typical), 10 + 170 + 875 + 500);
        assert_eq!(Price::default().reserve(100, &typical), 0);
        assert_eq!(Price { second_micro: 1, ..Price::default() }.reserve(0, &Typical::default()), 1);
    }

    #[test]
    fn no_price_overflows() {
        let most = Price { call_micro: MOST_MICRO, kib_micro: MOST_MICRO, second_micro: MOST_MICRO, reported_micro: MOST_MICRO };
        assert!(most.check().is_ok());
        let all = Consumed { bytes: i64::MAX, upstream_us: i64::MAX, reported_micro: Some(i64::MAX) };
        assert_eq!(most.of(all), i64::MAX);
        assert!(Price::per_call(-1).check().is_err() && Price::per_call(MOST_MICRO + 1).check().is_err());
    }
}
