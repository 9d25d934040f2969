//! The whole way: a client of every revision, our endpoint, an upstream of every revision that answers either way.

use std::time::Duration;

use serde_json::json;
use trunkline_platform::catalog::source::{self, Changes, Meanwhile, NewDefinitions, NewSource, Policy, SourceName};
use trunkline_protocol::mcp::Revision;

use super::{McpUpstream, Speaks, Way};
use crate::support::{Agent, SOON, Tenant, TestApp, eventually, mcp_client::McpClient};

/// A tenant with an upstream of every revision and way as a source, and an agent that may call everything.
struct Bridge<'a> {
    sources: Vec<(String, Revision, Way, McpUpstream)>,
    agent: Agent,
    _acme: Tenant<'a>,
}

async fn bridge(app: &TestApp) -> Bridge<'_> {
    let acme = app.tenant("acme").await;
    let mut sources = Vec::new();
    for revision in Revision::ALL {
        for way in [Way::Json, Way::Events] {
            let upstream = McpUpstream::start(Speaks::Only(revision), way).await;
            upstream.add_tool(json!({ "name": "refuse", "inputSchema": { "type": "object" } }));
            let name = format!("u{}{}", revision.as_str(), if way == Way::Json { "j" } else { "e" });
            add(app, &acme, &name, &upstream).await;
            sources.push((name, revision, way, upstream));
        }
    }
    let agent = acme.agent("agent", "tools:read").await;
    Bridge { sources, agent, _acme: acme }
}

/// A source whose definitions are served as they come.
async fn add(app: &TestApp, acme: &Tenant<'_>, name: &str, upstream: &McpUpstream) {
    let new = NewSource {
        url: upstream.url().parse().expect("a URL"),
        secret_header: None,
        secret: trunkline_platform::catalog::SecretChange::Keep,
        timeout_ms: 20_000,
        policy: Policy { new: NewDefinitions::Approve, changes: Changes::HarmlessPass, meanwhile: Meanwhile::ServeApproved },
        default_effect: trunkline_protocol::oauth::scope::Effect::Read,
    };
    let (owner, name) = (acme.owner.clone(), SourceName::parse(name).expect("a name"));
    app.act(|platform| async move {
        let source = source::create(&platform, &owner, name, true, new).await.expect("the source is added");
        source::refresh_now(&platform, &owner, source.id).await.expect("it is read");
    })
    .await;
}

/// Every cell of the table, in words.
fn cell(client: Revision, source: &str) -> String {
    format!("client {} × source {source}", client.as_str())
}

async fn clients(agent: &Agent) -> Vec<(Revision, McpClient)> {
    let mut clients = Vec::new();
    for revision in Revision::ALL {
        let can = json!({ "elicitation": {}, "sampling": {}, "roots": {} });
        let answer = json!({ "action": "accept", "content": { "name": "Ada" } });
        clients.push((revision, McpClient::connect(agent, revision, can, answer).await));
    }
    clients
}

#[tokio::test]
async fn every_client_lists_and_calls_the_tools_of_every_upstream() {
    let app = TestApp::start().await;
    let bridge = bridge(&app).await;
    for (revision, client) in clients(&bridge.agent).await {
        let (mut names, mut cursor) = (Vec::new(), None);
        loop {
            let params = cursor.map_or_else(|| json!({}), |cursor: String| json!({ "cursor": cursor }));
            let talk = client.send("tools/list", params).await;
            let tools = talk.answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("no list: {talk:?}")).clone();
            names.extend(tools.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)));
            cursor = talk.answer["result"]["nextCursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        for (source, _, _, upstream) in &bridge.sources {
            let cell = cell(revision, source);
            for tool in ["echo", "slow", "fail", "ask"] {
                assert!(names.contains(&format!("{source}.{tool}")), "{cell}: {tool} is not in {names:?}");
            }
            let talk = client.call(&format!("{source}.echo"), json!({ "said": cell })).await;
            assert_eq!(talk.text(), json!({ "said": cell }).to_string(), "{cell}");
            let key = bridge.agent.key.to_lowercase();
            for seen in upstream.seen() {
                let head = format!("{:?}", seen.headers).to_lowercase();
                assert!(!head.contains(&key) && !seen.body.to_lowercase().contains(&key), "{cell}: the caller's token left");
                assert!(!head.contains("authorization"), "{cell}: {head}");
            }
        }
    }
}

#[tokio::test]
async fn null_where_nothing_is_wanted_is_the_upstreams_to_judge() {
    let app = TestApp::start().await;
    let bridge = bridge(&app).await;
    for (revision, client) in clients(&bridge.agent).await {
        for (source, _, _, upstream) in &bridge.sources {
            let cell = cell(revision, source);
            let talk = client.call(&format!("{source}.region"), json!({ "region": null, "plain": "x" })).await;
            assert_eq!(talk.text(), "the headers fit", "{cell}: {talk:?}");
            let sent = upstream.seen_of("tools/call").pop().expect("a call");
            assert_eq!(sent.json["params"]["arguments"], json!({ "region": null, "plain": "x" }), "{cell}");
            let calls = upstream.seen_of("tools/call").len();
            let talk = client.call(&format!("{source}.region"), json!({ "region": null, "count": "three" })).await;
            assert_eq!(talk.answer["result"]["isError"], true, "{cell}: {talk:?}");
            assert_eq!(upstream.seen_of("tools/call").len(), calls, "{cell}: what does not fit is not sent");
        }
    }
}

#[tokio::test]
async fn every_client_sees_the_failures_of_every_upstream() {
    let app = TestApp::start().await;
    let bridge = bridge(&app).await;
    for (revision, client) in clients(&bridge.agent).await {
        for (source, ..) in &bridge.sources {
            let cell = cell(revision, source);
            let talk = client.call(&format!("{source}.fail"), json!({})).await;
            assert_eq!(talk.answer["error"]["code"], 4711, "{cell}: {talk:?}");
            assert_eq!(talk.answer["error"]["data"]["why"], "because", "{cell}");
            let talk = client.call(&format!("{source}.tool_error"), json!({})).await;
            assert_eq!((&talk.answer["result"]["isError"], talk.text()), (&json!(true), "no luck"), "{cell}");
        }
    }
}

#[tokio::test]
async fn no_client_takes_what_went_wrong_between_us_and_an_upstream_for_its_own_fault() {
    let app = TestApp::start().await;
    let bridge = bridge(&app).await;
    for (revision, client) in clients(&bridge.agent).await {
        for (source, of, ..) in &bridge.sources {
            let cell = cell(revision, source);
            // A header, a revision, a method: of our request, not of the client's.
            for (code, status) in [(-32020, 400), (-32022, 400), (-32601, 404)] {
                let status = if of.has_handshake() { 200 } else { status };
                let talk = client.call(&format!("{source}.refuse"), json!({ "code": code, "status": status })).await;
                let result = &talk.answer["result"];
                assert_eq!(result["isError"], true, "{cell} {code}: {talk:?}");
                assert_eq!(result["_meta"]["trunkline/error"], "upstream_protocol", "{cell} {code}: {talk:?}");
                let said = talk.answer.to_string();
                assert!(!said.contains("2031") && !said.contains("canary"), "{cell} {code}: {said}");
            }
            let talk = client.call(&format!("{source}.echo"), json!({})).await;
            assert_eq!(talk.text(), "{}", "{cell}: it is fine");
        }
    }
}

#[tokio::test]
async fn a_resource_that_is_gone_upstream_is_said_in_the_clients_code() {
    let app = TestApp::start().await;
    for of in [Revision::V2025_11_25, Revision::V2026_07_28] {
        let acme = app.tenant(if of.has_handshake() { "handshake" } else { "stateless" }).await;
        let upstream = McpUpstream::start(Speaks::Only(of), Way::Json).await;
        add(&app, &acme, "theirs", &upstream).await;
        let agent = acme.agent("agent", "tools:read resources:read").await;
        for (revision, client) in clients(&agent).await {
            let talk = client.send("resources/read", json!({ "uri": "note://gone" })).await;
            let error = &talk.answer["error"];
            assert_eq!(error["code"], revision.resource_not_found_code(), "{revision:?} {of:?}: {talk:?}");
            assert_eq!(error["data"]["uri"], "note://gone", "{revision:?} {of:?}: {talk:?}");
        }
    }
}

#[tokio::test]
async fn every_client_gets_the_progress_of_every_upstream() {
    let app = TestApp::start().await;
    let bridge = bridge(&app).await;
    for (revision, client) in clients(&bridge.agent).await {
        for (source, _, way, _) in &bridge.sources {
            let cell = cell(revision, source);
            let talk = client.call(&format!("{source}.slow"), json!({ "steps": 6 })).await;
            assert_eq!(talk.text(), "slowly done", "{cell}");
            if *way == Way::Events {
                let progress = talk.progress();
                assert!(progress.is_sorted() && progress.last() == Some(&6.0), "{cell}: {talk:?}");
                assert!(talk.told.iter().all(|told| told["params"]["progressToken"] == "my token"), "{cell}: {talk:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_client_takes_back_is_taken_back_upstream() {
    let app = TestApp::start().await;
    let bridge = bridge(&app).await;
    for (revision, client) in clients(&bridge.agent).await {
        for (source, speaks, _, upstream) in &bridge.sources {
            let cell = cell(revision, source);
            let taken_back = || if speaks.has_handshake() { upstream.cancelled() } else { upstream.hung_up() };
            let (before, calls) = (taken_back(), upstream.seen_of("tools/call").len());
            let begun =
                eventually("it runs upstream", SOON, async || (upstream.seen_of("tools/call").len() > calls).then_some(()));
            client.cancel(&format!("{source}.slow"), json!({ "steps": 1_000 }), begun).await;
            let what = format!("{cell}: the upstream knows");
            // Long before the source's own deadline.
            eventually(&what, Duration::from_secs(5), async || (taken_back() == before + 1).then_some(())).await;
        }
    }
}

#[tokio::test]
async fn every_client_that_can_is_asked_by_every_upstream() {
    let app = TestApp::start().await;
    let bridge = bridge(&app).await;
    for (revision, client) in clients(&bridge.agent).await {
        for (source, ..) in &bridge.sources {
            let cell = cell(revision, source);
            for (tool, method) in [("ask", "elicitation/create"), ("sample", "sampling/createMessage"), ("roots", "roots/list")] {
                let talk = client.call(&format!("{source}.{tool}"), json!({})).await;
                if method == "elicitation/create" && !revision.has_elicitation() {
                    assert!(talk.asked.is_empty(), "{cell}: a client of that revision does not know the question");
                    continue;
                }
                assert_eq!(talk.asked, [method], "{cell} {tool}: {talk:?}");
                assert!(talk.text().contains(r#""name":"Ada""#), "{cell} {tool}: {talk:?}");
            }
            if revision.has_elicitation() {
                let talk = client.call(&format!("{source}.ask_twice"), json!({})).await;
                assert_eq!(talk.asked.len(), 2, "{cell}: {talk:?}");
                assert_eq!(talk.text().matches("Ada").count(), 2, "{cell}: {talk:?}");
            }
        }
    }
}

#[tokio::test]
async fn m_15_no_client_that_cannot_is_asked_by_any_upstream() {
    let app = TestApp::start().await;
    let bridge = bridge(&app).await;
    for revision in Revision::ALL {
        let client = McpClient::connect(&bridge.agent, revision, json!({}), json!({})).await;
        for (source, ..) in &bridge.sources {
            for tool in ["ask", "sample", "roots"] {
                let talk = client.call(&format!("{source}.{tool}"), json!({})).await;
                assert!(talk.asked.is_empty(), "{}: {talk:?}", cell(revision, source));
            }
        }
    }
}
