//! The fastest upstream we can write: gives a JSON body back. In a process of its own, so that its time is not the generator's.

use std::{convert::Infallible, process::Stdio};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::Command,
};

/// Serves until the process ends; says on which port.
pub(crate) async fn run() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    crate::say(listener.local_addr()?.port());
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        #[expect(clippy::disallowed_methods, reason = "a connection of a benchmark needs no owner")]
        tokio::spawn(http1::Builder::new().pipeline_flush(true).serve_connection(TokioIo::new(socket), service_fn(echo)));
    }
}

/// A collector of traces is thanked with an empty answer, everybody else gets back what was sent.
async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/v1/traces" {
        let _ = request.into_body().collect().await;
        return Ok(Response::new(Full::default()));
    }
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    Ok(response)
}

/// The upstream as a child process.
pub(crate) struct Child {
    port: u16,
    _process: tokio::process::Child,
}

impl Child {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("upstream")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the upstream cannot be started")?;
        let output = process.stdout.take().context("the upstream has no output")?;
        let line = BufReader::new(output).lines().next_line().await?.context("the upstream ended")?;
        Ok(Self { port: line.trim().parse()?, _process: process })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/echo", self.port)
    }
}
