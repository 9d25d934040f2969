//! L-11 and L-13: what was changed afterwards is found, in the database and in an export, with the first entry that is not as it was.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};
use trunkline_platform::{
    actor::Member,
    catalog::{NewVersion, Price},
};

use crate::support::{Era, SOON, Tenant, TestApp, Upstream, eventually, private::Folder, process::run, tools};

/// Calls that are made, among a few changes.
const CALLS: i64 = 12;

/// A tenant with a record that is chained, signed and delivered.
pub(super) struct Recorded {
    pub(super) app: TestApp,
    pub(super) owner: Member,
    pub(super) folder: Folder,
    pub(super) key: String,
    pub(super) checkpoints: PathBuf,
    /// Length of its chain, which is signed to its end.
    pub(super) seq: i64,
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(super) async fn number(sql: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(sql).await.expect("a number")
}

pub(super) async fn calls(acme: &Tenant<'_>, agent: &str) {
    let agent = acme.agent(agent, "tools:read").await;
    for round in 0..usize::try_from(CALLS).expect("few") {
        let tool = if round % 4 == 3 { "=nothing" } else { "echo" };
        let answer = agent.call(Era::ALL[round % 2], tool, json!({ "text": "x" })).await;
        assert!(answer.status == 200 || tool != "echo", "{answer:?}");
    }
}

/// Waits until so many calls are recorded, and all is chained, signed and delivered; the length of the chain.
pub(super) async fn signed(app: &TestApp, calls: i64) -> i64 {
    let mut sql = app.sql().await;
    eventually("all calls are recorded", SOON, async || {
        (number(&mut sql, "SELECT count(*) FROM app.calls").await == calls).then_some(())
    })
    .await;
    let rests = "SELECT count(*) FROM app.audit_unchained";
    eventually("all is chained", SOON, async || (number(&mut sql, rests).await == 0).then_some(())).await;
    // The next head is due after a minute.
    app.clock.advance(chrono::TimeDelta::seconds(61));
    let open = "SELECT count(*) FROM app.audit_heads WHERE delivered_seq < seq";
    eventually("all is signed and delivered", SOON, async || (number(&mut sql, open).await == 0).then_some(())).await;
    number(&mut sql, "SELECT max(seq) FROM app.audit_chain").await
}

impl Recorded {
    async fn make() -> Self {
        let folder = Folder::new("checkpoints");
        let app = TestApp::builder().set("AUDIT_CHECKPOINT_DIR", folder.0.display()).start().await;
        Self::fill(app, folder).await
    }

    /// Makes the calls and changes in there.
    pub(super) async fn fill(app: TestApp, folder: Folder) -> Self {
        let acme = app.tenant("acme").await;
        acme.tool("echo", NewVersion { price: Price::per_call(3), ..tools::echo() }).await;
        calls(&acme, "agent").await;
        acme.tool("after", tools::echo()).await;
        let seq = signed(&app, CALLS).await;
        let (checkpoints, owner) = (folder.0.join(format!("{}.checkpoints", acme.id)), acme.owner.clone());
        let printed = run(&["audit", "key"], app.settings(), &folder.0);
        assert!(printed.status.success(), "{}", text(&printed));
        let key = String::from_utf8_lossy(&printed.stdout).trim().to_owned();
        Self { app, owner, folder, key, checkpoints, seq }
    }
    fn command(&self, arguments: &[&str], settings: &BTreeMap<String, String>) -> Output {
        run(arguments, settings, &self.folder.0)
    }

    /// In the database, with what was kept outside.
    pub(super) fn verify(&self) -> (Option<i32>, String) {
        let checkpoints = self.checkpoints.display().to_string();
        let arguments = ["audit", "verify", "--tenant", "acme", "--public-key", &self.key, "--checkpoints", &checkpoints];
        let output = self.command(&arguments, self.app.settings());
        (output.status.code(), text(&output))
    }

    pub(super) fn export(&self, what: &str, format: &str) -> PathBuf {
        let output = self.command(&["export", what, "--tenant", "acme", "--format", format], self.app.settings());
        assert!(output.status.success(), "{}", text(&output));
        let file = self.folder.0.join(format!("{what}.{format}"));
        std::fs::write(&file, &output.stdout).expect("written");
        file
    }

    /// From an export, the key and the checkpoints alone: without any setting.
    pub(super) fn offline(&self, export: &Path, checkpoints: &Path) -> (Option<i32>, String) {
        let (export, checkpoints) = (export.display().to_string(), checkpoints.display().to_string());
        let arguments = ["audit", "verify", "--export", &export, "--public-key", &self.key, "--checkpoints", &checkpoints];
        let output = self.command(&arguments, &BTreeMap::new());
        (output.status.code(), text(&output))
    }

    /// Does that as whoever may do everything, and finds it.
    pub(super) async fn tamper(&self, statements: &[String], found: &str) {
        let mut sql = self.app.sql().await;
        sql.execute("BEGIN").await.expect("a transaction");
        for table in ["calls", "audit_entries", "audit_chain", "audit_checkpoints", "audit_receipts"] {
            let off = format!("ALTER TABLE app.{table} DISABLE TRIGGER USER");
            sql.execute(AssertSqlSafe(off)).await.expect("triggers are off");
        }
        for statement in statements {
            sql.execute(AssertSqlSafe(statement.clone())).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        for table in ["calls", "audit_entries", "audit_chain", "audit_checkpoints", "audit_receipts"] {
            let on = format!("ALTER TABLE app.{table} ENABLE TRIGGER USER");
            sql.execute(AssertSqlSafe(on)).await.expect("triggers are on");
        }
        sql.execute("COMMIT").await.expect("committed");
        let (code, text) = self.verify();
        assert!(code == Some(2) && text.contains(found), "{statements:?}: {code:?} {text}, expected {found}");
    }
}

/// The call that stands in the middle of the chain, and its place.
async fn middle(sql: &mut PgConnection) -> (String, i64) {
    sqlx::query_as(
        "SELECT k.entry_id::text, k.seq FROM app.audit_chain k JOIN app.calls c ON c.id = k.entry_id ORDER BY k.seq OFFSET 5 LIMIT 1",
    )
    .fetch_one(sql)
    .await
    .expect("a call")
}

#[tokio::test]
async fn l_11_a_changed_byte_is_found() {
    let it = Recorded::make().await;
    let (code, text) = it.verify();
    assert!(code == Some(0) && text.contains(&format!("{} entries", it.seq)), "{code:?} {text}");
    let (id, seq) = middle(&mut it.app.sql().await).await;
    it.tamper(&[format!("UPDATE app.calls SET outcome = 'timeout' WHERE id = '{id}'")], &format!("entry {seq} ")).await;
}

#[tokio::test]
async fn f_43_l_11_a_deleted_row_is_found_in_the_middle_and_at_the_end() {
    let it = Recorded::make().await;
    let last = it.seq;
    // The end first, as whoever does it would: with everything in the database that speaks of it.
    let end = [
        format!("DELETE FROM app.calls WHERE id = (SELECT entry_id FROM app.audit_chain WHERE seq = {last})"),
        format!("DELETE FROM app.audit_entries WHERE id = (SELECT entry_id FROM app.audit_chain WHERE seq = {last})"),
        format!("DELETE FROM app.audit_chain WHERE seq = {last}"),
        "DELETE FROM app.audit_checkpoints".to_owned(),
    ];
    it.tamper(&end, &format!("entry {last} is missing: a checkpoint was signed when there were {last}")).await;
    let (id, seq) = middle(&mut it.app.sql().await).await;
    it.tamper(&[format!("DELETE FROM app.audit_entries WHERE id = '{id}'")], &format!("entry {seq} is gone")).await;
}

#[tokio::test]
async fn l_11_swapped_rows_are_found() {
    let it = Recorded::make().await;
    let (_, seq) = middle(&mut it.app.sql().await).await;
    let swap = format!(
        "UPDATE app.audit_chain k SET entry_id = o.entry_id, at = o.at FROM app.audit_chain o
         WHERE k.seq IN ({seq}, {seq} + 1) AND o.seq = {seq} + {seq} + 1 - k.seq"
    );
    it.tamper(&[swap], &format!("entry {seq} ")).await;
}

#[tokio::test]
async fn l_11_a_row_that_was_put_in_is_found() {
    let it = Recorded::make().await;
    let (id, _) = middle(&mut it.app.sql().await).await;
    // Once more, at another time: as if it had happened twice.
    let again = format!(
        "INSERT INTO app.audit_entries (id, tenant_id, at, actor_kind, actor_id, action, subject, decision, reason, request_id)
         SELECT id, tenant_id, at + interval '1 second', actor_kind, actor_id, action, subject, decision, reason, request_id
         FROM app.audit_entries WHERE id = '{id}'"
    );
    it.tamper(&[again], "was put in afterwards").await;
}

#[tokio::test]
async fn l_11_a_forged_checkpoint_is_found() {
    let it = Recorded::make().await;
    let seq = it.seq;
    let forge =
        format!("UPDATE app.audit_checkpoints SET note = replace(note, E'\\n{seq}\\n', E'\\n{}\\n') WHERE seq = {seq}", seq - 1);
    it.tamper(&[forge], "is not signed by this key").await;
    let forged = it.folder.0.join("forged");
    let kept = std::fs::read_to_string(&it.checkpoints).expect("checkpoints");
    std::fs::write(&forged, kept.replace(&format!("\n{seq}\n"), &format!("\n{}\n", seq + 5))).expect("written");
    let (code, text) = it.offline(&it.export("audit", "jsonl"), &forged);
    assert!(code == Some(2) && text.contains("is not signed by this key"), "{code:?} {text}");
}

#[tokio::test]
async fn l_11_a_dropped_partition_is_found() {
    let it = Recorded::make().await;
    let mut sql = it.app.sql().await;
    let partitions: Vec<String> = sqlx::query_scalar("SELECT DISTINCT tableoid::regclass::text FROM app.audit_entries")
        .fetch_all(&mut sql)
        .await
        .expect("partitions");
    let drops: Vec<String> = partitions.iter().map(|partition| format!("DROP TABLE {partition}")).collect();
    it.tamper(&drops, "entry 1 is gone: it was deleted, or its partition was dropped").await;
}

#[tokio::test]
async fn l_13_an_export_and_a_public_key_are_enough() {
    let it = Recorded::make().await;
    for (what, lines) in [("calls", CALLS), ("audit", it.seq)] {
        for format in ["jsonl", "csv"] {
            let file = it.export(what, format);
            let written = std::fs::read_to_string(&file).expect("an export");
            let header = usize::from(format == "csv");
            assert_eq!(written.lines().count() - header, usize::try_from(lines).expect("a length"), "{what} {format}");
            let (code, text) = it.offline(&file, &it.checkpoints);
            assert!(code == Some(0) && text.contains(&format!("vouch up to {}", it.seq)), "{what} {format}: {code:?} {text}");
            // One thing changed at a time: what is read, what is hashed, a line, two lines, the end.
            let all: Vec<&str> = written.lines().collect();
            let whole = |lines: &[&str]| format!("{}\n", lines.join("\n"));
            let (mut gone, mut swapped) = (all.clone(), all.clone());
            gone.remove(header + 3);
            swapped.swap(header + 3, header + 4);
            let changed = written.replacen("allowed", "ALLOWED", 1);
            let cut = whole(&all[..all.len() - 1]);
            for (mutation, text) in [("changed", changed), ("gone", whole(&gone)), ("swapped", whole(&swapped)), ("cut", cut)] {
                let file = it.folder.0.join(format!("{mutation}.{format}"));
                std::fs::write(&file, text).expect("written");
                let (code, text) = it.offline(&file, &it.checkpoints);
                assert!(code == Some(2) && text.contains("entry "), "{what} {format} {mutation}: {code:?} {text}");
            }
        }
    }
    for what in ["calls", "audit"] {
        let file = it.export(what, "parquet");
        let (code, text) = it.offline(&file, &it.checkpoints);
        assert!(code == Some(0) && text.contains(&format!("vouch up to {}", it.seq)), "{what} parquet: {code:?} {text}");
        let mut written = std::fs::read(&file).expect("an export");
        let at = written.windows(7).position(|bytes| bytes == b"allowed").expect("what was decided");
        written[at] = b'A';
        let file = it.folder.0.join("changed.parquet");
        std::fs::write(&file, written).expect("written");
        let (code, text) = it.offline(&file, &it.checkpoints);
        assert!(code == Some(2) && text.contains("`decision` says something else"), "{what} parquet: {code:?} {text}");
    }
    // One entry per call, with what people ask for.
    let export = std::fs::read_to_string(it.export("calls", "jsonl")).expect("an export");
    let line: Value = serde_json::from_str(export.lines().next().expect("a line")).expect("JSON");
    for member in [
        "id",
        "tenant",
        "agent",
        "client",
        "user",
        "tool",
        "tool_version",
        "decision",
        "reason",
        "outcome",
        "started_at",
        "duration_ms",
        "upstream_ms",
        "bytes_in",
        "bytes_out",
        "tokens_out",
        "cost_micro",
        "revision",
        "jsonrpc_id",
        "trace_id",
        "seq",
        "hash",
    ] {
        assert!(line.get(member).is_some(), "{member} in {line}");
    }
    assert_eq!((&line["tool"], &line["outcome"], &line["cost_micro"]), (&json!("echo"), &json!("ok"), &json!(3)));
    assert_eq!((&line["jsonrpc_id"], &line["client"]), (&json!("1"), &json!("suite")));
    let csv = std::fs::read_to_string(it.export("calls", "csv")).expect("an export");
    assert!(csv.contains(",'=nothing,"), "no formulas: {csv}");
    // Without checkpoints nothing is proven.
    let none = it.folder.0.join("none");
    std::fs::write(&none, "").expect("written");
    let (code, said) = it.offline(&it.folder.0.join("calls.jsonl"), &none);
    assert!(code == Some(2) && said.contains("no checkpoint"), "{code:?} {said}");
    // A part of it, by time.
    let until = line["started_at"].as_str().expect("a time");
    let nothing = it.command(&["export", "calls", "--tenant", "acme", "--until", until], it.app.settings());
    assert!(nothing.status.success() && nothing.stdout.is_empty(), "{}", text(&nothing));
    let refused = it.command(&["export", "calls", "--tenant", "acme", "--since", "yesterday"], it.app.settings());
    assert!(!refused.status.success() && text(&refused).contains("--since yesterday"), "{}", text(&refused));
}

#[tokio::test]
async fn chaining_lags_seconds_and_one_chainer_is_enough() {
    let app = TestApp::start().await;
    let other = app.replica().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    calls(&acme, "agent").await;
    let mut sql = app.sql().await;
    eventually("all is chained", Duration::from_secs(10), async || {
        let open = "SELECT (SELECT count(*) FROM app.audit_unchained) + abs((SELECT count(*) FROM app.audit_entries) - (SELECT count(*) FROM app.audit_chain))";
        let calls = "SELECT count(*) FROM app.calls";
        (number(&mut sql, calls).await == CALLS && number(&mut sql, open).await == 0).then_some(())
    })
    .await;
    let dense = "SELECT max(seq) - count(*) FROM app.audit_chain";
    assert_eq!(number(&mut sql, dense).await, 0);
    drop(other);
}

#[tokio::test]
async fn checkpoints_are_sent_until_they_are_taken() {
    let upstream = Upstream::start().await;
    let app = TestApp::builder().set("AUDIT_CHECKPOINT_WEBHOOK", upstream.url("/status/200")).start().await;
    let refusing = app.with_settings(&[("AUDIT_CHECKPOINT_WEBHOOK", &upstream.url("/status/500"))]).await;
    let acme = app.tenant("acme").await;
    let mut sql = app.sql().await;
    // Whichever of them is at it: what the one does not get rid of, the other does.
    eventually("all is delivered", SOON, async || {
        let rests = "SELECT count(*) FROM app.audit_heads WHERE delivered_seq < signed_seq OR signed_seq = 0";
        let signed = number(&mut sql, "SELECT count(*) FROM app.audit_heads").await;
        (signed == 1 && number(&mut sql, rests).await == 0).then_some(())
    })
    .await;
    let sent = upstream.seen();
    let taken: Vec<_> = sent.iter().filter(|seen| seen.line.starts_with("POST /status/200")).collect();
    assert!(!taken.is_empty() && taken[0].body.starts_with(&format!("trunkline/{}\n", acme.id)), "{sent:?}");
    drop(refusing);
}
