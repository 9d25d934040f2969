//! The form of a function, and its test run.

use super::start;
use crate::support::Visitor;

const NEW: &str = "/t/acme/tools/new";

fn form<'a>(code: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let fields = [
        ("name", "greet"),
        ("description", "Greets."),
        ("effect", "read"),
        ("kind", "function"),
        ("code", code),
        ("input_schema", "{\"type\": \"object\"}"),
        ("hosts", ""),
        ("function_timeout_ms", "2000"),
        ("example", "{\"name\": \"Ada\"}"),
    ];
    let kept = fields.into_iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name));
    kept.chain(more.iter().copied()).collect()
}

#[tokio::test]
async fn a_test_run_saves_nothing_and_a_mistake_says_where() {
    let app = start().await;
    app.tenant("acme").await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let run = [("then", "run")];
    let page = owner
        .post(NEW, &form("export default ({ name }) => { console.log('saw', name); return { hello: name }; }", &run))
        .await
        .ok();
    assert!(page.body.contains("saw Ada") && page.body.contains("&#34;hello&#34;: &#34;Ada&#34;"), "{}", page.body);
    let page = owner.post(NEW, &form("export default () => {\n  nothing();\n}", &run)).await.ok();
    assert!(page.body.contains("tool_threw") && page.body.contains("data-error-line=\"2\""), "{}", page.body);
    for (field, value, said) in [
        ("example", "[]", "expected an object"),
        ("input_schema", "{", "it is no json"),
        ("hosts", "a b", "is no host"),
        ("code", "", "write a function"),
        ("function_timeout_ms", "1", "100 to 60000"),
        ("input_schema", "{\"type\": \"object\", \"required\": [\"x\"]}", "does not fit the schema"),
    ] {
        let page = owner.post(NEW, &form("export default () => 1", &[("then", "run"), (field, value)])).await;
        assert!(page.status == 422 && page.body.to_lowercase().contains(said), "{field}: {} {}", page.status, page.body);
    }
    let large = format!("export default () => 1 //{}", "x".repeat(300_000));
    assert_eq!(owner.post(NEW, &form(&large, &run)).await.status, 422);
    let mut sql = app.sql().await;
    let tools: i64 = sqlx::query_scalar("SELECT count(*) FROM app.tools").fetch_one(&mut sql).await.expect("a count");
    let calls: i64 = sqlx::query_scalar("SELECT count(*) FROM app.calls").fetch_one(&mut sql).await.expect("a count");
    assert_eq!((tools, calls), (0, 0));
}
