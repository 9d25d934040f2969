//! Tokens at the endpoint: challenges, what is no token, whom a token is for, what it opens (A-01 to A-10).

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use hmac::Mac as _;
use jsonwebtoken::Algorithm;
use reqwest::Method;
use serde_json::{Value, json};
use trunkline_platform::oauth::NewProof;

use super::{
    report::{Report, Seen, holds, same},
    world::{SigningKey, World, encode, part},
};
use crate::support::{
    Answer, http,
    oauth::{TokenPair, answer_of},
    signer::Signer,
};

pub(super) async fn cases(report: &mut Report, world: &World<'_>) {
    missing(report, world).await;
    forms(report, world).await;
    wrong(report, world).await;
    let tokens = world.connect(&["tools:read"]).await;
    let key = SigningKey::of(world.app, &tokens.access).await;
    headers(report, world, &tokens.access, &key).await;
    claims(report, world, &tokens.access, &key).await;
    times(report, world, &tokens.access, &key).await;
    audiences(report, world, &tokens.access).await;
    scopes(report, world).await;
    passed_on(report, world).await;
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    Answer::read(request.send().await.expect("an answer")).await
}

/// 401 with exactly that challenge.
fn challenged(world: &World<'_>, answer: &Answer, is_wrong: bool) -> Seen {
    same("challenge", (answer.status, answer.header("www-authenticate")), (401, &*world.challenge(is_wrong)))
}

async fn missing(report: &mut Report, world: &World<'_>) {
    let url = world.acme.mcp_url();
    let bare = |verb: Method| http().request(verb, &url).header("accept", "application/json, text/event-stream");
    for (what, request) in [
        ("the first message", world.first(&url)),
        ("a stream", bare(Method::GET)),
        ("the end of a session", bare(Method::DELETE).header("mcp-session-id", "x")),
        ("a message that is no JSON", bare(Method::POST).header("content-type", "application/json").body("{")),
        ("no message", bare(Method::POST)),
        ("a token in the query", world.first(&format!("{url}?access_token=x"))),
        ("a token in a cookie", world.first(&url).header("cookie", "access_token=x; Authorization=Bearer x")),
    ] {
        report
            .case("A-01", format!("nothing was shown: {what}"), async { challenged(world, &answer(request).await, false) })
            .await;
    }
    report
        .case("A-01", "the challenge leads to what the endpoint says of itself", async {
            let seen = answer(world.first(&url)).await;
            let challenge = seen.header("www-authenticate").to_owned();
            let metadata = challenge.split("resource_metadata=\"").nth(1).and_then(|rest| rest.split('"').next());
            let document = answer(http().get(metadata.unwrap_or_default())).await;
            same("resource", &document.json["resource"], &json!(url))
        })
        .await;
    report
        .case("A-01", "a tenant that is not there is challenged in the same way", async {
            let nobody = answer(world.first(&url.replace("/t/acme/", "/t/nobody/"))).await;
            let there = answer(world.first(&url)).await;
            same("status", (nobody.status, &nobody.text), (401, &there.text))?;
            same("challenge", nobody.header("www-authenticate").replace("/t/nobody/", "/t/acme/"), world.challenge(false))
        })
        .await;
}

async fn forms(report: &mut Report, world: &World<'_>) {
    let token = world.connect(&["tools:read"]).await.access;
    let (url, long) = (world.acme.mcp_url(), "x".repeat(9_000));
    for (what, values) in [
        ("a tab", vec![format!("Bearer\t{token}")]),
        ("two spaces", vec![format!("Bearer  {token}")]),
        ("no space", vec![format!("Bearer{token}")]),
        ("no token", vec!["Bearer".to_owned()]),
        ("an empty token", vec!["Bearer ".to_owned()]),
        ("the token alone", vec![token.clone()]),
        ("another scheme", vec![format!("Basic {token}")]),
        ("a longer scheme", vec![format!("Bearers {token}")]),
        ("two headers", vec![format!("Bearer {token}"), format!("Bearer {token}")]),
        ("two tokens", vec![format!("Bearer {token} {token}")]),
        ("a list", vec![format!("Bearer {token}, Bearer {token}")]),
        ("quotes", vec![format!("Bearer \"{token}\"")]),
        ("a parameter", vec![format!("Bearer token={token}")]),
        ("more than 8 KiB", vec![format!("Bearer {token}{long}")]),
        ("characters of no token", vec!["Bearer \u{e4}\u{f6}\u{fc}".to_owned()]),
    ] {
        report
            .case("A-02", what, async {
                let request = values.iter().fold(world.first(&url), |request, value| request.header("authorization", value));
                let seen = answer(request).await;
                // The server below may refuse a head that is too large before anything looks at it.
                if what == "more than 8 KiB" && matches!(seen.status, 400 | 431) {
                    return Ok(());
                }
                challenged(world, &seen, true)
            })
            .await;
    }
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        report
            .case("A-02", format!("{scheme} is the scheme"), async {
                let seen = world.list(&url, &[("authorization", &format!("{scheme} {token}"))]).await;
                same("tools", seen.tool_names(), vec!["echo", "fetches"])
            })
            .await;
    }
}

async fn wrong(report: &mut Report, world: &World<'_>) {
    let live = world.connect(&["tools:read"]).await;
    let revoked = world.connect(&["tools:read"]).await;
    assert_eq!(world.client.post("/oauth/revoke", &[("token", &revoked.refresh)]).await.status, 200);
    let expired = world.connect(&["tools:read"]).await;
    let (mut tampered, key) = (live.access.clone().into_bytes(), world.agent.key.clone());
    let last = tampered.len() - 10;
    tampered[last] = if tampered[last] == b'A' { b'B' } else { b'A' };
    world.app.clock.advance(TimeDelta::seconds(931));
    let mut bodies = BTreeSet::new();
    for (what, token) in [
        ("nonsense", "x".to_owned()),
        ("three parts of nonsense", "a.b.c".to_owned()),
        ("an unsigned token", "eyJhbGciOiJub25lIn0.e30.".to_owned()),
        ("a tampered one", String::from_utf8(tampered).expect("ASCII")),
        ("an expired one", expired.access),
        ("a revoked one", revoked.access),
        ("a refresh token", live.refresh),
        ("a key that is not there", crate::support::oauth::other_end(&key)),
        ("a client's secret", world.web.secret.clone().expect("a secret")),
    ] {
        report
            .case("A-03", what, async {
                let request = world.first(&world.acme.mcp_url()).bearer_auth(&token);
                let seen = answer(request).await;
                bodies.insert(seen.text.clone());
                challenged(world, &seen, true)
            })
            .await;
    }
    report.case("A-03", "none is told from another", async { same("bodies", bodies.len(), 1) }).await;
}

async fn dead(world: &World<'_>, token: &str, good: &str) -> Seen {
    challenged(world, &answer(world.first(&world.acme.mcp_url()).bearer_auth(token)).await, true)?;
    // The check is on the wrong thing only: the right one goes on working.
    let seen = answer(world.first(&world.acme.mcp_url()).bearer_auth(good)).await;
    same("the good one", seen.status, 200)
}

async fn headers(report: &mut Report, world: &World<'_>, good: &str, key: &SigningKey) {
    let (header, claims) = (part(good, 0), part(good, 1));
    let evil = world.upstream.url("/jwks");
    let before = world.upstream.seen().len();
    report
        .case("A-04", "as it is, signed once more: the signature is deterministic, and good", async {
            world.works(&key.sign(&header, &claims)).await
        })
        .await;
    for (what, name, value) in [
        ("alg none", "alg", json!("none")),
        ("alg None", "alg", json!("None")),
        ("alg HS256", "alg", json!("HS256")),
        ("alg RS256", "alg", json!("RS256")),
        ("alg ES256", "alg", json!("ES256")),
        ("alg in a list", "alg", json!(["EdDSA"])),
        ("no alg", "alg", Value::Null),
        ("typ JWT", "typ", json!("JWT")),
        ("no typ", "typ", Value::Null),
        ("typ of an ID-JAG", "typ", json!("oauth-id-jag+jwt")),
        ("an unknown kid", "kid", json!("unknown")),
        ("no kid", "kid", Value::Null),
        ("a path as kid", "kid", json!("../../../dev/null")),
        ("an address as kid", "kid", json!(evil)),
        ("SQL as kid", "kid", json!("' UNION SELECT 'key' --")),
        ("jku", "jku", json!(evil)),
        ("jwk", "jwk", Signer::new(Algorithm::EdDSA).jwk),
        ("x5u", "x5u", json!(evil)),
        ("x5c", "x5c", json!(["MIIB"])),
        ("crit", "crit", json!(["exp"])),
    ] {
        report
            .case("A-04", format!("well signed, but {what}"), async {
                let mut changed = header.clone();
                changed[name] = value;
                if changed[name].is_null() {
                    drop(changed.as_object_mut().and_then(|header| header.remove(name)));
                }
                dead(world, &key.sign(&changed, &claims), good).await
            })
            .await;
    }
    report
        .case("A-04", "nothing was fetched for any of them", async { same("requests", world.upstream.seen().len(), before) })
        .await;
    let text = |token: &str| token.rsplit_once('.').map(|(text, _)| text.to_owned()).unwrap_or_default();
    let jwks = world.get("/oauth/jwks").await;
    let public = jwks.json["keys"][0]["x"].as_str().unwrap_or_default().to_owned();
    let symmetric = |secret: &[u8]| {
        let mut header = header.clone();
        header["alg"] = json!("HS256");
        let text = format!("{}.{}", encode(&header), encode(&claims));
        let mut mac = <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(secret).expect("a key");
        mac.update(text.as_bytes());
        format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    };
    let stranger = Signer::new(Algorithm::EdDSA);
    let mut own = jsonwebtoken::Header::new(Algorithm::EdDSA);
    (own.typ, own.kid) = (Some("at+jwt".to_owned()), Some(key.kid.clone()));
    for (what, token) in [
        ("no signature", format!("{}.", text(good))),
        ("no third part", text(good)),
        ("a signature that is cut", good[..good.len() - 4].to_owned()),
        ("a signature with padding", format!("{good}==")),
        ("a signature of noughts", format!("{}.{}", text(good), BASE64_URL_SAFE_NO_PAD.encode([0; 64]))),
        ("a fourth part", format!("{good}.e30")),
        ("a stranger's signature", stranger.sign("at+jwt", &claims)),
        ("a stranger's signature with its key in the header", stranger.sign_with_key("at+jwt", &claims)),
        ("HS256 with the public key", symmetric(public.as_bytes())),
        ("HS256 with the bytes of the public key", symmetric(&BASE64_URL_SAFE_NO_PAD.decode(&public).expect("base64"))),
        ("HS256 with the key set", symmetric(jwks.text.as_bytes())),
        ("alg none and no signature", {
            let mut header = header.clone();
            header["alg"] = json!("none");
            format!("{}.{}.", encode(&header), encode(&claims))
        }),
        ("alg twice", {
            let twice = format!(r#"{{"alg":"EdDSA","alg":"none","typ":"at+jwt","kid":"{}"}}"#, key.kid);
            format!("{}.{}.", BASE64_URL_SAFE_NO_PAD.encode(twice), encode(&claims))
        }),
    ] {
        report.case("A-04", what, async { dead(world, &token, good).await }).await;
    }
}

async fn claims(report: &mut Report, world: &World<'_>, good: &str, key: &SigningKey) {
    let (header, claims) = (part(good, 0), part(good, 1));
    for name in ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope", "tenant", "grant"] {
        report
            .case("A-04", format!("well signed, without {name}"), async {
                let mut changed = claims.clone();
                drop(changed.as_object_mut().and_then(|claims| claims.remove(name)));
                dead(world, &key.sign(&header, &changed), good).await
            })
            .await;
    }
    let (issuer, endpoint, bravo) = (world.issuer(), world.acme.mcp_url(), world.bravo.mcp_url());
    for (what, name, value) in [
        ("another issuer", "iss", json!("https://evil.example/oauth")),
        ("the issuer with a slash", "iss", json!(format!("{issuer}/"))),
        ("the issuer in capitals", "iss", json!(issuer.to_uppercase())),
        ("the origin as issuer", "iss", json!(world.app.url)),
        ("an issuer in a list", "iss", json!([issuer])),
        ("another tenant's endpoint", "aud", json!(bravo)),
        ("our endpoint and another", "aud", json!([endpoint, bravo])),
        ("our endpoint in a list", "aud", json!([endpoint])),
        ("the endpoint with a slash", "aud", json!(format!("{endpoint}/"))),
        ("the origin as audience", "aud", json!(world.app.url)),
        ("an empty audience", "aud", json!("")),
        ("scopes that are not there", "scope", json!("admin")),
        ("scopes in a list", "scope", json!(["tools:read"])),
        ("another tenant", "tenant", json!(world.bravo.id)),
        ("an agent that is not there", "sub", json!("agt_00000000000000000000000000")),
        ("a person as agent", "sub", claims["user"].clone()),
        ("an empty jti", "jti", json!("")),
        ("a number as client", "client_id", json!(7)),
    ] {
        report
            .case("A-04", format!("well signed, but {what}"), async {
                let mut changed = claims.clone();
                changed[name] = value;
                dead(world, &key.sign(&header, &changed), good).await
            })
            .await;
    }
}

async fn times(report: &mut Report, world: &World<'_>, good: &str, key: &SigningKey) {
    let (header, claims) = (part(good, 0), part(good, 1));
    let now = world.now();
    for (what, name, value) in [
        ("exp as text", "exp", json!(format!("{}", now + 600))),
        ("a negative exp", "exp", json!(-1)),
        ("an exp beyond numbers", "exp", json!(1e300)),
        ("a broken exp", "exp", json!(f64::from(i32::MAX) + 0.5)),
        ("an exp in years", "exp", json!(now + 100_000)),
        ("an exp that is over", "exp", json!(now - 31)),
        ("no number as exp", "exp", Value::Null),
        ("exp in a list", "exp", json!([now + 600])),
        ("nbf as text", "nbf", json!(format!("{}", now - 10))),
        ("an nbf to come", "nbf", json!(now + 120)),
        ("iat as text", "iat", json!(format!("{now}"))),
        ("an iat to come", "iat", json!(now + 120)),
        ("a negative iat", "iat", json!(-1)),
    ] {
        report
            .case("A-05", what, async {
                let mut changed = claims.clone();
                changed[name] = value;
                dead(world, &key.sign(&header, &changed), good).await
            })
            .await;
    }
    report
        .case("A-05", "clocks may differ by some seconds", async {
            let mut changed = claims.clone();
            (changed["iat"], changed["exp"]) = (json!(now - 600), json!(now - 5));
            let token = key.sign(&header, &changed);
            same("status", answer(world.first(&world.acme.mcp_url()).bearer_auth(token)).await.status, 200)
        })
        .await;
}

async fn audiences(report: &mut Report, world: &World<'_>, good: &str) {
    let bearer = |token: &str| format!("Bearer {token}");
    let at = async |url: &str, token: &str| world.list(url, &[("authorization", &bearer(token))]).await.status;
    report
        .case("A-06", "at another tenant's endpoint", async {
            let seen = answer(world.first(&world.bravo.mcp_url()).bearer_auth(good)).await;
            let wanted = world.challenge(true).replace("/t/acme/", "/t/bravo/");
            same("challenge", (seen.status, seen.header("www-authenticate")), (401, &*wanted))
        })
        .await;
    report
        .case("A-06", "another tenant's at this endpoint", async {
            let owner = world.bravo.owner_browser().await;
            let tokens = world.client.connect(&owner, &world.bravo, &["tools:read"]).await;
            same("there", at(&world.bravo.mcp_url(), &tokens.access).await, 200)?;
            world.is_dead(&tokens.access).await
        })
        .await;
    report.case("A-06", "at a toolset of the endpoint", async { same("status", at(&world.toolset, good).await, 200) }).await;
    report
        .case("A-06", "at a toolset that is not there", async {
            same("status", at(&format!("{}/missing", world.acme.mcp_url()), good).await, 401)
        })
        .await;
    report
        .case("A-06", "a toolset's at the whole endpoint", async {
            let location = world.client.consent(&world.owner, &world.client.query(&world.toolset, &[]), &[]).await;
            let tokens = TokenPair::of(&world.client.redeem(&answer_of(&location)["code"]).await);
            same("there", at(&world.toolset, &tokens.access).await, 200)?;
            world.is_dead(&tokens.access).await
        })
        .await;
    report
        .case("A-06", "at the endpoint with a slash", async {
            let status = at(&format!("{}/", world.acme.mcp_url()), good).await;
            holds("not served", matches!(status, 401 | 404), status)
        })
        .await;
}

async fn scopes(report: &mut Report, world: &World<'_>) {
    let read = world.connect(&["tools:read"]).await.access;
    let write = world.connect(&["tools:read", "tools:write"]).await.access;
    let insufficient = |scope: &str| {
        format!(
            "Bearer error=\"insufficient_scope\", scope=\"{scope}\", resource_metadata=\"{}\", \
             error_description=\"this needs more than the token allows\"",
            world.metadata_url()
        )
    };
    // Clients of the stateless revision add what they are told to what they have; older ones ask for exactly that.
    let has_handshake = world.revision != "2026-07-28";
    let all = |missing: &str| if has_handshake { format!("tools:read {missing}") } else { missing.to_owned() };
    report
        .case("A-07", "a tool that needs more", async {
            let seen = world.call(&read, "writes").await;
            let wanted = insufficient(&all("tools:write"));
            same("challenge", (seen.status, seen.header("www-authenticate")), (403, &*wanted))
        })
        .await;
    report
        .case("A-07", "a resource that needs more", async {
            let headers = [("authorization", &*format!("Bearer {read}"))];
            let seen = world.speak(&world.acme.mcp_url(), &headers, "resources/read", json!({ "uri": "test://x" })).await;
            let wanted =
                insufficient(&if has_handshake { "tools:read resources:read".to_owned() } else { "resources:read".to_owned() });
            same("challenge", (seen.status, seen.header("www-authenticate")), (403, &*wanted))
        })
        .await;
    report
        .case("A-07", "with what was told the call works", async {
            let seen = world.call(&write, "writes").await;
            holds("it works", seen.is_ok(), seen.text)
        })
        .await;
    let listed = async |token: &str| {
        let answer = world.list(&world.acme.mcp_url(), &[("authorization", &format!("Bearer {token}"))]).await;
        answer.tool_names().join(" ")
    };
    for (what, token, wanted) in [("reads", &read, "echo fetches"), ("writes", &write, "echo fetches writes")] {
        report
            .case("A-08", format!("who {what} sees what it may call"), async {
                same("tools", listed(token).await, wanted.to_owned())
            })
            .await;
    }
    report
        .case("A-08", "what the agent may not call is like what is not there", async {
            let (hidden, missing) = (world.call(&write, "destroys").await, world.call(&write, "nothing").await);
            same("answer", (hidden.status, hidden.code()), (200, -32602))?;
            same("the same", hidden.text, missing.text)
        })
        .await;
    report
        .case("A-08", "a refused call is recorded as one", async {
            world.call(&write, "destroys").await;
            let mut sql = world.app.sql().await;
            crate::support::eventually("it is recorded", crate::support::SOON, async || {
                let query = "SELECT count(*) FROM app.calls WHERE tool_name = 'destroys' AND outcome = 'denied'";
                let calls: i64 = sqlx::query_scalar(query).fetch_one(&mut sql).await.expect("a count");
                (calls > 0).then_some(())
            })
            .await;
            Ok(())
        })
        .await;
}

async fn passed_on(report: &mut Report, world: &World<'_>) {
    report
        .case("A-10", "no token goes on to where a tool calls", async {
            let token = world.connect(&["tools:read"]).await.access;
            let before = world.upstream.seen().len();
            let seen = world.call(&token, "fetches").await;
            holds("it was called", seen.is_ok(), seen.text)?;
            let seen = world.upstream.seen().split_off(before);
            let secrets = [token.to_lowercase(), "authorization".to_owned(), "cookie".to_owned()];
            let clean =
                seen.iter().all(|one| secrets.iter().all(|secret| !one.head.contains(secret) && !one.body.contains(secret)));
            holds("one request without them", seen.len() == 1 && clean, seen)
        })
        .await;
    report
        .case("A-10", "nor does a client's proof", async {
            let made = world.acme.client(NewProof::Secret, Some(world.agent.id)).await.client;
            let token = TokenPair::of(&made.token(&[("grant_type", "client_credentials"), ("scope", "tools:read")]).await).access;
            let before = world.upstream.seen().len();
            let seen = world.call(&token, "fetches").await;
            holds("it was called", seen.is_ok(), seen.text)?;
            let seen = world.upstream.seen().split_off(before);
            let secret = made.secret.clone().unwrap_or_default().to_lowercase();
            holds("without them", seen.iter().all(|one| !one.head.contains(&secret) && !one.head.contains("bearer")), seen)
        })
        .await;
}
