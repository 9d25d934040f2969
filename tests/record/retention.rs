//! L-30: a month of the record is dropped when its time has come, with a receipt, and never without.

use chrono::{Months, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, Executor as _};
use trunkline_platform::chain::retain;

use super::chain::{Recorded, calls, number, signed};
use crate::support::{TestApp, private::Folder};

/// A partition of a month that has gone by, such as an installation of that age has.
async fn partition(app: &TestApp, first: chrono::NaiveDate) -> String {
    let month = first.format("%Y%m").to_string();
    let next = first.checked_add_months(Months::new(1)).expect("a month");
    let mut sql = app.sql().await;
    for parent in ["calls", "audit_entries"] {
        let create =
            format!("CREATE TABLE app.{parent}_{month} PARTITION OF app.{parent} FOR VALUES FROM ('{first}Z') TO ('{next}Z')");
        sql.execute(AssertSqlSafe(create)).await.expect("a partition");
        let close = format!("SELECT app.close_partition('{parent}_{month}')");
        sql.execute(AssertSqlSafe(close)).await.expect("closed");
    }
    month
}

/// An installation of that time, which keeps its record for a month.
async fn keeping(dir: &str, off: TimeDelta) -> TestApp {
    TestApp::builder().set("AUDIT_CHECKPOINT_DIR", dir).set("AUDIT_RETENTION_MONTHS", 1).clock_off(off).start().await
}

async fn drops(app: &TestApp) -> Result<(), String> {
    retain(&app.platform).await.map_err(|error| format!("{error:?}"))
}

#[tokio::test]
async fn l_30_a_month_is_dropped_with_a_receipt_and_verifying_goes_on() {
    let folder = Folder::new("retention");
    let dir = folder.0.display().to_string();
    let now = Utc::now();
    let then = now.checked_sub_months(Months::new(3)).expect("a month");
    let first = chrono::Datelike::with_day(&then.date_naive(), 1).expect("a day");
    let middle = first.and_hms_opt(0, 0, 0).expect("a time").and_utc() + TimeDelta::days(14);
    let app = keeping(&dir, middle - now).await;
    let month = partition(&app, first).await;
    let it = Recorded::fill(app, folder).await;
    let of_then = it.seq;
    it.app.clock.advance(now - middle);
    // What is not older than a month stays.
    let mut sql = it.app.sql().await;
    calls(&it.app.tenant_of(it.owner.clone(), "acme".to_owned()), "later").await;
    // Not before the checkpoints are outside, where nothing gets for a while.
    let away = format!("{dir}.away");
    std::fs::rename(&dir, &away).expect("moved");
    std::fs::write(&dir, "").expect("a file in its place");
    sql.execute("UPDATE app.audit_heads SET delivered_seq = 0").await.expect("changed");
    let refused = drops(&it.app).await.expect_err("nothing is outside");
    std::fs::remove_file(&dir).expect("removed");
    std::fs::rename(&away, &dir).expect("moved back");
    assert!(refused.contains("stays until all of it is signed"), "{refused}");
    let all = signed(&it.app, 24).await;
    drops(&it.app).await.expect("dropped");
    drops(&it.app).await.expect("nothing is left to drop");
    assert_eq!(number(&mut sql, "SELECT count(*) FROM app.calls").await, 12);
    let gone: Option<String> = sqlx::query_scalar("SELECT to_regclass($1)::text")
        .bind(format!("app.audit_entries_{month}"))
        .fetch_one(&mut sql)
        .await
        .expect("an answer");
    assert_eq!(gone, None);
    // Dropping is an event, and evident.
    let told: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM app.audit_entries WHERE action = 'record.month_dropped' AND details = jsonb_build_object('month', $1::text, 'entries', $2::bigint)",
    )
    .bind(&month)
    .bind(of_then)
    .fetch_one(&mut sql)
    .await
    .expect("a number");
    assert_eq!(told, 1);
    signed(&it.app, 12).await;
    let (code, text) = it.verify();
    assert!(code == Some(0) && text.contains(&format!("{of_then} older ones were dropped by retention")), "{code:?} {text}");
    // An export begins after it and is verified with what is outside.
    for (what, format) in [("audit", "jsonl"), ("calls", "csv"), ("calls", "parquet")] {
        let (code, text) = it.offline(&it.export(what, format), &it.checkpoints);
        let first = format!("entries {} to {}", of_then + 1, all + 1);
        assert!(code == Some(0) && text.contains(&first), "{what} {format}: {code:?} {text}");
    }
    // The receipt is outside too; without it, and with one that was changed, what is gone is missing.
    let kept = std::fs::read_to_string(&it.checkpoints).expect("notes");
    assert!(kept.contains("/retention\n"), "{kept}");
    std::fs::write(&it.checkpoints, kept.replace("/retention\n", "/retentiom\n")).expect("written");
    let (code, text) = it.verify();
    assert!(code == Some(2) && text.contains("is not signed by this key"), "{code:?} {text}");
    std::fs::write(&it.checkpoints, "").expect("written");
    it.tamper(&["UPDATE app.audit_receipts SET note = replace(note, '1-', '1-1')".to_owned()], "entry 1 is gone").await;
    it.tamper(&["DELETE FROM app.audit_receipts".to_owned()], "entry 1 is gone: it was deleted").await;
}

#[tokio::test]
async fn l_30_what_is_not_as_it_was_stays() {
    let folder = Folder::new("retention");
    let dir = folder.0.display().to_string();
    let now = Utc::now();
    let then = now.checked_sub_months(Months::new(3)).expect("a month");
    let first = chrono::Datelike::with_day(&then.date_naive(), 1).expect("a day");
    let app = keeping(&dir, then - now).await;
    let month = partition(&app, first).await;
    let it = Recorded::fill(app, folder).await;
    it.app.clock.advance(now - then);
    it.tamper(&["UPDATE app.calls SET cost_micro = cost_micro + 1".to_owned()], "is not what was hashed").await;
    let refused = drops(&it.app).await.expect_err("it was changed");
    assert!(refused.contains(&month) && refused.contains("is not what was hashed"), "{refused}");
    assert_eq!(number(&mut it.app.sql().await, "SELECT count(*) FROM app.calls").await, 12);
    // And nobody drops a month that is not old, not even the role that may.
    let mut sql = it.app.sql().await;
    sql.execute("SET ROLE trunkline_chain").await.expect("a role");
    let young = format!("SELECT app.drop_month('{}')", now.format("%Y%m"));
    let refused = sql.execute(AssertSqlSafe(young)).await.expect_err("too young").to_string();
    assert!(refused.contains("at least two months ago"), "{refused}");
    sql.execute("RESET ROLE").await.expect("a role");
    sql.execute("SET ROLE trunkline_app").await.expect("a role");
    let refused =
        sql.execute(AssertSqlSafe(format!("SELECT app.drop_month('{month}')"))).await.expect_err("no right").to_string();
    assert!(refused.contains("permission denied"), "{refused}");
}
