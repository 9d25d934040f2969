//! The tools we bring along, called by an agent.

use serde_json::{Value, json};
use trunkline_platform::catalog::Builtin;

use crate::support::{Era, TestApp, tools};

#[tokio::test]
async fn each_built_in_does_what_it_says_and_refuses_the_rest() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    for one in Builtin::ALL {
        acme.tool(one.as_str(), tools::builtin(*one)).await;
    }
    let agent = acme.agent("agent", "tools:read").await;
    let call = async |tool: &str, arguments: Value| agent.call(Era::Stateless, tool, arguments).await;
    let document = json!({ "orders": [{ "total": 7.50 }], "a/b": { "m~n": null } });
    let pointers = json!(["/orders/0/total", "/a~1b", "/orders/1", ""]);
    for given in [document.clone(), Value::from(document.to_string())] {
        let answer = call("json_query", json!({ "document": given, "pointers": pointers })).await;
        let found: Value = serde_json::from_str(answer.result()).expect("JSON");
        assert_eq!(found, json!({ "/orders/0/total": 7.5, "/a~1b": { "m~n": null }, "/orders/1": null, "": document }));
    }
    let hash = call("hash", json!({ "text": "abc" })).await;
    assert_eq!(hash.result(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "FIPS 180-4");
    let uuids = call("uuid", json!({ "count": 100 })).await;
    let mut lines: Vec<&str> = uuids.result().lines().collect();
    lines.sort_unstable();
    lines.dedup();
    assert!(lines.len() == 100 && lines.iter().all(|line| line.len() == 36 && line.as_bytes()[14] == b'4'), "{}", uuids.text);
    assert_eq!(call("uuid", json!({})).await.result().lines().count(), 1);
    for (tool, wrong) in [
        ("json_query", json!({ "document": "{", "pointers": ["/a"] })),
        ("json_query", json!({ "document": {}, "pointers": ["a"] })),
        ("json_query", json!({ "document": {}, "pointers": [] })),
        ("json_query", json!({ "pointers": ["/a"] })),
        ("hash", json!({ "text": 1 })),
        ("uuid", json!({ "count": 101 })),
        ("time", json!({ "offset_minutes": 2_000 })),
        ("echo", json!({ "text": "a", "more": 1 })),
    ] {
        assert_eq!(call(tool, wrong.clone()).await.error_class(), "invalid_arguments", "{tool} {wrong}");
    }
}
