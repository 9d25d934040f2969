//! Somebody else's MCP server, of any revision, well behaved and badly behaved by the tool that is called. It is strict about what it is
//! sent, remembers all of it, and notes who cancelled and who hung up.

mod connection;
mod legacy;
mod modern;
mod offer;
mod tools;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{broadcast, oneshot},
    task::JoinHandle,
};
use trunkline_protocol::mcp::Revision;

use super::world;
use connection::Connection;
pub(crate) use connection::Seen;
pub(crate) use offer::region_schema;

/// Which era it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// One revision and no other.
    Only(Revision),
    /// The stateless one and the newest with a handshake.
    Both,
}

/// How it answers a request that needs no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// One JSON body; in a batch where the revision has them.
    Json,
    /// An event stream.
    Events,
}

/// A session of the handshake era.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// What the client said it can be asked.
    pub(crate) capabilities: Value,
    /// The client has said that it is ready.
    pub(crate) is_ready: bool,
    /// What `logging/setLevel` asked for.
    pub(crate) level: Option<String>,
}

/// The server. Ends when dropped.
pub(crate) struct McpUpstream {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// Everything it knows.
struct State {
    speaks: Mutex<Speaks>,
    way: Way,
    seen: Mutex<Vec<Seen>>,
    sessions: Mutex<BTreeMap<String, Session>>,
    ended: Mutex<Vec<String>>,
    /// Who waits for the answer to which of its requests.
    asked: Mutex<BTreeMap<String, oneshot::Sender<Value>>>,
    /// Request ids in JSON, with their session.
    cancelled: Mutex<BTreeSet<String>>,
    /// Messages to hand out when a stream is resumed after that event.
    kept: Mutex<BTreeMap<String, String>>,
    subscribed: Mutex<BTreeSet<String>>,
    extra_tools: Mutex<Vec<Value>>,
    faults: Mutex<Faults>,
    changes: broadcast::Sender<Change>,
    counter: AtomicUsize,
    hung_up: AtomicUsize,
    listening: AtomicUsize,
}

/// What is wrong with the whole server.
#[derive(Debug, Clone, Default)]
struct Faults {
    /// Every request gets this status.
    status: Option<u16>,
    /// Requests must carry this header and one of these values.
    secret: Option<(String, Vec<String>)>,
    /// No session id is given out.
    sessionless: bool,
    /// There is no stream beside the answers: who wants one gets this status.
    streamless: Option<u16>,
    /// Lists never answer.
    lists_hang: bool,
    /// Lists never end.
    lists_endless: bool,
}

/// What it tells its listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Tools,
    Prompts,
    Resources,
    Resource(String),
    /// A question on the stream of that session.
    Aside(String, String),
    /// Close all streams.
    Close,
}

impl McpUpstream {
    /// Listens on a free port.
    pub(crate) async fn start(speaks: Speaks, way: Way) -> Self {
        let listening = world().spawn(TcpListener::bind(("127.0.0.1", 0))).await.expect("no panic");
        let listener = listening.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            speaks: Mutex::new(speaks),
            way,
            seen: Mutex::default(),
            sessions: Mutex::default(),
            ended: Mutex::default(),
            asked: Mutex::default(),
            cancelled: Mutex::default(),
            kept: Mutex::default(),
            subscribed: Mutex::default(),
            extra_tools: Mutex::default(),
            faults: Mutex::default(),
            changes: broadcast::channel(64).0,
            counter: AtomicUsize::default(),
            hung_up: AtomicUsize::default(),
            listening: AtomicUsize::default(),
        });
        let its_state = Arc::clone(&state);
        let task = world().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&its_state);
                tokio::spawn(async move {
                    let mut connection = Connection::new(stream);
                    while let Some(request) = connection.read().await {
                        if serve(&state, &mut connection, request).await.is_none() {
                            return;
                        }
                    }
                });
            }
        });
        Self { addr, state, task }
    }

    /// Its endpoint.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.addr)
    }

    /// Everything it was sent.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.state.seen).clone()
    }

    /// What it was sent for that method.
    pub(crate) fn seen_of(&self, method: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.json["method"] == method).collect()
    }

    /// Sessions that are open, by id.
    pub(crate) fn sessions(&self) -> BTreeMap<String, Session> {
        lock(&self.state.sessions).clone()
    }

    /// Sessions that were ended by their client.
    pub(crate) fn ended(&self) -> Vec<String> {
        lock(&self.state.ended).clone()
    }

    /// Requests that were cancelled by a notification.
    pub(crate) fn cancelled(&self) -> usize {
        lock(&self.state.cancelled).len()
    }

    /// Streams that were closed by the client before their answer.
    pub(crate) fn hung_up(&self) -> usize {
        self.state.hung_up.load(Ordering::Relaxed)
    }

    /// Streams that are open for changes.
    pub(crate) fn listening(&self) -> usize {
        self.state.listening.load(Ordering::Relaxed)
    }

    /// Resources that somebody subscribed to.
    pub(crate) fn subscribed(&self) -> BTreeSet<String> {
        lock(&self.state.subscribed).clone()
    }

    /// Ends all sessions, as a restart does.
    pub(crate) fn forget_sessions(&self) {
        lock(&self.state.sessions).clear();
    }

    /// From now on it speaks something else.
    pub(crate) fn speak(&self, speaks: Speaks) {
        *lock(&self.state.speaks) = speaks;
    }

    /// From now on every request gets that status; `None` ends it.
    pub(crate) fn answer_with(&self, status: Option<u16>) {
        lock(&self.state.faults).status = status;
    }

    /// From now on requests must carry that header.
    pub(crate) fn want_secret(&self, header: &str, value: &str) {
        self.want_one_of(header, &[value]);
    }

    /// The same with several values that are as good.
    pub(crate) fn want_one_of(&self, header: &str, values: &[&str]) {
        let values = values.iter().map(|&value| value.to_owned()).collect();
        lock(&self.state.faults).secret = Some((header.to_owned(), values));
    }

    /// From now on no session gets an id.
    pub(crate) fn without_sessions(self) -> Self {
        lock(&self.state.faults).sessionless = true;
        self
    }

    /// From now on there is no stream beside the answers, and who wants one gets that status.
    pub(crate) fn without_streams(self, status: u16) -> Self {
        lock(&self.state.faults).streamless = Some(status);
        self
    }

    /// From now on lists never answer.
    pub(crate) fn hang_lists(&self) {
        lock(&self.state.faults).lists_hang = true;
    }

    /// From now on lists have another page for ever.
    pub(crate) fn never_end_lists(&self) {
        lock(&self.state.faults).lists_endless = true;
    }

    /// One more tool, and those who listen hear of it.
    pub(crate) fn add_tool(&self, tool: Value) {
        lock(&self.state.extra_tools).push(tool);
        self.tell(Change::Tools);
    }

    /// Says that the prompts and resources have changed.
    pub(crate) fn change_lists(&self) {
        self.tell(Change::Prompts);
        self.tell(Change::Resources);
    }

    /// Says that a resource has changed.
    pub(crate) fn change_resource(&self, uri: &str) {
        self.tell(Change::Resource(uri.to_owned()));
    }

    /// Closes all streams for changes.
    pub(crate) fn close_streams(&self) {
        self.tell(Change::Close);
    }

    fn tell(&self, change: Change) {
        // Nobody may be listening.
        let _ = self.state.changes.send(change);
    }
}

impl Drop for McpUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn next(&self) -> usize {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request, whatever it is; `None` when the connection is over.
async fn serve(state: &State, connection: &mut Connection, request: Seen) -> Option<()> {
    lock(&state.seen).push(request.clone());
    let faults = lock(&state.faults).clone();
    if let Some(status) = faults.status {
        return connection.plain(status, "upstream-canary-9x7").await;
    }
    if faults.secret.is_some_and(|(name, values)| !values.iter().any(|value| request.header(&name) == Some(value))) {
        return connection.plain(401, "upstream-canary-9x7").await;
    }
    let claims = request.json["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"].is_string();
    let is_modern = claims || request.header("mcp-protocol-version") == Some("2026-07-28");
    let speaks = *lock(&state.speaks);
    match speaks {
        Speaks::Only(Revision::V2026_07_28) => modern::serve(state, connection, &request).await,
        Speaks::Both if is_modern => modern::serve(state, connection, &request).await,
        Speaks::Both => legacy::serve(state, connection, &request, Revision::V2025_11_25).await,
        Speaks::Only(revision) => legacy::serve(state, connection, &request, revision).await,
    }
}

/// A successful answer.
fn success(id: &Value, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// A failed one.
fn failure(id: &Value, code: i64, message: &str, data: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message, "data": data } }).to_string()
}
