//! Q-20 where a replica dies: whatever its clients repeat, what they want done is done once.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use trunkline::services::free_port;
use trunkline_platform::catalog::{HttpMethod, Place};
use trunkline_protocol::oauth::scope::Effect;

use super::patient;
use crate::support::{Agent, Answer, Era, Replica, SOON, SPOOL_DIR, TestApp, Upstream, eventually, private::Folder, say, tools};

/// Kills.
const ROUNDS: usize = 2;
/// Calls that are cut in each.
const CUT: usize = 20;
/// Calls that were answered before.
const ANSWERED: usize = 5;
/// How often each is repeated: as soon as a replica is back, and when the time of the first call is over.
const REPEATS: usize = 10;

/// Nothing, if there is no answer.
async fn order(agent: &Agent, tool: &str, key: &str, in_meta: bool) -> Option<Answer> {
    let mut params = json!({ "name": tool, "arguments": { "text": key } });
    if in_meta {
        params["_meta"] = json!({ "trunkline/idempotency-key": key });
    }
    let request = agent.message(Era::Stateless, "tools/call", params, "application/json");
    let request = if in_meta { request } else { request.header("idempotency-key", key) };
    Answer::read_maybe(request.send().await.ok()?).await
}

/// How often each was done.
fn done(upstream: &Upstream) -> HashMap<String, usize> {
    let mut done = HashMap::new();
    for seen in upstream.seen() {
        let body: Value = serde_json::from_str(&seen.body).expect("JSON");
        *done.entry(body["text"].as_str().expect("a key").to_owned()).or_default() += 1;
    }
    done
}

/// In which words a repeated call was answered.
fn word(answer: &Answer) -> &'static str {
    match (answer.status, answer.json["error"]["data"]["reason"].as_str()) {
        (200, _) => "as the first time",
        (409, Some("end_unknown")) => "may have run",
        (409, _) => "still runs",
        _ => panic!("{} {}", answer.status, answer.text),
    }
}

#[tokio::test]
async fn q_20_a_thousand_repeats_across_kill_9_have_one_effect_per_key() {
    let upstream = Upstream::start().await;
    let app =
        patient(TestApp::builder().unlimited()).set("QUOTA_WRITE_PER_MINUTE", 6_000_000).set("QUOTA_WRITE_BURST", 6_000_000);
    let app = app.start().await;
    let acme = app.tenant("acme").await;
    let orders = |path: &str| {
        let tool = tools::http(HttpMethod::Post, &upstream.url(path), &[("text", Place::Body)]);
        tools::within_ms(2_000, tools::with_effect(Effect::Write, tool))
    };
    // The effect is there at once, the answer later.
    acme.tool("slow", orders("/slow/1900")).await;
    acme.tool("quick", orders("/ok")).await;
    let agent = acme.agent("agent", "tools:write").await;
    let spool = Folder::new("spool");
    let settings = [(SPOOL_DIR, &*spool.0.display().to_string())];
    let port = free_port().expect("a port");
    let at = agent.at(&format!("http://127.0.0.1:{port}/t/acme/mcp"));
    let mut said: BTreeMap<&str, usize> = BTreeMap::new();
    let mut keys = 0;
    for round in 0..ROUNDS {
        let replica = Replica::start_with(&app, port, &settings).await;
        let calls: Vec<_> =
            (0..CUT + ANSWERED).map(|i| (if i < CUT { "slow" } else { "quick" }, format!("{round}-{i}"), i % 2 == 1)).collect();
        let (answered, cut): (Vec<_>, Vec<_>) = calls.iter().partition(|(tool, ..)| *tool == "quick");
        for (tool, key, in_meta) in &answered {
            assert!(order(&at, tool, key, *in_meta).await.is_some_and(|answer| answer.is_ok()));
        }
        keys += calls.len();
        let running = join_all(cut.iter().map(|(tool, key, in_meta)| order(&at, tool, key, *in_meta)));
        let killing = async {
            eventually("all have had their effect", SOON, async || (upstream.seen().len() == keys).then_some(())).await;
            replica.kill();
        };
        let (lost, ()) = tokio::join!(running, killing);
        assert!(lost.iter().all(Option::is_none), "killed before it could answer");
        let replica = Replica::start_with(&app, port, &settings).await;
        for over in [false, true] {
            if over {
                // The deadline of the tool and what is granted beyond.
                tokio::time::sleep(Duration::from_secs(7)).await;
            }
            for _ in 0..REPEATS {
                let repeats = join_all(calls.iter().map(|(tool, key, in_meta)| order(&at, tool, key, !in_meta))).await;
                for ((tool, ..), answer) in calls.iter().zip(repeats) {
                    let answer = answer.expect("an answer");
                    let word = word(&answer);
                    assert_eq!(word == "as the first time", *tool == "quick", "{}", answer.text);
                    assert!(!over || word != "still runs", "{}", answer.text);
                    *said.entry(word).or_default() += 1;
                }
            }
        }
        replica.stop();
    }
    let done = done(&upstream);
    assert_eq!(done.len(), keys);
    assert!(done.values().all(|times| *times == 1), "{done:?}");
    assert_eq!(said.values().sum::<usize>(), 2 * REPEATS * keys);
    say(&format!(
        "idempotency: {keys} keys, {} repeats across {ROUNDS} kills, each done once; answers: {said:?}",
        2 * REPEATS * keys
    ));
}
