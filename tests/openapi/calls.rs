//! From the link to the call: what an agent sees of an operation, and what the API gets.

use serde_json::{Value, json};

use super::{Importer, petstore, served};
use crate::support::{Era, TestApp, Upstream};

#[tokio::test]
async fn an_operation_becomes_a_tool_and_its_call_the_request_it_describes() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let importer = Importer::new(&app).await;
    let api = importer.import("pets", &served(&upstream, &petstore(&upstream.url("/v1/")))).await;
    let page = importer.visitor.get(&api).await.ok();
    assert!(
        page.body.contains("GET /pets/{pet id}")
            && page.body.contains("listPets")
            && page.body.contains("Make tools of 5 picked")
    );
    assert!(page.body.contains("sends back what was sent"), "what is refused says why");
    importer.publish(&api, &[("server", &upstream.url("/v1/")), ("prefix", "pets_"), ("secret_key", "s3cret")]).await;

    let agent = importer.tenant.agent("agent", "tools:destructive").await;
    let list = agent.list(Era::Stateless).await;
    assert_eq!(list.tool_names(), ["pets_createPet", "pets_deletePet", "pets_getPet", "pets_listPets", "pets_photo"]);
    let tools = list.json["result"]["tools"].as_array().expect("tools").clone();
    let of = |name: &str| tools.iter().find(|tool| tool["name"] == name).expect("a tool").clone();
    let created = of("pets_createPet");
    assert_eq!(created["inputSchema"]["properties"]["body"]["properties"]["parent"], json!({ "$ref": "#/$defs/Pet" }));
    assert_eq!(created["inputSchema"]["properties"]["body"]["properties"]["id"], Value::Null, "read-only members are not sent");
    assert_eq!(
        (&of("pets_deletePet")["annotations"]["destructiveHint"], &of("pets_deletePet")["annotations"]["idempotentHint"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(of("pets_listPets")["outputSchema"]["required"], json!(["ok"]));

    let arguments = json!({ "tag": ["a b", "c&d"], "filter": { "k": "v" }, "X-Trace": "t1" });
    let answer = agent.call(Era::Stateless, "pets_listPets", arguments).await;
    assert!(answer.is_ok(), "{}", answer.text);
    assert_eq!(answer.json["result"]["structuredContent"], json!({ "ok": true }));
    let answer = agent.call(Era::Stateless, "pets_createPet", json!({ "body": { "name": "Rex" } })).await;
    assert!(answer.is_ok(), "{}", answer.text);
    let answer = agent.call(Era::Stateless, "pets_getPet", json!({ "pet_id": "../../admin" })).await;
    assert!(answer.is_ok(), "{}", answer.text);
    let sent = &upstream.seen()[1..];
    assert_eq!(sent[0].line, "GET /v1/pets?tag=a%20b&tag=c%26d&filter%5Bk%5D=v");
    assert!(sent[0].head.contains("x-trace: t1\r\n") && sent[0].head.contains("x-api-key: s3cret\r\n"), "{}", sent[0].head);
    assert_eq!((sent[1].line.as_str(), sent[1].body.as_str()), ("POST /v1/pets", r#"{"name":"Rex"}"#));
    assert_eq!(sent[2].line, "GET /v1/pets/..%2F..%2Fadmin");

    let misfit = agent.call(Era::Stateless, "pets_createPet", json!({ "body": { "name": 7 } })).await;
    assert_eq!(misfit.error_class(), "invalid_arguments", "{}", misfit.text);
    let other = agent.call(Era::Stateless, "pets_getPet", json!({ "pet_id": ".." })).await;
    assert_eq!(other.error_class(), "invalid_arguments", "{}", other.text);
    assert_eq!(upstream.seen().len(), 4, "nothing left");
    let shown = importer.visitor.get(&api).await.ok();
    assert!(!shown.body.contains("s3cret"));
}

#[tokio::test]
async fn answers_come_as_what_they_are() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let importer = Importer::new(&app).await;
    let promised = |path: &str| {
        json!({ "get": { "operationId": path, "responses": { "200": { "description": "", "content": { "application/json": {
            "schema": { "type": "object", "required": ["other"] } } } } } } })
    };
    let plain = |id: &str| json!({ "get": { "operationId": id, "responses": { "200": { "description": "" } } } });
    let document = json!({ "openapi": "3.1.0", "info": { "title": "A", "version": "1" }, "paths": {
        "/image": plain("image"), "/not-utf8": plain("bytes"), "/status/500": plain("broken"), "/promised": promised("promised"),
        "/large/1100000": plain("large"),
    } });
    let api = importer.import("answers", &served(&upstream, &document)).await;
    importer.publish(&api, &[("server", &upstream.url(""))]).await;
    let agent = importer.tenant.agent("agent", "tools:read").await;
    let content = async |tool: &str| agent.call(Era::Stateless, tool, json!({})).await;
    let image = content("image").await;
    assert_eq!(
        (&image.json["result"]["content"][0]["type"], &image.json["result"]["content"][0]["mimeType"]),
        (&json!("image"), &json!("image/png")),
        "{}",
        image.text
    );
    assert_eq!(content("bytes").await.json["result"]["content"][0]["type"], "resource");
    for (tool, class) in [("broken", "upstream_status"), ("promised", "output_schema"), ("large", "upstream_too_large")] {
        let answer = content(tool).await;
        assert_eq!(answer.error_class(), class, "{tool}: {}", answer.text);
        assert!(!answer.text.contains("upstream-canary"), "{}", answer.text);
    }
}

/// An API whose operations want a token for the tenant itself.
fn with_client(token_url: &str) -> Value {
    let get = |id: &str| json!({ "get": { "operationId": id, "security": [{ "oauth": ["read", "write"] }], "responses": { "200": { "description": "" } } } });
    json!({
        "openapi": "3.1.0", "info": { "title": "A", "version": "1" },
        "paths": { "/bearer/t-2": get("second"), "/bearer/t-9": get("never") },
        "components": { "securitySchemes": { "oauth": { "type": "oauth2", "flows": { "clientCredentials": {
            "tokenUrl": token_url, "scopes": { "read": "", "write": "" } } } } } },
    })
}

#[tokio::test]
async fn a_token_for_the_tenant_itself_is_fetched_kept_and_exchanged_when_it_is_refused() {
    let (app, upstream, other) = (TestApp::start().await, Upstream::start().await, Upstream::start().await);
    let importer = Importer::new(&app).await;
    let api = importer.import("client", &served(&upstream, &with_client(&upstream.url("/token")))).await;
    let server = upstream.url("");
    let page = importer.visitor.get(&api).await.ok();
    assert!(page.body.contains("client_id:client_secret") && page.body.contains(&upstream.url("/token")));
    let refused = importer.try_publish(&api, &[("server", &server), ("secret_oauth", "no-colon")]).await;
    assert_eq!(refused.status, 422);
    importer.publish(&api, &[("server", &server), ("secret_oauth", "my id:s:cret")]).await;
    let agent = importer.tenant.agent("agent", "tools:read").await;
    for _ in 0..3 {
        let answer = agent.call(Era::Stateless, "second", json!({})).await;
        assert!(answer.is_ok(), "{}", answer.text);
    }
    let asked = || upstream.seen().into_iter().filter(|seen| seen.line == "POST /token").collect::<Vec<_>>();
    let tokens = asked();
    assert_eq!(tokens.len(), 2, "one that is refused once, and one that works");
    assert_eq!(tokens[0].body, "grant_type=client_credentials&scope=read+write");
    // `my+id:s%3Acret`, as RFC 6749 wants it.
    assert!(
        tokens[0].head.contains(&format!("authorization: basic {}\r\n", "bXkraWQ6cyUzQWNyZXQ=".to_lowercase())),
        "{}",
        tokens[0].head
    );
    assert!(upstream.seen().iter().filter(|seen| seen.line.starts_with("GET /bearer")).all(|seen| !seen.head.contains("basic")));
    let answer = agent.call(Era::Stateless, "never", json!({})).await;
    assert_eq!(answer.error_class(), "upstream_status", "refused twice is refused: {}", answer.text);
    assert_eq!(asked().len(), 3);

    // E-31: with another token endpoint, the secret is asked for again.
    upstream.serve_document(&with_client(&other.url("/token")).to_string());
    let link = upstream.url("/document");
    importer.read_again(&api, &link).await;
    let refused = importer.try_publish(&api, &[("server", &server)]).await;
    assert!(refused.status == 422 && refused.body.contains("ts token endpoint is"), "{}", refused.body);
    assert!(agent.call(Era::Stateless, "second", json!({})).await.json["result"].is_object(), "what is published goes on");
    assert_eq!(other.seen().len(), 0, "nothing was sent there");
}

#[tokio::test]
async fn e_03_a_token_endpoint_in_a_private_network_is_refused_before_anything_is_sealed() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let importer = Importer::new(&app).await;
    for private in ["http://169.254.169.254/token", "http://10.0.0.1/token", "http://metadata.google.internal/token"] {
        let api = importer.import(&format!("a{}", private.len()), &served(&upstream, &with_client(private))).await;
        let refused = importer.try_publish(&api, &[("server", &upstream.url("")), ("secret_oauth", "id:secret")]).await;
        let is_refused = refused.status == 422 && refused.body.contains("ts token endpoint is not one that can be asked");
        // A name is only known to be private when it is looked up: then nothing is sent.
        assert!(is_refused || private.contains("google"), "{private}: {}", refused.status);
    }
}
