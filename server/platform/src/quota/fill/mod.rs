//! How full a tenant's limits are at this moment: read by one script, which charges nothing. What nobody has used lately is full of room and is
//! not asked for.

mod store;

use std::{collections::HashSet, sync::LazyLock};

use chrono::TimeDelta;
use trunkline_protocol::oauth::scope::Effect;

use super::{
    Charge, ChargeOf, LimitTable, Of, Remaining, Scope,
    charge::{DAY_S, tenant_key},
    shared, store as limits_store,
};
use crate::{
    Platform,
    actor::{Member, Permission},
    db::TenantTx,
    error::Result,
    ids::{AgentId, ToolId},
    redis::Script,
};

static FILL: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("fill.lua")));

/// Pairs of agent and tool that are looked at: those that called most.
const MOST_PAIRS: i64 = 100;
/// What was used longer ago is taken to be full again.
const LATELY: TimeDelta = TimeDelta::hours(1);

/// Whose limit it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Whose {
    /// Of this agent, by id and name.
    pub agent: Option<(AgentId, String)>,
    /// On this tool, by id and name.
    pub tool: Option<(ToolId, String)>,
}

/// One limit, and what is left of it.
#[derive(Debug, Clone)]
pub struct Filled {
    /// Whose it is.
    pub whose: Whose,
    /// What is left.
    pub left: Remaining,
}

impl Filled {
    /// The part that is used, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "limits are small against 2^52")]
    pub fn share(&self) -> f64 {
        let most = self.left.burst.max(1) as f64;
        ((self.left.burst.saturating_sub(self.left.remaining)) as f64 / most).clamp(0.0, 1.0)
    }
}

/// An agent that has called a tool.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Pair {
    agent_id: AgentId,
    agent_name: String,
    is_throttled: bool,
    tool_id: ToolId,
    tool_name: String,
    #[sqlx(try_from = "String")]
    effect: StoredEffect,
}

#[derive(Debug, Clone, Copy)]
struct StoredEffect(Effect);

impl TryFrom<String> for StoredEffect {
    type Error = crate::Error;

    fn try_from(word: String) -> Result<Self> {
        word.parse().map(Self).map_err(crate::Error::internal)
    }
}

/// What is left of the limits that were used lately, the fullest first. `None` while Redis is away: then nobody knows.
pub async fn fill(platform: &Platform, actor: &Member) -> Result<Option<Vec<Filled>>> {
    actor.require(Permission::View)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let table = LimitTable::load(&mut tx).await?;
    let pairs = store::lately(&mut tx, now - LATELY, now, MOST_PAIRS).await?;
    let (charge, whose) = together(platform, &table, actor, &pairs);
    let day = platform.counters.today(platform);
    let key = tenant_key(&platform.redis, actor.tenant);
    let mut script = FILL.prepare_invoke();
    script.arg(charge.buckets.len()).arg(charge.counters.len());
    for bucket in &charge.buckets {
        script.key(key(&bucket.key));
    }
    for counter in &charge.counters {
        script.key(key(&counter.key(day)));
    }
    for seats in &charge.seats {
        script.key(key(&seats.key));
    }
    let Ok(mut answer) = platform.redis.run::<Vec<i64>>(&script).await else { return Ok(None) };
    begin_counters(&mut tx, &charge, day, &mut answer).await?;
    tx.commit().await?;
    let Some((now, after)) = answer.split_first() else { return Ok(None) };
    let left = after.iter().enumerate().filter_map(|(index, &after)| shared::left(*now, after, &charge, index, day));
    let mut filled: Vec<_> = whose.into_iter().zip(left).map(|(whose, left)| Filled { whose, left }).collect();
    filled.sort_by(|a, b| b.share().total_cmp(&a.share()));
    Ok(Some(filled))
}

/// Counters that no call has begun today have what is in the record, as admission will find.
async fn begin_counters(tx: &mut TenantTx, charge: &Charge, day: i64, answer: &mut [i64]) -> Result<()> {
    for (place, counter) in charge.counters.iter().enumerate() {
        if let Some(used) = answer.get_mut(1 + charge.buckets.len() + place).filter(|used| **used < 0) {
            *used = i64::try_from(limits_store::used_on(tx, counter.of, day * DAY_S).await?).unwrap_or(i64::MAX);
        }
    }
    Ok(())
}

/// Everything that calls of these pairs are charged to, each once, and whose each is, in the order of the script.
fn together(platform: &Platform, table: &LimitTable, actor: &Member, pairs: &[Pair]) -> (Charge, Vec<Whose>) {
    let settings = &platform.settings.quota;
    let (mut all, mut seen) = (Charge::default(), HashSet::new());
    let (mut of_buckets, mut of_counters, mut of_seats) = (Vec::new(), Vec::new(), Vec::new());
    let of = |pair: Option<&Pair>| ChargeOf {
        tenant: actor.tenant,
        agent: pair.map_or(AgentId::NIL, |pair| pair.agent_id),
        tool: pair.map_or(ToolId::NIL, |pair| pair.tool_id),
        effect: pair.map_or(Effect::Read, |pair| pair.effect.0),
        throttled: pair.is_some_and(|pair| pair.is_throttled),
        seated: true,
    };
    // The tenant's own, whether or not anybody has called.
    for pair in std::iter::once(None).chain(pairs.iter().map(Some)) {
        let charge = table.charge(settings, &of(pair));
        let is_wanted = |scope| pair.is_some() || whose_is(scope) == (false, false);
        for bucket in charge.buckets {
            if is_wanted(bucket.scope) && seen.insert(bucket.key.clone()) {
                of_buckets.push(whose(bucket.scope, pair));
                all.buckets.push(bucket);
            }
        }
        for counter in charge.counters {
            if is_wanted(counter.scope) && seen.insert(counter.name.clone()) {
                of_counters.push(whose(counter.scope, pair));
                all.counters.push(counter);
            }
        }
        for seats in charge.seats {
            if is_wanted(seats.scope) && seen.insert(seats.key.clone()) {
                of_seats.push(whose(seats.scope, pair));
                all.seats.push(seats);
            }
        }
    }
    (all, of_buckets.into_iter().chain(of_counters).chain(of_seats).collect())
}

/// Does a limit of that scope belong to an agent, to a tool?
fn whose_is(scope: Scope) -> (bool, bool) {
    match (scope, scope.of()) {
        (Scope::AgentTool, _) => (true, true),
        (Scope::Agent | Scope::Lists, _) | (_, Some(Of::Agent)) => (true, false),
        (Scope::Tool, _) | (_, Some(Of::Tool)) => (false, true),
        _ => (false, false),
    }
}

fn whose(scope: Scope, pair: Option<&Pair>) -> Whose {
    let Some(pair) = pair else { return Whose::default() };
    let (agent, tool) = whose_is(scope);
    Whose {
        agent: agent.then(|| (pair.agent_id, pair.agent_name.clone())),
        tool: tool.then(|| (pair.tool_id, pair.tool_name.clone())),
    }
}
