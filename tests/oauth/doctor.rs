//! The connection doctor: failures that people have really had, each acted by a client that does exactly what theirs did. The Connect page
//! says where it stopped, why, and what helps; and it names nothing else.

use std::{collections::BTreeSet, time::Duration};

use chrono::TimeDelta;
use serde_json::{Value, json};
use trunkline_protocol::oauth::scope::Effect;

use crate::support::{
    Agent, Answer, Era, Page, SOON, Tenant, TestApp, Upstream, Visitor, eventually, http,
    oauth::{OAuthClient, REDIRECT, TokenPair, VERIFIER, answer_of},
    tools,
};

/// What a client does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It is told to log in, and cannot.
    DoesNotLogIn,
    /// It cuts the path off the endpoint's address and looks for metadata there.
    WrongWellKnownPath,
    /// A proxy in front terminates TLS: metadata names another scheme than the client uses.
    BehindTls,
    /// It compares `resource` with the address in its settings, finds a slash too many, and gives up.
    StopsAtResource,
    /// It knows neither metadata documents nor registration.
    CannotRegister,
    /// It registers the address of its server in the home network.
    OddRegistration,
    /// It wants `registration_client_uri` in the answer, which only RFC 7592 has.
    WantsManagement,
    /// Its metadata document is behind a bot check.
    DocumentBehindBotCheck,
    /// It keeps a registration that is not there any more.
    ForgottenRegistration,
    /// It sends its verifier as the challenge.
    PlainPkce,
    /// It listens on another name and port than the time it registered.
    RedirectChanged,
    /// Its URL library puts a slash behind the resource.
    ResourceWithSlash,
    /// Nobody is at the computer.
    NobodyDecides,
    /// Its listener is gone when the browser comes back.
    CodeNotFetched,
    /// It takes more than a minute to redeem.
    RedeemsLate,
    /// It sends its request again after a time-out.
    RedeemsTwice,
    /// Two of its windows log in at once, and share one place for the verifier.
    TwoWindows,
    /// It has tokens and does nothing with them.
    NeverCalls,
    /// It keeps one token for all servers of a host.
    OneTokenPerHost,
    /// It drops the scope of the challenge, and tries again with the same token.
    DropsScope,
    /// Its clock is slow: it takes its token for good when it is not.
    SlowClock,
    /// Two copies of it share one stored refresh token.
    SharedRefreshToken,
    /// A variable in its settings is empty.
    EmptyVariable,
}

/// What has to stand on the page: the finding, the hop where it stopped, words of the reason, words of the remedy.
type Said = (&'static str, &'static str, &'static str, &'static str);

const MODES: [(Mode, Said); 23] = [
    (Mode::DoesNotLogIn, ("does_not_log_in", "Told to log in", "was told to log in and did not try", "It cannot do OAuth")),
    (
        Mode::WrongWellKnownPath,
        (
            "no_such_metadata",
            "Read the endpoint’s metadata",
            "looked for metadata where there is none",
            "pass /.well-known/ on unchanged",
        ),
    ),
    (
        Mode::BehindTls,
        ("other_origin", "Read the endpoint’s metadata", "under another address than its public one", "X-Forwarded-Proto"),
    ),
    (
        Mode::StopsAtResource,
        ("server_not_sought", "Read the endpoint’s metadata", "did not go on to the authorization server", "even by a slash"),
    ),
    (Mode::CannotRegister, ("cannot_register", "Read the server’s metadata", "did not register", "Add it by hand under Clients")),
    (Mode::OddRegistration, ("registration_invalid", "Registered", "registration was refused", "use https")),
    (Mode::WantsManagement, ("no_browser", "Registered", "never opened a browser", "that the standard does not have")),
    (
        Mode::DocumentBehindBotCheck,
        ("document_unreachable", "Opened a browser", "metadata document could not be read", "a bot check in front of it"),
    ),
    (
        Mode::ForgottenRegistration,
        ("unknown_client", "Opened a browser", "a registration that is not there any more", "so that it registers again"),
    ),
    (Mode::PlainPkce, ("no_challenge", "Opened a browser", "does not use PKCE with S256", "There is no way around it")),
    (
        Mode::RedirectChanged,
        (
            "redirect_mismatch",
            "Opened a browser",
            "at an address that it did not register",
            "only the port of a loopback address may differ",
        ),
    ),
    (
        Mode::ResourceWithSlash,
        ("unknown_resource", "Opened a browser", "an address that is not an endpoint here", "without a slash at its end"),
    ),
    (Mode::NobodyDecides, ("nobody_decided", "Opened a browser", "nobody decided", "choose Allow")),
    (
        Mode::CodeNotFetched,
        ("code_not_fetched", "Access granted", "never fetched its tokens", "forward the port of its redirect address"),
    ),
    (Mode::RedeemsLate, ("code_expired", "Fetched tokens", "fetched its tokens too late", "A code is good for one minute")),
    (Mode::RedeemsTwice, ("code_used", "Fetched tokens", "used its code twice", "send its request twice after a time-out")),
    (Mode::TwoWindows, ("verifier_mismatch", "Fetched tokens", "does not belong to the code", "Close its other windows")),
    (Mode::NeverCalls, ("never_called", "Fetched tokens", "has never called", "what stops it is in the client")),
    (
        Mode::OneTokenPerHost,
        ("other_resource", "Told to log in", "is for another endpoint", "one log-in for several servers of the same host"),
    ),
    (Mode::DropsScope, ("insufficient_scope", "First call", "lacks a scope, and it did not ask for it", "choose more scopes")),
    (Mode::SlowClock, ("expired_or_revoked", "Told to log in", "has expired or was revoked", "Log in again from the client")),
    (
        Mode::SharedRefreshToken,
        ("refresh_reused", "", "An old refresh token was used again", "Two copies of the client share one stored log-in"),
    ),
    (
        Mode::EmptyVariable,
        ("not_a_credential", "Told to log in", "neither a key nor a token of this installation", "An empty variable"),
    ),
];

/// A client on somebody's computer, as far as all of them are the same.
struct Program<'a> {
    app: &'a TestApp,
    tenant: Tenant<'a>,
    owner: Visitor,
    toolset: String,
    headers: Vec<(&'static str, &'static str)>,
}

impl Program<'_> {
    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let request = request.header("user-agent", "editor/1.2");
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Answer::read(request.send().await.expect("an answer")).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(http().get(format!("{}{path}", self.app.url))).await
    }

    fn agent(&self, bearer: &str) -> Agent {
        self.tenant.with_token(bearer)
    }

    async fn call(&self, bearer: &str, tool: &str) -> Answer {
        let params = json!({ "name": tool, "arguments": { "text": "x" } });
        self.send(self.agent(bearer).message(Era::Stateless, "tools/call", params, "application/json")).await
    }

    /// Told to log in.
    async fn challenged(&self) {
        let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {} });
        let answer = self.send(http().post(self.tenant.mcp_url()).json(&hello)).await;
        assert_eq!(answer.status, 401, "{}", answer.text);
    }

    /// Reads the endpoint's metadata, after the challenge.
    async fn found(&self) {
        self.challenged().await;
        let path = format!("/.well-known/oauth-protected-resource/t/{}/mcp", self.tenant.slug);
        assert_eq!(self.get(&path).await.status, 200);
    }

    /// Reads the server's metadata, after that.
    async fn discovered(&self) {
        self.found().await;
        assert_eq!(self.get("/.well-known/oauth-authorization-server/oauth").await.status, 200);
    }

    async fn register_with(&self, metadata: Value) -> Answer {
        self.discovered().await;
        self.send(http().post(format!("{}/oauth/register", self.app.url)).json(&metadata)).await
    }

    /// Registers, after that.
    async fn registered(&self) -> OAuthClient {
        let metadata = json!({ "client_name": "Editor", "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none" });
        let answer = self.register_with(metadata).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let id = answer.json["client_id"].as_str().expect("a client_id").to_owned();
        OAuthClient { url: self.app.url.clone(), id, secret: None, redirect_uri: REDIRECT.to_owned() }
    }

    /// The browser opens what the client asks for.
    async fn open(&self, client: &OAuthClient, more: &[(&str, &str)]) -> Page {
        let query = client.query(&self.tenant.mcp_url(), more);
        self.owner.get(&format!("/oauth/authorize?{query}")).await
    }

    /// The person allows it, after the registration.
    async fn allowed(&self) -> (OAuthClient, String) {
        let client = self.registered().await;
        let code = client.code(&self.owner, &self.tenant.mcp_url(), &[]).await;
        (client, code)
    }

    async fn redeem(&self, client: &OAuthClient, code: &str, verifier: &str) -> Answer {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", verifier),
            ("client_id", &*client.id),
        ];
        self.send(http().post(format!("{}/oauth/token", self.app.url)).form(&form)).await
    }

    async fn refresh(&self, client: &OAuthClient, token: &str) -> Answer {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", &*client.id)];
        self.send(http().post(format!("{}/oauth/token", self.app.url)).form(&form)).await
    }

    /// Has its tokens.
    async fn connected(&self) -> (OAuthClient, TokenPair) {
        let (client, code) = self.allowed().await;
        let tokens = TokenPair::of(&self.redeem(&client, &code, VERIFIER).await);
        (client, tokens)
    }

    async fn act(&mut self, mode: Mode, upstream: &Upstream) {
        match mode {
            Mode::DoesNotLogIn => self.challenged().await,
            Mode::WrongWellKnownPath => {
                self.challenged().await;
                assert_eq!(self.get("/.well-known/oauth-protected-resource/mcp").await.status, 404);
            }
            Mode::BehindTls => {
                self.headers.push(("x-forwarded-proto", "https"));
                self.found().await;
            }
            Mode::StopsAtResource => self.found().await,
            Mode::CannotRegister => self.discovered().await,
            Mode::OddRegistration => {
                let metadata =
                    json!({ "redirect_uris": ["http://192.168.1.20:3000/callback"], "token_endpoint_auth_method": "none" });
                assert_eq!(self.register_with(metadata).await.status, 400);
            }
            Mode::WantsManagement => drop(self.registered().await),
            Mode::DocumentBehindBotCheck => {
                self.discovered().await;
                let client = self.stored(&upstream.url("/status/403"));
                assert_eq!(self.open(&client, &[]).await.status, 400);
            }
            Mode::ForgottenRegistration => {
                self.discovered().await;
                assert_eq!(self.open(&self.stored("tl_dcr_0123456789012345678901"), &[]).await.status, 400);
            }
            Mode::PlainPkce => {
                let client = self.registered().await;
                self.open(&client, &[("code_challenge", VERIFIER), ("code_challenge_method", "plain")]).await;
            }
            Mode::RedirectChanged => {
                let client = self.registered().await;
                assert_eq!(self.open(&client, &[("redirect_uri", "http://localhost:49153/callback")]).await.status, 400);
            }
            Mode::ResourceWithSlash => {
                let client = self.registered().await;
                self.open(&client, &[("resource", &format!("{}/", self.tenant.mcp_url()))]).await;
            }
            Mode::NobodyDecides => {
                let client = self.registered().await;
                assert_eq!(self.open(&client, &[]).await.status, 200);
            }
            Mode::CodeNotFetched => drop(self.allowed().await),
            Mode::RedeemsLate | Mode::RedeemsTwice | Mode::TwoWindows => self.redeem_wrongly(mode).await,
            Mode::NeverCalls => drop(self.connected().await),
            Mode::OneTokenPerHost => {
                let client = self.registered().await;
                let location = client.consent(&self.owner, &client.query(&self.toolset, &[]), &[]).await;
                let tokens = TokenPair::of(&self.redeem(&client, &answer_of(&location)["code"], VERIFIER).await);
                assert_eq!(self.call(&tokens.access, "echo").await.status, 401);
            }
            Mode::DropsScope => {
                let (_, tokens) = self.connected().await;
                assert!(self.call(&tokens.access, "echo").await.is_ok());
                for _ in 0..3 {
                    assert_eq!(self.call(&tokens.access, "writes").await.status, 403);
                }
            }
            Mode::SlowClock => {
                let (_, tokens) = self.connected().await;
                assert!(self.call(&tokens.access, "echo").await.is_ok());
                self.app.clock.advance(TimeDelta::minutes(20));
                assert_eq!(self.call(&tokens.access, "echo").await.status, 401);
            }
            Mode::SharedRefreshToken => {
                let (client, first) = self.connected().await;
                let second = TokenPair::of(&self.refresh(&client, &first.refresh).await);
                assert_eq!(self.refresh(&client, &second.refresh).await.status, 200);
                assert_eq!(self.refresh(&client, &first.refresh).await.status, 400);
            }
            Mode::EmptyVariable => assert_eq!(self.call("undefined", "echo").await.status, 401),
        }
    }

    async fn redeem_wrongly(&self, mode: Mode) {
        let (client, code) = self.allowed().await;
        match mode {
            Mode::RedeemsLate => self.app.clock.advance(TimeDelta::seconds(75)),
            Mode::RedeemsTwice => assert_eq!(self.redeem(&client, &code, VERIFIER).await.status, 200),
            _ => {}
        }
        let verifier = if mode == Mode::TwoWindows { "v".repeat(43) } else { VERIFIER.to_owned() };
        assert_eq!(self.redeem(&client, &code, &verifier).await.json["error"], json!("invalid_grant"));
    }

    /// A client that it keeps from before.
    fn stored(&self, id: &str) -> OAuthClient {
        OAuthClient { url: self.app.url.clone(), id: id.to_owned(), secret: None, redirect_uri: REDIRECT.to_owned() }
    }
}

/// One attempt on the page: its finding, its hops with their states, all of its text.
#[derive(Debug)]
struct Shown {
    finding: String,
    hops: Vec<(String, String)>,
    text: String,
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    text.split_once(before).and_then(|(_, rest)| rest.split_once(after)).map_or("", |(between, _)| between)
}

fn shown(page: &Page) -> Vec<Shown> {
    let attempts = page.body.split("<li class=\"attempt\"").skip(1);
    let attempts = attempts.map(|attempt| {
        let hops = attempt.split("<li class=\"hop is-").skip(1).map(|hop| {
            let state = hop.split('"').next().unwrap_or_default().to_owned();
            let name = between(hop, "</span><span>", "<").trim().to_owned();
            (state, name)
        });
        Shown { finding: between(attempt, "data-finding=\"", "\"").to_owned(), hops: hops.collect(), text: attempt.to_owned() }
    });
    attempts.collect()
}

/// Where it stopped: the last hop that failed, or else the last one that went well.
fn stopped_at(shown: &Shown) -> &str {
    let last = |state: &str| shown.hops.iter().rev().find(|(its, _)| its == state).map(|(_, name)| name.as_str());
    last("failed").or_else(|| last("done")).unwrap_or_default()
}

/// The page as the owner sees it, once it names something.
async fn page_of(program: &Program<'_>, wanted: &str) -> Vec<Shown> {
    let path = format!("/t/{}/connect", program.tenant.slug);
    let mut attempts = Vec::new();
    for _ in 0..100 {
        attempts = shown(&program.owner.get(&path).await.ok());
        if attempts.iter().any(|attempt| attempt.finding == wanted) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    attempts
}

#[tokio::test]
async fn each_recorded_failure_is_named_by_where_why_and_what_helps() {
    // What Redis does not take in time is not told; this machine may be busy.
    let app = TestApp::builder().set("HTTP_BEHIND_PROXY", "true").set("REDIS_TIMEOUT_MS", 5_000).start().await;
    let upstream = Upstream::start().await;
    let mut failures = Vec::new();
    for (i, (mode, (finding, hop, reason, remedy))) in MODES.into_iter().enumerate() {
        let tenant = app.tenant(&format!("acme-{i}")).await;
        tenant.tool("echo", tools::echo()).await;
        tenant.tool("writes", tools::with_effect(Effect::Write, tools::echo())).await;
        tenant.agent("agent", "tools:write").await;
        let toolset = tenant.toolset("some", &["echo"]).await;
        let owner = tenant.owner_browser().await;
        let mut program = Program { app: &app, tenant, owner, toolset, headers: Vec::new() };
        program.act(mode, &upstream).await;
        // Whoever is silent for that long has stopped.
        app.clock.advance(TimeDelta::minutes(3));
        let attempts = page_of(&program, finding).await;
        let named: BTreeSet<&str> = attempts.iter().map(|one| one.finding.as_str()).filter(|name| !name.is_empty()).collect();
        if named != BTreeSet::from([finding]) {
            failures.push(format!("{mode:?}: named {named:?} instead of {finding}"));
            continue;
        }
        let it = attempts.iter().find(|one| one.finding == finding).expect("it is there");
        if !hop.is_empty() && stopped_at(it) != hop {
            failures.push(format!("{mode:?}: stopped at {} instead of {hop}: {:?}", stopped_at(it), it.hops));
        }
        for words in [reason, remedy] {
            if !it.text.contains(words) {
                failures.push(format!("{mode:?}: not said: {words}: {}", it.text));
            }
        }
        // Refusals in the browser are told of the browser, which says less of itself.
        if !it.text.contains("editor/1.2") && !it.text.contains("without a name") {
            failures.push(format!("{mode:?}: it does not say which program: {}", it.text));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let distinct: BTreeSet<&str> = MODES.iter().map(|(_, said)| said.0).collect();
    assert!(MODES.len() >= 10 && distinct.len() == MODES.len(), "each has a name of its own");
}

#[tokio::test]
async fn a_client_that_arrives_and_one_that_steps_up_are_named_by_nothing() {
    let app = TestApp::builder().set("REDIS_TIMEOUT_MS", 5_000).start().await;
    let tenant = app.tenant("acme").await;
    tenant.tool("echo", tools::echo()).await;
    tenant.tool("writes", tools::with_effect(Effect::Write, tools::echo())).await;
    tenant.agent("agent", "tools:write").await;
    let owner = tenant.owner_browser().await;
    let program = Program { app: &app, toolset: String::new(), tenant, owner, headers: Vec::new() };
    // It looks for metadata everywhere, as many do, before it takes what the challenge says.
    program.challenged().await;
    for path in ["/.well-known/oauth-protected-resource", "/.well-known/openid-configuration/t/acme/mcp"] {
        assert_eq!(program.get(path).await.status, 404);
    }
    let (client, tokens) = program.connected().await;
    assert!(program.call(&tokens.access, "echo").await.is_ok());
    assert_eq!(program.call(&tokens.access, "writes").await.status, 403);
    let more = [("scopes", "tools:read"), ("scopes", "tools:write")];
    let code = client.code(&program.owner, &program.tenant.mcp_url(), &more).await;
    let wider = TokenPair::of(&program.redeem(&client, &code, VERIFIER).await);
    assert!(program.call(&wider.access, "writes").await.is_ok());
    app.clock.advance(TimeDelta::minutes(3));
    let attempts = eventually("its call is told", SOON, async || {
        let attempts = shown(&program.owner.get("/t/acme/connect").await.ok());
        let has_arrived = |attempt: &Shown| attempt.finding.is_empty() && attempt.text.contains(">connected<");
        attempts.iter().any(has_arrived).then_some(attempts)
    })
    .await;
    assert!(attempts.iter().all(|attempt| attempt.finding.is_empty()), "{attempts:#?}");
}
