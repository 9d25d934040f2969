//! Where clients come from: documents at their address (C-01 to C-05), and registrations (C-10).

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{
    report::{Report, Seen, goes_nowhere, holds, refused, same},
    world::World,
};
use crate::support::{
    Answer, TestApp, Visitor, http,
    oauth::{OAuthClient, REDIRECT},
    published::Published,
};

pub(super) async fn cases(report: &mut Report, world: &World<'_>) {
    addresses(report, world).await;
    fetched(report, world).await;
    documents(report, world).await;
    kept(report, world).await;
    registrations(report, world).await;
    tolerated(report, world).await;
    bounded(report, world).await;
}

/// The client of a document.
fn documented(world: &World<'_>, id: &str) -> OAuthClient {
    OAuthClient {
        url: world.app.url.clone(),
        id: id.to_owned(),
        secret: None,
        redirect_uri: "http://127.0.0.1:4711/callback".to_owned(),
    }
}

/// Who comes with that document gets no redirect, and at the token endpoint is nobody.
async fn is_nobody(world: &World<'_>, id: &str) -> Seen {
    // Each host is asked a few times a minute only, and all of these are one.
    world.app.clock.advance(TimeDelta::seconds(61));
    let client = documented(world, id);
    goes_nowhere(&world.open(&world.owner, &client.query(&world.acme.mcp_url(), &[])).await)?;
    refused(&client.refresh("tl_refresh_x").await, 401, "invalid_client")
}

async fn addresses(report: &mut Report, world: &World<'_>) {
    // As in production: neither plain HTTP nor private addresses.
    let strict = world.app.with_settings(&[("EGRESS_ALLOW_HTTP", "false"), ("EGRESS_ALLOW", "")]).await;
    let visitor = Visitor::new(&strict.url);
    let authority = world.upstream.addr;
    let before = world.upstream.seen().len();
    for (what, id) in [
        ("plain HTTP", format!("http://{authority}/client/good")),
        ("another scheme", "ftp://app.example/client".to_owned()),
        ("no path", "https://app.example".to_owned()),
        ("an empty path", "https://app.example/".to_owned()),
        ("a user", "https://user@app.example/client".to_owned()),
        ("a user and a password", "https://user:pw@app.example/client".to_owned()),
        ("a fragment", "https://app.example/client#x".to_owned()),
        ("a dot segment", "https://app.example/./client".to_owned()),
        ("two dots", "https://app.example/x/../client".to_owned()),
        ("encoded dots", "https://app.example/%2e%2e/client".to_owned()),
        ("another port", "https://app.example:8443/client".to_owned()),
        ("a loopback address", format!("https://127.0.0.1:{}/client/good", authority.port())),
        ("an address", "https://192.0.2.7/client".to_owned()),
        ("an address of IPv6", "https://[::1]/client".to_owned()),
        ("an address as a number", "https://2130706433/client".to_owned()),
        ("an address in hexadecimal", "https://0x7f.1/client".to_owned()),
        ("a name without a dot", "https://localhost/client".to_owned()),
        ("capitals", "https://APP.example/client".to_owned()),
        ("one slash", "https:/app.example/client".to_owned()),
        ("a backslash", "https://app.example\\client".to_owned()),
        ("more than 512 bytes", format!("https://app.example/{}", "x".repeat(512))),
        ("the metadata service", "http://169.254.169.254/latest/meta-data".to_owned()),
    ] {
        report
            .case("C-01", what, async {
                let query = documented(world, &id).query(&world.acme.mcp_url(), &[]);
                let page = visitor.get(&format!("/oauth/authorize?{query}")).await;
                goes_nowhere(&page)?;
                holds("not fetched", !page.body.contains("client_id cannot be used"), page.between("<main", "</main>"))?;
                let form = [("grant_type", "refresh_token"), ("refresh_token", "x"), ("client_id", &*id)];
                let answer = http().post(format!("{}/oauth/token", strict.url)).form(&form).send().await.expect("an answer");
                refused(&Answer::read(answer).await, 401, "invalid_client")
            })
            .await;
    }
    report
        .case("C-01", "nobody was asked for any of them", async { same("requests", world.upstream.seen().len(), before) })
        .await;
    private(report, world).await;
}

async fn private(report: &mut Report, world: &World<'_>) {
    let guarded = world.app.with_settings(&[("EGRESS_ALLOW", "")]).await;
    let visitor = Visitor::new(&guarded.url);
    let port = world.upstream.addr.port();
    let before = world.upstream.seen().len();
    for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "0.0.0.0", "169.254.169.254", "10.0.0.1"] {
        report
            .case("C-02", format!("{host} is not asked"), async {
                world.app.clock.advance(TimeDelta::seconds(61));
                let query = documented(world, &format!("http://{host}:{port}/client/private")).query(&world.acme.mcp_url(), &[]);
                goes_nowhere(&visitor.get(&format!("/oauth/authorize?{query}")).await)?;
                same("requests", world.upstream.seen().len(), before)
            })
            .await;
    }
}

async fn fetched(report: &mut Report, world: &World<'_>) {
    for (what, path) in [
        ("not there", "/status/404"),
        ("broken", "/status/500"),
        ("empty", "/status/204"),
        ("behind a bot check", "/status/403"),
        ("elsewhere", "/redirect"),
        ("an image", "/image"),
        ("of no kind", "/untyped"),
        ("larger than 32 KiB", "/client/large"),
        ("larger than anything", "/huge"),
        ("endless", "/endless"),
        ("no HTTP", "/garbage"),
        ("cut short", "/cut"),
        ("about nobody", "/json"),
        ("never answered", "/hang"),
    ] {
        report
            .case("C-02", format!("a document that is {what}"), async { is_nobody(world, &world.upstream.url(path)).await })
            .await;
    }
    report
        .case("C-02", "a redirect is not followed", async {
            let before = world.upstream.seen().len();
            is_nobody(world, &world.upstream.url("/redirect/again")).await?;
            let lines: Vec<String> = world.upstream.seen().split_off(before).into_iter().map(|seen| seen.line).collect();
            same("requests", lines, vec!["GET /redirect/again".to_owned()])
        })
        .await;
    report
        .case("C-02", "whoever has it learns nothing of the person", async {
            world.app.clock.advance(TimeDelta::seconds(61));
            let before = world.upstream.seen().len();
            let client = documented(world, &world.upstream.url("/client/curious"));
            let page = world.open(&world.owner, &client.query(&world.acme.mcp_url(), &[])).await;
            same("page", page.status, 200)?;
            let seen = world.upstream.seen().split_off(before);
            let is_plain = |head: &str| ["cookie", "authorization", "referer"].iter().all(|name| !head.contains(name));
            holds("one plain request", seen.len() == 1 && seen.iter().all(|one| is_plain(&one.head)), &seen)?;
            holds("not packed", seen.iter().all(|one| one.head.contains("accept-encoding: identity")), &seen)
        })
        .await;
}

async fn documents(report: &mut Report, world: &World<'_>) {
    let published = Published::start().await;
    let good = |id: &str| {
        json!({ "client_id": id, "client_name": "Documented", "redirect_uris": ["http://127.0.0.1/callback"],
            "token_endpoint_auth_method": "none" })
    };
    for (i, (what, name, value)) in [
        ("another client_id", "client_id", json!("https://elsewhere.example/client")),
        ("a client_id with a slash", "client_id", json!(published.url("/1/"))),
        ("no client_id", "client_id", Value::Null),
        ("a client_id in a list", "client_id", json!([published.url("/3")])),
        ("a secret", "client_secret", json!("x")),
        ("a secret that expires", "client_secret_expires_at", json!(0)),
        ("a symmetric way", "token_endpoint_auth_method", json!("client_secret_basic")),
        ("another symmetric way", "token_endpoint_auth_method", json!("client_secret_jwt")),
        ("keys that are not there", "token_endpoint_auth_method", json!("private_key_jwt")),
        ("no name", "client_name", Value::Null),
        ("an empty name", "client_name", json!(" ")),
        ("a number as name", "client_name", json!(7)),
        ("no redirect URI", "redirect_uris", Value::Null),
        ("none of them", "redirect_uris", json!([])),
        ("a text for them", "redirect_uris", json!("http://127.0.0.1/callback")),
        ("a script among them", "redirect_uris", json!(["http://127.0.0.1/callback", "javascript:alert(1)"])),
        ("a wildcard among them", "redirect_uris", json!(["http://127.0.0.1/callback", "https://*.example/cb"])),
        ("plain HTTP among them", "redirect_uris", json!(["http://127.0.0.1/callback", "http://app.example/cb"])),
        ("a logo by plain HTTP", "logo_uri", json!("http://app.example/logo.png")),
        ("a logo in itself", "logo_uri", json!("data:image/png;base64,AAAA")),
        ("a page by plain HTTP", "client_uri", json!("http://app.example/")),
        ("terms that are a script", "tos_uri", json!("javascript:alert(1)")),
    ]
    .into_iter()
    .enumerate()
    {
        report
            .case("C-03", format!("a document with {what}"), async {
                let path = format!("/{i}");
                let id = published.url(&path);
                let mut document = good(&id);
                document[name] = value;
                published.put(&path, document);
                is_nobody(world, &id).await
            })
            .await;
    }
    report
        .case("C-03", "a document that is no object", async {
            published.put("/list", json!([1]));
            is_nobody(world, &published.url("/list")).await
        })
        .await;
    report
        .case("C-03", "a good one, and nothing of others is shown to the browser", async {
            world.app.clock.advance(TimeDelta::seconds(61));
            let id = published.url("/good");
            let mut document = good(&id);
            document["logo_uri"] = json!("https://tracker.example/logo.png");
            document["client_name"] = json!("<b>Bold</b>");
            published.put("/good", document);
            let page = world.open(&world.owner, &documented(world, &id).query(&world.acme.mcp_url(), &[])).await.ok();
            let host = id.trim_start_matches("http://").split('/').next().unwrap_or_default().to_owned();
            let clean = !page.body.contains("tracker.example") && !page.body.contains("<b>Bold");
            holds("its host, its name as text, no logo", clean && page.body.contains(&host) && page.body.contains("Bold"), "")
        })
        .await;
    report
        .case("C-03", "its redirect URIs are compared like any other", async {
            let client = documented(world, &published.url("/good"));
            for uri in ["http://127.0.0.1:4711/callback/", "http://localhost:4711/callback", "https://evil.example/cb"] {
                goes_nowhere(&world.open(&world.owner, &client.query(&world.acme.mcp_url(), &[("redirect_uri", uri)])).await)?;
            }
            Ok(())
        })
        .await;
}

async fn kept(report: &mut Report, world: &World<'_>) {
    let asked = |path: &str| world.upstream.seen().iter().filter(|seen| seen.line == format!("GET {path}")).count();
    let open = async |path: &str| {
        let client = documented(world, &world.upstream.url(path));
        world.open(&world.owner, &client.query(&world.acme.mcp_url(), &[])).await.status
    };
    world.app.clock.advance(TimeDelta::seconds(61));
    report
        .case("C-04", "what was fetched is kept for an hour when nothing else is said", async {
            same("pages", (open("/client/kept").await, open("/client/kept").await), (200, 200))?;
            world.app.clock.advance(TimeDelta::minutes(59));
            same("page", open("/client/kept").await, 200)?;
            same("requests", asked("/client/kept"), 1)?;
            world.app.clock.advance(TimeDelta::minutes(2));
            same("page", open("/client/kept").await, 200)?;
            same("requests", asked("/client/kept"), 2)
        })
        .await;
    report
        .case("C-04", "a failure is believed for ten seconds", async {
            same("pages", (open("/client/other").await, open("/client/other").await), (400, 400))?;
            let before = asked("/client/other");
            world.app.clock.advance(TimeDelta::seconds(11));
            same("page", open("/client/other").await, 400)?;
            same("requests", asked("/client/other"), before + 1)
        })
        .await;
    report
        .case("C-04", "eight at once are one", async {
            world.app.clock.advance(TimeDelta::seconds(61));
            let pages = futures_util::future::join_all((0..8).map(|_| open("/client/together"))).await;
            same("pages", pages, vec![200; 8])?;
            same("requests", asked("/client/together"), 1)
        })
        .await;
    report
        .case("C-04", "a host is asked ten times a minute", async {
            world.app.clock.advance(TimeDelta::seconds(61));
            let mut pages = Vec::new();
            for i in 0..12 {
                pages.push(open(&format!("/client/many{i}")).await);
            }
            same("pages", pages, [vec![200; 10], vec![400; 2]].concat())?;
            same("the last one", asked("/client/many11"), 0)?;
            world.app.clock.advance(TimeDelta::seconds(61));
            same("a minute later", open("/client/many11").await, 200)
        })
        .await;
    report.case("C-05", "no document, no redirect, nobody", async { is_nobody(world, "http://127.0.0.1:1/client").await }).await;
}

async fn register(app: &TestApp, body: String, kind: &str) -> Answer {
    let request = http().post(format!("{}/oauth/register", app.url)).header("content-type", kind).body(body);
    Answer::read(request.send().await.expect("an answer")).await
}

async fn registrations(report: &mut Report, world: &World<'_>) {
    for (what, body, kind) in [
        ("no JSON", "{".to_owned(), "application/json"),
        ("nothing", String::new(), "application/json"),
        ("a list", "[]".to_owned(), "application/json"),
        ("a text", "\"x\"".to_owned(), "application/json"),
        ("a form", "redirect_uris=x".to_owned(), "application/x-www-form-urlencoded"),
        ("of no kind", "{}".to_owned(), ""),
        ("larger than 8 KiB", format!("{{\"x\":\"{}\"}}", "x".repeat(9_000)), "application/json"),
        ("deep", format!("{{\"x\":{}{}}}", "[".repeat(200), "]".repeat(200)), "application/json"),
    ] {
        report
            .case("C-10", format!("a registration that is {what}"), async {
                refused(&register(world.app, body, kind).await, 400, "invalid_client_metadata")
            })
            .await;
    }
    let many: Vec<String> = (0..33).map(|i| format!("https://app.example/{i}")).collect();
    let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": "AAAA" }] });
    for (what, more, error) in [
        ("no redirect URI", json!({ "redirect_uris": null }), "invalid_redirect_uri"),
        ("none of them", json!({ "redirect_uris": [] }), "invalid_redirect_uri"),
        ("too many of them", json!({ "redirect_uris": many }), "invalid_redirect_uri"),
        ("a text for them", json!({ "redirect_uris": REDIRECT }), "invalid_client_metadata"),
        ("numbers among them", json!({ "redirect_uris": [1] }), "invalid_client_metadata"),
        ("a number as name", json!({ "client_name": 7 }), "invalid_client_metadata"),
        ("another way to prove", json!({ "token_endpoint_auth_method": "client_secret_jwt" }), "invalid_client_metadata"),
        ("a certificate", json!({ "token_endpoint_auth_method": "tls_client_auth" }), "invalid_client_metadata"),
        ("keys that are missing", json!({ "token_endpoint_auth_method": "private_key_jwt" }), "invalid_client_metadata"),
        (
            "keys twice",
            json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": keys, "jwks_uri": "https://a.example/k" }),
            "invalid_client_metadata",
        ),
        (
            "keys by plain HTTP",
            json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "http://a.example/k" }),
            "invalid_client_metadata",
        ),
        (
            "no keys among keys",
            json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [] } }),
            "invalid_client_metadata",
        ),
        ("grants of services", json!({ "grant_types": ["client_credentials"] }), "invalid_client_metadata"),
        ("an implicit grant", json!({ "response_types": ["token"], "grant_types": ["implicit"] }), "invalid_client_metadata"),
        ("a response that is none", json!({ "response_types": ["token"] }), "invalid_client_metadata"),
    ] {
        report
            .case("C-10", format!("a registration with {what}"), async {
                let mut body = json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none" });
                for (name, value) in more.as_object().into_iter().flatten() {
                    body[name] = value.clone();
                }
                refused(&register(world.app, body.to_string(), "application/json").await, 400, error)
            })
            .await;
    }
}

async fn tolerated(report: &mut Report, world: &World<'_>) {
    for (what, more, method) in [
        ("the least", json!({}), "client_secret_basic"),
        ("a secret by form", json!({ "token_endpoint_auth_method": "client_secret_post" }), "client_secret_post"),
        ("no secret", json!({ "token_endpoint_auth_method": "none" }), "none"),
        ("an application type", json!({ "token_endpoint_auth_method": "none", "application_type": "native" }), "none"),
        (
            "members that nobody knows",
            json!({ "token_endpoint_auth_method": "none", "x": [1], "software_id": "y", "contacts": [] }),
            "none",
        ),
        (
            "members that are null",
            json!({ "token_endpoint_auth_method": "none", "client_name": null, "jwks": null, "scope": null }),
            "none",
        ),
        (
            "grants of others beside ours",
            json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"] }),
            "none",
        ),
        ("a page by plain HTTP", json!({ "token_endpoint_auth_method": "none", "client_uri": "http://localhost:3000" }), "none"),
        (
            "an editor's scheme",
            json!({ "token_endpoint_auth_method": "none", "redirect_uris": ["cursor://anysphere.cursor-mcp/oauth/callback"] }),
            "none",
        ),
    ] {
        report
            .case("C-10", format!("taken: {what}"), async {
                let mut body = json!({ "redirect_uris": ["http://localhost:1/cb"] });
                for (name, value) in more.as_object().into_iter().flatten() {
                    body[name] = value.clone();
                }
                let answer = register(world.app, body.to_string(), "application/json; charset=utf-8").await;
                same("status", (answer.status, answer.header("cache-control")), (201, "no-store"))?;
                let it = &answer.json;
                same("method", it["token_endpoint_auth_method"].as_str(), Some(method))?;
                same("a secret where there is one", it["client_secret"].is_string(), method != "none")?;
                same("redirect URIs", &it["redirect_uris"], &body["redirect_uris"])?;
                let manages = ["registration_client_uri", "registration_access_token"].iter().any(|name| it.get(name).is_some());
                holds("nothing that is not there is promised", !manages, &answer.text)
            })
            .await;
    }
    for (what, name, shown) in [
        ("turned around", "\u{202e}Evil\u{202c} App", "Evil App"),
        ("with what is not seen", "Ev\u{200b}il\u{feff} App", "Evil App"),
        ("on several lines", "Evil\r\nApp\u{7}", "EvilApp"),
        ("long", &"x".repeat(100), &"x".repeat(64)),
        ("nothing but blanks", " \t ", "A client without a name"),
    ] {
        report
            .case("C-10", format!("a name that is {what}"), async {
                let body = json!({ "redirect_uris": [REDIRECT], "client_name": name, "token_endpoint_auth_method": "none" });
                let answer = register(world.app, body.to_string(), "application/json").await;
                same("name", (answer.status, &answer.json["client_name"]), (201, &json!(shown)))
            })
            .await;
    }
    report
        .case("C-10", "an unknown client learns that it has to register again", async {
            let gone = OAuthClient { id: "tl_dcr_0000000000000000000000".to_owned(), ..world.client.clone() };
            refused(&gone.refresh("tl_refresh_x").await, 401, "invalid_client")
        })
        .await;
}

async fn bounded(report: &mut Report, world: &World<'_>) {
    let limited = world
        .app
        .with_settings(&[
            ("QUOTA_ATTEMPTS_REGISTRATIONS_PER_IP_PER_HOUR", "10"),
            ("HTTP_BEHIND_PROXY", "true"),
            ("HTTP_TRUSTED_PROXIES", "127.0.0.1/32"),
            // A replica that has just started on a busy machine finds Redis late, and counts by its own share while it thinks so: half of the ten.
            ("REDIS_TIMEOUT_MS", "10000"),
            // One that answers later than decisions are waited for is not taken to be back.
            ("REDIS_DECISION_MS", "10000"),
        ])
        .await;
    report
        .case("C-10", "ten an hour from one address", async {
            let send = async |from: &str| {
                let body = json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none" });
                let request = http().post(format!("{}/oauth/register", limited.url)).header("x-forwarded-for", from).json(&body);
                Answer::read(request.send().await.expect("an answer")).await
            };
            for sent in 1..=10 {
                let within = send("203.0.113.7").await;
                if within.status != 201 {
                    // What it decided by its own share, without Redis, is another count than the one that is looked at.
                    let alone = limited.counted("trunkline_degraded_decisions").await;
                    return Err(format!("{sent}: {} {:?}, {alone} without redis", within.status, within.header("retry-after")));
                }
            }
            let over = send("203.0.113.7").await;
            let wait: u64 = over.header("retry-after").parse().unwrap_or_default();
            same("over", over.status, 429)?;
            holds("it says when", wait > 0 && wait <= 3_600, wait)?;
            same("another address", send("203.0.113.8").await.status, 201)?;
            same("what the client writes itself means nothing", send("198.51.100.1, 203.0.113.7").await.status, 429)
        })
        .await;
}
