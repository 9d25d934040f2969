//! Headers: held against the body, and never trusted for anything else.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{Agent, Answer, Era, TestApp, http, message, raw, tools};

async fn agent(app: &TestApp) -> Agent {
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.agent("agent", "tools:read").await
}

fn call() -> Value {
    json!({ "name": "echo", "arguments": { "text": "x" } })
}

async fn answer(request: RequestBuilder) -> Answer {
    Answer::read(request.send().await.expect("an answer")).await
}

/// A stateless call whose headers a test chooses.
fn with_headers(agent: &Agent, headers: &[(&str, &str)]) -> RequestBuilder {
    let request = agent.request().json(&message(Era::Stateless, "tools/call", call()));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

#[tokio::test]
async fn t_10_headers_that_disagree_with_the_body_are_refused_and_charge_nothing() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    let version = ("mcp-protocol-version", "2026-07-28");
    let method = ("mcp-method", "tools/call");
    for headers in [
        &[method, ("mcp-name", "echo")][..],
        &[version, ("mcp-name", "echo")],
        &[version, method],
        &[("mcp-protocol-version", "2025-11-25"), method, ("mcp-name", "echo")],
        &[version, ("mcp-method", "tools/list"), ("mcp-name", "echo")],
        &[version, method, ("mcp-name", "cheap")],
        &[version, method, ("mcp-name", "=?base64?!!?=")],
        &[version, method, ("mcp-name", "=?base64?Y2hlYXA=?=")],
    ] {
        let answer = answer(with_headers(&agent, headers)).await;
        assert_eq!((answer.status, answer.code()), (400, -32020), "{headers:?}: {}", answer.text);
        assert_eq!(answer.json["id"], json!(1));
    }
    let good = answer(with_headers(&agent, &[version, method, ("mcp-name", "=?base64?ZWNobw==?=")])).await;
    assert_eq!(good.json["result"]["_meta"]["trunkline/limits"]["remaining"], json!(299), "{}", good.text);
}

#[tokio::test]
async fn t_11_an_unknown_revision_is_answered_with_those_that_are_served() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    let mut body = message(Era::Stateless, "tools/list", json!({}));
    body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2031-01-01");
    let headers = [("mcp-protocol-version", "2031-01-01"), ("mcp-method", "tools/list")];
    let request = headers.iter().fold(agent.request().json(&body), |request, (name, value)| request.header(*name, *value));
    let modern = answer(request).await;
    assert_eq!((modern.status, modern.code()), (400, -32022));
    assert_eq!(modern.json["error"]["data"]["supported"], json!(["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]));
    assert_eq!(modern.json["error"]["data"]["requested"], json!("2031-01-01"));
    let body = message(Era::Handshake, "tools/list", json!({}));
    let old = answer(agent.request().header("mcp-protocol-version", "2024-01-01").json(&body)).await;
    assert_eq!((old.status, old.code()), (400, -32022));
}

#[tokio::test]
async fn t_09_an_unknown_method_is_404_without_and_200_with_a_handshake() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    for method in ["tools/destroy", "initialise", "resources/list"] {
        for (era, status) in [(Era::Stateless, 404), (Era::Handshake, 200)] {
            let answer = agent.send(era, method, json!({})).await;
            assert_eq!((answer.status, answer.code()), (status, -32601), "{method} {era:?}");
        }
    }
    // Each era's own methods do not exist in the other one.
    assert_eq!(agent.send(Era::Stateless, "ping", json!({})).await.status, 404);
    assert_eq!(agent.send(Era::Handshake, "server/discover", json!({})).await.code(), -32601);
}

#[tokio::test]
async fn t_04_a_body_must_say_that_it_is_json() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    let body = message(Era::Handshake, "tools/list", json!({})).to_string();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "application", "", "text/json", "*/*"] {
        let answer = answer(agent.request().header("content-type", kind).body(body.clone())).await;
        assert_eq!(answer.status, 415, "{kind}");
    }
    assert_eq!(answer(agent.request().body(body.clone())).await.status, 415, "none");
    for kind in ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8", "application/json ;x=y"] {
        assert_eq!(answer(agent.request().header("content-type", kind).body(body.clone())).await.status, 200, "{kind}");
    }
}

#[tokio::test]
async fn t_03_what_the_client_reads_decides_what_it_gets() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    for era in Era::ALL {
        for accept in ["image/png", "text/html", "application/json;q=0, text/event-stream;q=0", "application/jsonl"] {
            assert_eq!(answer(agent.message(era, "tools/list", json!({}), accept)).await.status, 406, "{accept}");
        }
        for accept in ["application/json", "*/*", "application/json, text/event-stream", "text/event-stream", "application/*"] {
            let answer = answer(agent.message(era, "tools/list", json!({}), accept)).await;
            assert_eq!((answer.status, answer.tool_names()), (200, vec!["echo"]), "{accept}");
            let stream = accept == "text/event-stream";
            assert_eq!(answer.header("content-type").starts_with("text/event-stream"), stream, "{accept}");
        }
    }
}

#[tokio::test]
async fn t_02_a_foreign_origin_is_refused_on_every_method_and_ours_is_not() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    for origin in ["https://evil.example", "null", "http://127.0.0.1.evil.example", "http://127.0.0.1:1"] {
        for method in [Method::POST, Method::GET, Method::DELETE, Method::OPTIONS] {
            let request = http().request(method.clone(), &agent.url).bearer_auth(&agent.key).header("origin", origin);
            assert_eq!(answer(request).await.status, 403, "{method} {origin}");
        }
    }
    let ours = agent.message(Era::Stateless, "tools/list", json!({}), "application/json").header("origin", &app.url);
    assert_eq!(answer(ours).await.status, 200);
}

#[tokio::test]
async fn f_27_t_01_a_foreign_host_is_refused_before_the_bearer_is_looked_at() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    let body = message(Era::Handshake, "tools/list", json!({})).to_string();
    let ours = raw::authority(&app.url);
    let request = |target: &str, hosts: &[&str]| {
        let hosts: Vec<_> = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        let hosts = hosts.concat();
        format!(
            "POST {target} HTTP/1.1\r\n{hosts}Authorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            agent.key,
            body.len()
        )
    };
    let path = "/t/acme/mcp";
    let absolute = format!("http://evil.example{path}");
    let own_absolute = format!("http://{ours}{path}");
    for (what, request, status) in [
        ("our name", request(path, &[ours]), 200),
        ("our name, absolute", request(&own_absolute, &[ours]), 200),
        ("a foreign name", request(path, &["evil.example"]), 403),
        ("a name that begins like ours", request(path, &[&format!("{ours}.evil.example")]), 403),
        ("another port", request(path, &["127.0.0.1:1"]), 403),
        ("a user name", request(path, &[&format!("x@{ours}")]), 403),
        ("absolute with another host than Host", request(&absolute, &[ours]), 403),
        ("our address with another Host", request(&own_absolute, &["evil.example"]), 403),
    ] {
        let answer = raw::exchange(&app.url, request).await;
        assert_eq!(answer.status(), status, "{what}: {}", answer.0);
    }
    for (what, hosts) in [("no host", &[][..]), ("two hosts", &[ours, "evil.example"])] {
        let answer = raw::exchange(&app.url, request(path, hosts)).await;
        assert!(matches!(answer.status(), 400 | 403), "{what}: {}", answer.0);
    }
}

#[tokio::test]
async fn t_18_a_bearer_counts_in_its_header_only_and_only_as_written() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    let body = message(Era::Handshake, "tools/list", json!({}));
    let bare = || http().post(&agent.url).json(&body);
    for (what, request) in [
        ("query", http().post(format!("{}?access_token={}&token={}", agent.url, agent.key, agent.key)).json(&body)),
        ("cookie", bare().header("cookie", format!("__Host-trunkline={0}; Authorization={0}", agent.key))),
        ("basic", bare().header("authorization", format!("Basic {}", agent.key))),
        ("two spaces", bare().header("authorization", format!("Bearer  {}", agent.key))),
        ("tab", bare().header("authorization", format!("Bearer\t{}", agent.key))),
        ("twice", bare().header("authorization", format!("Bearer {}", agent.key)).bearer_auth(&agent.key)),
        ("behind", bare().header("authorization", format!("Bearer x {}", agent.key))),
    ] {
        assert_eq!(answer(request).await.status, 401, "{what}");
    }
    assert_eq!(answer(bare().header("authorization", format!("bEaReR {}", agent.key))).await.status, 200);
}

#[tokio::test]
async fn t_16_headers_of_proxies_and_of_others_change_neither_answer_nor_record() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    let other = app.tenant("evil").await;
    let plain = answer(agent.message(Era::Stateless, "tools/call", call(), "application/json")).await;
    let mut request = agent.message(Era::Stateless, "tools/call", call(), "application/json");
    for name in [
        "x-tenant-id",
        "x-tenant",
        "x-agent-id",
        "x-forwarded-host",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-prefix",
        "x-real-ip",
        "forwarded",
        "x-internal-user",
        "x-internal-auth",
        "mcp-init-host",
        "x-http-method-override",
        "x-original-url",
        "x-rewrite-url",
        "x-request-id",
        "x-mcp-session",
        "mcp-param-text",
    ] {
        request = request.header(name, "evil.example");
    }
    let headed = answer(request.header("x-tenant-id", other.id.to_string())).await;
    assert!(headed.is_ok() && !headed.text.contains("evil"), "{}", headed.text);
    let mut expected = plain.json.clone();
    expected["result"]["_meta"]["trunkline/limits"] = headed.json["result"]["_meta"]["trunkline/limits"].clone();
    assert_eq!(headed.json, expected);
    let names =
        |answer: &Answer| answer.headers.keys().map(|name| name.as_str().to_owned()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(names(&headed), names(&plain));
    assert!(headed.headers.iter().all(|(_, value)| !value.as_bytes().windows(4).any(|window| window == b"evil")));
    let mut sql = app.sql().await;
    let query = "SELECT count(*), count(*) FILTER (WHERE request_id LIKE '%evil%'),
            count(DISTINCT (tenant_id, agent_id, key_id, tool_id, tool_name, outcome, revision, client_name, bytes_in))
         FROM app.calls";
    crate::support::eventually("both are recorded, and the same", crate::support::SOON, async || {
        let counts: (i64, i64, i64) = sqlx::query_as(query).fetch_one(&mut sql).await.expect("calls");
        (counts == (2, 0, 1)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn t_12_what_is_charged_and_recorded_is_what_the_body_says() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    for name in ["cheap", "expensive"] {
        acme.tool(name, tools::echo()).await;
    }
    let agent = acme.agent("agent", "tools:read").await;
    let arguments = json!({ "text": "x" });
    let body = message(Era::Stateless, "tools/call", json!({ "name": "expensive", "arguments": arguments }));
    for (method, name) in [("tools/call", "cheap"), ("tools/list", "expensive"), ("tools/call", "=?base64?Y2hlYXA=?=")] {
        let request = agent.request().header("mcp-protocol-version", "2026-07-28").header("mcp-method", method);
        let refused = answer(request.header("mcp-name", name).json(&body)).await;
        assert_eq!((refused.status, refused.code()), (400, -32020), "{method} {name}");
    }
    for tool in ["cheap", "expensive"] {
        let charged = agent.call(Era::Stateless, tool, json!({ "text": "x" })).await;
        assert_eq!(charged.json["result"]["_meta"]["trunkline/limits"]["remaining"], json!(299), "{tool} was not charged before");
    }
    // Where the era has no such headers, they are not read at all.
    let legacy = message(Era::Handshake, "tools/call", json!({ "name": "expensive", "arguments": arguments }));
    let request = agent.request().header("mcp-method", "tools/list").header("mcp-name", "cheap");
    assert!(answer(request.json(&legacy)).await.is_ok());
    let mut sql = app.sql().await;
    let recorded = crate::support::eventually("three calls are recorded", crate::support::SOON, async || {
        let names = "SELECT tool_name FROM app.calls ORDER BY tool_name";
        let names: Vec<String> = sqlx::query_scalar(names).fetch_all(&mut sql).await.expect("calls");
        (names.len() == 3).then_some(names)
    });
    assert_eq!(recorded.await, ["cheap", "expensive", "expensive"]);
}

#[tokio::test]
async fn t_10_mirrored_arguments_are_held_against_the_body() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.conformance().await;
    let agent = acme.agent("agent", "tools:read").await;
    let call =
        |arguments: Value| message(Era::Stateless, "tools/call", json!({ "name": "test_x_mcp_header", "arguments": arguments }));
    let send = async |header: Option<&[u8]>, body: Value| {
        let mut request = agent.request().header("mcp-protocol-version", "2026-07-28").header("mcp-method", "tools/call");
        request = request.header("mcp-name", "test_x_mcp_header");
        if let Some(value) = header {
            request = request.header("mcp-param-region", reqwest::header::HeaderValue::from_bytes(value).expect("a value"));
        }
        answer(request.json(&body)).await
    };
    let north = || call(json!({ "region": "north" }));
    for (header, body) in [
        (None, north()),
        (Some(&b"south"[..]), north()),
        (Some(b"North"), north()),
        (Some(b""), north()),
        (Some(b"=?base64?!!?="), north()),
        (Some(b"=?base64?c291dGg=?="), north()),
        (Some(b"n\xc3\xb6rd"), call(json!({ "region": "nörd" }))),
        (Some(b"north"), call(json!({}))),
    ] {
        let refused = send(header, body).await;
        assert_eq!((refused.status, refused.code()), (400, -32020), "{header:?}: {}", refused.text);
    }
    for header in [&b"north"[..], b"=?base64?bm9ydGg=?=", b"  north  "] {
        assert_eq!(send(Some(header), north()).await.result(), "Region: north", "{header:?}");
    }
    assert_eq!(send(Some("=?base64?bsO2cmQ=?=".as_bytes()), call(json!({ "region": "nörd" }))).await.result(), "Region: nörd");
    assert_eq!(send(None, call(json!({}))).await.result(), "Region: none");
    // A control character is no header at all.
    let body = north().to_string();
    for evil in ["\u{1}north", "north\u{7f}", "nor\u{0}th"] {
        let request = format!(
            "POST /t/acme/mcp HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nMCP-Protocol-Version: 2026-07-28\r\n\
             Mcp-Method: tools/call\r\nMcp-Name: test_x_mcp_header\r\nMcp-Param-Region: {evil}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            raw::authority(&agent.url),
            agent.key,
            body.len()
        );
        assert_eq!(raw::exchange(&agent.url, request).await.status(), 400, "{evil:?}");
    }
}

#[tokio::test]
async fn other_methods_are_405_and_name_post() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    for method in [Method::GET, Method::DELETE, Method::OPTIONS] {
        let answer = answer(http().request(method.clone(), &agent.url).bearer_auth(&agent.key)).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "{method}");
    }
}
