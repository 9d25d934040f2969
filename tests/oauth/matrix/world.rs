//! What all cases act in: an installation with two tenants, a person, clients, and a program that speaks one revision.

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};
use trunkline_platform::oauth::NewProof;
use trunkline_protocol::oauth::scope::Effect;

use super::report::{Seen, holds, same};
use crate::support::{
    Agent, Answer, Era, Page, Tenant, TestApp, Upstream, Visitor, http, message,
    oauth::{OAuthClient, TokenPair, answer_of},
    tools,
};

/// Where the confidential client wants its answers.
pub(super) const WEB: &str = "https://app.example/cb";
/// The first revision without a handshake.
const STATELESS: &str = "2026-07-28";

/// The installation and everybody in it.
pub(super) struct World<'a> {
    pub(super) app: &'a TestApp,
    /// What programs speak.
    pub(super) revision: &'static str,
    pub(super) acme: Tenant<'a>,
    pub(super) bravo: Tenant<'a>,
    /// A toolset's endpoint of acme.
    pub(super) toolset: String,
    /// The owner of acme.
    pub(super) owner: Visitor,
    /// Acme's agent.
    pub(super) agent: Agent,
    /// Registered itself; a program on the person's computer.
    pub(super) client: OAuthClient,
    /// Made by a member, with a secret; a web site.
    pub(super) web: OAuthClient,
    pub(super) upstream: Upstream,
}

impl<'a> World<'a> {
    pub(super) async fn new(app: &'a TestApp, revision: &'static str) -> Self {
        let (acme, bravo) = (app.tenant("acme").await, app.tenant("bravo").await);
        let upstream = Upstream::start().await;
        acme.tool("echo", tools::echo()).await;
        acme.tool("fetches", tools::get(&upstream.url("/json"))).await;
        acme.tool("writes", tools::with_effect(Effect::Write, tools::echo())).await;
        acme.tool("destroys", tools::with_effect(Effect::Destructive, tools::echo())).await;
        bravo.tool("echo", tools::echo()).await;
        bravo.agent("agent", "tools:read").await;
        let agent = acme.agent("agent", "tools:write resources:read").await;
        let toolset = acme.toolset("some", &["echo"]).await;
        let owner = acme.owner_browser().await;
        let client = OAuthClient::register(app).await;
        let mut web = acme.client(NewProof::Secret, Some(agent.id)).await.client;
        web.redirect_uri = WEB.to_owned();
        let world = Self { app, revision, acme, bravo, toolset, owner, agent, client, web, upstream };
        world.let_web_be_answered().await;
        world
    }

    /// Clients that the suite makes are on the person's computer; this one is a web site.
    async fn let_web_be_answered(&self) {
        let mut sql = self.app.sql().await;
        sqlx::query("UPDATE app.clients SET redirect_uris = ARRAY[$2] WHERE client_id = $1")
            .bind(&self.web.id)
            .bind(WEB)
            .execute(&mut sql)
            .await
            .expect("another redirect URI");
    }

    pub(super) fn issuer(&self) -> String {
        format!("{}/oauth", self.app.url)
    }

    /// Where acme's endpoint says what it is.
    pub(super) fn metadata_url(&self) -> String {
        format!("{}/.well-known/oauth-protected-resource/t/acme/mcp", self.app.url)
    }

    /// The challenge of acme's endpoint, exactly.
    pub(super) fn challenge(&self, is_wrong: bool) -> String {
        let error = if is_wrong { "error=\"invalid_token\", " } else { "" };
        format!("Bearer {error}resource_metadata=\"{}\", scope=\"tools:read\"", self.metadata_url())
    }

    /// Seconds since 1970.
    pub(super) fn now(&self) -> i64 {
        trunkline_platform::clock::Clock::now(&*self.app.clock).timestamp()
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        Answer::read(http().get(format!("{}{path}", self.app.url)).send().await.expect("an answer")).await
    }

    /// The person opens the authorization endpoint with that query.
    pub(super) async fn open(&self, person: &Visitor, query: &str) -> Page {
        person.get(&format!("/oauth/authorize?{query}")).await
    }

    /// The owner opens it for the client that registered itself, with these fields changed.
    pub(super) async fn ask(&self, more: &[(&str, &str)]) -> Page {
        self.open(&self.owner, &self.client.query(&self.acme.mcp_url(), more)).await
    }

    /// A code of the client that registered itself.
    pub(super) async fn code(&self) -> String {
        self.client.code(&self.owner, &self.acme.mcp_url(), &[]).await
    }

    /// Tokens of the client that registered itself.
    pub(super) async fn connect(&self, scopes: &[&str]) -> TokenPair {
        self.client.connect(&self.owner, &self.acme, scopes).await
    }

    /// A code of that client for that request, by the shortest way: a page only if there is one.
    pub(super) async fn code_of(&self, client: &OAuthClient, more: &[(&str, &str)]) -> String {
        let location = client.consent(&self.owner, &client.query(&self.acme.mcp_url(), more), &[]).await;
        answer_of(&location)["code"].clone()
    }

    /// A form to the token endpoint, put together by the case.
    pub(super) fn form(&self, path: &str, fields: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        http().post(format!("{}{path}", self.app.url)).header("content-type", "application/x-www-form-urlencoded").body(body)
    }

    /// Does the token open the endpoint?
    pub(super) async fn works(&self, token: &str) -> Seen {
        let answer = self.call(token, "echo").await;
        holds("the token works", answer.is_ok(), (answer.status, answer.text))
    }

    /// Is the token refused, with the challenge of a token that does not work?
    pub(super) async fn is_dead(&self, token: &str) -> Seen {
        let answer = self.call(token, "echo").await;
        let seen = (answer.status, answer.header("www-authenticate").to_owned());
        same("answer to a dead token", seen, (401, self.challenge(true)))
    }

    /// Calls a tool as a program of this revision does, from the first message on.
    pub(super) async fn call(&self, token: &str, tool: &str) -> Answer {
        let params = json!({ "name": tool, "arguments": if tool == "fetches" { json!({}) } else { json!({ "text": "x" }) } });
        self.speak(&self.acme.mcp_url(), &[("authorization", &format!("Bearer {token}"))], "tools/call", params).await
    }

    /// Lists tools as a program of this revision does.
    pub(super) async fn list(&self, url: &str, headers: &[(&str, &str)]) -> Answer {
        self.speak(url, headers, "tools/list", json!({})).await
    }

    /// The first message of this revision's programs, which is where they meet the challenge.
    pub(super) fn first(&self, url: &str) -> reqwest::RequestBuilder {
        if self.revision == STATELESS {
            return self.stateless(url, "tools/list", json!({}));
        }
        let hello =
            json!({ "protocolVersion": self.revision, "capabilities": {}, "clientInfo": { "name": "matrix", "version": "1" } });
        bare(url, Method::POST).json(&json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello }))
    }

    /// The whole exchange: where the revision has sessions, in one that is begun and ended for it.
    pub(super) async fn speak(&self, url: &str, headers: &[(&str, &str)], method: &str, params: Value) -> Answer {
        let with = |request: reqwest::RequestBuilder| {
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
        };
        let send = async |request: reqwest::RequestBuilder| Answer::read(with(request).send().await.expect("an answer")).await;
        if self.revision == STATELESS {
            return send(self.stateless(url, method, params)).await;
        }
        let begun = send(self.first(url)).await;
        if begun.status != 200 {
            return begun;
        }
        assert_eq!(begun.json["result"]["protocolVersion"], json!(self.revision), "{}", begun.text);
        let session = begun.header("mcp-session-id").to_owned();
        let within = |verb: Method| {
            let request = bare(url, verb).header("mcp-session-id", &session);
            if self.revision == "2025-03-26" { request } else { request.header("mcp-protocol-version", self.revision) }
        };
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let ready = send(within(Method::POST).json(&ready)).await;
        if ready.status != 202 {
            return ready;
        }
        let asked = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = send(within(Method::POST).json(&asked)).await;
        drop(send(within(Method::DELETE)).await);
        answer
    }

    fn stateless(&self, url: &str, method: &str, params: Value) -> reqwest::RequestBuilder {
        let mut request = bare(url, Method::POST).header("mcp-protocol-version", self.revision).header("mcp-method", method);
        if let Some(name) = params["name"].as_str().or_else(|| params["uri"].as_str()) {
            request = request.header("mcp-name", name);
        }
        request.json(&message(Era::Stateless, method, params))
    }
}

fn bare(url: &str, method: Method) -> reqwest::RequestBuilder {
    http().request(method, url).header("accept", "application/json, text/event-stream")
}

/// The installation's own signing key: whoever has it signs whatever they like, and still has to say the right thing.
pub(super) struct SigningKey {
    pub(super) kid: String,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// The key that signed this token.
    pub(super) async fn of(app: &TestApp, token: &str) -> Self {
        let kid = part(token, 0)["kid"].as_str().expect("a kid").to_owned();
        let sealed: Vec<u8> = sqlx::query_scalar("SELECT sealed FROM app.signing_keys WHERE kid = $1")
            .bind(&kid)
            .fetch_one(&mut app.sql().await)
            .await
            .expect("the key");
        let opened = app.platform.master_key.derive("signing keys").open(&kid, &sealed).expect("it opens");
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&opened).expect("a key");
        Self { kid, pair }
    }

    /// A token of these two, signed.
    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", encode(header), encode(claims));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.pair.sign(text.as_bytes()));
        format!("{text}.{signature}")
    }
}

/// A part of a token.
pub(super) fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).expect("three parts");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

/// As a part of a token.
pub(super) fn encode(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}
