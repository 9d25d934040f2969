//! Requests of functions: to the hosts that were named, by the guarded way out, with a secret that code never sees.

use serde_json::json;
use trunkline_platform::{
    catalog::{Executor, NewVersion, SecretChange},
    secret::Plaintext,
};

use super::{function, start};
use crate::support::{Era, SOON, TestApp, Upstream, eventually, process, tools};

#[tokio::test]
async fn fetch_reaches_the_named_hosts_only() {
    let (app, named, other) = (start().await, Upstream::start().await, Upstream::start().await);
    named.serve_document("{\"answer\": 42}");
    let acme = app.tenant("acme").await;
    let code = format!(
        "export default async ({{ to }}) => {{
            const answer = await fetch(to, {{ method: 'POST', headers: {{ 'content-type': 'application/json', 'x-trace': 'a' }}, body: '{{}}' }});
            return {{ status: answer.status, type: answer.headers.get('content-type'), body: to.startsWith('{}') ? await answer.json() : null }};
        }}",
        named.url("")
    );
    acme.tool("ask", function(&code, &[&named.url("")])).await;
    let agent = acme.agent("agent", "tools:read").await;
    let answer = agent.call(Era::Stateless, "ask", json!({ "to": named.url("/document") })).await;
    let said = &answer.json["result"]["structuredContent"];
    assert_eq!((&said["status"], &said["body"]), (&json!(200), &json!({ "answer": 42 })), "{}", answer.text);
    let [seen] = &named.seen()[..] else { panic!("one request") };
    assert!(seen.line == "POST /document" && seen.head.contains("x-trace: a") && seen.body == "{}", "{seen:?}");
    for to in [
        other.url("/"),
        "http://localhost/".to_owned(),
        format!("http://user@{}/", named.addr),
        "ftp://x.example/".to_owned(),
        "/x".to_owned(),
    ] {
        let refused = agent.call(Era::Stateless, "ask", json!({ "to": to })).await;
        assert_eq!(refused.error_class(), "tool_threw", "{to}: {}", refused.text);
    }
    assert_eq!((named.seen().len(), other.seen().len()), (1, 0));
}

#[tokio::test]
async fn e_03_private_addresses_get_no_connection() {
    process::binary();
    let upstream = Upstream::start().await;
    // Named while it was allowed: what a version says does not open what the installation has closed.
    let open = TestApp::builder().set("EGRESS_ALLOW", "127.0.0.0/8,::1/128,169.254.0.0/16").start().await;
    let closed = open.with_settings(&[("EGRESS_ALLOW", "10.99.0.0/16")]).await;
    let acme = open.tenant("acme").await;
    let code = "export default async ({ to }) => (await fetch(to)).status";
    acme.tool("ask", function(code, &[&upstream.url(""), "http://169.254.169.254", "http://[::1]:80"])).await;
    let agent = acme.agent("agent", "tools:read").await;
    let elsewhere = crate::support::Agent { url: agent.url.replace(&open.url, &closed.url), ..agent.clone() };
    for to in [upstream.url("/"), "http://169.254.169.254/latest/meta-data/".to_owned(), "http://[::1]:80/".to_owned()] {
        let refused = elsewhere.call(Era::Stateless, "ask", json!({ "to": to })).await;
        assert!(refused.error_class() == "tool_threw" && refused.result().contains("not allowed"), "{to}: {}", refused.text);
    }
    assert_eq!(upstream.seen().len(), 0);
    // A version that names such a host is not published there at all.
    let (owner, new) = (acme.owner.clone(), function(code, &["http://192.168.1.1"]));
    let name = trunkline_platform::catalog::ToolName::parse("private").expect("a name");
    let refused =
        closed.act(|platform| async move { trunkline_platform::catalog::create(&platform, &owner, name, new).await }).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("public hosts")));
}

#[tokio::test]
async fn a_secret_is_added_outside_of_the_code() {
    let (app, first, second) = (start().await, Upstream::start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    let code = "export default async ({ to }) => { await fetch(to, { headers: { 'x-key': 'mine' } }); return JSON.stringify(Object.keys(globalThis)) + String(fetch); }";
    let mut new = function(code, &[&first.url(""), &second.url("")]);
    if let Executor::Function(function) = &mut new.executor {
        function.secret_header = Some("X-Key".to_owned());
    }
    acme.tool("ask", NewVersion { secret: SecretChange::Set(Plaintext::new("s3cr3t-value".to_owned())), ..new }).await;
    let agent = acme.agent("agent", "tools:read").await;
    for upstream in [&first, &second] {
        let answer = agent.call(Era::Stateless, "ask", json!({ "to": upstream.url("/") })).await;
        assert!(answer.is_ok() && !answer.text.contains("s3cr3t"), "{}", answer.text);
    }
    assert!(first.seen()[0].head.contains("x-key: s3cr3t-value") && !first.seen()[0].head.contains("mine"));
    assert!(second.seen()[0].head.contains("x-key: mine") && !second.seen()[0].head.contains("s3cr3t"));
}

#[tokio::test]
async fn a_host_that_fails_most_requests_is_left_alone_by_functions_and_http_tools_together() {
    let (app, upstream) = (start().await, Upstream::start().await);
    let (acme, other) = (app.tenant("acme").await, app.tenant("other").await);
    let there = upstream.url("");
    let code = format!(
        "export default async ({{ path, times }}) => {{
            const said = [];
            for (let i = 0; i < times; i++) {{
                try {{ said.push((await fetch('{there}' + path)).status); }} catch (error) {{ said.push(error.message); }}
            }}
            return said.join(', ');
        }}"
    );
    for tenant in [&acme, &other] {
        tenant.tool("ask", function(&code, &[&there])).await;
    }
    acme.tool("look", tools::get(&upstream.url("/ok"))).await;
    let agent = acme.agent("agent", "tools:read").await;
    let ask = async |path: &str, times: u32| {
        let answer = agent.call(Era::Stateless, "ask", json!({ "path": path, "times": times })).await;
        answer.result().to_owned()
    };
    // Half of twenty, within ten seconds.
    assert_eq!(ask("/status/404", 10).await, ["404"; 10].join(", "), "what is not found is no failure");
    assert_eq!(ask("/status/503", 10).await, ["503"; 10].join(", "));
    let before = upstream.seen().len();
    let left = ask("/ok", 1).await;
    assert!(left.contains("is left alone for a moment") && left.contains("try again in"), "{left}");
    let refused = agent.call(Era::Stateless, "look", json!({})).await;
    assert_eq!(refused.code(), 5030, "it is the same breaker: {}", refused.text);
    assert_eq!(upstream.seen().len(), before, "nothing was sent");
    let neighbour = other.agent("agent", "tools:read").await;
    let answered = neighbour.call(Era::Stateless, "ask", json!({ "path": "/ok", "times": 1 })).await;
    assert_eq!(answered.result(), "200", "{}", answered.text);
    // One tries, and it is well again.
    eventually("it is tried again", SOON, async || (ask("/ok", 1).await == "200").then_some(())).await;
    assert!(agent.call(Era::Stateless, "look", json!({})).await.is_ok());
}
