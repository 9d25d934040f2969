//! The page of changes: who sees it, what can be found on it, what it proves, what can be taken away.

use serde_json::{Value, json};
use trunkline_platform::{actor::Role, chain};

use crate::support::{Agent, Era, SOON, Tenant, TestApp, Visitor, eventually, tools};

const OWNER: &str = "owner@acme.example";

/// An agent that has called a tool, and both have their places in the chain.
async fn recorded(app: &TestApp) -> (Tenant<'_>, Agent) {
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("helper", "tools:read").await;
    agent.call(Era::Stateless, "echo", json!({ "text": "x" })).await;
    let mut sql = app.sql().await;
    eventually("everything is chained", SOON, async || {
        app.act(|platform| async move { chain::advance(&platform).await.expect("chained") }).await;
        let calls: i64 = sqlx::query_scalar("SELECT count(*) FROM app.calls").fetch_one(&mut sql).await.expect("a count");
        let waiting: i64 =
            sqlx::query_scalar("SELECT count(*) FROM app.audit_unchained").fetch_one(&mut sql).await.expect("a count");
        (calls == 1 && waiting == 0).then_some(())
    })
    .await;
    (acme, agent)
}

#[tokio::test]
async fn changes_are_found_by_what_who_and_when() {
    let app = TestApp::start().await;
    let (acme, agent) = recorded(&app).await;
    let owner = Visitor::signed_in(&app.url, OWNER).await;
    let agent_url = format!("/t/acme/agents/{}", agent.id);
    owner.post(&format!("{agent_url}/suspend"), &[]).await.leads_to(&agent_url);
    let today = app.platform.clock.now().format("%Y-%m-%d").to_string();
    let count = async |query: &str| {
        let page = owner.get(&format!("/t/acme/audit?{query}")).await.ok();
        page.body.matches("<th scope=\"row\"").count()
    };
    let page = owner.get("/t/acme/audit?about=agent").await.ok();
    for text in ["agent.suspended", "agent.created", OWNER, "helper", &agent.id.to_string(), &agent_url] {
        assert!(page.body.contains(text), "{text}: {}", page.body);
    }
    assert!(!page.body.contains("tool.published") && !page.body.contains("tools/call"));
    let all = count("").await;
    assert!(all > 3);
    assert_eq!(count(&format!("by={OWNER}")).await, all, "all of it by its owner");
    assert_eq!(count(&format!("by={}", acme.owner.user)).await, all);
    assert_eq!(count(&format!("subject={}&about=agent", agent.id)).await, 2);
    assert_eq!(count(&format!("since={today}&until={today}")).await, all);
    assert_eq!(count("until=2020-01-01").await, 0);
    for (query, complaint) in [
        ("about=weather", "nothing of this kind"),
        ("by=nobody@acme.example", "No member has this address"),
        ("since=yesterday", "2026-11-21"),
    ] {
        let page = owner.get(&format!("/t/acme/audit?{query}")).await;
        assert_eq!(page.status, 422, "{query}");
        assert!(page.body.contains(complaint) && !page.body.contains("agent.created"), "{query}: {}", page.body);
    }
    assert_eq!(owner.get("/t/acme/audit?before=x").await.status, 422);
}

#[tokio::test]
async fn changes_say_what_was_before_and_what_is_after_and_nothing_else() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let tool =
        acme.tool("echo", tools::with_secret("x-api-key", "first-secret", tools::get("https://api.example/a?key=hidden"))).await;
    let agent = acme.agent("helper", "tools:read").await;
    let developer = acme.member("developer@acme.example", Role::Developer).await;
    let owner = Visitor::signed_in(&app.url, OWNER).await;
    let fields = [("name", "helper two"), ("ceiling", "write"), ("per_minute", "60"), ("per_day", "5")];
    owner.post(&format!("/t/acme/agents/{}/edit", agent.id), &fields).await.leads_to(&format!("/t/acme/agents/{}", agent.id));
    let fields = [
        ("title", ""),
        ("description", "Another description."),
        ("effect", "write"),
        ("kind", "http"),
        ("method", "GET"),
        ("url", "https://api.example/a?key=other"),
        ("secret_header", "x-api-key"),
        ("secret", "second-secret"),
        ("timeout_ms", "10000"),
        ("price", "0.5"),
        ("at_once", "7"),
        ("version", "1"),
        // Nobody is there who could be called.
        ("untried_reason", "the suite has no such server"),
    ];
    owner.post(&format!("/t/acme/tools/{}/edit", tool.id), &fields).await.leads_to(&format!("/t/acme/tools/{}", tool.id));
    owner.post(&format!("/t/acme/members/{}/role", developer.user), &[("role", "auditor")]).await.leads_to("/t/acme/members");
    owner.post("/t/acme/clients/policy", &[("admission", "listed"), ("hosts", "app.example")]).await.leads_to("/t/acme/clients");
    owner.post("/t/acme/settings", &[("name", "Acme Two"), ("currency", "EUR")]).await.leads_to("/t/acme/settings");
    owner.post("/t/acme/limits", &[("per_day", "100")]).await.leads_to("/t/acme/limits");
    let mut sql = app.sql().await;
    let mut details = async |action: &str| -> Value {
        let found = sqlx::query_scalar("SELECT details FROM app.audit_entries WHERE action = $1 ORDER BY id DESC LIMIT 1");
        found.bind(action).fetch_one(&mut sql).await.unwrap_or_else(|error| panic!("{action}: {error}"))
    };
    for (action, before, after) in [
        (
            "agent.changed",
            json!({ "name": "helper", "scopes": "tools:read", "per_minute": null, "burst": null, "per_day": null }),
            json!({ "name": "helper two", "scopes": "tools:write", "per_minute": 60, "burst": 60, "per_day": 5 }),
        ),
        ("tool.limits_changed", json!({ "at_once": null }), json!({ "at_once": 7 })),
        ("tenant.limits_changed", json!({ "per_day": null }), json!({ "per_day": 100 })),
        ("member.role_changed", json!({ "role": "developer" }), json!({ "role": "auditor" })),
        (
            "client.policy_changed",
            json!({ "admission": "any", "hosts": [] }),
            json!({ "admission": "listed", "hosts": ["app.example"] }),
        ),
        ("tenant.changed", json!({ "name": "acme", "currency": "USD" }), json!({ "name": "Acme Two", "currency": "EUR" })),
    ] {
        let found = details(action).await;
        assert_eq!((&found["before"], &found["after"]), (&before, &after), "{action}");
    }
    let published = details("tool.published").await;
    let (before, after) = (&published["before"], &published["after"]);
    assert_eq!((&before["effect"], &after["effect"]), (&json!("read"), &json!("write")), "{published}");
    assert_eq!((&before["secret"], &after["secret"]), (&json!("set"), &json!("replaced")));
    assert_eq!((&before["price_micro"], &after["price_micro"]), (&json!(0), &json!(500_000)));
    let text = published.to_string();
    assert!(!text.contains("hidden") && !text.contains("key=other") && !text.contains("-secret"), "{text}");
    let page = owner.get("/t/acme/audit").await.ok();
    for shown in ["role: <del>developer</del> → <ins>auditor</ins>", "per day: <del>none</del> → <ins>5</ins>"] {
        assert!(page.body.contains(shown), "{shown}: {}", page.body);
    }
}

#[tokio::test]
async fn pages_of_changes_follow_each_other_without_a_gap() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    for number in 0..60 {
        acme.agent(&format!("agent{number}"), "tools:read").await;
    }
    let owner = Visitor::signed_in(&app.url, OWNER).await;
    let (mut url, mut seen) = (Some("/t/acme/audit?about=agent".to_owned()), Vec::new());
    while let Some(at) = url {
        let page = owner.get(&at).await.ok();
        seen.extend(page.body.match_indices("span id=\"ent_").map(|(at, _)| page.body[at..at + 40].to_owned()));
        url = page.between("rel=\"next\" href=\"", "\"").map(|url| url.replace("&#38;", "&").replace("&amp;", "&"));
    }
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!((count, seen.len()), (60, 60));
}

#[tokio::test]
async fn owners_admins_and_auditors_see_it_and_nobody_else() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    for (role, sees) in [(Role::Auditor, true), (Role::Admin, true), (Role::Developer, false), (Role::Viewer, false)] {
        let email = format!("{role}@acme.example");
        acme.member(&email, role).await;
        let visitor = Visitor::signed_in(&app.url, &email).await;
        let link = visitor.get("/t/acme").await.ok().body.contains("href=\"/t/acme/audit\"");
        let statuses = [
            visitor.get("/t/acme/audit").await.status,
            visitor.get("/t/acme/audit/export").await.status,
            visitor.post("/t/acme/audit/verify", &[]).await.status,
        ];
        assert_eq!((link, statuses), (sees, if sees { [200; 3] } else { [403; 3] }), "{role}");
    }
}

#[tokio::test]
async fn the_button_proves_the_log_and_names_what_was_changed() {
    let app = TestApp::start().await;
    let (_acme, _) = recorded(&app).await;
    let owner = Visitor::signed_in(&app.url, OWNER).await;
    let page = owner.post("/t/acme/audit/verify", &[]).await.ok();
    assert!(page.body.contains("The log is as it was recorded.") && page.body.contains("alert-success"), "{}", page.body);
    // As somebody could who owns the database.
    let mut sql = app.sql().await;
    let changes = [
        "ALTER TABLE app.audit_entries DISABLE TRIGGER ALL",
        "UPDATE app.audit_entries SET subject = 'agt_other' WHERE action = 'agent.created'",
        "ALTER TABLE app.audit_entries ENABLE TRIGGER ALL",
    ];
    for change in changes {
        sqlx::query(change).execute(&mut sql).await.expect("changed");
    }
    let seq: i64 = sqlx::query_scalar(
        "SELECT k.seq FROM app.audit_chain k JOIN app.audit_entries e ON e.id = k.entry_id WHERE e.action = 'agent.created'",
    )
    .fetch_one(&mut sql)
    .await
    .expect("a place");
    let page = owner.post("/t/acme/audit/verify", &[]).await.ok();
    assert!(page.body.contains("The log is not what was recorded."), "{}", page.body);
    assert!(page.body.contains(&format!("entry {seq} is not what was hashed")), "{}", page.body);
}

#[tokio::test]
async fn a_copy_has_every_entry_and_its_proof() {
    let app = TestApp::start().await;
    let (acme, agent) = recorded(&app).await;
    let owner = Visitor::signed_in(&app.url, OWNER).await;
    let page = owner.get("/t/acme/audit/export").await.ok();
    assert!(page.header("content-disposition").contains("filename=\"acme-audit.jsonl\""), "{:?}", page.headers);
    let lines: Vec<Value> = page.body.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let places: Vec<_> = lines.iter().map(|line| line["seq"].as_u64().expect("a place")).collect();
    assert_eq!(places, (1..=places.len() as u64).collect::<Vec<_>>());
    assert!(lines.iter().all(|line| line["hash"].as_str().is_some_and(|hash| hash.len() == 64)));
    let call = lines.iter().find(|line| line["action"] == "tools/call").expect("the call");
    assert_eq!((&call["tenant"], &call["decision"]), (&json!(acme.id.to_string()), &json!("allowed")));
    let calls = owner.get("/t/acme/audit/export?what=calls&format=csv").await.ok();
    assert!(calls.header("content-type").starts_with("text/csv"));
    assert_eq!(calls.body.lines().count(), 2, "a header and a call: {}", calls.body);
    assert!(calls.body.contains(&agent.id.to_string()) && calls.body.contains("echo"));
    let none = owner.get("/t/acme/audit/export?until=2020-01-01").await.ok();
    assert_eq!(none.body, "");
    for query in ["format=xlsx", "what=everything", "since=x"] {
        assert_eq!(owner.get(&format!("/t/acme/audit/export?{query}")).await.status, 422, "{query}");
    }
}
