//! HTTP by hand: one connection, requests whole, answers whole or as events.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The client's port: which connection it came over.
    pub(crate) port: u16,
    /// `POST`, `GET` or `DELETE`.
    pub(crate) http_method: String,
    /// Headers, names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body as text.
    pub(crate) body: String,
    /// The body as JSON, `null` if it is none.
    pub(crate) json: Value,
}

impl Seen {
    /// One header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// One connection.
pub(super) struct Connection {
    stream: TcpStream,
    /// Events have begun: the answer has no length.
    is_streaming: bool,
    /// Sent with the head of the next answer.
    session: Option<String>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        // An answer is several writes; the second must not wait for the first to be acknowledged.
        let _ = stream.set_nodelay(true);
        Self { stream, is_streaming: false, session: None }
    }

    /// The next request, whole.
    pub(super) async fn read(&mut self) -> Option<Seen> {
        (self.is_streaming, self.session) = (false, None);
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.more(&mut bytes).await?;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let http_method = lines.next()?.split(' ').next()?.to_owned();
        let headers: BTreeMap<_, _> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let length: usize = headers.get("content-length").map_or(0, |text| text.parse().unwrap_or(0));
        while bytes.len() < end + length {
            self.more(&mut bytes).await?;
        }
        let body = String::from_utf8_lossy(&bytes[end..]).into_owned();
        let json = serde_json::from_str(&body).unwrap_or_default();
        let port = self.stream.peer_addr().ok()?.port();
        Some(Seen { port, http_method, headers, body, json })
    }

    async fn more(&mut self, bytes: &mut Vec<u8>) -> Option<()> {
        let mut chunk = [0; 4 * 1024];
        let length = self.stream.read(&mut chunk).await.ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&chunk[..length]);
        Some(())
    }

    /// The next answer gives this session id.
    pub(super) fn give_session(&mut self, id: &str) {
        self.session = Some(id.to_owned());
    }

    /// An answer that is not JSON-RPC.
    pub(super) async fn plain(&mut self, status: u16, text: &str) -> Option<()> {
        self.whole(status, "text/plain", text).await
    }

    /// One JSON body.
    pub(super) async fn json(&mut self, status: u16, body: &str) -> Option<()> {
        self.whole(status, "application/json", body).await
    }

    async fn whole(&mut self, status: u16, kind: &str, body: &str) -> Option<()> {
        let session = self.session_header();
        let head = format!("HTTP/1.1 {status} Status\r\ncontent-type: {kind}\r\n{session}content-length: {}\r\n\r\n", body.len());
        self.write(&head).await?;
        self.write(body).await
    }

    fn session_header(&mut self) -> String {
        self.session.take().map(|id| format!("mcp-session-id: {id}\r\n")).unwrap_or_default()
    }

    /// Have events begun?
    pub(super) fn is_streaming(&self) -> bool {
        self.is_streaming
    }

    /// Some text of an event stream, which begins with the first.
    pub(super) async fn events(&mut self, text: &str) -> Option<()> {
        if !self.is_streaming {
            self.is_streaming = true;
            let session = self.session_header();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{session}transfer-encoding: chunked\r\n\r\n");
            self.write(&head).await?;
        }
        self.write(&format!("{:x}\r\n{text}\r\n", text.len())).await
    }

    /// One message as an event.
    pub(super) async fn event(&mut self, message: &str) -> Option<()> {
        // A comment and a line break inside: what a stream may have, its reader must take.
        self.events(&format!(": keep-alive\n\nevent: message\ndata: {message}\n\n")).await
    }

    /// The end of an event stream.
    pub(super) async fn end(&mut self) -> Option<()> {
        self.write("0\r\n\r\n").await
    }

    async fn write(&mut self, text: &str) -> Option<()> {
        self.stream.write_all(text.as_bytes()).await.ok()
    }

    /// Waits; false if the other side hangs up meanwhile.
    pub(super) async fn is_patient(&mut self, time: Duration) -> bool {
        let mut byte = [0; 1];
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            _ = self.stream.read(&mut byte) => false,
        }
    }
}
