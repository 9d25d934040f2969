//! An operation of an imported API: the request is built by position from its template, and held against the template before it is sent.

mod body;
mod client;
mod style;
mod url;

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Map, Value};

use client::Failed;

use super::Run;
use crate::{
    call::Outcome,
    catalog::{Carrier, Input, InputPlace, Operation, OperationMethod, snapshot::LoadedTool},
    connections::ClientTokens,
    egress::{Egress, OutboundAnswer, OutboundRequest},
    hex, random,
    secret::{Plaintext, Rotating},
};

/// Why arguments make no request, in words for whoever sent them.
pub type Misfit = String;

/// What an exchange may use beside the way out.
#[derive(Clone, Copy)]
pub(super) struct Proofs<'a> {
    /// The tenant's secrets, by the name of their scheme.
    pub(super) secrets: Option<&'a Rotating>,
    /// Tokens for the tenant itself.
    pub(super) tokens: &'a ClientTokens,
    /// The token of the person for whom it is called, if there is one.
    pub(super) person: Option<&'a Plaintext>,
}

/// Runs it. The answer as it came. Where secrets are being exchanged and the API, or its token endpoint, refuses the new ones, it gets those
/// before: what was refused did not run.
pub(super) async fn exchange(
    egress: &Egress,
    tool: &LoadedTool,
    operation: &Operation,
    arguments: &Map<String, Value>,
    proofs: Proofs<'_>,
) -> Result<OutboundAnswer, Run> {
    let request = build(operation, arguments).map_err(|misfit| Run::invalid_arguments(&misfit))?;
    let means = (egress, tool, operation, proofs);
    let secrets = read_secrets(proofs.secrets.map(Rotating::value))?;
    let previous = match proofs.secrets.and_then(Rotating::previous) {
        // Another scheme's may be the one that is exchanged.
        Some(previous) => Some(read_secrets(Some(previous))?).filter(|previous| differ(operation, previous, &secrets)),
        None => None,
    };
    let Some(previous) = previous else { return once(means, request, &secrets).await.map_err(|failed| failed.run) };
    match once(means, request.clone(), &secrets).await {
        Ok(answer) if answer.status == StatusCode::UNAUTHORIZED => {}
        Err(failed) if failed.is_refused => {}
        other => return other.map_err(|failed| failed.run),
    }
    let answer = once(means, request, &previous).await.map_err(|failed| failed.run)?;
    if let Some(secrets) = proofs.secrets.filter(|_| answer.status != StatusCode::UNAUTHORIZED) {
        secrets.note_refusal();
    }
    Ok(answer)
}

/// Secrets by the name of their scheme.
fn read_secrets(sealed: Option<&Plaintext>) -> Result<BTreeMap<String, String>, Run> {
    sealed.map_or(Ok(BTreeMap::new()), |secrets| serde_json::from_str(secrets.reveal()).map_err(|_| broken()))
}

/// Does the operation send something else with the ones than with the others?
fn differ(operation: &Operation, ones: &BTreeMap<String, String>, others: &BTreeMap<String, String>) -> bool {
    operation.security.iter().any(|proof| ones.get(&proof.scheme) != others.get(&proof.scheme))
}

type Way<'a> = (&'a Egress, &'a LoadedTool, &'a Operation, Proofs<'a>);

async fn once(
    (egress, tool, operation, proofs): Way<'_>,
    request: OutboundRequest,
    secrets: &BTreeMap<String, String>,
) -> Result<OutboundAnswer, Failed> {
    let send = async |request| egress.send(request).await.map_err(|error| Failed::from(Run::from(error)));
    if let Some(token) = proofs.person {
        let mut request = prove(request, operation, secrets, None).ok_or_else(broken)?;
        request.headers.insert(AUTHORIZATION, sensitive(&format!("Bearer {}", token.reveal())).ok_or_else(broken)?);
        return send(request).await;
    }
    let fetch = || client::fetch(proofs.tokens, egress, tool, operation, secrets);
    let Some(first) = fetch().await? else {
        return send(prove(request, operation, secrets, None).ok_or_else(broken)?).await;
    };
    let again = request.clone();
    let answer = send(prove(request, operation, secrets, Some(&first.token)).ok_or_else(broken)?).await?;
    if answer.status != StatusCode::UNAUTHORIZED {
        return Ok(answer);
    }
    // What was refused for its token did not run.
    first.forget(proofs.tokens).await;
    let Some(second) = fetch().await? else { return Ok(answer) };
    send(prove(again, operation, secrets, Some(&second.token)).ok_or_else(broken)?).await
}

/// The request for these arguments, without any secret. It goes to the operation's origin, along its path, with its names in the query,
/// whatever the arguments are.
pub fn build(operation: &Operation, arguments: &Map<String, Value>) -> Result<OutboundRequest, Misfit> {
    let arguments = &*operation.pinned(arguments);
    let mut headers = HeaderMap::new();
    let accept = HeaderValue::from_str(&operation.accept).unwrap_or(HeaderValue::from_static("*/*"));
    headers.insert(ACCEPT, accept);
    let mut cookies = Vec::new();
    for (input, value) in given(operation, arguments) {
        match input.place {
            InputPlace::Path | InputPlace::Query => {}
            InputPlace::Header => {
                let name = HeaderName::from_bytes(input.name.as_bytes()).map_err(|_| format!("{} is no header", input.name))?;
                headers.insert(name, header(input, value)?);
            }
            InputPlace::Cookie => cookies.extend(style::cookie(input, value)),
        }
    }
    if !cookies.is_empty() {
        headers.insert(COOKIE, HeaderValue::from_str(&cookies.join("; ")).map_err(|_| "a cookie cannot be written".to_owned())?);
    }
    let body = match &operation.body {
        Some(kind) => body::write(kind, arguments)?,
        None => None,
    };
    let body = body.map(|(kind, bytes)| {
        headers.insert(CONTENT_TYPE, kind);
        bytes
    });
    Ok(OutboundRequest {
        method: method(operation.method),
        url: url::build(operation, arguments)?,
        headers,
        body,
        deadline: std::time::Duration::from_millis(operation.timeout_ms.into()),
    })
}

/// Inputs that the caller gives. Null is nothing.
fn given<'a>(operation: &'a Operation, arguments: &'a Map<String, Value>) -> impl Iterator<Item = (&'a Input, &'a Value)> {
    let value = |input: &Input| arguments.get(&input.argument).filter(|value| !value.is_null());
    operation.inputs.iter().filter_map(move |input| Some((input, value(input)?)))
}

fn header(input: &Input, value: &Value) -> Result<HeaderValue, Misfit> {
    let text = style::header(input, value);
    let is_visible = text.bytes().all(|b| (0x20..0x7f).contains(&b));
    let value = is_visible.then(|| HeaderValue::from_str(text.trim()).ok()).flatten();
    value.ok_or_else(|| format!("{} goes into a header: expected visible ASCII characters", input.argument))
}

fn method(method: OperationMethod) -> Method {
    match method {
        OperationMethod::Get => Method::GET,
        OperationMethod::Head => Method::HEAD,
        OperationMethod::Options => Method::OPTIONS,
        OperationMethod::Put => Method::PUT,
        OperationMethod::Post => Method::POST,
        OperationMethod::Patch => Method::PATCH,
        OperationMethod::Delete => Method::DELETE,
    }
}

/// Puts the tenant's secrets where the operation carries them. One that was never entered is left out: the API decides. `None`: one cannot be
/// sent.
fn prove(
    mut request: OutboundRequest,
    operation: &Operation,
    secrets: &BTreeMap<String, String>,
    token: Option<&Plaintext>,
) -> Option<OutboundRequest> {
    for proof in &operation.security {
        if let (Carrier::ClientCredentials { .. }, Some(token)) = (&proof.carrier, token) {
            request.headers.insert(AUTHORIZATION, sensitive(&format!("Bearer {}", token.reveal()))?);
        }
        let Some(secret) = secrets.get(&proof.scheme) else { continue };
        match &proof.carrier {
            Carrier::Header { name } => {
                let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
                request.headers.insert(name, sensitive(secret)?);
            }
            Carrier::Basic => {
                request.headers.insert(AUTHORIZATION, sensitive(&format!("Basic {}", STANDARD.encode(secret)))?);
            }
            Carrier::Bearer => {
                request.headers.insert(AUTHORIZATION, sensitive(&format!("Bearer {secret}"))?);
            }
            Carrier::Query { name } => {
                let pair = format!("{}={}", style::encode(name), style::encode(secret));
                let query = request.url.query().map_or_else(|| pair.clone(), |query| format!("{query}&{pair}"));
                request.url.set_query(Some(&query));
            }
            Carrier::Cookie { name } => {
                let pair = format!("{name}={}", style::encode(secret));
                let before = request.headers.get(COOKIE).and_then(|value| value.to_str().ok());
                let value = before.map_or_else(|| pair.clone(), |before| format!("{before}; {pair}"));
                request.headers.insert(COOKIE, sensitive(&value)?);
            }
            // Its secret goes to the token endpoint only.
            Carrier::ClientCredentials { .. } => {}
        }
    }
    Some(request)
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Between the parts of a body: nothing that could stand in one of them.
fn boundary() -> String {
    format!("trunkline{}", hex::encode(&random::bytes::<24>()))
}

/// A definition or a secret that publishing should not have let through.
fn broken() -> Run {
    Run::failed(Outcome::Unknown, "tool_crashed", "The tool's definition is broken. Its owner has to import it again.")
}

#[cfg(test)]
mod tests;
