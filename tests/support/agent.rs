//! An agent: calls tools over HTTP as any client would, in both eras.

use std::{sync::OnceLock, time::Duration};

use reqwest::{Client, Response, header::HeaderMap};
use serde_json::{Value, json};
use trunkline_platform::ids::{AgentId, KeyId};

/// Which way a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// 2026-07-28: metadata in each request.
    Stateless,
    /// 2025-11-25: after a handshake.
    Handshake,
}

impl Era {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Stateless, Self::Handshake];

    /// Its revision.
    pub(crate) fn revision(self) -> &'static str {
        match self {
            Self::Stateless => "2026-07-28",
            Self::Handshake => "2025-11-25",
        }
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// Headers.
    pub(crate) headers: HeaderMap,
    /// The body, as it came.
    pub(crate) text: String,
    /// The message in it: the body, or the event's data. `Null` if there is none.
    pub(crate) json: Value,
}

impl Answer {
    /// Reads a whole answer.
    pub(crate) async fn read(response: Response) -> Self {
        Self::read_maybe(response).await.expect("a whole body")
    }

    /// The same; nothing where its sender hung up in the middle.
    pub(crate) async fn read_maybe(response: Response) -> Option<Self> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.ok()?;
        let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or(&text);
        let json = serde_json::from_str(data).unwrap_or(Value::Null);
        Some(Self { status, headers, text, json })
    }

    /// A header as text; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The result's text; panics if there is no result.
    pub(crate) fn result(&self) -> &str {
        self.json["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no result: {} {}", self.status, self.text))
    }

    /// Did a tool run and succeed?
    pub(crate) fn is_ok(&self) -> bool {
        self.status == 200 && self.json["result"]["content"].is_array() && self.json["result"]["isError"] != json!(true)
    }

    /// The JSON-RPC error's code.
    pub(crate) fn code(&self) -> i64 {
        self.json["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {} {}", self.status, self.text))
    }

    /// The class of a failed tool.
    pub(crate) fn error_class(&self) -> &str {
        self.json["result"]["_meta"]["trunkline/error"].as_str().unwrap_or_default()
    }

    /// Names of the listed tools.
    pub(crate) fn tool_names(&self) -> Vec<&str> {
        let tools = self.json["result"]["tools"].as_array().unwrap_or_else(|| panic!("no list: {} {}", self.status, self.text));
        tools.iter().filter_map(|tool| tool["name"].as_str()).collect()
    }
}

/// The client that all agents share, as many share one process.
pub(crate) fn http() -> &'static Client {
    static HTTP: OnceLock<Client> = OnceLock::new();
    HTTP.get_or_init(|| {
        Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // Each test has a runtime of its own, which a pooled connection must not outlive.
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_mins(1))
            .build()
            .expect("a client")
    })
}

/// An agent with a key.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    /// Its endpoint.
    pub(crate) url: String,
    /// Its id.
    pub(crate) id: AgentId,
    /// Its key's id.
    pub(crate) key_id: KeyId,
    /// Its key.
    pub(crate) key: String,
}

impl Agent {
    pub(super) fn new(url: &str, id: AgentId, key_id: KeyId, key: &str) -> Self {
        Self { url: url.to_owned(), id, key_id, key: key.to_owned() }
    }

    /// The same agent at another endpoint.
    pub(crate) fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    /// A request with the bearer, to which a test adds what it wants.
    pub(crate) fn request(&self) -> reqwest::RequestBuilder {
        http().post(&self.url).bearer_auth(&self.key)
    }

    /// One message with the headers of its era; `accept` says what the client can read.
    pub(crate) fn message(&self, era: Era, method: &str, params: Value, accept: &str) -> reqwest::RequestBuilder {
        let name = params["name"].as_str().map(str::to_owned);
        let mut request = self.request().header("accept", accept).header("mcp-protocol-version", era.revision());
        if era == Era::Stateless {
            request = request.header("mcp-method", method);
            if let Some(name) = name.filter(|_| method == "tools/call") {
                request = request.header("mcp-name", name);
            }
        }
        request.json(&message(era, method, params))
    }

    /// Sends one message and reads its answer.
    pub(crate) async fn send(&self, era: Era, method: &str, params: Value) -> Answer {
        let request = self.message(era, method, params, "application/json, text/event-stream");
        Answer::read(request.send().await.expect("an answer")).await
    }

    /// Calls a tool.
    pub(crate) async fn call(&self, era: Era, tool: &str, arguments: Value) -> Answer {
        self.send(era, "tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    /// Calls the tool of first calls.
    pub(crate) async fn echo(&self, text: &str) -> Answer {
        self.call(Era::Stateless, "echo", json!({ "text": text })).await
    }

    /// Lists tools.
    pub(crate) async fn list(&self, era: Era) -> Answer {
        self.send(era, "tools/list", json!({})).await
    }
}

/// One message of that era.
pub(crate) fn message(era: Era, method: &str, mut params: Value) -> Value {
    if era == Era::Stateless {
        let meta = &mut params["_meta"];
        meta["io.modelcontextprotocol/protocolVersion"] = json!(era.revision());
        meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
        meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "suite", "version": "1" });
    }
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}
