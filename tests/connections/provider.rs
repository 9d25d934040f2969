//! Somebody else's service as it is: an authorization server with registration, refresh and revocation, an MCP server behind it, and an HTTP API
//! behind the same. It remembers what it gave to whom, takes a second use of a refresh token for a theft, and lies when a test wants it to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use trunkline_platform::random;
use url::Url;

use crate::support::world;

/// The secret of clients that are entered by hand: whatever is stored of it must not be it.
pub(crate) const SECRET: &str = "client-secret-canary-4f";
/// Begins every token: none may be found in the clear.
pub(crate) const CANARY: &str = "upstream-token-canary-7k";

/// For how long an access token is good, in seconds.
const LIFE_S: i64 = 300;

/// How it departs from what it should do.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own, and a test wants one of them")]
pub(crate) struct Ways {
    /// The redirect names this issuer.
    pub(crate) other_issuer: bool,
    /// The redirect names none, although it says it does.
    pub(crate) no_issuer: bool,
    /// The person says no.
    pub(crate) declines: bool,
    /// Registers no clients.
    pub(crate) no_registration: bool,
    /// Says nothing of PKCE.
    pub(crate) no_pkce: bool,
    /// Its metadata is of another issuer.
    pub(crate) foreign_metadata: bool,
    /// The resource metadata is about another resource.
    pub(crate) foreign_resource: bool,
    /// Refreshes take so long.
    pub(crate) slow_ms: u64,
    /// Refreshes fail with this status.
    pub(crate) away: Option<u16>,
    /// Every access token is refused by the service.
    pub(crate) refuses_all: bool,
    /// Clients get a secret and must prove it.
    pub(crate) confidential: bool,
    /// No refresh tokens are given.
    pub(crate) no_refresh: bool,
}

#[derive(Debug, Default)]
struct State {
    ways: Ways,
    /// Who is logged in there.
    person: String,
    clients: BTreeMap<String, Option<String>>,
    registrations: Vec<Value>,
    codes: BTreeMap<String, (String, BTreeMap<String, String>)>,
    access: BTreeMap<String, String>,
    refresh: BTreeMap<String, String>,
    used: BTreeSet<String>,
    thefts: usize,
    asked: Vec<BTreeMap<String, String>>,
    revoked: Vec<(String, String)>,
    /// Calls of the service: whose token, and what.
    calls: Vec<(String, String)>,
}

/// The service.
pub(crate) struct Service {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Service {
    /// Starts one on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port").into_std().expect("a socket");
        let addr = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let task = world().spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, addr, Arc::clone(&shared)));
            }
        });
        Self { addr, state, task }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `http://127.0.0.1:…`.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Its MCP server.
    pub(crate) fn mcp(&self) -> String {
        format!("http://{}/mcp", self.addr)
    }

    /// All tokens that it has given and still takes.
    pub(crate) fn tokens(&self) -> Vec<String> {
        let state = self.state();
        state.access.keys().chain(state.refresh.keys()).cloned().collect()
    }

    /// From now on, this is who says yes there.
    pub(crate) fn says(&self, person: &str) {
        person.clone_into(&mut self.state().person);
    }

    /// From now on, it is like this.
    pub(crate) fn is(&self, ways: Ways) {
        self.state().ways = ways;
    }

    /// A client that somebody registered there by hand.
    pub(crate) fn add_client(&self, id: &str, secret: Option<&str>) {
        self.state().clients.insert(id.to_owned(), secret.map(str::to_owned));
    }

    /// All access tokens are forgotten, as after a restart; refresh tokens go on.
    pub(crate) fn forget_access(&self) {
        self.state().access.clear();
    }

    /// All refresh tokens too.
    pub(crate) fn forget_all(&self) {
        let mut state = self.state();
        state.access.clear();
        state.refresh.clear();
    }

    /// What clients said of themselves.
    pub(crate) fn registrations(&self) -> Vec<Value> {
        self.state().registrations.clone()
    }

    /// Requests to the token endpoint of that type.
    pub(crate) fn asked(&self, grant_type: &str) -> Vec<BTreeMap<String, String>> {
        self.state().asked.iter().filter(|form| form["grant_type"] == grant_type).cloned().collect()
    }

    /// Second uses of a refresh token.
    pub(crate) fn thefts(&self) -> usize {
        self.state().thefts
    }

    /// Tokens that were revoked: their hint and whose they were.
    pub(crate) fn revoked(&self) -> Vec<(String, String)> {
        self.state().revoked.clone()
    }

    /// Who called what.
    pub(crate) fn calls(&self) -> Vec<(String, String)> {
        self.state().calls.clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request as it came.
struct Request {
    method: String,
    url: Url,
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn form(&self) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }
}

async fn read(stream: &mut TcpStream, addr: SocketAddr) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut more = async |bytes: &mut Vec<u8>| {
        let mut chunk = [0; 4096];
        let length = stream.read(&mut chunk).await.ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&chunk[..length]);
        Some(())
    };
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        more(&mut bytes).await?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut words = head.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let url = Url::parse(&format!("http://{addr}{path}")).ok()?;
    let mut request = Request { method, url, head, body: Vec::new() };
    let length: usize = request.header("content-length").map_or(0, |text| text.parse().expect("a length"));
    while bytes.len() < end + length {
        more(&mut bytes).await?;
    }
    request.body = bytes.split_off(end);
    Some(request)
}

async fn serve(mut stream: TcpStream, addr: SocketAddr, state: Arc<Mutex<State>>) {
    let Some(request) = read(&mut stream, addr).await else { return };
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    if request.url.path() == "/token" && request.form()["grant_type"] == "refresh_token" {
        let pause = lock().ways.slow_ms;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    let answer = answer(&mut lock(), addr, &request);
    let _ = stream.write_all(answer.as_bytes()).await;
}

fn http(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn ok(body: &Value) -> String {
    http("200 OK", "", &body.to_string())
}

fn refused(error: &str) -> String {
    http("400 Bad Request", "", &json!({ "error": error, "error_description": CANARY }).to_string())
}

fn answer(state: &mut State, addr: SocketAddr, request: &Request) -> String {
    let origin = format!("http://{addr}");
    match request.url.path() {
        "/.well-known/oauth-protected-resource/mcp" => {
            let resource = if state.ways.foreign_resource { "https://other.example/mcp".into() } else { format!("{origin}/mcp") };
            ok(&json!({ "resource": resource, "authorization_servers": [origin], "scopes_supported": ["files:read", "offline"] }))
        }
        "/.well-known/oauth-authorization-server" => ok(&metadata(state, &origin)),
        "/register" => register(state, request),
        "/authorize" => authorize(state, &origin, request),
        "/token" => token(state, request),
        "/revoke" => revoke(state, request),
        "/mcp" | "/api/me" => service(state, &origin, request),
        _ => http("404 Not Found", "", ""),
    }
}

fn metadata(state: &State, origin: &str) -> Value {
    let mut metadata = json!({
        "issuer": if state.ways.foreign_metadata { "https://other.example" } else { origin },
        "authorization_endpoint": format!("{origin}/authorize"),
        "token_endpoint": format!("{origin}/token"),
        "revocation_endpoint": format!("{origin}/revoke"),
        "response_types_supported": ["code"],
        "token_endpoint_auth_methods_supported": if state.ways.confidential { vec!["client_secret_basic"] } else { vec!["none", "client_secret_basic"] },
        "authorization_response_iss_parameter_supported": true,
    });
    if !state.ways.no_registration {
        metadata["registration_endpoint"] = format!("{origin}/register").into();
    }
    if !state.ways.no_pkce {
        metadata["code_challenge_methods_supported"] = json!(["S256"]);
    }
    metadata
}

fn register(state: &mut State, request: &Request) -> String {
    let document: Value = serde_json::from_slice(&request.body).expect("a document");
    let id = format!("client-{}", state.clients.len());
    let secret = (document["token_endpoint_auth_method"] != "none").then(|| format!("{SECRET}-{}", random::base62(8)));
    state.registrations.push(document.clone());
    state.clients.insert(id.clone(), secret.clone());
    let mut answer = document;
    answer["client_id"] = id.into();
    if let Some(secret) = secret {
        answer["client_secret"] = secret.into();
    }
    http("201 Created", "", &answer.to_string())
}

/// Says at once what the person says who is logged in there.
fn authorize(state: &mut State, origin: &str, request: &Request) -> String {
    let asked: BTreeMap<String, String> = request.url.query_pairs().into_owned().collect();
    let of = |name: &str| asked.get(name).map_or("", String::as_str);
    for (holds, why) in [
        (of("response_type") == "code", "response_type"),
        (state.clients.contains_key(of("client_id")), "client_id"),
        (of("code_challenge_method") == "S256" && of("code_challenge").len() == 43, "PKCE"),
        (of("state").len() >= 32, "state"),
        (of("redirect_uri").ends_with("/oauth/connections/callback"), "redirect_uri"),
    ] {
        if !holds {
            return refused(why);
        }
    }
    let mut back = Url::parse(of("redirect_uri")).expect("a URL");
    back.query_pairs_mut().append_pair("state", of("state"));
    if state.ways.other_issuer {
        back.query_pairs_mut().append_pair("iss", "https://evil.example");
    } else if !state.ways.no_issuer {
        back.query_pairs_mut().append_pair("iss", origin);
    }
    if state.ways.declines {
        back.query_pairs_mut().append_pair("error", "access_denied");
    } else {
        let code = random::base62(32);
        back.query_pairs_mut().append_pair("code", &code);
        state.codes.insert(code, (state.person.clone(), asked.clone()));
    }
    http("302 Found", &format!("location: {back}\r\n"), "")
}

fn client(state: &State, request: &Request) -> Option<String> {
    let form = request.form();
    let basic = request.header("authorization").and_then(|value| value.strip_prefix("Basic "));
    let (id, secret) = match basic {
        Some(basic) => {
            let pair = String::from_utf8(BASE64_STANDARD.decode(basic).ok()?).ok()?;
            let (id, secret) = pair.split_once(':')?;
            (id.to_owned(), Some(secret.to_owned()))
        }
        None => (form.get("client_id")?.clone(), form.get("client_secret").cloned()),
    };
    (state.clients.get(&id)? == &secret).then_some(id)
}

fn token(state: &mut State, request: &Request) -> String {
    let form = request.form();
    let of = |name: &str| form.get(name).map_or("", String::as_str);
    state.asked.push(form.clone());
    if client(state, request).is_none() {
        return refused("invalid_client");
    }
    if of("grant_type") == "authorization_code" {
        let Some((person, asked)) = state.codes.remove(of("code")) else { return refused("invalid_grant") };
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(of("code_verifier").as_bytes()));
        let same = |name: &str| asked.get(name).map_or("", String::as_str) == of(name);
        if asked["code_challenge"] != challenge || !same("redirect_uri") || !same("resource") {
            return refused("invalid_grant");
        }
        return give(state, &person);
    }
    if let Some(status) = state.ways.away {
        return http(&format!("{status} Away"), "", "");
    }
    if state.used.contains(of("refresh_token")) {
        state.thefts += 1;
        state.access.clear();
        state.refresh.clear();
        return refused("invalid_grant");
    }
    let Some(person) = state.refresh.remove(of("refresh_token")) else { return refused("invalid_grant") };
    state.used.insert(of("refresh_token").to_owned());
    give(state, &person)
}

fn give(state: &mut State, person: &str) -> String {
    let (access, refresh) = (format!("{CANARY}-a-{}", random::base62(20)), format!("{CANARY}-r-{}", random::base62(20)));
    state.access.insert(access.clone(), person.to_owned());
    let mut answer = json!({ "access_token": access, "token_type": "bearer", "expires_in": LIFE_S, "scope": "files:read" });
    if !state.ways.no_refresh {
        state.refresh.insert(refresh.clone(), person.to_owned());
        answer["refresh_token"] = refresh.into();
    }
    ok(&answer)
}

fn revoke(state: &mut State, request: &Request) -> String {
    let form = request.form();
    if client(state, request).is_none() {
        return refused("invalid_client");
    }
    let (token, hint) = (form["token"].clone(), form["token_type_hint"].clone());
    let whose = state.access.remove(&token).or_else(|| state.refresh.remove(&token)).unwrap_or_default();
    state.revoked.push((hint, whose));
    http("200 OK", "", "")
}

/// The service itself: everything needs a token of its own.
fn service(state: &mut State, origin: &str, request: &Request) -> String {
    let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let person = token.and_then(|token| state.access.get(token)).filter(|_| !state.ways.refuses_all).cloned();
    let Some(person) = person else {
        let challenge =
            format!("www-authenticate: Bearer resource_metadata=\"{origin}/.well-known/oauth-protected-resource/mcp\"\r\n");
        return http("401 Unauthorized", &challenge, &json!({ "error": CANARY }).to_string());
    };
    if request.url.path() == "/api/me" {
        state.calls.push((person.clone(), "api".to_owned()));
        return ok(&json!({ "you": person }));
    }
    if request.method != "POST" {
        return http("405 Not Allowed", "", "");
    }
    let message: Value = serde_json::from_slice(&request.body).expect("a message");
    let method = message["method"].as_str().unwrap_or_default();
    let text = |text: &str| json!([{ "type": "text", "text": text }]);
    let mut result = match method {
        "server/discover" => json!({
            "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {}, "prompts": {} },
            "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "service", "version": "1" } },
        }),
        "tools/list" => json!({ "tools": [{ "name": "whoami", "description": "Says whose account it is.",
            "inputSchema": { "type": "object" }, "annotations": { "readOnlyHint": true } }] }),
        "prompts/list" => json!({ "prompts": [{ "name": "mine" }] }),
        "tools/call" => json!({ "content": text(&person) }),
        "prompts/get" => json!({ "messages": [{ "role": "user", "content": { "type": "text", "text": person } }] }),
        _ => {
            let error = json!({ "jsonrpc": "2.0", "id": message["id"], "error": { "code": -32601, "message": "no" } });
            return http("404 Not Found", "", &error.to_string());
        }
    };
    state.calls.push((person, method.to_owned()));
    result["resultType"] = "complete".into();
    if method.ends_with("/list") || method == "server/discover" {
        (result["ttlMs"], result["cacheScope"]) = (0.into(), "private".into());
    }
    ok(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }))
}
