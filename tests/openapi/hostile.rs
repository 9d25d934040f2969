//! Descriptions that mean harm: each is refused in words that help, in no time, and changes nothing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Importer, served};
use crate::support::{TestApp, Upstream};

/// Longest time for a refusal, in a build without optimisation beside all other tests.
const SOON: Duration = Duration::from_secs(30);

async fn refusal(importer: &Importer<'_>, upstream: &Upstream, document: &str) -> String {
    upstream.serve_document(document);
    let started = Instant::now();
    let page = importer.visitor.post("/t/acme/sources/import", &[("name", "bad"), ("link", &upstream.url("/document"))]).await;
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    assert_eq!(page.status, 422, "{}", page.body);
    let error = page.between("class=\"field-error\"", "</p>").expect("an error").to_owned();
    let sources = importer.visitor.get("/t/acme/sources").await.ok();
    assert!(sources.body.contains("No sources yet"), "nothing was made");
    error
}

#[tokio::test]
async fn what_is_no_description_is_refused_in_words_that_help() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let importer = Importer::new(&app).await;
    let many: Value = (0..3_001).map(|i| (format!("/{i}"), json!({ "get": {} }))).collect::<serde_json::Map<_, _>>().into();
    let bomb = (1..12).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, i| {
        let aliases = vec![format!("*a{}", i - 1); 10].join(",");
        format!("{text}a{i}: &a{i} [{aliases}]\n")
    });
    for (document, why) in [
        ("hello".to_owned(), "not an OpenAPI document"),
        (r#"{"swagger":"2.0"}"#.to_owned(), "Swagger 2.0 is not OpenAPI 3: convert it with"),
        (r#"{"openapi":"3.0.0"}"#.to_owned(), "no `paths`"),
        (format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000)), "not JSON that can be read"),
        (bomb, "not YAML that can be read"),
        (json!({ "openapi": "3.1.0", "paths": many }).to_string(), "3001 operations. At most 3000"),
        (format!("{{\"openapi\":\"3.0.0\",\"paths\":{{}},\"x\":[{}{{}}]}}", "{\"$ref\":\"#/x\"},".repeat(600_000)), "more than"),
        (" ".repeat(10 * 1024 * 1024 + 1), "10 MiB"),
    ] {
        let error = refusal(&importer, &upstream, &document).await;
        let error = error.replace("&#38;", "&").replace("&#39;", "'");
        assert!(error.contains(why), "{why:?} is not in {error:?}");
    }
}

/// E-03, E-05: a link is read by the guarded way, without redirects.
#[tokio::test]
async fn e05_a_link_leads_nowhere_else() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let importer = Importer::new(&app).await;
    for (link, why) in [
        (upstream.url("/redirect"), "which is not followed"),
        (upstream.url("/status/404"), "status 404"),
        ("http://169.254.169.254/latest/meta-data".to_owned(), "public hosts only"),
        ("file:///etc/passwd".to_owned(), "expected https:// or http://"),
        ("https://u:p@a.example/".to_owned(), "user name or password"),
    ] {
        let page = importer.visitor.post("/t/acme/sources/import", &[("name", "bad"), ("link", &link)]).await;
        assert_eq!(page.status, 422, "{link}");
        let error = page.between("class=\"field-error\"", "</p>").expect("an error");
        assert!(error.to_lowercase().contains(&why.to_lowercase()), "{link}: {error}");
    }
}

/// E-20, M-12: names, paths and texts that try to be something else.
#[tokio::test]
async fn e20_m12_hostile_operations_are_refused_or_made_harmless_one_by_one() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let importer = Importer::new(&app).await;
    let parameter = |name: &str, place: &str| json!({ "get": { "operationId": format!("{place}:{name}"), "parameters": [{ "name": name, "in": place, "required": true }] } });
    let document = json!({ "openapi": "3.1.0", "info": { "title": "<script>alert(1)</script>", "version": "1" }, "paths": {
        "/../admin": { "get": {} },
        "/a/%2e%2e/b": { "get": {} },
        "/a%2fb": { "get": {} },
        "/x/{id}": { "get": {} },
        "/open/{": { "get": {} },
        "/host": parameter("Host", "header"),
        "/crlf": parameter("X\r\nEvil", "header"),
        "/cookie": parameter("a=b; c", "cookie"),
        "/outside": { "get": { "parameters": [{ "$ref": "https://evil.example/p.json" }] } },
        "/circle": { "get": { "parameters": [{ "$ref": "#/paths/~1circle/get/parameters/0" }] } },
        "/text": { "get": { "operationId": "../../\u{202e}evil\u{200b}\r\n", "summary": "Reads\u{e0041}\u{202e} <b>it</b>" } },
    } });
    let api = importer.import("bad", &served(&upstream, &document)).await;
    let page = importer.visitor.get(&format!("{api}?show=refused")).await.ok();
    assert!(page.body.contains("Refused 10"), "{}", page.body);
    for part in ["<script>alert(1)", "\u{202e}", "\u{200b}", "\u{e0041}"] {
        assert!(!page.body.contains(part), "{part:?}");
    }
    importer.publish(&api, &[("server", &upstream.url(""))]).await;
    let agent = importer.tenant.agent("agent", "tools:read").await;
    let list = agent.list(crate::support::Era::Stateless).await;
    assert_eq!(list.tool_names(), ["evil"]);
    assert!(list.text.contains("Reads it") && !list.text.contains('\u{202e}'), "{}", list.text);
}

/// E-02, E-03: no server of a description, and none that somebody enters, leads inside.
#[tokio::test]
async fn e03_tools_reach_no_private_address() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let importer = Importer::new(&app).await;
    let document =
        json!({ "openapi": "3.1.0", "paths": { "/x": { "get": { "servers": [{ "url": "http://169.254.169.254" }] } } } });
    let api = importer.import("bad", &served(&upstream, &document)).await;
    for server in ["http://10.0.0.1/".to_owned(), "http://0x7f.1.1.1/".to_owned(), "ftp://a.example".to_owned(), "/v1".to_owned()]
    {
        let page = importer.visitor.post(&api, &[("then", "publish"), ("server", &server), ("prefix", "")]).await;
        assert_eq!(page.status, 422, "{server}");
    }
    let page = importer.visitor.post(&api, &[("then", "publish"), ("server", &upstream.url("")), ("prefix", "")]).await;
    assert_eq!(page.status, 422, "its own server is checked too");
    assert_eq!(upstream.seen().len(), 1, "only the description was read");
}
