//! A client, message by message: of a session or without one, at any replica. Nothing is done for the test, so that it can do what no client
//! should.

use std::{collections::VecDeque, fmt::Write as _, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use trunkline_protocol::mcp::event_stream::{Decoder, Event};

use super::{Agent, Answer, http, raw};

/// What such a client can read.
const BOTH: &str = "application/json, text/event-stream";
/// Longest wait for the next event.
const WITHIN: Duration = Duration::from_secs(30);
/// What a client of these tests can be asked.
pub(crate) const ASKABLE: &str = r#"{"elicitation":{},"sampling":{},"roots":{}}"#;

/// The client.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    /// Whose key it has, and where it sends.
    pub(crate) agent: Agent,
    /// The revision it speaks.
    pub(crate) revision: &'static str,
    /// The session it names, if any.
    pub(crate) session: Option<String>,
    /// What its client can be asked.
    pub(crate) capabilities: Value,
}

impl Wire {
    /// After a handshake.
    pub(crate) async fn begin(agent: &Agent, revision: &'static str) -> Self {
        Self::begin_with(agent, revision, serde_json::from_str(ASKABLE).expect("JSON")).await
    }

    /// After a handshake that declares these capabilities.
    pub(crate) async fn begin_with(agent: &Agent, revision: &'static str, capabilities: Value) -> Self {
        let mut wire = Self { agent: agent.clone(), revision, session: None, capabilities };
        let answer = Answer::read(wire.initialize().send().await.expect("an answer")).await;
        assert_eq!(answer.json["result"]["protocolVersion"], revision, "{}", answer.text);
        wire.session = Some(answer.header("mcp-session-id").to_owned());
        assert_eq!(wire.notify("notifications/initialized", json!({})).await, 202);
        wire
    }

    /// In the stateless era, with everything that can be asked.
    pub(crate) fn stateless(agent: &Agent) -> Self {
        let mut capabilities: Value = serde_json::from_str(ASKABLE).expect("JSON");
        capabilities["extensions"] = json!({ "io.modelcontextprotocol/tasks": {} });
        Self { agent: agent.clone(), revision: "2026-07-28", session: None, capabilities }
    }

    /// The same client, session included, at another replica.
    pub(crate) fn at(&self, base: &str) -> Self {
        let path = self.agent.url.find("/t/").map(|at| &self.agent.url[at..]).expect("an endpoint");
        Self { agent: self.agent.at(&format!("{base}{path}")), ..self.clone() }
    }

    /// The same session in the name of somebody else, at the other's endpoint.
    pub(crate) fn of(&self, agent: &Agent) -> Self {
        Self { agent: agent.clone(), ..self.clone() }
    }

    /// The same client in that session.
    pub(crate) fn within(&self, session: &str) -> Self {
        Self { session: Some(session.to_owned()), ..self.clone() }
    }

    /// The session's id.
    pub(crate) fn id(&self) -> &str {
        self.session.as_deref().expect("a session")
    }

    fn is_stateless(&self) -> bool {
        self.revision == "2026-07-28"
    }

    /// A handshake, in the session that the client already names, if it does.
    pub(crate) fn initialize(&self) -> reqwest::RequestBuilder {
        let info = json!({ "name": "suite", "version": "1" });
        let params = json!({ "protocolVersion": self.revision, "capabilities": self.capabilities, "clientInfo": info });
        self.post(&json!({ "jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": params }))
    }

    fn headed(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let request = request.bearer_auth(&self.agent.key).header("mcp-protocol-version", self.revision);
        match &self.session {
            Some(session) => request.header("mcp-session-id", session),
            None => request,
        }
    }

    /// Any body, with the headers of this client.
    pub(crate) fn post(&self, message: &Value) -> reqwest::RequestBuilder {
        self.headed(http().post(&self.agent.url)).header("accept", BOTH).json(message)
    }

    /// A request of this client.
    pub(crate) fn request(&self, id: impl Into<Value>, method: &str, mut params: Value) -> reqwest::RequestBuilder {
        if !self.is_stateless() {
            return self.post(&json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params }));
        }
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(self.revision);
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = self.capabilities.clone();
        let name = params["name"].as_str().or(params["uri"].as_str()).or(params["taskId"].as_str()).map(str::to_owned);
        let request = self.post(&json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params }));
        let request = request.header("mcp-method", method);
        match name {
            Some(name) => request.header("mcp-name", name),
            None => request,
        }
    }

    /// A call of a tool that is told how far it is under the token `far`.
    pub(crate) fn call(&self, id: impl Into<Value>, tool: &str, arguments: Value) -> reqwest::RequestBuilder {
        let mut params = json!({ "name": tool, "_meta": { "progressToken": "far" } });
        params["arguments"] = arguments;
        self.request(id, "tools/call", params)
    }

    /// One request and its answer.
    pub(crate) async fn send(&self, id: impl Into<Value>, method: &str, params: Value) -> Answer {
        Answer::read(self.request(id, method, params).send().await.expect("an answer")).await
    }

    /// A notification; the status.
    pub(crate) async fn notify(&self, method: &str, params: Value) -> u16 {
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        self.post(&message).send().await.expect("an answer").status().as_u16()
    }

    /// Takes a request back; the status.
    pub(crate) async fn cancel(&self, id: impl Into<Value>) -> u16 {
        self.notify("notifications/cancelled", json!({ "requestId": id.into() })).await
    }

    /// Answers a question; the status.
    pub(crate) async fn answer(&self, id: &Value, result: Value) -> u16 {
        let message = json!({ "jsonrpc": "2.0", "id": id, "result": result });
        self.post(&message).send().await.expect("an answer").status().as_u16()
    }

    /// The stream of the session, or the rest of one after that event.
    pub(crate) async fn listen(&self, last_event: Option<&str>) -> Events {
        let mut request = self.headed(http().get(&self.agent.url)).header("accept", "text/event-stream");
        if let Some(id) = last_event {
            request = request.header("last-event-id", id);
        }
        Events::of(request.send().await.expect("an answer"))
    }

    /// Ends the session; the status.
    pub(crate) async fn end(&self) -> u16 {
        self.headed(http().delete(&self.agent.url)).send().await.expect("an answer").status().as_u16()
    }
}

/// Sends a request over a connection of its own, and reads nothing.
pub(crate) async fn send_raw(request: reqwest::RequestBuilder) -> TcpStream {
    let request = request.build().expect("a request");
    let authority = raw::authority(request.url().as_str()).to_owned();
    let mut head = format!("POST {} HTTP/1.1\r\nHost: {authority}\r\n", request.url().path());
    for (name, value) in request.headers() {
        let _ = write!(head, "{name}: {}\r\n", value.to_str().expect("text"));
    }
    let body = request.body().and_then(reqwest::Body::as_bytes).expect("a body");
    let _ = write!(head, "content-length: {}\r\n\r\n", body.len());
    let mut stream = raw::connect(request.url().as_str()).await;
    stream.write_all(&[head.as_bytes(), body].concat()).await.expect("sent");
    stream
}

/// A stream as it comes.
pub(crate) struct Events {
    /// HTTP status.
    pub(crate) status: u16,
    /// The last id that was seen.
    pub(crate) last: Option<String>,
    body: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    decoder: Decoder,
    waiting: VecDeque<Event>,
}

impl Events {
    /// Of that answer.
    pub(crate) fn of(response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let body = Box::pin(response.bytes_stream());
        Self { status, last: None, body, decoder: Decoder::new(16 << 20), waiting: VecDeque::new() }
    }

    /// Opens the stream of a request.
    pub(crate) async fn open(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        assert_eq!(response.headers()["content-type"], "text/event-stream", "{response:?}");
        Self::of(response)
    }

    /// The next event; `None` at the end, or when the connection breaks.
    pub(crate) async fn event(&mut self) -> Option<Event> {
        while self.waiting.is_empty() {
            let chunk = tokio::time::timeout(WITHIN, self.body.next()).await.expect("something in time")?.ok()?;
            self.waiting.extend(self.decoder.push(&chunk).expect("a bounded event"));
        }
        let event = self.waiting.pop_front()?;
        self.last = event.id.clone().or_else(|| self.last.take());
        Some(event)
    }

    /// Waits for the first bytes, whatever they are: from then on the stream is open.
    pub(crate) async fn event_or_comment(&mut self) {
        let chunk = tokio::time::timeout(WITHIN, self.body.next()).await.expect("something in time");
        let chunk = chunk.expect("bytes").expect("bytes");
        self.waiting.extend(self.decoder.push(&chunk).expect("a bounded event"));
    }

    /// The next message.
    pub(crate) async fn message(&mut self) -> Option<Value> {
        loop {
            let event = self.event().await?;
            if !event.data.is_empty() {
                return Some(serde_json::from_str(&event.data).expect("JSON"));
            }
        }
    }

    /// The next message with that method.
    pub(crate) async fn until(&mut self, method: &str) -> Value {
        loop {
            let message = self.message().await.unwrap_or_else(|| panic!("the stream ended before {method}"));
            if message["method"] == method {
                return message;
            }
        }
    }

    /// All that is still to come.
    pub(crate) async fn rest(&mut self) -> Vec<Value> {
        let mut messages = Vec::new();
        while let Some(message) = self.message().await {
            messages.push(message);
        }
        messages
    }

    /// Nothing comes for that long.
    pub(crate) async fn is_quiet(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.message()).await.is_err()
    }
}

/// How far the messages of a stream say it is, in order.
pub(crate) fn progress(messages: &[Value]) -> Vec<f64> {
    let told = messages.iter().filter(|message| message["method"] == "notifications/progress");
    told.filter_map(|message| message["params"]["progress"].as_f64()).collect()
}
