//! A TCP proxy that takes its time, so that a future can be dropped between any two messages.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

use super::world;

/// Passes everything on, later. Ends when dropped.
#[derive(Debug)]
pub(crate) struct SlowProxy {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    task: JoinHandle<()>,
}

impl SlowProxy {
    /// Delays each message in each direction.
    pub(crate) async fn start(target: String, delay: Duration) -> Self {
        let listening = world().spawn(TcpListener::bind(("127.0.0.1", 0))).await.expect("no panic");
        let listener = listening.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let task = world().spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&target).await else { continue };
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                tokio::spawn(pass(near_in, far_out, delay));
                tokio::spawn(pass(far_in, near_out, delay));
            }
        });
        Self { addr, task }
    }
}

impl Drop for SlowProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        tokio::time::sleep(delay).await;
        if to.write_all(&bytes[..length]).await.is_err() {
            break;
        }
    }
}
