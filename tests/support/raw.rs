//! Bytes on a connection, for requests that no HTTP library would send.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// What came back over a raw connection.
#[derive(Debug, Clone)]
pub(crate) struct RawAnswer(pub(crate) String);

impl RawAnswer {
    /// The status, 0 if the connection was closed without one.
    pub(crate) fn status(&self) -> u16 {
        self.0.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    }
}

/// `127.0.0.1:…` of a URL.
pub(crate) fn authority(url: &str) -> &str {
    url.trim_start_matches("http://").split('/').next().unwrap_or_default()
}

/// Connects to the host of that URL.
pub(crate) async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(authority(url)).await.expect("a connection")
}

/// Sends bytes and reads what comes within ten seconds, until the other side closes or the first answer is whole.
pub(crate) async fn exchange(url: &str, request: impl AsRef<[u8]>) -> RawAnswer {
    let mut stream = connect(url).await;
    // The other side may answer and close before it has read everything.
    let _ = stream.write_all(request.as_ref()).await;
    read(&mut stream).await
}

/// Reads one answer.
pub(crate) async fn read(stream: &mut TcpStream) -> RawAnswer {
    let mut bytes = Vec::new();
    let reading = async {
        let mut chunk = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = stream.read(&mut chunk).await {
            bytes.extend_from_slice(&chunk[..length]);
            if is_whole(&bytes) {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(10), reading).await;
    RawAnswer(String::from_utf8_lossy(&bytes).into_owned())
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}
