//! Drafts, publishing and rolling back, as agents, replicas and other tenants see it.

use trunkline_platform::{
    catalog::NewVersion,
    error::ErrorKind,
    publishing::{self, Publication, Terms},
};

use super::{Mine, keep, server::Shaky, terms};
use crate::support::{Agent, Era, TestApp, Visitor, tools};

async fn description(agent: &Agent) -> String {
    let listed = agent.list(Era::Stateless).await;
    listed.json["result"]["tools"][0]["description"].as_str().unwrap_or_default().to_owned()
}

fn described(text: &str) -> NewVersion {
    NewVersion { description: text.to_owned(), ..tools::time() }
}

#[tokio::test]
async fn publishing_and_rolling_back_are_seen_by_every_replica() {
    let app = TestApp::start().await;
    let replica = app.replica().await;
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let there = agent.at(&format!("{}/t/acme/mcp", replica.url));
    let mine = Mine::live(&app, &acme, "clock", described("One."), Terms::default()).await;
    assert_eq!((description(&agent).await, description(&there).await), ("One.".to_owned(), "One.".to_owned()));
    assert_eq!(mine.save(1, described("Two.")).await.expect("saved").number, 2);
    assert_eq!(description(&there).await, "One.", "a draft is nobody's");
    assert!(matches!(mine.publish(2).await, Ok(Publication::Live(2))));
    assert_eq!((description(&there).await, description(&agent).await), ("Two.".to_owned(), "Two.".to_owned()));
    mine.roll_back(1, 2).await.expect("rolled back");
    assert_eq!((description(&there).await, description(&agent).await), ("One.".to_owned(), "One.".to_owned()));
    let again = mine.roll_back(1, 2).await.expect_err("somebody saw another version");
    assert!(matches!(again.kind(), ErrorKind::Conflict(_)), "{again}");
    // What comes next is numbered after all there are, and goes on from what agents have.
    assert_eq!(mine.save(2, described("Three.")).await.expect("saved").number, 3);
    let never = mine.roll_back(3, 1).await.expect_err("never published");
    assert!(never.to_string().contains("never published"), "{never}");
    let old = mine.publish(2).await.expect_err("published before");
    assert!(old.to_string().contains("roll back"), "{old}");
    assert!(matches!(mine.publish(3).await, Ok(Publication::Live(3))));
    assert_eq!(description(&there).await, "Three.");
}

#[tokio::test]
async fn of_two_who_publish_at_once_one_does() {
    let (app, server) = (TestApp::start().await, Shaky::start().await);
    let acme = app.tenant("acme").await;
    let mine = Mine::draft(&app, &acme, "keep", keep(&server), terms()).await;
    let (one, other) = tokio::join!(mine.publish(1), mine.publish(1));
    let live = [&one, &other].iter().filter(|outcome| matches!(outcome, Ok(Publication::Live(1)))).count();
    let refused = [&one, &other]
        .iter()
        .filter(|outcome| matches!(outcome, Err(error) if matches!(error.kind(), ErrorKind::Conflict(_))))
        .count();
    assert_eq!((live, refused), (1, 1), "{one:?} {other:?}");
    let published: i64 = sqlx::query_scalar("SELECT count(*) FROM app.tool_publications")
        .fetch_one(&mut app.sql().await)
        .await
        .expect("publications");
    assert_eq!(published, 1);
}

#[tokio::test]
async fn a_form_that_is_too_late_saves_nothing() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let mine = Mine::live(&app, &acme, "clock", described("One."), Terms::default()).await;
    mine.save(1, described("Two.")).await.expect("saved");
    let late = mine.save(1, described("Too late.")).await.expect_err("version 2 is there");
    assert!(late.to_string().contains("Version 2 was saved while you edited version 1"), "{late}");
    let same = mine.save(2, described("One.")).await.expect("saved");
    assert_eq!((same.number, same.is_draft), (1, false), "that is what agents have");
}

#[tokio::test]
async fn what_publishing_changes_for_whom_is_said_before() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.agent("reader", "tools:read").await;
    acme.agent("writer", "tools:write").await;
    acme.agent("stranger", "tool:other").await;
    let mine = Mine::live(&app, &acme, "clock", described("One."), Terms::default()).await;
    let writes = tools::with_effect(trunkline_protocol::oauth::scope::Effect::Write, described("Two."));
    mine.save(1, writes).await.expect("saved");
    let (owner, id) = (acme.owner.clone(), mine.tool);
    let impact = app.act(move |platform| async move { publishing::impact(&platform, &owner, id, 2).await.expect("an impact") });
    let impact = impact.await;
    assert_eq!(
        (impact.keep.first, impact.gain.total, impact.lose.first),
        (vec!["writer".to_owned()], 0, vec!["reader".to_owned()])
    );
    assert!(impact.differs.iter().any(|(name, before, after)| *name == "Effect" && before == "read" && after == "write"));
}

#[tokio::test]
async fn an_agent_that_is_pinned_goes_on_with_its_version_in_lists_and_calls() {
    let app = TestApp::start().await;
    let replica = app.replica().await;
    let acme = app.tenant("acme").await;
    let (pinned, other) = (acme.agent("pinned", "tools:read").await, acme.agent("other", "tools:read").await);
    let there = pinned.at(&format!("{}/t/acme/mcp", replica.url));
    // Long enough for pages of lists to be kept.
    let long = |word: &str| described(&format!("{word} {}", "x".repeat(4_000)));
    for filler in 0..3 {
        acme.tool(&format!("z{filler}"), long("filler")).await;
    }
    let mine = Mine::live(&app, &acme, "clock", long("One."), Terms::default()).await;
    mine.save(1, NewVersion { executor: tools::echo().executor, ..long("Two.") }).await.expect("saved");
    assert!(matches!(mine.publish(2).await, Ok(Publication::Live(2))));
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let tool = format!("/t/acme/tools/{}", mine.tool);
    owner.post(&format!("{tool}/pins"), &[("agent", "pinned"), ("version", "1")]).await.leads_to(&tool);
    assert!(owner.get(&tool).await.ok().body.contains("is pinned to <strong>v1</strong>"));
    for _ in 0..2 {
        assert!(description(&there).await.starts_with("One.") && description(&pinned).await.starts_with("One."));
        assert!(description(&other).await.starts_with("Two."));
    }
    assert!(pinned.call(Era::Stateless, "clock", serde_json::json!({})).await.is_ok(), "version 1 tells the time");
    assert_eq!(other.call(Era::Stateless, "clock", serde_json::json!({})).await.error_class(), "invalid_arguments");
    for (fields, words) in [
        ([("agent", "nobody"), ("version", "1")], "There is no agent of that name"),
        ([("agent", "other"), ("version", "9")], ""),
    ] {
        let page = owner.post(&format!("{tool}/pins"), &fields).await;
        assert!(page.status == if words.is_empty() { 404 } else { 303 }, "{}", page.status);
    }
    owner.post(&format!("{tool}/pins/{}/remove", pinned.id), &[]).await.leads_to(&tool);
    assert!(description(&there).await.starts_with("Two."));
    let actions: Vec<String> =
        sqlx::query_scalar("SELECT action FROM app.audit_entries WHERE action LIKE 'tool.%pinned' ORDER BY id")
            .fetch_all(&mut app.sql().await)
            .await
            .expect("entries");
    assert_eq!(actions, ["tool.pinned", "tool.unpinned"]);
}

#[tokio::test]
async fn drafts_of_another_tenant_do_not_exist() {
    let app = TestApp::start().await;
    let (acme, bravo) = (app.tenant("acme").await, app.tenant("bravo").await);
    let mine = Mine::draft(&app, &acme, "secret-plan", described("Nobody knows."), Terms::default()).await;
    let other = Visitor::signed_in(&app.url, "owner@bravo.example").await;
    let base = format!("/t/{}/tools/{}", bravo.slug, mine.tool);
    for path in ["", "/edit", "/compare"] {
        let page = other.get(&format!("{base}{path}")).await;
        assert!(page.status == 404 && !page.body.contains("secret-plan"), "{path}: {}", page.status);
    }
    for path in ["/publish", "/roll-back", "/probe", "/probe/now"] {
        let page = other.post(&format!("{base}{path}"), &[("version", "1"), ("every_s", "300")]).await;
        assert_eq!(page.status, 404, "{path}");
    }
    let own = Visitor::signed_in(&app.url, "owner@acme.example").await;
    assert!(own.get(&format!("/t/acme/tools/{}", mine.tool)).await.ok().body.contains("Draft: version 1"));
    assert!(own.get("/t/acme/tools").await.ok().body.contains("secret-plan"));
}

#[tokio::test]
async fn the_pages_lead_from_a_draft_to_an_older_version_and_compare_them() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let fields =
        [("name", "now"), ("description", "Tells the time."), ("effect", "read"), ("kind", "builtin"), ("builtin", "time")];
    let saved = owner.post("/t/acme/tools/new", &[&fields[..], &[("then", "draft")]].concat()).await;
    let url = saved.location().to_owned();
    let page = owner.get(&url).await.ok();
    assert!(page.body.contains("Draft: version 1") && page.body.contains("No agent sees it"), "{}", page.body);
    assert!(agent.list(Era::Stateless).await.tool_names().is_empty());
    owner.post(&format!("{url}/publish"), &[("version", "1")]).await.leads_to(&url);
    assert!(owner.get(&url).await.ok().body.contains("The tool is published"));
    let edited = [("description", "Tells the right time."), ("version", "1")];
    owner.post(&format!("{url}/edit"), &[&fields[2..], &edited].concat()).await.leads_to(&url);
    assert_eq!(description(&agent).await, "Tells the right time.");
    let compared = owner.get(&format!("{url}/compare?from=1&to=2")).await.ok();
    assert!(compared.body.contains("<ins>right </ins>"), "{}", compared.body);
    for (query, status) in [("from=1&to=9", 404), ("from=x", 422)] {
        assert_eq!(owner.get(&format!("{url}/compare?{query}")).await.status, status, "{query}");
    }
    owner.post(&format!("{url}/roll-back"), &[("version", "1"), ("seen", "2")]).await.leads_to(&url);
    assert_eq!(description(&agent).await, "Tells the time.");
    let bad = owner.post("/t/acme/tools/new", &[&fields[1..], &[("name", "x"), ("sample", "[1]")]].concat()).await;
    assert!(bad.status == 422 && bad.body.contains("Expected a JSON object"), "{}", bad.status);
}
