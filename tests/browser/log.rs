//! The log in a browser: it follows what comes, and shows times in the zone that its reader wants.

use serde_json::json;

use super::{driver::Browser, first_call::log_in};
use crate::{
    support::{SOON, TestApp, eventually, tools},
    usage::recorded,
};

#[tokio::test]
async fn a_browser_follows_pauses_and_goes_on() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("billing", "tools:read").await;
    assert!(agent.echo("one").await.is_ok());
    recorded(&app, 1).await;
    let browser = Browser::start(&app.url).await;
    log_in(&browser, "owner@acme.example").await;
    browser.open("/t/acme/logs?agent=billing").await;
    let rows = async |count: u64| {
        let script = "return document.querySelectorAll('tr[data-call]').length";
        eventually("the page has the call", SOON, async || (browser.run(script).await == json!(count)).then_some(())).await;
    };
    rows(1).await;
    assert!(!browser.shows("[data-tail-fallback]").await && browser.shows("[data-tail-toggle]").await);
    assert!(agent.echo("two").await.is_ok());
    rows(2).await;
    let told = "return document.querySelector('[data-tail-told]').textContent";
    assert_eq!(browser.run(told).await, json!("1 new call"));

    browser.run("document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'p', bubbles: true }))").await;
    assert_eq!(browser.text("[data-tail-word]").await, "Paused");
    assert!(agent.echo("three").await.is_ok());
    recorded(&app, 3).await;
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    rows(2).await;
    browser.run("document.querySelector('[data-tail-toggle]').click()").await;
    rows(3).await;
    assert_eq!(browser.text("[data-tail-word]").await, "Live");
    // Newest first, as the page is after a reload.
    let order = "return [...document.querySelectorAll('tr[data-call]')].map((row) => row.dataset.call)";
    let live = browser.run(order).await;
    browser.open("/t/acme/logs?agent=billing").await;
    assert_eq!(browser.run(order).await, live);
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn times_are_shown_in_the_zone_that_was_chosen() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("billing", "tools:read").await;
    assert!(agent.echo("x").await.is_ok());
    recorded(&app, 1).await;
    // Without a script they are in UTC and say so.
    let page = acme.owner_browser().await.get("/t/acme/logs").await.ok().body;
    let written = page.split("data-time=\"exact\">").nth(1).and_then(|rest| rest.split('<').next()).expect("a time");
    assert!(written.ends_with(" UTC"), "{written}");

    let browser = Browser::start(&app.url).await;
    log_in(&browser, "owner@acme.example").await;
    browser.open("/t/acme/logs").await;
    let time = "tr[data-call] time";
    assert!(!browser.text(time).await.contains("UTC"), "the reader's own zone needs no name");
    browser.run("document.querySelector('.sidebar [data-zone-choice] button[value=utc]').click()").await;
    assert!(browser.text(time).await.ends_with(" UTC"));
    // It is kept, and a call that comes later is shown alike.
    browser.open("/t/acme/logs").await;
    assert!(browser.text(time).await.ends_with(" UTC"));
    assert!(agent.echo("y").await.is_ok());
    let script =
        "return [...document.querySelectorAll('tr[data-call] time')].filter((one) => one.textContent.endsWith(' UTC')).length";
    eventually("both are in UTC", SOON, async || (browser.run(script).await == json!(2)).then_some(())).await;
    let pressed = "return document.querySelector('.sidebar [data-zone-choice] button[aria-pressed=true]').value";
    assert_eq!(browser.run(pressed).await, json!("utc"));
    browser.open("/t/acme/usage?range=1h").await;
    assert!(browser.shows("figure[data-chart] canvas").await);
    browser.run("document.querySelector('.sidebar [data-zone-choice] button[value=\"\"]').click()").await;
    assert!(browser.shows("figure[data-chart] canvas").await);
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}
