//! The exchange: what uses the credential sends the new value from the next call on, everywhere.

use serde_json::{Value, json};
use trunkline_platform::{
    catalog::{self, Executor, HttpMethod, NewVersion, SecretChange},
    ids::ToolId,
    rotation,
};
use trunkline_protocol::mcp::Revision;

use super::{HEADER, Keeper, guarded, keyed, line};
use crate::support::{
    Agent, Era, TestApp, Upstream,
    mcp_upstream::{McpUpstream, Speaks, Way},
    process, tools,
};

/// The same agent at that replica.
fn at(agent: &Agent, app: &TestApp, replica: &TestApp) -> Agent {
    agent.at(&agent.url.replace(&app.url, &replica.url))
}

#[tokio::test]
async fn all_tools_and_sources_send_the_new_value_from_the_next_call_on_on_every_replica() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let replica = app.replica().await;
    let keeper = Keeper::new(&app).await;
    keeper.api(&upstream, &keyed(), &[("secret_key", "old-key")]).await;
    let mut servers = Vec::new();
    for (name, revision) in [("modern", Revision::V2026_07_28), ("legacy", Revision::V2025_11_25)] {
        let server = McpUpstream::start(Speaks::Only(revision), Way::Json).await;
        server.want_secret(HEADER, "old-value");
        let id = keeper.source(name, &server.url(), "old-value").await;
        servers.push((name, id, server));
    }
    let agent = keeper.tenant.agent("agent", "tools:read").await;
    let agents = [agent.clone(), at(&agent, &app, &replica)];
    let call_all = async |api: &str, source: &str| {
        upstream.take_only(&[&line(api)]);
        for agent in &agents {
            for tool in ["first", "second"] {
                let answer = agent.call(Era::Stateless, tool, json!({})).await;
                assert!(answer.is_ok(), "{tool} with {api}: {}", answer.text);
            }
            for (name, _, server) in &servers {
                server.want_secret(HEADER, source);
                let answer = agent.call(Era::Stateless, &format!("{name}.echo"), json!({})).await;
                assert!(answer.is_ok(), "{name} with {source}: {}", answer.text);
            }
        }
    };
    call_all("old-key", "old-value").await;
    let versions = async || -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM app.tool_versions");
        count.fetch_one(&mut app.sql().await).await.expect("a count")
    };
    let before = versions().await;
    let page = keeper.page_of("first").await;
    let page_of_api = keeper.visitor.get(&page).await.ok();
    for user in ["pets", "first", "second"] {
        assert!(page_of_api.body.contains(&format!(">{user}</a>")), "{user} uses it: {}", page_of_api.body);
    }
    let rotated = keeper.press(&page, "rotate", &[("secret_key", "new-key"), ("overlap", "none")]).await;
    assert_eq!(rotated.status, 303, "{}", rotated.body);
    for (name, ..) in &servers {
        keeper.rotate(&keeper.page_of(name).await, "new-value", "none").await;
    }
    let (sent, asked) = (upstream.seen().len(), servers.iter().map(|(.., server)| server.seen().len()).collect::<Vec<_>>());
    call_all("new-key", "new-value").await;
    assert!(upstream.seen()[sent..].iter().all(|seen| seen.head.contains(&line("new-key"))), "the old one is not sent any more");
    for ((name, id, server), asked) in servers.iter().zip(asked) {
        let old = server.seen()[asked..].iter().filter(|seen| seen.header(HEADER) == Some("old-value")).count();
        // What is left of it is the farewell to its sessions.
        let farewells = server.seen()[asked..].iter().filter(|seen| seen.http_method == "DELETE").count();
        assert!(old <= farewells, "{name}: {old} requests with the old value, {farewells} farewells");
        keeper.read(*id).await;
    }
    assert_eq!(versions().await, before, "no version was published");
    let audited = keeper.audited().await;
    assert_eq!(audited.len(), 3);
    assert!(audited.iter().all(|(action, actor, details)| {
        (action.as_str(), actor.as_str(), details) == ("credential.rotated", "member", &json!({ "overlap_s": 0 }))
    }));
}

#[tokio::test]
async fn a_client_s_secret_is_exchanged_at_its_token_endpoint_and_nowhere_else() {
    let (app, upstream, tokens) = (TestApp::start().await, Upstream::start().await, Upstream::start().await);
    let keeper = Keeper::new(&app).await;
    let get = json!({ "get": { "operationId": "read", "responses": { "200": { "description": "" } } } });
    let document = json!({
        "openapi": "3.1.0", "info": { "title": "A", "version": "1" }, "security": [{ "oauth": [], "key": [] }],
        "paths": { "/json": get },
        "components": { "securitySchemes": {
            "oauth": { "type": "oauth2", "flows": { "clientCredentials": { "tokenUrl": tokens.url("/token/guarded"), "scopes": {} } } },
            "key": { "type": "apiKey", "in": "header", "name": HEADER },
        } },
    });
    // `me:old` and `me:new`, in base 64.
    let (old, new) = ("authorization: Basic bWU6b2xk", "authorization: Basic bWU6bmV3");
    keeper.api(&upstream, &document, &[("secret_oauth", "me:old"), ("secret_key", "kept")]).await;
    let agent = keeper.tenant.agent("agent", "tools:read").await;
    let page = keeper.page_of("read").await;
    let refused = keeper.press(&page, "rotate", &[("secret_oauth", "no-colon"), ("overlap", "24h")]).await;
    assert!(refused.status == 422 && refused.body.contains("client_id:client_secret"), "{}", refused.body);
    let rotated = keeper.press(&page, "rotate", &[("secret_oauth", "me:new"), ("overlap", "24h")]).await;
    assert_eq!(rotated.status, 303, "{}", rotated.body);

    // The token endpoint knows only the old one: the call goes on with it, and the API sees nothing of that.
    tokens.take_only(&[old]);
    let call = async || {
        let answer = agent.call(Era::Stateless, "read", json!({})).await;
        assert!(answer.is_ok(), "{}", answer.text);
    };
    let asked = |line: &str| tokens.seen().iter().filter(|seen| seen.head.contains(&line.to_lowercase())).count();
    call().await;
    assert_eq!((asked(new), asked(old), tokens.passed()), (1, 1, 1));
    let page = keeper.visitor.get(&page).await.ok();
    assert!(page.body.contains("It was refused once"), "{}", page.body);
    tokens.take_only(&[new]);
    call().await;
    assert_eq!((asked(new), asked(old), tokens.passed()), (2, 1, 2));
    let called: Vec<_> = upstream.seen().into_iter().filter(|seen| seen.line == "GET /json").collect();
    assert_eq!(called.len(), 2, "what had no token was not sent");
    assert!(called.iter().all(|seen| seen.head.contains("authorization: bearer t-") && seen.head.contains(&line("kept"))));
    let token_urls: Vec<_> = tokens.seen().iter().map(|seen| seen.line.clone()).collect();
    assert!(token_urls.iter().all(|line| line == "POST /token/guarded"), "{token_urls:?}");
}

#[tokio::test]
async fn a_function_s_requests_carry_the_new_value_or_for_a_while_the_one_before() {
    process::binary();
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let keeper = Keeper::new(&app).await;
    let code = format!(
        "export default async () => String((await fetch('{}', {{ method: 'POST', body: '{{}}' }})).status)",
        upstream.url("/guarded")
    );
    let new = tools::echo();
    let function = trunkline_platform::catalog::FunctionTool {
        code,
        input_schema: json!({ "type": "object" }),
        hosts: vec![trunkline_platform::catalog::Origin::parse(&upstream.url("")).expect("a host")],
        secret_header: Some(HEADER.to_owned()),
        timeout_ms: 5_000,
        keep_logs: false,
    };
    let secret = SecretChange::Set(trunkline_platform::secret::Plaintext::new("old".to_owned()));
    keeper.tenant.tool("ask", NewVersion { executor: Executor::Function(function), secret, ..new }).await;
    let agent = keeper.tenant.agent("agent", "tools:read").await;
    let said = async || agent.call(Era::Stateless, "ask", json!({})).await.result().to_owned();
    upstream.take_only(&[&line("old")]);
    assert_eq!(said().await, "200");
    keeper.rotate(&keeper.page_of("ask").await, "new", "1h").await;
    assert_eq!((said().await.as_str(), upstream.passed()), ("200", 2), "once, with the one before");
    upstream.take_only(&[&line("new")]);
    assert_eq!(said().await, "200");
    let last = upstream.seen().pop().expect("a request");
    assert!(last.head.contains(&line("new")) && upstream.passed() == 3);
    upstream.take_only(&[]);
    assert_eq!(said().await, "401", "the code sees what it was told");
}

#[tokio::test]
async fn renewing_the_data_key_seals_both_values_anew() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let keeper = Keeper::new(&app).await;
    keeper.tenant.tool("tool", guarded(&upstream, HttpMethod::Get, "old")).await;
    let agent = keeper.tenant.agent("agent", "tools:read").await;
    let page = keeper.page_of("tool").await;
    keeper.rotate(&page, "new", "7d").await;
    let values = async || -> Vec<Vec<u8>> {
        let both = "SELECT unnest(ARRAY[sealed, previous]) FROM app.credentials";
        sqlx::query_scalar(both).fetch_all(&mut app.sql().await).await.expect("values")
    };
    let before = values().await;
    let resealed = app.act(|platform| async move { rotation::renew(&platform, "acme").await.expect("renewed") }).await;
    let after = values().await;
    assert_eq!((resealed, before.len()), (1, 2));
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(before[1..9], after[1..9], "under another key");
    }
    upstream.take_only(&[&line("old")]);
    let answer = agent.call(Era::Stateless, "tool", json!({})).await;
    assert!(answer.is_ok(), "{}", answer.text);
    keeper.press(&page, "back", &[]).await.leads_to(&page);
    let answer = agent.call(Era::Stateless, "tool", json!({})).await;
    assert!(answer.is_ok(), "{}", answer.text);
    assert_eq!(upstream.seen().len(), 3, "two for the first call, and one for the second");
}

#[tokio::test]
async fn another_origin_never_gets_a_rotated_secret() {
    let (app, upstream, other) = (TestApp::start().await, Upstream::start().await, Upstream::start().await);
    let keeper = Keeper::new(&app).await;
    let tool: ToolId = keeper.tenant.tool("tool", guarded(&upstream, HttpMethod::Get, "old")).await.id;
    let page = keeper.page_of("tool").await;
    // A form cannot say where the secret goes.
    let fields = [("secret", "new"), ("overlap", "1h"), ("origin", &other.url("")), ("url", &other.url(""))];
    assert_eq!(keeper.press(&page, "rotate", &fields).await.status, 303);
    let (owner, moved) = (keeper.tenant.owner.clone(), guarded(&other, HttpMethod::Get, "x"));
    let moved = NewVersion { secret: SecretChange::Keep, ..moved };
    let refused = app.act(move |platform| async move { catalog::publish(&platform, &owner, tool, 1, moved).await }).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("enter the secret for it again")));
    let agent = keeper.tenant.agent("agent", "tools:read").await;
    upstream.take_only(&[&line("new")]);
    assert!(agent.call(Era::Stateless, "tool", Value::Object(serde_json::Map::new())).await.is_ok());
    assert!(other.seen().is_empty(), "{:?}", other.seen());
}
