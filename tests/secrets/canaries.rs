//! S-01: whatever is secret, said to a tool or said by one is planted, used in every way that it can be used and misused, and then looked for in
//! every place that the installation writes to.

use std::{fs, io::Read as _};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;
use trunkline::services::free_port;
use trunkline_platform::{
    catalog::{Executor, FunctionTool, HttpMethod, NewVersion, Place as At},
    oauth::NewProof,
    random,
};

use super::{
    places::{self, Place},
    scan::Canaries,
};
use crate::{
    connections::{World, provider::Service},
    people::sso,
    support::{
        Agent, Era, PASSWORD, Replica, SESSION, SOON, SPOOL_DIR, TestApp, Upstream, Visitor,
        collector::{Collector, Manner},
        eventually, http,
        oauth::{OAuthClient, TokenPair, answer_of, challenge},
        openid::{self, OpenId},
        private::Folder,
        process, say, tools, upstream,
    },
};

const OWNER: &str = "owner@acme.example";

const LOGGED: &str = "what a function logs and throws";

/// Where something may stand that is looked for: what a function logs, on the page where its author wants it to be kept.
fn is_meant(what: &str, place: &str) -> bool {
    what == LOGGED && place.starts_with("page /t/acme/tools/tool_") && place.ends_with("/logs")
}

fn draw() -> String {
    format!("Cnry{}", random::base62(20))
}

/// The part of a bearer that is no public text: a signature, or what was drawn.
fn secret_part(token: &str) -> &str {
    let part = if token.contains('.') { token.rsplit('.').next() } else { token.split('_').max_by_key(|part| part.len()) };
    part.expect("a part")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_01_no_secret_argument_result_or_address_is_found_again() {
    process::binary();
    let (collector, folder) = (Collector::start(Manner::Takes).await, Folder::new("canaries"));
    let mut app = TestApp::builder()
        .unlimited()
        .set("TELEMETRY_OTLP_ENDPOINT", collector.url())
        .set("TELEMETRY_SAMPLE_RATIO", "1")
        .start()
        .await;
    let (spool, printed, ops) = (folder.0.join("spool"), folder.0.join("printed"), free_port().expect("a port"));
    let settings = [
        (SPOOL_DIR, &*spool.display().to_string()),
        ("TRUNKLINE_LOG_LEVEL", "trace"),
        ("TRUNKLINE_OPS_LISTEN", &format!("127.0.0.1:{ops}")),
    ];
    let file = fs::File::create(&printed).expect("a file");
    let replica = Replica::start_telling(&app, free_port().expect("a port"), &settings, Some(&file)).await;
    // Whatever a test does with an address it does at the process, whose output is kept.
    app.url.clone_from(&replica.url);

    let mut canaries = Canaries::default();
    let (service, upstream) = (Service::start().await, Upstream::start().await);
    let world = World::new(&app, &service).await;
    let owner = people(&app, &world, &mut canaries).await;
    let caller = clients(&world, &owner, &mut canaries).await;
    calls(&world, &owner, &caller, &upstream, &mut canaries).await;
    for token in service.tokens() {
        canaries.plant("a token of an upstream server", secret_part(token.rsplit('-').next().expect("a part")));
    }
    misuse(&app, &mut canaries).await;
    let key = &app.settings()["TRUNKLINE_SECRETS_KEY"];
    canaries.plant("the key of the installation", key.trim_end_matches('='));
    canaries.plant("the key of the installation, decoded", BASE64_STANDARD.decode(key).expect("base64"));

    eventually("all calls are in the record", SOON * 2, async || {
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM app.calls").fetch_one(&mut app.sql().await).await;
        (count.expect("a count") >= 12).then_some(())
    })
    .await;
    eventually("spans", SOON, async || (collector.spans().len() > 20).then_some(())).await;

    let metrics =
        http().get(format!("http://127.0.0.1:{ops}/metrics")).send().await.expect("metrics").text().await.expect("text");
    let mut elsewhere = vec![("metrics".to_owned(), metrics.into_bytes()), ("spans".to_owned(), collector.raw())];
    elsewhere.extend(places::redis(&app).await);
    elsewhere.extend(places::files("spool", &spool));
    let mut read = Vec::new();
    fs::File::open(&printed).expect("what it printed").read_to_end(&mut read).expect("bytes");
    assert!(read.len() > 100_000, "it logs everything: {} bytes", read.len());
    elsewhere.push(("log".to_owned(), read));
    let mut stored = places::tables(&mut app.sql().await).await;
    let exports = ["what=calls&format=jsonl", "what=calls&format=csv", "format=jsonl", "format=csv"];
    for query in exports {
        let export = owner.get(&format!("/t/acme/audit/export?{query}")).await.ok();
        assert!(export.body.len() > 500, "{query}: {}", export.body);
        stored.push((format!("export {query}"), export.body.into_bytes()));
    }
    let pages = places::pages(&owner, 150).await;
    assert!(pages.len() > 40, "{} pages", pages.len());

    let bytes = |places: &[Place]| places.iter().map(|(_, data)| data.len()).sum::<usize>() >> 10;
    say(&format!(
        "S-01: {} canaries; {} tables and exports ({} KiB), {} pages ({} KiB), {} places elsewhere ({} KiB)",
        canaries.len(),
        stored.len(),
        bytes(&stored),
        pages.len(),
        bytes(&pages),
        elsewhere.len(),
        bytes(&elsewhere)
    ));
    let mut hits = hits(&canaries, stored.iter().chain(&pages).chain(&elsewhere));
    // Who somebody is stands in tables and on pages of their tenant, and nowhere else.
    let mut addresses = Canaries::default();
    addresses.plant("the owner's address", OWNER);
    hits.extend(self::hits(&addresses, elsewhere.iter()));
    assert!(hits.is_empty(), "{hits:#?}");
    replica.stop();
}

fn hits<'p>(canaries: &Canaries, places: impl Iterator<Item = &'p Place>) -> Vec<String> {
    let in_place = |(name, data): &Place| {
        let found = canaries.found_in(data).into_iter().filter(|(what, _)| !is_meant(what, name));
        found.map(|(what, around)| format!("{what} in {name}: …{around}…")).collect::<Vec<_>>()
    };
    places.flat_map(in_place).collect()
}

/// Members: passwords, sessions, a provider's tokens, the secret that we have at the provider, the secret of a webhook. Gives the owner's browser.
async fn people(app: &TestApp, world: &World<'_>, canaries: &mut Canaries) -> Visitor {
    let (password, wrong) = (draw(), draw());
    let owner = Visitor::signed_in(&app.url, OWNER).await;
    owner.post("/account/password", &[("password", &password)]).await.leads_to("/account/security");
    Visitor::new(&app.url).log_in(OWNER, &wrong).await;
    Visitor::new(&app.url).log_in(&format!("{wrong}@nowhere.example"), PASSWORD).await;
    let again = Visitor::new(&app.url);
    again.log_in(OWNER, &password).await.leads_to("/");
    canaries.plant("a password", password);
    canaries.plant("a wrong password", wrong);
    for browser in [&world.owner, &owner, &again] {
        canaries.plant("a session's cookie", browser.cookie(SESSION).expect("a session"));
    }

    let provider = OpenId::start().await;
    let claim = draw();
    let mut ada = sso::person("ada", "ada@acme.example", &["Builders"]);
    ada["nickname"] = json!(claim);
    provider.says(ada);
    sso::connect_as(&owner, &provider, "acme").await;
    let visitor = Visitor::new(&app.url);
    let back = sso::way_back(app, &visitor, "acme", "").await;
    visitor.get(&back).await.leads_to("/t/acme");
    canaries.plant("a claim of an ID token", claim);
    canaries.plant("our secret at the provider of identities", openid::CLIENT.1);
    canaries.plant("a session's cookie", visitor.cookie(SESSION).expect("a session"));

    let fields = [("roles", "owner"), ("webhook", "http://127.0.0.1:9/hook"), ("chat", "")];
    let page = owner.post("/t/acme/alerts/targets", &fields).await.ok();
    canaries.plant("the secret of a webhook", page.between("whsec_", "<").expect("a secret"));
    owner
}

/// Clients of agents: codes, verifiers, tokens, secrets, keys. Gives who may call.
async fn clients(world: &World<'_>, owner: &Visitor, canaries: &mut Canaries) -> Agent {
    let (acme, client) = (&world.acme, world.client());
    let verifier = draw() + &draw();
    let query = client.query(&acme.mcp_url(), &[("code_challenge", &challenge(&verifier))]);
    let scopes = [("scopes", "tools:read"), ("scopes", "tools:write")];
    let code = answer_of(&client.consent(owner, &query, &scopes).await)["code"].clone();
    let redeem = async |code: &str, verifier: &str| {
        let uri = client.redirect_uri.as_str();
        let fields = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", uri), ("code_verifier", verifier)];
        client.token(&fields).await
    };
    // One that is spoilt by a wrong verifier, and one that is good.
    let second = answer_of(&client.consent(owner, &query, &scopes).await)["code"].clone();
    let wrong = draw() + &draw();
    assert_eq!(redeem(&second, &wrong).await.status, 400);
    let tokens = TokenPair::of(&redeem(&code, &verifier).await);
    let fresh = TokenPair::of(&client.refresh(&tokens.refresh).await);
    for (name, secret) in [("a code", &code), ("a code", &second), ("a verifier", &verifier), ("a wrong verifier", &wrong)] {
        canaries.plant(name, secret_part(secret));
    }
    for pair in [&tokens, &fresh] {
        canaries.plant("an access token", secret_part(&pair.access));
        canaries.plant("a refresh token", secret_part(&pair.refresh));
    }

    let agent = acme.agent("keyed", "tools:read tools:write").await;
    let made = acme.client(NewProof::Secret, Some(agent.id)).await;
    let secret = made.client.secret.clone().expect("a secret");
    let by_itself = made.client.token(&[("grant_type", "client_credentials"), ("resource", &acme.mcp_url())]).await;
    canaries.plant("a client's own access token", secret_part(&TokenPair::of(&by_itself).access));
    canaries.plant("a client's secret", secret_part(&secret));
    let liar = OAuthClient { secret: Some(draw()), ..made.client };
    assert_eq!(liar.token(&[("grant_type", "client_credentials")]).await.status, 401);
    canaries.plant("a wrong secret of a client", liar.secret.as_deref().expect("a secret"));
    canaries.plant("an agent's key", secret_part(&agent.key));
    for bearer in [&fresh.access, &agent.key] {
        assert_eq!(acme.with_token(bearer).list(Era::Stateless).await.status, 200);
    }
    agent
}

/// Arguments and results, of tools of each kind, and what upstream servers are sent beside.
async fn calls(world: &World<'_>, owner: &Visitor, caller: &Agent, upstream: &Upstream, canaries: &mut Canaries) {
    let acme = &world.acme;
    let (header, argument, result, logged) = (draw(), draw(), draw(), draw());
    upstream.serve_document(&json!({ "answer": result }).to_string());
    let query = [("q", At::Query)];
    let asks = |path: &str| tools::with_secret("x-api-key", &header, tools::http(HttpMethod::Get, &upstream.url(path), &query));
    acme.tool("ask", asks("/document")).await;
    acme.tool("fails", asks("/status/500")).await;
    acme.tool("moves", asks("/redirect")).await;
    let body = tools::http(HttpMethod::Post, &upstream.url("/document"), &[("q", At::Body)]);
    acme.tool("tell", tools::with_effect(trunkline_protocol::oauth::scope::Effect::Write, body)).await;
    acme.tool("echo", tools::echo()).await;
    acme.tool("shout", shouting()).await;
    for era in Era::ALL {
        for tool in ["ask", "fails", "moves", "tell"] {
            let answer = caller.call(era, tool, json!({ "q": argument })).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(answer.is_ok(), tool == "ask" || tool == "tell", "{tool}: {}", answer.text);
        }
        assert_eq!(caller.echo(&argument).await.result(), argument);
        // What it does not take, and what is not there.
        caller.call(era, "ask", json!({ "other": argument, "q": { "deep": argument } })).await;
        caller.call(era, "nothing", json!({ "q": argument })).await;
        let shouted = caller.call(era, "shout", json!({ "text": logged })).await;
        assert_eq!(shouted.error_class(), "tool_threw", "{}", shouted.text);
    }
    let with_account = world.caller(owner).await;
    with_account.call(Era::Stateless, "files.whoami", json!({ "q": argument })).await;
    let seen = upstream.seen();
    assert!(seen.iter().any(|seen| seen.line.contains(&argument)), "it was said in an address");
    assert!(seen.iter().any(|seen| seen.body.contains(&argument)), "it was said in a body");
    assert!(seen.iter().any(|seen| seen.head.contains(&header.to_lowercase())), "the secret was sent");
    canaries.plant("a secret for an upstream server", header);
    canaries.plant("an argument", argument);
    canaries.plant("a result", result);
    canaries.plant(LOGGED, logged);
    canaries.plant("the body of an upstream server's error", upstream::CANARY);
}

/// Says what it is told in every way that code has.
fn shouting() -> NewVersion {
    let code = "export default ({ text }) => { console.log(text); console.error({ text }); throw new Error(text) }";
    let function = FunctionTool {
        code: code.to_owned(),
        input_schema: json!({ "type": "object" }),
        hosts: Vec::new(),
        secret_header: None,
        timeout_ms: 5_000,
        keep_logs: true,
    };
    NewVersion { executor: Executor::Function(function), ..tools::echo() }
}

/// Secrets where none belongs: addresses, headers, broken bodies.
async fn misuse(app: &TestApp, canaries: &mut Canaries) {
    let secret = draw();
    for path in ["/nowhere", "/t/acme/mcp", "/login", "/oauth/authorize", "/oauth/token", "/t/acme/tools", "/healthz"] {
        let url = format!("{}{path}?token={secret}&access_token={secret}", app.url);
        let request = http().get(&url).header("referer", &url).header("x-forwarded-for", &secret).bearer_auth(&secret);
        request.header("cookie", format!("{SESSION}={secret}")).send().await.expect("an answer");
        let broken = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{secret}\",\"params\":{{\"{secret}\":\"{secret}");
        let request = http().post(&url).bearer_auth(&secret).header("content-type", "application/json");
        request
            .header("mcp-protocol-version", &secret)
            .header("mcp-session-id", &secret)
            .body(broken)
            .send()
            .await
            .expect("an answer");
    }
    canaries.plant("a secret in an address, a header or a broken body", secret);
}
