//! MCP servers: the gate at the first approval, probes from then on.

use trunkline_platform::{
    catalog::{
        SecretChange,
        source::{self, NewSource, Policy, SourceName},
    },
    clock::Clock as _,
    publishing::{Health, Subject},
};
use trunkline_protocol::oauth::scope::Effect;

use super::{
    one_interval,
    server::{Mode, Shaky},
};
use crate::support::{Era, SOON, TestApp, Visitor, eventually};

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
