//! How a time is covered by as few sums as there can be.

use chrono::{DateTime, TimeDelta, Utc};

use super::rollup::{Kind, start_of};

/// Sums of one length that begin in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// Their length in minutes.
    pub(super) step: i16,
    /// The first start, and the first that is too late.
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
}

/// Covers a time by the longest sums of that kind where it has whole ones, by shorter ones before and after them, and by none that is shorter than
/// `finest`. In the order of time, and nothing twice.
pub(super) fn parts(kind: Kind, finest: i16, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Part> {
    let steps: Vec<i16> = kind.steps().iter().rev().copied().filter(|step| *step >= finest).collect();
    let mut parts = Vec::new();
    cover(&mut parts, &steps, from, to);
    parts
}

/// The same up to now and for as long as anything of that kind goes on: what a clock that is a little ahead has written belongs to it too.
pub(super) fn parts_until_now(kind: Kind, finest: i16, from: DateTime<Utc>, now: DateTime<Utc>) -> Vec<Part> {
    let longest = kind.steps().last().copied().unwrap_or(finest);
    parts(kind, finest, from, start_of(now + TimeDelta::hours(1), longest) + TimeDelta::minutes(longest.into()))
}

fn cover(parts: &mut Vec<Part>, steps: &[i16], from: DateTime<Utc>, to: DateTime<Utc>) {
    let Some((&step, shorter)) = steps.split_first() else { return };
    let (first, last) = if shorter.is_empty() { (from, to) } else { (next_start(from, step), start_of(to, step)) };
    if first < last {
        cover(parts, shorter, from, first);
        parts.push(Part { step, from: first, to: last });
        cover(parts, shorter, last, to);
    } else {
        cover(parts, shorter, from, to);
    }
}

/// The first interval that begins then or later.
fn next_start(at: DateTime<Utc>, step: i16) -> DateTime<Utc> {
    let start = start_of(at, step);
    if start < at { start + TimeDelta::minutes(step.into()) } else { start }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::rollup::{DAY, HOUR, MINUTE, WEEK};

    fn covered(kind: Kind, finest: i16, from: &str, to: &str) -> Vec<(i16, i64)> {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("a time");
        let found = parts(kind, finest, at(from), at(to));
        for two in found.windows(2) {
            assert_eq!(two[0].to, two[1].from, "{found:?}");
        }
        if let (Some(first), Some(last)) = (found.first(), found.last()) {
            assert_eq!((first.from, last.to), (at(from), at(to)));
        }
        found.iter().map(|part| (part.step, (part.to - part.from).num_minutes() / i64::from(part.step))).collect()
    }

    #[test]
    fn a_time_is_covered_once_and_by_few() {
        let whole = [(MINUTE, 30), (HOUR, 2), (DAY, 2), (HOUR, 3), (MINUTE, 20)];
        assert_eq!(covered(Kind::All, MINUTE, "2026-11-01T21:30:00Z", "2026-11-04T03:20:00Z"), whole);
        assert_eq!(covered(Kind::Tool, HOUR, "2026-11-01T22:00:00Z", "2026-11-04T03:20:00Z"), [(HOUR, 2), (DAY, 2), (HOUR, 3)]);
        assert_eq!(covered(Kind::All, MINUTE, "2026-11-01T21:30:00Z", "2026-11-01T22:29:00Z"), [(MINUTE, 59)]);
        assert_eq!(
            covered(Kind::All, MINUTE, "2026-11-01T21:30:00Z", "2026-11-01T23:29:00Z"),
            [(MINUTE, 30), (HOUR, 1), (MINUTE, 29)]
        );
        assert_eq!(covered(Kind::Agent, DAY, "2026-11-01T00:00:00Z", "2026-11-04T03:20:00Z"), [(DAY, 3)]);
        assert_eq!(covered(Kind::Tool, HOUR, "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"), [(DAY, 1)]);
        assert_eq!(covered(Kind::All, MINUTE, "2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z"), []);
        assert_eq!(covered(Kind::Each, DAY, "2026-11-01T00:00:00Z", "2026-11-19T00:00:00Z"), [(DAY, 4), (WEEK, 2)]);
        assert_eq!(covered(Kind::Version, DAY, "2026-11-01T00:00:00Z", "2026-11-19T00:00:00Z"), [(DAY, 18)]);
    }
}
