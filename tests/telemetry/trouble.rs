//! Numbers of what goes wrong in the background: work that fails, jobs that are given up, a spool that fills, a replica that is not ready.

use chrono::TimeDelta;
use sqlx::PgConnection;

use crate::support::{SOON, TestApp, eventually, figure, http, run_sql, tools};

/// The value of one sample, by its name and labels as they are written.
async fn sample(app: &TestApp, series: &str) -> Option<i64> {
    let answer = http().get(format!("{}/metrics", app.ops_url)).send().await.expect("an answer");
    let text = answer.text().await.expect("text");
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

async fn becomes(app: &TestApp, series: &str, what: impl Fn(i64) -> bool) {
    eventually(series, SOON, async || sample(app, series).await.filter(|value| what(*value))).await;
}

async fn execute(sql: &mut PgConnection, statement: &str) {
    run_sql(sql, statement.to_owned()).await;
}

#[tokio::test]
async fn work_that_fails_is_counted_by_name_until_it_works_again() {
    let app = TestApp::start().await;
    let mut sql = app.sql().await;
    let (failing, failed) = (r#"trunkline_failing_work{work="alerts"}"#, r#"trunkline_failed_rounds_total{work="alerts"}"#);
    becomes(&app, failing, |value| value == 0).await;
    assert_eq!(sample(&app, failed).await, Some(0));
    execute(&mut sql, "ALTER TABLE app.alert_rounds RENAME TO gone").await;
    becomes(&app, failing, |value| value == 1).await;
    assert!(sample(&app, failed).await.is_some_and(|count| count >= 1));
    assert_eq!(sample(&app, r#"trunkline_failing_work{work="probes"}"#).await, Some(0), "nothing else fails");
    execute(&mut sql, "ALTER TABLE app.gone RENAME TO alert_rounds").await;
    becomes(&app, failing, |value| value == 0).await;
}

#[tokio::test]
async fn f_33_a_clock_that_is_off_is_told() {
    let app = TestApp::start().await;
    becomes(&app, "trunkline_clock_skew_milliseconds", |ms| ms.abs() < 2_000).await;
    app.clock.advance(TimeDelta::hours(-1));
    becomes(&app, "trunkline_clock_skew_milliseconds", |ms| (-3_602_000..-3_598_000).contains(&ms)).await;
    app.clock.advance(TimeDelta::hours(2));
    becomes(&app, "trunkline_clock_skew_milliseconds", |ms| (3_598_000..3_602_000).contains(&ms)).await;
    figure("F33", "an hour behind and an hour before the database's clock are told within seconds");
}

#[tokio::test]
async fn jobs_that_are_given_up_are_counted_by_kind() {
    let mut app = TestApp::start().await;
    app.expect_error("a job failed for good");
    let mut sql = app.sql().await;
    let (letters, hooks) =
        (r#"trunkline_jobs_given_up_total{kind="send_letter"}"#, r#"trunkline_jobs_given_up_total{kind="post_hook"}"#);
    becomes(&app, letters, |value| value == 0).await;
    // Nobody can open them, and this is their last attempt.
    for kind in ["send_letter", "post_hook", "post_hook"] {
        execute(
            &mut sql,
            &format!(
                "INSERT INTO app.jobs (id, kind, payload, attempts, run_at, created_at)
                 VALUES (gen_random_uuid(), '{kind}', '{{}}', 5, to_timestamp(0), to_timestamp(0))"
            ),
        )
        .await;
    }
    becomes(&app, letters, |value| value == 1).await;
    becomes(&app, hooks, |value| value == 2).await;
}

#[tokio::test]
async fn what_waits_in_the_spool_is_told_in_bytes_and_a_replica_says_what_it_waits_for() {
    let app = TestApp::builder().unlimited().set("AUDIT_SPOOL_MAX_MIB", 10).start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    assert_eq!(sample(&app, "trunkline_record_room_bytes").await, Some(8 << 20));
    becomes(&app, "trunkline_record_queue_bytes", |bytes| bytes == 0).await;
    let mut sql = app.sql().await;
    execute(&mut sql, "BEGIN; LOCK TABLE app.calls IN ACCESS EXCLUSIVE MODE").await;
    assert!(agent.echo("x").await.is_ok());
    becomes(&app, "trunkline_record_queue_bytes", |bytes| bytes > 100).await;
    execute(&mut sql, "ROLLBACK").await;
    becomes(&app, "trunkline_record_queue_bytes", |bytes| bytes == 0).await;
    for reason in ["database", "record", "schema", "role", "stopping"] {
        assert_eq!(sample(&app, &format!(r#"trunkline_not_ready{{reason="{reason}"}}"#)).await, Some(0), "{reason}");
    }
}
