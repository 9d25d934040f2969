//! Answers that are worse than wrong: what an upstream sends that wants our memory, our time, or to be misread.

use std::{
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

/// Sixteen times what is read of an answer.
const ZEROS: usize = 64 * 1024 * 1024;
/// As many zeros, as brotli packs them.
const BROTLI: &str = "cbffff3ff82700e2b14020f7fe8fffff7ff04f00c4611180eefd1fffffffe09f0088c30200ddfb3ffeffffc13f0110870500baf77ffcffff837f0220\
                      0e0b0074effff8ffff07ff04401c1600e8defff1ffff0ffe0980382c00d0bdffcbffff3ffc1300715800a07bff07";

/// One more word that an answer comes.
const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";

/// Answers so, if that is a word of this file. The inner value is `None` when the connection is over.
pub(super) async fn answer(stream: &mut TcpStream, word: &str, number: &str) -> Option<Option<()>> {
    Some(match word {
        "early" => over(early(stream).await),
        "hints" => {
            let hints = HINT.repeat(50);
            send(
                stream,
                format!("{hints}HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes(),
            )
            .await
        }
        "head" => {
            let value = "x".repeat(number.parse().unwrap_or(1));
            send(stream, format!("HTTP/1.1 200 OK\r\nx-large: {value}\r\ncontent-length: 2\r\n\r\nok").as_bytes()).await
        }
        "heads" => {
            let line = "x-many: x\r\n".repeat(number.parse().unwrap_or(1));
            send(stream, format!("HTTP/1.1 200 OK\r\n{line}content-length: 2\r\n\r\nok").as_bytes()).await
        }
        "lengths" => send(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!").await,
        "chunk" => over(send(stream, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n").await),
        "size" => over(send(stream, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\nx").await),
        "torn" => {
            let _ = send(stream, b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1000\r\n\r\nhalf").await;
            // Later than its head: it is the body that is cut.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _ = stream.set_zero_linger();
            None
        }
        "bomb" => send(stream, &bomb(number)).await,
        "later" => {
            let head = format!("HTTP/1.1 {number} Later\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n");
            send(stream, head.as_bytes()).await
        }
        _ => return None,
    })
}

async fn send(stream: &mut TcpStream, bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).await.ok()
}

fn over(_: Option<()>) -> Option<()> {
    None
}

/// Says again and again that the answer comes.
async fn early(stream: &mut TcpStream) -> Option<()> {
    let hints = HINT.repeat(1_000);
    loop {
        send(stream, hints.as_bytes()).await?;
    }
}

/// An answer that grows when it is unpacked, in that coding.
fn bomb(coding: &str) -> Vec<u8> {
    let body = match coding {
        "gzip" | "gzip, gzip" => gzip().to_vec(),
        "br" => {
            (0..BROTLI.len() / 2).map(|at| u8::from_str_radix(&BROTLI[at * 2..at * 2 + 2], 16).expect("hexadecimal")).collect()
        }
        // Nobody asked for this one, and nobody here unpacks it.
        _ => b"\x28\xb5\x2f\xfd\x04\x58\x01\x00\x00packed".to_vec(),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

fn gzip() -> &'static [u8] {
    static GZIP: OnceLock<Vec<u8>> = OnceLock::new();
    GZIP.get_or_init(|| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("head -c {ZEROS} /dev/zero | gzip -9 -c")]).stdin(Stdio::null());
        command.output().expect("gzip runs").stdout
    })
}
