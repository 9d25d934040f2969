//! From a draft through a gate that first says no, to what agents call, and back to an older version, as a person does it.

use serde_json::json;

use super::{driver::Browser, first_call::log_in};
use crate::support::{Agent, Era, SOON, TestApp, Upstream, eventually};

async fn says(browser: &Browser, text: &str) {
    eventually(text, SOON, async || browser.source().await.contains(text).then_some(())).await;
}

async fn description(agent: &Agent) -> String {
    let listed = agent.list(Era::Stateless).await;
    listed.json["result"]["tools"][0]["description"].as_str().unwrap_or_default().to_owned()
}

async fn replace(browser: &Browser, name: &str, value: &str) {
    browser.run(&format!("document.querySelector(\"main [name='{name}']\").value = ''")).await;
    browser.fill(name, value).await;
}

#[tokio::test]
async fn a_draft_is_stopped_mended_published_and_rolled_back() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("helper", "tools:read").await;
    let browser = Browser::start(&app.url).await;
    log_in(&browser, "owner@acme.example").await;
    browser.open("/t/acme/tools/new").await;
    browser.fill("name", "weather").await;
    browser.fill("description", "Tells the weather.").await;
    browser.choose("effect", "read").await;
    browser.choose("kind", "http").await;
    browser.fill("url", &upstream.url("/status/503")).await;
    browser.press("Save draft").await;
    let tool = browser.arrives("the tool", |path| path.starts_with("/t/acme/tools/") && !path.ends_with("/new")).await;
    assert_eq!(browser.text("#draft h2").await, "Draft: version 1");
    assert_eq!(browser.text("#draft .facts").await, "Agents that get it\nhelper", "said before anybody presses the button");
    assert_eq!(upstream.seen().len(), 0, "a draft is not called");

    browser.press("Publish version 1").await;
    says(&browser, "the gate stopped it").await;
    let failed = browser.text("#draft .checks .is-failed").await;
    assert!(failed.contains("status 503") && failed.contains("its own log says why"), "{failed}");
    assert!(agent.list(Era::Stateless).await.tool_names().is_empty());

    browser.open(&format!("{tool}/edit")).await;
    replace(&browser, "url", &upstream.url("/json")).await;
    replace(&browser, "expected", "/ok=true").await;
    browser.press("Publish version 2").await;
    says(&browser, "Version 2 is published").await;
    assert!(!browser.shows("#draft").await);
    assert_eq!(description(&agent).await, "Tells the weather.");

    browser.open(&format!("{tool}/edit")).await;
    replace(&browser, "description", "Tells the weather wrongly.").await;
    browser.press("Publish version 3").await;
    says(&browser, "Version 3 is published").await;
    assert_eq!(description(&agent).await, "Tells the weather wrongly.");
    assert_eq!(
        browser.run("return document.querySelectorAll('.version-end button').length").await,
        json!(1),
        "drafts are no way back"
    );
    browser.press("Roll back").await;
    says(&browser, "points at version 2 again").await;
    assert_eq!(description(&agent).await, "Tells the weather.");

    browser.open("/t/acme/status").await;
    assert!(browser.text("main tbody tr").await.contains("weather"));
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}
