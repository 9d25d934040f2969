//! Revocation and the change of signing keys while three replicas answer 200 calls a second.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use trunkline_platform::{
    clock::{Clock as _, ManualClock},
    oauth,
};

use crate::support::{
    Answer, Era, Tenant, TestApp, eventually, http, message,
    oauth::{OAuthClient, TokenPair},
    say, tools,
};

const REPLICAS: usize = 3;
const CALLERS: u64 = 8;
const PER_SECOND: u64 = 200;
/// Grants that are revoked.
const ROUNDS: usize = 40;
/// How often each replica is asked meanwhile: without a pause, the asking itself would be most of the load.
const ASKED_EVERY: Duration = Duration::from_millis(20);
/// Minutes that pass while keys change, and the calls of each.
const MINUTES: usize = 40;
const CALLS_A_MINUTE: usize = 50;

/// The endpoint of one tenant on each replica, under the one name that the installation has.
#[derive(Debug, Clone)]
struct Endpoints {
    host: String,
    urls: Vec<String>,
}

impl Endpoints {
    async fn start(app: &TestApp, tenant: &Tenant<'_>) -> (Self, Vec<TestApp>) {
        let (mut replicas, mut urls) = (Vec::new(), vec![tenant.mcp_url()]);
        while urls.len() < REPLICAS {
            let replica = app.with_settings(&[("PUBLIC_URL", &app.url)]).await;
            urls.push(tenant.mcp_url().replace(&app.url, &replica.url));
            replicas.push(replica);
        }
        (Self { host: app.url.trim_start_matches("http://").to_owned(), urls }, replicas)
    }

    /// One call at that replica.
    async fn call(&self, replica: usize, bearer: &str) -> Answer {
        let body = message(Era::Stateless, "tools/call", json!({ "name": "echo", "arguments": { "text": "x" } }));
        let request = http().post(&self.urls[replica]).header("host", &self.host).bearer_auth(bearer);
        let request = request.header("mcp-protocol-version", "2026-07-28").header("mcp-method", "tools/call");
        let request = request.header("mcp-name", "echo").header("accept", "application/json");
        Answer::read(request.json(&body).send().await.expect("an answer")).await
    }
}

/// Runs `call` with the number of each call, `PER_SECOND` times a second, until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicUsize>,
    callers: JoinSet<()>,
}

impl Load {
    fn begin<F: Future<Output = ()> + Send>(call: impl Fn(usize, usize) -> F + Clone + Send + Sync + 'static) -> Self {
        let (stop, made, mut callers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), JoinSet::new());
        for caller in 0..usize::try_from(CALLERS).expect("a number") {
            let (stop, made, call) = (Arc::clone(&stop), Arc::clone(&made), call.clone());
            callers.spawn(async move {
                let mut due = tokio::time::interval(Duration::from_millis(1_000 * CALLERS / PER_SECOND));
                while !stop.load(Ordering::Relaxed) {
                    due.tick().await;
                    call(caller, made.fetch_add(1, Ordering::Relaxed) % REPLICAS).await;
                }
            });
        }
        Self { stop, made, callers }
    }

    /// Waits until that many calls were made.
    async fn reaches(&self, calls: usize) {
        eventually("the calls", Duration::from_mins(2), async || (self.made.load(Ordering::Relaxed) >= calls).then_some(()))
            .await;
    }

    /// How many calls were made. Fails if one of them did.
    async fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(caller) = self.callers.join_next().await {
            caller.expect("every call is answered as it should be");
        }
        self.made.load(Ordering::Relaxed)
    }
}

/// What one replica said to somebody who asks all the time: when it was asked, when it answered, what.
type Seen = Vec<(Instant, Instant, u16)>;

async fn ask_until_refused(endpoints: Endpoints, replica: usize, token: String) -> Seen {
    let (began, mut seen) = (Instant::now(), Seen::new());
    let refused = |seen: &Seen| seen.iter().filter(|(_, _, status)| *status == 401).count();
    while refused(&seen) < 3 && began.elapsed() < Duration::from_secs(10) {
        let asked = Instant::now();
        let status = endpoints.call(replica, &token).await.status;
        seen.push((asked, Instant::now(), status));
        tokio::time::sleep(ASKED_EVERY).await;
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_under_load_is_never_accepted_after_the_answer() {
    let app = TestApp::builder().unlimited().start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let (endpoints, _replicas) = Endpoints::start(&app, &acme).await;
    let (at, key) = (endpoints.clone(), agent.key.clone());
    let load = Load::begin(move |_, replica| {
        let (at, key) = (at.clone(), key.clone());
        async move { assert!(at.call(replica, &key).await.is_ok()) }
    });
    let (client, owner) = (OAuthClient::register(&app).await, acme.owner_browser().await);
    let mut waits = Vec::new();
    for round in 0..ROUNDS {
        let tokens = client.connect(&owner, &acme, &["tools:read"]).await;
        for replica in 0..REPLICAS {
            assert!(endpoints.call(replica, &tokens.access).await.is_ok(), "round {round}");
        }
        let mut asking = JoinSet::new();
        for replica in 0..REPLICAS {
            asking.spawn(ask_until_refused(endpoints.clone(), replica, tokens.access.clone()));
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
        let begun = Instant::now();
        assert_eq!(client.post("/oauth/revoke", &[("token", &tokens.refresh)]).await.status, 200);
        let answered = Instant::now();
        while let Some(seen) = asking.join_next().await {
            let seen = seen.expect("an answer to each");
            let late: Vec<_> = seen.iter().filter(|(asked, _, status)| *asked > answered && *status != 401).collect();
            assert!(late.is_empty(), "round {round}: accepted after the answer: {late:?}");
            let (_, refused, _) = seen.iter().find(|(_, _, status)| *status == 401).expect("refused within ten seconds");
            waits.push(refused.saturating_duration_since(begun).as_secs_f64() * 1_000.0);
        }
    }
    let calls = load.end().await;
    waits.sort_by(f64::total_cmp);
    let at = |share: usize| waits[(waits.len() * share / 100).min(waits.len() - 1)];
    say(&format!(
        "revoke to refused, {REPLICAS} replicas, {calls} other calls at {PER_SECOND}/s: p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms of {}",
        at(50),
        at(99),
        at(100),
        waits.len()
    ));
    drop(owner);
}

/// A member of an access token's claims or header.
fn member(token: &str, part: usize, name: &str) -> Value {
    let part = token.split('.').nth(part).expect("a part");
    let json: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON");
    json[name].clone()
}

/// A client that refreshes two minutes before its token ends, as clients do.
#[derive(Debug)]
struct Refreshing {
    client: OAuthClient,
    tokens: TokenPair,
    kids: BTreeSet<String>,
}

impl Refreshing {
    fn new(client: OAuthClient, tokens: TokenPair) -> Self {
        let mut one = Self { client, tokens, kids: BTreeSet::new() };
        one.note();
        one
    }

    fn note(&mut self) {
        self.kids.insert(member(&self.tokens.access, 0, "kid").as_str().expect("a kid").to_owned());
    }

    async fn token(&mut self, clock: &ManualClock) -> String {
        let ends = member(&self.tokens.access, 1, "exp").as_i64().expect("exp");
        if ends - clock.now().timestamp() < 120 {
            self.tokens = TokenPair::of(&self.client.refresh(&self.tokens.refresh).await);
            self.note();
        }
        self.tokens.access.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_34_o_60_signing_keys_change_under_load_without_a_refusal() {
    let app = TestApp::builder().unlimited().start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.agent("agent", "tools:read").await;
    let (endpoints, _replicas) = Endpoints::start(&app, &acme).await;
    let (client, owner) = (OAuthClient::register(&app).await, acme.owner_browser().await);
    let mut clients = Vec::new();
    for _ in 0..CALLERS {
        let tokens = client.connect(&owner, &acme, &["tools:read"]).await;
        clients.push(tokio::sync::Mutex::new(Refreshing::new(client.clone(), tokens)));
    }
    let clients = Arc::new(clients);
    let (all, clock) = (Arc::clone(&clients), Arc::clone(&app.clock));
    let load = Load::begin(move |caller, replica| {
        let (all, clock, at) = (Arc::clone(&all), Arc::clone(&clock), endpoints.clone());
        async move {
            let token = all[caller].lock().await.token(&clock).await;
            let answer = at.call(replica, &token).await;
            assert!(answer.is_ok(), "caller {caller}, replica {replica}: {} {}", answer.status, answer.text);
        }
    });
    for minute in 0..MINUTES {
        if minute == 2 || minute == 20 {
            app.act(|platform| async move { oauth::rotate_signing_keys(&platform, None).await.expect("rotated") }).await;
        }
        load.reaches((minute + 1) * CALLS_A_MINUTE).await;
        app.clock.advance(TimeDelta::minutes(1));
    }
    let calls = load.end().await;
    let mut kids = BTreeSet::new();
    for client in clients.iter() {
        kids.extend(client.lock().await.kids.iter().cloned());
    }
    assert_eq!(kids.len(), 3, "each key has signed");
    say(&format!(
        "signing keys: {MINUTES} minutes, 2 rotations, {REPLICAS} replicas, {calls} calls at {PER_SECOND}/s, none refused"
    ));
    drop(owner);
}
