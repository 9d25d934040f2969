//! Security schemes: how callers prove who they are, and which of it an operation needs.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::{document::Document, text};
use crate::catalog::{Carrier, Proof, check_header_name};

/// A way to prove who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheme {
    /// Its name in the document.
    pub name: String,
    /// What it is.
    pub kind: SchemeKind,
    /// For people.
    pub description: String,
    /// How a secret of it is carried; `None`: it cannot be.
    pub carrier: Option<Carrier>,
}

/// What a way to prove who calls is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemeKind {
    /// A key of the tenant.
    Key,
    /// User and password.
    Basic,
    /// A token of the tenant.
    Bearer,
    /// OAuth, where the tenant itself is the client.
    ClientCredentials,
    /// OAuth, where each person says yes.
    Person,
    /// Something else.
    Other,
}

pub(super) fn schemes(document: &Document) -> Vec<Scheme> {
    let all = document.root.pointer("/components/securitySchemes").and_then(Value::as_object);
    all.into_iter().flatten().take(50).map(|(name, raw)| scheme(document, name, raw)).collect()
}

fn scheme(document: &Document, name: &str, raw: &Value) -> Scheme {
    let raw = document.resolve(raw).unwrap_or(&Value::Null);
    let text = |member: &str| raw.get(member).and_then(Value::as_str).unwrap_or_default();
    let (kind, carrier) = match (text("type"), text("scheme").to_ascii_lowercase().as_str()) {
        ("apiKey", _) => (SchemeKind::Key, key(text("in"), text("name"))),
        ("http", "basic") => (SchemeKind::Basic, Some(Carrier::Basic)),
        ("http", "bearer") => (SchemeKind::Bearer, Some(Carrier::Bearer)),
        ("oauth2", _) => {
            let has = |flow: &str| raw.pointer(&format!("/flows/{flow}")).is_some();
            let is_alone =
                has("clientCredentials") && !["authorizationCode", "implicit", "password"].iter().any(|flow| has(flow));
            if is_alone { client_credentials(raw) } else { (SchemeKind::Person, Some(Carrier::Bearer)) }
        }
        ("openIdConnect", _) => (SchemeKind::Person, Some(Carrier::Bearer)),
        _ => (SchemeKind::Other, None),
    };
    Scheme { name: name.to_owned(), kind, description: text::tidy(text("description"), 200), carrier }
}

/// With a token endpoint that can be asked; without one, somebody has to bring a token.
fn client_credentials(raw: &Value) -> (SchemeKind, Option<Carrier>) {
    let url = raw.pointer("/flows/clientCredentials/tokenUrl").and_then(Value::as_str).and_then(|url| Url::parse(url).ok());
    let url = url.filter(|url| matches!(url.scheme(), "https" | "http") && url.username().is_empty() && url.fragment().is_none());
    let carrier = url.map_or(Carrier::Bearer, |token_url| Carrier::ClientCredentials { token_url, scopes: Vec::new() });
    (SchemeKind::ClientCredentials, Some(carrier))
}

/// Scopes as they may be asked for (RFC 6749 §3.3).
fn scopes(wanted: &Value) -> Vec<String> {
    let is_scope = |text: &&str| {
        !text.is_empty() && text.len() <= 200 && text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
    };
    let texts = wanted.as_array().into_iter().flatten().filter_map(Value::as_str).filter(is_scope);
    texts.take(50).map(str::to_owned).collect()
}

fn key(place: &str, name: &str) -> Option<Carrier> {
    let name = name.to_owned();
    match place {
        "header" => check_header_name("name", &name).is_ok().then_some(Carrier::Header { name }),
        "query" => (!name.is_empty()).then_some(Carrier::Query { name }),
        "cookie" => {
            let is_token = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
            is_token.then_some(Carrier::Cookie { name })
        }
        _ => None,
    }
}

/// What an operation needs: the first of its alternatives that can be carried, those of the tenant before those of persons. `Err`: none can.
pub(super) fn needed(document: &Document, schemes: &[Scheme], operation: &Value) -> Result<Vec<Proof>, String> {
    let requirements = operation.get("security").or_else(|| document.root.get("security"));
    let alternatives: Vec<&serde_json::Map<String, Value>> =
        requirements.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object).collect();
    if alternatives.is_empty() {
        return Ok(Vec::new());
    }
    let mut fitting: Vec<(bool, Vec<Proof>)> = Vec::new();
    let mut missing = None;
    for alternative in &alternatives {
        let found: Option<Vec<(&Scheme, Carrier)>> = alternative
            .iter()
            .map(|(name, wanted)| {
                let scheme = schemes.iter().find(|scheme| scheme.name == *name);
                let mut carried = scheme.and_then(|scheme| Some((scheme, scheme.carrier.clone()?)));
                if let Some((_, Carrier::ClientCredentials { scopes: asked, .. })) = &mut carried {
                    *asked = scopes(wanted);
                }
                if carried.is_none() {
                    missing = Some(name.clone());
                }
                carried
            })
            .collect();
        let Some(found) = found else { continue };
        let headers = found.iter().filter(|(_, carrier)| carrier.is_authorization()).count();
        if headers > 1 {
            missing = Some("two secrets in one header".to_owned());
            continue;
        }
        let is_persons = found.iter().any(|(scheme, _)| scheme.kind == SchemeKind::Person);
        fitting.push((
            is_persons,
            found.into_iter().map(|(scheme, carrier)| Proof { scheme: scheme.name.clone(), carrier }).collect(),
        ));
    }
    // `{}` among others says that the rest may be left out; a secret that is there is sent all the same.
    fitting.sort_by_key(|(is_persons, proofs)| (proofs.is_empty(), *is_persons));
    match fitting.into_iter().next() {
        Some((_, proofs)) => Ok(proofs),
        None => Err(format!(
            "it asks for the security scheme {}, which is none of key, basic, bearer, OAuth",
            text::tidy(&missing.unwrap_or_default(), 60)
        )),
    }
}
