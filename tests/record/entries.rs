//! Every call is one usage record and one audit entry of the same id, and counts once in the sums.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};
use trunkline_platform::catalog::{NewVersion, Price};
use trunkline_protocol::oauth::scope::Effect;

use crate::support::{Era, SOON, TestApp, Upstream, eventually, seed::insert_limit, tools};

/// Calls by outcome, from a query with both.
async fn by_outcome(sql: &mut PgConnection, query: &str) -> BTreeMap<String, i64> {
    let rows: Vec<(String, i64)> = sqlx::query_as(AssertSqlSafe(query.to_owned())).fetch_all(sql).await.expect("rows");
    rows.into_iter().filter(|(_, count)| *count != 0).collect()
}

/// Nothing is missing, nothing is there twice, and the sums are those of the calls.
pub(crate) async fn reconcile(sql: &mut PgConnection) -> BTreeMap<String, i64> {
    let apart: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM app.calls c FULL JOIN (SELECT * FROM app.audit_entries WHERE action = 'tools/call') a
         ON a.id = c.id AND a.tenant_id = c.tenant_id AND a.at = c.at AND a.actor_id = c.agent_id AND a.request_id = c.request_id
         WHERE a.id IS NULL OR c.id IS NULL",
    )
    .fetch_one(&mut *sql)
    .await
    .expect("a count");
    assert_eq!(apart, 0, "calls and audit entries differ");
    let twice: i64 =
        sqlx::query_scalar("SELECT count(*) - count(DISTINCT id) FROM app.calls").fetch_one(&mut *sql).await.expect("a count");
    assert_eq!(twice, 0);
    reconcile_sums(sql).await
}

/// All sums are those of the calls; gives how many there are by outcome.
pub(crate) async fn reconcile_sums(sql: &mut PgConnection) -> BTreeMap<String, i64> {
    let calls = by_outcome(sql, "SELECT outcome, count(*) FROM app.calls GROUP BY 1").await;
    let pairs = [("app.usage_rollups u WHERE u.step = 60".to_owned(), false)];
    // Every kind counts every call once, in each of its steps; what is of each has no latencies.
    let kinds = [
        ("all", &[1, 60, 1440][..]),
        ("tool", &[1, 60, 1440]),
        ("agent", &[1, 60, 1440]),
        ("version", &[1440]),
        ("each", &[1440, 10_080]),
    ];
    let kinds = kinds.iter().flat_map(|(kind, steps)| steps.iter().map(move |step| (*kind, step)));
    let kinds =
        kinds.map(|(kind, step)| (format!("app.usage_sums u WHERE u.kind = '{kind}' AND u.step = {step}"), kind != "each"));
    for (table, has_latency) in pairs.into_iter().chain(kinds) {
        let sums = format!(
            "SELECT o.outcome, sum(o.n)::bigint FROM (SELECT * FROM {table}) u, LATERAL (VALUES ('ok', ok), ('tool_error', tool_error),
               ('upstream_error', upstream_error), ('timeout', timeout), ('denied', denied), ('limited', limited),
               ('cancelled', cancelled), ('unknown', unknown)) AS o (outcome, n) GROUP BY 1"
        );
        assert_eq!(by_outcome(sql, &sums).await, calls, "{table}");
        let totals = format!(
            "SELECT 'differs', count(*) FROM (SELECT sum(cost_micro) AS c, sum(bytes_in) AS i, sum(bytes_out) AS o FROM {table}) u,
               (SELECT sum(cost_micro) AS c, sum(bytes_in) AS i, sum(bytes_out) AS o FROM app.calls) t
             WHERE (u.c, u.i, u.o) IS DISTINCT FROM (t.c, t.i, t.o)"
        );
        assert!(by_outcome(sql, &totals).await.is_empty(), "cost and bytes of {table}");
        let ran =
            format!("SELECT 'latencies', COALESCE(sum(x), 0)::bigint FROM (SELECT * FROM {table}) u, unnest(u.histogram) x");
        let expected = calls.iter().filter(|(outcome, _)| has_latency && !["denied", "limited"].contains(&outcome.as_str()));
        let expected: i64 = expected.map(|(_, count)| count).sum();
        assert_eq!(by_outcome(sql, &ran).await.values().sum::<i64>(), expected, "latencies of {table}");
    }
    calls
}

#[tokio::test]
async fn each_outcome_is_recorded_once_and_all_sums_agree() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:write").await;
    acme.tool("echo", NewVersion { price: Price::per_call(250), ..tools::echo() }).await;
    acme.tool("fails", NewVersion { price: Price::per_call(7), ..tools::get(&upstream.url("/status/500")) }).await;
    acme.tool("hangs", tools::within_ms(300, tools::get(&upstream.url("/hang")))).await;
    acme.tool("slow", tools::within_ms(30_000, tools::get(&upstream.url("/hang")))).await;
    acme.tool("hidden", tools::with_effect(Effect::Destructive, tools::echo())).await;
    let rare = acme.tool("rare", tools::echo()).await;
    insert_limit(&mut app.sql().await, &app, &acme, "agent_tool", Some(agent.id), Some(rare.id), (1, 1)).await;
    let text = json!({ "text": "argument-canary" });
    let mut expected = BTreeMap::new();
    for (tool, arguments, outcome, times) in [
        ("echo", &text, "ok", 3),
        ("echo", &json!({}), "tool_error", 2),
        ("fails", &json!({}), "upstream_error", 2),
        ("hangs", &json!({}), "timeout", 1),
        ("hidden", &text, "denied", 1),
        ("nothing", &text, "denied", 1),
        ("rare", &text, "ok", 1),
        ("rare", &text, "limited", 2),
    ] {
        for _ in 0..times {
            for era in if times == 1 { &Era::ALL[..1] } else { &Era::ALL[..] } {
                agent.call(*era, tool, arguments.clone()).await;
                *expected.entry(outcome.to_owned()).or_insert(0) += 1;
            }
        }
    }
    let slow = agent.message(Era::Stateless, "tools/call", json!({ "name": "slow", "arguments": {} }), "text/event-stream");
    let mut stream = slow.send().await.expect("an answer").bytes_stream();
    stream.next().await.expect("a chunk").expect("a chunk");
    drop(stream);
    expected.insert("cancelled".to_owned(), 1);
    let total: i64 = expected.values().sum();
    let mut sql = app.sql().await;
    eventually("all calls are there", SOON, async || {
        let found: i64 = sqlx::query_scalar("SELECT count(*) FROM app.calls").fetch_one(&mut sql).await.expect("a count");
        (found >= total).then_some(())
    })
    .await;
    // Nothing comes afterwards either.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(reconcile(&mut sql).await, expected);
    let cost: i64 = sqlx::query_scalar("SELECT sum(cost_micro)::bigint FROM app.calls").fetch_one(&mut sql).await.expect("a sum");
    assert_eq!(cost, 6 * 250 + 4 * 7, "misfits, refusals and limits cost nothing");
    let decisions =
        by_outcome(&mut sql, "SELECT decision, count(*) FROM app.audit_entries WHERE action = 'tools/call' GROUP BY 1").await;
    assert_eq!((decisions["denied"], decisions["limited"]), (expected["denied"], expected["limited"]));
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM app.calls c WHERE to_jsonb(c)::text LIKE '%canary%'")
        .fetch_one(&mut sql)
        .await
        .expect("a count");
    assert_eq!(kept, 0, "no arguments are kept");
}

/// A transaction for each handful of entries would cost Postgres more than the entries.
#[tokio::test]
async fn entries_that_come_one_after_another_are_written_together() {
    let app = TestApp::builder().unlimited().start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let began = std::time::Instant::now();
    let mut calls = 0_i64;
    while began.elapsed() < std::time::Duration::from_secs(3) {
        assert_eq!(agent.call(Era::Stateless, "echo", json!({ "text": "x" })).await.status, 200);
        calls += 1;
    }
    let lasted_ms = i64::try_from(began.elapsed().as_millis()).expect("a time");
    let mut sql = app.sql().await;
    let transactions = eventually("all calls are there", SOON, async || {
        let (found, transactions): (i64, i64) = sqlx::query_as("SELECT count(*), count(DISTINCT xmin::text) FROM app.calls")
            .fetch_one(&mut sql)
            .await
            .expect("counts");
        (found == calls).then_some(transactions)
    })
    .await;
    // Each waits a tenth of a second for company; the first, and what is left at the end, come on top.
    assert!(transactions <= lasted_ms / 100 + 3, "{calls} calls in {lasted_ms} ms took {transactions} transactions");
}

#[tokio::test]
async fn a_key_says_on_which_day_it_was_used_last() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    assert!(agent.echo("x").await.is_ok());
    let mut sql = app.sql().await;
    eventually("the day is noted", SOON * 4, async || {
        app.act(|platform| async move { trunkline_platform::record::note_key_use(&platform).await.expect("noted") }).await;
        sqlx::query_scalar::<_, Option<chrono::NaiveDate>>("SELECT last_used_on FROM app.keys")
            .fetch_one(&mut sql)
            .await
            .expect("a key")
    })
    .await;
}
