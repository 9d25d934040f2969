//! L-12: verifying a long record takes the memory of a short one, from the database and from an export.

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::chain::{Recorded, number};
use crate::support::{
    SOON, TestApp, eventually,
    private::Folder,
    process::{Process, command},
    say,
};

/// Calls of the short one: several pages of whatever is read in pages.
const SHORT: i64 = 5_000;
/// Calls that are added for the long one. `trunkline-bench verify` measures a million.
const MORE: i64 = 20_000;
/// What memory may grow by, in bytes: far less than what is read.
const SLACK: u64 = 12 << 20;

/// Runs that to its end; the most memory that it had, in bytes. What it says goes into the file.
fn peak(mut command: Command, said: &Path) -> u64 {
    command.stdout(File::create(said).expect("a file")).stderr(Stdio::inherit());
    let (mut process, mut peak) = (Process::start(command), 0);
    while !process.has_ended() {
        peak = peak.max(process.peak_memory().unwrap_or_default());
        std::thread::sleep(Duration::from_millis(2));
    }
    let last = || std::fs::read_to_string(said).unwrap_or_default().lines().last().map(str::to_owned);
    assert_eq!(process.wait(SOON), Some(0), "{:?}", last());
    peak
}

/// Memory that exporting and both ways of verifying take, and the size of the export.
fn memory(it: &Recorded) -> ([u64; 3], u64) {
    let (export, said) = (it.folder.0.join("export.jsonl"), it.folder.0.join("said"));
    let (file, checkpoints) = (export.display().to_string(), it.checkpoints.display().to_string());
    let proof = ["--public-key", &it.key, "--checkpoints", &checkpoints];
    let run = |arguments: &[&str], said: &Path| {
        let mut command = command(arguments);
        command.envs(it.app.settings());
        peak(command, said)
    };
    let exported = run(&["export", "audit", "--tenant", "acme", "--format", "jsonl"], &export);
    let online = run(&[&["audit", "verify", "--tenant", "acme"][..], &proof].concat(), &said);
    let offline = run(&[&["audit", "verify", "--export", &file][..], &proof].concat(), &said);
    ([exported, online, offline], std::fs::metadata(&export).expect("the export").len())
}

#[tokio::test]
async fn l_12_a_long_record_is_verified_in_the_memory_of_a_short_one() {
    let folder = Folder::new("long");
    let app = TestApp::builder().set("AUDIT_CHECKPOINT_DIR", folder.0.display().to_string()).start().await;
    let it = Recorded::fill(app, folder).await;
    lengthen(&it, SHORT).await;
    let (short, before) = memory(&it);
    lengthen(&it, MORE).await;
    let (long, size) = memory(&it);
    say(&format!(
        "record: an export of {before} bytes, then {size}; memory to export, verify online and offline {short:?}, then {long:?} bytes"
    ));
    assert!(size > before + 2 * SLACK, "{before} bytes, then {size}, show nothing");
    for (short, long) in short.iter().zip(long) {
        assert!(long < short + SLACK, "{short} bytes, then {long}");
    }
}

/// Adds calls as the record's writer leaves them, many copies of one, each with its own id and time; and waits until they are chained, signed and
/// delivered.
async fn lengthen(it: &Recorded, by: i64) {
    let mut sql = it.app.sql().await;
    sqlx::query(
        "WITH new AS (
           SELECT c, gen_random_uuid() AS id, now() - n * interval '1 millisecond' AS at
           FROM (SELECT c FROM app.calls c WHERE c.outcome = 'ok' LIMIT 1) one, generate_series(1, $1) n
         ), calls AS (
           INSERT INTO app.calls SELECT (jsonb_populate_record((n.c), jsonb_build_object('id', n.id, 'at', n.at))).* FROM new n RETURNING id
         )
         INSERT INTO app.audit_entries (id, tenant_id, at, actor_kind, actor_id, action, subject, decision, reason, request_id)
         SELECT n.id, (n.c).tenant_id, n.at, 'agent', (n.c).agent_id, 'tools/call', (n.c).tool_id::text, 'allowed', '', (n.c).request_id FROM new n",
    )
    .bind(by)
    .execute(&mut sql)
    .await
    .expect("inserted");
    let rests = "SELECT count(*) FROM app.audit_unchained";
    eventually("all is chained", SOON * 6, async || (number(&mut sql, rests).await == 0).then_some(())).await;
    it.app.clock.advance(chrono::TimeDelta::seconds(61));
    let open = "SELECT count(*) FROM app.audit_heads WHERE delivered_seq < seq";
    eventually("all is signed and delivered", SOON, async || (number(&mut sql, open).await == 0).then_some(())).await;
}
