//! Somebody's documents about themselves: key sets and metadata, which a test may change at any time.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

use super::world;

/// The server. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Published {
    addr: SocketAddr,
    documents: Arc<Mutex<HashMap<String, Value>>>,
    task: JoinHandle<()>,
}

impl Published {
    /// Listens on a free port.
    pub(crate) async fn start() -> Self {
        let listener = world().spawn(TcpListener::bind(("127.0.0.1", 0))).await.expect("no panic").expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let documents = Arc::<Mutex<HashMap<String, Value>>>::default();
        let its_documents = Arc::clone(&documents);
        let task = world().spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let documents = Arc::clone(&its_documents);
                tokio::spawn(async move {
                    let mut request = vec![0; 8192];
                    let length = stream.read(&mut request).await.unwrap_or(0);
                    let line = String::from_utf8_lossy(&request[..length]).into_owned();
                    let path = line.split(' ').nth(1).unwrap_or_default();
                    let found = documents.lock().unwrap_or_else(PoisonError::into_inner).get(path).map(Value::to_string);
                    let (status, body) = found.map_or(("404 Not Found", String::new()), |body| ("200 OK", body));
                    let length = body.len();
                    let answer = format!(
                        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self { addr, documents, task }
    }

    /// A URL on it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Serves that document there from now on.
    pub(crate) fn put(&self, path: &str, document: Value) {
        self.documents.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), document);
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.task.abort();
    }
}
