//! A function, from an empty form to the first call by an agent, as a person does it.

use serde_json::json;

use super::{driver::Browser, first_call::log_in};
use crate::support::{Era, SOON, TestApp, eventually, process};

const NEW: &str = "/t/acme/tools/new";

#[tokio::test]
async fn a_person_writes_runs_and_publishes_a_function() {
    process::binary();
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let browser = Browser::start(&app.url).await;
    log_in(&browser, "owner@acme.example").await;
    browser.open(NEW).await;
    browser.run("document.querySelector('[name=kind][value=function]').click()").await;
    // The editor is an ordinary text area, with colours behind it.
    assert_eq!(browser.run("return document.querySelectorAll('.editor-layer .code-word').length > 2").await, json!(true));
    browser.fill("name", "greet").await;
    browser.fill("description", "Greets somebody by name.").await;
    browser.press("Run this code").await;
    eventually("the result", SOON, async || browser.source().await.contains("Hello, Ada!").then_some(())).await;
    assert!(browser.source().await.contains("called with"));
    browser.press("Publish tool").await;
    eventually("the tool", SOON, async || browser.source().await.contains("The tool is published").then_some(())).await;
    let answer = agent.call(Era::Stateless, "greet", json!({ "name": "Grace" })).await;
    assert_eq!(answer.json["result"]["structuredContent"], json!({ "greeting": "Hello, Grace!" }), "{}", answer.text);
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}
