//! `trunkline connect` as its client has it: a child with lines in and lines out.

use std::{process::Stdio, time::Duration};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
};

use super::{
    Era, message,
    process::{command, send},
};

/// Longest wait for a line.
const PATIENCE: Duration = Duration::from_secs(30);

/// The child. Killed when dropped.
pub(crate) struct Connected {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: ChildStderr,
    /// Messages that were read while another one was waited for.
    kept: Vec<Value>,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; `None` after a signal.
    pub(crate) code: Option<i32>,
    /// What it still said.
    pub(crate) messages: Vec<Value>,
    /// All of standard error.
    pub(crate) complaints: String,
}

impl Connected {
    /// Starts it with the key in its variable.
    pub(crate) fn start(url: &str, key: &str) -> Self {
        let mut starting = tokio::process::Command::from(command(&["connect", url]));
        starting.env("TRUNKLINE_KEY", key).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = starting.kill_on_drop(true).spawn().expect("the binary starts");
        Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().expect("stdout")).lines(),
            stderr: child.stderr.take().expect("stderr"),
            child,
            kept: Vec::new(),
        }
    }

    /// The same, after a handshake with these capabilities.
    pub(crate) async fn in_session(url: &str, key: &str, revision: &str, capabilities: Value) -> Self {
        let mut connected = Self::start(url, key);
        let info = json!({ "name": "suite", "version": "1" });
        let params = json!({ "protocolVersion": revision, "capabilities": capabilities, "clientInfo": info });
        let settled = connected.ask(Era::Handshake, 0, "initialize", params).await;
        assert_eq!(settled["result"]["protocolVersion"], revision, "{settled}");
        connected.tell(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        connected
    }

    /// Writes a line as it is.
    pub(crate) async fn line(&mut self, line: &[u8]) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        stdin.write_all(line).await.expect("it reads");
        stdin.write_all(b"\n").await.expect("it reads");
    }

    /// Writes a message.
    pub(crate) async fn tell(&mut self, message: &Value) {
        self.line(message.to_string().as_bytes()).await;
    }

    /// Writes a request of that era.
    pub(crate) async fn request(&mut self, era: Era, id: i64, method: &str, params: Value) {
        let mut request = message(era, method, params);
        request["id"] = json!(id);
        self.tell(&request).await;
    }

    /// Writes a request and waits for its answer.
    pub(crate) async fn ask(&mut self, era: Era, id: i64, method: &str, params: Value) -> Value {
        self.request(era, id, method, params).await;
        self.answer(id).await
    }

    /// Calls a tool and waits for its answer.
    pub(crate) async fn call(&mut self, era: Era, id: i64, tool: &str, arguments: Value) -> Value {
        self.ask(era, id, "tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    /// The next line as it came.
    pub(crate) async fn next_line(&mut self) -> Option<String> {
        tokio::time::timeout(PATIENCE, self.stdout.next_line()).await.expect("a line in time").expect("a line")
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Value {
        let line = self.next_line().await.expect("one more message");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not a message: {line}"))
    }

    /// The first message that fits; others are kept for later.
    pub(crate) async fn find(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.kept.iter().position(&fits) {
            return self.kept.remove(at);
        }
        loop {
            let message = self.next().await;
            if fits(&message) {
                return message;
            }
            self.kept.push(message);
        }
    }

    /// The answer to that request.
    pub(crate) async fn answer(&mut self, id: i64) -> Value {
        self.find(|message| message["id"] == id && message["method"].is_null()).await
    }

    /// The next message of that method.
    pub(crate) async fn heard(&mut self, method: &str) -> Value {
        self.find(|message| message["method"] == method).await
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        send(self.child.id().expect("it runs"), signal);
    }

    /// Waits for its end, standard input still open.
    pub(crate) async fn wait(&mut self) -> Option<i32> {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends").expect("a child").code()
    }

    /// Closes standard input and waits for its end.
    pub(crate) async fn end(mut self) -> Ended {
        drop(self.stdin.take());
        let mut messages = std::mem::take(&mut self.kept);
        while let Some(line) = self.next_line().await {
            messages.push(serde_json::from_str(&line).unwrap_or_else(|_| panic!("not a message: {line}")));
        }
        let mut complaints = String::new();
        self.stderr.read_to_string(&mut complaints).await.expect("a text");
        Ended { code: self.wait().await, messages, complaints }
    }
}
