//! Sums are held against the record and made right: late calls, wrong sums, and a correction that is killed.

use std::{process::Output, time::Duration};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::{
    record::{reconcile, reconcile_sums},
    support::{Agent, SOON, Tenant, TestApp, eventually, process, tools},
};

/// So many calls of the record, spread evenly over that time, as the record writer leaves them; without their sums.
pub(super) async fn insert_calls(
    sql: &mut PgConnection,
    of: (&Tenant<'_>, &Agent),
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    count: i64,
) {
    sqlx::query(
        "INSERT INTO app.calls (id, tenant_id, at, agent_id, tool_id, tool_version_id, tool_name, outcome, latency_us, auth_us, admission_us,
                                upstream_us, bytes_in, bytes_out, cost_micro, revision, request_id, user_id)
         SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000' || '8' || substr(md5(n::text), 1, 15))::uuid, $1, at, $2,
                md5('tool' || n % 7)::uuid, md5('version' || n % 7)::uuid, 'tool' || n % 7,
                (ARRAY['ok', 'ok', 'ok', 'tool_error', 'upstream_error', 'timeout', 'denied', 'limited', 'cancelled', 'unknown'])[(1 + n % 10)::int],
                100 + (n * 7919) % 5000000, 1, 1, 1, 10, 20, n % 3 * 250, '2026-07-28', 'req', CASE n % 2 WHEN 1 THEN md5('user')::uuid END
         FROM generate_series(0, $5 - 1) AS n, LATERAL (SELECT $3 + n * ($4 - $3) / $5 AS at) AS t",
    )
    .bind(of.0.id)
    .bind(of.1.id)
    .bind(from)
    .bind(to)
    .bind(count)
    .execute(sql)
    .await
    .expect("calls");
}

pub(super) fn usage(app: &TestApp, word: &str, arguments: &[&str]) -> Output {
    process::run(&[&["usage", word], arguments].concat(), app.settings(), &std::env::temp_dir())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The first day of this month, of which there is a partition, and that as an argument.
fn month() -> (DateTime<Utc>, String) {
    let today = Utc::now().date_naive();
    let first: NaiveDate = chrono::Datelike::with_day(&today, 1).expect("a day");
    (first.and_time(chrono::NaiveTime::MIN).and_utc(), first.to_string())
}

#[tokio::test]
async fn wrong_sums_are_found_and_corrected_while_calls_go_on() {
    let app = TestApp::builder().unlimited().start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:write").await;
    let mut sql = app.sql().await;
    let (month, from) = month();
    insert_calls(&mut sql, (&acme, &agent), (month, month + TimeDelta::days(3)), 15_000).await;
    for n in 0..20 {
        assert!(agent.echo(&n.to_string()).await.is_ok());
    }
    let to = (month + TimeDelta::days(40)).date_naive().to_string();
    let range = ["--tenant", "acme", "--from", from.as_str(), "--to", to.as_str()];
    let verified = usage(&app, "verify", &range);
    assert!(!verified.status.success() && said(&verified).contains("sums are wrong"), "{}", said(&verified));
    let rebuilt = usage(&app, "rebuild", &range);
    assert!(rebuilt.status.success() && said(&rebuilt).contains("sums were corrected"), "{}", said(&rebuilt));
    eventually("the calls are there", SOON, async || {
        let found: i64 = sqlx::query_scalar("SELECT count(*) FROM app.calls").fetch_one(&mut sql).await.expect("a count");
        (found == 15_020).then_some(())
    })
    .await;
    // Minutes that are about to go are not made again: what is compared below has all of them.
    insert_minutes(&mut sql).await;
    reconcile_sums(&mut sql).await;
    let verified = usage(&app, "verify", &range);
    assert!(verified.status.success() && said(&verified).contains("all sums are those of the record"), "{}", said(&verified));

    // Too many, too few, in the wrong bucket, of something that never was: all of it is found, and made right.
    for statement in [
        "UPDATE app.usage_sums SET ok = ok + 1 WHERE kind = 'all' AND step = 1440",
        "UPDATE app.usage_sums SET bytes_out = bytes_out - 1 WHERE kind = 'each' AND step = 10080",
        "UPDATE app.usage_sums SET cost_micro = cost_micro + 1 WHERE kind = 'each' AND step = 1440",
        "DELETE FROM app.usage_sums WHERE kind = 'tool' AND step = 60 AND tool_id = md5('tool3')::uuid",
        "UPDATE app.usage_rollups SET limited = limited + 1 WHERE step = 60",
        "UPDATE app.usage_sums SET histogram = app.histogram_merge(histogram, '[5:6]={1,-1}') WHERE kind = 'agent' AND step = 60",
        "INSERT INTO app.usage_sums SELECT tenant_id, kind, step, start, gen_random_uuid(), tool_id, version_id, grant_id, user_id, ok, tool_error,
           upstream_error, timeout, denied, limited, cancelled, unknown, cost_micro, bytes_in, bytes_out, counted, tokens_definition, tokens_out,
           context_micro, histogram FROM app.usage_sums WHERE kind = 'agent' AND step = 1440",
    ] {
        sqlx::query(statement).execute(&mut sql).await.expect(statement);
        let verified = usage(&app, "verify", &range);
        assert!(!verified.status.success(), "{statement}: {}", said(&verified));
        assert!(usage(&app, "rebuild", &range).status.success());
        assert!(usage(&app, "verify", &range).status.success(), "{statement}");
    }
}

/// The sums by the minute that the recount leaves out, as it would write them: from those of the hour, of which only the number matters here.
async fn insert_minutes(sql: &mut PgConnection) {
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT CASE attname WHEN 'step' THEN '1::smallint' ELSE attname::text END FROM pg_attribute
         WHERE attrelid = 'app.usage_sums'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
    )
    .fetch_all(&mut *sql)
    .await
    .expect("columns");
    let insert = format!(
        "INSERT INTO app.usage_sums SELECT {} FROM app.usage_sums h WHERE h.step = 60 AND NOT EXISTS
           (SELECT FROM app.usage_sums m WHERE m.kind = h.kind AND m.step = 1 AND m.start >= h.start AND m.start < h.start + interval '1 hour')",
        columns.join(", ")
    );
    sqlx::query(sqlx::AssertSqlSafe(insert)).execute(&mut *sql).await.expect("minutes");
}

#[tokio::test]
async fn a_correction_that_is_killed_counts_nothing_twice() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:write").await;
    let mut sql = app.sql().await;
    let (month, from) = month();
    insert_calls(&mut sql, (&acme, &agent), (month, month + TimeDelta::days(2)), 40_000).await;
    let to = (month + TimeDelta::days(1)).date_naive().to_string();
    let range = ["--tenant", "acme", "--from", from.as_str(), "--to", to.as_str()];
    let mut cut = 0;
    for life_ms in [150, 300, 450, 600, 900, 1_300] {
        let mut child = process::command(&[&["usage", "rebuild"], &range[..]].concat())
            .envs(app.settings())
            .spawn()
            .expect("the binary starts");
        tokio::time::sleep(Duration::from_millis(life_ms)).await;
        cut += i32::from(child.try_wait().expect("a child").is_none());
        child.kill().expect("killed");
        child.wait().expect("its end");
    }
    assert!(cut > 0, "no correction was cut");
    let rebuilt = usage(&app, "rebuild", &range);
    assert!(rebuilt.status.success(), "{}", said(&rebuilt));
    insert_minutes(&mut sql).await;
    reconcile_sums(&mut sql).await;
    assert!(usage(&app, "verify", &range).status.success());
}

#[tokio::test]
async fn calls_that_come_late_are_in_the_sums_of_their_time() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:write").await;
    assert!(agent.echo("on time").await.is_ok());
    let mut sql = app.sql().await;
    // What the check has looked at already is no different.
    app.clock.advance(TimeDelta::hours(-3));
    assert!(agent.echo("three hours late").await.is_ok());
    app.clock.advance(TimeDelta::hours(3));
    eventually("both are there", SOON, async || {
        let found: i64 = sqlx::query_scalar("SELECT count(*) FROM app.calls").fetch_one(&mut sql).await.expect("a count");
        (found == 2).then_some(())
    })
    .await;
    reconcile(&mut sql).await;
    let hours: i64 = sqlx::query_scalar("SELECT count(*) FROM app.usage_sums WHERE kind = 'all' AND step = 60 AND ok = 1")
        .fetch_one(&mut sql)
        .await
        .expect("a count");
    assert_eq!(hours, 2, "each in its own hour");
}

#[tokio::test]
async fn the_check_shouts_once_sums_differ() {
    let mut app = TestApp::start().await;
    app.expect_error("sums of usage differ from the record");
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:write").await;
    assert!(agent.echo("x").await.is_ok());
    let mut sql = app.sql().await;
    eventually("it is there", SOON, async || {
        let found: i64 = sqlx::query_scalar("SELECT count(*) FROM app.calls").fetch_one(&mut sql).await.expect("a count");
        (found == 1).then_some(())
    })
    .await;
    app.clock.advance(TimeDelta::hours(2));
    let again =
        "UPDATE app.usage_checks SET due_at = to_timestamp(0), leased_until = NULL, checked_to = checked_to - interval '3 hours'";
    let wrong = || app.platform.metrics.usage_sums_wrong.get();
    sqlx::query(again).execute(&mut sql).await.expect("due");
    trunkline_platform::usage::check_due(&app.platform).await.expect("a check");
    assert_eq!(wrong(), 0);
    sqlx::query("UPDATE app.usage_sums SET cost_micro = cost_micro + 1 WHERE kind = 'tool' AND step = 60")
        .execute(&mut sql)
        .await
        .expect("a wrong sum");
    sqlx::query(again).execute(&mut sql).await.expect("due");
    trunkline_platform::usage::check_due(&app.platform).await.expect("a check");
    assert_eq!(wrong(), 1);
    // And pages with sums say so, until they are made right. No other tenant hears of it.
    let (owner, day) = (acme.owner_browser().await, Utc::now().date_naive().to_string());
    for (path, is_told) in [("/t/acme/usage", true), ("/t/acme", true), ("/t/acme/members", false)] {
        let page = owner.get(path).await.ok().body;
        let words = format!("trunkline usage rebuild --tenant acme --from {day} --to {day}");
        assert_eq!(page.contains(&words) && page.contains("Sums are wrong"), is_told, "{path}: {page}");
    }
    let bravo = app.tenant("bravo").await;
    assert!(!bravo.owner_browser().await.get("/t/bravo/usage").await.ok().body.contains("Sums are wrong"));
    let rebuilt = usage(&app, "rebuild", &["--tenant", "acme", "--from", &day]);
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    assert!(!owner.get("/t/acme/usage").await.ok().body.contains("Sums are wrong"));
}

#[tokio::test]
async fn what_the_record_has_lost_is_not_counted_to_nothing() {
    let app = TestApp::start().await;
    app.tenant("acme").await;
    for (arguments, words) in [
        (&["--tenant", "acme", "--from", "2019-06-01", "--to", "2019-06-30"][..], "The record of June 2019 is not kept"),
        (&["--tenant", "nobody", "--from", "2026-11-01"], "tenant"),
        (&["--tenant", "acme", "--from", "2026-11-02", "--to", "2026-11-01"], "not before the first"),
        (&["--tenant", "acme", "--from", "0001-01-01"], "at most 4000 days"),
        (&["--tenant", "acme", "--from", "yesterday"], "expected a day such as"),
    ] {
        let refused = usage(&app, "rebuild", arguments);
        assert!(!refused.status.success() && said(&refused).contains(words), "{words}: {}", said(&refused));
    }
}
