//! What a new customer does, in their browser and with their agent.

use std::time::{Duration, Instant};

use trunkline_platform::ids::{AgentId, KeyId};

use super::window::Window;
use crate::support::{Agent, Era, PASSWORD, SOON, TestApp, Upstream, eventually, link};

const TENANT: &str = "/t/analytical-engines";

/// Calls a tool at that endpoint with a key as it was copied from the page.
async fn call(app: &TestApp, key: &str, tool: &str) -> crate::support::Answer {
    let agent = Agent { url: format!("{}{TENANT}/mcp", app.url), id: AgentId::NIL, key_id: KeyId::NIL, key: key.to_owned() };
    agent.call(Era::Stateless, tool, serde_json::json!({ "city": "Lisbon" })).await
}

async fn sign_up(app: &TestApp, window: &Window) {
    window.visit(&format!("{}/signup", app.url)).await;
    window.fill("organisation", "Analytical Engines").await;
    window.fill("email", "ada@example.com").await;
    window.fill("password", PASSWORD).await;
    window.click("main form button").await;
    let letters = app.letters("ada@example.com").await;
    window.visit(&format!("{}{}", app.url, link(&letters[0], &app.url))).await;
    window.click("main form button").await;
    window.fill("email", "ada@example.com").await;
    window.fill("password", PASSWORD).await;
    window.click("main form button").await;
    eventually("signed in", SOON, async || (window.path().await == TENANT).then_some(())).await;
}

async fn create_tool(app: &TestApp, window: &Window, upstream: &Upstream) {
    window.visit(&format!("{}{TENANT}/tools/new", app.url)).await;
    window.fill("name", "weather").await;
    window.fill("description", "Tells the weather of a city.").await;
    window.click("input[name=effect][value=read]").await;
    window.click("input[name=kind][value=http]").await;
    window.fill("url", &upstream.url("/weather/{city}")).await;
    window.fill("parameter_0_name", "city").await;
    for (field, value) in [("parameter_0_in", "path"), ("parameter_0_type", "string")] {
        window.find(&format!("select[name={field}]")).await.select_by_value(value).await.expect("chosen");
    }
    window.click("input[name=parameter_0_required]").await;
    window.click("main form .form-actions-end button.button-primary").await;
    window.shows("weather", SOON).await;
    eventually("the tool's page", SOON, async || window.path().await.contains("/tools/tool_").then_some(())).await;
}

/// Creates an agent and a key; the key as it stands on the page.
async fn create_agent_with_key(app: &TestApp, window: &Window) -> String {
    window.visit(&format!("{}{TENANT}/agents/new", app.url)).await;
    window.fill("name", "Ada's agent").await;
    window.click("main form button.button-primary").await;
    eventually("the agent's page", SOON, async || window.path().await.contains("/agents/agt_").then_some(())).await;
    let page = window.path().await;
    window.click("#new-key > summary, details:has(form[action$='/keys']) > summary, form[action$='/keys']").await;
    window.find("form[action$='/keys'] input[name=name]").await.send_keys("laptop").await.expect("typed");
    window.click("form[action$='/keys'] button.button-primary").await;
    let key = window.find(".secret code").await.text().await.expect("a key");
    assert!(key.starts_with("tl_live_"), "{key}");
    window.visit(&format!("{}{page}", app.url)).await;
    assert!(!window.client.source().await.expect("a page").contains(&key), "the key is shown once");
    key
}

#[tokio::test]
async fn from_sign_up_to_the_first_call_on_the_chart() {
    let (app, upstream, window) = (TestApp::start().await, Upstream::start().await, Window::open().await);
    sign_up(&app, &window).await;
    create_tool(&app, &window, &upstream).await;
    let key = create_agent_with_key(&app, &window).await;

    window.visit(&format!("{}{TENANT}/connect", app.url)).await;
    window.shows("Waiting for the first call", SOON).await;
    let answer = call(&app, &key, "weather").await;
    assert!(answer.is_ok() && upstream.seen()[0].line == "GET /weather/Lisbon", "{}", answer.text);
    let called = Instant::now();
    window.visit(&format!("{}{TENANT}/logs", app.url)).await;
    loop {
        let logged = window.client.find(fantoccini::Locator::Css("main table tbody")).await;
        if let Ok(rows) = logged
            && rows.text().await.is_ok_and(|text| text.contains("weather") && text.contains("Ada's agent"))
        {
            break;
        }
        assert!(called.elapsed() < Duration::from_secs(2), "not in the log: {}", window.text().await);
        window.client.refresh().await.expect("loaded again");
    }
    window.visit(&format!("{}{TENANT}", app.url)).await;
    window.find("main canvas, main svg, main .chart").await;
    let home = window.client.source().await.expect("a page");
    assert!(home.contains("weather") && home.contains("Ada"), "the call is not on the home page");
    assert_eq!(window.complaints().await, Vec::<String>::new());
    window.close().await;
}

#[tokio::test]
async fn the_connect_page_turns_by_itself_when_the_first_call_comes() {
    let (app, window) = (TestApp::start().await, Window::open().await);
    sign_up(&app, &window).await;
    let upstream = Upstream::start().await;
    create_tool(&app, &window, &upstream).await;
    let key = create_agent_with_key(&app, &window).await;
    window.visit(&format!("{}{TENANT}/connect", app.url)).await;
    window.shows("Waiting for the first call", SOON).await;
    assert!(!window.text().await.contains("First call received"));
    assert!(call(&app, &key, "weather").await.is_ok());
    window.shows("First call received", Duration::from_secs(10)).await;
    assert_eq!(window.complaints().await, Vec::<String>::new());
    window.close().await;
}

#[tokio::test]
async fn no_page_complains_in_the_console_and_none_is_wider_than_a_phone() {
    let (app, upstream, window) = (TestApp::start().await, Upstream::start().await, Window::open().await);
    for path in ["/", "/login", "/signup", "/reset", "/nothing-here"] {
        window.visit(&format!("{}{path}", app.url)).await;
        window.find("main h1").await;
        let complaints = window.complaints().await;
        // The browser itself notes that a page is missing.
        assert!(complaints.iter().all(|text| path == "/nothing-here" && text.contains("404")), "{path}: {complaints:?}");
    }
    sign_up(&app, &window).await;
    create_tool(&app, &window, &upstream).await;
    let tool = window.path().await;
    let key = create_agent_with_key(&app, &window).await;
    let agent = window.path().await;
    assert!(call(&app, &key, "weather").await.is_ok());
    assert_eq!(window.complaints().await, Vec::<String>::new());
    let mut sql = app.sql().await;
    let entry = eventually("the call is recorded", SOON, async || {
        sqlx::query_scalar::<_, trunkline_platform::ids::EntryId>("SELECT id FROM app.calls")
            .fetch_optional(&mut sql)
            .await
            .expect("calls")
    })
    .await;
    let mut paths: Vec<_> =
        ["", "/agents", "/agents/new", "/keys", "/tools", "/tools/new", "/logs", "/connect", "/members", "/settings"]
            .map(|path| format!("{TENANT}{path}"))
            .into();
    paths.extend([
        format!("{tool}/edit"),
        tool,
        format!("{agent}/edit"),
        agent,
        format!("{TENANT}/logs/{entry}"),
        "/welcome".to_owned(),
    ]);
    for width in [1440, 390] {
        window.client.set_window_size(width, 900).await.expect("a size");
        for path in &paths {
            window.visit(&format!("{}{path}", app.url)).await;
            window.find("main h1").await;
            assert_eq!(window.complaints().await, Vec::<String>::new(), "{path} at {width}");
            let overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
            let overflow = window.client.execute(overflow, vec![]).await.expect("a number");
            assert_eq!(overflow.as_i64(), Some(0), "{path} is wider than {width}");
        }
    }
    window.close().await;
}
