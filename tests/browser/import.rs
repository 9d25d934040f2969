//! From the link to an API's description to the first call by an agent, as a person does it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{driver::Browser, first_call::log_in};
use crate::{
    openapi::petstore,
    support::{Era, TestApp, Upstream},
};

/// All of it, by a script.
const LONGEST: Duration = Duration::from_mins(2);

#[tokio::test]
async fn from_a_description_to_the_first_call_in_few_clicks() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    upstream.serve_document(&petstore(&upstream.url("/v1")).to_string());
    let browser = Browser::start(&app.url).await;
    log_in(&browser, "owner@acme.example").await;
    let started = Instant::now();
    // Four clicks: Sources, Import an API, Read the description, Make tools.
    browser.open("/t/acme/sources").await;
    browser.open("/t/acme/sources/import").await;
    browser.fill("name", "pets").await;
    browser.fill("link", &upstream.url("/document")).await;
    browser.press("Read the description").await;
    browser.arrives("the operations", |path| path.starts_with("/t/acme/apis/")).await;
    assert_eq!(browser.run("return document.querySelectorAll('main tbody tr').length").await, json!(6));
    assert_eq!(browser.run("return document.querySelector('[name=server]').value").await, json!(upstream.url("/v1")));
    browser.press("Make tools").await;
    crate::support::eventually("the tools are there", crate::support::SOON, async || {
        browser.source().await.contains("Published: 5 tools new").then_some(())
    })
    .await;
    let answer = agent.call(Era::Stateless, "listPets", json!({})).await;
    assert!(answer.is_ok(), "{}", answer.text);
    assert!(started.elapsed() < LONGEST, "{:?}", started.elapsed());
    assert_eq!(upstream.seen().last().expect("a request").line, "GET /v1/pets");
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}
