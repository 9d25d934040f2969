//! Signing in as people do it: codes, passkeys of a virtual authenticator, a provider's own page.

use std::{path::Path, time::Duration};

use serde_json::json;
use trunkline_platform::clock::Clock as _;

use super::{driver::Browser, first_call::log_in};
use crate::support::{
    Authenticator, PASSWORD, SOON, TestApp, Visitor, eventually,
    openid::{CLIENT, OpenId},
};

const OWNER: &str = "owner@acme.example";

/// The installation by the name that passkeys need.
fn by_name(app: &TestApp) -> String {
    app.url.replace("127.0.0.1", "localhost")
}

async fn begin_log_in(browser: &Browser) {
    browser.open("/login").await;
    browser.fill("email", OWNER).await;
    browser.fill("password", PASSWORD).await;
    browser.press("Log in").await;
}

/// What pages look like, for whoever names a folder: each at two widths and in both themes.
async fn look(browser: &Browser, name: &str) {
    let Some(folder) = std::env::var_os("TRUNKLINE_SCREENSHOTS") else { return };
    for width in [1440, 390] {
        browser.resize(width).await;
        for theme in ["light", "dark"] {
            browser.run(&format!("document.documentElement.dataset.theme = '{theme}'")).await;
            // Colours change over a moment.
            tokio::time::sleep(Duration::from_millis(400)).await;
            let picture = browser.picture().await;
            std::fs::write(Path::new(&folder).join(format!("{name}-{width}-{theme}.png")), picture).expect("a file");
        }
    }
    browser.resize(1280).await;
}

#[tokio::test]
async fn an_authenticator_app_is_set_up_and_asked_for() {
    let app = TestApp::start().await;
    app.tenant("acme").await;
    let browser = Browser::start(&app.url).await;
    log_in(&browser, OWNER).await;
    browser.open("/account").await;
    look(&browser, "account").await;
    browser.open("/account/security").await;
    look(&browser, "security-without").await;
    browser.press("Set up an authenticator app").await;
    browser.arrives("the secret", |path| path.ends_with("/authenticator")).await;
    look(&browser, "totp").await;
    let authenticator = Authenticator::new(&browser.text("main [data-copy-text]").await);
    browser.fill("code", &authenticator.code(app.clock.now())).await;
    browser.press("Switch it on").await;
    browser.arrives("the codes", |path| path.ends_with("/confirm")).await;
    look(&browser, "recovery-codes").await;
    let codes = browser.text("main .recovery-codes").await;
    assert_eq!(codes.split_whitespace().count(), 10, "{codes}");
    browser.open("/account/security").await;
    look(&browser, "security-with").await;
    browser.run("document.querySelector('form[action=\"/logout\"]').submit()").await;
    browser.arrives("logged out", |path| path == "/login").await;
    look(&browser, "login").await;

    app.clock.advance(chrono::TimeDelta::minutes(1));
    begin_log_in(&browser).await;
    browser.arrives("the second step", |path| path == "/login/second").await;
    look(&browser, "second").await;
    browser.fill("code", &authenticator.code(app.clock.now())).await;
    browser.press("Go on").await;
    browser.arrives("home", |path| path == "/t/acme").await;
    app.clock.advance(chrono::TimeDelta::minutes(16));
    browser.open("/account/security/passkeys/new").await;
    browser.arrives("the proof", |path| path.starts_with("/account/prove")).await;
    look(&browser, "prove").await;
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn a_passkey_is_added_logs_in_and_is_a_second_factor() {
    let app = TestApp::start().await;
    app.tenant("acme").await;
    let browser = Browser::start(&by_name(&app)).await;
    browser.add_authenticator().await;
    log_in(&browser, OWNER).await;
    browser.arrives("home", |path| path == "/t/acme").await;
    browser.open("/account/security/passkeys/new").await;
    look(&browser, "passkey-new").await;
    browser.press("Add passkey").await;
    browser.arrives("the codes", |path| path == "/account/security/passkeys").await;
    assert_eq!(browser.text("main h1").await, "Recovery codes");
    browser.open("/account/security").await;
    look(&browser, "security-passkey").await;
    assert!(browser.source().await.contains("Linux"), "named after the device");
    // The same device again: it says so itself.
    browser.open("/account/security/passkeys/new").await;
    browser.press("Add passkey").await;
    eventually("the device refuses", SOON, async || {
        browser.source().await.contains("has a passkey for your account already").then_some(())
    })
    .await;

    let out = "document.querySelector('form[action=\"/logout\"]').submit()";
    browser.run(out).await;
    browser.arrives("logged out", |path| path == "/login").await;
    browser.open("/login/passkey?next=%2Ft%2Facme%2Fmembers").await;
    look(&browser, "passkey-login").await;
    browser.press("Use your passkey").await;
    browser.arrives("members", |path| path == "/t/acme/members").await;

    browser.run(out).await;
    browser.arrives("logged out", |path| path == "/login").await;
    begin_log_in(&browser).await;
    browser.arrives("the second step", |path| path == "/login/second").await;
    look(&browser, "second-passkey").await;
    browser.press("Use your passkey").await;
    browser.arrives("home", |path| path == "/t/acme").await;

    // Removed, it logs nobody in.
    browser.open("/account/security").await;
    browser.run("document.querySelector('form[action^=\"/account/security/passkeys/psk_\"]').submit()").await;
    browser.arrives("it is removed", |path| path == "/account/security").await;
    eventually("it is gone", SOON, async || (!browser.source().await.contains("/passkeys/psk_")).then_some(())).await;
    browser.run(out).await;
    browser.arrives("logged out", |path| path == "/login").await;
    browser.open("/login/passkey").await;
    browser.press("Use your passkey").await;
    eventually("it is refused", SOON, async || browser.source().await.contains("belongs to no account").then_some(())).await;
    let expected = |line: &String| line.contains("422");
    assert!(browser.complaints().await.iter().all(expected), "nothing but the refusal is complained about");
    browser.close().await;
}

#[tokio::test]
async fn passkeys_are_sent_to_the_name_they_belong_to() {
    let app = TestApp::start().await;
    let browser = Browser::start(&app.url).await;
    browser.open("/login/passkey").await;
    assert!(browser.text("[data-passkey-problem]").await.contains(&by_name(&app)));
    browser.close().await;
}

#[tokio::test]
async fn somebody_comes_in_through_the_provider_of_their_organisation() {
    let (app, provider) = (TestApp::start().await, OpenId::start().await);
    app.tenant("acme").await;
    let owner = Visitor::signed_in(&app.url, OWNER).await;
    let issuer = provider.issuer();
    let fields = [
        ("issuer", issuer.as_str()),
        ("client_id", CLIENT.0),
        ("client_secret", CLIENT.1),
        ("domains", "acme.example"),
        ("groups_claim", "groups"),
        ("groups", "Platform = admin\nBuilders = developer"),
    ];
    owner.post("/t/acme/settings/sso", &fields).await.leads_to("/t/acme/settings/sign-in");
    provider.says(json!({ "sub": "ada", "email": "ada@acme.example", "email_verified": true, "groups": ["Builders"] }));
    let browser = Browser::start(&app.url).await;
    browser.open("/t/acme/tools").await;
    browser.arrives("the log-in page", |path| path.starts_with("/login")).await;
    browser.run("document.querySelector('a[href^=\"/login/sso\"]').click()").await;
    browser.arrives("the organisation", |path| path.starts_with("/login/sso")).await;
    look(&browser, "sso").await;
    browser.press("Continue").await;
    browser.arrives("the provider's own page", |path| path.starts_with(&issuer)).await;
    browser.run("document.getElementById('back').click()").await;
    browser.arrives("the page that was asked for", |path| path == "/t/acme/tools").await;
    browser.open("/t/acme/members").await;
    assert!(browser.source().await.contains("ada@acme.example"));
    look(&browser, "members").await;
    // Elsewhere, this session is nobody's.
    browser.open("/account").await;
    browser.arrives("the log-in page", |path| path.starts_with("/login")).await;
    look(&browser, "login-limited").await;
    browser.open("/login/sso/callback?state=x&code=y").await;
    look(&browser, "sso-refused").await;
    browser.complaints().await;

    begin_log_in(&browser).await;
    browser.arrives("home", |path| path == "/t/acme").await;
    browser.open("/t/acme/settings/sign-in").await;
    look(&browser, "sign-in").await;
    browser.open("/t/acme/settings").await;
    look(&browser, "settings").await;
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}
