//! Somebody else's MCP server, of which only the lists matter: a test says what is in them, and sees what was asked.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::support::world;

#[derive(Debug, Default)]
struct State {
    lists: BTreeMap<&'static str, Vec<Value>>,
    broken: Option<&'static str>,
    result: Option<Value>,
    is_gone: bool,
    seen: Vec<(String, String)>,
}

/// The server. Ends when dropped.
#[derive(Debug)]
pub(super) struct Server {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Server {
    /// With these tools.
    pub(super) async fn start(tools: &[Value]) -> Self {
        let listening = world().spawn(TcpListener::bind(("127.0.0.1", 0))).await.expect("no panic");
        let listener = listening.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let state = Arc::<Mutex<State>>::default();
        let its_state = Arc::clone(&state);
        let task = world().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&its_state)));
            }
        });
        let server = Self { addr, state, task };
        server.set("tools", tools);
        server
    }

    /// Where it is.
    pub(super) fn url(&self) -> String {
        format!("http://{}/mcp", self.addr)
    }

    /// Changes one of its lists: `tools`, `prompts`, `resources`, `resourceTemplates`.
    pub(super) fn set(&self, list: &'static str, items: &[Value]) {
        self.state().lists.insert(list, items.to_vec());
    }

    /// What its tools give from now on.
    pub(super) fn give(&self, result: &Value) {
        self.state().result = Some(result.clone());
    }

    /// From now on that method gets nonsense instead of an answer; or all is well again.
    pub(super) fn break_method(&self, method: Option<&'static str>) {
        self.state().broken = method;
    }

    /// The methods that were asked for, with the whole head of each request.
    pub(super) fn seen(&self) -> Vec<(String, String)> {
        self.state().seen.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        // Connections that are open end with their next request.
        self.state().is_gone = true;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    while let Some((head, body)) = read(&mut stream).await {
        if lock(&state).is_gone {
            return;
        }
        let (status, answer) = answer(&head, &body, &mut lock(&state));
        let answer =
            format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end + 4]).into_owned();
            let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let whole = end + 4 + length.unwrap_or(0usize);
            if bytes.len() >= whole {
                return Some((head, String::from_utf8_lossy(&bytes[end + 4..whole]).into_owned()));
            }
        }
        let mut chunk = [0; 8192];
        let length = stream.read(&mut chunk).await.ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&chunk[..length]);
    }
}

fn answer(head: &str, body: &str, state: &mut State) -> (&'static str, String) {
    if !head.starts_with("POST ") {
        return ("405 Method Not Allowed", String::new());
    }
    let Ok(request) = serde_json::from_str::<Value>(body) else { return ("400 Bad Request", String::new()) };
    let method = request["method"].as_str().unwrap_or_default().to_owned();
    state.seen.push((method.clone(), head.to_lowercase()));
    if state.broken == Some(method.as_str()) {
        return ("200 OK", "{\"upstream-canary\":".to_owned());
    }
    let result = match method.as_str() {
        "initialize" => json!({
            "protocolVersion": "2025-06-18",
            "capabilities": { "tools": {}, "prompts": {}, "resources": {} },
            "serverInfo": { "name": "theirs", "version": "1" },
        }),
        "tools/list" => list(state, "tools"),
        "tools/call" if state.result.is_some() => json!(state.result),
        "tools/call" => json!({ "content": [{ "type": "text", "text": "All is well." }] }),
        "prompts/list" => list(state, "prompts"),
        "resources/list" => list(state, "resources"),
        "resources/templates/list" => list(state, "resourceTemplates"),
        _ if request.get("id").is_none() => return ("202 Accepted", String::new()),
        _ => return ("400 Bad Request", "no such method".to_owned()),
    };
    ("200 OK", json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }).to_string())
}

fn list(state: &State, name: &str) -> Value {
    json!({ name: state.lists.get(name).cloned().unwrap_or_default() })
}
