//! The first ten minutes of a new user, from the sign-up to the first call in the chart.

use std::time::{Duration, Instant};

use serde_json::json;

use super::driver::Browser;
use crate::support::{Answer, Era, PASSWORD, SOON, TestApp, Upstream, eventually, http, link, message};

/// From the end of a call to its line in the dashboard.
const FRESH: Duration = Duration::from_secs(2);

#[tokio::test]
async fn somebody_signs_up_makes_a_tool_and_a_key_and_sees_the_first_call() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let browser = Browser::start(&app.url).await;
    sign_up(&app, &browser).await;
    browser.arrives("home", |path| path == "/t/acme").await;
    assert_eq!(browser.text("main .step:first-child .step-mark").await, "1", "nothing is done yet");
    assert!(!browser.shows("figure[data-chart]").await, "there is nothing to draw yet");

    make_tool(&browser, &upstream.url("/json")).await;
    let key = make_key(&browser).await;
    assert_eq!(browser.complaints().await, [""; 0]);

    let answer = call(&format!("{}/t/acme/mcp", app.url), &key).await;
    assert!(answer.is_ok() && answer.result().contains(r#""ok":true"#), "{}", answer.text);
    let called = Instant::now();
    assert_eq!(upstream.seen().len(), 2, "the gate's call and the agent's");

    shown_in_time(&browser, "/t/acme/logs", called, async || browser.shows("main tbody tr").await).await;
    assert_eq!(browser.run("return document.querySelectorAll('main tbody tr').length").await, json!(1));
    let row = browser.text("main tbody tr").await;
    assert!(row.contains("weather") && row.contains("billing nightly"), "{row}");

    let of_chart =
        "return [...document.querySelectorAll('figure[data-chart=stacked] tbody td:nth-child(2)')].map(cell => cell.textContent)
        .reduce((sum, text) => sum + Number(text), 0)";
    shown_in_time(&browser, "/t/acme", called, async || browser.run(of_chart).await == json!(1)).await;
    // Drawn from the table by a script: what a person sees is more than an empty box.
    eventually("the chart is drawn", SOON, async || {
        let drawn = browser.run(
            "return [...document.querySelectorAll('figure[data-chart]')].every(figure => {
               const canvas = figure.querySelector('[data-canvas] canvas');
               if (!canvas) return false;
               const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
               return pixels.some(byte => byte !== 0);
             })",
        );
        (drawn.await == json!(true)).then_some(())
    })
    .await;
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn the_page_that_waits_turns_by_itself_when_the_first_call_comes() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", crate::support::tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let browser = Browser::start(&app.url).await;
    log_in(&browser, "owner@acme.example").await;
    browser.open("/t/acme/connect").await;
    browser.run("window.same = true").await;
    // It has asked at least once, and was told to wait.
    let asked = "return performance.getEntriesByType('resource').some(entry => entry.name.endsWith('/connect/status'))";
    eventually("the page asks", SOON, async || (browser.run(asked).await == json!(true)).then_some(())).await;
    assert!(browser.shows("[data-waiting]").await && !browser.shows("[data-received]").await);

    assert!(agent.echo("hello").await.is_ok());
    eventually("the page turns", SOON, async || browser.shows("[data-received]").await.then_some(())).await;
    assert!(!browser.shows("[data-waiting]").await);
    assert_eq!(browser.text("[data-received] h2").await, "First call received");
    assert_eq!(browser.run("return window.same").await, json!(true), "by itself, without being loaded again");
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}

async fn sign_up(app: &TestApp, browser: &Browser) {
    browser.open("/signup").await;
    browser.fill("organisation", "Acme").await;
    browser.fill("email", "ada@acme.example").await;
    browser.fill("password", PASSWORD).await;
    browser.press("Sign up").await;
    browser.arrives("the letter is announced", |path| path == "/signup/sent").await;
    let letters = app.letters("ada@acme.example").await;
    browser.open(&link(&letters[0], &app.url)).await;
    browser.press("Confirm address").await;
    browser.arrives("the log-in", |path| path.starts_with("/login")).await;
    fill_log_in(browser, "ada@acme.example").await;
}

/// Logs in and waits for what comes then.
pub(super) async fn log_in(browser: &Browser, email: &str) {
    browser.open("/login").await;
    fill_log_in(browser, email).await;
    browser.arrives("signed in", |path| !path.starts_with("/login")).await;
}

async fn fill_log_in(browser: &Browser, email: &str) {
    browser.fill("email", email).await;
    browser.fill("password", PASSWORD).await;
    browser.press("Log in").await;
}

async fn make_tool(browser: &Browser, url: &str) {
    browser.open("/t/acme/tools/new").await;
    browser.fill("name", "weather").await;
    browser.fill("description", "Tells the weather.").await;
    browser.choose("effect", "read").await;
    browser.choose("kind", "http").await;
    assert!(browser.shows("[name='url']").await && !browser.shows("[name='builtin']").await, "only what belongs to the kind");
    browser.fill("url", url).await;
    browser.press("Publish tool").await;
    let is_tool = |path: &str| path.starts_with("/t/acme/tools/") && !path.ends_with("/new");
    browser.arrives("the tool", is_tool).await;
    assert_eq!(browser.text("main h1").await, "weather");
}

/// Makes an agent and a key for it. The key is shown by that answer and never again.
async fn make_key(browser: &Browser) -> String {
    browser.open("/t/acme/agents/new").await;
    browser.fill("name", "billing nightly").await;
    browser.choose("ceiling", "read").await;
    browser.press("Create agent").await;
    let agent = browser.arrives("the agent", |path| path.starts_with("/t/acme/agents/") && !path.ends_with("/new")).await;
    browser.fill("name", "nightly").await;
    browser.press("Create key").await;
    browser.arrives("the key", |path| path.ends_with("/keys")).await;
    let key = browser.text(".secret code").await;
    assert!(key.starts_with("tl_live_"), "{} characters", key.len());
    for page in [&agent, "/t/acme/keys", "/t/acme/connect", "/t/acme"] {
        browser.open(page).await;
        let source = browser.source().await;
        assert!(source.contains("</html>") && !source.contains(&key), "{page} shows the key again");
    }
    key
}

async fn call(url: &str, key: &str) -> Answer {
    let request = http().post(url).bearer_auth(key).header("accept", "application/json, text/event-stream");
    let request = request.header("mcp-protocol-version", Era::Stateless.revision());
    let request = request.header("mcp-method", "tools/call").header("mcp-name", "weather");
    let params = json!({ "name": "weather", "arguments": {} });
    let sent = request.json(&message(Era::Stateless, "tools/call", params)).send().await;
    Answer::read(sent.expect("an answer")).await
}

/// Opens the page until it shows the call. Opened when it should be there, it must show it: how long the browser then takes is not the
/// server's matter.
async fn shown_in_time(browser: &Browser, page: &str, called: Instant, mut is_shown: impl AsyncFnMut() -> bool) {
    loop {
        let opened = called.elapsed();
        browser.open(page).await;
        if is_shown().await {
            return;
        }
        assert!(opened < FRESH, "{page} does not show the call {} ms after it", opened.as_millis());
    }
}
