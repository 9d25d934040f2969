//! What of an HTTP answer an agent gets: as it came, or the part that the tool's author wants, in the shape that the tool promises.

use serde_json::{Value, json};
use trunkline_platform::catalog::{AnswerShape, Executor, NewVersion};

use crate::support::{Answer, Era, TestApp, Upstream, Visitor, tools};

fn shaped(url: &str, answer: AnswerShape) -> NewVersion {
    let mut tool = tools::get(url);
    if let Executor::Http(http) = &mut tool.executor {
        http.answer = answer;
    }
    tool
}

fn part(select: &str) -> AnswerShape {
    AnswerShape { select: Some(select.to_owned()), ..AnswerShape::default() }
}

fn text(answer: &Answer) -> &str {
    answer.json["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {}", answer.text))
}

#[tokio::test]
async fn f_14_an_answer_that_is_not_text_comes_as_what_it_is() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    for path in ["image", "not-utf8", "untyped", "large/1100000"] {
        acme.tool(path.split('/').next().expect("a name"), tools::get(&upstream.url(&format!("/{path}")))).await;
    }
    let agent = acme.agent("agent", "tools:read").await;
    for era in Era::ALL {
        let call = async |tool: &str| agent.call(era, tool, json!({})).await;
        let content = async |tool: &str| call(tool).await.json["result"]["content"][0].clone();
        let image = content("image").await;
        assert_eq!((&image["type"], &image["mimeType"]), (&json!("image"), &json!("image/png")), "{image}");
        assert_eq!(content("not-utf8").await["type"], "resource");
        assert_eq!(content("untyped").await["type"], "text");
        assert_eq!(call("large").await.error_class(), "upstream_too_large", "never cut");
    }
}

#[tokio::test]
async fn a_part_of_an_answer_is_given_and_nothing_else_of_it() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let document = json!({ "data": { "items": [{ "id": 1, "name": "a" }, { "id": 2, "name": "b" }], "note": "rest-canary" } });
    upstream.serve_document(&document.to_string());
    let (acme, at) = (app.tenant("acme").await, upstream.url("/document"));
    let of_items = json!({ "type": "array", "items": { "type": "object", "required": ["id"] } });
    let promised = |select: &str, schema: Value| AnswerShape { output_schema: Some(schema), ..part(select) };
    for (name, answer) in [
        ("first", part("/data/items/0")),
        ("name", part("/data/items/1/name")),
        ("names", part("$.data.items[*].name")),
        ("absent", part("/data/none")),
        ("promised", promised("/data/items/0", json!({ "type": "object", "required": ["id"] }))),
        ("list", promised("/data/items", of_items)),
        ("broken", promised("/data/items/0", json!({ "type": "object", "required": ["price"] }))),
        ("small", AnswerShape { max_bytes: Some(5), ..part("/data/items/0") }),
        ("fits", AnswerShape { max_bytes: Some(5), ..part("/data/items/0/name") }),
    ] {
        acme.tool(name, shaped(&at, answer)).await;
    }
    acme.tool("of_text", shaped(&upstream.url("/large/10"), part("/a"))).await;
    acme.tool("of_image", shaped(&upstream.url("/image"), part("/a"))).await;
    let agent = acme.agent("agent", "tools:read").await;
    for era in Era::ALL {
        let call = async |tool: &str| agent.call(era, tool, json!({})).await;
        assert_eq!(serde_json::from_str::<Value>(text(&call("first").await)).expect("JSON"), document["data"]["items"][0]);
        assert_eq!(text(&call("name").await), "b", "a text is not quoted");
        assert_eq!(text(&call("names").await), r#"["a","b"]"#);
        assert_eq!(text(&call("fits").await), "a");
        for (tool, class) in [
            ("absent", "upstream_content"),
            ("broken", "output_schema"),
            ("small", "upstream_too_large"),
            ("of_text", "output_schema"),
            ("of_image", "output_schema"),
        ] {
            let answer = call(tool).await;
            assert_eq!(answer.error_class(), class, "{tool}: {}", answer.text);
            assert!(!answer.text.contains("canary"), "{tool}: {}", answer.text);
        }
    }
    let promised = agent.call(Era::Stateless, "promised", json!({})).await;
    assert_eq!(promised.json["result"]["structuredContent"], document["data"]["items"][0], "{}", promised.text);
    let list = agent.call(Era::Stateless, "list", json!({})).await;
    assert_eq!(list.json["result"]["structuredContent"], document["data"]["items"], "{}", list.text);
    let listed = agent.list(Era::Stateless).await.json["result"]["tools"].clone();
    let of = |name: &str| listed.as_array().expect("tools").iter().find(|tool| tool["name"] == name).expect("the tool").clone();
    assert!(of("promised")["outputSchema"].is_object() && of("first")["outputSchema"].is_null());
}

#[tokio::test]
async fn the_form_of_a_tool_names_what_is_wrong_and_keeps_what_is_right() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    upstream.serve_document(r#"{"data":{"name":"found"}}"#);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let at = upstream.url("/document");
    let fields = [
        ("name", "named"),
        ("description", "Gives a name."),
        ("effect", "read"),
        ("kind", "http"),
        ("method", "GET"),
        ("url", at.as_str()),
        ("timeout_ms", "5000"),
    ];
    for (field, value, said) in [
        ("select", "data.name", "JSON Pointer such as"),
        ("select", "$..name", "write a function"),
        ("max_bytes", "1e3", "number of bytes"),
        ("max_bytes", "2000000", "1048576"),
        ("output_schema", "{", "no JSON"),
        ("output_schema", "[]", "JSON Schema"),
    ] {
        let page = owner.post("/t/acme/tools/new", &[&fields[..], &[(field, value)]].concat()).await;
        assert!(page.status == 422 && page.body.contains(said), "{field} {value}: {} {}", page.status, page.body);
    }
    let shape = [("select", "/data/name"), ("max_bytes", "100"), ("output_schema", r#"{"type":"string"}"#)];
    let saved = owner.post("/t/acme/tools/new", &[&fields[..], &shape].concat()).await;
    assert_eq!(text(&agent.call(Era::Stateless, "named", json!({})).await), "found");
    let form = owner.get(&format!("{}/edit", saved.location())).await.ok().body;
    for kept in ["/data/name", "value=\"100\"", "&#34;string&#34;"] {
        assert!(form.contains(kept), "{kept}: {form}");
    }
}
