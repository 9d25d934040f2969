//! Upstreams that cannot prove who they are: no byte of a secret is sent to them.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use trunkline::services::free_port;

use crate::support::{Era, Replica, SPOOL_DIR, TestApp, Upstream, figure, private::Folder, tools, world};

const SECRET: &str = "sesame-4711";

/// Signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate, what stands above it, and its key.
struct Identity {
    chain: String,
    key: String,
}

fn of_authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn of_server(name: &str, is_expired: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName(name.try_into().expect("a name"))];
    let day = std::time::Duration::from_hours(24);
    let (from, to) = (SystemTime::now() - day * 30, SystemTime::now());
    params.not_before = from.into();
    params.not_after = if is_expired { (to - day).into() } else { (to + day).into() };
    params
}

impl Authority {
    fn new(name: &str) -> Self {
        let (params, key) = (of_authority(name), KeyPair::generate().expect("a key"));
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// One below it.
    fn below(&self, name: &str) -> Self {
        let (params, key) = (of_authority(name), KeyPair::generate().expect("a key"));
        let pem = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, name: &str, is_expired: bool) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let chain = of_server(name, is_expired).signed_by(&key, &self.issuer).expect("a certificate").pem();
        Identity { chain, key: key.serialize_pem() }
    }
}

/// A server with that identity. What it hears once somebody trusts it.
async fn serve(identity: &Identity) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(identity.chain.as_bytes()).collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listening = world().spawn(TcpListener::bind(("127.0.0.1", 0))).await.expect("no panic");
    let listener = listening.expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let heard = Arc::<Mutex<Vec<u8>>>::default();
    let its_heard = Arc::clone(&heard);
    // As long as the suite: somebody may be slow to hang up.
    world().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, heard) = (acceptor.clone(), Arc::clone(&its_heard));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut bytes = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes[..length]);
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (addr, heard)
}

/// What answers each connection with those bytes.
async fn blurt(bytes: &'static [u8]) -> SocketAddr {
    let listening = world().spawn(TcpListener::bind(("127.0.0.1", 0))).await.expect("no panic");
    let listener = listening.expect("a free port");
    let addr = listener.local_addr().expect("an address");
    world().spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = [0; 4096];
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(bytes).await;
        }
    });
    addr
}

#[tokio::test]
async fn f_16_an_upstream_that_cannot_prove_who_it_is_hears_no_secret() {
    let (ours, foreign) = (Authority::new("Ours"), Authority::new("Foreign"));
    let self_signed = {
        let key = KeyPair::generate().expect("a key");
        let chain = of_server("localhost", false).self_signed(&key).expect("a certificate").pem();
        Identity { chain, key: key.serialize_pem() }
    };
    // Twenty authorities below each other: more than anybody follows.
    let (mut lowest, mut between) = (ours.below("1"), Vec::new());
    for number in 2..=20 {
        between.insert(0, lowest.pem.clone());
        lowest = lowest.below(&number.to_string());
    }
    let mut long = lowest.sign("localhost", false);
    long.chain = [long.chain, lowest.pem.clone(), between.concat()].concat();
    let bad = [
        ("expired", ours.sign("localhost", true)),
        ("other_name", ours.sign("elsewhere.example", false)),
        ("self_signed", self_signed),
        ("unknown", foreign.sign("localhost", false)),
        ("long", long),
    ];
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let tool = async |name: &str, addr: SocketAddr| {
        let url = format!("https://localhost:{}/", addr.port());
        acme.tool(name, tools::with_secret("x-api-key", SECRET, tools::get(&url))).await;
    };
    let mut servers = Vec::new();
    for (name, identity) in &bad {
        let (addr, heard) = serve(identity).await;
        tool(name, addr).await;
        servers.push((*name, Some(heard)));
    }
    let plain = Upstream::start().await;
    tool("plain", plain.addr).await;
    tool("old", blurt(&[0x15, 0x03, 0x00, 0x00, 0x02, 0x02, 0x28]).await).await;
    tool("nonsense", blurt(&[0xff; 64]).await).await;
    servers.extend([("plain", None), ("old", None), ("nonsense", None)]);
    let (good, well_heard) = serve(&ours.sign("localhost", false)).await;
    tool("good", good).await;
    let agent = acme.agent("agent", "tools:read").await;

    // The authorities of the machine are those that a file names; the suite's own process has others.
    let (spool, trusted) = (Folder::new("spool"), Folder::new("trusted"));
    let file = trusted.0.join("authorities.pem");
    std::fs::write(&file, &ours.pem).expect("written");
    let settings = [(SPOOL_DIR, &*spool.0.display().to_string()), ("SSL_CERT_FILE", &file.display().to_string())];
    let replica = Replica::start_with(&app, free_port().expect("a port"), &settings).await;
    let there = agent.at(&format!("{}/t/acme/mcp", replica.url));
    let heard_secret =
        |heard: &Mutex<Vec<u8>>| String::from_utf8_lossy(&heard.lock().unwrap_or_else(PoisonError::into_inner)).contains(SECRET);
    assert!(there.call(Era::Stateless, "good", json!({})).await.is_ok());
    assert!(heard_secret(&well_heard), "the test can see what is sent");
    for (name, heard) in &servers {
        let answer = there.call(Era::Stateless, name, json!({})).await;
        // Who expects a request waits for its end, which does not come.
        let class = if *name == "plain" { "upstream_timeout" } else { "upstream_unreachable" };
        assert_eq!((answer.status, answer.error_class()), (200, class), "{name}: {}", answer.text);
        let bytes = heard.as_ref().map_or(0, |heard| heard.lock().unwrap_or_else(PoisonError::into_inner).len());
        assert_eq!(bytes, 0, "{name}");
    }
    assert!(plain.seen().is_empty(), "nothing was said in the clear");
    figure("F16", &format!("{} ways to be nobody in particular: none heard a byte after its handshake", servers.len()));
    replica.stop();
}
