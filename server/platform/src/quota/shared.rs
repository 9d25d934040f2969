//! The decision in Redis: one script, one round trip, by the server's clock.

use std::sync::LazyLock;

use redis::Value;

use super::{
    Decision, Question, Remaining,
    bucket::remaining,
    budgets,
    charge::{Charge, DAY_S, tenant_key},
};
use crate::{
    Platform, epoch,
    ids::TenantId,
    redis::{Away, Patience, Script},
};

static ADMIT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("admit.lua")));
static REFUND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("refund.lua")));
static SEED: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("seed.lua")));

/// What the script says.
#[derive(Debug)]
pub(super) enum Said {
    Decided(Decision),
    /// Counters that are not in Redis, by their place in the charge.
    Unknown(Vec<usize>),
    /// By its clock it is another day.
    OtherDay(i64),
}

/// Asks once. Who did not hear the answer asks again with the same call, and nothing is charged twice.
pub(super) async fn ask(platform: &Platform, question: &Question<'_>, day: i64) -> Result<Said, Away> {
    let key = tenant_key(&platform.redis, question.tenant);
    let epoch_key = epoch::key(&platform.redis, question.tenant);
    let mut script = ADMIT.prepare_invoke();
    let or_epoch = |name: Option<String>| name.map_or_else(|| epoch_key.clone(), |name| key(&name));
    script.key(&epoch_key).key(or_epoch(question.call.map(call_key)));
    match question.session {
        Some(keys) => script.key(&keys.session).key(&keys.index),
        None => script.key(&epoch_key).key(&epoch_key),
    };
    script.key(or_epoch(question.once.map(|once| once.key.clone())));
    script.key(or_epoch(question.strikes.map(|strikes| strikes.key.clone())));
    // A snapshot that was loaded without Redis has no epoch and is out of date by definition; `''` would mean "do not compare".
    script.arg(if question.epoch.is_empty() { "none" } else { question.epoch });
    script.arg(question.session.map_or("", |keys| &keys.id)).arg(question.session.map_or(0, |keys| keys.idle_s));
    script.arg(question.call.unwrap_or_default()).arg(question.life_ms);
    let is_of_a_day = !question.charge.counters.is_empty() || !question.charge.budgets.is_empty();
    script.arg(if is_of_a_day { day.to_string() } else { String::new() });
    script.arg(question.once.map_or("", |once| &once.digest)).arg(question.once.map_or(0, |once| once.kept_s));
    script.arg(question.once.map_or(0, |once| u8::from(once.may_repeat)));
    script.arg(question.strikes.map_or(0, |strikes| strikes.window_s));
    question.charge.put(&mut script, day, &key);
    let patience = if question.needs_redis() { Patience::Long } else { Patience::Short };
    let answer: Vec<Value> = platform.redis.decide(&script, patience).await?;
    platform.generations.hear();
    remember(platform, question.tenant, &answer, question.charge, day);
    Ok(read(&answer, question.charge, day).unwrap_or(Said::Decided(Decision::Stale)))
}

/// Gives a call back what it was charged. Twice is once.
pub(super) async fn refund(platform: &Platform, tenant: TenantId, call: &str, day: i64, charge: &Charge) -> Result<bool, Away> {
    let key = tenant_key(&platform.redis, tenant);
    let mut script = REFUND.prepare_invoke();
    script.key(key(&call_key(call)));
    charge.put_back(&mut script, day, &key);
    Ok(platform.redis.run::<i64>(&script).await? == 1)
}

/// Begins counters with what is in the record, unless somebody else has meanwhile.
pub(super) async fn seed(
    platform: &Platform,
    tenant: TenantId,
    day: i64,
    charge: &Charge,
    used: &[(usize, u64)],
) -> Result<(), Away> {
    let mut script = SEED.prepare_invoke();
    charge.put_seeds(&mut script, day, used, tenant_key(&platform.redis, tenant));
    platform.redis.run::<i64>(&script).await.map(drop)
}

/// What is left of each counter, for the time without Redis; and how far budgets have come.
fn remember(platform: &Platform, tenant: TenantId, answer: &[Value], charge: &Charge, day: i64) {
    let skip = match answer.first() {
        Some(Value::Int(1)) => 2,
        Some(Value::Int(2)) => 5,
        _ => return,
    };
    let mut used = answer.iter().skip(skip + charge.buckets.len()).filter_map(number);
    for (counter, used) in charge.counters.iter().zip(used.by_ref()) {
        platform.counters.remember(counter, day, counter.most.saturating_sub(u64::try_from(used).unwrap_or(0)));
    }
    let refused = if skip == 5 { answer.get(1).and_then(number) } else { None };
    let refused =
        refused.and_then(|place| usize::try_from(place).ok()?.checked_sub(1 + charge.buckets.len() + charge.counters.len()));
    for (index, (budget, used)) in charge.budgets.iter().zip(used).enumerate() {
        budgets::look(platform, tenant, budget, day, (used, refused == Some(index)));
    }
}

/// Where the decision about a call is kept.
fn call_key(call: &str) -> String {
    format!("q:d:{call}")
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

/// Reads the script's answer; `None` for anything it does not say.
fn read(answer: &[Value], charge: &Charge, day: i64) -> Option<Said> {
    let (kind, rest) = answer.split_first()?;
    let kind = number(kind)?;
    if kind == 8 {
        let [Value::BulkString(kept)] = rest else { return None };
        return Some(Said::Decided(Decision::Kept(kept.clone())));
    }
    let rest = rest.iter().map(number).collect::<Option<Vec<i64>>>()?;
    let decision = match (kind, rest.as_slice()) {
        (3, []) => Decision::NoSession,
        (4, unknown) => {
            let places = unknown.iter().map(|place| usize::try_from(*place).ok()?.checked_sub(1)).collect::<Option<_>>()?;
            return Some(Said::Unknown(places));
        }
        (5, [day]) => return Some(Said::OtherDay(*day)),
        (6, []) => Decision::OtherArguments,
        (7, [left_ms]) => Decision::StillRunning { retry_after_ms: u64::try_from(*left_ms).unwrap_or(0).clamp(100, 1_000) },
        (9, []) => Decision::Unavailable,
        (10, []) => Decision::EndUnknown,
        (1, [now, after @ ..]) => {
            let left = tightest(*now, after, charge, day);
            Decision::Admitted { left, degraded: false, crowded: is_crowded(after, charge) }
        }
        (2, [index, wait_us, strikes, now, after @ ..]) => {
            let index = usize::try_from(*index).ok()?.checked_sub(1)?;
            let by = left(*now, *after.get(index)?, charge, index, day)?;
            let retry_after_ms = u64::try_from(*wait_us).ok()?.div_ceil(1000);
            let strikes = u32::try_from(*strikes).unwrap_or(0);
            Decision::Limited { by: Remaining { remaining: 0, ..by }, retry_after_ms, degraded: false, strikes }
        }
        _ => return None,
    };
    Some(Said::Decided(decision))
}

/// What is left in the part of the charge at that place.
#[expect(clippy::cast_precision_loss, reason = "microseconds since 2025 fit 52 bits for a century")]
pub(super) fn left(now: i64, after: i64, charge: &Charge, index: usize, day: i64) -> Option<Remaining> {
    if let Some(bucket) = charge.buckets.get(index) {
        let remaining = remaining(bucket.rate.scaled(1.0), after as f64, now as f64);
        let reset_ms = u64::try_from(after - now).unwrap_or(0).div_ceil(1000);
        return Some(Remaining { remaining: remaining.into(), reset_ms, ..Remaining::of_rate(bucket.scope, bucket.rate) });
    }
    let index = index - charge.buckets.len();
    if let Some(counter) = charge.counters.get(index) {
        let remaining = counter.most.saturating_sub(u64::try_from(after).unwrap_or(0));
        let reset_us = ((day + 1) * DAY_S - EPOCH_S) * 1_000_000 - now;
        let reset_ms = u64::try_from(reset_us).unwrap_or(0).div_ceil(1000);
        return Some(Remaining { remaining, reset_ms, ..Remaining::of_day(counter.scope, counter.most) });
    }
    let index = index - charge.counters.len();
    if let Some(budget) = charge.budgets.get(index) {
        let amount = u64::try_from(budget.budget.terms.amount_micro).unwrap_or(0);
        let remaining = amount.saturating_sub(u64::try_from(after).unwrap_or(0));
        let reset_us = (budget.ends_s(day) - EPOCH_S) * 1_000_000 - now;
        let reset_ms = u64::try_from(reset_us).unwrap_or(0).div_ceil(1000);
        let by = Remaining::of_budget(budget.scope(), amount, budget.window_s(day));
        return Some(Remaining { remaining, reset_ms, ..by });
    }
    let seats = charge.seats.get(index - charge.budgets.len())?;
    let remaining = u64::from(seats.most).saturating_sub(u64::try_from(after).unwrap_or(0));
    Some(Remaining { remaining, ..Remaining::at_once(seats.scope, seats.most) })
}

/// Is somewhere less than a quarter of the places free?
fn is_crowded(after: &[i64], charge: &Charge) -> bool {
    let before = charge.buckets.len() + charge.counters.len() + charge.budgets.len();
    let running = after.iter().skip(before);
    charge.seats.iter().zip(running).any(|(seats, running)| running.saturating_mul(4) > i64::from(seats.most) * 3)
}

/// Where the script's microseconds begin.
const EPOCH_S: i64 = 1_760_000_000;

/// The bucket or counter that will say no first. Places among what runs are free again by themselves, and money is not counted in calls.
fn tightest(now: i64, after: &[i64], charge: &Charge, day: i64) -> Option<Remaining> {
    let most = charge.buckets.len() + charge.counters.len();
    let each = after.iter().take(most).enumerate().filter_map(|(index, &after)| left(now, after, charge, index, day));
    each.min_by_key(|left| left.remaining)
}
