//! The two listeners. The public one serves the router's list; the operations one is for the machine's owner.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use actix_web::{
    App, HttpServer,
    body::MessageBody,
    dev::{Server, ServerHandle, ServiceFactory, ServiceRequest, ServiceResponse},
    http::KeepAlive,
    web,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::{WebState, middleware::surround, ops, peer, routes};

/// Waiting connections that the kernel keeps while all workers are busy.
const BACKLOG: u32 = 2048;
/// A client has this long to send its request's head.
const REQUEST_HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// An idle connection is closed after this; longer than the idle time of common proxies, so that they close first.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
const TLS_DEADLINE: Duration = Duration::from_secs(5);
/// A client that takes nothing of what waits for it for this long is let go, with its connection: a little longer than its stream lives, so
/// that it is the stream that says why.
#[cfg(target_os = "linux")]
const UNREAD_WITHIN: Duration = Duration::from_secs(20);
/// Per worker. Above the 10,000 open streams a replica is made for.
const MAX_CONNECTIONS: usize = 25_000;

/// An open port and how it is served.
#[derive(Debug)]
pub struct Listen {
    socket: TcpListener,
    addr: SocketAddr,
    /// Certificate chain and key, for TLS of its own.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Whether clients are asked for certificates there.
    pub client_certificates: bool,
    /// Threads that serve requests; 0 is one per core.
    pub workers: usize,
    /// Longest wait for running requests when stopping, in seconds.
    pub grace_s: u64,
}

impl Listen {
    /// Opens the port; 0 takes a free one. Nothing is answered before a server is started on it.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = if addr.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        let socket = socket.listen(BACKLOG)?.into_std()?;
        // Connections inherit these. An answer that is written in parts must not wait for the client to acknowledge each.
        socket2::SockRef::from(&socket).set_tcp_nodelay(true)?;
        // No handler notices that a client does not read once its answer is buffered; the kernel does.
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&socket).set_tcp_user_timeout(Some(UNREAD_WITHIN))?;
        let addr = socket.local_addr()?;
        Ok(Self { socket, addr, tls: None, client_certificates: false, workers: 0, grace_s: 0 })
    }

    /// The real address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// A server that answers. Its `server` future must be driven by somebody who notices when it ends.
pub struct Running {
    /// Ends when the server has stopped.
    pub server: Server,
    /// Stops it.
    pub handle: ServerHandle,
    /// The real address.
    pub addr: SocketAddr,
}

/// Starts the public listener.
pub fn start(state: WebState, vitals: ops::Vitals, listen: Listen) -> io::Result<Running> {
    serve(listen, move || app(state.clone(), vitals.clone()))
}

/// Starts the operations listener.
pub fn start_ops(state: WebState, vitals: ops::Vitals, listen: Listen) -> io::Result<Running> {
    serve(listen, move || {
        App::new().app_data(web::Data::new(state.clone())).app_data(web::Data::new(vitals.clone())).configure(ops::configure)
    })
}

/// The public application: what is wrapped around every request is wrapped here.
fn app(
    state: WebState,
    vitals: ops::Vitals,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let bare = App::new().app_data(web::Data::new(state)).app_data(web::Data::new(vitals)).configure(routes::configure);
    surround(bare)
}

fn serve<F, T, B>(listen: Listen, factory: F) -> io::Result<Running>
where
    F: Fn() -> App<T> + Send + Clone + 'static,
    T: ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<B>, Error = actix_web::Error, InitError = ()>
        + 'static,
    B: MessageBody + 'static,
{
    let addr = listen.addr;
    let mut server = HttpServer::new(factory)
        .disable_signals()
        .shutdown_timeout(listen.grace_s)
        .client_request_timeout(REQUEST_HEAD_DEADLINE)
        .keep_alive(KeepAlive::Timeout(KEEP_ALIVE))
        .tls_handshake_timeout(TLS_DEADLINE)
        // A client that closes its side has gone: else a silent stream would notice with its next comment only, seconds later.
        .h1_allow_half_closed(false)
        .on_connect(peer::remember)
        .max_connections(MAX_CONNECTIONS);
    if listen.workers > 0 {
        server = server.workers(listen.workers);
    }
    let server = match &listen.tls {
        Some((certificate, key)) => {
            server.listen_rustls_0_23(listen.socket, tls(certificate, key, listen.client_certificates)?)?
        }
        None => server.listen(listen.socket)?,
    };
    let server = server.run();
    Ok(Running { handle: server.handle(), server, addr })
}

/// TLS 1.2 and 1.3 with the process's provider.
fn tls(certificate: &Path, key: &Path, client_certificates: bool) -> io::Result<rustls::ServerConfig> {
    let unusable = |path: &Path, reason: String| io::Error::other(format!("{}: {reason}", path.display()));
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable(certificate, "there is no certificate in it".to_owned()));
    }
    let private_key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, error.to_string()))?;
    let builder = rustls::ServerConfig::builder();
    let builder = if client_certificates {
        builder.with_client_cert_verifier(Arc::new(peer::AnyCertificate::default()))
    } else {
        builder.with_no_client_auth()
    };
    builder.with_single_cert(chain, private_key).map_err(|error| unusable(key, error.to_string()))
}
