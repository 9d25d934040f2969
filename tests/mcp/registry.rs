//! The tenant's private registry: what it says, to whom, and when it says something new.

use serde_json::{Value, json};
use trunkline_protocol::oauth::scope::Effect;

use crate::support::{Agent, Answer, Era, TestApp, http, tools};

async fn get(agent: &Agent, path: &str) -> Answer {
    let url = agent.url.replace("/mcp", &format!("/registry/v0.1/servers{path}"));
    Answer::read(http().get(url).bearer_auth(&agent.key).send().await.expect("an answer")).await
}

fn names(listed: &Answer) -> Vec<(String, String)> {
    let servers = listed.json["servers"].as_array().unwrap_or_else(|| panic!("{}", listed.text));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    servers.iter().map(|one| (text(&one["server"]["name"]), text(&one["server"]["version"]))).collect()
}

fn named(name: &str, version: &str) -> (String, String) {
    (format!("127.0.0.1/{name}"), version.to_owned())
}

#[tokio::test]
async fn m_62_each_endpoint_has_an_entry_that_leads_there_and_changes_with_its_tools_unless_they_fail() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let echo = acme.tool("echo", tools::echo()).await;
    acme.tool("drops", tools::with_effect(Effect::Destructive, tools::time())).await;
    acme.toolset("billing", &["echo"]).await;
    acme.toolset("dangers", &["drops"]).await;
    acme.toolset("empty", &[]).await;
    let agent = acme.agent("agent", "tools:read").await;
    let listed = get(&agent, "").await;
    assert_eq!(names(&listed), [named("acme", "1.0.0"), named("acme.billing", "1.0.0")], "nothing of what it may not use");
    let billing = &listed.json["servers"][1];
    assert_eq!(billing["_meta"]["io.modelcontextprotocol.registry/official"]["isLatest"], json!(true));
    assert_eq!(billing["server"]["remotes"][0]["type"], "streamable-http");
    let there = agent.at(billing["server"]["remotes"][0]["url"].as_str().expect("a URL"));
    assert_eq!(there.list(Era::Stateless).await.tool_names(), ["echo"]);
    let description = billing["server"]["description"].as_str().expect("words").chars().count();
    assert!((1..=100).contains(&description));

    assert_eq!(names(&get(&agent, "?search=BILL").await), [named("acme.billing", "1.0.0")]);
    let first = get(&agent, "?limit=1").await;
    let cursor = first.json["metadata"]["nextCursor"].as_str().expect("a cursor").to_owned();
    assert_eq!(names(&first), [named("acme", "1.0.0")]);
    let second = get(&agent, &format!("?limit=1&cursor={cursor}")).await;
    assert_eq!((names(&second), &second.json["metadata"]["nextCursor"]), (vec![named("acme.billing", "1.0.0")], &Value::Null));
    for wrong in ["?limit=0", "?limit=x", "?version=1", "?cursor=%21", "?updated_since=yesterday"] {
        let refused = get(&agent, wrong).await;
        assert!(refused.status == 400 && refused.json["error"].is_string(), "{wrong}: {}", refused.text);
    }

    // Another tool: a new version, and the old one stays as it was.
    acme.tool("clock", tools::time()).await;
    assert_eq!(names(&get(&agent, "").await), [named("acme", "1.0.1"), named("acme", "1.0.0"), named("acme.billing", "1.0.0")]);
    assert_eq!(names(&get(&agent, "?version=latest").await), [named("acme", "1.0.1"), named("acme.billing", "1.0.0")]);
    let versions = get(&agent, "/127.0.0.1%2Facme/versions").await;
    assert_eq!(names(&versions), [named("acme", "1.0.1"), named("acme", "1.0.0")]);
    let old = get(&agent, "/127.0.0.1%2Facme/versions/1.0.0").await;
    assert_eq!((&old.json["server"]["version"], old.status), (&json!("1.0.0"), 200), "{}", old.text);
    assert_eq!(get(&agent, "/127.0.0.1%2Facme/versions/latest").await.json["server"]["version"], "1.0.1");
    for absent in ["/127.0.0.1%2Facme/versions/1.0.9", "/127.0.0.1%2Facme.dangers/versions", "/127.0.0.1%2Fbravo/versions"] {
        assert_eq!(get(&agent, absent).await.status, 404, "{absent}");
    }

    // While one of them fails, the last good version stands.
    let mut sql = app.sql().await;
    let state = async |sql: &mut sqlx::PgConnection, word: &'static str| {
        sqlx::query(
            "INSERT INTO app.probes (id, tenant_id, tool_id, state) VALUES (gen_random_uuid(), $1, $2, $3)
             ON CONFLICT (tenant_id, tool_id) DO UPDATE SET state = $3",
        )
        .bind(acme.id)
        .bind(echo.id)
        .bind(word)
        .execute(sql)
        .await
        .expect("a probe");
    };
    state(&mut sql, "failing").await;
    acme.tool("later", tools::time()).await;
    assert_eq!(names(&get(&agent, "?version=latest").await)[0], named("acme", "1.0.1"));
    state(&mut sql, "well").await;
    assert_eq!(names(&get(&agent, "?version=latest").await)[0], named("acme", "1.0.2"));
}

#[tokio::test]
async fn i_10_a_registry_is_its_tenants_own() {
    let app = TestApp::start().await;
    let (acme, bravo) = (app.tenant("acme").await, app.tenant("bravo").await);
    acme.tool("echo", tools::echo()).await;
    let stranger = bravo.agent("agent", "tools:read").await;
    let there = stranger.at(&stranger.url.replace("/t/bravo/", "/t/acme/"));
    assert_eq!(get(&there, "").await.status, 401);
    assert_eq!(names(&get(&stranger, "").await), [], "it has no tools");
    let nobody = http().get(format!("{}/t/acme/registry/v0.1/servers", app.url)).send().await.expect("an answer");
    assert!(nobody.status() == 401 && nobody.headers().contains_key("www-authenticate"));
}
