//! The token endpoint, resources, scopes, and what a token is (O-15 to O-18).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    report::{Report, goes_nowhere, holds, refused, same, told},
    world::{World, part},
};
use crate::support::{
    Answer, http,
    oauth::{OAuthClient, REDIRECT, TokenPair, VERIFIER, answer_of},
};

pub(super) async fn cases(report: &mut Report, world: &World<'_>) {
    forms(report, world).await;
    authentication(report, world).await;
    resources(report, world).await;
    scopes(report, world).await;
    shape(report, world).await;
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    Answer::read(request.send().await.expect("an answer")).await
}

async fn forms(report: &mut Report, world: &World<'_>) {
    let url = format!("{}/oauth/token", world.app.url);
    let json_body = json!({ "grant_type": "refresh_token", "refresh_token": "x", "client_id": world.client.id }).to_string();
    for (what, kind) in [
        ("JSON", "application/json"),
        ("parts", "multipart/form-data; boundary=x"),
        ("text", "text/plain"),
        ("a kind that is none", "nonsense"),
        ("a kind with a longer name", "application/x-www-form-urlencodedx"),
        ("an empty kind", ""),
    ] {
        report
            .case("O-15", format!("{what} is not a form"), async {
                let request = http().post(&url).header("content-type", kind).body(json_body.clone());
                refused(&answer(request).await, 400, "invalid_request")
            })
            .await;
    }
    report
        .case("O-15", "without a kind it is not a form", async {
            refused(&answer(http().post(&url).body("grant_type=refresh_token")).await, 400, "invalid_request")
        })
        .await;
    report
        .case("O-15", "a kind with parameters and in any case is one", async {
            let form = [("grant_type", "refresh_token"), ("refresh_token", "x"), ("client_id", &*world.client.id)];
            let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
            let request = http().post(&url).header("content-type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8").body(body);
            refused(&answer(request).await, 400, "invalid_grant")
        })
        .await;
    for verb in ["GET", "PUT", "DELETE", "PATCH"] {
        report
            .case("O-15", format!("{verb} is not served"), async {
                let verb = verb.parse().expect("a method");
                let query = [("grant_type", "authorization_code"), ("code", "x"), ("client_id", &*world.client.id)];
                let seen = answer(http().request(verb, &url).query(&query)).await;
                holds("404 or 405", matches!(seen.status, 404 | 405), seen.status)
            })
            .await;
    }
    for (what, body) in [
        ("not UTF-8", b"grant_type=\xff\xfe&client_id=\xff".to_vec()),
        ("too long", format!("grant_type=refresh_token&refresh_token={}", "x".repeat(40_000)).into_bytes()),
        ("a NUL", b"grant_type=refresh_token&refresh_token=%00&client_id=x".to_vec()),
    ] {
        report
            .case("O-15", format!("a form that is {what}"), async {
                let request = http().post(&url).header("content-type", "application/x-www-form-urlencoded").body(body);
                let seen = answer(request).await;
                // What is no UTF-8 as a whole is told from what decodes to something else.
                let error = seen.json["error"].as_str().unwrap_or_default().to_owned();
                holds("refused", error == "invalid_request" && seen.status == 400, (seen.status, seen.text))
            })
            .await;
    }
    for (what, fields, error) in [
        ("no grant type", vec![], "invalid_request"),
        ("an empty grant type", vec![("grant_type", "")], "invalid_request"),
        ("a password", vec![("grant_type", "password"), ("username", "x"), ("password", "x")], "unsupported_grant_type"),
        ("an implicit grant", vec![("grant_type", "implicit")], "unsupported_grant_type"),
        ("another case", vec![("grant_type", "Authorization_Code"), ("code", "x")], "unsupported_grant_type"),
        ("a code without one", vec![("grant_type", "authorization_code"), ("code_verifier", VERIFIER)], "invalid_request"),
        ("a refresh without a token", vec![("grant_type", "refresh_token")], "invalid_request"),
    ] {
        report.case("O-15", what, async { refused(&world.client.token(&fields).await, 400, error) }).await;
    }
    report
        .case("O-15", "an answer with tokens is kept by nobody", async {
            let code = world.code().await;
            let tokens = world.client.redeem(&code).await;
            let seen =
                (tokens.status, tokens.header("cache-control"), tokens.header("pragma"), tokens.json["token_type"].as_str());
            same("answer", seen, (200, "no-store", "no-cache", Some("Bearer")))
        })
        .await;
    report
        .case("O-15", "scripts of any origin may ask", async {
            let request = http().request(reqwest::Method::OPTIONS, &url).header("origin", "https://inspector.example");
            let seen = answer(request.header("access-control-request-method", "POST")).await;
            same("preflight", (seen.status, seen.header("access-control-allow-origin")), (204, "*"))?;
            holds("and no cookies", seen.headers.get("access-control-allow-credentials").is_none(), seen.headers)
        })
        .await;
}

async fn authentication(report: &mut Report, world: &World<'_>) {
    let (id, secret) = (world.web.id.as_str(), world.web.secret.as_deref().expect("a secret"));
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    let with = |more: &[(&'static str, &str)]| {
        let fields: Vec<(&str, &str)> = form.iter().copied().chain(more.iter().copied()).collect();
        world.form("/oauth/token", &fields)
    };
    for (what, request) in [
        ("nobody", with(&[])),
        ("a client that is not there", with(&[("client_id", "nobody")])),
        ("no secret", with(&[("client_id", id)])),
        ("an empty secret", with(&[("client_id", id), ("client_secret", "")])),
        ("a wrong secret", with(&[("client_id", id), ("client_secret", "tl_secret_wrong")])),
        ("a secret and a character", with(&[("client_id", id), ("client_secret", &format!("{secret}x"))])),
        ("a wrong secret in the header", with(&[]).basic_auth(id, Some("wrong"))),
        ("no secret in the header", with(&[]).basic_auth(id, None::<&str>)),
        ("two ways at once", with(&[("client_secret", secret)]).basic_auth(id, Some(secret))),
        ("two clients at once", with(&[("client_id", "other")]).basic_auth(id, Some(secret))),
        ("two headers", with(&[]).basic_auth(id, Some(secret)).header("authorization", "Basic eDp5")),
        ("a header that is not base64", with(&[]).header("authorization", "Basic !")),
        ("a header without a colon", with(&[]).header("authorization", "Basic YWJj")),
        ("another scheme", with(&[("client_id", id)]).header("authorization", "Bearer x")),
        ("the secret in the query", with(&[("client_id", id)]).query(&[("client_secret", secret)])),
        ("everything in the query", with(&[]).query(&[("client_id", id), ("client_secret", secret)])),
        ("a public client with a secret", with(&[("client_id", &*world.client.id), ("client_secret", "x")])),
    ] {
        report.case("O-15", format!("who asks: {what}"), async { refused(&answer(request).await, 401, "invalid_client") }).await;
    }
    for (what, request) in [
        ("in the form", with(&[("client_id", id), ("client_secret", secret)])),
        ("in the header", with(&[]).basic_auth(id, Some(secret))),
        ("in the header, and its name in the form too", with(&[("client_id", id)]).basic_auth(id, Some(secret))),
        ("nothing to prove", with(&[("client_id", &*world.client.id)])),
    ] {
        report
            .case("O-15", format!("the right client: {what}"), async { refused(&answer(request).await, 400, "invalid_grant") })
            .await;
    }
    report
        .case("O-15", "introspection is for clients that prove who they are", async {
            refused(&world.client.post("/oauth/introspect", &[("token", "x")]).await, 401, "invalid_client")?;
            let told = world.web.post("/oauth/introspect", &[("token", "x")]).await;
            same("of nothing", (told.status, told.json), (200, json!({ "active": false })))
        })
        .await;
}

async fn resources(report: &mut Report, world: &World<'_>) {
    let (endpoint, issuer) = (world.acme.mcp_url(), world.issuer());
    let values = [
        ("unknown", "https://elsewhere.example/mcp".to_owned()),
        ("relative", "/t/acme/mcp".to_owned()),
        ("no URL", "acme".to_owned()),
        ("with a slash at its end", format!("{endpoint}/")),
        ("with a fragment", format!("{endpoint}#x")),
        ("with a query", format!("{endpoint}?x=1")),
        ("of a tenant that is not there", endpoint.replace("/t/acme/", "/t/nobody/")),
        ("with a capital scheme", endpoint.replace("http://", "HTTP://")),
        ("with a capital name", endpoint.replace("/t/acme/", "/t/ACME/")),
        ("with a user", endpoint.replace("http://", "http://user@")),
        ("the origin", world.app.url.clone()),
        ("the issuer", issuer.clone()),
        ("longer than anything", format!("{endpoint}/{}", "x".repeat(600))),
    ];
    for (what, resource) in &values {
        report
            .case("O-16", format!("asked for one that is {what}"), async {
                told(&world.ask(&[("resource", resource)]).await, REDIRECT, "st&te=1", &issuer, "invalid_target")
            })
            .await;
        report
            .case("O-16", format!("refreshed for one that is {what}: nothing is used up"), async {
                let tokens = world.connect(&["tools:read"]).await;
                let fields = [("grant_type", "refresh_token"), ("refresh_token", &*tokens.refresh), ("resource", resource)];
                refused(&world.client.token(&fields).await, 400, "invalid_target")?;
                same("afterwards", world.client.refresh(&tokens.refresh).await.status, 200)
            })
            .await;
    }
    report
        .case("O-16", "a toolset that is not there", async {
            let missing = format!("{endpoint}/missing");
            told(&world.ask(&[("resource", &missing)]).await, REDIRECT, "st&te=1", &issuer, "invalid_target")
        })
        .await;
    report
        .case("O-16", "refreshed for another tenant's", async {
            let tokens = world.connect(&["tools:read"]).await;
            let bravo = world.bravo.mcp_url();
            let fields = [("grant_type", "refresh_token"), ("refresh_token", &*tokens.refresh), ("resource", &*bravo)];
            refused(&world.client.token(&fields).await, 400, "invalid_target")
        })
        .await;
    report
        .case("O-16", "two of them", async {
            let query = format!("{}&resource={}", world.client.query(&endpoint, &[]), "https%3A%2F%2Felsewhere.example");
            goes_nowhere(&world.open(&world.owner, &query).await)
        })
        .await;
    report
        .case("O-16", "none: the person's only endpoint", async {
            let location = world.client.consent(&world.owner, &world.client.query("", &[]), &[]).await;
            let tokens = TokenPair::of(&world.client.redeem(&answer_of(&location)["code"]).await);
            same("audience", &part(&tokens.access, 1)["aud"], &json!(endpoint))?;
            world.works(&tokens.access).await
        })
        .await;
    report
        .case("O-16", "named again at the token endpoint", async {
            let code = world.code().await;
            let fields = [
                ("grant_type", "authorization_code"),
                ("code", &*code),
                ("redirect_uri", REDIRECT),
                ("code_verifier", VERIFIER),
                ("resource", &*endpoint),
            ];
            let tokens = TokenPair::of(&world.client.token(&fields).await);
            let fields = [("grant_type", "refresh_token"), ("refresh_token", &*tokens.refresh), ("resource", &*endpoint)];
            same("refreshed", world.client.token(&fields).await.status, 200)
        })
        .await;
}

async fn scopes(report: &mut Report, world: &World<'_>) {
    let narrowed = async |chosen: &[&str]| world.connect(chosen).await.scope;
    report
        .case("O-17", "what the person chose, though more was asked", async {
            let query = world.client.query(&world.acme.mcp_url(), &[("scope", "tools:read tools:write")]);
            let location = world.client.consent(&world.owner, &query, &[("scopes", "tools:read")]).await;
            same("scope", TokenPair::of(&world.client.redeem(&answer_of(&location)["code"]).await).scope, "tools:read".to_owned())
        })
        .await;
    report
        .case("O-17", "no more than the agent may, though more was chosen", async {
            same("scope", narrowed(&["tools:read", "tools:destructive"]).await, "tools:read".to_owned())
        })
        .await;
    report
        .case("O-17", "nothing within what the agent may: asked again", async {
            let page = world.ask(&[]).await.ok();
            let agent = page.between("name=\"agent\" value=\"", "\"").expect("an agent").to_owned();
            let form = crate::support::oauth::consent_form(&page.body);
            let mut form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            form.extend([("agent", &*agent), ("hours", "8"), ("scopes", "tools:destructive"), ("decision", "allow")]);
            let again = world.owner.post("/oauth/authorize", &form).await;
            same("page", (again.status, again.location()), (422, ""))
        })
        .await;
    report
        .case("O-17", "scopes of others are left out", async {
            let page = world.ask(&[("scope", "openid offline_access tools:read profile")]).await;
            same("status", page.status, 200)
        })
        .await;
    for (what, asked, scope) in [
        ("less", "tools:read", Some("tools:read")),
        ("some of it and some of what was not granted", "tools:read tools:destructive", Some("tools:read")),
        ("only what was not granted", "tools:destructive", None),
        ("only what the agent may and was not granted", "resources:read", None),
        ("what nobody has", "admin", None),
    ] {
        report
            .case("O-17", format!("refreshed with {what}"), async {
                let tokens = world.connect(&["tools:read", "tools:write"]).await;
                let fields = [("grant_type", "refresh_token"), ("refresh_token", &*tokens.refresh), ("scope", asked)];
                let answer = world.client.token(&fields).await;
                if let Some(scope) = scope {
                    same("scope", &answer.json["scope"], &json!(scope))?;
                    let tokens = TokenPair::of(&answer);
                    same("in the token", &part(&tokens.access, 1)["scope"], &json!(scope))?;
                    let whole = TokenPair::of(&world.client.refresh(&tokens.refresh).await);
                    same("the grant is as it was", whole.scope, "tools:read tools:write".to_owned())
                } else {
                    refused(&answer, 400, "invalid_scope")?;
                    same("afterwards", world.client.refresh(&tokens.refresh).await.status, 200)
                }
            })
            .await;
    }
}

async fn shape(report: &mut Report, world: &World<'_>) {
    let tokens = world.connect(&["tools:read"]).await;
    let (header, claims) = (part(&tokens.access, 0), part(&tokens.access, 1));
    report
        .case("O-18", "the header is that of RFC 9068", async {
            same("alg and typ", (&header["alg"], &header["typ"]), (&json!("EdDSA"), &json!("at+jwt")))?;
            let keys = world.get("/oauth/jwks").await.json;
            let kids: Vec<&Value> = keys["keys"].as_array().into_iter().flatten().map(|key| &key["kid"]).collect();
            holds("its key is published", kids.contains(&&header["kid"]), kids)
        })
        .await;
    for (name, value) in [
        ("iss", json!(world.issuer())),
        ("aud", json!(world.acme.mcp_url())),
        ("client_id", json!(world.client.id)),
        ("scope", json!("tools:read")),
        ("tenant", json!(world.acme.id)),
        ("sub", json!(world.agent.id)),
    ] {
        report.case("O-18", format!("claim {name}"), async { same(name, &claims[name], &value) }).await;
    }
    report
        .case("O-18", "it lives for a quarter of an hour at most", async {
            let (exp, iat) = (claims["exp"].as_i64().unwrap_or_default(), claims["iat"].as_i64().unwrap_or_default());
            holds("at most", exp > iat && exp - iat <= 900, (exp, iat))
        })
        .await;
    report
        .case("O-18", "it names nobody", async {
            let names: BTreeSet<&str> = claims.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            let known = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope", "tenant", "grant", "user"];
            same("claims", names, BTreeSet::from(known))?;
            let text = claims.to_string();
            holds("no address", !text.contains('@') && !text.contains("owner"), text)
        })
        .await;
    report
        .case("O-18", "no two are the same", async {
            let other = OAuthClient::refresh(&world.client, &tokens.refresh).await;
            let other = part(&TokenPair::of(&other).access, 1);
            holds("another jti", other["jti"] != claims["jti"], (&other["jti"], &claims["jti"]))?;
            same("the same grant", &other["grant"], &claims["grant"])
        })
        .await;
}
