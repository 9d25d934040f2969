//! What if a limit were another one: the replay says of a day what the day says of itself.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use redis::aio::MultiplexedConnection;
use serde_json::json;
use trunkline_platform::{
    epoch,
    ids::LimitId,
    quota::{
        self, AgentLimits, Limit, LimitScope, Rate, ToolLimits,
        what_if::{Forecast, what_if},
    },
};

use super::patient;
use crate::support::{Agent, Draw, Era, OwnRedis, SOON, Tenant, TestApp, Visitor, eventually, tools};

const TOOLS: [&str; 2] = ["echo", "other"];
/// No call comes so near to the moment at which a bucket has room again: the machine is that late at times.
const NEAR_MS: i64 = 400;

/// A call of a day: when, from its beginning on, by which agent, to which tool.
type Planned = (i64, usize, usize);

/// A bucket as a child would write it: when the calls it has room for come in.
struct Tokens {
    interval_ms: f64,
    burst: f64,
    full_at: f64,
}

impl Tokens {
    fn new(rate: Rate) -> Self {
        Self { interval_ms: 60_000.0 / f64::from(rate.per_minute), burst: f64::from(rate.burst), full_at: 0.0 }
    }

    /// How much too early a call is; negative if it is not.
    fn early(&self, now: f64) -> f64 {
        self.full_at.max(now) + self.interval_ms - now - self.interval_ms * self.burst
    }
}

fn rate(per_minute: u32, burst: u32) -> Rate {
    Rate { per_minute, burst }
}

/// The limits that are asked about, and for each agent and tool the rates that bound their calls.
struct Wanted {
    agent: AgentLimits,
    tool: ToolLimits,
    tenant: Limit,
}

impl Wanted {
    fn new() -> Self {
        let total = Limit { rate: Some(rate(7, 4)), per_day: Some(60), at_once: None };
        Self {
            agent: AgentLimits { total, each_tool: Some(rate(5, 3)) },
            tool: ToolLimits { total: Limit { rate: Some(rate(4, 3)), per_day: Some(80), at_once: None }, each_agent: None },
            tenant: Limit::from(rate(11, 6)),
        }
    }

    fn scopes(&self, agents: &[Agent; 2], other: trunkline_platform::ids::ToolId) -> Vec<(LimitScope, Limit)> {
        let of_agent = self.agent.scopes(agents[0].id);
        of_agent.into_iter().chain(self.tool.scopes(other)).chain([(LimitScope::Tenant, self.tenant)]).collect()
    }

    fn buckets(&self) -> BTreeMap<&'static str, Tokens> {
        let each = self.agent.each_tool.expect("a rate");
        let total = |limit: Limit| Tokens::new(limit.rate.expect("a rate"));
        BTreeMap::from([
            ("first on echo", Tokens::new(each)),
            ("first on other", Tokens::new(each)),
            ("first", total(self.agent.total)),
            ("other", total(self.tool.total)),
            ("tenant", total(self.tenant)),
        ])
    }
}

fn bounds(agent: usize, tool: usize) -> Vec<&'static str> {
    let mut bounds = vec!["tenant"];
    bounds.extend((tool == 1).then_some("other"));
    bounds.extend((agent == 0).then_some("first"));
    bounds.extend((agent == 0).then_some(if tool == 0 { "first on echo" } else { "first on other" }));
    bounds
}

/// A day of calls in bursts, none of them near to a moment that decides.
fn plan(wanted: &Wanted) -> Vec<Planned> {
    let (mut draw, mut buckets, mut calls, mut now) = (Draw::new(6), wanted.buckets(), Vec::new(), 3_600_000_i64);
    let (mut of_first, mut of_other) = (0, 0);
    for _ in 0..32 {
        now += 60_000 + i64::try_from(draw.below(1_200_000)).expect("small");
        for _ in 0..3 + draw.below(9) {
            now += 300 + i64::try_from(draw.below(6_000)).expect("small");
            let (agent, tool) = (usize::from(draw.below(2) == 0), usize::from(draw.below(3) > 0));
            let bounds = bounds(agent, tool);
            #[expect(clippy::cast_precision_loss, reason = "a day in milliseconds")]
            let float = |ms: i64| ms as f64;
            while bounds.iter().any(|name| buckets[name].early(float(now)).abs() < float(NEAR_MS)) {
                now += NEAR_MS;
            }
            let is_over = (agent == 0 && of_first >= 60) || (tool == 1 && of_other >= 80);
            if !is_over && bounds.iter().all(|name| buckets[name].early(float(now)) <= 0.0) {
                for name in bounds {
                    let bucket = buckets.get_mut(name).expect("a bucket");
                    bucket.full_at = bucket.full_at.max(float(now)) + bucket.interval_ms;
                }
                of_first += u32::from(agent == 0);
                of_other += u32::from(tool == 1);
            }
            calls.push((now, agent, tool));
        }
    }
    assert!(now < 86_000_000, "it is a day");
    calls
}

/// Redis' time, in microseconds.
async fn redis_now(redis: &mut MultiplexedConnection) -> i64 {
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(redis).await.expect("a time");
    seconds * 1_000_000 + micros
}

/// Lets that much time pass for every bucket, as if the clock of Redis had gone on.
async fn age(redis: &mut MultiplexedConnection, by_us: i64) {
    const AGE: &str = "
        for _, key in ipairs(redis.call('KEYS', '*:q:*')) do
            local value = not string.find(key, ':q:d:') and tonumber(redis.call('GET', key))
            if value then redis.call('SET', key, string.format('%.3f', value - ARGV[1]), 'KEEPTTL') end
        end";
    let _: () = redis::cmd("EVAL").arg(AGE).arg(0).arg(by_us).query_async(redis).await.expect("aged");
}

/// Makes the calls of a day that begins then, by the clock of the installation and that of Redis. Gives the places of those that were refused.
async fn live(
    app: &TestApp,
    redis: &mut MultiplexedConnection,
    agents: &[Agent; 2],
    from: DateTime<Utc>,
    calls: &[Planned],
) -> BTreeSet<usize> {
    // Another day: what was counted before is of yesterday.
    let counters: Vec<String> = redis::cmd("KEYS").arg("*:n:*").query_async(redis).await.expect("keys");
    for counter in counters {
        let _: () = redis::cmd("DEL").arg(counter).query_async(redis).await.expect("deleted");
    }
    age(redis, 86_400_000_000).await;
    let (mut refused, began, mut aged) = (BTreeSet::new(), redis_now(redis).await, 0);
    for (place, &(at_ms, agent, tool)) in calls.iter().enumerate() {
        let behind = at_ms * 1_000 - (redis_now(redis).await - began) - aged;
        age(redis, behind).await;
        aged += behind;
        app.clock.advance(from + TimeDelta::milliseconds(at_ms) - app.platform.clock.now());
        let answer = agents[agent].call(Era::Stateless, TOOLS[tool], json!({ "text": "x" })).await;
        match answer.status {
            200 => {}
            429 => _ = refused.insert(place),
            status => panic!("{status}: {}", answer.text),
        }
    }
    refused
}

async fn forecast(app: &TestApp, tenant: &Tenant<'_>, changed: &[(LimitScope, Limit)], calls: usize) -> Forecast {
    let mut sql = app.sql().await;
    eventually("all calls are recorded", SOON, async || {
        let recorded: i64 = sqlx::query_scalar("SELECT count(*) FROM app.calls").fetch_one(&mut sql).await.expect("a count");
        (recorded == i64::try_from(calls).expect("small")).then_some(())
    })
    .await;
    let (owner, changed) = (tenant.owner.clone(), changed.to_vec());
    app.act(|platform| async move { what_if(&platform, &owner, &changed).await.expect("a forecast") }).await
}

/// Calls, refusals and the first of them, of each agent.
fn of_agents(forecast: &Forecast, agents: &[Agent; 2]) -> [(u64, u64, Option<i64>); 2] {
    [0, 1].map(|number: usize| {
        let found = forecast.agents.iter().find(|one| one.agent == agents[number].id).expect("it has called");
        (found.asked, found.refused, found.first.map(|(at, _)| at.timestamp_millis()))
    })
}

#[tokio::test]
async fn a_replayed_day_is_predicted_exactly() {
    let redis = OwnRedis::start().await;
    let app = patient(TestApp::builder().set("REDIS_URL", redis.url()).set("QUOTA_LADDER_REFUSALS", 0)).start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let other = acme.tool("other", tools::echo()).await;
    let agents = [acme.agent("first", "tools:read").await, acme.agent("second", "tools:read").await];
    let mut connection =
        redis::Client::open(redis.url()).expect("a URL").get_multiplexed_async_connection().await.expect("redis");
    let wanted = Wanted::new();
    let (calls, changed) = (plan(&wanted), wanted.scopes(&agents, other.id));

    // A day without these limits, and what would have become of it under them.
    let midnight = (app.platform.clock.now() + TimeDelta::days(3)).date_naive().and_hms_opt(0, 0, 0).expect("midnight").and_utc();
    assert_eq!(live(&app, &mut connection, &agents, midnight, &calls).await, BTreeSet::new());
    let said = forecast(&app, &acme, &changed, calls.len()).await;
    assert!(said.is_whole && said.since <= midnight - TimeDelta::days(7), "{said:?}");
    assert_eq!(forecast(&app, &acme, &[], calls.len()).await.refused(), 0);

    // The same day under these limits.
    let (tenant, limits) = (acme.id, changed.clone());
    app.act(|platform| async move {
        let mut tx = platform.db.tenant(tenant).await.expect("a transaction");
        for (scope, limit) in limits {
            quota::limits::set(&mut tx, LimitId::new(platform.clock.now()), scope, limit).await.expect("a limit");
        }
        tx.commit().await.expect("set");
        epoch::changed(&platform, tenant).await;
    })
    .await;
    let refused = live(&app, &mut connection, &agents, midnight + TimeDelta::days(1), &calls).await;
    let truth = [0, 1].map(|number: usize| {
        let of_agent = |place: &&usize| calls[**place].1 == number;
        let first =
            refused.iter().find(of_agent).map(|place| (midnight + TimeDelta::milliseconds(calls[*place].0)).timestamp_millis());
        let asked = calls.iter().filter(|(_, agent, _)| *agent == number).count();
        (asked as u64, refused.iter().filter(of_agent).count() as u64, first)
    });
    // The clock goes on while a call is on its way to its entry.
    let near = |first: Option<i64>| first.map(|first| first / 1_000);
    let [said_first, said_second] = of_agents(&said, &agents).map(|(asked, refused, first)| (asked, refused, near(first)));
    let [first, second] = truth.map(|(asked, refused, first)| (asked, refused, near(first)));
    assert_eq!((said_first.0, said_first.1, said_second.0, said_second.1), (first.0, first.1, second.0, second.1));
    for (said, truth) in [(said_first.2, first.2), (said_second.2, second.2)] {
        assert!(said.zip(truth).is_some_and(|(said, truth)| (0..=1).contains(&(said - truth))), "{said:?} {truth:?}");
    }
    assert!(first.1 > 30 && second.1 > 5 && first.1 + 20 < first.0, "{first:?} {second:?}: it is about something");

    // What was refused was asked too: both days together say it twice.
    let both = forecast(&app, &acme, &[], calls.len() * 2).await;
    assert_eq!((both.refused(), both.were_refused()), (2 * refused.len() as u64, refused.len() as u64));

    // On the page: asked in the form, nothing is saved.
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let page = owner.post("/t/acme/limits", &[("per_day", "0"), ("then", "check")]).await.ok();
    let all = (calls.len() * 2).to_string();
    assert!(page.body.contains(&format!("{all} of {all} calls would have been refused (100\u{a0}%)")), "{}", page.body);
    assert!(page.body.contains("value=\"0\"") && page.body.contains("the organisation’s day"), "{}", page.body);
    let edit = format!("/t/acme/agents/{}/edit", agents[1].id);
    let page = owner.post(&edit, &[("per_day", "0"), ("then", "check"), ("name", "renamed")]).await.ok();
    let (name, asked) = ("href=\"/t/acme/agents/", second.0 * 2);
    assert!(page.body.contains(name) && page.body.contains(&format!("of {asked}</span>")), "{}", page.body);
    let edit = format!("/t/acme/tools/{}/edit", other.id);
    let page = owner.post(&edit, &[("per_day", ""), ("per_minute", "6000"), ("then", "check"), ("version", "1")]).await.ok();
    assert!(page.body.contains("would have been refused"), "{}", page.body);
    assert_eq!(owner.post(&edit, &[("per_minute", "0"), ("then", "check"), ("version", "1")]).await.status, 422);
    assert_eq!(agents[0].list(Era::Stateless).await.tool_names().len(), 2);
    assert_eq!(forecast(&app, &acme, &[], calls.len() * 2).await.refused(), both.refused(), "nothing was saved");
}
