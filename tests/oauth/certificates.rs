//! Client certificates: at our own listener, from a trusted proxy, and as what tokens are bound to (RFC 8705).

use std::fmt::Write as _;

use chrono::TimeDelta;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use reqwest::Identity;
use serde_json::json;
use trunkline_platform::{
    certificates::{self, CertificateName, CertificatePolicy},
    ids::AgentId,
    oauth::NewProof,
};

use crate::support::{
    Answer, Tenant, TestApp, http,
    oauth::{TokenPair, claims_of, list_with},
    tools,
};

/// Signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// Has one.
struct Holder {
    certificate: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, name: &str, days: (i64, i64), usage: ExtendedKeyUsagePurpose) -> Holder {
        let now = std::time::SystemTime::now();
        let day = std::time::Duration::from_hours(24);
        let at = |days: i64| {
            let offset = day * u32::try_from(days.unsigned_abs()).expect("days");
            if days < 0 { now - offset } else { now + offset }
        };
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().expect("a name"))];
        params.extended_key_usages = vec![usage];
        (params.not_before, params.not_after) = (at(days.0).into(), at(days.1).into());
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Holder { certificate, key: key.serialize_pem() }
    }

    fn client(&self, name: &str) -> Holder {
        self.sign(name, (-1_000, 10_000), ExtendedKeyUsagePurpose::ClientAuth)
    }
}

/// Some authority, as PEM.
pub(super) fn authority_pem() -> String {
    Authority::new("Acme").pem
}

impl Holder {
    /// As a proxy forwards it.
    fn header(&self) -> String {
        utf8_percent_encode(&self.certificate, NON_ALPHANUMERIC).to_string()
    }
}

async fn believe(app: &TestApp, acme: &Tenant<'_>, authority: &Authority, required: bool) {
    let policy = CertificatePolicy::parse(&authority.pem, required).expect("a policy");
    let owner = acme.owner.clone();
    app.act(|platform| async move { certificates::set_policy(&platform, &owner, &policy).await.expect("set") }).await;
}

async fn name(app: &TestApp, acme: &Tenant<'_>, name: &str, agent: AgentId) {
    let name = CertificateName::parse(name).expect("a name");
    let owner = acme.owner.clone();
    app.act(|platform| async move { certificates::add_name(&platform, &owner, &name, agent).await.expect("added") }).await;
}

const HEADER: &str = "x-forwarded-client-cert";

async fn behind_a_proxy() -> TestApp {
    let builder = TestApp::builder().set("HTTP_BEHIND_PROXY", "true").set("HTTP_TRUSTED_PROXIES", "127.0.0.1/32");
    builder.set("HTTP_CLIENT_CERTIFICATE_HEADER", HEADER).start().await
}

#[tokio::test]
async fn a_certificate_of_the_tenants_authority_acts_as_the_agent_of_its_name() {
    let app = behind_a_proxy().await;
    let (acme, other) = (app.tenant("acme").await, app.tenant("other").await);
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let (authority, stranger) = (Authority::new("Acme"), Authority::new("Acme"));
    let ci = authority.client("ci.acme.example");
    let list = async |url: &str, holder: &Holder| list_with(http(), url, &[(HEADER, &holder.header())]).await;
    assert_eq!(list(&acme.mcp_url(), &ci).await.status, 401, "nothing is believed yet");
    believe(&app, &acme, &authority, false).await;
    assert_eq!(list(&acme.mcp_url(), &ci).await.status, 401, "its name stands for nobody yet");
    name(&app, &acme, "dns:CI.acme.example", agent.id).await;
    assert_eq!(list(&acme.mcp_url(), &ci).await.tool_names(), ["echo"]);
    assert_eq!(list(&other.mcp_url(), &ci).await.status, 401, "another tenant believes nobody");
    for (what, holder) in [
        ("another authority of the same name", stranger.client("ci.acme.example")),
        ("another name", authority.client("cd.acme.example")),
        ("expired", authority.sign("ci.acme.example", (-2_000, -1_500), ExtendedKeyUsagePurpose::ClientAuth)),
        ("not valid yet", authority.sign("ci.acme.example", (9_000, 10_000), ExtendedKeyUsagePurpose::ClientAuth)),
        ("a server's", authority.sign("ci.acme.example", (-1_000, 10_000), ExtendedKeyUsagePurpose::ServerAuth)),
    ] {
        assert_eq!(list(&acme.mcp_url(), &holder).await.status, 401, "{what}");
    }
    for (what, value) in [
        ("nothing", String::new()),
        ("no PEM", "x".to_owned()),
        ("no certificate", utf8_percent_encode(&ci.key, NON_ALPHANUMERIC).to_string()),
    ] {
        assert_eq!(list_with(http(), &acme.mcp_url(), &[(HEADER, &value)]).await.status, 401, "{what}");
    }
    let two = [(HEADER, &*ci.header()), (HEADER, &*ci.header())];
    assert_eq!(list_with(http(), &acme.mcp_url(), &two).await.status, 401, "somebody added a second one");
    // A certificate that ends while it is remembered.
    let owner = acme.owner_browser().await;
    let page = owner.get("/t/acme/trust").await.ok();
    let remove = page.between("action=\"/t/acme/trust/names/", "\"").expect("a form to remove it").to_owned();
    assert_eq!(owner.post(&format!("/t/acme/trust/names/{remove}"), &[]).await.status, 303);
    assert_eq!(list(&acme.mcp_url(), &ci).await.status, 401, "from the next request on");
}

#[tokio::test]
async fn a_tenant_that_requires_certificates_serves_nobody_without() {
    let app = behind_a_proxy().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let (agent, second) = (acme.agent("agent", "tools:read").await, acme.agent("second", "tools:read").await);
    let service = acme.client(NewProof::Secret, Some(agent.id)).await.client;
    let token = TokenPair::of(&service.token(&[("grant_type", "client_credentials")]).await).access;
    let authority = Authority::new("Acme");
    let (ci, unnamed) = (authority.client("ci.acme.example"), authority.client("unnamed.acme.example"));
    name(&app, &acme, "dns:ci.acme.example", agent.id).await;
    believe(&app, &acme, &authority, true).await;
    let url = acme.mcp_url();
    let list = async |bearer: &str, holder: Option<&Holder>| {
        let (bearer, certificate) = (format!("Bearer {bearer}"), holder.map(Holder::header));
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(certificate.as_deref().map(|value| (HEADER, value)));
        list_with(http(), &url, &headers).await.status
    };
    for bearer in [&agent.key, &token] {
        assert_eq!(list(bearer, None).await, 401);
        assert_eq!(list(bearer, Some(&ci)).await, 200);
        assert_eq!(list(bearer, Some(&unnamed)).await, 200, "of the authority, and nobody else's");
        assert_eq!(list(bearer, Some(&Authority::new("Acme").client("ci.acme.example"))).await, 401);
    }
    assert_eq!(list(&second.key, Some(&ci)).await, 401, "another agent's certificate");
    believe(&app, &acme, &authority, false).await;
    assert_eq!(list(&agent.key, None).await, 200);
}

#[tokio::test]
async fn a_forwarded_certificate_from_anybody_but_the_proxy_changes_nothing() {
    for (behind, trusted) in [("true", "10.0.0.0/8"), ("false", "")] {
        let builder = TestApp::builder().set("HTTP_BEHIND_PROXY", behind).set("HTTP_TRUSTED_PROXIES", trusted);
        let builder = if behind == "true" { builder.set("HTTP_CLIENT_CERTIFICATE_HEADER", HEADER) } else { builder };
        let app = builder.start().await;
        let acme = app.tenant("acme").await;
        acme.tool("echo", tools::echo()).await;
        let agent = acme.agent("agent", "tools:read").await;
        let authority = Authority::new("Acme");
        let ci = authority.client("ci.acme.example");
        name(&app, &acme, "dns:ci.acme.example", agent.id).await;
        believe(&app, &acme, &authority, false).await;
        assert_eq!(list_with(http(), &acme.mcp_url(), &[(HEADER, &ci.header())]).await.status, 401, "{trusted}");
        let bearer = format!("Bearer {}", agent.key);
        assert_eq!(list_with(http(), &acme.mcp_url(), &[(HEADER, &ci.header()), ("authorization", &bearer)]).await.status, 200);
    }
}

/// An installation with a listener of its own that asks for certificates, and a client of it with that identity.
async fn with_tls(settings: &[(&str, &str)]) -> (TestApp, Authority, std::path::PathBuf) {
    let authority = Authority::new("Server");
    let server = {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("names");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &authority.issuer).expect("a certificate").pem();
        Holder { certificate, key: key.serialize_pem() }
    };
    let mut folder = String::new();
    let _ = write!(folder, "trunkline-tls-{}", trunkline_platform::random::base62(8));
    let folder = std::env::temp_dir().join(folder);
    std::fs::create_dir(&folder).expect("a folder");
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    std::fs::write(&certificate, &server.certificate).expect("written");
    std::fs::write(&key, &server.key).expect("written");
    let builder = TestApp::builder().set("HTTP_TLS_CERT", certificate.display()).set("HTTP_TLS_KEY", key.display());
    let builder = settings.iter().fold(builder, |builder, (name, value)| builder.set(name, value));
    (builder.set("HTTP_CLIENT_CERTIFICATES", "optional").start().await, authority, folder)
}

fn tls_client(server: &Authority, holder: Option<&Holder>) -> reqwest::Client {
    let root = reqwest::Certificate::from_pem(server.pem.as_bytes()).expect("a certificate");
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only([root]).pool_max_idle_per_host(0);
    let builder = match holder {
        Some(holder) => {
            builder.identity(Identity::from_pem(format!("{}{}", holder.certificate, holder.key).as_bytes()).expect("an identity"))
        }
        None => builder,
    };
    builder.build().expect("a client")
}

#[tokio::test]
async fn our_own_listener_takes_certificates_and_binds_tokens_to_them() {
    let (app, server, folder) = with_tls(&[]).await;
    let url = app.url.replace("http://", "https://");
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let authority = Authority::new("Acme");
    let ends_soon = authority.sign("ci.acme.example", (-1_000, 1), ExtendedKeyUsagePurpose::ClientAuth);
    let (ci, renewed, foreign) =
        (ends_soon, authority.client("ci.acme.example"), Authority::new("Acme").client("ci.acme.example"));
    believe(&app, &acme, &authority, false).await;
    let endpoint = format!("{url}/t/acme/mcp");
    let service = acme
        .client(NewProof::Certificate(CertificateName::parse("dns:ci.acme.example").expect("a name")), Some(agent.id))
        .await
        .client;
    let ask = async |holder: Option<&Holder>| {
        let form = [("grant_type", "client_credentials"), ("client_id", service.id.as_str())];
        let request = tls_client(&server, holder).post(format!("{url}/oauth/token")).form(&form);
        Answer::read(request.send().await.expect("an answer")).await
    };
    // Any certificate passes the handshake; what it is worth is said afterwards.
    assert_eq!(ask(None).await.json["error"], json!("invalid_client"));
    assert_eq!(ask(Some(&foreign)).await.json["error"], json!("invalid_client"));
    assert_eq!(ask(Some(&authority.client("other.acme.example"))).await.json["error"], json!("invalid_client"));
    let tokens = TokenPair::of(&ask(Some(&ci)).await);
    assert!(claims_of(&tokens.access)["cnf"]["x5t#S256"].as_str().is_some_and(|thumbprint| thumbprint.len() == 43));
    let bearer = format!("Bearer {}", tokens.access);
    let list = async |holder: Option<&Holder>, headers: &[(&str, &str)]| {
        list_with(&tls_client(&server, holder), &endpoint, headers).await.status
    };
    let with_token = [("authorization", bearer.as_str())];
    assert_eq!(list(Some(&ci), &with_token).await, 200);
    // The second connection resumes the first one's TLS session: the certificate comes with it.
    let resumes = tls_client(&server, Some(&ci));
    for _ in 0..2 {
        assert_eq!(list_with(&resumes, &endpoint, &with_token).await.status, 200);
    }
    assert_eq!(list(None, &with_token).await, 401, "without the certificate");
    assert_eq!(list(Some(&renewed), &with_token).await, 401, "with another one");
    assert_eq!(list(Some(&ci), &[]).await, 401, "its name stands for nobody yet");
    name(&app, &acme, "dns:ci.acme.example", agent.id).await;
    assert_eq!(list(Some(&ci), &[]).await, 200);
    assert_eq!(list(Some(&renewed), &[]).await, 200);
    assert_eq!(list(Some(&foreign), &[]).await, 401);
    assert_eq!(list(None, &[(HEADER, &ci.header())]).await, 401, "a header is no handshake");
    // Certificates end by the clock, also those that are remembered.
    app.clock.advance(TimeDelta::days(2));
    assert_eq!(list(Some(&ci), &[]).await, 401);
    std::fs::remove_dir_all(folder).expect("removed");
}

#[tokio::test]
async fn a_proxys_own_certificate_is_none_of_its_clients() {
    for trusted in ["", "127.0.0.1/32"] {
        let (app, server, folder) = with_tls(&[("HTTP_BEHIND_PROXY", "true"), ("HTTP_TRUSTED_PROXIES", trusted)]).await;
        let acme = app.tenant("acme").await;
        acme.tool("echo", tools::echo()).await;
        let agent = acme.agent("agent", "tools:read").await;
        let authority = Authority::new("Acme");
        let proxy = authority.client("proxy.acme.example");
        believe(&app, &acme, &authority, false).await;
        name(&app, &acme, "dns:proxy.acme.example", agent.id).await;
        let endpoint = format!("{}/t/acme/mcp", app.url.replace("http://", "https://"));
        let client = tls_client(&server, Some(&proxy));
        assert_eq!(list_with(&client, &endpoint, &[]).await.status, 401, "{trusted}");
        let bearer = format!("Bearer {}", agent.key);
        assert_eq!(list_with(&client, &endpoint, &[("authorization", &bearer)]).await.status, 200);
        std::fs::remove_dir_all(folder).expect("removed");
    }
}

#[tokio::test]
async fn a_subject_that_could_be_read_in_two_ways_is_no_name() {
    let app = behind_a_proxy().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let authority = Authority::new("Acme");
    believe(&app, &acme, &authority, false).await;
    name(&app, &acme, "subject:O=Acme, CN=ci", agent.id).await;
    let sign = |parts: &[(DnType, &str)]| {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &authority.issuer).expect("a certificate").pem();
        Holder { certificate, key: key.serialize_pem() }
    };
    let list = async |holder: Holder| list_with(http(), &acme.mcp_url(), &[(HEADER, &holder.header())]).await.status;
    assert_eq!(list(sign(&[(DnType::OrganizationName, "Acme"), (DnType::CommonName, "ci")])).await, 200);
    assert_eq!(list(sign(&[(DnType::OrganizationName, "Acme, CN=ci")])).await, 401);
    assert_eq!(list(sign(&[(DnType::CommonName, "ci"), (DnType::OrganizationName, "Acme")])).await, 401);
}

#[tokio::test]
async fn an_owner_sets_up_certificates_on_the_trust_page() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await.id.to_string();
    let owner = acme.owner_browser().await;
    let authority = Authority::new("Acme");
    // Nobody could show one here, so that requiring one would serve nobody.
    for (bundle, required) in [("", "yes"), ("nonsense", ""), (&*authority.client("x.example").key, ""), (&*authority.pem, "yes")]
    {
        let page = owner.post("/t/acme/trust/certificates", &[("bundle", bundle), ("required", required)]).await;
        assert_eq!(page.status, 422, "{bundle}");
    }
    assert_eq!(owner.post("/t/acme/trust/certificates", &[("bundle", &*authority.pem)]).await.status, 303);
    assert!(owner.get("/t/acme/trust").await.ok().body.contains("BEGIN CERTIFICATE"));
    for (name, agent) in [("ci.acme.example", &*agent), ("dns:", &agent), ("dns:ci.acme.example", "")] {
        assert_eq!(
            owner.post("/t/acme/trust/names", &[("certificate_name", name), ("agent", agent)]).await.status,
            422,
            "{name}"
        );
    }
    let form = [("certificate_name", "dns:ci.acme.example"), ("agent", &*agent)];
    assert_eq!(owner.post("/t/acme/trust/names", &form).await.status, 303);
    assert_eq!(owner.post("/t/acme/trust/names", &form).await.status, 422, "once is enough");
    let form = [("name", "Service"), ("redirect_uris", ""), ("agent", &*agent)];
    for more in [
        [("proof", "private_key_jwt"), ("keys", "")],
        [("proof", "private_key_jwt"), ("keys", r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"x","d":"private"}]}"#)],
        [("proof", "tls_client_auth"), ("certificate_name", "*")],
        [("proof", "none"), ("keys", "")],
        [("proof", ""), ("keys", "")],
    ] {
        let fields: Vec<_> = form.iter().copied().chain(more).collect();
        assert_eq!(owner.post("/t/acme/clients", &fields).await.status, 422, "{more:?}");
    }
    let fields: Vec<_> =
        form.iter().copied().chain([("proof", "tls_client_auth"), ("certificate_name", "dns:ci.acme.example")]).collect();
    assert!(owner.post("/t/acme/clients", &fields).await.ok().body.contains("tl_client_"));
}
