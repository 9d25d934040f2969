//! Each tenant is looked at once a minute, by one replica at a time. What a look changes and whom it tells are one transaction.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use futures_util::{StreamExt as _, stream::FuturesUnordered};

use super::{
    alert::{Alert, Kind, State},
    judge::{self, Look, Recent, Usual, Verdict},
    notice, store,
    turn::{self, Turn},
};
use crate::{
    Platform,
    db::TenantTx,
    error::{Error, Result},
    handshake::{self, Refused},
    ids::{AlertId, TenantId, ToolId},
};

/// How often a tenant is looked at.
const EVERY: TimeDelta = TimeDelta::minutes(1);
/// What a look sees.
const WINDOW: TimeDelta = TimeDelta::minutes(10);
/// What is usual is learnt from so long ago on, but not from the last hour.
const LEARNT_FROM: TimeDelta = TimeDelta::days(7);
/// What was over within this time counts as the same trouble.
const EPISODES: TimeDelta = TimeDelta::hours(6);
/// How long an alert is kept that was over.
const KEPT: TimeDelta = TimeDelta::days(30);
/// Longest look, and how long nobody else begins.
const DEADLINE: Duration = Duration::from_secs(30);
const LEASE: TimeDelta = TimeDelta::seconds(60);
/// Tenants that one replica looks at at the same time.
const TOGETHER: usize = 2;
/// Alerts that one look tells of; the others are told of by the next ones.
const TOLD: usize = 20;

/// Looks at every tenant that is due by now. Called by a background tick.
pub async fn look_due(platform: &Platform) -> Result<()> {
    let mut looking = FuturesUnordered::new();
    let mut busy: Vec<TenantId> = Vec::new();
    let mut outcome = Ok(());
    loop {
        while looking.len() < TOGETHER && outcome.is_ok() {
            match next_due(platform, &busy).await {
                Ok(Some(tenant)) => {
                    busy.push(tenant);
                    looking.push(look_and_tell(platform, tenant));
                }
                Ok(None) => break,
                // The queue cannot be read; what was begun is finished.
                Err(error) => outcome = Err(error),
            }
        }
        match looking.next().await {
            Some((tenant, is_looked_at)) => {
                // What failed waits until its lease ends, so that it is not tried again at once.
                if is_looked_at {
                    busy.retain(|one| *one != tenant);
                }
            }
            None => return outcome,
        }
    }
}

async fn next_due(platform: &Platform, but: &[TenantId]) -> Result<Option<TenantId>> {
    let now = platform.clock.now();
    let mut tx = platform.db.system().await?;
    let due = store::lease_due(&mut tx, but, now, now + LEASE).await?;
    tx.commit().await?;
    Ok(due)
}

/// A tenant that cannot be looked at is nobody else's trouble.
async fn look_and_tell(platform: &Platform, tenant: TenantId) -> (TenantId, bool) {
    let looked = tokio::time::timeout(DEADLINE, look_at(platform, tenant)).await;
    let looked = looked.unwrap_or_else(|_| Err(Error::internal("a look took longer than its lease")));
    if let Err(error) = &looked {
        tracing::warn!(tenant.id = %tenant, error = error as &dyn std::error::Error, "a tenant was not looked at for alerts");
    }
    (tenant, looked.is_ok())
}

async fn look_at(platform: &Platform, tenant: TenantId) -> Result<()> {
    let now = platform.clock.now();
    // Before the transaction, which waits for nobody. Without Redis this look says nothing of it.
    let refused = handshake::refused(platform, tenant, now).await.ok();
    let mut tx = platform.db.tenant(tenant).await?;
    if !store::lock_round(&mut tx, now).await? {
        return Ok(());
    }
    let open = store::open(&mut tx).await?;
    let mut looks = looks(&mut tx, &open, now).await?;
    looks.push(of_credentials(&mut tx, refused, &open).await?);
    looks.push(of_sums(&mut tx).await?);
    let mut open: HashMap<(Kind, String), Alert> =
        open.into_iter().map(|alert| ((alert.kind, alert.subject.clone()), alert)).collect();
    let mut changed = Vec::new();
    for look in looks {
        let known = open.remove(&(look.kind, look.subject.clone()));
        changed.extend(enter(&mut tx, known, &look, now).await?);
    }
    for (_, alert) in open {
        let look = unseen(&alert);
        changed.extend(enter(&mut tx, Some(alert), &look, now).await?);
    }
    changed.sort_by_key(|alert| (alert.since, alert.id));
    tell(platform, &mut tx, &mut changed, now).await?;
    for alert in &changed {
        store::put(&mut tx, alert).await?;
    }
    store::prune(&mut tx, now - KEPT).await?;
    store::release(&mut tx, now + EVERY).await?;
    tx.commit().await
}

/// What becomes of an alert, or of what might become one. `None`: there is none any more.
async fn enter(tx: &mut TenantTx, known: Option<Alert>, look: &Look, now: DateTime<Utc>) -> Result<Option<Alert>> {
    let is_new = known.is_none();
    if is_new && look.verdict != Verdict::Bad {
        return Ok(None);
    }
    let (episodes, silenced_until) = store::past(tx, (look.kind, &look.subject), now - EPISODES).await?;
    let mut alert = known.unwrap_or_else(|| begin(look, silenced_until, now));
    let turn = turn::enter(&mut alert, look, i32::try_from(episodes).unwrap_or(i32::MAX), now);
    if turn == Turn::Keep {
        return Ok(Some(alert));
    }
    if !is_new {
        store::delete(tx, alert.id).await?;
    }
    Ok(None)
}

fn begin(look: &Look, silenced_until: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Alert {
    Alert {
        id: AlertId::new(now),
        kind: look.kind,
        subject: look.subject.clone(),
        name: look.name.clone(),
        state: State::Watched,
        bad: 0,
        good: 0,
        usual: look.usual,
        message: look.message.clone(),
        since: now,
        last_bad_at: now,
        resolved_at: None,
        is_told: false,
        acknowledged: None,
        silenced_until,
    }
}

/// Tells of what fires and was not told of, unless it is silenced; and that it is over, of what was told of.
async fn tell(platform: &Platform, tx: &mut TenantTx, changed: &mut [Alert], now: DateTime<Utc>) -> Result<()> {
    let to_tell = |alert: &&mut Alert| match alert.state {
        State::Watched => false,
        State::Firing => !alert.is_told && !alert.is_silenced(now),
        State::Resolved => alert.is_told,
    };
    let mut firing = 0;
    for alert in changed.iter_mut().filter(to_tell) {
        if alert.state == State::Firing {
            firing += 1;
            if firing > TOLD {
                continue;
            }
            alert.is_told = true;
        }
        notice::tell(platform, tx, alert, now).await?;
    }
    Ok(())
}

/// What is open and was not seen this time.
fn unseen(alert: &Alert) -> Look {
    let (verdict, message) = match alert.kind {
        Kind::Probe => (Verdict::Good, "It was tried again, and works."),
        _ => (Verdict::Quiet, "It was not called for an hour."),
    };
    Look {
        kind: alert.kind,
        subject: alert.subject.clone(),
        name: alert.name.clone(),
        verdict,
        usual: alert.usual,
        message: message.to_owned(),
    }
}

/// Everything that is seen of a tenant now.
async fn looks(tx: &mut TenantTx, open: &[Alert], now: DateTime<Utc>) -> Result<Vec<Look>> {
    let since = trunc(now - WINDOW, TimeDelta::minutes(1));
    let tools = store::tools(tx, since).await?;
    let ids: Vec<ToolId> = tools.iter().map(|(id, ..)| *id).collect();
    let learnt = usual(tx, &ids, now).await?;
    let mut looks = Vec::new();
    for (id, name, recent) in &tools {
        let usual = learnt.get(id).copied().unwrap_or_default();
        looks.extend(of_tool((&id.to_string(), name), recent, usual, open));
    }
    for (id, name, recent) in store::agents(tx, since).await? {
        let (verdict, message) = judge::limits(&recent);
        looks.push(Look { kind: Kind::Limits, subject: id.to_string(), name, verdict, usual: 0.0, message });
    }
    for (tool, source, name) in store::failing(tx).await? {
        let subject = tool.map(|id| id.to_string()).or_else(|| source.map(|id| id.to_string())).unwrap_or_default();
        let message = "Trying it failed twice in a row.".to_owned();
        looks.push(Look { kind: Kind::Probe, subject, name, verdict: Verdict::Bad, usual: 0.0, message });
    }
    Ok(looks)
}

/// What was refused to those who are nobody's agent yet.
async fn of_credentials(tx: &mut TenantTx, refused: Option<Refused>, open: &[Alert]) -> Result<Look> {
    let begun = open.iter().find(|alert| alert.kind == Kind::Authentication);
    let usual = begun.map(|alert| alert.usual).or_else(|| refused.map(|refused| refused.usual)).unwrap_or_default();
    let (verdict, message) = match refused {
        Some(refused) => judge::authentication(refused.now, usual),
        None => (Verdict::Between, begun.map(|alert| alert.message.clone()).unwrap_or_default()),
    };
    let (name, _) = store::organisation(tx).await?;
    Ok(Look { kind: Kind::Authentication, subject: tx.tenant().to_string(), name, verdict, usual, message })
}

/// Sums of usage, as the last check found them.
async fn of_sums(tx: &mut TenantTx) -> Result<Look> {
    let (verdict, message) = match store::wrong_sums(tx).await? {
        Some(from) => {
            let from = from.format("%Y-%m-%d %H:%M UTC");
            let what =
                "what pages of usage and cost show is not what was recorded. The record itself and budgets are not concerned.";
            (Verdict::Bad, format!("From {from} on, {what} Whoever runs this installation can make it right."))
        }
        None => (Verdict::Good, "They were counted again, and are those of the record.".to_owned()),
    };
    let (name, _) = store::organisation(tx).await?;
    Ok(Look { kind: Kind::Usage, subject: tx.tenant().to_string(), name, verdict, usual: 0.0, message })
}

/// What is usual for those tools: learnt once an hour, and not from the trouble itself.
async fn usual(tx: &mut TenantTx, tools: &[ToolId], now: DateTime<Utc>) -> Result<HashMap<ToolId, Usual>> {
    let hour = trunc(now, TimeDelta::hours(1));
    let mut learnt = store::learnt(tx, hour, tools).await?;
    let unknown: Vec<ToolId> = tools.iter().copied().filter(|tool| !learnt.contains_key(tool)).collect();
    if !unknown.is_empty() {
        let until = hour - TimeDelta::hours(1);
        learnt.extend(store::learn(tx, hour, (until - LEARNT_FROM, until), &unknown).await?);
    }
    Ok(learnt)
}

/// A tool that fails is told of once: how fast it fails, or is refused, says nothing more.
fn of_tool((subject, name): (&str, &str), recent: &Recent, learnt: Usual, open: &[Alert]) -> Vec<Look> {
    let begun = |kind| open.iter().find(|alert| alert.kind == kind && alert.subject == subject).map(|alert| alert.usual);
    let look = |kind, usual, (verdict, message)| Look {
        kind,
        subject: subject.to_owned(),
        name: name.to_owned(),
        verdict,
        usual,
        message,
    };
    let share = begun(Kind::ErrorRate).unwrap_or_else(|| learnt.share());
    let errors = look(Kind::ErrorRate, share, judge::error_rate(recent, share));
    let fails = errors.verdict == Verdict::Bad;
    let mut looks = vec![errors, look(Kind::Limits, 0.0, judge::limits(recent))];
    let usual_ms = begun(Kind::P99).or_else(|| learnt.p99_ms());
    if let Some(usual_ms) = usual_ms.filter(|_| !fails) {
        looks.push(look(Kind::P99, usual_ms, judge::p99(recent, usual_ms)));
    }
    looks
}

fn trunc(at: DateTime<Utc>, step: TimeDelta) -> DateTime<Utc> {
    at.duration_trunc(step).unwrap_or(at)
}
