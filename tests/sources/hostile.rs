//! Upstreams that mean no good, by the ids of the requirements.

use serde_json::{Value, json};
use trunkline_platform::catalog::source::Policy;

use super::{Mine, Server, tool, trusting};
use crate::support::{Era, TestApp, Visitor};

#[tokio::test]
async fn m_01_a_source_is_reached_over_the_network_and_never_started() {
    let (app, server) = (TestApp::start().await, Server::start(&[]).await);
    app.tenant("acme").await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let count = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM app.sources").fetch_one(&mut app.sql().await).await.expect("a count")
    };
    let send = async |url: &str| {
        let fields = [
            ("name", "evil"),
            ("url", url),
            ("timeout_ms", "1000"),
            ("new_definitions", "wait"),
            ("changes", "harmless_pass"),
            ("meanwhile", "serve_approved"),
            ("default_effect", "destructive"),
            ("kind", "stdio"),
            ("command", "/bin/sh"),
            ("args", "-c id"),
            ("env", "PATH=/"),
        ];
        owner.post("/t/acme/sources/new", &fields).await
    };
    for url in ["", "stdio:npx", "npx -y evil", "file:///bin/sh", "/bin/sh -c id", "unix:///run/x.sock", "ws://127.0.0.1/"] {
        let page = send(url).await;
        assert_eq!((page.status, count().await), (422, 0), "{url}");
    }
    // With a URL it is a source at that URL, whatever else was sent.
    assert_eq!(send(&server.url()).await.status, 303);
    let (kind, row): (String, String) = sqlx::query_as("SELECT kind, to_jsonb(s)::text FROM app.sources s")
        .fetch_one(&mut app.sql().await)
        .await
        .expect("a source");
    assert!(kind == "mcp" && !row.contains("/bin/sh") && !row.contains("stdio"), "{row}");
    let stdio = sqlx::query("UPDATE app.sources SET kind = 'stdio'").execute(&mut app.sql().await).await;
    assert!(stdio.is_err(), "the schema knows no such kind");
}

#[tokio::test]
async fn m_11_a_source_cannot_take_anothers_name_however_it_is_put_together() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    // `a__x` against `a_` + `_x`, and the same with our separator.
    let (one, two) = (Server::start(&[tool("_x", "1")]).await, Server::start(&[tool("x", "2"), tool("_.x", "3")]).await);
    let first = Mine::add(&app, &acme, "a_", &one.url(), trusting()).await;
    let second = Mine::add(&app, &acme, "a", &two.url(), trusting()).await;
    first.read().await;
    second.read().await;
    let mut keys: Vec<_> = [first.states().await, second.states().await].concat().into_iter().map(|(key, _)| key).collect();
    keys.sort();
    let count = keys.len();
    keys.dedup();
    assert_eq!((keys.len(), count), (3, 3), "{keys:?}");
}

#[tokio::test]
async fn m_12_hidden_characters_and_long_descriptions_never_reach_an_agent_and_are_shown_to_people() {
    let long = "d".repeat(4_097);
    let hidden = [
        ("zero-width", "Reads\u{200b} a file."),
        ("direction", "Reads \u{202e}a file."),
        ("tags", "Reads a file.\u{e0049}\u{e0067}"),
        ("control", "Reads a file.\u{1b}[2J"),
        ("long", long.as_str()),
    ];
    let mut all: Vec<Value> = hidden.iter().map(|(name, text)| tool(name, text)).collect();
    all.push(tool("na\u{200d}me", "Reads."));
    let mut in_schema = tool("schema", "Reads.");
    in_schema["inputSchema"]["properties"]["text"]["description"] = "a\u{2060}b".into();
    all.push(in_schema);
    all.push(tool("fine", "Reads a file.\n\tIndented, and 👩\u{200d}💻."));
    let (app, server) = (TestApp::start().await, Server::start(&all).await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let mine = Mine::add(&app, &acme, "s", &server.url(), trusting()).await;
    let tally = mine.read().await;
    assert_eq!((tally.added, tally.blocked), (8, 7));
    assert_eq!(agent.list(Era::Stateless).await.tool_names(), ["s.fine"]);

    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let list = owner.get(&format!("/t/acme/sources/{}", mine.source.id)).await.ok();
    for (spelt, raw) in [("⟨U+200B⟩", '\u{200b}'), ("⟨U+202E⟩", '\u{202e}'), ("⟨U+E0049⟩", '\u{e0049}'), ("⟨U+001B⟩", '\u{1b}')]
    {
        assert!(list.body.contains(spelt) && !list.body.contains(raw), "{spelt}");
    }
    for (name, _) in hidden {
        let listed = mine.definition(name).await;
        let page = owner.get(&format!("/t/acme/sources/{}/definitions/{}", mine.source.id, listed.id)).await.ok();
        assert!(page.body.contains("It cannot be served"), "{name}");
        let fields = [("action", "on"), ("pick", &listed.id.to_string()), ("seen", "2099-01-01T00:00:00Z")];
        owner.post(&format!("/t/acme/sources/{}/definitions", mine.source.id), &fields).await;
        assert_eq!(mine.definition(name).await.state.as_str(), "blocked", "{name}: nobody can approve it");
    }

    // As a change of something approved: it waits, cannot be approved, and the approved version goes on.
    server.set("tools", &[tool("fine", "Reads a \u{200b}file.")]);
    assert_eq!(mine.read().await.pending, 1);
    let listed = mine.definition("fine").await;
    let page = owner.get(&format!("/t/acme/sources/{}/definitions/{}", mine.source.id, listed.id)).await.ok();
    assert!(page.body.contains("This change cannot be approved") && page.body.contains("⟨U+200B⟩"), "{}", page.body);
    let change = listed.pending.expect("a change").id;
    owner.post(&format!("/t/acme/sources/{}/changes/{change}/approve", mine.source.id), &[]).await;
    assert!(mine.definition("fine").await.pending.is_some());
    assert!(agent.list(Era::Stateless).await.text.contains("Indented"));
}

#[tokio::test]
async fn m_14_schemas_are_bounded_and_nothing_is_fetched_for_them() {
    let canary = Server::start(&[]).await;
    let schema = |schema: Value| {
        let mut tool = tool("x", "X.");
        tool["inputSchema"] = schema;
        tool
    };
    let deep = (0..20).fold(json!({ "type": "object" }), |inner, _| json!({ "type": "object", "properties": { "a": inner } }));
    let cases = [
        ("ref", schema(json!({ "type": "object", "$ref": canary.url() }))),
        ("file", schema(json!({ "type": "object", "properties": { "a": { "$ref": "file:///etc/passwd" } } }))),
        ("deep", schema(deep)),
        ("large", schema(json!({ "type": "object", "description": "x".repeat(65 * 1024) }))),
        ("backtracking", schema(json!({ "type": "object", "properties": { "a": { "pattern": "^(a+)+\\1$" } } }))),
        ("explosive", schema(json!({ "type": "object", "properties": { "a": { "pattern": "((a{200}){200}){200}" } } }))),
        ("wrong", schema(json!({ "type": "object", "properties": { "a": { "type": "nonsense" } } }))),
        ("array", schema(json!({ "type": "array" }))),
        ("none", json!({ "name": "x", "description": "X." })),
        ("header", schema(json!({ "type": "object", "properties": { "a": { "type": "object", "x-mcp-header": "Region" } } }))),
        (
            "header-twice",
            schema(json!({ "type": "object", "properties": {
                "a": { "type": "string", "x-mcp-header": "Region" }, "b": { "type": "string", "x-mcp-header": "region" } } })),
        ),
        ("task", {
            let mut tool = tool("x", "X.");
            tool["execution"] = json!({ "taskSupport": "required" });
            tool
        }),
        ("output", {
            let mut tool = tool("x", "X.");
            tool["outputSchema"] = json!({ "$ref": canary.url() });
            tool
        }),
    ];
    let mut all = Vec::new();
    for (name, tool) in &cases {
        let mut tool = tool.clone();
        tool["name"] = (*name).into();
        all.push(tool);
    }
    all.push({
        let mut tool = tool("fine", "Fine.");
        tool["inputSchema"]["properties"]["region"] =
            json!({ "type": "string", "pattern": "^[a-z]+$", "x-mcp-header": "Region" });
        tool
    });
    let (app, server) = (TestApp::start().await, Server::start(&all).await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let mine = Mine::add(&app, &acme, "s", &server.url(), trusting()).await;
    mine.read().await;
    for (name, _) in &cases {
        let listed = mine.definition(name).await;
        assert!(listed.state.as_str() == "blocked" && listed.reason.starts_with("Cannot be used: "), "{name}: {}", listed.reason);
    }
    assert_eq!(agent.list(Era::Stateless).await.tool_names(), ["s.fine"]);
    assert!(canary.seen().is_empty(), "something was fetched: {:?}", canary.seen());
}

#[tokio::test]
async fn hostile_names_fit_or_stay_out() {
    let names = [
        "x".repeat(64),
        "x".repeat(300),
        "y".repeat(1_025),
        "a/b".to_owned(),
        "a b".to_owned(),
        "../../etc".to_owned(),
        "<script>alert(1)</script>".to_owned(),
        "'; DROP TABLE app.tools; --".to_owned(),
        "名前".to_owned(),
        "a\nb".to_owned(),
        "a\u{0}b".to_owned(),
        String::new(),
        "__proto__".to_owned(),
        "%2e%2e".to_owned(),
    ];
    let mut all: Vec<Value> = names.iter().map(|name| tool(name, "A tool.")).collect();
    all.extend([json!({ "description": "no name" }), json!({}), json!({ "name": 7 })]);
    let (app, server) = (TestApp::start().await, Server::start(&all).await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let mine = Mine::add(&app, &acme, "s", &server.url(), trusting()).await;
    mine.read().await;
    let list = agent.list(Era::Stateless).await;
    let listed = list.tool_names();
    assert!(listed.len() >= 8, "{listed:?}");
    for name in &listed {
        let fits = name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        assert!(fits && name.starts_with("s."), "{name}");
    }
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let page = owner.get(&format!("/t/acme/sources/{}", mine.source.id)).await.ok();
    assert!(!page.body.contains("<script>alert") && page.body.contains("left out"), "{}", page.body);
}

#[tokio::test]
async fn private_addresses_are_refused_when_a_source_is_added() {
    let app = TestApp::builder().set("EGRESS_ALLOW", "").set("EGRESS_ALLOW_HTTP", "false").start().await;
    let acme = app.tenant("acme").await;
    for url in
        ["https://127.0.0.1/mcp", "https://169.254.169.254/", "http://example.com/mcp", "https://[::1]/", "https://a.example:22/"]
    {
        let (owner, new) = (acme.owner.clone(), super::new_source(url, Policy::default()));
        let name = trunkline_platform::catalog::source::SourceName::parse("s").expect("a name");
        let added = app
            .act(|platform| async move {
                trunkline_platform::catalog::source::create(&platform, &owner, name, true, new).await.map(drop)
            })
            .await;
        assert!(added.is_err_and(|error| error.to_string().starts_with("url: ")), "{url}");
    }
}
