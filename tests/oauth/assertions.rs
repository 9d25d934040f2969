//! Enterprise-managed authorization: an identity provider's assertion (ID-JAG) lets a client act for somebody.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use trunkline_platform::{
    clock::Clock as _,
    ids::{AgentId, TrustedIssuerId},
    oauth::{self, NewProof, NewTrustedIssuer},
    random,
};

use crate::support::{
    Answer, Tenant, TestApp,
    oauth::{OAuthClient, TokenPair, claims_of},
    published::Published,
    signer::Signer,
    tools,
};

pub(super) const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
pub(super) const TYP: &str = "oauth-id-jag+jwt";

/// An identity provider.
pub(super) struct Idp {
    published: Published,
    pub(super) signer: Signer,
}

impl Idp {
    pub(super) async fn start(algorithm: Algorithm) -> Self {
        let idp = Self { published: Published::start().await, signer: Signer::new(algorithm) };
        let metadata = json!({ "issuer": idp.issuer(), "jwks_uri": idp.published.url("/keys") });
        idp.published.put("/idp/.well-known/openid-configuration", metadata);
        idp.published.put("/keys", idp.signer.jwks());
        idp
    }

    pub(super) fn issuer(&self) -> String {
        self.published.url("/idp")
    }

    pub(super) fn claims(&self, acme: &Tenant<'_>, app: &TestApp, client: &OAuthClient) -> Value {
        let now = app.clock.now().timestamp();
        json!({
            "iss": self.issuer(), "sub": "00u-ada", "aud": format!("{}/oauth", app.url), "client_id": client.id, "iat": now,
            "exp": now + 300, "jti": random::base62(16), "resource": acme.mcp_url(), "scope": "tools:read", "agent": "agent",
        })
    }

    pub(super) async fn trusted(
        &self,
        acme: &Tenant<'_>,
        app: &TestApp,
        client: &str,
        agent: Option<AgentId>,
    ) -> TrustedIssuerId {
        let claim = if agent.is_some() { "" } else { "agent" };
        let new = NewTrustedIssuer::parse(&self.issuer(), client, agent, claim).expect("a provider");
        let owner = acme.owner.clone();
        app.act(|platform| async move { oauth::trust_issuer(&platform, &owner, new).await.expect("trusted") }).await
    }
}

async fn redeem(client: &OAuthClient, assertion: &str, more: &[(&str, &str)]) -> Answer {
    let mut fields = vec![("grant_type", GRANT), ("assertion", assertion)];
    fields.extend(more);
    client.token(&fields).await
}

#[tokio::test]
async fn an_assertion_gives_a_token_for_what_it_says_once() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:write").await.id;
    for (algorithm, by_claim) in [(Algorithm::RS256, false), (Algorithm::ES256, true)] {
        let idp = Idp::start(algorithm).await;
        let client = acme.client(NewProof::Secret, None).await.client;
        let trusted = idp.trusted(&acme, &app, &client.id, (!by_claim).then_some(agent)).await;
        let assertion = idp.signer.sign(TYP, &idp.claims(&acme, &app, &client));
        let tokens = TokenPair::of(&redeem(&client, &assertion, &[("scope", "tools:read tools:write")]).await);
        assert_eq!((tokens.scope.as_str(), tokens.refresh.as_str()), ("tools:read", ""));
        let claims = claims_of(&tokens.access);
        assert_eq!((&claims["aud"], &claims["sub"]), (&json!(acme.mcp_url()), &json!(agent)));
        assert!(acme.with_token(&tokens.access).echo("x").await.is_ok());
        let replayed = redeem(&client, &assertion, &[]).await;
        assert_eq!((replayed.status, &replayed.json["error"]), (400, &json!("invalid_grant")));
        // Believed no more: what came of it is refused too.
        let owner = acme.owner.clone();
        app.act(|platform| async move { oauth::remove_trusted_issuer(&platform, &owner, trusted).await.expect("removed") }).await;
        assert_eq!(acme.with_token(&tokens.access).echo("x").await.status, 401);
        let fresh = idp.signer.sign(TYP, &idp.claims(&acme, &app, &client));
        assert_eq!(redeem(&client, &fresh, &[]).await.json["error"], json!("invalid_grant"));
    }
}

#[tokio::test]
async fn an_assertion_that_does_not_hold_is_refused_and_not_used_up() {
    let app = TestApp::start().await;
    let (acme, other) = (app.tenant("acme").await, app.tenant("other").await);
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await.id;
    let (idp, stranger) = (Idp::start(Algorithm::ES256).await, Idp::start(Algorithm::ES256).await);
    let client = acme.client(NewProof::Secret, None).await.client;
    let unlisted = acme.client(NewProof::Secret, None).await.client;
    idp.trusted(&acme, &app, &client.id, Some(agent)).await;
    let right = idp.claims(&acme, &app, &client);
    let now = app.clock.now().timestamp();
    for (name, value) in [
        ("iss", json!(stranger.issuer())),
        ("aud", json!("https://elsewhere.example")),
        ("aud", json!([format!("{}/oauth", app.url), "https://elsewhere.example"])),
        ("client_id", json!(unlisted.id)),
        ("exp", json!(now - 60)),
        ("exp", json!(now + 86_400)),
        ("iat", json!(now + 600)),
        ("iat", Value::Null),
        ("jti", Value::Null),
        ("sub", json!("")),
        ("resource", json!(other.mcp_url())),
        ("resource", json!("https://elsewhere.example/mcp")),
    ] {
        let mut claims = right.clone();
        claims[name] = value.clone();
        let refused = redeem(&client, &idp.signer.sign(TYP, &claims), &[]).await;
        assert_eq!((refused.status, &refused.json["error"]), (400, &json!("invalid_grant")), "{name} {value}: {}", refused.text);
    }
    for assertion in [
        idp.signer.sign("JWT", &right),
        stranger.signer.sign(TYP, &right),
        stranger.signer.sign_with_key(TYP, &right),
        "x.y.z".to_owned(),
        format!(
            "eyJhbGciOiJub25lIiwidHlwIjoib2F1dGgtaWQtamFnK2p3dCJ9.{}.",
            idp.signer.sign(TYP, &right).split('.').nth(1).expect("claims")
        ),
    ] {
        assert_eq!(redeem(&client, &assertion, &[]).await.json["error"], json!("invalid_grant"));
    }
    let good = idp.signer.sign(TYP, &right);
    assert_eq!(redeem(&unlisted, &good, &[]).await.json["error"], json!("invalid_grant"), "another client");
    assert_eq!(redeem(&client, &good, &[("resource", &other.mcp_url())]).await.json["error"], json!("invalid_target"));
    assert_eq!(redeem(&client, &good, &[("scope", "resources:read")]).await.json["error"], json!("invalid_scope"));
    let wrong_secret = OAuthClient { secret: Some("tl_secret_x".to_owned()), ..client.clone() };
    assert_eq!(redeem(&wrong_secret, &good, &[]).await.json["error"], json!("invalid_client"));
    assert_eq!(redeem(&client, &good, &[]).await.status, 200, "none of that has used it");
}

/// Whatever goes first, nothing that was given works afterwards.
#[tokio::test]
async fn what_is_given_while_trust_ends_ends_with_it() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await.id;
    for ends in ["issuer", "client"] {
        let idp = Idp::start(Algorithm::ES256).await;
        let made = acme.client(NewProof::Secret, Some(agent)).await;
        let (client, id) = (made.client, made.id);
        let trusted = idp.trusted(&acme, &app, &client.id, Some(agent)).await;
        let assertions: Vec<_> = (0..24).map(|_| idp.signer.sign(TYP, &idp.claims(&acme, &app, &client))).collect();
        let given = futures_util::future::join_all(assertions.iter().map(|one| redeem(&client, one, &[])));
        let owner = acme.owner.clone();
        let end = app.act(|platform| async move {
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
            match ends {
                "issuer" => oauth::remove_trusted_issuer(&platform, &owner, trusted).await.expect("removed"),
                _ => drop(oauth::block_client(&platform, &owner, id).await.expect("blocked")),
            }
        });
        let (given, ()) = tokio::join!(given, end);
        for answer in given {
            if answer.status == 200 {
                assert_eq!(acme.with_token(&TokenPair::of(&answer).access).echo("x").await.status, 401, "{ends}");
            }
        }
    }
}

#[tokio::test]
async fn an_owner_sets_up_a_provider_on_the_trust_page() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await.id.to_string();
    let idp = Idp::start(Algorithm::EdDSA).await;
    let owner = acme.owner_browser().await;
    let issuer = idp.issuer();
    for (issuer, clients, agent, claim, why) in [
        ("", "c", &*agent, "", "enter the issuer"),
        (&*issuer, "", &agent, "", "client ids"),
        (&issuer, "c", "", "", "choose an agent"),
        (&issuer, "c", &agent, "agent", "not both"),
        (&idp.published.url("/nothing"), "c", &agent, "", "cannot be read"),
        (&format!("{issuer}/"), "c", &agent, "", "another issuer"),
    ] {
        let form = [("issuer", issuer), ("clients", clients), ("agent", agent), ("agent_claim", claim)];
        let page = owner.post("/t/acme/trust/issuers", &form).await;
        assert!(page.status == 422 && page.body.to_lowercase().contains(why), "{why}: {} {}", page.status, page.body);
    }
    let form = [("issuer", &*issuer), ("clients", "https://app.example/client"), ("agent", &agent), ("agent_claim", "")];
    assert_eq!(owner.post("/t/acme/trust/issuers", &form).await.status, 303);
    let page = owner.get("/t/acme/trust").await.ok();
    assert!(page.body.contains(&issuer) && page.body.contains("https://app.example/client"));
    assert_eq!(owner.post("/t/acme/trust/issuers", &form).await.status, 422, "once is enough");
    let remove = page.between("action=\"/t/acme/trust/issuers/", "\"").expect("a form to remove it").to_owned();
    assert_eq!(owner.post(&format!("/t/acme/trust/issuers/{remove}"), &[]).await.status, 303);
    assert!(!owner.get("/t/acme/trust").await.ok().body.contains("https://app.example/client"));
}
