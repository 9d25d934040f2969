//! Limits of a day and of what runs at the same time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use reqwest::Client;
use serde_json::json;
use trunkline_protocol::oauth::scope::Effect;

use super::{insert_more, patient};
use crate::support::{
    Agent, Answer, Era, OwnRedis, SOON, TestApp, Upstream, Visitor, eventually, message, seed::insert_limit, tools,
};

/// An installation whose rates stand in nobody's way.
fn plenty() -> crate::support::Builder {
    TestApp::builder().unlimited().set("QUOTA_LADDER_REFUSALS", 0)
}

async fn call(agent: &Agent, tool: &str) -> Answer {
    agent.call(Era::Stateless, tool, json!({ "text": "x" })).await
}

fn scope(answer: &Answer) -> (&str, &str) {
    let data = &answer.json["error"]["data"];
    (data["scope"].as_str().unwrap_or_default(), data["of"].as_str().unwrap_or_default())
}

/// One command to a Redis.
pub(super) async fn redis<T: redis::FromRedisValue>(url: &str, command: &[&str]) -> T {
    let mut connection = redis::Client::open(url).expect("a URL").get_multiplexed_async_connection().await.expect("redis");
    let mut cmd = redis::cmd(command[0]);
    command[1..].iter().for_each(|argument| {
        cmd.arg(argument);
    });
    cmd.query_async(&mut connection).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q_03_a_day_of_a_thousand_is_exactly_a_thousand_for_192_workers_on_three_replicas() {
    let app = patient(plenty()).start().await;
    let (second, third) = (app.replica().await, app.replica().await);
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    insert_more(&app, &acme, "agent", (Some(agent.id), None), (Some(1_000), None)).await;
    let urls = [&app.url, &second.url, &third.url].map(|url| agent.url.replace(&app.url, url));
    let body: Arc<str> =
        message(Era::Handshake, "tools/call", json!({ "name": "echo", "arguments": { "text": "x" } })).to_string().into();
    let client = Client::builder().no_proxy().timeout(Duration::from_mins(1)).build().expect("a client");
    let (admitted, refused) = <(Arc<AtomicU64>, Arc<AtomicU64>)>::default();
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..192 {
        let (client, agent, body) = (client.clone(), agent.at(&urls[number % 3]), Arc::clone(&body));
        let (admitted, refused) = (Arc::clone(&admitted), Arc::clone(&refused));
        workers.spawn(async move {
            // Until it has been refused twice: the day does not come back.
            let mut refusals = 0;
            while refusals < 2 {
                let request = client.post(&agent.url).bearer_auth(&agent.key).header("content-type", "application/json");
                let response = request.body(body.to_string()).send().await.expect("an answer");
                match response.status().as_u16() {
                    200 => admitted.fetch_add(1, Ordering::Relaxed),
                    429 => {
                        refusals += 1;
                        refused.fetch_add(1, Ordering::Relaxed)
                    }
                    // Not decided, or not recorded in time: nothing ran, and a client asks again.
                    503 => 0,
                    status => panic!("{status}: {:?}", response.text().await),
                };
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done.expect("a worker does not panic");
    }
    assert_eq!((admitted.load(Ordering::Relaxed), refused.load(Ordering::Relaxed)), (1_000, 384));
    let refused = call(&agent, "echo").await;
    assert_eq!((refused.status, scope(&refused)), (429, ("day", "agent")), "{}", refused.text);
    let data = &refused.json["error"]["data"];
    assert_eq!((&data["limit"], &data["window_s"], &data["remaining"]), (&json!(1_000), &json!(86_400), &json!(0)), "{data}");
    assert!(data["retry_after_ms"].as_u64().is_some_and(|ms| ms <= 86_400_000), "{data}");
    assert_eq!(refused.header("ratelimit-policy"), r#""day";q=1000;w=86400"#);
}

#[tokio::test]
async fn q_02_five_limits_at_once_and_a_refused_call_costs_nothing_in_any() {
    let app = plenty().start().await;
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let (narrow, wide) = (acme.tool("narrow", tools::echo()).await, acme.tool("wide", tools::echo()).await);
    let mut sql = app.sql().await;
    // Hardly anything comes back while this runs.
    insert_limit(&mut sql, &app, &acme, "agent_tool", Some(agent.id), Some(narrow.id), (1, 7)).await;
    insert_limit(&mut sql, &app, &acme, "agent", Some(agent.id), None, (1, 40)).await;
    insert_limit(&mut sql, &app, &acme, "tool", None, Some(wide.id), (1, 20)).await;
    insert_limit(&mut sql, &app, &acme, "tenant", None, None, (1, 60)).await;
    insert_more(&app, &acme, "tool", (None, Some(narrow.id)), (Some(5), None)).await;
    let mut admitted = [0_u64; 2];
    for round in 0..40 {
        let tool = usize::from(round % 2 == 1);
        let answer = call(&agent, ["narrow", "wide"][tool]).await;
        assert!(matches!(answer.status, 200 | 429), "{}", answer.text);
        admitted[tool] += u64::from(answer.status == 200);
    }
    // The day of `narrow` ends before its bucket is empty; `wide` has its own twenty. Nobody paid for what was refused.
    assert_eq!(admitted, [5, 20]);
    let refused = call(&agent, "narrow").await;
    assert_eq!(scope(&refused), ("day", "tool"), "{}", refused.text);
    acme.tool("other", tools::echo()).await;
    let left = call(&agent, "other").await;
    assert_eq!(left.json["result"]["_meta"]["trunkline/limits"]["remaining"], json!(40 - 25 - 1), "{}", left.text);
    assert_eq!((left.header("ratelimit-policy"), left.header("x-ratelimit-remaining")), (r#""agent";q=1;w=60"#, "14"));
    assert!(left.header("ratelimit").starts_with(r#""agent";r=14;t="#), "{:?}", left.headers);
}

#[tokio::test]
async fn q_05_a_limit_of_none_is_a_refusal_for_good() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let tool = acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    insert_more(&app, &acme, "tool", (None, Some(tool.id)), (Some(0), None)).await;
    for era in Era::ALL {
        let refused = agent.call(era, "echo", json!({ "text": "x" })).await;
        assert_eq!((refused.status, refused.code()), (403, 4030), "{}", refused.text);
        assert_eq!(refused.json["error"]["data"]["retryable"], json!(false));
        assert_eq!((scope(&refused), refused.header("retry-after")), (("day", "tool"), ""));
    }
}

#[tokio::test]
async fn f_33_q_06_clocks_that_step_neither_give_calls_nor_lock_for_long() {
    let redis_of_its_own = OwnRedis::start().await;
    let app = plenty().set("REDIS_URL", redis_of_its_own.url()).start().await;
    let acme = app.tenant("acme").await;
    let tool = acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    insert_limit(&mut app.sql().await, &app, &acme, "agent_tool", Some(agent.id), Some(tool.id), (60, 2)).await;
    insert_more(&app, &acme, "agent", (Some(agent.id), None), (Some(6), None)).await;
    assert!(call(&agent, "echo").await.is_ok() && call(&agent, "echo").await.is_ok());
    // The replica's own clock decides nothing, neither of a minute nor of a day.
    for step in [TimeDelta::hours(1), TimeDelta::hours(-2), TimeDelta::days(1), TimeDelta::days(-1)] {
        app.clock.advance(step);
        let refused = call(&agent, "echo").await;
        assert_eq!((refused.status, scope(&refused).0), (429, "agent_tool"), "{step}: {}", refused.text);
    }
    // As if the clock of Redis had gone back by an hour since the bucket was written: it locks for one fill at most.
    let url = redis_of_its_own.url();
    let keys: Vec<String> = redis(&url, &["KEYS", &format!("*q:{}:{}", agent.id.uuid().simple(), tool.id.uuid().simple())]).await;
    let ahead: f64 = redis::<String>(&url, &["GET", &keys[0]]).await.parse::<f64>().expect("a number") + 3.6e9;
    let _: () = redis(&url, &["SET", &keys[0], &format!("{ahead:.3}"), "EX", "7200"]).await;
    let began = Instant::now();
    eventually("it is not locked", SOON, async || call(&agent, "echo").await.is_ok().then_some(())).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn q_07_every_key_has_an_end_and_those_of_calls_are_gone_soon() {
    let redis_of_its_own = OwnRedis::start().await;
    let app = plenty().set("REDIS_URL", redis_of_its_own.url()).start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    insert_more(&app, &acme, "agent", (Some(agent.id), None), (Some(3), Some(2))).await;
    for _ in 0..5 {
        call(&agent, "echo").await;
    }
    agent.list(Era::Stateless).await;
    let url = redis_of_its_own.url();
    let keys: Vec<String> = redis(&url, &["KEYS", "*"]).await;
    assert!(keys.len() > 5, "{keys:?}");
    for key in &keys {
        let left_s: i64 = redis(&url, &["TTL", key]).await;
        let most = if key.ends_with("epoch") {
            30 * 86_400
        } else if key.contains(":n:") {
            2 * 86_400
        } else {
            3_600
        };
        // -2: it has gone meanwhile, as places of calls do that have ended. -1: it stays for ever.
        assert!(left_s == -2 || (0..=most).contains(&left_s), "{key}: {left_s}");
    }
    if super::full() {
        // Buckets fill within a minute, decisions are forgotten after one. Epochs and days stay, as they should.
        tokio::time::sleep(Duration::from_secs(125)).await;
        let keys: Vec<String> = redis(&url, &["KEYS", "*"]).await;
        assert!(keys.iter().all(|key| key.ends_with("epoch") || key.contains(":n:")), "{keys:?}");
    }
}

#[tokio::test]
async fn q_08_all_keys_of_a_call_lie_in_one_slot_of_a_cluster() {
    let cluster = OwnRedis::start_cluster().await;
    let app = plenty().set("REDIS_URL", cluster.url()).start().await;
    let acme = app.tenant("acme").await;
    let tool = acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    insert_limit(&mut app.sql().await, &app, &acme, "tool", None, Some(tool.id), (600, 600)).await;
    insert_more(&app, &acme, "tenant", (None, None), (Some(100), Some(10))).await;
    insert_more(&app, &acme, "agent", (Some(agent.id), None), (Some(50), Some(5))).await;
    for _ in 0..5 {
        assert!(call(&agent, "echo").await.is_ok());
    }
    let keyed =
        agent.message(Era::Stateless, "tools/call", json!({ "name": "echo", "arguments": { "text": "x" } }), "application/json");
    let keyed = Answer::read(keyed.header("idempotency-key", "k").send().await.expect("an answer")).await;
    assert!(keyed.is_ok(), "{}", keyed.text);
    let mut sql = app.sql().await;
    let degraded = eventually("the calls are recorded", SOON, async || {
        let (calls, degraded): (i64, i64) = sqlx::query_as("SELECT count(*), count(*) FILTER (WHERE degraded) FROM app.calls")
            .fetch_one(&mut sql)
            .await
            .expect("calls");
        (calls == 6).then_some(degraded)
    });
    assert_eq!(degraded.await, 0, "a key in another slot would have been refused");
    let url = cluster.url();
    let keys: Vec<String> = redis(&url, &["KEYS", "*{t:*"]).await;
    let mut slots = std::collections::BTreeSet::new();
    for key in &keys {
        slots.insert(redis::<i64>(&url, &["CLUSTER", "KEYSLOT", key]).await);
    }
    assert!(keys.len() >= 8 && slots.len() == 1, "{keys:?} {slots:?}");
}

#[tokio::test]
async fn q_09_one_call_after_another_is_never_one_too_many_at_the_same_time() {
    let app = plenty().start().await;
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    acme.tool("echo", tools::echo()).await;
    insert_more(&app, &acme, "agent", (Some(agent.id), None), (None, Some(1))).await;
    for number in 0..200 {
        let answer = call(&agent, "echo").await;
        assert_eq!(answer.status, 200, "call {number}: {}", answer.text);
    }
}

#[tokio::test]
async fn q_09_a_limit_lowered_on_one_replica_holds_on_the_other_at_once() {
    let app = plenty().start().await;
    let second = app.replica().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let there = agent.at(&agent.url.replace(&app.url, &second.url));
    assert!(call(&there, "echo").await.is_ok());
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let path = format!("/t/acme/agents/{}/edit", agent.id);
    let csrf = owner.csrf().await;
    let form = |per_day: &'static str, at_once: &'static str| {
        vec![
            ("csrf", csrf.clone()),
            ("name", "agent".into()),
            ("ceiling", "read".into()),
            ("per_day", per_day.into()),
            ("at_once", at_once.into()),
        ]
    };
    let send = async |form: Vec<(&'static str, String)>| {
        owner.request(reqwest::Method::POST, &path, |request| request.form(&form)).await
    };
    for (per_day, at_once, what) in
        [("-1", "", "per day"), ("", "0", "none at all at once"), ("x", "", "no number"), ("", "10001", "too many")]
    {
        assert_eq!(send(form(per_day, at_once)).await.status, 422, "{what}");
    }
    assert!(call(&there, "echo").await.is_ok(), "nothing has changed");
    assert_eq!(send(form("3", "7")).await.status, 303);
    // Two calls were made before there was a limit: the record may or may not have had them when the counter began. Three more are the most.
    let mut statuses = Vec::new();
    while statuses.len() < 4 && !statuses.contains(&429) {
        statuses.push(call(&there, "echo").await.status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    let page = owner.get(&format!("/t/acme/agents/{}", agent.id)).await.ok();
    assert!(page.body.contains("3 a day (UTC)") && page.body.contains("<td class=\"end\">7</td>"), "{}", page.body);
}

#[tokio::test]
async fn f_06_q_11_a_flush_forgets_no_day() {
    let redis_of_its_own = OwnRedis::start().await;
    let app = plenty().set("REDIS_URL", redis_of_its_own.url()).start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    insert_more(&app, &acme, "agent", (Some(agent.id), None), (Some(100), None)).await;
    for _ in 0..70 {
        assert!(call(&agent, "echo").await.is_ok());
    }
    let mut sql = app.sql().await;
    eventually("the calls are recorded", SOON, async || {
        let calls: i64 = sqlx::query_scalar("SELECT count(*) FROM app.calls").fetch_one(&mut sql).await.expect("calls");
        (calls == 70).then_some(())
    })
    .await;
    let _: () = redis(&redis_of_its_own.url(), &["FLUSHALL"]).await;
    let mut after = 0;
    for _ in 0..60 {
        after += u32::from(call(&agent, "echo").await.is_ok());
    }
    assert_eq!(after, 30, "the record knows what was used");
}

#[tokio::test]
async fn as_many_run_at_the_same_time_as_may_on_all_replicas_together() {
    let upstream = Upstream::start().await;
    let app = plenty().start().await;
    let second = app.replica().await;
    let acme = app.tenant("acme").await;
    acme.tool("slow", tools::get(&upstream.url("/slow/3000"))).await;
    acme.tool("echo", tools::with_effect(Effect::Read, tools::echo())).await;
    let agent = acme.agent("agent", "tools:read").await;
    insert_more(&app, &acme, "agent", (Some(agent.id), None), (None, Some(2))).await;
    let there = agent.at(&agent.url.replace(&app.url, &second.url));
    let (one, other) = (agent.clone(), there.clone());
    let running = [
        tokio::spawn(async move { one.call(Era::Stateless, "slow", json!({})).await }),
        tokio::spawn(async move { other.call(Era::Stateless, "slow", json!({})).await }),
    ];
    eventually("both run", SOON, async || (upstream.seen().len() == 2).then_some(())).await;
    let refused = call(&there, "echo").await;
    assert_eq!((refused.status, scope(&refused)), (429, ("concurrency", "agent")), "{}", refused.text);
    assert_eq!(refused.header("ratelimit-policy"), r#""concurrency";q=2;qu="concurrent-requests""#);
    for call in running {
        assert!(call.await.expect("no panic").is_ok());
    }
    eventually("their places are free", Duration::from_secs(2), async || call(&there, "echo").await.is_ok().then_some(())).await;
}

#[tokio::test]
async fn plans_are_the_ceiling_of_a_tenant() {
    use trunkline_platform::quota::{Limit, Rate, plans};
    let app = plenty().start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    assert!(call(&agent, "echo").await.is_ok());
    // The tenant's own limit is higher than its plan.
    insert_limit(&mut app.sql().await, &app, &acme, "tenant", None, None, (6_000, 6_000)).await;
    let limit = Limit { rate: Some(Rate { per_minute: 1, burst: 3 }), per_day: None, at_once: None };
    app.act(move |platform| async move {
        plans::set(&platform, "small", limit).await.expect("a plan");
        plans::give(&platform, "acme", Some("small")).await.expect("it has it");
        assert!(plans::remove(&platform, "small").await.is_err(), "somebody has it");
        assert!(plans::give(&platform, "acme", Some("none-such")).await.is_err());
        assert!(plans::set(&platform, "Not a name", limit).await.is_err());
    })
    .await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(call(&agent, "echo").await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
    app.act(|platform| async move { plans::give(&platform, "acme", None).await.expect("taken away") }).await;
    // Its bucket is as empty as it was, and fills at the tenant's own rate.
    eventually("it has its own limit", SOON, async || call(&agent, "echo").await.is_ok().then_some(())).await;
}

#[tokio::test]
async fn the_whole_installation_has_a_bucket_if_it_is_set() {
    let app = plenty().set("QUOTA_INSTALLATION_PER_MINUTE", 600).set("QUOTA_INSTALLATION_BURST", 20).start().await;
    let second = app.replica().await;
    let (acme, bravo) = (app.tenant("acme").await, app.tenant("bravo").await);
    let mut agents = Vec::new();
    for tenant in [&acme, &bravo] {
        tenant.tool("echo", tools::echo()).await;
        agents.push(tenant.agent("agent", "tools:read").await);
    }
    agents[1] = agents[1].at(&agents[1].url.replace(&app.url, &second.url));
    let began = Instant::now();
    let (mut admitted, mut refused) = (0, 0);
    while began.elapsed() < Duration::from_secs(3) {
        for agent in &agents {
            let answer = call(agent, "echo").await;
            if answer.status == 200 {
                admitted += 1;
            } else {
                assert_eq!((answer.status, scope(&answer).0), (429, "installation"), "{}", answer.text);
                refused += 1;
            }
        }
    }
    let most = 20 + (began.elapsed().as_millis() / 100) + 3;
    assert!((15..=most).contains(&admitted), "{admitted} of at most {most}, {refused} refused");
}
