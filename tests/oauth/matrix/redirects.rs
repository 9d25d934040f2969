//! Where answers go, and where they never do (O-03 to O-08).

use serde_json::json;

use super::{
    report::{Report, fields, goes_nowhere, holds, refused, same, told},
    world::{WEB, World},
};
use crate::support::{
    Answer, http,
    oauth::{OAuthClient, REDIRECT, consent_form},
};

pub(super) async fn cases(report: &mut Report, world: &World<'_>) {
    untrusted(report, world).await;
    exact(report, world).await;
    registered(report, world).await;
    loopback(report, world).await;
    errors(report, world).await;
    answers(report, world).await;
    repeated(report, world).await;
}

async fn untrusted(report: &mut Report, world: &World<'_>) {
    for (what, id) in [
        ("no client", ""),
        ("a client that is not there", "nobody"),
        ("a registration that is not there", "tl_dcr_0000000000000000000000"),
        ("a manual client that is not there", "tl_client_x"),
        ("a client with a quote in its name", "'; DROP TABLE app.clients; --"),
        ("a client whose name is too long", &"x".repeat(600)),
    ] {
        report.case("O-03", what, async { goes_nowhere(&world.ask(&[("client_id", id)]).await) }).await;
    }
    report
        .case("O-03", "another client's redirect URI", async { goes_nowhere(&world.ask(&[("redirect_uri", WEB)]).await) })
        .await;
    report
        .case("O-03", "nothing at all", async {
            goes_nowhere(&world.open(&world.owner, "").await)?;
            goes_nowhere(&world.open(&world.owner, &"x".repeat(40_000)).await)
        })
        .await;
    report
        .case("O-03", "no redirect URI where there are two", async {
            let two = json!({ "redirect_uris": ["https://app.example/a", "https://app.example/b"], "token_endpoint_auth_method": "none" });
            let client = OAuthClient::register_with(world.app, two).await;
            goes_nowhere(&world.open(&world.owner, &client.query(&world.acme.mcp_url(), &[("redirect_uri", "")])).await)
        })
        .await;
    report
        .case("O-03", "the page does not repeat what it was sent", async {
            let evil = "https://evil.example/<script>alert(1)</script>";
            let page = world.ask(&[("redirect_uri", evil), ("state", "<script>alert(2)</script>")]).await;
            goes_nowhere(&page)?;
            holds("nothing of it", !page.body.contains("alert(") && !page.body.contains("evil.example"), page.body)
        })
        .await;
}

async fn exact(report: &mut Report, world: &World<'_>) {
    let metadata = json!({ "redirect_uris": [WEB], "token_endpoint_auth_method": "none" });
    let client = OAuthClient::register_with(world.app, metadata).await;
    for (what, uri) in [
        ("an extra path", "https://app.example/cb/extra"),
        ("a slash at the end", "https://app.example/cb/"),
        ("a query", "https://app.example/cb?x=1"),
        ("a fragment", "https://app.example/cb#x"),
        ("a user", "https://user@app.example/cb"),
        ("a user that looks like the host", "https://app.example@evil.example/cb"),
        ("another case of the host", "https://APP.example/cb"),
        ("another case of the path", "https://app.example/CB"),
        ("an encoded letter", "https://app.example/%63b"),
        ("an encoded dot", "https://app.example/%2e/cb"),
        ("dot segments", "https://app.example/x/../cb"),
        ("a wildcard", "https://*.example/cb"),
        ("another port", "https://app.example:8443/cb"),
        ("the default port", "https://app.example:443/cb"),
        ("another scheme", "http://app.example/cb"),
        ("no scheme", "//app.example/cb"),
        ("a path alone", "/cb"),
        ("two slashes", "https://app.example//cb"),
        ("a homograph", "https://\u{430}pp.example/cb"),
        ("a longer host", "https://app.example.evil.example/cb"),
        ("a subdomain", "https://x.app.example/cb"),
        ("a backslash", "https://app.example\\@evil.example/cb"),
        ("a script", "javascript:alert(1)"),
        ("data", "data:text/html,x"),
        ("an application's scheme", "app:/cb"),
        ("a space behind", "https://app.example/cb "),
        ("a line break", "https://app.example/cb\r\nLocation: https://evil.example"),
    ] {
        report
            .case("O-04", format!("asked with {what}"), async {
                let query = client.query(&world.acme.mcp_url(), &[("redirect_uri", uri)]);
                goes_nowhere(&world.open(&world.owner, &query).await)
            })
            .await;
    }
    report
        .case("O-04", "asked as it is registered", async {
            same("status", world.open(&world.owner, &client.query(&world.acme.mcp_url(), &[])).await.status, 200)
        })
        .await;
}

async fn registered(report: &mut Report, world: &World<'_>) {
    for (what, uri) in [
        ("a fragment", "https://app.example/cb#x"),
        ("an empty fragment", "https://app.example/cb#"),
        ("a user", "https://user:pw@app.example/cb"),
        ("a wildcard", "https://*.example/cb"),
        ("another case of the host", "https://APP.example/cb"),
        ("dot segments", "https://app.example/x/../cb"),
        ("encoded dot segments", "https://app.example/%2e%2e/cb"),
        ("a homograph", "https://\u{430}pp.example/cb"),
        ("plain HTTP", "http://app.example/cb"),
        ("an address", "https://192.0.2.7/cb"),
        ("a name that begins like loopback", "http://127.0.0.1.evil.example/cb"),
        ("a script", "javascript:alert(1)"),
        ("data", "data:text/html,x"),
        ("a file", "file:///etc/passwd"),
        ("a scheme that is no reverse domain name", "myapp:/cb"),
        ("no scheme", "//app.example/cb"),
        ("a path alone", "/cb"),
        ("nothing", ""),
    ] {
        report
            .case("O-04", format!("registered with {what}"), async {
                let body = json!({ "redirect_uris": [uri], "token_endpoint_auth_method": "none" });
                let answer =
                    http().post(format!("{}/oauth/register", world.app.url)).json(&body).send().await.expect("an answer");
                refused(&Answer::read(answer).await, 400, "invalid_redirect_uri")
            })
            .await;
    }
}

async fn loopback(report: &mut Report, world: &World<'_>) {
    for (what, registered, asked, is_taken) in [
        ("127.0.0.1 with any port", "http://127.0.0.1/cb", "http://127.0.0.1:49152/cb", true),
        ("127.0.0.1 with another port", "http://127.0.0.1:3000/cb", "http://127.0.0.1:3001/cb", true),
        ("[::1] with any port", "http://[::1]/cb", "http://[::1]:49152/cb", true),
        ("localhost as it is registered", "http://localhost:3000/cb", "http://localhost:3000/cb", true),
        ("localhost for 127.0.0.1", "http://127.0.0.1/cb", "http://localhost:49152/cb", false),
        ("127.0.0.1 for localhost", "http://localhost/cb", "http://127.0.0.1:49152/cb", false),
        ("[::1] for 127.0.0.1", "http://127.0.0.1/cb", "http://[::1]:49152/cb", false),
        ("another path", "http://127.0.0.1/cb", "http://127.0.0.1:49152/other", false),
        ("https", "http://127.0.0.1/cb", "https://127.0.0.1:49152/cb", false),
        ("a port that is none", "http://127.0.0.1/cb", "http://127.0.0.1:99999/cb", false),
        ("port nought", "http://127.0.0.1/cb", "http://127.0.0.1:0/cb", false),
        ("a host behind the port", "http://127.0.0.1/cb", "http://127.0.0.1:1@evil.example/cb", false),
        ("another address of the interface", "http://127.0.0.1/cb", "http://127.0.0.2:49152/cb", false),
    ] {
        report
            .case("O-05", what, async {
                let body = json!({ "redirect_uris": [registered], "token_endpoint_auth_method": "none" });
                let client = OAuthClient { redirect_uri: asked.to_owned(), ..OAuthClient::register_with(world.app, body).await };
                let query = client.query(&world.acme.mcp_url(), &[]);
                let page = world.open(&world.owner, &query).await;
                if !is_taken {
                    return goes_nowhere(&page);
                }
                same("status", page.status, 200)?;
                let location = client.consent(&world.owner, &query, &[]).await;
                holds("the answer goes to the port that was asked for", location.starts_with(&format!("{asked}?code=")), location)
            })
            .await;
    }
}

async fn errors(report: &mut Report, world: &World<'_>) {
    let (endpoint, issuer) = (world.acme.mcp_url(), world.issuer());
    let bravo = world.bravo.mcp_url();
    for (what, more, error) in [
        ("no response type", ("response_type", ""), "invalid_request"),
        ("another response type", ("response_type", "token"), "unsupported_response_type"),
        ("two response types", ("response_type", "code id_token"), "unsupported_response_type"),
        ("a request object", ("request", "x"), "invalid_request"),
        ("a request object elsewhere", ("request_uri", "https://evil.example/r"), "invalid_request"),
        ("the answer in a fragment", ("response_mode", "fragment"), "invalid_request"),
        ("the answer in a form", ("response_mode", "form_post"), "invalid_request"),
        ("a scope with a quote", ("scope", "\""), "invalid_scope"),
        ("scopes that nobody has", ("scope", "admin root"), "invalid_scope"),
        ("an endpoint that is not there", ("resource", "https://elsewhere.example/mcp"), "invalid_target"),
        ("an endpoint of others", ("resource", &bravo), "access_denied"),
        ("nobody may be asked", ("prompt", "none"), "consent_required"),
    ] {
        report.case("O-06", what, async { told(&world.ask(&[more]).await, REDIRECT, "st&te=1", &issuer, error) }).await;
    }
    report
        .case("O-06", "nobody is there and nobody may be asked", async {
            let query = world.client.query(&endpoint, &[("prompt", "none")]);
            let page = world.open(&crate::support::Visitor::new(&world.app.url), &query).await;
            told(&page, REDIRECT, "st&te=1", &issuer, "login_required")
        })
        .await;
    report
        .case("O-06", "the person says no", async {
            let page = world.ask(&[]).await.ok();
            let form = consent_form(&page.body);
            let mut form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            form.push(("decision", "deny"));
            told(&world.owner.post("/oauth/authorize", &form).await, REDIRECT, "st&te=1", &issuer, "access_denied")
        })
        .await;
    report
        .case("O-06", "303 and never 307 where something was posted", async {
            let page = world.ask(&[]).await.ok();
            let agent = page.between("name=\"agent\" value=\"", "\"").expect("an agent").to_owned();
            let form = consent_form(&page.body);
            let mut form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            form.extend([("agent", &*agent), ("hours", "8"), ("scopes", "tools:read"), ("decision", "allow")]);
            let given = world.owner.post("/oauth/authorize", &form).await;
            same("status", given.status, 303)?;
            let stranger = crate::support::Visitor::new(&world.app.url);
            let next = format!("/oauth/authorize?{}", world.client.query(&endpoint, &[]));
            let fields = [("email", "owner@acme.example"), ("password", crate::support::PASSWORD), ("next", &*next)];
            let logged_in = stranger.post("/login", &fields).await;
            // Not a redirect at all: nothing that was typed can go along.
            same("after the log-in", (logged_in.status, logged_in.location()), (200, ""))?;
            let leads_on = logged_in.body.contains("http-equiv=\"refresh\"") && logged_in.body.contains("/oauth/authorize?");
            holds("a page that leads on", leads_on, logged_in.body)
        })
        .await;
}

async fn answers(report: &mut Report, world: &World<'_>) {
    let issuer = world.issuer();
    let long = "s".repeat(1_000);
    for (what, state) in [
        ("plain", "abc123"),
        ("with everything that has a meaning in a query", "a b&c=d/+#?%26;\"'<>"),
        ("beyond ASCII", "zust\u{e4}nd \u{2713} \u{1f511}"),
        ("JSON in base64", "eyJub25jZSI6IjEyMyIsInIiOiIvIn0=="),
        ("long", &long),
    ] {
        report
            .case("O-07", format!("a state comes back as it was: {what}"), async {
                let query = world.client.query(&world.acme.mcp_url(), &[("state", state)]);
                let location = world.client.consent(&world.owner, &query, &[]).await;
                let names: Vec<String> = fields(&location).into_iter().map(|(name, _)| name).collect();
                same("fields", names, vec!["code".to_owned(), "state".to_owned(), "iss".to_owned()])?;
                let fields = fields(&location);
                same("state and iss", (fields[1].1.as_str(), fields[2].1.as_str()), (state, issuer.as_str()))?;
                told(
                    &world.ask(&[("state", state), ("response_type", "token")]).await,
                    REDIRECT,
                    state,
                    &issuer,
                    "unsupported_response_type",
                )
            })
            .await;
    }
    report
        .case("O-07", "no state, no state", async {
            let query = world.client.query(&world.acme.mcp_url(), &[("state", "")]);
            let location = world.client.consent(&world.owner, &query, &[]).await;
            let names: Vec<String> = fields(&location).into_iter().map(|(name, _)| name).collect();
            same("fields", names, vec!["code".to_owned(), "iss".to_owned()])
        })
        .await;
    report
        .case("O-07", "a redirect URI with a query keeps it", async {
            let uri = "https://app.example/cb?tenant=1";
            let body = json!({ "redirect_uris": [uri], "token_endpoint_auth_method": "none" });
            let client = OAuthClient::register_with(world.app, body).await;
            let location = client.consent(&world.owner, &client.query(&world.acme.mcp_url(), &[]), &[]).await;
            holds("its query, then ours", location.starts_with(&format!("{uri}&code=")), location)
        })
        .await;
}

async fn repeated(report: &mut Report, world: &World<'_>) {
    let base = world.client.query(&world.acme.mcp_url(), &[]);
    for name in ["client_id", "redirect_uri", "state", "scope", "resource", "code_challenge", "response_type"] {
        report
            .case("O-08", format!("{name} twice"), async {
                goes_nowhere(&world.open(&world.owner, &format!("{base}&{name}=x")).await)
            })
            .await;
    }
    report
        .case("O-08", "the same value twice is twice", async {
            goes_nowhere(&world.open(&world.owner, &format!("{base}&response_type=code")).await)
        })
        .await;
    for name in ["grant_type", "client_id", "code", "resource"] {
        report
            .case("O-08", format!("{name} twice at the token endpoint"), async {
                let fields = [
                    ("grant_type", "authorization_code"),
                    ("code", "x"),
                    ("client_id", &*world.client.id),
                    ("resource", "x"),
                    (name, "y"),
                ];
                let answer = world.form("/oauth/token", &fields).send().await.expect("an answer");
                refused(&Answer::read(answer).await, 400, "invalid_request")
            })
            .await;
    }
}
