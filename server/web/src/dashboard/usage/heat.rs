//! The heat map of latencies: time from left to right, latency from below, the more calls the darker. Drawn here, without scripts.

use std::fmt::Write as _;

use chrono::TimeDelta;
use trunkline_platform::usage::{Point, histogram};

use super::{Log, moment};
use crate::{
    dashboard::{components::Moment, format},
    urls,
};

/// Most columns: points are put together until they fit.
const COLUMNS: usize = 48;
/// Shades.
const LEVELS: usize = 5;
/// Buckets of a row: a doubling.
const PER_ROW: usize = 8;
/// Height of a row in the drawing.
const ROW_PX: usize = 14;

/// A heat map.
pub(super) struct Heat {
    pub(super) columns: usize,
    pub(super) rows: usize,
    pub(super) height: usize,
    /// Longest latency of each row, from the top.
    pub(super) scale: Vec<String>,
    /// For each shade, its number and the cells that have it, as a path.
    pub(super) levels: Vec<(usize, String)>,
    /// What lies over the columns and leads to their calls.
    pub(super) links: Vec<HeatColumn>,
    pub(super) first: Moment,
    pub(super) last: Moment,
}

/// A part of the time.
pub(super) struct HeatColumn {
    pub(super) x: usize,
    pub(super) url: String,
    pub(super) title: String,
}

impl Heat {
    /// The heat map of a series of points so many minutes long; none where nothing ran.
    pub(super) fn of(points: &[Point], step_minutes: i64, log: &Log<'_>) -> Option<Self> {
        let per_column = points.len().div_ceil(COLUMNS).max(1);
        let columns: Vec<&[Point]> = points.chunks(per_column).collect();
        let cells: Vec<Vec<i64>> = columns.iter().map(|points| bands(points)).collect();
        let is_used = |band: &usize| cells.iter().any(|column| column[*band] > 0);
        let bands = histogram::BUCKETS.div_ceil(PER_ROW) + 1;
        let (lowest, highest) = ((0..bands).find(is_used)?, (0..bands).rev().find(is_used)?);
        let most = cells.iter().flatten().copied().max().unwrap_or(1);
        let mut paths = vec![String::new(); LEVELS];
        for (x, column) in cells.iter().enumerate() {
            for band in (lowest..=highest).filter(|band| column[*band] > 0) {
                // Writing to a text cannot fail.
                let _ = write!(paths[level(column[band], most) - 1], "M{x} {}h1v1h-1z", highest - band);
            }
        }
        let links = columns.iter().enumerate().filter_map(|(x, points)| link(x, points, step_minutes, log));
        let label = |points: Option<&&[Point]>| points.and_then(|points| points.first()).map(|point| Moment::minute(point.at));
        let upper = |band: usize| format::millis(Some(histogram::upper_ms(band * PER_ROW)));
        Some(Self {
            columns: columns.len(),
            rows: highest - lowest + 1,
            height: (highest - lowest + 1) * ROW_PX,
            scale: (lowest..=highest).rev().map(upper).collect(),
            levels: paths.into_iter().enumerate().filter(|(_, path)| !path.is_empty()).map(|(i, path)| (i + 1, path)).collect(),
            links: links.collect(),
            first: label(columns.first())?,
            last: label(columns.last())?,
        })
    }
}

/// Calls of some points by doubling of their latency.
fn bands(points: &[Point]) -> Vec<i64> {
    let mut bands = vec![0; histogram::BUCKETS.div_ceil(PER_ROW) + 1];
    for point in points {
        for (bucket, count) in point.latency.iter().enumerate() {
            bands[bucket.div_ceil(PER_ROW)] += count;
        }
    }
    bands
}

/// The shade of a cell, from 1: by the order of magnitude, as a slow tail is few calls.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 1 and the number of shades"
)]
fn level(count: i64, most: i64) -> usize {
    let share = (count as f64).ln_1p() / (most as f64).ln_1p();
    ((share * LEVELS as f64).ceil() as usize).clamp(1, LEVELS)
}

/// What leads to the calls of a column; nothing where there are none.
fn link(x: usize, points: &[Point], step_minutes: i64, log: &Log<'_>) -> Option<HeatColumn> {
    let calls: i64 = points.iter().map(|point| point.totals.calls).sum();
    let (first, last) = (points.first()?, points.last()?);
    let until = last.at + TimeDelta::minutes(step_minutes);
    let (from, to) = (moment(first.at), moment(until));
    let of = log.of.iter().map(|(field, value)| (*field, value.as_str()));
    let fields: Vec<_> = of.chain([("from", from.as_str()), ("to", to.as_str())]).collect();
    (calls > 0).then(|| HeatColumn {
        x,
        url: urls::with_query(&urls::logs(log.slug), &fields),
        title: format!("{}: {} calls", first.at.format("%-d %b %H:%M UTC"), format::count(calls)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_go_from_the_first_to_the_last() {
        assert_eq!((level(1, 1), level(1, 1_000_000), level(1_000_000, 1_000_000)), (5, 1, 5));
    }
}
