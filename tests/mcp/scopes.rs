//! What a caller may not use does not exist for it.

use serde_json::json;
use sqlx::PgConnection;
use trunkline_protocol::oauth::scope::Effect;

use crate::support::{Era, SOON, Tenant, TestApp, eventually, tools};

/// A tool of each effect, and one that is switched off.
async fn tools_of_each_effect(tenant: &Tenant<'_>) {
    tenant.tool("reads", tools::echo()).await;
    tenant.tool("writes", tools::with_effect(Effect::Write, tools::echo())).await;
    tenant.tool("destroys", tools::with_effect(Effect::Destructive, tools::echo())).await;
}

#[tokio::test]
async fn what_is_listed_is_what_can_be_called() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    tools_of_each_effect(&acme).await;
    for (scopes, visible) in [
        ("tools:read", vec!["reads"]),
        ("tools:write", vec!["reads", "writes"]),
        ("tools:destructive", vec!["destroys", "reads", "writes"]),
        ("tool:destroys", vec!["destroys"]),
        ("tools:read tool:destroys", vec!["destroys", "reads"]),
        ("tool:none", vec![]),
    ] {
        let agent = acme.agent(scopes, scopes).await;
        for era in Era::ALL {
            assert_eq!(agent.list(era).await.tool_names(), visible, "{scopes}");
        }
        for tool in ["reads", "writes", "destroys"] {
            let answer = agent.call(Era::Stateless, tool, json!({ "text": "x" })).await;
            assert_eq!(answer.is_ok(), visible.contains(&tool), "{scopes} {tool}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_hidden_tool_answers_like_one_that_does_not_exist_and_is_audited() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    tools_of_each_effect(&acme).await;
    let agent = acme.agent("reader", "tools:read").await;
    for era in Era::ALL {
        let hidden = agent.call(era, "writes", json!({ "text": "x" })).await;
        let missing = agent.call(era, "nothing", json!({ "text": "x" })).await;
        assert_eq!((hidden.status, hidden.code()), (200, -32602));
        assert_eq!((&hidden.text, hidden.status), (&missing.text, missing.status));
    }
    let mut sql = app.sql().await;
    let denied = eventually("both are in the audit log", SOON, async || {
        let names = denied(&mut sql).await;
        (names.len() == 4).then_some(names)
    });
    assert_eq!(denied.await, ["nothing", "nothing", "writes", "writes"]);
}

async fn denied(sql: &mut PgConnection) -> Vec<String> {
    let names = "SELECT subject FROM app.audit_entries WHERE action = 'tools/call' AND decision = 'denied' ORDER BY subject";
    sqlx::query_scalar(names).fetch_all(sql).await.expect("the audit log")
}

#[tokio::test]
async fn asking_for_tools_that_do_not_exist_is_limited_too() {
    let app = TestApp::builder().set("QUOTA_LISTS_PER_MINUTE", 1).set("QUOTA_LISTS_BURST", 3).start().await;
    let agent = app.tenant("acme").await.agent("agent", "tools:read").await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(agent.call(Era::Stateless, "nothing", json!({})).await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
}

#[tokio::test]
async fn an_agents_ceiling_holds_below_its_keys() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    tools_of_each_effect(&acme).await;
    let agent = acme.agent("agent", "tools:write").await;
    assert_eq!(agent.list(Era::Stateless).await.tool_names(), ["reads", "writes"]);
    let (owner, id) = (acme.owner.clone(), agent.id);
    app.act(|platform| async move {
        use trunkline_platform::agents::{self, NewAgent};
        let lowered = NewAgent::parse("agent", "", "tools:read").expect("an agent");
        agents::update(&platform, &owner, id, lowered).await.expect("the ceiling is lowered");
    })
    .await;
    assert_eq!(agent.list(Era::Stateless).await.tool_names(), ["reads"]);
    assert_eq!(agent.call(Era::Stateless, "writes", json!({ "text": "x" })).await.code(), -32602);
}

#[tokio::test]
async fn a_tool_that_is_switched_off_is_gone_until_it_is_switched_on() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let tool = acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    assert!(agent.echo("x").await.is_ok());
    for enabled in [false, true] {
        let owner = acme.owner.clone();
        let id = tool.id;
        app.act(|platform| async move {
            trunkline_platform::catalog::set_enabled(&platform, &owner, id, enabled).await.expect("it is switched");
        })
        .await;
        assert_eq!(agent.echo("x").await.is_ok(), enabled);
        assert_eq!(agent.list(Era::Handshake).await.tool_names().len(), usize::from(enabled));
    }
}
