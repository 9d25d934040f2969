//! Services: assertions of clients (RFC 7523), exchange (RFC 8693), proofs of possession (RFC 9449), assertions of identity providers (ID-JAG).

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use trunkline_platform::oauth::NewProof;

use super::{
    report::{Report, Seen, holds, refused, same},
    world::{World, encode, part},
};
use crate::{
    oauth::assertions::{GRANT as ID_JAG, Idp, TYP},
    support::{
        Answer,
        oauth::{OAuthClient, TokenPair, token_request},
        signer::{Signer, assertion_claims, proof_claims},
    },
};

const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

pub(super) async fn cases(report: &mut Report, world: &World<'_>) {
    assertions(report, world).await;
    exchange(report, world).await;
    proofs(report, world).await;
    providers(report, world).await;
}

fn unsigned(claims: &Value) -> String {
    format!("{}.{}.", encode(&json!({ "alg": "none" })), encode(claims))
}

/// Signed with a secret that everybody knows: the public key.
fn symmetric(signer: &Signer, typ: &str, claims: &Value) -> String {
    let secret = jsonwebtoken::EncodingKey::from_secret(signer.jwk.to_string().as_bytes());
    let mut header = jsonwebtoken::Header::default();
    (header.typ, header.kid) = (Some(typ.to_owned()), Some(signer.thumbprint.clone()));
    jsonwebtoken::encode(&header, claims, &secret).expect("a signature")
}

async fn assertions(report: &mut Report, world: &World<'_>) {
    let (issuer, now) = (world.issuer(), world.now());
    let (signer, stranger) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    let client = world.acme.client(NewProof::Keys(signer.jwks()), Some(world.agent.id)).await.client;
    let ask = async |kind: &str, assertion: &str| {
        let fields = [("grant_type", "client_credentials"), ("client_assertion_type", kind), ("client_assertion", assertion)];
        token_request(&world.app.url, &[], &fields).await
    };
    let good = assertion_claims(&client.id, &issuer, now);
    for (what, name, value) in [
        ("another aud", "aud", json!("https://elsewhere.example/oauth")),
        ("the endpoint as aud", "aud", json!(world.acme.mcp_url())),
        ("us and others as aud", "aud", json!([issuer, "https://elsewhere.example"])),
        ("no aud", "aud", Value::Null),
        ("another iss", "iss", json!("somebody")),
        ("no iss", "iss", Value::Null),
        ("another client as iss", "iss", json!(world.web.id)),
        ("another client as sub", "sub", json!(world.web.id)),
        ("an exp that is over", "exp", json!(now - 60)),
        ("an exp in hours", "exp", json!(now + 3_600)),
        ("exp as text", "exp", json!("9999999999")),
        ("no exp", "exp", Value::Null),
        ("an iat to come", "iat", json!(now + 600)),
        ("an nbf to come", "nbf", json!(now + 600)),
        ("no jti", "jti", Value::Null),
        ("an empty jti", "jti", json!("")),
    ] {
        report
            .case("RFC-7523", format!("signed, but {what}"), async {
                let mut claims = good.clone();
                claims[name] = value;
                refused(&ask(ASSERTION, &signer.sign("JWT", &claims)).await, 401, "invalid_client")
            })
            .await;
    }
    for (what, assertion) in [
        ("alg none", unsigned(&good)),
        ("HS256 with the public key", symmetric(&signer, "JWT", &good)),
        ("another key", stranger.sign("JWT", &good)),
        ("another key, in the header", stranger.sign_with_key("JWT", &good)),
        ("nonsense", "x.y.z".to_owned()),
        ("a token of ours", world.connect(&["tools:read"]).await.access),
    ] {
        report.case("RFC-7523", what, async { refused(&ask(ASSERTION, &assertion).await, 401, "invalid_client") }).await;
    }
    report
        .case("RFC-7523", "another kind of assertion", async {
            let kind = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer";
            refused(&ask(kind, &signer.assertion(&client.id, &issuer, now)).await, 401, "invalid_client")
        })
        .await;
    report
        .case("RFC-7523", "nothing but its name", async {
            refused(&client.token(&[("grant_type", "client_credentials")]).await, 401, "invalid_client")
        })
        .await;
    report
        .case("RFC-7523", "the right one, once", async {
            let assertion = signer.assertion(&client.id, &issuer, world.now());
            let tokens = TokenPair::of(&ask(ASSERTION, &assertion).await);
            same("nothing to refresh", tokens.refresh.as_str(), "")?;
            world.works(&tokens.access).await?;
            refused(&ask(ASSERTION, &assertion).await, 401, "invalid_client")
        })
        .await;
}

async fn exchange(report: &mut Report, world: &World<'_>) {
    let service = world.acme.client(NewProof::Secret, None).await.client;
    let foreign = world.bravo.client(NewProof::Secret, None).await.client;
    let subject = world.connect(&["tools:read"]).await.access;
    let ask = async |client: &OAuthClient, subject: &str, more: &[(&str, &str)]| {
        let mut fields = vec![("grant_type", EXCHANGE), ("subject_token", subject), ("subject_token_type", ACCESS_TOKEN)];
        fields.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        fields.extend(more);
        client.token(&fields).await
    };
    let bravo = world.bravo.mcp_url();
    for (what, more, error) in [
        ("more than was granted", vec![("scope", "tools:write")], "invalid_scope"),
        ("what the agent may not", vec![("scope", "tools:destructive")], "invalid_scope"),
        ("another tenant's endpoint", vec![("resource", &*bravo)], "invalid_target"),
        ("two endpoints", vec![("resource", &*world.toolset), ("audience", &*bravo)], "invalid_target"),
        ("an endpoint that is none", vec![("audience", "https://elsewhere.example")], "invalid_target"),
        ("another kind of token", vec![("subject_token_type", "urn:ietf:params:oauth:token-type:saml2")], "invalid_request"),
        ("no subject", vec![("subject_token", "")], "invalid_request"),
        ("nonsense as subject", vec![("subject_token", "x.y.z")], "invalid_request"),
        ("an actor that is said", vec![("actor_token", "x")], "invalid_request"),
    ] {
        report.case("RFC-8693", what, async { refused(&ask(&service, &subject, &more).await, 400, error) }).await;
    }
    report
        .case("RFC-8693", "more and what was granted gives what was granted", async {
            let tokens = TokenPair::of(&ask(&service, &subject, &[("scope", "tools:read tools:write")]).await);
            same("scope", (tokens.scope.as_str(), tokens.refresh.as_str()), ("tools:read", ""))?;
            let (before, claims) = (part(&subject, 1), part(&tokens.access, 1));
            same("who acts", &claims["act"], &json!({ "sub": service.id }))?;
            same("no longer life", &claims["exp"], &before["exp"])?;
            same("the same agent", &claims["sub"], &before["sub"])
        })
        .await;
    report
        .case("RFC-8693", "what was narrowed to a toolset is not widened again", async {
            let narrow = TokenPair::of(&ask(&service, &subject, &[("resource", &world.toolset)]).await).access;
            refused(&ask(&service, &narrow, &[("resource", &world.acme.mcp_url())]).await, 400, "invalid_target")
        })
        .await;
    report
        .case("RFC-8693", "another tenant's service", async {
            refused(&ask(&foreign, &subject, &[]).await, 400, "invalid_request")
        })
        .await;
    report
        .case("RFC-8693", "who registered itself", async {
            refused(&ask(&world.client, &subject, &[]).await, 400, "unauthorized_client")
        })
        .await;
    report
        .case("RFC-8693", "what came of a revoked token is refused too", async {
            let tokens = world.connect(&["tools:read"]).await;
            let exchanged = TokenPair::of(&ask(&service, &tokens.access, &[]).await).access;
            world.works(&exchanged).await?;
            same("revoked", world.client.post("/oauth/revoke", &[("token", &tokens.access)]).await.status, 200)?;
            world.is_dead(&exchanged).await?;
            refused(&ask(&service, &tokens.access, &[]).await, 400, "invalid_request")
        })
        .await;
}

/// 401 with the challenge of a proof that is not taken.
fn unproven(answer: &Answer, error: &str) -> Seen {
    let challenges: Vec<_> = answer.headers.get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok()).collect();
    same("status", answer.status, 401)?;
    holds("a challenge that says so", challenges.contains(&&*format!("DPoP error=\"{error}\", algs=\"ES256 EdDSA\"")), challenges)
}

async fn proofs(report: &mut Report, world: &World<'_>) {
    let (endpoint, url) = (format!("{}/oauth/token", world.app.url), world.acme.mcp_url());
    let client = world.acme.client(NewProof::Secret, Some(world.agent.id)).await.client;
    let secret = client.secret.clone().expect("a secret");
    let form =
        [("grant_type", "client_credentials"), ("client_id", &*client.id), ("client_secret", &*secret), ("scope", "tools:read")];
    let (signer, stranger) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    let answer = token_request(&world.app.url, &[("dpop", &signer.proof("POST", &endpoint, None, world.now()))], &form).await;
    let token = TokenPair::of(&answer).access;
    report
        .case("RFC-9449", "a token that was asked for with a proof is bound to its key", async {
            same("type", &answer.json["token_type"], &json!("DPoP"))?;
            same("cnf", &part(&token, 1)["cnf"], &json!({ "jkt": signer.thumbprint }))
        })
        .await;
    // The first message alone: each message needs a proof of its own.
    let send = async |scheme: &str, token: &str, proofs: &[String]| {
        let request = world.first(&url).header("authorization", format!("{scheme} {token}"));
        let request = proofs.iter().fold(request, |request, proof| request.header("dpop", proof));
        Answer::read(request.send().await.expect("an answer")).await
    };
    let sign = |claims: &Value| signer.sign_with_key("dpop+jwt", claims);
    let claims = || proof_claims("POST", &url, Some(&token), world.now());
    report
        .case("RFC-9449", "with a proof it works, once", async {
            let proof = sign(&claims());
            same("first", send("DPoP", &token, std::slice::from_ref(&proof)).await.status, 200)?;
            unproven(&send("DPoP", &token, &[proof]).await, "invalid_dpop_proof")
        })
        .await;
    let now = world.now();
    for (what, name, value) in [
        ("another method", "htm", json!("GET")),
        ("no method", "htm", Value::Null),
        ("the token endpoint's address", "htu", json!(endpoint)),
        ("another tenant's address", "htu", json!(world.bravo.mcp_url())),
        ("no address", "htu", Value::Null),
        ("an iat that is over", "iat", json!(now - 90)),
        ("an iat to come", "iat", json!(now + 90)),
        ("iat as text", "iat", json!("now")),
        ("another token's ath", "ath", json!(crate::support::oauth::challenge("x"))),
        ("no ath", "ath", Value::Null),
        ("no jti", "jti", Value::Null),
        ("an empty jti", "jti", json!("")),
    ] {
        report
            .case("RFC-9449", format!("a proof with {what}"), async {
                let mut claims = claims();
                claims[name] = value;
                unproven(&send("DPoP", &token, &[sign(&claims)]).await, "invalid_dpop_proof")
            })
            .await;
    }
    for (what, proof) in [
        ("another key", stranger.sign_with_key("dpop+jwt", &claims())),
        ("another typ", signer.sign_with_key("JWT", &claims())),
        ("no key in it", signer.sign("dpop+jwt", &claims())),
        ("no signature", unsigned(&claims())),
        ("HS256", symmetric(&signer, "dpop+jwt", &claims())),
        ("nonsense", "x.y.z".to_owned()),
    ] {
        report
            .case("RFC-9449", format!("a proof with {what} in place of the right one"), async {
                unproven(&send("DPoP", &token, &[proof]).await, "invalid_dpop_proof")
            })
            .await;
    }
    report.case("RFC-9449", "without a proof", async { unproven(&send("DPoP", &token, &[]).await, "invalid_dpop_proof") }).await;
    report
        .case("RFC-9449", "with two", async {
            unproven(&send("DPoP", &token, &[sign(&claims()), sign(&claims())]).await, "invalid_dpop_proof")
        })
        .await;
    report
        .case("RFC-9449", "as a bearer, with a proof and without", async {
            unproven(&send("Bearer", &token, &[]).await, "invalid_token")?;
            unproven(&send("Bearer", &token, &[sign(&claims())]).await, "invalid_token")
        })
        .await;
    report
        .case("RFC-9449", "a token that is not bound is none of these", async {
            let bare =
                TokenPair::of(&client.token(&[("grant_type", "client_credentials"), ("scope", "tools:read")]).await).access;
            let proof = sign(&proof_claims("POST", &url, Some(&bare), world.now()));
            unproven(&send("DPoP", &bare, &[proof]).await, "invalid_token")
        })
        .await;
    for (what, proof) in [
        ("replayed", {
            let proof = signer.proof("POST", &endpoint, None, world.now());
            assert_eq!(token_request(&world.app.url, &[("dpop", &proof)], &form).await.status, 200);
            proof
        }),
        ("for another address", signer.proof("POST", &url, None, world.now())),
        ("for another method", signer.proof("GET", &endpoint, None, world.now())),
        ("old", signer.proof("POST", &endpoint, None, world.now() - 90)),
    ] {
        report
            .case("RFC-9449", format!("at the token endpoint, a proof that is {what}"), async {
                refused(&token_request(&world.app.url, &[("dpop", &proof)], &form).await, 400, "invalid_dpop_proof")
            })
            .await;
    }
}

async fn providers(report: &mut Report, world: &World<'_>) {
    let (idp, stranger) = (Idp::start(Algorithm::ES256).await, Idp::start(Algorithm::ES256).await);
    let client = world.acme.client(NewProof::Secret, None).await.client;
    let unlisted = world.acme.client(NewProof::Secret, None).await.client;
    idp.trusted(&world.acme, world.app, &client.id, Some(world.agent.id)).await;
    let redeem = async |client: &OAuthClient, assertion: &str, more: &[(&str, &str)]| {
        let mut fields = vec![("grant_type", ID_JAG), ("assertion", assertion)];
        fields.extend(more);
        client.token(&fields).await
    };
    let right = || idp.claims(&world.acme, world.app, &client);
    let now = world.now();
    for (what, name, value) in [
        ("another issuer", "iss", json!(stranger.issuer())),
        ("another aud", "aud", json!("https://elsewhere.example")),
        ("us and others as aud", "aud", json!([world.issuer(), "https://elsewhere.example"])),
        ("another client", "client_id", json!(unlisted.id)),
        ("an exp that is over", "exp", json!(now - 60)),
        ("an exp in days", "exp", json!(now + 86_400)),
        ("an iat to come", "iat", json!(now + 600)),
        ("no iat", "iat", Value::Null),
        ("no jti", "jti", Value::Null),
        ("an empty sub", "sub", json!("")),
        ("another tenant's endpoint", "resource", json!(world.bravo.mcp_url())),
        ("an endpoint that is none", "resource", json!("https://elsewhere.example/mcp")),
    ] {
        report
            .case("ID-JAG", format!("signed, but {what}"), async {
                let mut claims = right();
                claims[name] = value;
                refused(&redeem(&client, &idp.signer.sign(TYP, &claims), &[]).await, 400, "invalid_grant")
            })
            .await;
    }
    for (what, assertion) in [
        ("another typ", idp.signer.sign("JWT", &right())),
        ("another provider's key", stranger.signer.sign(TYP, &right())),
        ("a key in the header", stranger.signer.sign_with_key(TYP, &right())),
        ("no signature", unsigned(&right())),
        ("HS256 with the public key", symmetric(&idp.signer, TYP, &right())),
    ] {
        report.case("ID-JAG", what, async { refused(&redeem(&client, &assertion, &[]).await, 400, "invalid_grant") }).await;
    }
    report
        .case("ID-JAG", "another client brings it", async {
            refused(&redeem(&unlisted, &idp.signer.sign(TYP, &right()), &[]).await, 400, "invalid_grant")
        })
        .await;
    report
        .case("ID-JAG", "its jti counts once, and a refused request has not used it", async {
            let assertion = idp.signer.sign(TYP, &right());
            refused(&redeem(&client, &assertion, &[("scope", "resources:read")]).await, 400, "invalid_scope")?;
            let tokens = TokenPair::of(&redeem(&client, &assertion, &[]).await);
            same("no more than it says", (tokens.scope.as_str(), tokens.refresh.as_str()), ("tools:read", ""))?;
            world.works(&tokens.access).await?;
            refused(&redeem(&client, &assertion, &[]).await, 400, "invalid_grant")
        })
        .await;
}
