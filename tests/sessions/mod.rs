//! Sessions and streams across replicas: whose they are, how many, what becomes of them when a replica goes.

mod bounds;
mod foreign;
mod killed;
mod load;
mod replicas;
mod requests;
mod state;
mod stopping;
mod tasks;

use redis::{aio::MultiplexedConnection, cmd};
use serde_json::{Value, json};

use crate::support::{Agent, Tenant, TestApp, shared, wire::Wire};

/// Everything that an agent can have.
const EVERYTHING: &str = "tools:destructive resources:read prompts:read";

/// A tenant with the fixtures, and its agent.
async fn acme(app: &TestApp) -> (Tenant<'_>, Agent) {
    let acme = app.tenant("acme").await;
    acme.conformance().await;
    let agent = acme.agent("agent", EVERYTHING).await;
    (acme, agent)
}

/// That agent at another replica.
fn at(agent: &Agent, base: &str) -> Agent {
    Wire::stateless(agent).at(base).agent
}

/// Redis itself, past everything.
async fn redis() -> MultiplexedConnection {
    let client = redis::Client::open(shared().redis.as_str()).expect("a URL");
    client.get_multiplexed_async_connection().await.expect("Redis answers")
}

/// Keys of an installation that match.
async fn keys(app: &TestApp, pattern: &str) -> Vec<String> {
    let prefix = &app.settings()["TRUNKLINE_REDIS_PREFIX"];
    cmd("KEYS").arg(format!("{prefix}*{pattern}")).query_async(&mut redis().await).await.expect("keys")
}

/// Answers a question with a name.
fn ada() -> Value {
    json!({ "action": "accept", "content": { "username": "ada", "email": "ada@example.com", "name": "ada" } })
}

/// Parameters of a call.
fn call(tool: &str, arguments: Value) -> Value {
    let mut params = json!({ "name": tool });
    params["arguments"] = arguments;
    params
}
