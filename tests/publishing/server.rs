//! Somebody else's server, as an HTTP API and as an MCP server, that breaks in six ways when a test says so.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::support::world;

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Well,
    Down,
    Slow,
    Echo,
    Schema,
    Credential,
    Empty,
}

impl Mode {
    /// Each way to be broken, with the checks that may find it.
    pub(crate) const BROKEN: [(Self, &'static [&'static str]); 6] = [
        (Self::Down, &["call", "handshake"]),
        (Self::Slow, &["time"]),
        (Self::Echo, &["echo"]),
        (Self::Schema, &["schema", "expected"]),
        (Self::Credential, &["result", "handshake"]),
        (Self::Empty, &["content"]),
    ];
}

/// The server. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Shaky {
    addr: SocketAddr,
    mode: Arc<Mutex<Mode>>,
    calls: Arc<Mutex<Vec<String>>>,
    tools: Arc<Mutex<Vec<Value>>>,
    task: JoinHandle<()>,
}

impl Shaky {
    pub(crate) async fn start() -> Self {
        let listening = world().spawn(TcpListener::bind(("127.0.0.1", 0))).await.expect("no panic");
        let listener = listening.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (mode, calls) = (Arc::new(Mutex::new(Mode::Well)), Arc::<Mutex<Vec<String>>>::default());
        let tools = Arc::new(Mutex::new(vec![tool("Keeps a note.")]));
        let (its_mode, its_calls, its_tools) = (Arc::clone(&mode), Arc::clone(&calls), Arc::clone(&tools));
        let task = world().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&its_mode), Arc::clone(&its_calls), Arc::clone(&its_tools)));
            }
        });
        Self { addr, mode, calls, tools, task }
    }

    pub(crate) fn is(&self, mode: Mode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    /// From now on its MCP server has these tools.
    pub(super) fn offers(&self, tools: &[Value]) {
        *self.tools.lock().unwrap_or_else(PoisonError::into_inner) = tools.to_vec();
    }

    /// Takes the argument `note` in its query.
    pub(crate) fn api(&self) -> String {
        format!("http://{}/notes", self.addr)
    }

    pub(crate) fn mcp(&self) -> String {
        format!("http://{}/mcp", self.addr)
    }

    /// Calls of its tool, by either way.
    pub(crate) fn calls(&self) -> usize {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Drop for Shaky {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, mode: Arc<Mutex<Mode>>, calls: Arc<Mutex<Vec<String>>>, tools: Arc<Mutex<Vec<Value>>>) {
    while let Some((head, body)) = read(&mut stream).await {
        let mode = *mode.lock().unwrap_or_else(PoisonError::into_inner);
        if mode == Mode::Down {
            return;
        }
        let tools = tools.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (status, answer, is_call) =
            if head.starts_with("GET /notes") { api(&head, mode) } else { mcp(&head, &body, mode, &tools) };
        if is_call {
            calls.lock().unwrap_or_else(PoisonError::into_inner).push(head.lines().next().unwrap_or_default().to_owned());
            if mode == Mode::Slow {
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
        }
        let answer =
            format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn api(head: &str, mode: Mode) -> (&'static str, String, bool) {
    let query = head.split_whitespace().nth(1).and_then(|target| target.split_once("note=")).map_or("", |(_, note)| note);
    let note = query.replace("%20", " ").replace('+', " ");
    let (status, answer) = match mode {
        Mode::Credential => ("401 Unauthorized", String::new()),
        Mode::Echo => ("200 OK", json!({ "note": note }).to_string()),
        Mode::Schema => ("200 OK", json!({ "kept": "perhaps" }).to_string()),
        Mode::Empty => ("200 OK", " ".to_owned()),
        _ => ("200 OK", json!({ "kept": true, "length": note.len() }).to_string()),
    };
    (status, answer, true)
}

fn mcp(head: &str, body: &str, mode: Mode, tools: &[Value]) -> (&'static str, String, bool) {
    if !head.starts_with("POST ") {
        return ("405 Method Not Allowed", String::new(), false);
    }
    let Ok(request) = serde_json::from_str::<Value>(body) else { return ("400 Bad Request", String::new(), false) };
    if mode == Mode::Credential {
        return ("401 Unauthorized", String::new(), false);
    }
    let method = request["method"].as_str().unwrap_or_default();
    let result = match method {
        "initialize" => json!({
            "protocolVersion": "2025-06-18", "capabilities": { "tools": {} }, "serverInfo": { "name": "shaky", "version": "1" },
        }),
        "tools/list" => json!({ "tools": tools }),
        "tools/call" => result(&request["params"]["arguments"], mode),
        _ if request.get("id").is_none() => return ("202 Accepted", String::new(), false),
        _ => return ("400 Bad Request", "no such method".to_owned(), false),
    };
    ("200 OK", json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }).to_string(), method == "tools/call")
}

/// Its tool, in those words.
pub(super) fn tool(description: &str) -> Value {
    json!({
        "name": "keep",
        "description": description,
        "inputSchema": {
            "type": "object",
            "properties": { "note": { "type": "string", "examples": ["bring an umbrella"] } },
            "required": ["note"],
        },
        "outputSchema": { "type": "object", "properties": { "kept": { "type": "boolean" }, "note": { "type": "string" } } },
        "annotations": { "readOnlyHint": true },
    })
}

fn result(arguments: &Value, mode: Mode) -> Value {
    let structured = match mode {
        Mode::Echo => arguments.clone(),
        Mode::Schema => json!({ "kept": "perhaps" }),
        Mode::Empty => json!({}),
        _ => json!({ "kept": true }),
    };
    let text = if mode == Mode::Empty { " ".to_owned() } else { structured.to_string() };
    json!({ "content": [{ "type": "text", "text": text }], "structuredContent": structured })
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
