//! What its tools do, where both eras do the same. A call writes what it likes before its answer.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::{Value, json};
use trunkline_protocol::mcp::Revision;

use super::{Seen, State, Way, connection::Connection, failure, lock, offer::Answer, success};

/// One call that runs.
pub(super) struct Call<'a> {
    pub(super) state: &'a State,
    pub(super) connection: &'a mut Connection,
    pub(super) request: &'a Seen,
    pub(super) revision: Revision,
    /// The session of the call, if it has one.
    pub(super) session: Option<&'a str>,
}

/// How a call ended.
pub(super) enum End {
    /// With an answer.
    Answer(Answer),
    /// It wrote everything itself. `None`: the connection is over.
    Written(Option<()>),
}

impl End {
    /// With a result.
    pub(super) fn answer(result: String) -> Self {
        Self::Answer(Ok(result))
    }
}

impl Call<'_> {
    pub(super) fn id(&self) -> &Value {
        &self.request.json["id"]
    }

    pub(super) fn arguments(&self) -> &Value {
        &self.request.json["params"]["arguments"]
    }

    /// A result with one text.
    pub(super) fn text(text: &str) -> String {
        json!({ "content": [{ "type": "text", "text": text }] }).to_string()
    }

    /// A notification on the stream of the call.
    pub(super) async fn notify(&mut self, method: &str, params: Value) -> Option<()> {
        self.connection.event(&json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string()).await
    }

    /// Runs what is the same in both eras.
    pub(super) async fn run(&mut self, name: &str) -> End {
        match name {
            "echo" => {
                let said = self.arguments().to_string();
                End::Answer(Ok(format!(
                    r#"{{"x-first":1.50,"content":[{{"type":"text","text":{},"x-inner":1e2}}],"structuredContent":{said},"x-last":{{"b":1,"a":2}}}}"#,
                    json!(said)
                )))
            }
            "raw" | "promised" => End::Answer(Ok(self.arguments()["result"].as_str().unwrap_or("{}").to_owned())),
            "slow" => self.slow().await,
            "fail" => End::Answer(Err((4_711, "it failed as wanted", json!({ "why": "because" })))),
            "refuse" => End::Written(self.refuse().await),
            "tool_error" => End::Answer(Ok(r#"{"content":[{"type":"text","text":"no luck"}],"isError":true}"#.to_owned())),
            "region" => End::answer(Self::text("the headers fit")),
            "log" => self.log().await,
            "wrong_id" => End::Written(self.connection.json(200, &success(&json!("another"), r#"{"content":[]}"#)).await),
            "two_answers" => End::Written(self.two_answers().await),
            "endless" => {
                // Without a pause it comes to the bound of events before the tool's time, on a machine that is fast enough.
                let pause = Duration::from_millis(self.arguments()["pause_ms"].as_u64().unwrap_or_default());
                while self.notify("notifications/message", json!({ "level": "info", "data": "x" })).await.is_some() {
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
                End::Written(self.hang_up())
            }
            "flood" => self.flood().await,
            "huge_event" => {
                let _ = self.notify("notifications/message", json!({ "level": "info", "data": "x".repeat(2 << 20) })).await;
                End::answer(Self::text("too late"))
            }
            "huge_result" => End::answer(Self::text(&"x".repeat(5 << 20))),
            "hang" | "silent" => {
                if name == "silent" {
                    let _ = self.connection.events(": nothing yet\n\n").await;
                }
                self.connection.is_patient(Duration::from_hours(1)).await;
                End::Written(self.hang_up())
            }
            "broken" => End::Written(self.connection.json(200, r#"{"jsonrpc":"2.0","id":"#).await),
            "gone" => {
                let _ = self.connection.events(": soon\n\n").await;
                End::Written(self.connection.end().await)
            }
            "unknown_type" => {
                End::Written(self.connection.json(200, &success(self.id(), r#"{"resultType":"surprise","content":[]}"#)).await)
            }
            _ => End::Answer(Err((-32602, "no such tool", Value::Null))),
        }
    }

    /// An error with the code and status that are asked for, as servers refuse a request that they do not take.
    async fn refuse(&mut self) -> Option<()> {
        let (code, status) = (self.arguments()["code"].as_i64(), self.arguments()["status"].as_u64());
        let status = status.and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
        let data = json!({ "supported": ["2031-01-01"], "requested": "2026-07-28" });
        let message = failure(self.id(), code.unwrap_or(-32600), "upstream-canary-9x7", &data);
        self.connection.json(status, &message).await
    }

    /// Steps with progress, until it is done, cancelled or left alone.
    async fn slow(&mut self) -> End {
        let steps = self.arguments()["steps"].as_u64().unwrap_or(5);
        let token = self.request.json["params"]["_meta"]["progressToken"].clone();
        for step in 1..=steps {
            // A batch and a JSON body have no room for progress before the answer.
            if !token.is_null() && (self.state.way == Way::Events) {
                let progress =
                    json!({ "progressToken": token, "progress": step, "total": steps, "message": format!("step {step}") });
                if self.notify("notifications/progress", progress).await.is_none() {
                    return End::Written(self.hang_up());
                }
            }
            if !self.connection.is_patient(Duration::from_millis(30)).await {
                return End::Written(self.hang_up());
            }
            if lock(&self.state.cancelled).contains(&self.key()) {
                return End::Written(None);
            }
        }
        End::answer(Self::text("slowly done"))
    }

    /// Says much, and more than a reader that does not read has room for.
    async fn flood(&mut self) -> End {
        let size = |name: &str| usize::try_from(self.arguments()[name].as_u64().unwrap_or(1)).expect("small");
        let (count, text) = (size("count"), "x".repeat(size("bytes")));
        for _ in 0..count {
            if self.notify("notifications/message", json!({ "level": "info", "data": text })).await.is_none() {
                return End::Written(self.hang_up());
            }
        }
        End::answer(Self::text("the flood is over"))
    }

    /// What a cancellation names: the request in its session.
    pub(super) fn key(&self) -> String {
        format!("{} {}", self.session.unwrap_or_default(), self.id())
    }

    async fn log(&mut self) -> End {
        for (level, text) in [("debug", "small"), ("warning", "large")] {
            let params = json!({ "level": level, "logger": "upstream", "data": { "text": text } });
            if self.notify("notifications/message", params).await.is_none() {
                return End::Written(None);
            }
        }
        End::answer(Self::text("logged"))
    }

    async fn two_answers(&mut self) -> Option<()> {
        for text in ["first", "second"] {
            let result = Self::text(text);
            let result = with_type(self.revision, &result);
            self.connection.event(&success(self.id(), &result)).await?;
        }
        self.connection.end().await
    }

    fn hang_up(&self) -> Option<()> {
        self.state.hung_up.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Writes the answer the way this server answers.
    pub(super) async fn finish(&mut self, answer: Answer) -> Option<()> {
        let (status, message) = match answer {
            Ok(result) => (200, success(self.id(), &with_type(self.revision, &result))),
            Err((code, text, data)) => (200, failure(self.id(), code, text, &data)),
        };
        if self.connection.is_streaming() || self.state.way == Way::Events {
            self.connection.event(&message).await?;
            return self.connection.end().await;
        }
        if self.revision == Revision::V2025_03_26 {
            // Answers of this revision may come with notifications in one batch.
            let token = self.request.json["params"]["_meta"]["progressToken"].clone();
            let progress = json!({ "progressToken": token, "progress": 1 });
            let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": progress });
            return self.connection.json(status, &format!("[{progress},{message}]")).await;
        }
        self.connection.json(status, &message).await
    }
}

/// Results of the stateless era name their type.
pub(super) fn with_type(revision: Revision, result: &str) -> String {
    if revision.has_handshake() || result.contains(r#""resultType""#) {
        return result.to_owned();
    }
    match result.strip_suffix('}') {
        Some("{") => r#"{"resultType":"complete"}"#.to_owned(),
        Some(rest) => format!(r#"{rest},"resultType":"complete"}}"#),
        None => result.to_owned(),
    }
}
