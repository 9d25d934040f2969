//! A budget under load: what is spent, what the counter says and what the record has are one sum.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use sqlx::PgConnection;
use trunkline_platform::{
    catalog::{HttpMethod, NewVersion, Place, Price},
    quota::budgets::{BudgetScope, Period},
};

use super::{ask, blocks_at, counter, ledger, plenty, set, sum};
use crate::support::{
    Agent, Draw, Era, OwnRedis, SOON, SlowProxy, Upstream, address_of, by_way_of, eventually, run_sql, say, tools,
};

/// 100 for the call, up to 400 as the tool reports.
const PRICE: Price = Price { call_micro: 100, kib_micro: 0, second_micro: 0, reported_micro: 400 };
const RESERVED: i64 = 500;
const CLIENTS: usize = 64;

/// Spends the budget from three replicas until nothing more is admitted; with `flush`, Redis forgets everything in the middle of it. Gives what was
/// admitted, and what was spent.
async fn spend(budget: i64, flush: bool) -> (u64, i64) {
    let (redis, upstream) = (OwnRedis::start().await, Upstream::start().await);
    let app = plenty().set("REDIS_URL", redis.url()).start().await;
    let (second, third) = (app.replica().await, app.replica().await);
    let acme = app.tenant("acme").await;
    let tool = tools::http(HttpMethod::Get, &upstream.url("/cost/{cost}"), &[("cost", Place::Path)]);
    acme.tool("paid", NewVersion { price: PRICE, ..tool }).await;
    let agent = acme.agent("agent", "tools:read").await;
    set(&app, &acme, BudgetScope::Tenant, Period::Month, blocks_at(budget)).await;
    let urls = [&app.url, &second.url, &third.url].map(|url| agent.url.replace(&app.url, url));
    let admitted = Arc::new(AtomicU64::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let (agent, admitted) = (agent.at(&urls[number % 3]), Arc::clone(&admitted));
        clients.spawn(async move {
            let mut draw = Draw::new(number as u64);
            let mut refusals = 0;
            while refusals < 3 {
                let cost = draw.below(501).to_string();
                let answer = agent.call(Era::Handshake, "paid", json!({ "cost": cost })).await;
                match answer.status {
                    200 if answer.is_ok() => {
                        admitted.fetch_add(1, Ordering::Relaxed);
                        refusals = 0;
                    }
                    429 => {
                        // What is reserved too much comes back when the record has the call.
                        refusals += 1;
                        tokio::time::sleep(Duration::from_millis(700)).await;
                    }
                    // A busy machine: not read, not decided, or not recorded, in time.
                    408 | 503 => tokio::time::sleep(Duration::from_millis(50)).await,
                    status => panic!("{status}: {}", answer.text),
                }
            }
        });
    }
    if flush {
        let half = u64::try_from(budget / 800).expect("a count");
        eventually("half of it is spent", SOON * 3, async || (admitted.load(Ordering::Relaxed) >= half).then_some(())).await;
        let _: () = ask(&redis, &["FLUSHALL"]).await;
    }
    while let Some(done) = clients.join_next().await {
        done.expect("no panic");
    }
    let mut sql = app.sql().await;
    let mut last = (None, vec![], 0);
    let spent = eventually("the counter is the sum of the record", SOON, async || {
        // Whoever asks for a counter that is not there begins it.
        let _ = agent.call(Era::Handshake, "paid", json!({ "cost": "0" })).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let spent = ledger(&mut sql).await;
        let (value, reserved) = counter(&redis).await;
        let now = (value, reserved, spent);
        if last != now {
            // Which of them is off, and by how much, if it stays so.
            last = now.clone();
            say(&format!("money: counter, what is reserved of it, and record: {now:?}"));
        }
        (now == (Some(spent), vec![], spent)).then_some(spent)
    })
    .await;
    let sums = "SELECT sum(cost_micro)::bigint FROM app.usage_rollups WHERE step = 60";
    assert_eq!(sum(&mut sql, sums).await, spent);
    let ran = sum(&mut sql, "SELECT count(*) FROM app.calls WHERE outcome = 'ok'").await;
    let least = sum(&mut sql, "SELECT COALESCE(min(cost_micro), 0) FROM app.calls WHERE outcome = 'ok'").await;
    assert!(least >= 100 && upstream.seen().len() >= usize::try_from(ran).expect("a count"), "{least} {ran}");
    (admitted.load(Ordering::Relaxed), spent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_on_three_replicas_spend_a_budget_and_not_more() {
    let budget = 120_000;
    let (calls, spent) = spend(budget, false).await;
    assert!(spent <= budget && spent + RESERVED > budget, "{spent} of {budget}");
    say(&format!("money: {calls} calls of {CLIENTS} clients on 3 replicas spent {spent} of {budget} micro-units"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_forgets_no_money_but_what_is_in_flight() {
    let budget = 120_000;
    let (calls, spent) = spend(budget, true).await;
    let in_flight = RESERVED * i64::try_from(CLIENTS).expect("small");
    assert!(spent <= budget + in_flight && spent + RESERVED > budget, "{spent} of {budget}");
    say(&format!(
        "money: with a flush, {calls} calls spent {spent} of {budget} micro-units; {in_flight} may have been in flight"
    ));
}

/// How long the second replica's messages to and from Postgres take: the test has twice as long for what happens between its reading and its writing.
const LATE: Duration = Duration::from_millis(100);

/// Two replicas and a call that Redis has forgotten come to the right sum. It does not prove that a settlement ends a round: without that it passed twice of
/// two times, as the call seldom comes to the record just between the other replica's reading and its writing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_redis_forgot_is_not_lost_while_its_counter_begins_elsewhere() {
    let redis = OwnRedis::start().await;
    let app = plenty().set("REDIS_URL", redis.url()).start().await;
    let proxy = SlowProxy::start(address_of(&app.database().app), LATE).await;
    let late = app.with_settings(&[("DATABASE_URL", &by_way_of(proxy.addr.port(), &app.database().app))]).await;
    let acme = app.tenant("acme").await;
    acme.tool("paid", NewVersion { price: Price { reported_micro: 0, ..PRICE }, ..tools::echo() }).await;
    let agent = acme.agent("agent", "tools:read").await;
    set(&app, &acme, BudgetScope::Tenant, Period::Month, blocks_at(1_000_000)).await;
    let there = agent.at(&agent.url.replace(&app.url, &late.url));
    let call = async |agent: &Agent| {
        let answer = agent.call(Era::Stateless, "paid", json!({ "text": "x" })).await;
        assert!(answer.is_ok(), "{} {}", answer.status, answer.text);
    };
    call(&there).await;
    let mut sql = app.sql().await;
    let settled = async |sql: &mut PgConnection| {
        let spent = ledger(sql).await;
        (counter(&redis).await == (Some(spent), vec![])).then_some(spent)
    };
    eventually("the first is settled", SOON, async || settled(&mut sql).await).await;

    // A call that Postgres does not take yet, and whose reservation Redis forgets.
    let mut holding = app.sql().await;
    run_sql(&mut holding, "BEGIN; LOCK TABLE app.calls IN SHARE MODE".to_owned()).await;
    call(&agent).await;
    for key in ask::<Vec<String>>(&redis, &["KEYS", "*:b:*"]).await {
        let _: i64 = ask(&redis, &["DEL", &key]).await;
    }
    // The other replica begins the counter; when it has read the record, and does not know it yet, the call comes there and is settled.
    let beginning = tokio::spawn({
        let there = there.clone();
        async move { there.call(Era::Stateless, "paid", json!({ "text": "x" })).await.is_ok() }
    });
    eventually("the record is read", SOON, async || {
        let reading = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND state = 'idle in transaction' AND query LIKE '%app.usage_rollups%UNION ALL%'";
        (sum(&mut sql, reading).await > 0).then_some(())
    })
    .await;
    run_sql(&mut holding, "COMMIT".to_owned()).await;
    assert!(beginning.await.expect("no panic"));
    eventually("all three are in the record", SOON, async || (ledger(&mut sql).await == 3 * 100).then_some(())).await;
    // Whoever asks for a counter that is not there begins it.
    call(&agent).await;
    eventually("the counter is the sum of the record", SOON, async || settled(&mut sql).await.filter(|spent| *spent == 4 * 100))
        .await;
}

const CLAIM: &str = include_str!("../../server/platform/src/quota/budgets/claim.lua");
const SETTLE: &str = include_str!("../../server/platform/src/quota/budgets/settle.lua");
const BEGIN: &str = include_str!("../../server/platform/src/quota/budgets/begin.lua");

/// The scripts alone, in the order in which a call comes to the record just between its reading and the beginning of a counter.
#[tokio::test]
async fn a_settlement_that_finds_no_reservation_ends_the_round_in_which_the_record_was_read() {
    let redis = OwnRedis::start().await;
    let claim = ["EVAL", CLAIM, "3", "{t}:counter", "{t}:open", "{t}:round"];
    let settle = ["EVAL", SETTLE, "3", "{t}:counter", "{t}:open", "{t}:round", "call:200", "0", "200"];
    let begin = ["EVAL", BEGIN, "3", "{t}:counter", "{t}:open", "{t}:round"];
    let first: Vec<String> = ask(&redis, &[&claim[..], &["one", "60"]].concat()).await;
    assert_eq!(first, ["one"]);
    // Read by now: 100. The call of 200 comes to the record, and is settled.
    let _: i64 = ask(&redis, &settle).await;
    let begun: i64 = ask(&redis, &[&begin[..], &["one", "100", "1000"]].concat()).await;
    assert_eq!(begun, 0, "what was read before the call is not taken");
    let second: Vec<String> = ask(&redis, &[&claim[..], &["two", "60"]].concat()).await;
    assert_eq!(second, ["two"]);
    let begun: i64 = ask(&redis, &[&begin[..], &["two", "300", "1000"]].concat()).await;
    let counter: String = ask(&redis, &["GET", "{t}:counter"]).await;
    assert_eq!((begun, &*counter), (1, "300"));
}
