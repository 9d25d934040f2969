//! An independent client that does its own OAuth: rmcp, as its users have it.

use rmcp::{
    ClientServiceExt as _,
    model::{CallToolRequestParams, ProtocolVersion},
    service::ClientLifecycleMode,
    transport::{
        AuthClient, AuthorizationManager, AuthorizationSession, StreamableHttpClientTransport,
        auth::{AuthorizationCallback, AuthorizationMetadataSource, AuthorizationRequest},
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::json;
use trunkline_protocol::oauth::scope::Effect;

use crate::support::{
    TestApp, http,
    oauth::{REDIRECT, allow},
    tools,
};

fn query(url: &str) -> &str {
    url.split_once('?').expect("a query").1
}

fn call(tool: &'static str) -> CallToolRequestParams {
    CallToolRequestParams::new(tool).with_arguments(json!({ "text": "x" }).as_object().expect("an object").clone())
}

#[tokio::test]
async fn rmcp_finds_registers_is_allowed_calls_refreshes_and_asks_for_more() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("reads", tools::echo()).await;
    acme.tool("writes", tools::with_effect(Effect::Write, tools::echo())).await;
    acme.agent("agent", "tools:read tools:write").await;
    let owner = acme.owner_browser().await;
    let newest = vec![ProtocolVersion::LATEST];
    for mode in [ClientLifecycleMode::Initialize, ClientLifecycleMode::Discover { preferred_versions: newest }] {
        // 401 → resource metadata → server metadata → registration.
        let mut manager = AuthorizationManager::new(acme.mcp_url()).await.expect("a manager");
        let found = manager.resolve_metadata().await.expect("metadata");
        assert_eq!(found.source, AuthorizationMetadataSource::ProtectedResourceMetadata);
        manager.set_metadata(found.metadata);
        let request = AuthorizationRequest::new(REDIRECT).with_client_name("rmcp");
        let session = AuthorizationSession::new(manager, request).await.map_err(|(_, error)| error).expect("a session");

        // Consent → code → token.
        let location = allow(&owner, query(session.get_authorization_url()), &[]).await;
        session.handle_callback_url(&location).await.expect("tokens");
        let client = AuthClient::new(http().clone(), session.auth_manager);
        let manager = client.auth_manager.clone();
        let config = StreamableHttpClientTransportConfig::with_uri(acme.mcp_url());
        let transport = StreamableHttpClientTransport::with_client(client, config);
        let running = ().serve_with_lifecycle(transport, mode.clone()).await.expect("connected");
        let listed: Vec<_> = running.list_all_tools().await.expect("a list").into_iter().map(|tool| tool.name).collect();
        assert_eq!(listed, ["reads"]);
        assert_ne!(running.call_tool(call("reads")).await.expect("called").is_error, Some(true));

        // Refresh.
        let before = manager.lock().await.get_access_token().await.expect("a token");
        manager.lock().await.refresh_token().await.expect("refreshed");
        assert_ne!(manager.lock().await.get_access_token().await.expect("a token"), before);
        assert_ne!(running.call_tool(call("reads")).await.expect("called").is_error, Some(true));

        // 403 → what is missing is asked for → the same connection goes on.
        let refused = format!("{:?}", running.call_tool(call("writes")).await.expect_err("refused"));
        assert!(refused.contains("tools:write"), "{refused}");
        let manager = manager.lock().await;
        let url = manager.request_scope_upgrade("tools:write").await.expect("a URL");
        let location = allow(&owner, query(&url), &[("scopes", "tools:read"), ("scopes", "tools:write")]).await;
        let AuthorizationCallback { code, csrf_token, issuer, .. } =
            AuthorizationCallback::from_redirect_url(&location).expect("an answer");
        manager.exchange_code_for_token_with_issuer(&code, &csrf_token, issuer.as_deref()).await.expect("tokens");
        drop(manager);
        assert_ne!(running.call_tool(call("writes")).await.expect("called").is_error, Some(true));
        running.cancel().await.expect("closed");
    }
}
