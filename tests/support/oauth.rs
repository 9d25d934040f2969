//! An OAuth client, and the person who lets it act.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::Digest as _;
use trunkline_platform::{
    ids::{AgentId, ClientId, KeyId},
    oauth::{self, NewClient, NewProof},
};

use super::{Agent, Answer, Era, Tenant, TestApp, Visitor, http, message};

/// The redirect URI of clients that have no reason for another one.
pub(crate) const REDIRECT: &str = "http://127.0.0.1:9/callback";
/// RFC 7636 appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// The same with another last character.
pub(crate) fn other_end(text: &str) -> String {
    let (head, last) = text.split_at(text.len() - 1);
    format!("{head}{}", if last == "x" { "y" } else { "x" })
}

/// The challenge of a verifier.
pub(crate) fn challenge(verifier: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(verifier.as_bytes()))
}

/// A client.
#[derive(Debug, Clone)]
pub(crate) struct OAuthClient {
    /// `http://127.0.0.1:…` of the installation.
    pub(crate) url: String,
    /// As it shows itself.
    pub(crate) id: String,
    /// Its secret, if it has one.
    pub(crate) secret: Option<String>,
    /// Where it wants answers.
    pub(crate) redirect_uri: String,
}

/// What a token request gave.
#[derive(Debug, Clone)]
pub(crate) struct TokenPair {
    /// The access token.
    pub(crate) access: String,
    /// The refresh token.
    pub(crate) refresh: String,
    /// What it may use.
    pub(crate) scope: String,
}

impl TokenPair {
    /// From an answer; the test fails if it is none.
    #[track_caller]
    pub(crate) fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{}", answer.text);
        let text = |name: &str| answer.json[name].as_str().unwrap_or_default().to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token"), scope: text("scope") }
    }
}

/// Fields of an answer to an authorization request, from where the browser was led.
pub(crate) fn answer_of(location: &str) -> BTreeMap<String, String> {
    let url = url::Url::parse(location).unwrap_or_else(|_| panic!("no answer: {location}"));
    url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

impl OAuthClient {
    /// One that registers itself, without a secret.
    pub(crate) async fn register(app: &TestApp) -> Self {
        Self::register_with(
            app,
            json!({ "client_name": "Test client", "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none" }),
        )
        .await
    }

    /// One that registers itself so.
    pub(crate) async fn register_with(app: &TestApp, metadata: Value) -> Self {
        let answer = http().post(format!("{}/oauth/register", app.url)).json(&metadata).send().await.expect("an answer");
        let answer = Answer::read(answer).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        Self {
            url: app.url.clone(),
            id: answer.json["client_id"].as_str().expect("a client_id").to_owned(),
            secret: answer.json["client_secret"].as_str().map(str::to_owned),
            redirect_uri: answer.json["redirect_uris"][0].as_str().expect("a redirect URI").to_owned(),
        }
    }

    /// The query of an authorization request; `more` replaces fields, an empty value takes them out.
    pub(crate) fn query(&self, resource: &str, more: &[(&str, &str)]) -> String {
        let challenge = challenge(VERIFIER);
        let mut fields = vec![
            ("response_type", "code"),
            ("client_id", self.id.as_str()),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("state", "st&te=1"),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("resource", resource),
            ("scope", "tools:read"),
        ];
        for (name, value) in more {
            fields.retain(|(other, _)| other != name);
            fields.push((name, value));
        }
        let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
    }

    /// The person opens the page and allows it, with what stands there. Gives where the browser is led.
    pub(crate) async fn consent(&self, person: &Visitor, query: &str, more: &[(&str, &str)]) -> String {
        allow(person, query, more).await
    }

    /// Asks, is allowed, and gets a code.
    pub(crate) async fn code(&self, person: &Visitor, resource: &str, more: &[(&str, &str)]) -> String {
        let location = self.consent(person, &self.query(resource, &[]), more).await;
        let answer = answer_of(&location);
        answer.get("code").unwrap_or_else(|| panic!("no code: {location}")).clone()
    }

    /// A request to the token endpoint.
    pub(crate) async fn token(&self, fields: &[(&str, &str)]) -> Answer {
        self.post("/oauth/token", fields).await
    }

    /// A form of this client.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut request = http().post(format!("{}{path}", self.url));
        let mut form: Vec<(&str, &str)> = fields.to_vec();
        match &self.secret {
            Some(secret) => request = request.basic_auth(&self.id, Some(secret)),
            None => form.push(("client_id", &self.id)),
        }
        Answer::read(request.form(&form).send().await.expect("an answer")).await
    }

    /// Exchanges a code.
    pub(crate) async fn redeem(&self, code: &str) -> Answer {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", VERIFIER),
        ];
        self.token(&fields).await
    }

    /// Exchanges a refresh token.
    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    /// The whole way: a token for that tenant's endpoint, with those scopes.
    pub(crate) async fn connect(&self, person: &Visitor, tenant: &Tenant<'_>, scopes: &[&str]) -> TokenPair {
        let more: Vec<_> = scopes.iter().map(|scope| ("scopes", *scope)).collect();
        let code = self.code(person, &tenant.mcp_url(), &more).await;
        TokenPair::of(&self.redeem(&code).await)
    }
}

/// The person opens the page and allows what is asked by that query, with what stands there. Gives where the browser is led.
pub(crate) async fn allow(person: &Visitor, query: &str, more: &[(&str, &str)]) -> String {
    let page = person.get(&format!("/oauth/authorize?{query}")).await;
    if page.status == 303 {
        return page.location().to_owned();
    }
    let page = page.ok();
    let agent = page.between("name=\"agent\" value=\"", "\"").unwrap_or("new").to_owned();
    let fields = consent_form(&page.body);
    let mut form: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    form.extend([("agent", agent.as_str()), ("hours", "720"), ("decision", "allow")]);
    if !more.iter().any(|(name, _)| *name == "scopes") {
        form.push(("scopes", "tools:read"));
    }
    form.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    form.extend(more.iter().copied());
    let answer = person.post("/oauth/authorize", &form).await;
    assert_eq!(answer.status, 303, "{}", answer.body);
    answer.location().to_owned()
}

/// The hidden fields of the consent page.
pub(crate) fn consent_form(page: &str) -> Vec<(String, String)> {
    let hidden = |name: &str| {
        let start = format!("type=\"hidden\" name=\"{name}\" value=\"");
        let (_, rest) = page.split_once(&start).unwrap_or_else(|| panic!("no field {name}"));
        let value = rest.split('"').next().unwrap_or_default();
        let value =
            value.replace("&#38;", "&").replace("&amp;", "&").replace("&#34;", "\"").replace("&#39;", "'").replace("&#60;", "<");
        (name.to_owned(), value.replace("&#62;", ">"))
    };
    vec![hidden("request"), hidden("proof"), hidden("resource")]
}

impl Tenant<'_> {
    /// Whoever calls with that token.
    pub(crate) fn with_token(&self, token: &str) -> Agent {
        let now = chrono::DateTime::UNIX_EPOCH;
        self.with_key(AgentId::new(now), KeyId::new(now), token)
    }

    /// The owner's browser.
    pub(crate) async fn owner_browser(&self) -> Visitor {
        Visitor::signed_in(&self.app.url, &format!("owner@{}.example", self.slug)).await
    }
}

/// What a member makes a client with.
pub(crate) struct Made {
    /// The client.
    pub(crate) client: OAuthClient,
    /// Its id in the tenant.
    pub(crate) id: ClientId,
}

impl Tenant<'_> {
    /// A client that the owner makes; it acts by itself as that agent.
    pub(crate) async fn client(&self, proof: NewProof, agent: Option<AgentId>) -> Made {
        let owner = self.owner.clone();
        let created = self
            .app
            .act(|platform| async move {
                let new = NewClient::parse("Service", REDIRECT, proof, agent).expect("a client");
                oauth::add_client(&platform, &owner, new).await.expect("the client is made")
            })
            .await;
        let client = OAuthClient {
            url: self.app.url.clone(),
            id: created.client_id,
            secret: created.secret.map(|secret| secret.reveal().to_owned()),
            redirect_uri: REDIRECT.to_owned(),
        };
        Made { client, id: created.id }
    }
}

/// The claims of a token, whoever has signed them.
pub(crate) fn claims_of(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap_or_else(|| panic!("no token: {token}"));
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).expect("base64url")).expect("JSON")
}

/// A form to the token endpoint, with these headers.
pub(crate) async fn token_request(url: &str, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Answer {
    let mut request = http().post(format!("{url}/oauth/token"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::read(request.form(fields).send().await.expect("an answer")).await
}

/// Lists tools with these headers.
pub(crate) async fn list_with(client: &reqwest::Client, url: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = client
        .post(url)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", Era::Stateless.revision())
        .header("mcp-method", "tools/list");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::read(request.json(&message(Era::Stateless, "tools/list", json!({}))).send().await.expect("an answer")).await
}
