//! From adding a source to removing it.

use chrono::TimeDelta;
use serde_json::json;
use trunkline_platform::{
    catalog::{
        self, SecretChange, ToolName,
        source::{self, NewSource, Policy, Refreshed},
    },
    secret::Plaintext,
};

use super::{Mine, Server, new_source, tool, trusting};
use crate::support::{Era, SOON, TestApp, eventually, tools};

#[tokio::test]
async fn m_11_new_tools_are_off_until_somebody_switches_them_on() {
    let (app, server) = (TestApp::start().await, Server::start(&[tool("read", "Reads."), tool("look", "Looks.")]).await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let mine = Mine::add(&app, &acme, "files", &server.url(), Policy::default()).await;
    mine.read().await;
    assert_eq!(mine.states().await, [("files.look".to_owned(), "waiting"), ("files.read".to_owned(), "waiting")]);
    for era in Era::ALL {
        assert!(agent.list(era).await.tool_names().is_empty(), "nobody has looked yet");
        assert_eq!(agent.call(era, "files.read", json!({})).await.code(), -32602);
    }
    mine.switch_on(&["read"]).await;
    for era in Era::ALL {
        assert_eq!(agent.list(era).await.tool_names(), ["files.read"]);
    }
    assert!(server.seen().iter().all(|(method, _)| method != "tools/call"));

    // Gone upstream: gone here, and back as it was when it is back.
    server.set("tools", &[tool("look", "Looks.")]);
    assert_eq!(mine.read().await.removed, 1);
    assert!(agent.list(Era::Stateless).await.tool_names().is_empty());
    server.set("tools", &[tool("read", "Reads."), tool("look", "Looks."), tool("more", "More.")]);
    let tally = mine.read().await;
    assert_eq!((tally.returned, tally.added), (1, 1));
    assert_eq!(agent.list(Era::Stateless).await.tool_names(), ["files.read"], "what is new is off, what is back is on");
}

#[tokio::test]
async fn a_list_has_the_sources_own_words_to_the_byte() {
    let app = TestApp::start().await;
    let server = Server::start(&[json!({
        "name": "x", "title": "T", "description": "D.", "inputSchema": { "type": "object", "x-odd": [1.50, null] },
        "outputSchema": { "type": "array" }, "annotations": { "readOnlyHint": true, "x": 1 }, "icons": [{ "src": "https://a.example/i.png" }],
        "execution": { "taskSupport": "optional" }, "_meta": { "vendor/k": { "z": 1, "a": 2 } }, "unknown": "é",
    })])
    .await;
    server.give(&json!({ "content": [], "structuredContent": [1] }));
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let mine = Mine::add(&app, &acme, "s", &server.url(), trusting()).await;
    mine.read().await;
    let text = agent.list(Era::Stateless).await.text;
    for member in [
        r#""name":"s.x""#,
        r#""inputSchema":{"type":"object","x-odd":[1.5,null]}"#,
        r#""outputSchema":{"type":"array"}"#,
        r#""_meta":{"vendor/k":{"a":2,"z":1}}"#,
        r#""unknown":"é""#,
        r#""icons":[{"src":"https://a.example/i.png"}]"#,
    ] {
        assert!(text.contains(member), "{member}: {text}");
    }
    assert!(!text.contains("taskSupport"), "{text}");
    let text = agent.list(Era::Handshake).await.text;
    assert!(!text.contains("outputSchema") && text.contains("vendor/k"), "{text}");
}

#[tokio::test]
async fn a_broken_list_changes_nothing_and_the_page_says_so() {
    let (app, server) = (TestApp::start().await, Server::start(&[tool("read", "Reads.")]).await);
    server.set("prompts", &[json!({ "name": "p" })]);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let mine = Mine::add(&app, &acme, "files", &server.url(), trusting()).await;
    mine.read().await;
    let before = mine.states().await;
    server.set("tools", &[]);
    for broken in ["tools/list", "prompts/list", "resources/templates/list"] {
        server.break_method(Some(broken));
        let Refreshed::Stale(why) = mine.look().await else { panic!("{broken}: it was read") };
        assert!(!why.contains("canary"), "{why}");
        assert_eq!(mine.states().await, before, "{broken}");
        assert_eq!(agent.list(Era::Stateless).await.tool_names(), ["files.read"], "{broken}");
        let owner = crate::support::Visitor::signed_in(&app.url, "owner@acme.example").await;
        let page = owner.get(&format!("/t/acme/sources/{}", mine.source.id)).await.ok();
        assert!(page.body.contains("Its lists cannot be read") && !page.body.contains("canary"), "{}", page.body);
    }
    server.break_method(None);
    assert_eq!(mine.read().await.removed, 1);
    let url = server.url();
    drop(server);
    assert!(matches!(mine.look().await, Refreshed::Stale(_)), "{url} is gone");
}

#[tokio::test]
async fn sources_are_read_again_every_few_minutes_by_one_replica() {
    let (app, server) = (TestApp::start().await, Server::start(&[tool("a", "A.")]).await);
    let replica = app.replica().await;
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let _mine = Mine::add(&app, &acme, "s", &server.url(), trusting()).await;
    eventually("it is read for the first time", SOON, async || {
        (agent.list(Era::Stateless).await.tool_names() == ["s.a"]).then_some(())
    })
    .await;
    server.set("tools", &[tool("a", "A."), tool("b", "B.")]);
    let before = server.seen().len();
    app.clock.advance(TimeDelta::minutes(6));
    let there = agent.at(&format!("{}/t/acme/mcp", replica.url));
    eventually("both replicas list what is new", SOON, async || {
        let (here, there) = (agent.list(Era::Stateless).await, there.list(Era::Stateless).await);
        (here.tool_names() == ["s.a", "s.b"] && there.tool_names() == ["s.a", "s.b"]).then_some(())
    })
    .await;
    // The list of tools is asked for once more, when what is new goes through the gate.
    let asked = server.seen()[before..].iter().filter(|(method, _)| method == "prompts/list").count();
    assert_eq!(asked, 1, "one of the two replicas read it");
}

#[tokio::test]
async fn disabling_hides_and_removing_leaves_disabled_tools_that_a_successor_takes_over() {
    let (app, server) = (TestApp::start().await, Server::start(&[tool("a", "A.")]).await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let mine = Mine::add(&app, &acme, "s", &server.url(), trusting()).await;
    mine.read().await;
    let tool_id = mine.definition("a").await.tool.expect("a tool").id;
    let listed = async || agent.list(Era::Stateless).await.tool_names().len();
    assert_eq!(listed().await, 1);
    for (enabled, expected) in [(false, 0), (true, 1)] {
        let (owner, id) = (acme.owner.clone(), mine.source.id);
        app.act(|platform| async move { source::set_enabled(&platform, &owner, id, enabled).await.expect("switched") }).await;
        assert_eq!(listed().await, expected);
    }
    let (owner, id) = (acme.owner.clone(), mine.source.id);
    app.act(|platform| async move { source::remove(&platform, &owner, id).await.expect("removed") }).await;
    assert_eq!(listed().await, 0);
    let owner = acme.owner.clone();
    let enabled = app.act(|platform| async move { catalog::set_enabled(&platform, &owner, tool_id, true).await }).await;
    assert!(enabled.is_err_and(|error| error.to_string().contains("source")), "nobody serves it");
    let again = Mine::add(&app, &acme, "s", &server.url(), trusting()).await;
    again.read().await;
    assert_eq!(again.definition("a").await.tool.expect("a tool").id, tool_id, "records go on pointing at the same tool");
    assert_eq!(listed().await, 1);
}

#[tokio::test]
async fn a_secret_goes_to_its_origin_only_and_never_back() {
    let (app, server, other) = (TestApp::start().await, Server::start(&[]).await, Server::start(&[]).await);
    let acme = app.tenant("acme").await;
    let secret = "upstream-secret-8812";
    let new = NewSource {
        secret_header: Some("Authorization".to_owned()),
        secret: SecretChange::Set(Plaintext::new(format!("Bearer {secret}"))),
        ..new_source(&server.url(), Policy::default())
    };
    let mine = Mine::add_as(&app, &acme, "s", true, new).await;
    mine.read().await;
    assert!(server.seen().iter().all(|(_, head)| head.contains(&format!("authorization: bearer {secret}"))));
    let owner = crate::support::Visitor::signed_in(&app.url, "owner@acme.example").await;
    let page = format!("/t/acme/sources/{}", mine.source.id);
    for path in [page.clone(), format!("{page}/edit"), "/t/acme/sources".to_owned()] {
        assert!(!owner.get(&path).await.ok().body.contains(secret), "{path}");
    }
    // Another host gets it only when it is entered again.
    let moved = |secret_change| NewSource {
        secret_header: Some("Authorization".to_owned()),
        secret: secret_change,
        ..new_source(&other.url(), Policy::default())
    };
    let (actor, id, new) = (acme.owner.clone(), mine.source.id, moved(SecretChange::Keep));
    let kept = app.act(|platform| async move { source::update(&platform, &actor, id, new).await }).await;
    assert!(kept.is_err_and(|error| error.to_string().contains("another host")));
    let (actor, new) = (acme.owner.clone(), moved(SecretChange::Set(Plaintext::new("Bearer other".to_owned()))));
    app.act(|platform| async move { source::update(&platform, &actor, id, new).await.expect("moved") }).await;
    mine.read().await;
    assert!(!other.seen().is_empty() && other.seen().iter().all(|(_, head)| !head.contains(secret)));
}

#[tokio::test]
async fn names_are_unique_and_nothing_shadows() {
    let (app, first, second) =
        (TestApp::start().await, Server::start(&[tool("x", "First.")]).await, Server::start(&[tool("x", "Second.")]).await);
    for server in [&first, &second] {
        server.set("resources", &[json!({ "uri": "test://r", "name": "r" })]);
        server.set("prompts", &[json!({ "name": "p" })]);
    }
    let acme = app.tenant("acme").await;
    acme.tool("own", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let one = Mine::add(&app, &acme, "one", &first.url(), trusting()).await;
    one.read().await;
    // Without a prefix: its names may be anybody's.
    let bare = Mine::add_as(&app, &acme, "bare", false, new_source(&second.url(), trusting())).await;
    second.set("tools", &[tool("x", "Second."), tool("own", "Mine now."), tool("one.x", "Shadow."), tool("one.y", "Shadow.")]);
    bare.read().await;
    let states = bare.states().await;
    for (key, state) in [
        ("x", "approved"),
        ("own", "blocked"),
        ("one.x", "blocked"),
        ("one.y", "blocked"),
        ("p", "approved"),
        ("test://r", "blocked"),
    ] {
        assert!(states.contains(&(key.to_owned(), state)), "{key}: {states:?}");
    }
    assert!(bare.definition("own").await.reason.contains("a tool of yours"));
    assert!(bare.definition("one.y").await.reason.contains("source one"));
    let list = agent.list(Era::Stateless).await;
    assert_eq!(list.tool_names(), ["one.x", "own", "x"]);
    assert!(list.text.contains("First.") && !list.text.contains("Shadow") && !list.text.contains("Mine now"));
    // What is taken by a person is not taken from them, and what they leave is free.
    let (owner, name) = (acme.owner.clone(), ToolName::parse("later").expect("a name"));
    app.act(|platform| async move { catalog::create(&platform, &owner, name, tools::echo()).await.expect("a tool") }).await;
    second.set("tools", &[tool("x", "Second."), tool("later", "Late.")]);
    bare.read().await;
    assert_eq!(bare.definition("later").await.state.as_str(), "blocked");
    first.set("resources", &[]);
    one.read().await;
    bare.read().await;
    assert_eq!(bare.definition("test://r").await.state.as_str(), "approved", "the first one gave it back");
}

#[tokio::test]
async fn a_thousand_tools_are_read_and_listed_quickly() {
    let many: Vec<_> = (0..1_000).map(|n| tool(&format!("tool_{n:04}"), &format!("Does thing number {n}."))).collect();
    let (app, server) = (TestApp::start().await, Server::start(&many).await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let mine = Mine::add(&app, &acme, "s", &server.url(), trusting()).await;
    let started = std::time::Instant::now();
    mine.read().await;
    let read = started.elapsed();
    assert_eq!(agent.list(Era::Stateless).await.tool_names().len(), 500);
    let started = std::time::Instant::now();
    assert_eq!(mine.read().await, source::Tally::default());
    crate::support::say(&format!("sources: 1,000 tools imported in {read:?}, read again in {:?}", started.elapsed()));
    let owner = crate::support::Visitor::signed_in(&app.url, "owner@acme.example").await;
    for page in [format!("/sources/{}", mine.source.id), "/toolsets/new".to_owned(), "/tools".to_owned()] {
        let page = owner.get(&format!("/t/acme{page}")).await.ok();
        assert!(page.body.len() < 100 * 1024, "{} bytes", page.body.len());
    }
}
