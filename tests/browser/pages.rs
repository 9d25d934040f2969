//! Every page, opened by a real browser: nothing in its console.

use std::collections::BTreeMap;

use actix_web::http::Method;
use serde_json::json;
use trunkline_web::{Access, routes};

use super::{driver::Browser, first_call::log_in};
use crate::support::{
    PASSWORD, TestApp, Upstream, Visitor, eventually, link,
    oauth::OAuthClient,
    seed::{self, Seeded},
};

/// What is served for programs.
const NOT_PAGES: &[&str] = &[
    "/healthz",
    "/readyz",
    "/health",
    "/static/",
    "/.well-known/",
    "/oauth/",
    "/t/{tenant}/audit/export",
    "/t/{tenant}/usage/cost.csv",
    "/t/{tenant}/connect/status",
    "/t/{tenant}/logs/tail",
    "/login/sso/callback",
];

#[tokio::test]
async fn the_console_is_heard() {
    let app = TestApp::start().await;
    let browser = Browser::start(&app.url).await;
    browser.open("/login").await;
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.run("console.error('as this test wants')").await;
    browser
        .run("document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.ran = true' }))")
        .await;
    browser.run("document.body.append(Object.assign(new Image(), { src: 'https://127.0.0.1:1/pixel.png' }))").await;
    let mut heard = Vec::new();
    eventually("three complaints", crate::support::SOON, async || {
        heard.extend(browser.complaints().await);
        (heard.len() >= 3).then_some(())
    })
    .await;
    for part in ["as this test wants", "script-src", "img-src"] {
        assert!(heard.iter().any(|line| line.contains(part)), "{part} is not in {heard:#?}");
    }
    assert_eq!(browser.run("return window.ran ?? null").await, json!(null), "the policy holds");
    browser.close().await;
}

#[tokio::test]
async fn no_page_complains_in_the_console_or_is_wider_than_a_phone() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let acme = seed::everything(&app, "acme", &upstream).await;
    let links = links(&app, &acme).await;
    let client = OAuthClient::register(&app).await;
    let consent = format!("/oauth/authorize?{}", client.query(&acme.tenant.mcp_url(), &[]));
    let browser = Browser::start(&app.url).await;
    let (mut seen, mut wrong) = (0, Vec::new());
    for signed_in in [false, true] {
        if signed_in {
            log_in(&browser, &acme.owner_email).await;
        }
        for width in [1280, 390] {
            browser.resize(width).await;
            let consent = Some(consent.clone()).filter(|_| signed_in);
            for path in pages(&acme, &links, signed_in).into_iter().chain(consent) {
                browser.open(&path).await;
                let kind = browser.run("return document.contentType").await;
                assert_eq!((kind, browser.shows("main h1").await), (json!("text/html"), true), "{path} is no page");
                let measured = browser.run("return [innerWidth, document.documentElement.scrollWidth - innerWidth]").await;
                assert_eq!(measured[0], width, "{path}");
                let too_wide = Some(&measured[1]).filter(|beyond| beyond.as_i64() > Some(0));
                wrong.extend(too_wide.map(|beyond| format!("{path}: {beyond} pixels wider than {width}")));
                wrong.extend(browser.complaints().await.into_iter().map(|complaint| format!("{path}: {complaint}")));
                seen += 1;
            }
        }
    }
    assert!(seen > 60, "only {seen} pages");
    assert!(wrong.is_empty(), "{wrong:#?}");

    // A page that is not there is a page too; only that it is not there may be said.
    browser.open("/t/acme/nowhere").await;
    let complaints = browser.complaints().await;
    assert!(browser.shows("main h1").await && complaints.len() == 1 && complaints[0].contains("404"), "{complaints:#?}");
    browser.close().await;
}

/// The pages behind mailed links, by the beginning of their paths.
async fn links(app: &TestApp, acme: &Seeded<'_>) -> BTreeMap<&'static str, String> {
    let visitor = Visitor::new(&app.url);
    let newcomer = [("email", "new@example.com"), ("password", PASSWORD), ("organisation", "New")];
    visitor.post("/signup", &newcomer).await.leads_to("/signup/sent");
    visitor.post("/reset", &[("email", &acme.viewer.1)]).await.leads_to("/reset/sent");
    let viewer = Visitor::signed_in(&app.url, &acme.viewer.1).await;
    viewer.post("/account/email", &[("email", "moved@example.com")]).await.leads_to("/account");
    let mut links = BTreeMap::new();
    let invited = format!("invited@{}.example", acme.canary);
    for (begin, email) in [
        ("/confirm/", "new@example.com"),
        ("/reset/", &acme.viewer.1),
        ("/invitations/", &invited),
        ("/email/", "moved@example.com"),
    ] {
        let path = link(&app.letters(email).await[0], &app.url);
        assert!(path.starts_with(begin), "{begin}: {path}");
        links.insert(begin, path);
    }
    links
}

/// Every page of the router's own list that somebody may open, with ids that are there.
fn pages(acme: &Seeded<'_>, links: &BTreeMap<&'static str, String>, signed_in: bool) -> Vec<String> {
    let is_page = |path: &str| !NOT_PAGES.iter().any(|other| path == *other || (other.ends_with('/') && path.starts_with(other)));
    let routes =
        routes().into_iter().filter(|route| route.method == Method::GET && route.access != Access::Agent && is_page(route.path));
    let open = routes.filter(|route| signed_in || route.access == Access::Public);
    let fill = |path: &str| match links.iter().find(|(begin, _)| path.starts_with(**begin) && path.contains("{token}")) {
        Some((_, link)) => link.clone(),
        None => path
            .replace("{tenant}", &acme.tenant.slug)
            .replace("{agent}", &acme.agent_id().to_string())
            .replace("{tool}", &acme.tool.to_string())
            .replace("{call}", &acme.call.to_string())
            .replace("{source}", &acme.source.to_string())
            .replace("{credential}", &acme.credential.to_string())
            .replace("{api}", &acme.api.to_string())
            .replace("{operation}", &acme.operation.to_string())
            .replace("{definition}", &acme.definition.to_string())
            .replace("{toolset}", &acme.toolset.to_string()),
    };
    let mut pages: Vec<_> = open.map(|route| fill(route.path)).collect();
    if signed_in {
        let connect =
            ["cursor", "vscode", "codex", "inspector", "stdio", "curl"].map(|client| format!("/t/acme/connect?client={client}"));
        pages.extend(connect.into_iter().chain(["/t/acme?range=7d".to_owned(), "/t/acme/logs?outcome=denied".to_owned()]));
    }
    if let Some(unknown) = pages.iter().find(|page| page.contains('{')) {
        panic!("{unknown}: what is this? Put an id of it into the table");
    }
    pages
}
