//! People, as far as clients depend on them: cookies (O-23), single sign-on (O-24), log-in (O-50), links (O-51).

use chrono::TimeDelta;
use serde_json::json;
use trunkline_platform::actor::Role;

use super::{
    report::{Report, holds, same},
    world::World,
};
use crate::{
    people::sso,
    support::{
        PASSWORD, Page, SESSION, SOON, TestApp, Visitor, eventually, link,
        openid::{Lie, OpenId},
    },
};

pub(super) async fn cases(report: &mut Report, world: &World<'_>) {
    provider(report, world).await;
    cookies(report, world).await;
    log_in(report, world).await;
    links(report, world).await;
}

fn set_cookies(page: &Page) -> Vec<String> {
    page.headers.get_all("set-cookie").iter().filter_map(|value| Some(value.to_str().ok()?.to_owned())).collect()
}

async fn cookies(report: &mut Report, world: &World<'_>) {
    let member = async |email: &str| {
        world.acme.member(email, Role::Developer).await;
    };
    report
        .case("O-23", "each is for this host, over TLS, and not for scripts", async {
            member("cookies@acme.example").await;
            let visitor = Visitor::new(&world.app.url);
            let mut all = set_cookies(&visitor.get("/login").await);
            all.extend(set_cookies(&visitor.log_in("cookies@acme.example", PASSWORD).await));
            all.extend(set_cookies(&visitor.post("/logout", &[]).await));
            holds("there are some", all.len() >= 3, &all)?;
            for cookie in &all {
                let (name, rest) = cookie.split_once('=').unwrap_or_default();
                let has = |word: &str| rest.split(';').any(|part| part.trim() == word);
                let is_strict =
                    has("Secure") && has("HttpOnly") && has("SameSite=Lax") && has("Path=/") && !rest.contains("Domain");
                holds("strict", name.starts_with("__Host-") && is_strict, cookie)?;
            }
            Ok(())
        })
        .await;
    report
        .case("O-23", "a session that was put there before the log-in is not taken up", async {
            let visitor = Visitor::new(&world.app.url);
            visitor.set_cookie(SESSION, "fixedfixedfixedfixedfixedfixedfixed");
            visitor.log_in("cookies@acme.example", PASSWORD).await.leads_to("/");
            let session = visitor.cookie(SESSION);
            holds("another one", session.is_some_and(|session| !session.starts_with("fixed")), "the same")
        })
        .await;
    for (what, path, fields) in [
        ("another log-in", "/login", vec![("email", "cookies@acme.example"), ("password", PASSWORD)]),
        ("a new password", "/account/password", vec![("password", "another horse battery")]),
    ] {
        report
            .case("O-23", format!("{what} changes it, and the old one opens nothing"), async {
                let visitor = Visitor::signed_in(&world.app.url, "cookies@acme.example").await;
                let before = visitor.cookie(SESSION).expect("a session");
                same("taken", visitor.post(path, &fields).await.status, 303)?;
                holds("another", visitor.cookie(SESSION).is_some_and(|after| after != before), "the same")?;
                let thief = Visitor::new(&world.app.url);
                thief.set_cookie(SESSION, &before);
                let page = world.open(&thief, &world.client.query(&world.acme.mcp_url(), &[])).await;
                holds("the log-in", page.location().starts_with("/login"), page.location())
            })
            .await;
    }
    report
        .case("O-23", "a second factor changes it", async {
            member("rotated@acme.example").await;
            let whole = Visitor::signed_in(&world.app.url, "rotated@acme.example").await;
            let (authenticator, _) = crate::people::second_factor::set_up(world.app, &whole).await;
            let visitor = Visitor::new(&world.app.url);
            visitor.log_in("rotated@acme.example", PASSWORD).await.leads_to("/login/second");
            let half = visitor.cookie(SESSION).expect("a session");
            let code = authenticator.code(trunkline_platform::clock::Clock::now(&*world.app.clock));
            visitor.post("/login/second", &[("code", &code)]).await.leads_to("/");
            holds("another", visitor.cookie(SESSION).is_some_and(|after| after != half), "the same")
        })
        .await;
}

async fn provider(report: &mut Report, world: &World<'_>) {
    let app: &TestApp = world.app;
    let provider = OpenId::start().await;
    let tenant = app.tenant("federated").await;
    sso::connect(app, &provider, "federated").await;
    let ada = || sso::person("ada", "ada@acme.example", &["Builders"]);
    provider.says(ada());
    let start = async |visitor: &Visitor| sso::way_back(app, visitor, "federated", "").await;
    report
        .case("O-24", "the right answer signs in, once", async {
            let visitor = Visitor::new(&app.url);
            let back = start(&visitor).await;
            let page = visitor.get(&back).await;
            same("first", (page.status, page.location()), (303, "/t/federated"))?;
            same("second", visitor.get(&back).await.status, 400)
        })
        .await;
    report
        .case("O-24", "another browser, without anything", async {
            let back = start(&Visitor::new(&app.url)).await;
            same("status", Visitor::new(&app.url).get(&back).await.status, 400)
        })
        .await;
    report
        .case("O-24", "another browser, with an attempt of its own", async {
            let back = start(&Visitor::new(&app.url)).await;
            let other = Visitor::new(&app.url);
            start(&other).await;
            same("status", other.get(&back).await.status, 400)
        })
        .await;
    for query in ["", "?code=x", "?state=x", "?state=x&code=y", "?error=access_denied&state=x"] {
        report
            .case("O-24", format!("an answer that nobody asked for: {query:?}"), async {
                same("status", Visitor::new(&app.url).get(&format!("/login/sso/callback{query}")).await.status, 400)
            })
            .await;
    }
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
        report
            .case("O-24", format!("the provider lies: {lie:?}"), async {
                provider.lies(lie);
                let visitor = Visitor::new(&app.url);
                let back = start(&visitor).await;
                let page = visitor.get(&back).await;
                provider.lies(Lie::None);
                same("status", page.status, 400)?;
                same("signed in", visitor.get("/t/federated").await.status, 303)
            })
            .await;
    }
    for (what, claims) in [
        (
            "not verified",
            json!({ "sub": "eve", "email": "owner@federated.example", "email_verified": false, "groups": ["Builders"] }),
        ),
        ("not said to be verified", json!({ "sub": "eve", "email": "eve@acme.example", "groups": ["Builders"] })),
        ("of somebody who has an account", json!({ "sub": "eve", "email": "owner@federated.example", "groups": ["Builders"] })),
        ("of another domain", sso::person("eve", "eve@evil.example", &["Builders"])),
    ] {
        report
            .case("O-24", format!("an address that is {what} is nobody's"), async {
                provider.says(claims);
                let visitor = Visitor::new(&app.url);
                let back = start(&visitor).await;
                let page = visitor.get(&back).await;
                provider.says(ada());
                same("status", page.status, 403)?;
                same("signed in", visitor.get("/t/federated").await.status, 303)
            })
            .await;
    }
    report
        .case("O-24", "after ten minutes", async {
            let visitor = Visitor::new(&app.url);
            let back = start(&visitor).await;
            app.clock.advance(TimeDelta::minutes(11));
            same("status", visitor.get(&back).await.status, 400)
        })
        .await;
    drop(tenant);
}

async fn log_in(report: &mut Report, world: &World<'_>) {
    report
        .case("O-50", "who has no account is told what a wrong password is told", async {
            let essence = async |email: &str| {
                let visitor = Visitor::new(&world.app.url);
                let page = visitor.log_in(email, "wrong horse battery").await;
                let mut body = page.body.replace(email, "");
                for (before, after) in [("nonce=\"", "\""), ("name=\"csrf\" value=\"", "\"")] {
                    body = page.between(before, after).map_or(body.clone(), |value| body.replace(value, ""));
                }
                (page.status, page.location().to_owned(), body)
            };
            let (known, unknown) = (essence("owner@acme.example").await, essence("nobody@acme.example").await);
            same("status", known.0, 422)?;
            same("answer", known, unknown)
        })
        .await;
    let limited = world
        .app
        .with_settings(&[
            ("QUOTA_ATTEMPTS_LOGIN_PER_IP_PER_MINUTE", "3"),
            ("QUOTA_ATTEMPTS_LOGIN_PER_IP_BURST", "3"),
            ("HTTP_BEHIND_PROXY", "true"),
            ("HTTP_TRUSTED_PROXIES", "127.0.0.1/32"),
        ])
        .await;
    let visitor = Visitor::new(&limited.url);
    let send = async |from: &str, password: &str| {
        let csrf = visitor.csrf().await;
        let fields = [("email", "owner@bravo.example"), ("password", password), ("csrf", &*csrf)];
        let build = |request: reqwest::RequestBuilder| request.header("x-forwarded-for", from).form(&fields);
        visitor.request(reqwest::Method::POST, "/login", build).await
    };
    report
        .case("O-50", "from one address three at once", async {
            for _ in 0..3 {
                same("within", send("203.0.113.50", "wrong horse battery").await.status, 422)?;
            }
            let over = send("203.0.113.50", PASSWORD).await;
            same("over, whatever the password", (over.status, over.location()), (429, ""))?;
            holds(
                "it says when",
                over.header("retry-after").parse::<u64>().is_ok_and(|wait| wait > 0),
                over.header("retry-after"),
            )
        })
        .await;
    report
        .case("O-50", "nobody locks somebody else out", async {
            let own = send("203.0.113.51", PASSWORD).await;
            same("its owner elsewhere", (own.status, own.location()), (303, "/"))
        })
        .await;
}

async fn links(report: &mut Report, world: &World<'_>) {
    let app = world.app;
    let ask = async |email: &str| {
        world.acme.member(email, Role::Developer).await;
        Visitor::new(&app.url).post("/reset", &[("email", email)]).await.leads_to("/reset/sent");
        link(app.letters(email).await.last().expect("a letter"), &app.url)
    };
    let new = [("password", "another horse battery")];
    report
        .case("O-51", "a link works once, and signs nobody in", async {
            let path = ask("once@acme.example").await;
            let visitor = Visitor::new(&app.url);
            same("taken", visitor.post(&path, &new).await.location().to_owned(), "/login".to_owned())?;
            holds("no session", visitor.cookie(SESSION).is_none(), "signed in")?;
            same("again", visitor.post(&path, &new).await.status, 404)
        })
        .await;
    report
        .case("O-51", "to look at it does not use it, and tells no other site", async {
            let path = ask("looked@acme.example").await;
            let visitor = Visitor::new(&app.url);
            for _ in 0..2 {
                let page = visitor.get(&path).await;
                same(
                    "page",
                    (page.status, page.header("referrer-policy"), page.header("cache-control")),
                    (200, "no-referrer", "no-store"),
                )?;
            }
            same("taken", visitor.post(&path, &new).await.status, 303)
        })
        .await;
    report
        .case("O-51", "after an hour it is gone", async {
            let path = ask("late@acme.example").await;
            app.clock.advance(TimeDelta::minutes(61));
            let visitor = Visitor::new(&app.url);
            same("status", (visitor.get(&path).await.status, visitor.post(&path, &new).await.status), (404, 404))
        })
        .await;
    report
        .case("O-51", "it is for that and nothing else", async {
            let path = ask("purpose@acme.example").await;
            let token = path.rsplit('/').next().unwrap_or_default();
            for other in ["/invitations/", "/confirm/", "/email/"] {
                let status = world.owner.get(&format!("{other}{token}")).await.status;
                holds(other, status == 404, status)?;
            }
            same("it still is", Visitor::new(&app.url).get(&path).await.status, 200)
        })
        .await;
    report
        .case("O-51", "it cannot be guessed and is not kept as it is", async {
            let path = ask("kept@acme.example").await;
            let token = path.rsplit('/').next().unwrap_or_default().to_owned();
            holds("256 bits", token.len() >= 43, token.len())?;
            let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM app.password_resets r WHERE r::text LIKE '%' || $1 || '%'")
                .bind(&token)
                .fetch_one(&mut app.sql().await)
                .await
                .expect("a count");
            same("rows with it", kept, 0)
        })
        .await;
    report
        .case("O-51", "another host in the request changes no link", async {
            world.acme.member("poisoned@acme.example", Role::Developer).await;
            let visitor = Visitor::new(&app.url);
            let csrf = visitor.csrf().await;
            let fields = [("email", "poisoned@acme.example"), ("csrf", &*csrf)];
            let evil = |request: reqwest::RequestBuilder| request.header("host", "evil.example").form(&fields);
            same("another host", visitor.request(reqwest::Method::POST, "/reset", evil).await.status, 403)?;
            let forwarded = |request: reqwest::RequestBuilder| {
                request.header("x-forwarded-host", "evil.example").header("forwarded", "host=evil.example").form(&fields)
            };
            same("a proxy's word", visitor.request(reqwest::Method::POST, "/reset", forwarded).await.status, 303)?;
            let letters = app.letters("poisoned@acme.example").await;
            let text = letters.iter().map(|letter| letter.text.as_str()).collect::<String>();
            holds("one letter, with our name", letters.len() == 1 && text.contains(&app.url) && !text.contains("evil"), text)
        })
        .await;
    report
        .case("O-51", "nobody finds out who has an account", async {
            let page = Visitor::new(&app.url).post("/reset", &[("email", "nobody@acme.example")]).await;
            same("answer", (page.status, page.location()), (303, "/reset/sent"))?;
            eventually("others get theirs", SOON, async || {
                let outbox = app.platform.mailer.outbox().expect("captured").list();
                outbox.iter().all(|letter| letter.to != "nobody@acme.example").then_some(())
            })
            .await;
            Ok(())
        })
        .await;
}
