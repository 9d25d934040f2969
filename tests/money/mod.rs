//! Money: stopped before it is spent, and the same sum in the record and in the counters, whatever happens to processes and to Redis.

mod answers;
mod context;
mod exact;
mod killed;

use redis::FromRedisValue;
use sqlx::PgConnection;
use trunkline_platform::quota::budgets::{self, BudgetScope, Period, Terms};

use crate::support::{Builder, OwnRedis, Tenant, TestApp};

/// An installation whose rates stand in nobody's way, and which waits for its Redis.
fn plenty() -> Builder {
    TestApp::builder()
        .unlimited()
        .set("QUOTA_LADDER_REFUSALS", 0)
        .set("REDIS_DECISION_MS", 10_000)
        .set("REDIS_TIMEOUT_MS", 10_000)
}

/// Sets the budget of that scope and period; the other period has none.
async fn set(app: &TestApp, tenant: &Tenant<'_>, scope: BudgetScope, period: Period, terms: Terms) {
    let owner = tenant.owner.clone();
    let terms = Period::ALL.map(|each| (each, Some(terms).filter(|_| each == period)));
    app.act(move |platform| async move { budgets::set(&platform, &owner, scope, terms).await.expect("a budget") }).await;
}

fn blocks_at(amount_micro: i64) -> Terms {
    Terms { amount_micro, warn_percent: Some(50), blocks: true }
}

async fn sum(sql: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(sql).await.expect("a sum")
}

/// What calls have cost: the ledger.
async fn ledger(sql: &mut PgConnection) -> i64 {
    sum(sql, "SELECT COALESCE(sum(cost_micro), 0)::bigint FROM app.calls").await
}

/// One command to a Redis.
async fn ask<T: FromRedisValue>(redis: &OwnRedis, command: &[&str]) -> T {
    let client = redis::Client::open(redis.url()).expect("a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("redis");
    let mut cmd = redis::cmd(command[0]);
    command[1..].iter().for_each(|argument| {
        cmd.arg(argument);
    });
    cmd.query_async(&mut connection).await.expect("an answer")
}

/// The counter of the only budget, and what is reserved of it, by the names of the reservations. `None`: it is not in Redis.
async fn counter(redis: &OwnRedis) -> (Option<i64>, Vec<String>) {
    let mut keys: Vec<String> = ask(redis, &["KEYS", "*:b:*"]).await;
    // In which a counter is about to begin.
    keys.retain(|key| !key.ends_with(":round"));
    let (open, values): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.ends_with(":open"));
    assert!(open.len() <= 1 && values.len() <= 1, "{open:?} {values:?}");
    let value = match values.first() {
        Some(key) => ask(redis, &["GET", key]).await,
        None => None,
    };
    let reserved = match open.first() {
        Some(key) => ask(redis, &["ZRANGE", key, "0", "-1"]).await,
        None => Vec::new(),
    };
    (value, reserved)
}
