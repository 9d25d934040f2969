//! L-02 for money: a process that is killed while it spends, again and again.

use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use trunkline::services::free_port;
use trunkline_platform::{
    catalog::{HttpMethod, NewVersion, Place, Price},
    quota::budgets::{BudgetScope, Period},
};
use trunkline_protocol::oauth::scope::Effect;

use super::{ask, blocks_at, counter, ledger, plenty, set, sum};
use crate::support::{
    Agent, Draw, Era, OwnRedis, Replica, SOON, SPOOL_DIR, Upstream, eventually, http, message, private::Folder, say, tools,
};

const ROUNDS: u64 = 5;

/// Calls both tools in turn, until told to stop; gives how many were answered.
async fn drive(agent: &Agent, stop: &CancellationToken) -> u64 {
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..8_usize {
        let (agent, stop) = (agent.clone(), stop.clone());
        workers.spawn(async move {
            let mut answered = 0;
            for round in worker.. {
                if stop.is_cancelled() {
                    break;
                }
                let tool = ["reads", "writes"][round % 2];
                let params = json!({ "name": tool, "arguments": { "text": "x" } });
                let request = http().post(&agent.url).bearer_auth(&agent.key).timeout(Duration::from_secs(10));
                match request.json(&message(Era::Handshake, "tools/call", params)).send().await {
                    Ok(answer) => answered += u64::from(answer.status() == 200),
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
            answered
        });
    }
    let mut answered = 0;
    while let Some(done) = workers.join_next().await {
        answered += done.expect("no panic");
    }
    answered
}

#[tokio::test]
async fn f_31_l_02_the_counter_is_the_sum_of_the_record_after_kill_9() {
    let (redis, upstream) = (OwnRedis::start().await, Upstream::start().await);
    let app = plenty()
        .set("REDIS_URL", redis.url())
        .set("QUOTA_WRITE_PER_MINUTE", 6_000_000)
        .set("QUOTA_WRITE_BURST", 6_000_000)
        .start()
        .await;
    let acme = app.tenant("acme").await;
    let price = |call_micro| Price { call_micro, kib_micro: 1_024, second_micro: 1_000_000, reported_micro: 50 };
    acme.tool("reads", NewVersion { price: price(70), ..tools::echo() }).await;
    let write = tools::http(HttpMethod::Get, &upstream.url("/cost/30"), &[("text", Place::Query)]);
    let writes = tools::with_effect(Effect::Write, write);
    acme.tool("writes", NewVersion { price: price(110), ..writes }).await;
    acme.tool("free", tools::echo()).await;
    let agent = acme.agent("agent", "tools:write").await;
    set(&app, &acme, BudgetScope::Agent(agent.id), Period::Month, blocks_at(1_000_000_000_000)).await;
    let spool = Folder::new("spool");
    let spool_dir = spool.0.display().to_string();
    let port = free_port().expect("a port");
    let at = agent.at(&format!("http://127.0.0.1:{port}/t/acme/mcp"));
    let (mut draw, mut answered) = (Draw::new(0x00dd_ba11), 0);
    for _ in 0..ROUNDS {
        let replica = Replica::start_with(&app, port, &[(SPOOL_DIR, &spool_dir)]).await;
        let stop = CancellationToken::new();
        let life = Duration::from_millis(400 + draw.below(900));
        let killing = async {
            tokio::time::sleep(life).await;
            replica.kill();
            stop.cancel();
        };
        let (some, ()) = tokio::join!(drive(&at, &stop), killing);
        answered += some;
    }
    assert!(answered > ROUNDS, "{answered}");

    // Whoever starts there next ships what the last one has left, and settles it.
    let replica = Replica::start_with(&app, port, &[(SPOOL_DIR, &spool_dir)]).await;
    let mut sql = app.sql().await;
    // Entries leave in their order: when this one is in the record, so is all that was left. Until then what is reserved of it looks as if it had no call.
    assert!(at.call(Era::Stateless, "free", json!({ "text": "x" })).await.is_ok());
    eventually("what was left is in the record", SOON, async || {
        (sum(&mut sql, "SELECT count(*) FROM app.calls WHERE tool_name = 'free'").await == 1).then_some(())
    })
    .await;
    let of = |reserved: &[String]| -> i64 {
        reserved
            .iter()
            .map(|name| name.split_once(':').and_then(|(_, micro)| micro.parse::<i64>().ok()).expect("an amount"))
            .sum()
    };
    let (spent, left) = eventually("what is in the record is settled", SOON * 2, async || {
        let (value, reserved) = counter(&redis).await;
        if value.is_none() {
            // One that was killed between settling and forgetting has left the counter to the record: it begins with the next call.
            at.call(Era::Stateless, "reads", json!({ "text": "x" })).await;
        }
        let spent = ledger(&mut sql).await;
        (value? == spent + of(&reserved)).then_some((spent, reserved))
    })
    .await;
    // What is still reserved was on its way when its process ended, before anything was sent: no call of the record.
    for name in &left {
        let call = name.split_once(':').expect("a name").0;
        let known: i64 = sqlx::query_scalar("SELECT count(*) FROM app.calls WHERE id = $1::uuid")
            .bind(call)
            .fetch_one(&mut sql)
            .await
            .expect("a count");
        assert_eq!(known, 0, "{call}");
    }
    // As if its time were over: the counter begins anew with the record.
    let keys: Vec<String> = ask(&redis, &["KEYS", "*:b:*:open"]).await;
    for (key, name) in keys.iter().flat_map(|key| left.iter().map(move |name| (key, name))) {
        let _: i64 = ask(&redis, &["ZADD", key, "XX", "1", name]).await;
    }
    assert!(at.call(Era::Stateless, "reads", json!({ "text": "x" })).await.is_ok());
    let after = eventually("the counter is the sum of the record", SOON, async || {
        let spent = ledger(&mut sql).await;
        (counter(&redis).await == (Some(spent), vec![])).then_some(spent)
    })
    .await;
    assert!(after > spent);
    let cut = sum(&mut sql, "SELECT count(*) FROM app.calls WHERE error = 'process_ended' AND cost_micro = 0").await;
    replica.stop();
    let left = left.len();
    say(&format!(
        "money: {ROUNDS} kills, {answered} calls answered, {cut} cut, {left} reservations without a call; {after} micro-units in both"
    ));
}
