//! The log narrowed by who and what, one call with where its time went, and the same call again from a terminal.

use std::process::Command;

use trunkline_platform::ids::{ClientId, EntryId, ToolVersionId, UserId};

use super::recount::usage;
use crate::support::{Era, SOON, Tenant, TestApp, Upstream, Visitor, eventually, message, oauth::OAuthClient, tools};

/// Waits until so many calls are in the record.
pub(crate) async fn recorded(app: &TestApp, count: i64) {
    let mut sql = app.sql().await;
    eventually("the calls are recorded", SOON, async || {
        let found: i64 = sqlx::query_scalar("SELECT count(*) FROM app.calls").fetch_one(&mut sql).await.expect("a count");
        (found == count).then_some(())
    })
    .await;
}

/// Calls on a page of the log.
fn rows(page: &str) -> usize {
    page.matches("<tr data-call=").count()
}

/// The links of a page, as a browser reads them.
fn links(page: &str) -> Vec<String> {
    let hrefs = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    hrefs.map(|href| href.replace("&#38;", "&").replace("&amp;", "&")).collect()
}

/// Two calls of a person by a client, one of them of a second version; and one with a key.
async fn three_calls(app: &TestApp, acme: &Tenant<'_>) -> (ToolVersionId, ClientId, UserId) {
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("billing", "tools:read").await;
    let (client, owner) = (OAuthClient::register(app).await, acme.owner_browser().await);
    let tokens = client.connect(&owner, acme, &["tools:read"]).await;
    assert!(acme.with_token(&tokens.access).echo("by a client").await.is_ok());
    assert!(agent.echo("with a key").await.is_ok());
    assert_eq!(agent.call(Era::Stateless, "nothing", serde_json::json!({})).await.code(), -32602);
    recorded(app, 3).await;
    let mut sql = app.sql().await;
    sqlx::query_as(
        "SELECT c.tool_version_id, g.client_id, c.user_id FROM app.calls c JOIN app.grants g ON g.id = c.grant_id AND g.tenant_id = c.tenant_id",
    )
    .fetch_one(&mut sql)
    .await
    .expect("a call by a client")
}

#[tokio::test]
async fn the_log_is_narrowed_to_versions_clients_and_people() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let (version, client, user) = three_calls(&app, &acme).await;
    let owner = acme.owner_browser().await;
    for (query, count, words) in [
        (String::new(), 3, "Every call"),
        (format!("client={client}"), 1, "Client Test client"),
        ("client=none".to_owned(), 2, "No client (key or certificate)"),
        (format!("user={user}"), 1, "For owner@acme.example"),
        ("user=none".to_owned(), 2, "For nobody (services)"),
        (format!("version={version}"), 2, "Version echo v1"),
        ("version=none".to_owned(), 1, "Unknown tools"),
        (format!("version={version}&client=none&user=none"), 1, "Version echo v1"),
        (format!("client={client}&user=none"), 0, "Nothing was recorded that fits all of this"),
    ] {
        let page = owner.get(&format!("/t/acme/logs?{query}")).await.ok().body;
        assert!(rows(&page) == count && page.contains(words), "{query}: {} rows: {page}", rows(&page));
        // Each part of it can be taken away, and the form hands it on.
        for (field, value) in query.split('&').filter_map(|part| part.split_once('=')) {
            assert!(page.contains(&format!("name=\"{field}\" value=\"{value}\"")), "{query}: {field}");
        }
    }
    // Ids of nobody, ids that are none, and what is no id at all.
    for (query, status, words) in [
        (format!("client={}", ClientId::NIL), 200, "There is no client with this id in this organisation"),
        (format!("version={}&user={}", ToolVersionId::NIL, UserId::NIL), 200, "There is no tool version, no person with this id"),
        ("client=%27%20OR%201=1--".to_owned(), 422, "client: expected"),
        ("user=%3Cscript%3Ealert(1)%3C/script%3E".to_owned(), 422, "user: expected"),
        (format!("version={client}"), 422, "version: expected"),
    ] {
        let page = owner.get(&format!("/t/acme/logs?{query}")).await;
        assert!(page.status == status && page.body.contains(words), "{query}: {} {}", page.status, page.body);
        assert!(rows(&page.body) == 0 && !page.body.contains("<script>alert"), "{query}");
    }
    // Another tenant's client, person and version are nobody's here.
    let bravo = app.tenant("bravo").await;
    let stranger = bravo.owner_browser().await;
    for query in [format!("client={client}"), format!("user={user}"), format!("version={version}")] {
        let page = stranger.get(&format!("/t/bravo/logs?{query}")).await.ok().body;
        assert!(page.contains("There is no ") && !page.contains("owner@acme") && !page.contains("echo v1"), "{query}: {page}");
    }
}

#[tokio::test]
async fn numbers_of_every_dimension_lead_to_their_calls() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    three_calls(&app, &acme).await;
    let owner = acme.owner_browser().await;
    let today = chrono::Utc::now().date_naive().to_string();
    let verified = usage(&app, "verify", &["--tenant", "acme", "--from", &today]);
    assert!(verified.status.success(), "{verified:?}");
    for dimension in ["tool", "version", "agent", "client", "user"] {
        for and in ["", "tool", "version", "agent", "client", "user"] {
            let page = owner.get(&format!("/t/acme/usage/cost?by={dimension}&and={and}")).await.ok().body;
            let (_, table) = page.split_once("<tbody>").expect("a table");
            let mut calls = 0;
            for url in links(table).iter().filter(|url| url.starts_with("/t/acme/logs?") && !url.contains("outcome=")) {
                let log = owner.get(url).await.ok().body;
                assert!(rows(&log) > 0, "{dimension} and {and}: {url} leads to nothing");
                calls += rows(&log);
            }
            assert_eq!(calls, 3, "{dimension} and {and}: each call is behind one number");
        }
    }
    let tool: trunkline_platform::ids::ToolId =
        sqlx::query_scalar("SELECT id FROM app.tools").fetch_one(&mut app.sql().await).await.expect("a tool");
    let page = owner.get(&format!("/t/acme/tools/{tool}/usage")).await.ok().body;
    for (field, count) in [("version", 2), ("client", 1)] {
        let mut found: Vec<String> = links(&page);
        found.retain(|url| url.contains(&format!("&{field}=")) && !url.contains("outcome=") && !url.contains("none"));
        assert_eq!(found.len(), 1, "{field}: {found:?}");
        assert_eq!(rows(&owner.get(&found[0]).await.ok().body), count, "{found:?}");
    }
}

#[tokio::test]
async fn a_call_shows_where_its_time_went_and_by_what_it_is_known() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    acme.tool("waits", tools::get(&upstream.url("/json"))).await;
    let agent = acme.agent("billing", "tools:read").await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut call = message(Era::Stateless, "tools/call", serde_json::json!({ "name": "waits", "arguments": {} }));
    call["id"] = serde_json::json!("<b>id</b>");
    let request = agent
        .request()
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "waits")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    assert_eq!(request.json(&call).send().await.expect("an answer").status(), 200);
    recorded(&app, 1).await;
    let (id, request_id): (EntryId, String) =
        sqlx::query_as("SELECT id, request_id FROM app.calls").fetch_one(&mut app.sql().await).await.expect("a call");
    let page = acme.owner_browser().await.get(&format!("/t/acme/logs/{id}")).await.ok().body;
    let steps = ["Authentication", "Admission", "Upstream", &format!("GET http://{}", upstream.addr), "Record and all else"];
    let places: Vec<usize> = steps.iter().map(|step| page.find(step).unwrap_or_else(|| panic!("{step}: {page}"))).collect();
    assert!(places.is_sorted(), "{steps:?} stand at {places:?}");
    for part in ["part-auth", "part-admission", "part-upstream", "part-rest", trace, &request_id, &id.to_string()] {
        assert!(page.contains(part), "{part}: {page}");
    }
    // What the caller chose is shown, and is text.
    assert!(!page.contains("<b>id") && page.contains("&#60;b&#62;id") && !page.contains("style="), "{page}");
    assert!(page.contains("nobody (a service)") && page.contains("none (key or certificate)"), "{page}");
}

#[tokio::test]
async fn what_is_copied_as_curl_makes_the_call_again() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("billing", "tools:read").await;
    let owner = acme.owner_browser().await;
    let revisions = ["2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"];
    for revision in revisions {
        call_as(&agent, revision).await;
    }
    recorded(&app, 4).await;
    let calls: Vec<(EntryId, String)> = sqlx::query_as("SELECT id, revision FROM app.calls ORDER BY revision")
        .fetch_all(&mut app.sql().await)
        .await
        .expect("calls");
    assert_eq!(calls.iter().map(|(_, revision)| revision.as_str()).collect::<Vec<_>>(), revisions);
    for (id, revision) in calls {
        let command = copied(&owner, id).await;
        assert!(command.contains("Bearer $TRUNKLINE_TOKEN") && !command.contains(&agent.key), "{command}");
        let again = Command::new("sh").arg("-c").arg(&command).env("TRUNKLINE_TOKEN", &agent.key).output().expect("a shell");
        let said = String::from_utf8_lossy(&again.stdout).into_owned();
        assert!(
            again.status.success() && said.contains("\"content\"") && said.contains("hello"),
            "{revision}: {command}: {again:?}"
        );
    }
    recorded(&app, 8).await;
    let twice: Vec<(String, i64)> =
        sqlx::query_as("SELECT revision, count(*) FROM app.calls WHERE outcome = 'ok' GROUP BY 1 ORDER BY 1")
            .fetch_all(&mut app.sql().await)
            .await
            .expect("counts");
    assert_eq!(twice, revisions.map(|revision| (revision.to_owned(), 2)), "each in its own revision");

    // A name that a caller made up is nothing to paste into a shell.
    assert_eq!(agent.call(Era::Stateless, "x';rm -rf /;'", serde_json::json!({})).await.code(), -32602);
    recorded(&app, 9).await;
    let id: EntryId = sqlx::query_scalar("SELECT id FROM app.calls WHERE tool_id IS NULL")
        .fetch_one(&mut app.sql().await)
        .await
        .expect("a call");
    assert!(!owner.get(&format!("/t/acme/logs/{id}")).await.ok().body.contains("Copy as curl"));
}

/// A call as a client of that revision sends it.
async fn call_as(agent: &crate::support::Agent, revision: &str) {
    let era = if revision == "2026-07-28" { Era::Stateless } else { Era::Handshake };
    let mut request = agent.request().header("accept", "application/json, text/event-stream");
    if revision != "2025-03-26" {
        request = request.header("mcp-protocol-version", revision);
    }
    if era == Era::Stateless {
        request = request.header("mcp-method", "tools/call").header("mcp-name", "echo");
    }
    let call = message(era, "tools/call", serde_json::json!({ "name": "echo", "arguments": { "text": "first" } }));
    let answer = request.json(&call).send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{revision}: {:?}", answer.text().await);
}

/// What stands under "Copy as curl", as a browser would copy it.
async fn copied(owner: &Visitor, call: EntryId) -> String {
    let page = owner.get(&format!("/t/acme/logs/{call}")).await.ok().body;
    let (_, card) = page.split_once("Copy as curl").expect("a card");
    let text = card.split_once("<code data-copy-text>").and_then(|(_, rest)| rest.split_once("</code>")).expect("a command").0;
    text.replace("&#34;", "\"")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&#60;", "<")
        .replace("&#62;", ">")
        .replace("&#38;", "&")
}
