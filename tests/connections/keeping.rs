//! What is kept of a connection, and that it ends everywhere.

use sqlx::AssertSqlSafe;

use super::{
    World,
    provider::{CANARY, SECRET, Service, Ways},
    whoami, whoami_at,
};
use crate::support::TestApp;

#[tokio::test]
async fn no_table_has_a_token_or_a_client_secret_in_the_clear() {
    let (app, service) = (TestApp::start().await, Service::start().await);
    service.is(Ways { confidential: true, ..Ways::default() });
    let world = World::new(&app, &service).await;
    let agent = world.caller(&world.owner).await;
    assert_eq!(whoami(&agent).await.result(), "owner");
    // One that is on its way too.
    world.way_back(&world.owner).await;
    let mut sql = app.sql().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&mut sql)
    .await
    .expect("tables");
    assert!(tables.len() > 30, "{tables:?}");
    let hex = |text: &str| text.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    for table in tables {
        let rows = format!("SELECT to_jsonb(t)::text FROM {table} t");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(&mut sql).await.expect("rows");
        for canary in [CANARY, SECRET] {
            let found = rows.iter().find(|row| row.contains(canary) || row.contains(&hex(canary)));
            assert!(found.is_none(), "{table}: {found:?}");
        }
    }

    // A new data key: everything is sealed anew, and goes on.
    let before: Vec<(Vec<u8>, Vec<u8>)> =
        sqlx::query_as("SELECT c.access, p.secret FROM app.connections c, app.connection_providers p")
            .fetch_all(&mut sql)
            .await
            .expect("rows");
    let resealed =
        app.act(|platform| async move { trunkline_platform::rotation::renew(&platform, "acme").await.expect("renewed") });
    assert_eq!(resealed.await, 2, "one connection, one client secret");
    let after: Vec<(Vec<u8>, Vec<u8>)> =
        sqlx::query_as("SELECT c.access, p.secret FROM app.connections c, app.connection_providers p")
            .fetch_all(&mut sql)
            .await
            .expect("rows");
    assert!(before[0].0 != after[0].0 && before[0].1 != after[0].1);
    assert_eq!(world.scalar("SELECT count(*) FROM app.tenant_keys WHERE purpose = 'secrets'").await, 1);
    assert_eq!(whoami(&agent).await.result(), "owner");
    service.forget_access();
    assert_eq!(whoami(&agent).await.result(), "owner", "refreshed with the secret");
}

#[tokio::test]
async fn who_disconnects_or_leaves_is_refused_on_every_replica_from_the_next_call_on() {
    let (app, service) = (TestApp::start().await, Service::start().await);
    let replica = app.with_settings(&[("PUBLIC_URL", &app.url)]).await;
    let world = World::new(&app, &service).await;
    let ada = world.person("ada").await;
    let agent = world.caller(&ada).await;
    let there = async || whoami_at(&replica, &app, &agent).await;
    assert_eq!(there().await.error_class(), "connection_needed", "and that is known there");
    service.says("ada");
    world.connect(&ada).await.leads_to(&world.connect_path());
    assert_eq!((whoami(&agent).await.result(), there().await.result()), ("ada", "ada"));

    let disconnect = format!("{}/disconnect", world.connect_path());
    ada.post(&disconnect, &[("from", "account")]).await.leads_to("/account/connections");
    assert_eq!(there().await.error_class(), "connection_needed");
    assert_eq!(whoami(&agent).await.error_class(), "connection_needed");
    let revoked = service.revoked();
    assert_eq!(revoked, [("refresh_token".to_owned(), "ada".to_owned()), ("access_token".to_owned(), "ada".to_owned())]);
    ada.post(&disconnect, &[]).await.leads_to(&world.connect_path());
    assert!(ada.get(&world.connect_path()).await.ok().body.contains("Nothing was connected"));
    // The owner's is the owner's.
    assert_eq!(whoami(&world.caller(&world.owner).await).await.result(), "owner");

    // Who leaves takes their account along.
    world.connect(&ada).await.leads_to(&world.connect_path());
    assert_eq!(world.scalar("SELECT count(*) FROM app.connections").await, 2);
    ada.post("/t/acme/leave", &[]).await;
    assert_eq!(world.scalar("SELECT count(*) FROM app.connections").await, 1);
    assert_eq!(world.scalar("SELECT count(*) FROM app.connection_refreshes").await, 1);
}

#[tokio::test]
async fn a_source_goes_nowhere_else_with_peoples_accounts() {
    let (app, service) = (TestApp::start().await, Service::start().await);
    let (world, elsewhere) = (World::new(&app, &service).await, Service::start().await);
    let edit = |url: String| {
        vec![
            ("url", url),
            ("timeout_ms", "5000".to_owned()),
            ("new_definitions", "approve".to_owned()),
            ("changes", "harmless_pass".to_owned()),
            ("meanwhile", "serve_approved".to_owned()),
            ("default_effect", "read".to_owned()),
        ]
    };
    let path = format!("/t/acme/sources/{}/edit", world.source);
    let post = async |url: String| {
        let fields = edit(url);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        world.owner.post(&path, &fields).await
    };
    let page = post(elsewhere.mcp()).await;
    assert_eq!(page.status, 422);
    assert!(page.body.contains("eople have connected accounts"), "{}", page.body);
    // Back to one credential: all connections end, and then it may move.
    let back = world.owner.post(&format!("/t/acme/sources/{}/accounts", world.source), &[("credential", "tenant")]).await;
    assert_eq!(back.status, 303);
    assert_eq!(world.scalar("SELECT count(*) FROM app.connections").await, 0);
    assert_eq!(post(elsewhere.mcp()).await.status, 303);
    let agent = world.caller(&world.owner).await;
    assert_eq!(whoami(&agent).await.error_class(), "upstream_unauthorized", "without anybody's account");
    assert!(elsewhere.calls().is_empty());
    let page = world.owner.get(&world.connect_path()).await.ok();
    assert!(page.body.contains("No account needed"), "{}", page.body);
    let actions: Vec<String> =
        sqlx::query_scalar("SELECT action FROM app.audit_entries WHERE action LIKE 'connection.%' ORDER BY at, id")
            .fetch_all(&mut app.sql().await)
            .await
            .expect("entries");
    assert_eq!(actions, ["connection.provider_set", "connection.made", "connection.provider_removed"]);
}
