//! A request that a function wants made: to the origins that its author has named, by the guarded way out, and nowhere else.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use reqwest::{
    Method, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use tokio::time::Instant;
use trunkline_sandbox::{
    limits,
    wire::{Answer, Body, Request},
};
use url::Url;

use crate::{
    egress::{Egress, EgressError, OutboundAnswer, OutboundRequest},
    ids::TenantId,
    quota::breakers::{Breakers, Passage, Protected, Terms},
    secret::{Plaintext, Rotating},
};

/// Headers of one request.
const MAX_HEADERS: usize = 64;
/// Longest of them, and longest address, in bytes.
const MAX_TEXT_BYTES: usize = 8192;
/// A server that did not answer within less was not given the time.
const FAIR: Duration = Duration::from_secs(1);

/// Where a function may go.
#[derive(Debug, Default)]
pub struct Reach {
    /// `scheme://host:port`, as `Origin` has it.
    pub origins: Vec<String>,
    /// A secret that code never sees.
    pub secret: Option<Bound>,
    /// May a function set that header?
    pub may_set: Option<fn(&str) -> bool>,
    /// Which of the origins are left alone for a while. `None`: each is tried.
    pub guard: Option<Guard>,
}

/// The breakers of a tenant's upstreams: the same that its HTTP tools pass.
#[derive(Debug)]
pub struct Guard {
    /// All of this replica.
    pub breakers: Arc<Breakers>,
    /// Whose.
    pub tenant: TenantId,
    /// When an origin is left alone, where somebody has said so; else by the defaults.
    pub terms: HashMap<String, Terms>,
}

impl Guard {
    fn enter(&self, origin: &str) -> Result<Passage, String> {
        let terms = self.terms.get(origin).copied().unwrap_or_default();
        self.breakers.enter(self.tenant, Protected::Origin(origin.to_owned()), terms).map_err(|retry_after_ms| {
            format!("{origin} fails most requests and is left alone for a moment: try again in {retry_after_ms} ms")
        })
    }
}

/// A secret and the one origin that it is sent to.
#[derive(Debug)]
pub struct Bound {
    /// Where to.
    pub origin: String,
    /// In which header.
    pub header: String,
    /// What.
    pub secret: Rotating,
}

/// Makes the request. The failure is for the code that asked.
pub(super) async fn fetch(egress: &Egress, reach: &Reach, request: Request, until: Instant) -> Result<Answer, String> {
    let outbound = build(reach, request, until)?;
    let origin = outbound.url.origin().ascii_serialization();
    let passage = reach.guard.as_ref().map(|guard| guard.enter(&origin)).transpose()?;
    let given = outbound.deadline;
    let sent = send(egress, reach, outbound, until).await;
    if let (Some(passage), Some(failed)) = (passage, is_failure(&sent, given)) {
        passage.note(failed);
    }
    let answer = sent.map_err(|error| match error {
        EgressError::Refused => "the address is not allowed: functions reach public hosts only".to_owned(),
        other => other.to_string(),
    })?;
    if answer.body.len() > limits::BODY_BYTES {
        return Err(format!("the answer has {} bytes; a function gets at most {}", answer.body.len(), limits::BODY_BYTES));
    }
    let text = |(name, value): (&HeaderName, &HeaderValue)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()));
    let body = match String::from_utf8(answer.body.into()) {
        Ok(text) => Body::Text(text),
        Err(bytes) => Body::Base64(STANDARD.encode(bytes.as_bytes())),
    };
    Ok(Answer { status: answer.status.as_u16(), headers: answer.headers.iter().filter_map(text).collect(), body })
}

/// Does it say that the server is in trouble? `None`: it says nothing of it.
fn is_failure(sent: &Result<OutboundAnswer, EgressError>, given: Duration) -> Option<bool> {
    match sent {
        Ok(answer) => Some(answer.status.is_server_error()),
        Err(EgressError::Unreachable) => Some(true),
        Err(EgressError::Timeout) => (given >= FAIR).then_some(true),
        Err(EgressError::TooLarge | EgressError::Broken) => Some(false),
        Err(EgressError::Refused) => None,
    }
}

/// Sends it. Where the secret is being exchanged and the server refuses the new value, it gets the one before: what it refused did not run.
async fn send(egress: &Egress, reach: &Reach, outbound: OutboundRequest, until: Instant) -> Result<OutboundAnswer, EgressError> {
    let bound = reach.secret.as_ref().filter(|bound| bound.origin == outbound.url.origin().ascii_serialization());
    let again = bound.and_then(|bound| {
        let (name, value) = header(bound, bound.secret.previous()?)?;
        let mut again = outbound.clone();
        again.headers.insert(name, value);
        Some((&bound.secret, again))
    });
    let answer = egress.send(outbound).await?;
    let Some((secret, again)) = again.filter(|_| answer.status == StatusCode::UNAUTHORIZED) else { return Ok(answer) };
    let deadline = until.saturating_duration_since(Instant::now());
    let answer = egress.send(OutboundRequest { deadline, ..again }).await?;
    if answer.status != StatusCode::UNAUTHORIZED {
        secret.note_refusal();
    }
    Ok(answer)
}

/// The header that carries a secret; `None`: it cannot be sent.
fn header(bound: &Bound, secret: &Plaintext) -> Option<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::from_str(secret.reveal()).ok()?;
    value.set_sensitive(true);
    Some((HeaderName::from_bytes(bound.header.as_bytes()).ok()?, value))
}

fn build(reach: &Reach, request: Request, until: Instant) -> Result<OutboundRequest, String> {
    if request.url.len() > MAX_TEXT_BYTES {
        return Err(format!("the address is longer than {MAX_TEXT_BYTES} bytes"));
    }
    let url = Url::parse(&request.url).map_err(|_| "that is no absolute address".to_owned())?;
    let origin = url.origin().ascii_serialization();
    if !reach.origins.contains(&origin) {
        return Err(format!("{origin} is not among the hosts that this function may call"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address has no user name and no password: send a header".to_owned());
    }
    let method = match request.method.as_str() {
        "GET" => Method::GET,
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "PATCH" => Method::PATCH,
        "DELETE" => Method::DELETE,
        "HEAD" => Method::HEAD,
        other => return Err(format!("{other:?} is none of GET, POST, PUT, PATCH, DELETE, HEAD")),
    };
    let mut headers = headers(reach, &request.headers)?;
    if let Some(bound) = reach.secret.as_ref().filter(|bound| bound.origin == origin) {
        let (name, value) = header(bound, bound.secret.value()).ok_or_else(|| "the tool's secret cannot be sent".to_owned())?;
        headers.insert(name, value);
    }
    let deadline = until.saturating_duration_since(Instant::now());
    Ok(OutboundRequest { method, url, headers, body: request.body.map(Bytes::from), deadline })
}

fn headers(reach: &Reach, given: &[(String, String)]) -> Result<HeaderMap, String> {
    if given.len() > MAX_HEADERS {
        return Err(format!("at most {MAX_HEADERS} headers"));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        if reach.may_set.is_some_and(|may_set| !may_set(name)) {
            return Err(format!("the header {name:?} is not a function's to set"));
        }
        let fits = value.len() <= MAX_TEXT_BYTES && value.bytes().all(|b| (0x20..0x7f).contains(&b));
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok()).filter(|_| fits);
        let (name, value) =
            parsed.ok_or_else(|| format!("the header {name:?} cannot be sent: expected visible ASCII characters"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(url: &str, headers: &[(&str, &str)]) -> Result<OutboundRequest, String> {
        let secret = Rotating::alone(Plaintext::new("s3".to_owned()));
        let secret = Bound { origin: "https://a.example".to_owned(), header: "X-Key".to_owned(), secret };
        let origins = vec!["https://a.example".to_owned(), "https://b.example:8443".to_owned()];
        let reach =
            Reach { origins, secret: Some(secret), may_set: Some(|name| !name.eq_ignore_ascii_case("host")), guard: None };
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        build(&reach, Request { url: url.to_owned(), method: "GET".to_owned(), headers, body: None }, Instant::now())
    }

    #[test]
    fn only_named_origins_are_asked() {
        for url in ["https://a.example/x?y", "https://A.example:443/", "https://b.example:8443/"] {
            assert!(built(url, &[]).is_ok(), "{url}");
        }
        for url in [
            "http://a.example/",
            "https://a.example:444/",
            "https://a.example.evil.example/",
            "https://a.example@evil.example/",
            "https://u:p@a.example/",
            "https://b.example/",
            "//a.example/",
            "file:///etc/passwd",
            "data:text/plain,x",
            "https://sub.a.example/",
        ] {
            assert!(built(url, &[]).is_err(), "{url}");
        }
    }

    #[test]
    fn the_secret_goes_to_its_origin_only() {
        let with = built("https://a.example/", &[("x-key", "mine")]).expect("built");
        assert_eq!(with.headers.get_all("x-key").iter().map(HeaderValue::as_bytes).collect::<Vec<_>>(), [b"s3"]);
        assert!(built("https://b.example:8443/", &[]).expect("built").headers.is_empty());
    }

    #[test]
    fn headers_are_what_a_function_may_set() {
        for (name, value) in [("host", "x"), ("Host", "x"), ("a b", "x"), ("a", "x\r\nb: y"), ("", "x")] {
            assert!(built("https://a.example/", &[(name, value)]).is_err(), "{name:?}");
        }
    }
}
