//! Names are text: whatever somebody calls a thing, no page runs it.

use trunkline_platform::{
    agents::{self, NewAgent},
    catalog::NewVersion,
};

use crate::support::{Era, SOON, TestApp, Visitor, eventually, tools};

const CORPUS: [&str; 5] = [
    "<script>xss()</script>",
    "\"'><img src=x onerror=xss()>",
    "</textarea></title></style><svg onload=xss()>",
    "{{7*7}}${xss()}<b>",
    "<a href=javascript:xss()>x</a>",
];

#[tokio::test]
async fn no_page_shows_markup_that_somebody_typed() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let mut paths =
        vec!["", "/agents", "/keys", "/tools", "/logs", "/connect", "/members", "/settings", "/agents/new", "/tools/new"]
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>();
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    for (number, evil) in CORPUS.into_iter().enumerate() {
        owner.post("/t/acme/settings", &[("name", evil), ("currency", "EUR")]).await.leads_to("/t/acme/settings");
        let definition = NewVersion { title: evil.to_owned(), description: evil.to_owned(), ..tools::echo() };
        let tool = acme.tool(&format!("tool{number}"), definition).await;
        let member = acme.owner.clone();
        let agent = app
            .act(move |platform| async move {
                let new = NewAgent::parse(evil, evil, "tools:read").expect("an agent");
                let agent = agents::create(&platform, &member, new).await.expect("created");
                let key = agents::NewKey::parse(evil, "tools:read", 30).expect("a key");
                (agent.id, agents::create_key(&platform, &member, agent.id, key).await.expect("created"))
            })
            .await;
        let client = acme.with_key(agent.0, agent.1.key.id, agent.1.text.reveal());
        assert!(client.call(Era::Handshake, &format!("tool{number}"), serde_json::json!({ "text": evil })).await.is_ok());
        client.call(Era::Handshake, evil, serde_json::json!({})).await;
        paths.extend([
            format!("/agents/{}", agent.0),
            format!("/agents/{}/edit", agent.0),
            format!("/tools/{}", tool.id),
            format!("/tools/{}/edit", tool.id),
        ]);
        let tried = owner.post(&format!("/t/acme/tools/{}/try", tool.id), &[("mode", "form"), ("text", evil)]).await;
        check("try-out", &tried.body);
    }
    let mut sql = app.sql().await;
    let calls = eventually("the calls are recorded", SOON, async || {
        let ids: Vec<trunkline_platform::ids::EntryId> =
            sqlx::query_scalar("SELECT id FROM app.calls").fetch_all(&mut sql).await.expect("calls");
        (ids.len() == 2 * CORPUS.len()).then_some(ids)
    })
    .await;
    paths.extend(calls.iter().map(|call| format!("/logs/{call}")));
    paths.extend(CORPUS.map(|evil| {
        let query: String = url::form_urlencoded::byte_serialize(evil.as_bytes()).collect();
        format!("/tools?q={query}")
    }));
    let mut escaped = 0;
    for path in &paths {
        let page = owner.get(&format!("/t/acme{path}")).await.ok();
        check(path, &page.body);
        escaped += usize::from(page.body.contains("&#60;") || page.body.contains("&lt;"));
    }
    assert!(escaped > paths.len() / 2, "the names are not on the pages at all: {escaped} of {}", paths.len());
    let welcome = owner.get("/welcome").await.ok();
    check("/welcome", &welcome.body);
}

#[track_caller]
fn check(path: &str, body: &str) {
    for markup in ["<script>xss", "<img src=x", "<svg onload", "<b>", "<a href=javascript", "javascript:xss()\"", "49$"] {
        assert!(!body.contains(markup), "{path} has {markup}");
    }
}
