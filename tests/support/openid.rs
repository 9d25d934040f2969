//! A small OpenID provider: discovery, keys, a page that says who one is, and codes that are worth an id token once.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use trunkline_platform::random;
use url::Url;

use super::world;

/// Who we are there.
pub(crate) const CLIENT: (&str, &str) = ("trunkline", "s3cret of the tests/+");

/// What it says that it should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Lie {
    /// Nothing.
    #[default]
    None,
    /// The redirect names another issuer.
    OtherIssuer,
    /// The redirect names none, although it says it does.
    NoIssuer,
    /// The token answers another question.
    Nonce,
    /// The token is for another client.
    Audience,
    /// The token is of another issuer.
    TokenIssuer,
    /// The token ran out an hour ago.
    Expired,
    /// The token is signed by a key that is not published.
    Key,
    /// The token is not signed.
    Unsigned,
    /// The token is signed with the client secret.
    Symmetric,
}

struct State {
    claims: Value,
    lie: Lie,
    codes: BTreeMap<String, BTreeMap<String, String>>,
}

/// The provider.
pub(crate) struct OpenId {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

struct Keys {
    published: EncodingKey,
    hidden: EncodingKey,
    set: Value,
}

impl OpenId {
    /// Starts one on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port").into_std().expect("a socket");
        let addr = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State { claims: Value::Null, lie: Lie::None, codes: BTreeMap::new() }));
        let (shared, keys) = (Arc::clone(&state), Arc::new(keys()));
        let task = world().spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, addr, Arc::clone(&shared), Arc::clone(&keys)));
            }
        });
        Self { addr, state, task }
    }

    /// Its issuer.
    pub(crate) fn issuer(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// From now on, this is who is signed in there.
    pub(crate) fn says(&self, claims: Value) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).claims = claims;
    }

    /// From now on, it lies.
    pub(crate) fn lies(&self, lie: Lie) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).lie = lie;
    }
}

impl Drop for OpenId {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn key() -> EncodingKey {
    // PKCS #8, version 1: the only form that the library takes.
    let key = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).expect("a key");
    EncodingKey::from_ed_der(key.as_ref())
}

fn keys() -> Keys {
    let (published, hidden) = (key(), key());
    let mut jwk = Jwk::from_encoding_key(&published, Algorithm::EdDSA).expect("a key");
    jwk.common.key_id = Some("today".to_owned());
    Keys { published, hidden, set: json!({ "keys": [jwk] }) }
}

async fn serve(mut stream: TcpStream, addr: SocketAddr, state: Arc<Mutex<State>>, keys: Arc<Keys>) {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if more(&mut stream, &mut bytes).await.is_none() {
            return;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let length: usize = header("content-length").map_or(0, |text| text.parse().expect("a length"));
    while bytes.len() < end + length {
        if more(&mut stream, &mut bytes).await.is_none() {
            return;
        }
    }
    let path = head.split(' ').nth(1).unwrap_or_default();
    let url = Url::parse(&format!("http://{addr}{path}")).expect("a URL");
    let answer = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        match url.path() {
            "/.well-known/openid-configuration" => json_answer(&configuration(addr)),
            "/jwks" => json_answer(&keys.set),
            "/authorize" => authorize(&mut state, addr, &url),
            "/token" => token(&mut state, addr, &keys, &bytes[end..], header("authorization").as_deref()),
            _ => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
        }
    };
    let _ = stream.write_all(answer.as_bytes()).await;
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 4096];
    let length = stream.read(&mut chunk).await.ok().filter(|length| *length > 0)?;
    bytes.extend_from_slice(&chunk[..length]);
    Some(())
}

fn configuration(addr: SocketAddr) -> Value {
    json!({
        "issuer": format!("http://{addr}"),
        "authorization_endpoint": format!("http://{addr}/authorize"),
        "token_endpoint": format!("http://{addr}/token"),
        "jwks_uri": format!("http://{addr}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
        "scopes_supported": ["openid", "email", "profile", "groups"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    })
}

fn answer(status: &str, kind: &str, body: &str) -> String {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close", body.len());
    format!("{head}\r\n\r\n{body}")
}

fn json_answer(body: &Value) -> String {
    answer("200 OK", "application/json", &body.to_string())
}

fn refused(why: &str) -> String {
    answer("400 Bad Request", "application/json", &json!({ "error": "invalid_request", "error_description": why }).to_string())
}

/// A page with the way back, as a person would see it who is signed in there.
fn authorize(state: &mut State, addr: SocketAddr, url: &Url) -> String {
    let asked: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let of = |name: &str| asked.get(name).map_or("", String::as_str);
    let scopes: Vec<&str> = of("scope").split(' ').collect();
    for (holds, why) in [
        (of("response_type") == "code", "response_type"),
        (of("client_id") == CLIENT.0, "client_id"),
        (of("code_challenge_method") == "S256" && of("code_challenge").len() == 43, "PKCE"),
        (scopes.contains(&"openid") && scopes.contains(&"email"), "scope"),
        (of("state").len() >= 32 && of("nonce").len() >= 32, "state and nonce"),
        (of("redirect_uri").ends_with("/login/sso/callback"), "redirect_uri"),
    ] {
        if !holds {
            return refused(why);
        }
    }
    let code = random::base62(32);
    let mut back = Url::parse(of("redirect_uri")).expect("a URL");
    back.query_pairs_mut().append_pair("code", &code).append_pair("state", of("state"));
    match state.lie {
        Lie::OtherIssuer => drop(back.query_pairs_mut().append_pair("iss", "https://evil.example")),
        Lie::NoIssuer => {}
        _ => drop(back.query_pairs_mut().append_pair("iss", &format!("http://{addr}"))),
    }
    state.codes.insert(code, asked.clone());
    let back = back.as_str().replace('&', "&amp;");
    let page =
        format!("<!doctype html><title>Provider</title><h1>Provider</h1><p><a id=\"back\" href=\"{back}\">Continue</a></p>");
    answer("200 OK", "text/html", &page)
}

fn token(state: &mut State, addr: SocketAddr, keys: &Keys, body: &[u8], authorization: Option<&str>) -> String {
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
    let of = |name: &str| form.get(name).map_or("", String::as_str);
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let basic = BASE64_STANDARD.encode(format!("{}:{}", encode(CLIENT.0), encode(CLIENT.1)));
    if authorization != Some(format!("Basic {basic}").as_str()) {
        return refused("client");
    }
    let Some(asked) = state.codes.remove(of("code")) else { return refused("code") };
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(of("code_verifier").as_bytes()));
    if asked["code_challenge"] != challenge || asked["redirect_uri"] != of("redirect_uri") {
        return refused("PKCE or redirect_uri");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
    let mut claims = state.claims.clone();
    claims["iss"] = if state.lie == Lie::TokenIssuer { "https://evil.example".into() } else { format!("http://{addr}").into() };
    claims["aud"] = if state.lie == Lie::Audience { "somebody else".into() } else { CLIENT.0.into() };
    claims["nonce"] = if state.lie == Lie::Nonce { "another".into() } else { asked["nonce"].clone().into() };
    claims["iat"] = if state.lie == Lie::Expired { now - 7200 } else { now }.into();
    claims["exp"] = if state.lie == Lie::Expired { now - 3600 } else { now + 300 }.into();
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some("today".to_owned());
    let signed = match state.lie {
        Lie::Key => jsonwebtoken::encode(&header, &claims, &keys.hidden).expect("a token"),
        Lie::Symmetric => {
            let header = Header { kid: Some("today".to_owned()), ..Header::new(Algorithm::HS256) };
            jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(CLIENT.1.as_bytes())).expect("a token")
        }
        Lie::Unsigned => {
            let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
            format!("{}.{}.", part(&json!({ "alg": "none" })), part(&claims))
        }
        _ => jsonwebtoken::encode(&header, &claims, &keys.published).expect("a token"),
    };
    json_answer(&json!({ "access_token": random::base62(20), "token_type": "Bearer", "expires_in": 300, "id_token": signed }))
}
