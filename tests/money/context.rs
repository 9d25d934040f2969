//! What calls cost in the context of their agents' models: exact where it is counted, said where it is not, and never in a budget.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgConnection;
use trunkline_platform::{
    agents::{self, NewAgent},
    catalog::{NewVersion, Price},
    chain,
    context::Model,
    ids::AgentId,
    quota::budgets::{BudgetScope, Period},
};

use super::{blocks_at, counter, plenty, set, sum};
use crate::support::{Era, OwnRedis, SOON, Tenant, TestApp, Visitor, eventually, tools};

/// Texts and their tokens in o200k_base, as Python's `tiktoken` 0.14.0 counts them: `len(get_encoding("o200k_base").encode_ordinary(text))`.
const KNOWN: [(&str, i64); 3] = [
    ("hello world", 2),
    ("The invoice 2026-0417 of ACME GmbH (€1,249.50) is due on 30 November; reminders were sent twice.", 32),
    ("Zażółć gęślą jaźń – 日本語のテキスト 👩\u{200d}💻\n\n\tif (x >= 10) { return null; }", 36),
];

/// What is recorded of a call.
#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
struct Recorded {
    tokens_definition: Option<i64>,
    tokens_out: Option<i64>,
    tokens_estimated: Option<bool>,
    context_micro: Option<i64>,
    cost_micro: i64,
}

/// All calls so far, the oldest first, once there are so many.
async fn recorded(sql: &mut PgConnection, count: usize) -> Vec<Recorded> {
    eventually("the calls are recorded", SOON, async || {
        let query =
            "SELECT tokens_definition, tokens_out, tokens_estimated, context_micro, cost_micro FROM app.calls ORDER BY id";
        let found: Vec<Recorded> = sqlx::query_as(query).fetch_all(&mut *sql).await.expect("calls");
        (found.len() == count).then_some(found)
    })
    .await
}

/// Says which model an agent is.
async fn is_model(acme: &Tenant<'_>, app: &TestApp, id: AgentId, input_micro: i64) {
    let owner = acme.owner.clone();
    app.act(move |platform| async move {
        let agent = agents::get(&platform, &owner, id).await.expect("the agent");
        let model = Model::parse("large", Some(input_micro)).expect("a model");
        let new = NewAgent::parse(agent.name.as_str(), "", &agent.scopes.to_string()).expect("an agent");
        agents::update(&platform, &owner, id, NewAgent { model, ..new }).await.expect("the agent is saved");
    })
    .await;
}

/// `PRICE` of a million tokens: so that no number of tokens comes to whole micro-units by itself.
const PRICE: i64 = 2_345_678;

fn exactly(tokens: i64) -> i64 {
    (tokens * PRICE + 999_999) / 1_000_000
}

#[tokio::test]
async fn contexts_are_counted_to_the_token_and_paid_beside_the_price() {
    let redis = OwnRedis::start().await;
    let app = plenty().set("REDIS_URL", redis.url()).start().await;
    let acme = app.tenant("acme").await;
    acme.tool("paid", NewVersion { price: Price::per_call(250), ..tools::echo() }).await;
    let (agent, other) = (acme.agent("agent", "tools:read").await, acme.agent("other", "tools:read").await);
    is_model(&acme, &app, agent.id, PRICE).await;
    set(&app, &acme, BudgetScope::Tenant, Period::Month, blocks_at(1_000_000)).await;
    for (text, _) in KNOWN {
        assert!(agent.call(Era::Stateless, "paid", json!({ "text": text })).await.is_ok());
    }
    // No model, refused, and no arguments that fit: the last has a text of ours that its model reads.
    assert!(other.call(Era::Stateless, "paid", json!({ "text": "hello world" })).await.is_ok());
    assert_eq!(agent.call(Era::Stateless, "absent", json!({})).await.code(), -32602);
    let misfit = agent.call(Era::Stateless, "paid", json!({ "text": 7 })).await;
    assert_eq!(misfit.error_class(), "invalid_arguments");

    let mut sql = app.sql().await;
    let calls = recorded(&mut sql, 6).await;
    let definition = calls[0].tokens_definition.expect("counted");
    let listed = agent.list(Era::Stateless).await;
    let listed = listed.json["result"]["tools"][0].to_string();
    assert!(definition > 20 && definition < i64::try_from(listed.len()).expect("small"), "{definition} tokens of {listed}");
    for (call, (text, tokens)) in calls.iter().zip(KNOWN) {
        let expected = Recorded {
            tokens_definition: Some(definition),
            tokens_out: Some(tokens),
            tokens_estimated: Some(false),
            context_micro: Some(exactly(definition + tokens)),
            cost_micro: 250,
        };
        assert_eq!(*call, expected, "{text}");
    }
    let unknown = |cost_micro| Recorded {
        tokens_definition: None,
        tokens_out: None,
        tokens_estimated: None,
        context_micro: None,
        cost_micro,
    };
    assert_eq!(calls[3..5], [unknown(250), unknown(0)]);
    assert!(calls[5].tokens_out.is_some_and(|tokens| tokens > 5) && calls[5].cost_micro == 0, "{:?}", calls[5]);

    // Sums have the same, and money of tools has none of it.
    let context: i64 = calls.iter().filter_map(|call| call.context_micro).sum();
    let out: i64 = calls.iter().filter_map(|call| call.tokens_out).sum();
    let rollups = "SELECT (sum(counted), sum(tokens_definition), sum(tokens_out), sum(context_micro), sum(cost_micro))::text
                   FROM app.";
    for table in ["usage_rollups WHERE step = 60", "usage_sums WHERE kind = 'tool' AND step = 1"] {
        let sums: String =
            sqlx::query_scalar(sqlx::AssertSqlSafe(format!("{rollups}{table}"))).fetch_one(&mut sql).await.expect("sums");
        assert_eq!(sums, format!("(4,{},{out},{context},1000)", 4 * definition));
    }
    eventually("the budget is settled", SOON, async || (counter(&redis).await == (Some(1_000), vec![])).then_some(())).await;

    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let shown = owner.get(&format!("/t/acme/agents/{}", agent.id)).await.ok().body;
    assert!(shown.contains("large, $2.345678 per million tokens") && shown.contains("1 tool, "), "{shown}");
    assert!(shown.contains("tokens in 4 calls"), "{shown}");
    let shown = owner.get(&format!("/t/acme/agents/{}", other.id)).await.ok().body;
    assert!(shown.contains("its tokens are not counted") && !shown.contains("tokens in "), "{shown}");
    assert!(owner.get("/t/acme").await.ok().body.contains(">Context</th>"));
    let id = |order: &str| format!("SELECT id FROM app.calls ORDER BY id {order} LIMIT 1 OFFSET 2");
    let mut page = async |order: &str| {
        let id: uuid::Uuid = sqlx::query_scalar(sqlx::AssertSqlSafe(id(order))).fetch_one(&mut sql).await.expect("a call");
        owner.get(&format!("/t/acme/logs/{}", trunkline_platform::ids::EntryId::from_uuid(id))).await.ok().body
    };
    let shown = page("ASC").await;
    assert!(shown.contains(&format!("{} tokens", definition + 36)) && shown.contains("$0.00025"), "{shown}");
    let shown = page("DESC").await;
    assert!(shown.contains("not counted") && shown.contains("$0.00025"), "{shown}");
}

#[tokio::test]
async fn a_long_result_is_estimated_from_its_beginning() {
    // As Python's tiktoken counts it: 7 tokens a line.
    const LINE: &str = "日本語のテキスト。\n";
    let app = TestApp::builder().unlimited().start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    is_model(&acme, &app, agent.id, PRICE).await;
    // 280,000 bytes are 70,000 tokens; of them 256 KiB are counted.
    let long = LINE.repeat(10_000);
    let answer = agent.call(Era::Stateless, "echo", json!({ "text": long })).await;
    assert!(answer.is_ok(), "{}", answer.status);
    let mut sql = app.sql().await;
    let call = recorded(&mut sql, 1).await.remove(0);
    assert_eq!(call.tokens_estimated, Some(true));
    let tokens = call.tokens_out.expect("estimated");
    assert!((tokens - 70_000).abs() <= 20, "{tokens}");
    assert_eq!(call.context_micro, Some(exactly(call.tokens_definition.expect("counted") + tokens)));
}

#[tokio::test]
async fn tokens_are_in_the_chain_and_in_exports() {
    let app = TestApp::builder().unlimited().start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    // Before it has a model, and after.
    assert!(agent.call(Era::Stateless, "echo", json!({ "text": KNOWN[1].0 })).await.is_ok());
    let mut sql = app.sql().await;
    recorded(&mut sql, 1).await;
    is_model(&acme, &app, agent.id, PRICE).await;
    assert!(agent.call(Era::Stateless, "echo", json!({ "text": KNOWN[1].0 })).await.is_ok());
    recorded(&mut sql, 2).await;
    let open = "SELECT (SELECT count(*) FROM app.audit_entries) - (SELECT count(*) FROM app.audit_chain)";
    eventually("all is chained", Duration::from_secs(10), async || (sum(&mut sql, open).await == 0).then_some(())).await;
    assert_eq!(sum(&mut sql, "SELECT count(*) FROM app.audit_chain WHERE form < 2").await, 0);

    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let export = owner.get("/t/acme/audit/export?format=jsonl&what=calls").await.ok().body;
    let lines: Vec<Value> = export.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!([&lines[0]["tokens_out"], &lines[1]["tokens_out"]], [&Value::Null, &json!(KNOWN[1].1)], "{export}");
    let entry: Value = serde_json::from_str(lines[1]["entry"].as_str().expect("an entry")).expect("JSON");
    assert_eq!((&entry["v"], &entry["call"]["tokens_out"]), (&json!(4), &json!(KNOWN[1].1)));
    let definition = entry["call"]["tokens_definition"].as_i64().expect("counted");
    assert_eq!(entry["call"]["context_micro"], json!(exactly(definition + KNOWN[1].1)));

    // What it cost is proven like the rest.
    let verified = async || {
        let owner = acme.owner.clone();
        app.act(move |platform| async move { chain::verify_own(&platform, &owner).await.expect("read") }).await
    };
    assert!(verified().await.is_ok());
    sqlx::raw_sql(
        "ALTER TABLE app.calls DISABLE TRIGGER USER;
         UPDATE app.calls SET context_micro = 0 WHERE context_micro > 0;
         ALTER TABLE app.calls ENABLE TRIGGER USER",
    )
    .execute(&mut sql)
    .await
    .expect("changed");
    let found = verified().await.expect_err("it was changed").to_string();
    assert!(found.contains(&format!("entry {} ", lines[1]["seq"])), "{found}");
}

#[tokio::test]
async fn a_model_is_told_on_the_agents_page_and_what_does_not_fit_is_named() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let form = format!("/t/acme/agents/{}/edit", agent.id);
    let fields = |name: &'static str, price: &'static str| {
        [("name", "agent"), ("ceiling", "read"), ("model_name", name), ("model_price", price)]
    };
    let long = "m".repeat(81);
    for (name, price, field) in [
        ("large", "", "model_price"),
        ("", "ten", "model_price"),
        ("", "-1", "model_price"),
        ("", "0.0000001", "model_price"),
        ("", "1000001", "model_price"),
        (long.leak(), "1", "model_name"),
    ] {
        let refused = owner.post(&form, &fields(name, price)).await;
        assert_eq!(refused.status, 422, "{name} {price}");
        assert!(refused.body.contains(&format!("id=\"{field}-error\"")), "{name} {price}: {}", refused.body);
    }
    let page = format!("/t/acme/agents/{}", agent.id);
    owner.post(&form, &fields("large", "2.5")).await.leads_to(&page);
    assert!(owner.get(&page).await.ok().body.contains("large, $2.50 per million tokens"));
    let again = owner.get(&form).await.ok().body;
    assert!(again.contains(r#"value="large""#) && again.contains(r#"value="2.5""#), "{again}");
    owner.post(&form, &fields("", "")).await.leads_to(&page);
    let mut sql = app.sql().await;
    let changes: Vec<Value> =
        sqlx::query_scalar("SELECT details FROM app.audit_entries WHERE action = 'agent.changed' ORDER BY at, id")
            .fetch_all(&mut sql)
            .await
            .expect("changes");
    let named = |name: &str, micro: Value| json!({ "model_name": name, "model_input_micro": micro });
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!((&changes[0]["before"], &changes[0]["after"]), (&named("", Value::Null), &named("large", json!(2_500_000))));
    assert_eq!((&changes[1]["before"], &changes[1]["after"]), (&named("large", json!(2_500_000)), &named("", Value::Null)));
}
