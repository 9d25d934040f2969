//! Single sign-on against a real provider: who is let in, as whom, for what; and whatever may go wrong on the way.

use chrono::TimeDelta;
use serde_json::{Value, json};
use trunkline_platform::{actor::Role, rotation};

use crate::support::{
    Page, TestApp, Visitor, http,
    openid::{CLIENT, Lie, OpenId},
};

const OWNER: &str = "owner@acme.example";
const SETTINGS: &str = "/t/acme/settings/sign-in";

pub(crate) async fn connect(app: &TestApp, provider: &OpenId, slug: &str) -> Visitor {
    let owner = Visitor::signed_in(&app.url, &format!("owner@{slug}.example")).await;
    connect_as(&owner, provider, slug).await;
    owner
}

/// The same by an owner who is signed in.
pub(crate) async fn connect_as(owner: &Visitor, provider: &OpenId, slug: &str) {
    let fields = [
        ("issuer", provider.issuer()),
        ("client_id", CLIENT.0.to_owned()),
        ("client_secret", CLIENT.1.to_owned()),
        ("domains", "acme.example".to_owned()),
        ("groups_claim", "groups".to_owned()),
        ("groups", "Platform = admin\nBuilders = developer".to_owned()),
        ("default_role", String::new()),
    ];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    owner.post(&format!("/t/{slug}/settings/sso"), &fields).await.leads_to(&format!("/t/{slug}/settings/sign-in"));
}

pub(crate) fn person(subject: &str, email: &str, groups: &[&str]) -> Value {
    json!({ "sub": subject, "email": email, "email_verified": true, "groups": groups })
}

/// From the form to the provider and to its way back, which is not taken yet.
pub(crate) async fn way_back(app: &TestApp, visitor: &Visitor, organisation: &str, next: &str) -> String {
    let page = visitor.post("/login/sso", &[("organisation", organisation), ("next", next)]).await.ok();
    let target = page.header("refresh").trim_start_matches("0;url=").to_owned();
    assert!(target.contains("/authorize?"), "{} {}", page.status, page.body);
    let there = http().get(&target).send().await.expect("an answer").text().await.expect("a page");
    let back = there.split("href=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_else(|| panic!("{there}"));
    back.replace("&amp;", "&").trim_start_matches(&app.url).to_owned()
}

async fn sign_on(app: &TestApp, visitor: &Visitor, next: &str) -> Page {
    let back = way_back(app, visitor, "acme", next).await;
    visitor.get(&back).await
}

async fn role_of(app: &TestApp, email: &str) -> Option<String> {
    sqlx::query_scalar("SELECT m.role FROM app.memberships m JOIN app.users u ON u.id = m.user_id WHERE u.email = $1")
        .bind(email)
        .fetch_optional(&mut app.sql().await)
        .await
        .expect("a role")
}

#[tokio::test]
async fn somebody_new_becomes_a_member_with_the_role_of_their_group_and_for_that_tenant_only() {
    let (app, provider) = (TestApp::start().await, OpenId::start().await);
    app.tenant("acme").await;
    connect(&app, &provider, "acme").await;
    provider.says(person("ada", "ada@acme.example", &["Everybody", "Builders"]));
    let ada = Visitor::new(&app.url);
    sign_on(&app, &ada, "/t/acme/agents").await.leads_to("/t/acme/agents");
    ada.get("/t/acme/agents").await.ok();
    assert_eq!(role_of(&app, "ada@acme.example").await.as_deref(), Some("developer"));
    // Good for that tenant: not for the account, and not for another organisation.
    for path in ["/account", "/account/security"] {
        assert!(ada.get(path).await.location().starts_with("/login?next="), "{path}");
    }
    assert!(ada.post("/welcome", &[("organisation", "Mine")]).await.location().starts_with("/login?next="));

    // Another group, another role, from the next time on; the person is the same though the address is not.
    provider.says(person("ada", "ada.lovelace@acme.example", &["Platform"]));
    sign_on(&app, &Visitor::new(&app.url), "").await.leads_to("/t/acme");
    assert_eq!(role_of(&app, "ada@acme.example").await.as_deref(), Some("admin"));
    let mut sql = app.sql().await;
    let actions: Vec<String> = sqlx::query_scalar(
        "SELECT action FROM app.audit_entries WHERE action LIKE 'member.%' OR action LIKE 'sso.%' ORDER BY at, id",
    )
    .fetch_all(&mut sql)
    .await
    .expect("entries");
    assert_eq!(actions, ["member.joined", "sso.changed", "member.joined", "member.role_changed"]);
}

#[tokio::test]
async fn s_11_the_client_secret_outlives_the_data_key_that_sealed_it() {
    let (app, provider) = (TestApp::start().await, OpenId::start().await);
    app.tenant("acme").await;
    connect(&app, &provider, "acme").await;
    provider.says(person("ada", "ada@acme.example", &["Builders"]));
    let resealed = app.act(|platform| async move { rotation::renew(&platform, "acme").await.expect("renewed") }).await;
    assert_eq!(resealed, 1);
    let ada = Visitor::new(&app.url);
    sign_on(&app, &ada, "/t/acme/agents").await.leads_to("/t/acme/agents");
    ada.get("/t/acme/agents").await.ok();
}

#[tokio::test]
async fn who_has_no_group_no_verified_address_or_another_domain_stays_outside() {
    let (app, provider) = (TestApp::start().await, OpenId::start().await);
    app.tenant("acme").await;
    connect(&app, &provider, "acme").await;
    for (claims, words) in [
        (person("eve", "eve@acme.example", &["Others"]), "no role here yet"),
        (person("eve", "eve@evil.example", &["Platform"]), "not one of these"),
        (json!({ "sub": "eve", "email": "eve@acme.example", "email_verified": false, "groups": ["Platform"] }), "not verified"),
        (json!({ "sub": "eve", "email": "eve@acme.example", "groups": ["Platform"] }), "not verified"),
        (json!({ "sub": "eve", "groups": ["Platform"] }), "not verified"),
        // Whose address it is has an account: all the more.
        (json!({ "sub": "eve", "email": OWNER, "email_verified": false, "groups": ["Platform"] }), "not verified"),
    ] {
        provider.says(claims.clone());
        let eve = Visitor::new(&app.url);
        let page = sign_on(&app, &eve, "").await;
        assert_eq!(page.status, 403, "{claims}: {}", page.body);
        assert!(page.body.contains(words), "{claims}: {}", page.body);
        assert_eq!(eve.get("/t/acme").await.status, 303);
    }
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM app.users").fetch_one(&mut app.sql().await).await.expect("a count");
    assert_eq!(users, 1, "nobody came into being");
}

#[tokio::test]
async fn an_answer_counts_once_in_time_and_in_the_browser_that_asked() {
    let (app, provider) = (TestApp::start().await, OpenId::start().await);
    app.tenant("acme").await;
    connect(&app, &provider, "acme").await;
    provider.says(person("ada", "ada@acme.example", &["Builders"]));
    let (ada, eve) = (Visitor::new(&app.url), Visitor::new(&app.url));
    let back = way_back(&app, &ada, "acme", "").await;
    assert_eq!(eve.get(&back).await.status, 400, "another browser, without anything");
    way_back(&app, &eve, "acme", "").await;
    assert_eq!(eve.get(&back).await.status, 400, "another browser, with an attempt of its own");
    ada.get(&back).await.leads_to("/t/acme");
    assert_eq!(ada.get(&back).await.status, 400, "a second time");
    let late = way_back(&app, &ada, "acme", "").await;
    app.clock.advance(TimeDelta::minutes(11));
    assert_eq!(ada.get(&late).await.status, 400, "too late");
    for path in ["", "?code=x", "?state=x", "?state=x&code=y", "?error=access_denied&state=x"] {
        assert_eq!(ada.get(&format!("/login/sso/callback{path}")).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn a_provider_that_lies_signs_nobody_in() {
    let (app, provider) = (TestApp::start().await, OpenId::start().await);
    app.tenant("acme").await;
    connect(&app, &provider, "acme").await;
    provider.says(person("ada", "ada@acme.example", &["Builders"]));
    for lie in [
        Lie::OtherIssuer,
        Lie::NoIssuer,
        Lie::Nonce,
        Lie::Audience,
        Lie::TokenIssuer,
        Lie::Expired,
        Lie::Key,
        Lie::Unsigned,
        Lie::Symmetric,
    ] {
        provider.lies(lie);
        let visitor = Visitor::new(&app.url);
        let page = sign_on(&app, &visitor, "").await;
        assert_eq!(page.status, 400, "{lie:?}: {}", page.body);
        assert_eq!(visitor.get("/t/acme").await.status, 303, "{lie:?}");
    }
    provider.lies(Lie::None);
    sign_on(&app, &Visitor::new(&app.url), "").await.leads_to("/t/acme");
}

#[tokio::test]
async fn forced_a_password_opens_everything_but_that_tenant() {
    let (app, provider) = (TestApp::start().await, OpenId::start().await);
    let acme = app.tenant("acme").await;
    app.tenant("bravo").await;
    let owner = connect(&app, &provider, "acme").await;
    acme.member("ada@acme.example", Role::Viewer).await;
    assert_eq!(owner.post(SETTINGS, &[("sso", "yes")]).await.status, 422, "not before it has worked");
    // Whoever is logged in and asks for it is linked, whatever the address there is.
    provider.says(person("boss", "boss@acme.example", &[]));
    sign_on(&app, &owner, SETTINGS).await.leads_to(SETTINGS);
    owner.get("/account").await.ok();
    owner.post(SETTINGS, &[("sso", "yes")]).await.leads_to(SETTINGS);
    assert_eq!(role_of(&app, OWNER).await.as_deref(), Some("owner"), "owners stay owners");

    let mut sql = app.sql().await;
    sqlx::query("INSERT INTO app.memberships (tenant_id, user_id, role) SELECT t.id, u.id, 'viewer' FROM app.tenants t, app.users u WHERE t.slug = 'bravo' AND u.email = 'ada@acme.example'")
        .execute(&mut sql)
        .await
        .expect("a membership");
    let ada = Visitor::new(&app.url);
    ada.log_in("ada@acme.example", crate::support::PASSWORD).await.leads_to("/");
    ada.get("/t/bravo").await.ok();
    ada.get("/account").await.ok();
    ada.get("/t/acme/members?x=1").await.leads_to("/login/sso?organisation=acme&next=%2Ft%2Facme%2Fmembers%3Fx%3D1");
    assert_eq!(ada.post("/t/acme/leave", &[]).await.status, 303);
    assert_eq!(role_of(&app, "ada@acme.example").await.as_deref().map(str::len), Some("viewer".len()), "nothing was done");

    // The same session, vouched for: it opens both.
    provider.says(person("ada", "ada@acme.example", &[]));
    sign_on(&app, &ada, "/t/acme/members").await.leads_to("/t/acme/members");
    ada.get("/t/acme/members").await.ok();
    ada.get("/t/bravo").await.ok();
    // A session that only the provider vouches for opens acme, and nothing else that is ada's.
    let limited = Visitor::new(&app.url);
    sign_on(&app, &limited, "").await.leads_to("/t/acme");
    limited.get("/t/acme").await.ok();
    assert_eq!(limited.get("/t/bravo").await.status, 404);

    owner.post("/t/acme/settings/sso/remove", &[]).await.leads_to(SETTINGS);
    assert_eq!(limited.get("/t/acme").await.status, 303, "what the provider began has ended");
    Visitor::signed_in(&app.url, "ada@acme.example").await.get("/t/acme").await.ok();
}

#[tokio::test]
async fn settings_are_an_owners_and_never_show_the_secret() {
    let (mut app, provider) = (TestApp::start().await, OpenId::start().await);
    app.expect_error("an identity provider cannot be used");
    let acme = app.tenant("acme").await;
    acme.member("admin@acme.example", Role::Admin).await;
    let owner = connect(&app, &provider, "acme").await;
    let page = owner.get(SETTINGS).await.ok();
    assert!(page.body.contains("Platform = admin") && !page.body.contains(CLIENT.1) && !page.body.contains("s3cret"));
    let sealed: Vec<u8> =
        sqlx::query_scalar("SELECT sealed FROM app.sso_connections").fetch_one(&mut app.sql().await).await.expect("a row");
    assert!(!sealed.windows(6).any(|window| window == b"s3cret"));
    let admin = Visitor::signed_in(&app.url, "admin@acme.example").await;
    assert_eq!(admin.get(SETTINGS).await.status, 403);
    assert_eq!(admin.post("/t/acme/settings/sso/remove", &[]).await.status, 403);
    // A secret goes to the provider that it was meant for: another issuer needs its own.
    let other = OpenId::start().await;
    let fields = |issuer: String, secret: &'static str| {
        [
            ("issuer", issuer),
            ("client_id", CLIENT.0.to_owned()),
            ("client_secret", secret.to_owned()),
            ("domains", "acme.example".to_owned()),
            ("default_role", "viewer".to_owned()),
        ]
    };
    for (issuer, secret, status) in [
        (provider.issuer(), "", 303),
        (other.issuer(), "", 422),
        (format!("{}/nowhere", other.issuer()), "x", 422),
        ("http://127.0.0.1:9".to_owned(), "x", 422),
    ] {
        let fields = fields(issuer, secret);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let page = owner.post("/t/acme/settings/sso", &fields).await;
        assert_eq!(page.status, status, "{fields:?}: {}", page.body);
    }
    let stranger = Visitor::new(&app.url);
    for organisation in ["nobody-at-all", "", "A B", "bravo"] {
        assert_eq!(stranger.post("/login/sso", &[("organisation", organisation)]).await.status, 422, "{organisation}");
    }
}

#[tokio::test]
async fn the_installations_provider_opens_whole_accounts() {
    let provider = OpenId::start().await;
    let app = TestApp::builder()
        .set("SSO_ISSUER", provider.issuer())
        .set("SSO_CLIENT_ID", CLIENT.0)
        .set("SSO_CLIENT_SECRET", CLIENT.1)
        .set("SSO_NAME", "Example Works")
        .start()
        .await;
    app.tenant("acme").await;
    let visitor = Visitor::new(&app.url);
    assert!(visitor.get("/login").await.ok().body.contains("Continue with Example Works"));
    let begin = async |visitor: &Visitor| {
        let page = visitor.post("/login/sso", &[("through", "installation")]).await.ok();
        let target = page.header("refresh").trim_start_matches("0;url=").to_owned();
        let there = http().get(&target).send().await.expect("an answer").text().await.expect("a page");
        let back =
            there.split("href=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a way back").replace("&amp;", "&");
        visitor.get(back.trim_start_matches(&app.url)).await
    };
    provider.says(json!({ "sub": "o", "email": OWNER, "email_verified": false }));
    assert_eq!(begin(&visitor).await.status, 403, "an address that is not verified opens no account");
    provider.says(json!({ "sub": "o", "email": OWNER, "email_verified": true }));
    begin(&visitor).await.leads_to("/");
    visitor.get("/t/acme").await.ok();
    visitor.get("/account").await.ok();
    assert!(app.letters(OWNER).await[0].subject.contains("linked to single sign-on"));

    provider.says(json!({ "sub": "n", "email": "new@example.com", "email_verified": true }));
    let new = Visitor::new(&app.url);
    begin(&new).await.leads_to("/");
    new.post("/welcome", &[("organisation", "Mine")]).await.leads_to("/t/mine");
    assert_eq!(Visitor::new(&app.url).log_in("new@example.com", "!").await.status, 422, "no password is none");
}
