//! MCP servers: the gate at the first approval, probes from then on.

use chrono::TimeDelta;
use serde_json::{Value, json};
use trunkline_platform::{
    catalog::{
        SecretChange,
        source::{self, DefinitionFilter, ListedDefinition, NewDefinitions, NewSource, Policy, Refreshed, SourceName, Tally},
    },
    clock::Clock as _,
    db::page::Search,
    ids::SourceId,
    publishing::{Health, Subject},
};
use trunkline_protocol::oauth::scope::Effect;

use super::{
    one_interval,
    server::{Mode, Shaky, tool},
};
use crate::support::{Agent, Era, SOON, Tenant, TestApp, Visitor, eventually};

#[tokio::test]
async fn six_ways_to_be_broken_are_stopped_at_the_first_approval_and_found_by_the_probe() {
    let (app, server) = (TestApp::start().await, Shaky::start().await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let new = NewSource {
        url: source::parse_url(&server.mcp()).expect("a URL"),
        secret_header: None,
        secret: SecretChange::Remove,
        timeout_ms: 5_000,
        policy: Policy::default(),
        default_effect: Effect::Destructive,
    };
    let (member, name) = (acme.owner.clone(), SourceName::parse("notes").expect("a name"));
    let added =
        app.act(|platform| async move { source::create(&platform, &member, name, true, new).await.expect("added") }).await;
    let tenant = acme.id;
    eventually("it is read", SOON, async || {
        app.act(move |platform| async move { source::refresh(&platform, tenant, added.id).await.ok() }).await
    })
    .await;
    let page = format!("/t/acme/sources/{}", added.id);
    let set_within = [("every_s", "300"), ("within_ms", "300")];
    owner.post(&format!("{page}/probe"), &set_within).await.leads_to(&page);
    let approve = async |reason: &str| {
        let seen = app.clock.now().to_rfc3339();
        let fields = [("action", "all"), ("seen", seen.as_str()), ("untried_reason", reason)];
        owner.post(&format!("{page}/definitions"), &fields).await.leads_to(&page);
        owner.get(&page).await.ok().body
    };
    for (mode, checks) in Mode::BROKEN {
        server.is(mode);
        let body = approve("").await;
        assert!(body.contains("Nothing was switched on: the gate stopped this server"), "{mode:?}");
        assert!(agent.list(Era::Stateless).await.tool_names().is_empty(), "{mode:?}");
        let stopped: String = sqlx::query_scalar(
            "SELECT details ->> 'check' FROM app.audit_entries WHERE action = 'source.stopped' ORDER BY id DESC LIMIT 1",
        )
        .fetch_one(&mut app.sql().await)
        .await
        .expect("an entry");
        assert!(checks.contains(&stopped.as_str()), "{mode:?}: {stopped}");
    }
    server.is(Mode::Well);
    assert!(approve("").await.contains("1 switched on"));
    assert_eq!(agent.list(Era::Stateless).await.tool_names(), ["notes.keep"]);

    let subject = Subject::Source(added.id);
    for (mode, checks) in Mode::BROKEN {
        server.is(mode);
        let found = one_interval(&app, &acme, subject, Health::Failing).await;
        assert!(checks.contains(&found.failed.as_str()), "{mode:?}: {}", found.failed);
        assert!(owner.get("/t/acme/sources").await.ok().body.contains("is-failing"), "{mode:?}");
        server.is(Mode::Well);
        one_interval(&app, &acme, subject, Health::Well).await;
    }
    let hidden = [("every_s", "300"), ("within_ms", "300"), ("hides", "yes")];
    owner.post(&format!("{page}/probe"), &hidden).await.leads_to(&page);
    server.is(Mode::Empty);
    one_interval(&app, &acme, subject, Health::Failing).await;
    assert!(agent.list(Era::Stateless).await.tool_names().is_empty(), "tools of a source that fails are hidden with it");
}

/// A source that lets in by itself what it brings.
struct Trusted<'a> {
    app: &'a TestApp,
    tenant: &'a Tenant<'a>,
    id: SourceId,
}

impl<'a> Trusted<'a> {
    async fn add(app: &'a TestApp, tenant: &'a Tenant<'a>, server: &Shaky) -> Self {
        let new = NewSource {
            url: source::parse_url(&server.mcp()).expect("a URL"),
            secret_header: None,
            secret: SecretChange::Remove,
            timeout_ms: 5_000,
            policy: Policy { new: NewDefinitions::Approve, ..Policy::default() },
            default_effect: Effect::Destructive,
        };
        let (member, name) = (tenant.owner.clone(), SourceName::parse("notes").expect("a name"));
        let added = app.act(|platform| async move { source::create(&platform, &member, name, true, new).await.expect("added") });
        Self { app, tenant, id: added.await.id }
    }

    async fn read(&self) -> Tally {
        let (tenant, id) = (self.tenant.id, self.id);
        let refreshed = eventually("it is read", SOON, async || {
            self.app.act(move |platform| async move { source::refresh(&platform, tenant, id).await.ok() }).await
        });
        match refreshed.await {
            Refreshed::Done(tally) => tally,
            Refreshed::Stale(why) => panic!("not read: {why}"),
        }
    }

    async fn definition(&self, key: &str) -> ListedDefinition {
        let (owner, id) = (self.tenant.owner.clone(), self.id);
        let all = self.app.act(move |platform| async move {
            let search = Search::new("", 1).sized(100);
            source::search_definitions(&platform, &owner, id, DefinitionFilter::default(), &search).await.expect("definitions")
        });
        all.await.items.into_iter().find(|listed| listed.upstream_key == key).expect("that definition")
    }

    /// Checks at which the gate stopped something, in their order.
    async fn stopped(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT details ->> 'check' FROM app.audit_entries WHERE action = 'definition.stopped' ORDER BY id")
            .fetch_all(&mut self.app.sql().await)
            .await
            .expect("entries")
    }
}

async fn described(agent: &Agent) -> Vec<String> {
    let list = agent.list(Era::Stateless).await;
    let tools = list.json["result"]["tools"].as_array().expect("tools").clone();
    tools.iter().map(|tool| tool["description"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_change_that_a_policy_would_take_is_tried_first_and_waits_where_it_fails() {
    let (app, server) = (TestApp::start().await, Shaky::start().await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let mine = Trusted::add(&app, &acme, &server).await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let page = format!("/t/acme/sources/{}", mine.id);
    mine.read().await;
    assert_eq!((described(&agent).await, server.calls()), (vec!["Keeps a note.".to_owned()], 1), "it was called once before");
    owner.post(&format!("{page}/probe"), &[("every_s", "300"), ("within_ms", "300")]).await.leads_to(&page);

    let broken: Vec<_> = Mode::BROKEN.into_iter().filter(|(mode, _)| !matches!(mode, Mode::Down | Mode::Credential)).collect();
    let mut last = "Keeps a note.".to_owned();
    for (at, (mode, checks)) in broken.iter().enumerate() {
        server.is(*mode);
        server.offers(&[tool(&format!("Keeps one note, by plan {at}."))]);
        assert_eq!(mine.read().await, Tally { pending: 1, ..Tally::default() }, "{mode:?}");
        let calls = server.calls();
        assert_eq!(mine.read().await, Tally::default(), "{mode:?}: it is asked about once");
        assert_eq!(server.calls(), calls, "{mode:?}: and tried once");
        assert_eq!(described(&agent).await, [last.clone()], "{mode:?}: the last good one goes on");
        let stopped = mine.stopped().await;
        assert!(stopped.len() == at + 1 && checks.contains(&stopped[at].as_str()), "{mode:?}: {stopped:?}");
        let reason = mine.definition("keep").await.pending.expect("a change").reason;
        assert!(reason.starts_with("The gate stopped it at"), "{reason}");
        let shown = owner.get(&page).await.ok().body;
        assert!(shown.contains("The gate stopped it at") && shown.contains("Approve changes"), "{mode:?}: {shown}");
        // What comes after it is well, and taken by itself.
        server.is(Mode::Well);
        last = format!("Keeps one note, as mended {at}.");
        server.offers(&[tool(&last)]);
        assert_eq!(mine.read().await, Tally { changed: 1, ..Tally::default() }, "{mode:?}");
        assert_eq!(described(&agent).await, [last.clone()], "{mode:?}");
    }

    // Somebody says what has to come of it: that is asked of changes too.
    let asked = [
        ("every_s", "300"),
        ("within_ms", "300"),
        ("called", "keep"),
        ("sample", r#"{"note":"a note of mine"}"#),
        ("confirmed", "yes"),
        ("expected", "/kept=false"),
    ];
    owner.post(&format!("{page}/probe"), &asked).await.leads_to(&page);
    server.offers(&[tool("Keeps one note, they say.")]);
    assert_eq!(mine.read().await.pending, 1);
    assert_eq!(mine.stopped().await.last().expect("one").as_str(), "expected");
    // And a person may know better.
    let listed = mine.definition("keep").await;
    let detail = owner.get(&format!("{page}/definitions/{}", listed.id)).await.ok().body;
    assert!(detail.contains("The gate stopped it at") && detail.contains("at /kept stands"), "{detail}");
    let change = listed.pending.expect("a change").id;
    owner.post(&format!("{page}/changes/{change}/approve"), &[]).await.leads_to(&page);
    assert_eq!(described(&agent).await, ["Keeps one note, they say."]);
}

#[tokio::test]
async fn what_is_new_is_tried_before_a_policy_lets_it_in() {
    let (app, server) = (TestApp::start().await, Shaky::start().await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read tools:destructive").await;
    server.is(Mode::Echo);
    let mine = Trusted::add(&app, &acme, &server).await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let page = format!("/t/acme/sources/{}", mine.id);
    mine.read().await;
    let listed = mine.definition("keep").await;
    assert!(listed.state.as_str() == "waiting" && listed.reason.contains("not an echo"), "{}", listed.reason);
    assert!(described(&agent).await.is_empty());
    assert_eq!(mine.read().await, Tally::default(), "nobody is asked twice");
    assert_eq!(mine.stopped().await, ["echo"]);
    let shown = owner.get(&format!("{page}/definitions/{}", listed.id)).await.ok().body;
    assert!(shown.contains("It waits for you because of the gate") && shown.contains("untried_reason"), "{shown}");

    // It is not among what is taken without a look, and taken only by who says why.
    let (seen, pick) = (app.clock.now().to_rfc3339(), listed.id.to_string());
    let all = [("action", "all"), ("seen", seen.as_str()), ("untried_reason", "we know it")];
    owner.post(&format!("{page}/definitions"), &all).await.leads_to(&page);
    assert!(described(&agent).await.is_empty(), "what the gate stopped is switched on by itself");
    let picked = [("action", "on"), ("pick", pick.as_str()), ("seen", seen.as_str())];
    owner.post(&format!("{page}/definitions"), &picked).await.leads_to(&page);
    assert!(owner.get(&page).await.ok().body.contains("the gate stopped this server"), "the first tools of a server");
    let reasoned = [picked.as_slice(), &[("untried_reason", "it is meant to echo")]].concat();
    owner.post(&format!("{page}/definitions"), &reasoned).await.leads_to(&page);
    assert_eq!(described(&agent).await, ["Keeps a note."]);

    // What cannot be called is stood for by what can.
    let drop_all = |words: &str| -> Value {
        json!({ "name": "drop", "description": words, "inputSchema": { "type": "object" }, "annotations": { "destructiveHint": true } })
    };
    server.offers(&[tool("Keeps a note."), drop_all("Drops all notes.")]);
    mine.read().await;
    let reason = mine.definition("drop").await.reason;
    assert!(reason.contains("keep was called in its place"), "{reason}");
    server.is(Mode::Well);
    app.clock.advance(TimeDelta::seconds(1));
    server.offers(&[tool("Keeps a note."), drop_all("Drops each note.")]);
    let calls = server.calls();
    mine.read().await;
    assert_eq!(described(&agent).await, ["Drops each note.", "Keeps a note."]);
    assert_eq!(server.calls(), calls + 1, "nothing destructive was called");
}
