//! A client of one revision, as somebody else would write it: a handshake and a session where the revision has them, metadata in each
//! request where it does not. It reads JSON and event streams, and answers what it is asked.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use trunkline_protocol::mcp::{Revision, event_stream::Decoder, headers};

use super::{Agent, http};

/// Longest wait for one answer.
const WITHIN: Duration = Duration::from_mins(1);

/// The client.
pub(crate) struct McpClient {
    agent: Agent,
    revision: Revision,
    capabilities: Value,
    /// What it answers to every question.
    answer: Value,
    session: Option<String>,
}

/// What came of one request.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    /// The answer: `result` or `error` is in it.
    pub(crate) answer: Value,
    /// Notifications before it.
    pub(crate) told: Vec<Value>,
    /// Methods of the questions that were answered on the way.
    pub(crate) asked: Vec<String>,
}

impl Talk {
    /// The text of a tool's result.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        self.answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {self:?}"))
    }

    /// Progress it was told of, in order.
    pub(crate) fn progress(&self) -> Vec<f64> {
        let told = self.told.iter().filter(|message| message["method"] == "notifications/progress");
        told.filter_map(|message| message["params"]["progress"].as_f64()).collect()
    }
}

impl McpClient {
    /// Connects, with what it can be asked and what it answers to that.
    pub(crate) async fn connect(agent: &Agent, revision: Revision, capabilities: Value, answer: Value) -> Self {
        let mut client = Self { agent: agent.clone(), revision, capabilities, answer, session: None };
        if revision.has_handshake() {
            let params = json!({
                "protocolVersion": revision.as_str(),
                "capabilities": client.capabilities,
                "clientInfo": { "name": "suite", "version": "1" },
            });
            let message = json!({ "jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": params });
            let response = client.post(&message, None).await;
            let session = response.headers().get("mcp-session-id").and_then(|value| value.to_str().ok());
            client.session = session.map(str::to_owned);
            let answer = client.read(response, "hello").await;
            assert_eq!(answer.answer["result"]["protocolVersion"], revision.as_str(), "{answer:?}");
            client.notify("notifications/initialized", json!({})).await;
        }
        client
    }

    /// Calls a tool, and goes on until there is an answer. Wants progress.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Talk {
        let mut params = json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": "my token" } });
        let mut asked = Vec::new();
        loop {
            let mut talk = self.send("tools/call", params.clone()).await;
            asked.append(&mut talk.asked);
            if talk.answer["result"]["resultType"] != "input_required" {
                return Talk { asked, ..talk };
            }
            let requests = talk.answer["result"]["inputRequests"].as_object().cloned().unwrap_or_default();
            let mut responses = json!({});
            for (key, request) in requests {
                asked.push(request["method"].as_str().expect("a method").to_owned());
                responses[key] = self.answer.clone();
            }
            params["inputResponses"] = responses;
            params["requestState"] = talk.answer["result"]["requestState"].clone();
        }
    }

    /// One request and its answer.
    pub(crate) async fn send(&self, method: &str, params: Value) -> Talk {
        let id = trunkline_platform::random::base62(6);
        let response = self.post(&self.request(&id, method, params), Some(method)).await;
        tokio::time::timeout(WITHIN, self.read(response, &id)).await.expect("an answer in time")
    }

    /// Begins a call, waits until `begun` says so, and takes the call back in the manner of its revision.
    pub(crate) async fn cancel(&self, tool: &str, arguments: Value, begun: impl Future<Output = ()>) {
        let id = trunkline_platform::random::base62(6);
        let message = self.request(&id, "tools/call", json!({ "name": tool, "arguments": arguments }));
        let call = async {
            let response = self.post(&message, Some("tools/call")).await;
            self.read(response, &id).await
        };
        let cancel = async {
            begun.await;
            if self.revision.has_handshake() {
                self.notify("notifications/cancelled", json!({ "requestId": id })).await;
                // Its stream goes on: what it says is not heard any more.
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        };
        tokio::select! {
            talk = call => assert!(self.revision.has_handshake(), "it is answered: {talk:?}"),
            () = cancel => {}
        }
    }

    fn request(&self, id: &str, method: &str, mut params: Value) -> Value {
        if !self.revision.has_handshake() {
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(self.revision.as_str());
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = self.capabilities.clone();
            params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({ "name": "suite", "version": "1" });
        }
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
    }

    async fn notify(&self, method: &str, params: Value) {
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        let response = self.post(&message, None).await;
        assert_eq!(response.status().as_u16(), 202, "{method}");
    }

    async fn post(&self, message: &Value, method: Option<&str>) -> reqwest::Response {
        let mut request = http().post(&self.agent.url).bearer_auth(&self.agent.key);
        request = request.header("accept", "application/json, text/event-stream");
        if self.revision.has_version_header() {
            request = request.header("mcp-protocol-version", self.revision.as_str());
        }
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        if let Some(method) = method.filter(|_| !self.revision.has_handshake()) {
            request = request.header("mcp-method", method);
            let name = message["params"]["name"].as_str().or(message["params"]["uri"].as_str());
            if let Some(name) = name.filter(|_| matches!(method, "tools/call" | "prompts/get" | "resources/read")) {
                request = request.header("mcp-name", headers::encode(name).as_ref());
            }
        }
        request.json(message).send().await.expect("an answer")
    }

    /// Reads an answer to its end; questions in it are answered at once.
    async fn read(&self, response: reqwest::Response, id: &str) -> Talk {
        let mut talk = Talk::default();
        let is_stream = response.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream");
        if !is_stream {
            let (status, text) = (response.status(), response.text().await.expect("a body"));
            talk.answer = serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {status} {text}"));
            return talk;
        }
        let (mut decoder, mut body) = (Decoder::new(16 << 20), response.bytes_stream());
        while let Some(chunk) = body.next().await {
            for event in decoder.push(&chunk.expect("a whole stream")).expect("a bounded event") {
                if event.data.is_empty() {
                    continue;
                }
                let message: Value = serde_json::from_str(&event.data).expect("JSON");
                match (message.get("method").and_then(Value::as_str), message.get("id")) {
                    (Some(method), Some(asked)) => {
                        talk.asked.push(method.to_owned());
                        let answer = json!({ "jsonrpc": "2.0", "id": asked, "result": self.answer });
                        assert_eq!(self.post(&answer, None).await.status().as_u16(), 202);
                    }
                    (Some(_), None) => talk.told.push(message),
                    (None, _) => {
                        assert_eq!(message["id"], id, "{message}");
                        talk.answer = message;
                    }
                }
            }
        }
        talk
    }
}
