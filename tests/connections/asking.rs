//! A call without a connection: what each revision is told, and that it goes on when the person has connected.

use serde_json::{Value, json};
use trunkline_protocol::mcp::Revision;

use super::{World, provider::Service};
use crate::support::{Agent, TestApp, mcp_client::McpClient};

/// A client of that revision that says it can do this.
async fn client(agent: &Agent, revision: Revision, capabilities: Value) -> McpClient {
    McpClient::connect(agent, revision, capabilities, json!({})).await
}

fn call() -> Value {
    json!({ "name": "files.whoami", "arguments": {} })
}

#[tokio::test]
async fn every_revision_is_told_in_its_own_words() {
    let (app, service) = (TestApp::start().await, Service::start().await);
    let world = World::new(&app, &service).await;
    let ada = world.person("ada").await;
    let agent = world.caller(&ada).await;
    let page = format!("{}{}", app.url, world.connect_path());
    let can_open = || json!({ "elicitation": { "form": {}, "url": {} } });

    // 2026-07-28: the call requires input, and says where.
    let newest = client(&agent, Revision::V2026_07_28, can_open()).await;
    let asked = newest.send("tools/call", call()).await.answer["result"].clone();
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let request = &asked["inputRequests"]["connection"];
    assert_eq!(request["method"], "elicitation/create");
    assert_eq!((&request["params"]["mode"], &request["params"]["url"]), (&json!("url"), &json!(page)));
    assert!(request["params"]["message"].as_str().expect("words").contains("your own account at 127.0.0.1"), "{request}");
    assert!(request["params"].get("elicitationId").is_none() && asked["requestState"].is_string());

    // 2025-11-25: the error that only this revision has.
    let sessions = client(&agent, Revision::V2025_11_25, can_open()).await;
    let answer = sessions.send("tools/call", call()).await.answer;
    assert_eq!(answer["error"]["code"], -32042, "{answer}");
    let elicitation = &answer["error"]["data"]["elicitations"][0];
    assert_eq!((&elicitation["mode"], &elicitation["url"]), (&json!("url"), &json!(page)));
    assert!(elicitation["elicitationId"].as_str().is_some_and(|id| id.len() >= 16), "{elicitation}");

    // Older ones, and clients that open no pages: a result with the link.
    for (revision, capabilities) in [
        (Revision::V2025_06_18, can_open()),
        (Revision::V2025_03_26, json!({})),
        (Revision::V2025_11_25, json!({ "elicitation": {} })),
        (Revision::V2025_11_25, json!({})),
        (Revision::V2026_07_28, json!({ "elicitation": {} })),
        (Revision::V2026_07_28, json!({})),
    ] {
        let told = client(&agent, revision, capabilities.clone()).await.send("tools/call", call()).await;
        assert_eq!(told.answer["result"]["isError"], true, "{revision:?} {capabilities}: {told:?}");
        assert!(told.text().contains(&page), "{revision:?} {capabilities}: {told:?}");
    }

    // Prompts too.
    let prompt = || json!({ "name": "files.mine" });
    let asked = newest.send("prompts/get", prompt()).await.answer;
    assert_eq!(asked["result"]["inputRequests"]["connection"]["params"]["url"], page.as_str(), "{asked}");
    assert_eq!(sessions.send("prompts/get", prompt()).await.answer["error"]["code"], -32042);
    let old = client(&agent, Revision::V2025_06_18, json!({})).await.send("prompts/get", prompt()).await;
    assert!(old.answer["error"]["message"].as_str().is_some_and(|text| text.contains(&page)), "{old:?}");

    // Nothing of it was sent anywhere, and nothing of it costs.
    let calls = service.calls();
    assert!(calls.iter().all(|(who, what)| who == "owner" && !what.ends_with("/get")), "{calls:?}");
    let gate = calls.iter().filter(|(_, what)| what.ends_with("/call")).count();
    assert_eq!(gate, 1, "the gate's, with the account of whoever set it up: {calls:?}");
}

#[tokio::test]
async fn a_call_goes_on_when_its_person_has_connected_and_comes_back() {
    let (app, service) = (TestApp::start().await, Service::start().await);
    let world = World::new(&app, &service).await;
    let ada = world.person("ada").await;
    let newest = world.newest(&world.caller(&ada).await).await;
    let again = |state: &Value, action: &str| {
        let mut params = call();
        params["inputResponses"] = json!({ "connection": { "action": action } });
        params["requestState"] = state.clone();
        params
    };
    let asked = newest.send("tools/call", call()).await.answer["result"].clone();
    // Back without having connected: asked again, with a new state; the old one is used up.
    let state = asked["requestState"].clone();
    let asked = newest.send("tools/call", again(&state, "accept")).await.answer["result"].clone();
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    assert_eq!(newest.send("tools/call", again(&state, "accept")).await.answer["error"]["code"], -32602);
    // Whoever does not want to is not asked for ever.
    let refused = newest.send("tools/call", again(&asked["requestState"], "decline")).await;
    assert_eq!(refused.answer["result"]["isError"], true, "{refused:?}");
    assert!(refused.text().contains("does not want to connect"), "{refused:?}");

    let asked = newest.send("tools/call", call()).await.answer["result"].clone();
    service.says("ada");
    world.connect(&ada).await.leads_to(&world.connect_path());
    let done = newest.send("tools/call", again(&asked["requestState"], "accept")).await;
    assert_eq!(done.text(), "ada", "{done:?}");
    // And so does a prompt.
    world.owner.post(&format!("{}/disconnect", world.connect_path()), &[]).await.leads_to(&world.connect_path());
    let owners = world.newest(&world.caller(&world.owner).await).await;
    let mut params = json!({ "name": "files.mine" });
    let asked = owners.send("prompts/get", params.clone()).await.answer["result"].clone();
    params["requestState"] = asked["requestState"].clone();
    params["inputResponses"] = json!({ "connection": { "action": "accept" } });
    service.says("owner");
    world.connect(&world.owner).await.leads_to(&world.connect_path());
    let done = owners.send("prompts/get", params).await.answer;
    assert_eq!(done["result"]["messages"][0]["content"]["text"], "owner", "{done}");
}
