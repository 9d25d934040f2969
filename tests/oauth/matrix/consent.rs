//! What the person is asked, and what counts as an answer (O-20 to O-22, O-25, O-26).

use serde_json::json;
use trunkline_platform::{actor::Role, agents, agents::AgentState, oauth::NewProof};

use super::{
    report::{Report, Seen, holds, same, told},
    world::{WEB, World},
};
use crate::support::{
    Page, SESSION, Visitor,
    oauth::{OAuthClient, REDIRECT, TokenPair, answer_of, consent_form},
};

pub(super) async fn cases(report: &mut Report, world: &World<'_>) {
    asked(report, world).await;
    shown(report, world).await;
    proven(report, world).await;
    headers(report, world).await;
    half(report, world).await;
    confused(report, world).await;
}

/// Is a page shown, on which somebody decides?
fn is_asked(page: &Page) -> Seen {
    let seen = (page.status, page.location(), page.body.contains("name=\"decision\""));
    same("a page to decide on", seen, (200, "", true))
}

/// The fields of that page with an answer.
fn form(page: &Page) -> Vec<(String, String)> {
    let agent = page.between("name=\"agent\" value=\"", "\"").expect("an agent").to_owned();
    let mut form = consent_form(&page.body);
    for (name, value) in [("agent", &*agent), ("hours", "8"), ("scopes", "tools:read"), ("decision", "allow")] {
        form.push((name.to_owned(), value.to_owned()));
    }
    form
}

async fn send(visitor: &Visitor, form: &[(String, String)]) -> Page {
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    visitor.post("/oauth/authorize", &form).await
}

async fn asked(report: &mut Report, world: &World<'_>) {
    let (endpoint, issuer) = (world.acme.mcp_url(), world.issuer());
    let base = |more: &[(&str, &str)]| world.web.query(&endpoint, more);
    let web = || async { world.code_of(&world.web, &[]).await };
    report
        .case("O-20", "the same again is not asked", async {
            web().await;
            let page = world.open(&world.owner, &base(&[])).await;
            same("status", page.status, 303)?;
            holds("a code at once", answer_of(page.location()).contains_key("code"), page.location())
        })
        .await;
    for (what, more) in [
        ("another scope", ("scope", "tools:read resources:read")),
        ("another endpoint", ("resource", &*world.toolset)),
        ("when the client wants it asked", ("prompt", "consent")),
    ] {
        report
            .case("O-20", format!("{what} is asked"), async {
                web().await;
                is_asked(&world.open(&world.owner, &base(&[more])).await)
            })
            .await;
    }
    report
        .case("O-20", "another redirect URI is asked", async {
            let other = "https://app.example/other";
            let mut sql = world.app.sql().await;
            sqlx::query("UPDATE app.clients SET redirect_uris = ARRAY[$2, $3] WHERE client_id = $1")
                .bind(&world.web.id)
                .bind(WEB)
                .bind(other)
                .execute(&mut sql)
                .await
                .expect("two");
            web().await;
            is_asked(&world.open(&world.owner, &base(&[("redirect_uri", other)])).await)
        })
        .await;
    report
        .case("O-20", "another person is asked", async {
            web().await;
            world.acme.member("asked@acme.example", Role::Developer).await;
            let person = Visitor::signed_in(&world.app.url, "asked@acme.example").await;
            is_asked(&world.open(&person, &base(&[])).await)
        })
        .await;
    report
        .case("O-20", "another client is asked", async {
            web().await;
            let other = world.acme.client(NewProof::Secret, None).await.client;
            is_asked(&world.open(&world.owner, &other.query(&endpoint, &[])).await)
        })
        .await;
    report
        .case("O-20", "who registered itself is asked about every time", async {
            world.code().await;
            is_asked(&world.ask(&[]).await)?;
            told(&world.ask(&[("prompt", "none")]).await, REDIRECT, "st&te=1", &issuer, "consent_required")
        })
        .await;
    report
        .case("O-20", "after it was revoked it is asked again", async {
            let tokens = TokenPair::of(&world.web.redeem(&web().await).await);
            same("revoked", world.web.post("/oauth/revoke", &[("token", &tokens.refresh)]).await.status, 200)?;
            is_asked(&world.open(&world.owner, &base(&[])).await)
        })
        .await;
}

async fn shown(report: &mut Report, world: &World<'_>) {
    let metadata = json!({
        "client_name": "<script>Evil</script>\u{202e}gro.live", "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none",
    });
    let evil = OAuthClient::register_with(world.app, metadata).await;
    let page = world.open(&world.owner, &evil.query(&world.acme.mcp_url(), &[])).await;
    for (what, is_there, text) in [
        ("its name as text", true, "Evil"),
        ("no markup of its", false, "<script>Evil"),
        ("nothing that turns the direction", false, "\u{202e}"),
        ("the host of the redirect URI", true, "127.0.0.1:9"),
        ("a warning: a program on this computer", true, "A program on this computer"),
        ("that nobody has checked who it is", true, "nobody has checked"),
        ("the tenant", true, "acme"),
        ("the agent", true, "agent"),
        ("what a scope opens", true, "echo"),
    ] {
        report.case("O-20", format!("shown: {what}"), async { same(what, page.body.contains(text), is_there) }).await;
    }
    report
        .case("O-20", "no warning for a web site", async {
            let page = world.open(&world.owner, &world.web.query(&world.acme.mcp_url(), &[("prompt", "consent")])).await;
            is_asked(&page)?;
            holds(
                "its host, and no warning",
                page.body.contains("app.example") && !page.body.contains("A program on this computer"),
                "",
            )
        })
        .await;
}

async fn proven(report: &mut Report, world: &World<'_>) {
    world.acme.member("developer@acme.example", Role::Developer).await;
    let other = Visitor::signed_in(&world.app.url, "developer@acme.example").await;
    let fresh = async || form(&world.ask(&[]).await.ok());
    let changed = |form: &[(String, String)], name: &str, value: &str| -> Vec<(String, String)> {
        form.iter().map(|(other, old)| (other.clone(), if other == name { value.to_owned() } else { old.clone() })).collect()
    };
    let wider = world.client.query(&world.acme.mcp_url(), &[("scope", "tools:write")]);
    let elsewhere = world.web.query(&world.acme.mcp_url(), &[]);
    for (what, name, value) in [
        ("another request", "request", wider.as_str()),
        ("another client's request", "request", elsewhere.as_str()),
        ("no request", "request", ""),
        ("no proof", "proof", ""),
        ("a proof that is made up", "proof", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    ] {
        report
            .case("O-21", format!("{what} is refused"), async {
                let answer = send(&world.owner, &changed(&fresh().await, name, value)).await;
                same("answer", (answer.status, answer.location()), (403, ""))
            })
            .await;
    }
    report
        .case("O-21", "another session's proof is refused", async {
            let answer = send(&other, &fresh().await).await;
            same("answer", (answer.status, answer.location()), (403, ""))
        })
        .await;
    report
        .case("O-21", "without a session it is the log-in", async {
            let answer = send(&Visitor::new(&world.app.url), &fresh().await).await;
            holds("the log-in", answer.status == 303 && answer.location().starts_with("/login"), answer.location())
        })
        .await;
    report
        .case("O-21", "without the token of our forms it is refused", async {
            let form = fresh().await;
            let answer = world.owner.request(reqwest::Method::POST, "/oauth/authorize", |request| request.form(&form)).await;
            same("answer", (answer.status, answer.location()), (403, ""))
        })
        .await;
    report
        .case("O-21", "the right one counts", async {
            let answer = send(&world.owner, &fresh().await).await;
            holds("a code", answer.status == 303 && answer_of(answer.location()).contains_key("code"), answer.location())
        })
        .await;
}

async fn headers(report: &mut Report, world: &World<'_>) {
    let consent = world.ask(&[]).await;
    let login = Visitor::new(&world.app.url).get("/login").await;
    let refused = world.ask(&[("client_id", "nobody")]).await;
    for (what, page, target) in
        [("consent", &consent, Some("http://127.0.0.1:9")), ("log-in", &login, None), ("a refusal", &refused, None)]
    {
        report
            .case("O-22", format!("{what}: nobody frames it, runs scripts in it, or keeps it"), async {
                same("x-frame-options", page.header("x-frame-options"), "DENY")?;
                same("cache-control", page.header("cache-control"), "no-store")?;
                same("opener", page.header("cross-origin-opener-policy"), "same-origin")?;
                same("sniffing", page.header("x-content-type-options"), "nosniff")?;
                let policy = page.header("content-security-policy");
                holds("frame-ancestors", policy.contains("frame-ancestors 'none'"), policy)?;
                holds("nothing unsafe", !policy.contains("unsafe") && !policy.contains('*'), policy)?;
                holds("a nonce", policy.contains("'nonce-"), policy)?;
                let forms = target.map_or("form-action 'self'".to_owned(), |target| format!("form-action 'self' {target};"));
                holds("form-action", policy.contains(&forms), policy)
            })
            .await;
    }
    report
        .case("O-22", "no two pages have one nonce", async {
            let nonce =
                |page: &Page| page.header("content-security-policy").split("'nonce-").nth(1).map(|rest| rest[..22].to_owned());
            let again = world.ask(&[]).await;
            holds("another nonce", nonce(&again) != nonce(&consent), (nonce(&again), nonce(&consent)))
        })
        .await;
}

async fn half(report: &mut Report, world: &World<'_>) {
    let (endpoint, issuer) = (world.acme.mcp_url(), world.issuer());
    let query = world.client.query(&endpoint, &[]);
    let to_login =
        |page: &Page| holds("the log-in", page.status == 303 && page.location().starts_with("/login"), page.location());
    report
        .case("O-25", "a second factor is missing", async {
            world.acme.member("second@acme.example", Role::Developer).await;
            let whole = Visitor::signed_in(&world.app.url, "second@acme.example").await;
            crate::people::second_factor::set_up(world.app, &whole).await;
            let half = Visitor::new(&world.app.url);
            half.log_in("second@acme.example", crate::support::PASSWORD).await.leads_to("/login/second");
            holds("it has a session of a kind", half.cookie(SESSION).is_some(), "none")?;
            to_login(&world.open(&half, &query).await)?;
            let page = form(&world.ask(&[]).await.ok());
            let answer = send(&half, &page).await;
            holds("nor an answer", !answer.location().contains("code="), (answer.status, answer.location()))
        })
        .await;
    report
        .case("O-25", "the address is not confirmed", async {
            let visitor = Visitor::new(&world.app.url);
            let fields = [("organisation", "New"), ("email", "new@new.example"), ("password", crate::support::PASSWORD)];
            visitor.post("/signup", &fields).await.leads_to("/signup/sent");
            let page = visitor.log_in("new@new.example", crate::support::PASSWORD).await;
            same("no log-in", page.status, 422)?;
            to_login(&world.open(&visitor, &query).await)
        })
        .await;
    report
        .case("O-25", "the person does not belong to the tenant", async {
            let owner = world.bravo.owner_browser().await;
            told(&world.open(&owner, &query).await, REDIRECT, "st&te=1", &issuer, "access_denied")
        })
        .await;
    report
        .case("O-25", "the invitation is not accepted", async {
            let fields = [("email", "owner@bravo.example"), ("role", "developer")];
            world.owner.post("/t/acme/invitations", &fields).await.leads_to("/t/acme/members");
            let invited = world.bravo.owner_browser().await;
            told(&world.open(&invited, &query).await, REDIRECT, "st&te=1", &issuer, "access_denied")
        })
        .await;
    for role in [Role::Viewer, Role::Auditor] {
        report
            .case("O-25", format!("{role}s let nobody act"), async {
                let email = format!("{role}@acme.example");
                world.acme.member(&email, role).await;
                let person = Visitor::signed_in(&world.app.url, &email).await;
                told(&world.open(&person, &query).await, REDIRECT, "st&te=1", &issuer, "access_denied")
            })
            .await;
    }
    report
        .case("O-25", "the tenant is suspended", async {
            let suspended = world.app.tenant("suspended").await;
            suspended.agent("agent", "tools:read").await;
            let owner = suspended.owner_browser().await;
            let mut sql = world.app.sql().await;
            let set = "UPDATE app.tenants SET state = 'suspended' WHERE id = $1";
            sqlx::query(set).bind(suspended.id).execute(&mut sql).await.expect("suspended");
            crate::support::eventually("it is heard of", crate::support::SOON, async || {
                let page = world.open(&owner, &world.client.query(&suspended.mcp_url(), &[])).await;
                told(&page, REDIRECT, "st&te=1", &issuer, "access_denied").is_ok().then_some(())
            })
            .await;
            Ok(())
        })
        .await;
    report
        .case("O-25", "the agent is suspended", async {
            let agent = world.acme.agent("resting", "tools:read").await.id;
            let owner = world.acme.owner.clone();
            let set = async move |platform: trunkline_platform::Platform| {
                agents::set_state(&platform, &owner, agent, AgentState::Suspended).await.expect("suspended");
            };
            world.app.act(|platform| async move { set(platform).await }).await;
            let page = world.ask(&[]).await.ok();
            holds("it is not offered", !page.body.contains(&agent.to_string()), "offered")?;
            let agent = agent.to_string();
            let mut form = form(&page);
            form.iter_mut().filter(|(name, _)| name == "agent").for_each(|(_, value)| value.clone_from(&agent));
            let answer = send(&world.owner, &form).await;
            same("answer", (answer.status, answer.location()), (422, ""))
        })
        .await;
}

async fn confused(report: &mut Report, world: &World<'_>) {
    report
        .case("O-26", "what was allowed to one program is asked about for the next", async {
            world.code().await;
            let attacker = OAuthClient::register(world.app).await;
            let query = attacker.query(&world.acme.mcp_url(), &[]);
            is_asked(&world.open(&world.owner, &query).await)?;
            let silent = attacker.query(&world.acme.mcp_url(), &[("prompt", "none")]);
            let page = world.open(&world.owner, &silent).await;
            told(&page, REDIRECT, "st&te=1", &world.issuer(), "consent_required")
        })
        .await;
    report
        .case("O-26", "nothing that stands for consent is kept in the browser", async {
            let page = world.ask(&[]).await.ok();
            let cookies = |page: &Page| page.headers.get_all("set-cookie").iter().count();
            same("cookies of the page", cookies(&page), 0)?;
            let answer = send(&world.owner, &form(&page)).await;
            same("cookies of the answer", (answer.status, cookies(&answer)), (303, 0))
        })
        .await;
    report
        .case("O-26", "to open the page grants nothing", async {
            let mut sql = world.app.sql().await;
            let codes = "SELECT count(*) FROM app.authorization_codes";
            let before: i64 = sqlx::query_scalar(codes).fetch_one(&mut sql).await.expect("a count");
            is_asked(&world.ask(&[]).await)?;
            let after: i64 = sqlx::query_scalar(codes).fetch_one(&mut sql).await.expect("a count");
            same("codes", after, before)
        })
        .await;
}
