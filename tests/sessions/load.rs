//! Many clients of many tenants with the same JSON-RPC ids: nobody gets another's answer.

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{
    Agent, TestApp, say, tools,
    wire::{ASKABLE, Wire},
};

const TENANTS: usize = 8;
const CLIENTS: usize = 64;
/// Calls in all, in every run; `TRUNKLINE_FULL=1` makes all of them.
const CALLS: usize = 8_000;
const ALL_CALLS: usize = 64_000;

/// Calls one after the other, each with the same ids as everybody else's and a text of its own.
async fn client(number: usize, tenant: usize, agent: Agent, calls: usize) {
    // Each in another way: stateless, and sessions of each revision.
    let wire = match number % 4 {
        0 => Wire::stateless(&agent),
        1 => Wire::begin(&agent, "2025-11-25").await,
        2 => Wire::begin(&agent, "2025-06-18").await,
        _ => Wire::begin_with(&agent, "2025-03-26", serde_json::from_str(ASKABLE).expect("JSON")).await,
    };
    for call in 0..calls {
        let text = format!("tenant {tenant} client {number} call {call}");
        let arguments = json!({ "text": text });
        let answer = wire.send(call, "tools/call", json!({ "name": "echo", "arguments": arguments })).await;
        assert_eq!((answer.status, answer.result()), (200, text.as_str()), "{}", answer.text);
        assert_eq!(answer.json["id"], json!(call));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_of_eight_tenants_with_the_same_ids_get_their_own_answers() {
    // On a busy machine Redis would count as away now and then; what is done then is another test's question.
    let app = TestApp::builder().unlimited().set("REDIS_TIMEOUT_MS", 10_000).set("REDIS_DECISION_MS", 10_000).start().await;
    let second = app.replica().await;
    let mut agents = Vec::new();
    for tenant in 0..TENANTS {
        let tenant = app.tenant(&format!("tenant-{tenant}")).await;
        tenant.tool("echo", tools::echo()).await;
        agents.push(tenant.agent("agent", "tools:read").await);
    }
    let calls = if std::env::var_os("TRUNKLINE_FULL").is_some() { ALL_CALLS } else { CALLS };
    let began = Instant::now();
    let clients = (0..CLIENTS).map(|number| {
        let tenant = number % TENANTS;
        let base = if number % 3 == 0 { &second.url } else { &app.url };
        let agent = super::at(&agents[tenant], base);
        tokio::spawn(client(number, tenant, agent, calls / CLIENTS))
    });
    for client in join_all(clients).await {
        client.expect("no foreign answer");
    }
    say(&format!(
        "{CLIENTS} clients of {TENANTS} tenants, {calls} calls with the same ids in {:.1} s: no foreign answer",
        began.elapsed().as_secs_f64()
    ));
}
