//! Holds sums against the record, and makes them right. What is compared is read of one moment, and calls come with their sums in one transaction:
//! so what differs is wrong, however much is written meanwhile. It is corrected by adding the difference, which holds nobody up and counts
//! nothing twice: not with calls that come late, nor after a process that was killed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::{
    rollup::{DAY, HOUR, MINUTE, Sum, SumKey, Sums, WEEK, start_of},
    store,
};
use crate::{
    Platform,
    db::TenantTx,
    error::{Error, Result},
    ids::TenantId,
};

/// Calls that are read at a time.
const BATCH: i64 = 10_000;
/// How long minutes are kept, and how long they are compared: not what is about to go.
const MINUTES_KEPT: TimeDelta = TimeDelta::days(8);
const MINUTES_COMPARED: TimeDelta = TimeDelta::days(7);
/// Minutes of a tenant that go at a time.
const DROPPED: i64 = 50_000;
/// How often sums are checked, and those of a tenant that nobody has called since the last time.
const EVERY: TimeDelta = TimeDelta::hours(1);
const EVERY_IDLE: TimeDelta = TimeDelta::hours(6);
/// An hour is checked when it is over for so long: most of its calls are there then, and what comes later comes with its sums.
const SETTLED: TimeDelta = TimeDelta::minutes(5);
/// Longest check of a tenant, and how long no other replica begins one.
const DEADLINE: Duration = Duration::from_mins(4);
const LEASE: TimeDelta = TimeDelta::minutes(10);
/// Longest part of the past that one check looks at.
const MOST: TimeDelta = TimeDelta::days(2);

/// What came of holding sums against the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recount {
    /// Calls that were counted.
    pub calls: u64,
    /// Sums that should be there.
    pub sums: u64,
    /// Sums that were wrong, missing, or too many.
    pub wrong: u64,
    /// How far it came.
    pub until: DateTime<Utc>,
}

/// Most days at a time: more than any record has.
const MOST_DAYS: i64 = 4_000;

/// Days (UTC) that are counted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    from: NaiveDate,
    to: NaiveDate,
}

impl Days {
    /// From one day to another, both written as `2026-11-01`; to today where no other is given.
    pub fn parse(platform: &Platform, from: &str, to: Option<&str>) -> Result<Self> {
        let day =
            |field, text: &str| text.parse::<NaiveDate>().map_err(|_| Error::invalid(field, "expected a day such as 2026-11-01"));
        let from = day("from", from)?;
        let to = to.map_or_else(|| Ok(platform.clock.now().date_naive()), |to| day("to", to))?;
        match (to - from).num_days() + 1 {
            ..=0 => Err(Error::invalid("to", "expected a day that is not before the first")),
            1..=MOST_DAYS => Ok(Self { from, to }),
            _ => Err(Error::invalid("from", "expected at most 4000 days at a time")),
        }
    }

    /// The beginnings of all of them.
    pub fn all(self) -> impl Iterator<Item = DateTime<Utc>> {
        self.from.iter_days().take_while(move |day| *day <= self.to).map(|day| day.and_time(chrono::NaiveTime::MIN).and_utc())
    }
}

/// What to do with sums that are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Count them.
    Tell,
    /// Correct them.
    Mend,
}

/// The tenant with that slug.
pub async fn find_tenant(platform: &Platform, slug: &str) -> Result<TenantId> {
    let mut tx = platform.db.system().await?;
    store::find_tenant(&mut tx, slug).await?.ok_or(Error::not_found("tenant"))
}

/// Holds a tenant's sums of one day (UTC) against the record. Fails where the record of that month is not kept any more: its sums are all there is.
pub async fn recount(platform: &Platform, tenant: TenantId, day: DateTime<Utc>, wrong: Wrong) -> Result<Recount> {
    let day = start_of(day, DAY);
    let found = part_of_day(platform, tenant, (day, day + TimeDelta::days(1)), wrong, None).await?;
    // Pages say which days are wrong, until they are not.
    note_day(platform, tenant, day, found.wrong > 0 && wrong == Wrong::Tell).await?;
    Ok(found)
}

async fn note_day(platform: &Platform, tenant: TenantId, day: DateTime<Utc>, is_wrong: bool) -> Result<()> {
    let mut tx = platform.db.system().await?;
    store::note_day(&mut tx, tenant, day.date_naive(), is_wrong).await?;
    tx.commit().await
}

/// Checks the sums of every tenant that is due, and drops minutes that are old. Called by a background tick.
pub async fn check_due(platform: &Platform) -> Result<()> {
    loop {
        let now = platform.clock.now();
        let mut tx = platform.db.system().await?;
        let due = store::lease_due(&mut tx, now, now + LEASE).await?;
        tx.commit().await?;
        let Some((tenant, checked_to, wrong_from)) = due else { return Ok(()) };
        let checked = check(platform, tenant, (checked_to, wrong_from), now).await?;
        let mut tx = platform.db.chain().await?;
        store::drop_minutes(&mut tx, tenant, now - MINUTES_KEPT, DROPPED).await?;
        tx.commit().await?;
        let mut tx = platform.db.system().await?;
        let every = if checked.calls == 0 && checked.wrong_from.is_none() { EVERY_IDLE } else { EVERY };
        store::release(&mut tx, tenant, (checked.until, checked.wrong_from), now + every).await?;
        tx.commit().await?;
    }
}

/// What a check came to.
struct Checked {
    /// How far it came.
    until: DateTime<Utc>,
    /// Calls that were counted.
    calls: u64,
    /// Since when sums are wrong.
    wrong_from: Option<DateTime<Utc>>,
}

/// Checks the hours that have settled; and whole days, when their last hour is among them. What was found wrong is looked at again, for as long as
/// its record is kept.
async fn check(
    platform: &Platform,
    tenant: TenantId,
    (checked_to, wrong_from): (DateTime<Utc>, Option<DateTime<Utc>>),
    now: DateTime<Utc>,
) -> Result<Checked> {
    let (until, until_day) = (start_of(now - SETTLED, HOUR), start_of(now - SETTLED, DAY));
    let known = match wrong_from {
        Some(at) if is_kept(platform, tenant, at).await? => Some(at),
        _ => None,
    };
    let mut from = checked_to.max(until - MOST);
    from = known.map_or(from, |at| at.min(from));
    if start_of(from, DAY) < until_day {
        from = start_of(from, DAY);
    }
    let (ends, mut calls, mut wrong_from) = (Instant::now() + DEADLINE, 0, None);
    while from < until {
        let to = (start_of(from, DAY) + TimeDelta::days(1)).min(until);
        let found = part_of_day(platform, tenant, (from, to), Wrong::Tell, Some(ends)).await?;
        calls += found.calls;
        if found.wrong > 0 {
            wrong_from = wrong_from.or(Some(from));
            note_day(platform, tenant, from, true).await?;
            platform.metrics.usage_sums_wrong.inc_by(found.wrong);
            tracing::error!(
                tenant.id = %tenant, %from, %to, calls = found.calls, sums = found.sums, wrong = found.wrong,
                "sums of usage differ from the record; `trunkline usage rebuild` makes them right"
            );
        }
        if found.until < to {
            tracing::warn!(tenant.id = %tenant, until = %found.until, "too many calls to be counted in one check; the next goes on");
            // What it did not come to is as it was.
            let wrong_from = wrong_from.or(known.filter(|at| *at >= found.until));
            return Ok(Checked { until: found.until.max(checked_to), calls, wrong_from });
        }
        from = to;
    }
    Ok(Checked { until: until.max(checked_to), calls, wrong_from })
}

/// Is the record of that time kept?
async fn is_kept(platform: &Platform, tenant: TenantId, at: DateTime<Utc>) -> Result<bool> {
    let mut tx = platform.db.tenant_snapshot(tenant).await?;
    store::has_month(&mut tx, &at.format("%Y%m").to_string()).await
}

/// Hours of one day; and its day sums, if it is the whole of it.
async fn part_of_day(
    platform: &Platform,
    tenant: TenantId,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    wrong: Wrong,
    ends: Option<Instant>,
) -> Result<Recount> {
    let mut tx = platform.db.tenant_snapshot(tenant).await?;
    if !store::has_month(&mut tx, &from.format("%Y%m").to_string()).await? {
        return Err(Error::conflict(format!(
            "The record of {} is not kept, so its sums cannot be counted again.",
            from.format("%B %Y")
        )));
    }
    let mut mender = Mender { platform, tenant, mended: store::mended(&mut tx).await?, wrong };
    let is_minute_kept = from > platform.clock.now() - MINUTES_COMPARED;
    let mut found = Recount { calls: 0, sums: 0, wrong: 0, until: from };
    let mut of_day = Sums::default();
    while found.until < to && ends.is_none_or(|ends| Instant::now() < ends) {
        let hour = (found.until, found.until + TimeDelta::hours(1));
        let mut counted = count(&mut tx, hour, &mut of_day, &mut found.calls).await?;
        let steps: &[i16] = if is_minute_kept { &[MINUTE, HOUR] } else { &[HOUR] };
        counted.kinds.retain(|key, _| steps.contains(&key.step));
        let stored = stored(&mut tx, hour, steps).await?;
        mender.compare(counted, stored, &mut found).await?;
        found.until = hour.1;
    }
    if from == start_of(from, DAY) && found.until == from + TimeDelta::days(1) {
        let stored = stored(&mut tx, (from, to), &[DAY]).await?;
        mender.compare(of_day, stored, &mut found).await?;
        tx.commit().await?;
        week(platform, tenant, start_of(from, WEEK), wrong, &mut found).await?;
    }
    Ok(found)
}

/// Holds the sums of a week against those of its days, which are held against the record themselves: a week of calls would be too much to read for a day.
async fn week(platform: &Platform, tenant: TenantId, week: DateTime<Utc>, wrong: Wrong, found: &mut Recount) -> Result<()> {
    let mut tx = platform.db.tenant_snapshot(tenant).await?;
    let mut mender = Mender { platform, tenant, mended: store::mended(&mut tx).await?, wrong };
    let part = (week, week + TimeDelta::minutes(WEEK.into()));
    let mut of_days = Sums::default();
    for (key, sum) in store::kinds_between(&mut tx, part, &[DAY]).await? {
        if key.kind.steps().contains(&WEEK) {
            of_days.kinds.entry(SumKey { step: WEEK, start: week, ..key }).or_default().merge(&sum, 1);
        }
    }
    let kinds = store::kinds_between(&mut tx, part, &[WEEK]).await?.into_iter().collect();
    mender.compare(of_days, Sums { pairs: BTreeMap::new(), kinds }, found).await
}

/// Counts the calls of an hour; sums of its day are added to those of the hours before.
async fn count(tx: &mut TenantTx, hour: (DateTime<Utc>, DateTime<Utc>), of_day: &mut Sums, calls: &mut u64) -> Result<Sums> {
    let (mut sums, mut after) = (Sums::default(), None);
    loop {
        let batch = store::calls_between(tx, hour, after, BATCH).await?;
        for (id, call) in &batch {
            sums.count_but(call, DAY);
            of_day.count_only(call, DAY);
            after = Some(*id);
        }
        *calls += batch.len() as u64;
        if i64::try_from(batch.len()).is_ok_and(|found| found < BATCH) {
            return Ok(sums);
        }
    }
}

async fn stored(tx: &mut TenantTx, part: (DateTime<Utc>, DateTime<Utc>), steps: &[i16]) -> Result<Sums> {
    let pairs = if steps.contains(&HOUR) { store::pairs_between(tx, part).await? } else { Vec::new() };
    Ok(Sums { pairs: pairs.into_iter().collect(), kinds: store::kinds_between(tx, part, steps).await?.into_iter().collect() })
}

/// Who compares, and corrects.
struct Mender<'p> {
    platform: &'p Platform,
    tenant: TenantId,
    /// Corrections of this tenant's sums when it was read, and those that were made here since.
    mended: i64,
    wrong: Wrong,
}

impl Mender<'_> {
    async fn compare(&mut self, counted: Sums, stored: Sums, found: &mut Recount) -> Result<()> {
        found.sums += (counted.pairs.len() + counted.kinds.len()) as u64;
        let missing = Sums { pairs: difference(counted.pairs, stored.pairs), kinds: difference(counted.kinds, stored.kinds) };
        let wrong = (missing.pairs.len() + missing.kinds.len()) as u64;
        found.wrong += wrong;
        if wrong == 0 || self.wrong == Wrong::Tell {
            return Ok(());
        }
        let mut tx = self.platform.db.record().await?;
        if !store::note_mended(&mut tx, self.tenant, self.mended).await? {
            return Err(Error::conflict("Somebody else corrects the sums of this tenant. Nothing was done; try again."));
        }
        self.mended += 1;
        store::add_sums(&mut tx, &missing).await?;
        tx.commit().await
    }
}

/// What has to be added to what is stored, where anything has to.
fn difference<K: Ord>(mut counted: BTreeMap<K, Sum>, stored: BTreeMap<K, Sum>) -> BTreeMap<K, Sum> {
    for (key, sum) in stored {
        counted.entry(key).or_default().subtract(&sum);
    }
    counted.retain(|_, missing| *missing != Sum::default());
    counted
}
