//! Refresh tokens: each is used once; a lost answer is forgiven once; a second holder ends the family.

use chrono::TimeDelta;
use serde_json::json;

use crate::support::{
    Tenant, TestApp, Visitor,
    oauth::{OAuthClient, TokenPair},
    tools,
};

async fn connected<'a>(app: &'a TestApp, tenant: &Tenant<'a>) -> (OAuthClient, Visitor, TokenPair) {
    tenant.tool("echo", tools::echo()).await;
    tenant.agent("agent", "tools:write prompts:read").await;
    let (client, owner) = (OAuthClient::register(app).await, tenant.owner_browser().await);
    let tokens = client.connect(&owner, tenant, &["tools:read", "prompts:read"]).await;
    (client, owner, tokens)
}

async fn live_leaves(app: &TestApp) -> i64 {
    let mut sql = app.sql().await;
    let leaves = "SELECT count(*) FROM app.refresh_tokens r JOIN app.grants g ON g.id = r.grant_id
                  WHERE r.used_at IS NULL AND g.revoked_at IS NULL";
    sqlx::query_scalar(leaves).fetch_one(&mut sql).await.expect("tokens")
}

#[tokio::test]
async fn o_30_a_token_that_was_replaced_and_whose_successor_was_used_ends_the_family() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let (client, _, first) = connected(&app, &acme).await;
    let second = TokenPair::of(&client.refresh(&first.refresh).await);
    let third = TokenPair::of(&client.refresh(&second.refresh).await);
    assert!(acme.with_token(&third.access).echo("x").await.is_ok());
    assert_eq!(client.refresh(&first.refresh).await.json["error"], json!("invalid_grant"));
    assert_eq!(acme.with_token(&third.access).echo("x").await.status, 401, "from the next request on");
    assert_eq!(client.refresh(&third.refresh).await.status, 400);
    let mut sql = app.sql().await;
    let events: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM app.audit_entries WHERE action = 'grant.revoked' AND details ->> 'why' = 'refresh_reuse'",
    )
    .fetch_one(&mut sql)
    .await
    .expect("the audit log");
    assert_eq!(events, 1);
}

#[tokio::test]
async fn o_30_a_lost_answer_is_forgiven_once_within_a_minute() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let (client, owner, first) = connected(&app, &acme).await;
    let lost = TokenPair::of(&client.refresh(&first.refresh).await);
    let again = TokenPair::of(&client.refresh(&first.refresh).await);
    let parallel = client.refresh(&first.refresh).await;
    assert_eq!((parallel.status, live_leaves(&app).await), (400, 1), "a third time gives nothing and ends nothing");
    let next = TokenPair::of(&client.refresh(&again.refresh).await);
    assert!(acme.with_token(&next.access).echo("x").await.is_ok());
    // Whoever has the answer that was lost should not have it.
    assert_eq!(client.refresh(&lost.refresh).await.status, 400);
    assert_eq!((client.refresh(&next.refresh).await.status, live_leaves(&app).await), (400, 0));

    let first = client.connect(&owner, &acme, &["tools:read"]).await;
    TokenPair::of(&client.refresh(&first.refresh).await);
    app.clock.advance(TimeDelta::seconds(61));
    assert_eq!((client.refresh(&first.refresh).await.status, live_leaves(&app).await), (400, 0), "after a minute it is reuse");
}

#[tokio::test]
async fn o_30_of_64_refreshes_at_once_one_live_leaf_is_left() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let (client, _, tokens) = connected(&app, &acme).await;
    let answers = futures_util::future::join_all((0..64).map(|_| client.refresh(&tokens.refresh))).await;
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 400)), "{answers:?}");
    let good = answers.iter().filter(|answer| answer.status == 200).count();
    assert!((1..=2).contains(&good), "{good}");
    assert_eq!(live_leaves(&app).await, 1);
}

#[tokio::test]
async fn o_17_o_31_a_refresh_narrows_and_never_widens_and_ends_with_its_time() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let (client, owner, tokens) = connected(&app, &acme).await;
    let refresh = async |token: &str, name: &str, value: &str| {
        client.token(&[("grant_type", "refresh_token"), ("refresh_token", token), (name, value)]).await
    };
    let bravo = app.tenant("bravo").await;
    assert_eq!(refresh(&tokens.refresh, "scope", "tools:destructive").await.json["error"], json!("invalid_scope"));
    assert_eq!(refresh(&tokens.refresh, "resource", &bravo.mcp_url()).await.json["error"], json!("invalid_target"));
    assert_eq!(refresh(&tokens.refresh, "resource", "x").await.json["error"], json!("invalid_target"));
    let other = OAuthClient::register(&app).await;
    assert_eq!(other.refresh(&tokens.refresh).await.json["error"], json!("invalid_grant"), "another client's");
    let narrow = TokenPair::of(&refresh(&tokens.refresh, "scope", "tools:read tools:write").await);
    assert_eq!(narrow.scope, "tools:read");
    let whole = TokenPair::of(&client.refresh(&narrow.refresh).await);
    assert_eq!(whole.scope, "tools:read prompts:read");

    app.clock.advance(TimeDelta::days(29));
    let later = TokenPair::of(&client.refresh(&whole.refresh).await);
    app.clock.advance(TimeDelta::days(2));
    assert_eq!(client.refresh(&later.refresh).await.json["error"], json!("invalid_grant"), "the grant was for 30 days");

    let owner_again = acme.owner_browser().await;
    drop(owner);
    let tokens = client.connect(&owner_again, &acme, &["tools:read"]).await;
    app.clock.advance(TimeDelta::days(30) + TimeDelta::seconds(1));
    assert_eq!(client.refresh(&tokens.refresh).await.status, 400, "30 days without use");
}
