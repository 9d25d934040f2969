//! A client that keeps a journal of its own: the id of every call whose complete answer it has.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::Client;
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{Agent, Era, message};

/// What a round of calls came to.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Ids of requests that were sent.
    pub(super) sent: Vec<String>,
    /// Ids of those with a complete result.
    pub(super) delivered: Vec<String>,
    /// HTTP statuses and error codes of the other answers.
    pub(super) refused: Vec<(u16, i64)>,
}

impl Journal {
    pub(super) fn add(&mut self, other: Self) {
        self.sent.extend(other.sent);
        self.delivered.extend(other.delivered);
        self.refused.extend(other.refused);
    }
}

/// Calls the tools in turn, each worker one after the other and one in that time, until told to stop. Who was late makes up for it.
pub(super) async fn drive(agent: &Agent, tools: &[&str], workers: usize, pace: Duration, stop: &CancellationToken) -> Journal {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().expect("a client");
    let mut running = JoinSet::new();
    for worker in 0..workers {
        let (agent, client, stop) = (agent.clone(), client.clone(), stop.clone());
        let tools: Arc<[String]> = tools.iter().map(|tool| (*tool).to_owned()).collect();
        running.spawn(async move {
            let (mut journal, mut due) = (Journal::default(), tokio::time::Instant::now());
            for round in worker.. {
                if stop.is_cancelled() {
                    break;
                }
                let id = format!("call-{}", NEXT.fetch_add(1, Ordering::Relaxed));
                journal.sent.push(id.clone());
                match call(&client, &agent, &tools[round % tools.len()], &id).await {
                    Some((200, body)) if body["result"]["content"].is_array() => journal.delivered.push(id),
                    Some((status, body)) => journal.refused.push((status, body["error"]["code"].as_i64().unwrap_or_default())),
                    // Nothing, or half of it.
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
                due += pace;
                tokio::time::sleep_until(due).await;
            }
            journal
        });
    }
    let mut journal = Journal::default();
    while let Some(ended) = running.join_next().await {
        journal.add(ended.expect("no panic"));
    }
    journal
}

/// One call with an id of its own; nothing without a complete answer.
pub(super) async fn call(client: &Client, agent: &Agent, tool: &str, id: &str) -> Option<(u16, Value)> {
    let mut body = message(Era::Stateless, "tools/call", json!({ "name": tool, "arguments": { "text": "x" } }));
    body["id"] = json!(id);
    let request = client.post(&agent.url).bearer_auth(&agent.key).header("accept", "application/json, text/event-stream");
    let request = request.header("mcp-protocol-version", Era::Stateless.revision()).header("mcp-method", "tools/call");
    let answer = request.header("mcp-name", tool).json(&body).send().await.ok()?;
    let status = answer.status().as_u16();
    let text = answer.text().await.ok()?;
    let data = text.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap_or(&text);
    Some((status, serde_json::from_str(data).ok()?))
}

/// Of these, the ids that are not in the record exactly once.
pub(super) async fn not_once(sql: &mut PgConnection, ids: &[String]) -> Vec<String> {
    let written: Vec<String> = ids.iter().map(|id| json!(id).to_string()).collect();
    sqlx::query_scalar(
        "SELECT e.id FROM unnest($1::text[]) AS e (id) LEFT JOIN app.calls c ON c.jsonrpc_id = e.id
         GROUP BY e.id HAVING count(c.id) <> 1",
    )
    .bind(written)
    .fetch_all(sql)
    .await
    .expect("an answer")
}
