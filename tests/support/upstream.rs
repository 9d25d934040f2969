//! Somebody else's HTTP server, well behaved and badly behaved by path. Remembers what it was sent, and who hung up on it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{evil, world};

/// Stands in every error body: it must never reach a caller.
pub(crate) const CANARY: &str = "upstream-canary-9x7";

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// `METHOD /path`.
    pub(crate) line: String,
    /// The whole head, lower case.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

/// Who may pass where a path has `guarded` in it.
#[derive(Debug, Clone, Default)]
struct Guard {
    /// Lines of the head, lower case, one of which is needed.
    taken: Arc<Mutex<Vec<String>>>,
    /// First lines of what passed.
    passed: Arc<Mutex<Vec<String>>>,
}

impl Guard {
    fn stops(&self, line: &str, path: &str, head: &str) -> bool {
        if !path.contains("guarded") {
            return false;
        }
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = taken.iter().any(|line| head.lines().any(|has| has == line));
        if passes {
            self.passed.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
        }
        !passes
    }
}

/// The server. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    hung_up: Arc<AtomicUsize>,
    document: Arc<Mutex<String>>,
    guard: Guard,
    task: JoinHandle<()>,
}

impl Upstream {
    /// Listens on a free port.
    pub(crate) async fn start() -> Self {
        let listening = world().spawn(TcpListener::bind(("127.0.0.1", 0))).await.expect("no panic");
        let listener = listening.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (seen, hung_up) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<AtomicUsize>::default());
        let document = Arc::<Mutex<String>>::default();
        let guard = Guard::default();
        let its_guard = guard.clone();
        let (its_seen, its_hung_up, its_document) = (Arc::clone(&seen), Arc::clone(&hung_up), Arc::clone(&document));
        let task = world().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, hung_up) = (Arc::clone(&its_seen), Arc::clone(&its_hung_up));
                tokio::spawn(serve(stream, seen, hung_up, Arc::clone(&its_document), its_guard.clone()));
            }
        });
        Self { addr, seen, hung_up, document, guard, task }
    }

    /// A URL on it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// What it answers at `/document` from now on.
    pub(crate) fn serve_document(&self, text: &str) {
        text.clone_into(&mut self.document.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// From now on what is guarded is only for who sends one of these lines; all others get 401, and nothing is done for them.
    pub(crate) fn take_only(&self, lines: &[&str]) {
        let lines = lines.iter().map(|line| line.to_lowercase()).collect();
        *self.guard.taken.lock().unwrap_or_else(PoisonError::into_inner) = lines;
    }

    /// How often something guarded was done.
    pub(crate) fn passed(&self) -> usize {
        self.guard.passed.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The same of requests with that first line.
    pub(crate) fn passed_of(&self, line: &str) -> usize {
        self.guard.passed.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|passed| *passed == line).count()
    }

    /// Everything it was sent.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connections that were closed before they had their answer.
    pub(crate) fn hung_up(&self) -> usize {
        self.hung_up.load(Ordering::Relaxed)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    seen: Arc<Mutex<Vec<Seen>>>,
    hung_up: Arc<AtomicUsize>,
    document: Arc<Mutex<String>>,
    guard: Guard,
) {
    while let Some(request) = read(&mut stream).await {
        let path = request.line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (line, head) = (request.line.clone(), request.head.clone());
        let tokens = {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push(request);
            seen.iter().filter(|seen| seen.line.starts_with("POST /token")).count()
        };
        if guard.stops(&line, &path, &head) {
            if whole(&mut stream, "401 Unauthorized", "text/plain", CANARY.as_bytes()).await.is_none() {
                return;
            }
            continue;
        }
        // Gives one token after the other, and takes the one that a path names.
        if path.starts_with("/token") {
            let token = format!(r#"{{"access_token":"t-{tokens}","token_type":"Bearer","expires_in":3600}}"#);
            if whole(&mut stream, "200 OK", "application/json", token.as_bytes()).await.is_none() {
                return;
            }
            continue;
        }
        if path.strip_prefix("/bearer/").is_some_and(|token| !head.contains(&format!("authorization: bearer {token}\r\n"))) {
            if whole(&mut stream, "401 Unauthorized", "text/plain", CANARY.as_bytes()).await.is_none() {
                return;
            }
            continue;
        }
        if path == "/document" {
            let text = document.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if whole(&mut stream, "200 OK", "application/json", text.as_bytes()).await.is_none() {
                return;
            }
            continue;
        }
        if answer(&mut stream, &path, &hung_up).await.is_none() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        let mut chunk = [0; 4096];
        let length = stream.read(&mut chunk).await.ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&chunk[..length]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let line = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |text| text.parse().unwrap_or(0));
    while bytes.len() < end + length {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
    }
    Some(Seen { line, head, body: String::from_utf8_lossy(&bytes[end..]).into_owned() })
}

/// Answers by path; `None` when the connection is over.
async fn answer(stream: &mut TcpStream, path: &str, hung_up: &AtomicUsize) -> Option<()> {
    let path = path.split('?').next().unwrap_or_default();
    let (word, number) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    if let Some(answered) = evil::answer(stream, word, number).await {
        return answered;
    }
    match word {
        "slow" => {
            let ms = number.parse().unwrap_or(1_000);
            if !is_patient(stream, Duration::from_millis(ms)).await {
                hung_up.fetch_add(1, Ordering::Relaxed);
                return None;
            }
            whole(stream, "200 OK", "application/json", br#"{"slow":true}"#).await
        }
        "hang" => {
            is_patient(stream, Duration::from_hours(1)).await;
            hung_up.fetch_add(1, Ordering::Relaxed);
            None
        }
        "cost" => {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntrunkline-cost: {number}\r\ncontent-length: 11\r\n\r\n{{\"ok\":true}}"
            );
            stream.write_all(head.as_bytes()).await.ok()
        }
        "status" => whole(stream, &format!("{number} Status"), "text/plain", CANARY.as_bytes()).await,
        "redirect" => {
            let head =
                format!("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/{CANARY}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await.ok()
        }
        "huge" => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1073741824\r\n\r\n";
            stream.write_all(head.as_bytes()).await.ok()?;
            endless(stream, b"xxxxxxxxxxxxxxxx").await;
            None
        }
        "endless" => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.ok()?;
            endless(stream, format!("1000\r\n{}\r\n", "x".repeat(0x1000)).as_bytes()).await;
            None
        }
        "drip" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 100000\r\n\r\n").await.ok()?;
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            hung_up.fetch_add(1, Ordering::Relaxed);
            None
        }
        "garbage" => {
            let _ = stream.write_all(format!("\x00\x01 {CANARY} \x02\r\n\r\n").as_bytes()).await;
            None
        }
        "cut" => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1000\r\n\r\n{CANARY}");
            let _ = stream.write_all(head.as_bytes()).await;
            None
        }
        "reset" => {
            let _ = stream.set_zero_linger();
            None
        }
        "client" => {
            let document = client_document(&format!("http://{}{path}", stream.local_addr().ok()?), number);
            whole(stream, "200 OK", "application/json", document.as_bytes()).await?;
            // No connection outlives this server.
            None
        }
        "not-utf8" => whole(stream, "200 OK", "text/plain", b"upstream-canary-9x7 \xff\xfe").await,
        "large" => whole(stream, "200 OK", "text/plain", "x".repeat(number.parse().unwrap_or(1)).as_bytes()).await,
        "image" => whole(stream, "200 OK", "image/png", CANARY.as_bytes()).await,
        "untyped" => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{CANARY}", CANARY.len());
            stream.write_all(head.as_bytes()).await.ok()
        }
        _ => whole(stream, "200 OK", "application/json", br#"{"ok":true}"#).await,
    }
}

/// A client's document about itself, good or otherwise.
fn client_document(address: &str, kind: &str) -> String {
    let mut document = serde_json::json!({
        "client_id": address,
        "client_name": "Documented",
        "redirect_uris": ["http://127.0.0.1/callback"],
        "token_endpoint_auth_method": "none",
    });
    match kind {
        "other" => document["client_id"] = "https://elsewhere.example/client".into(),
        "secret" => document["client_secret"] = "x".into(),
        "nameless" => document["client_name"] = "".into(),
        "large" => document["tos"] = "x".repeat(40_000).into(),
        _ => {}
    }
    document.to_string()
}

async fn whole(stream: &mut TcpStream, status: &str, kind: &str, body: &[u8]) -> Option<()> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()
}

async fn endless(stream: &mut TcpStream, piece: &[u8]) {
    let piece = piece.repeat((64 * 1024 / piece.len()).max(1));
    while stream.write_all(&piece).await.is_ok() {}
}

/// Waits; false if the other side hangs up meanwhile.
async fn is_patient(stream: &mut TcpStream, time: Duration) -> bool {
    let mut byte = [0; 1];
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        _ = stream.read(&mut byte) => false,
    }
}
