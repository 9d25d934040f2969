//! Less than a call needs: 403 with everything it needs, and the next consent.

use serde_json::json;
use trunkline_protocol::oauth::scope::Effect;

use crate::support::{Era, TestApp, oauth::OAuthClient, tools};

#[tokio::test]
async fn a_07_a_08_what_the_ceiling_covers_can_be_asked_for_and_what_it_does_not_is_not_there() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("reads", tools::echo()).await;
    acme.tool("writes", tools::with_effect(Effect::Write, tools::echo())).await;
    acme.tool("destroys", tools::with_effect(Effect::Destructive, tools::echo())).await;
    acme.tool("named", tools::with_effect(Effect::Destructive, tools::echo())).await;
    acme.agent("agent", "tools:write tool:named resources:read").await;
    let (client, owner) = (OAuthClient::register(&app).await, acme.owner_browser().await);
    let tokens = client.connect(&owner, &acme, &["tools:read"]).await;
    let caller = acme.with_token(&tokens.access);
    let arguments = json!({ "text": "x" });
    for era in Era::ALL {
        assert_eq!(caller.list(era).await.tool_names(), ["reads"]);
        for (tool, scope) in [("writes", "tools:write"), ("named", "tool:named")] {
            let refused = caller.call(era, tool, arguments.clone()).await;
            assert_eq!(refused.status, 403, "{tool}: {}", refused.text);
            let challenge = refused.header("www-authenticate").to_owned();
            assert!(challenge.starts_with(r#"Bearer error="insufficient_scope""#), "{challenge}");
            // Older clients ask for exactly what they are told.
            let all = if era == Era::Handshake { format!("tools:read {scope}") } else { scope.to_owned() };
            assert!(challenge.contains(&format!(r#"scope="{all}""#)), "{challenge}");
            assert!(challenge.contains("resource_metadata=\""), "{challenge}");
        }
        let hidden = caller.call(era, "destroys", arguments.clone()).await;
        let missing = caller.call(era, "nothing", arguments.clone()).await;
        assert_eq!((hidden.status, hidden.code(), &hidden.text), (200, -32602, &missing.text));
    }
    let resource = caller.send(Era::Handshake, "resources/read", json!({ "uri": "test://x" })).await;
    assert!(resource.status == 403 && resource.header("www-authenticate").contains("resources:read"), "{}", resource.text);
    let prompt = caller.send(Era::Handshake, "prompts/get", json!({ "name": "x" })).await;
    assert_ne!(prompt.status, 403, "beyond the ceiling there is nothing to ask for");

    // The next consent shows what is new, and the call works.
    let page = owner
        .get(&format!("/oauth/authorize?{}", client.query(&acme.mcp_url(), &[("scope", "tools:read tools:write")])))
        .await
        .ok();
    let asked = page.between("It asks for", "</fieldset>").expect("what is new").to_owned();
    assert!(asked.contains("tools:write") && !asked.contains("value=\"tools:read\""), "{asked}");
    let more = client.connect(&owner, &acme, &["tools:read", "tools:write"]).await;
    assert!(acme.with_token(&more.access).call(Era::Stateless, "writes", arguments).await.is_ok());
}

#[tokio::test]
async fn a_lowered_ceiling_holds_for_tokens_that_are_out() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("writes", tools::with_effect(Effect::Write, tools::echo())).await;
    let agent = acme.agent("agent", "tools:write").await;
    let (client, owner) = (OAuthClient::register(&app).await, acme.owner_browser().await);
    let tokens = client.connect(&owner, &acme, &["tools:write"]).await;
    let caller = acme.with_token(&tokens.access);
    assert!(caller.call(Era::Stateless, "writes", json!({ "text": "x" })).await.is_ok());
    let actor = acme.owner.clone();
    app.act(move |platform| async move {
        let lower = trunkline_platform::agents::NewAgent::parse("agent", "", "tools:read").expect("an agent");
        trunkline_platform::agents::update(&platform, &actor, agent.id, lower).await.expect("changed");
    })
    .await;
    assert_eq!(caller.call(Era::Stateless, "writes", json!({ "text": "x" })).await.code(), -32602);
}

#[tokio::test]
async fn a_session_is_the_clients_and_goes_on_with_the_next_token_and_the_next_grant() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.agent("agent", "tools:read resources:read").await;
    let (client, owner) = (OAuthClient::register(&app).await, acme.owner_browser().await);
    let tokens = client.connect(&owner, &acme, &["tools:read"]).await;
    let initialize =
        json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    let begun = acme.with_token(&tokens.access).send(Era::Handshake, "initialize", initialize).await;
    let session = begun.header("mcp-session-id").to_owned();
    let in_session = async |token: &str| {
        let caller = acme.with_token(token);
        let request =
            caller.message(Era::Handshake, "tools/list", json!({}), "application/json").header("mcp-session-id", &session);
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(in_session(&tokens.access).await, 200);
    let fresh = crate::support::oauth::TokenPair::of(&client.refresh(&tokens.refresh).await);
    assert_eq!(in_session(&fresh.access).await, 200, "a refreshed token is the same client");
    let more = client.connect(&owner, &acme, &["tools:read", "resources:read"]).await;
    assert_eq!(in_session(&more.access).await, 200, "who was asked for more is the same client");
    let other = OAuthClient::register(&app).await.connect(&owner, &acme, &["tools:read"]).await;
    assert_eq!(in_session(&other.access).await, 404, "another client of the same person is not");
}
