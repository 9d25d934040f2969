//! Reading a description from where it is published: by the guarded way out, without redirects, within bounds.

use std::time::Duration;

use reqwest::{
    Method,
    header::{ACCEPT, HeaderMap, HeaderValue, LOCATION},
};
use url::Url;

use crate::{
    catalog::{openapi::MAX_BYTES, source::parse_url},
    egress::{Egress, EgressError, OutboundRequest, StreamLimits},
    error::{Error, ErrorKind, Result},
};

/// Longest time for a document, and longest silence while it comes.
const DEADLINE: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(10);

/// Reads a link to a document.
pub fn parse_link(text: &str) -> Result<Url> {
    parse_url(text).map_err(|error| match error.kind() {
        ErrorKind::Invalid(fields) => {
            let message = fields.first().map_or_else(String::new, |field| field.message.clone());
            Error::invalid("link", message)
        }
        _ => error,
    })
}

/// The document at a link.
pub async fn fetch(egress: &Egress, link: &Url) -> Result<Vec<u8>> {
    let refused = |why: String| Error::invalid("link", why);
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, application/yaml, text/yaml, */*;q=0.5"));
    let request = OutboundRequest { method: Method::GET, url: link.clone(), headers, body: None, deadline: DEADLINE };
    let limits = StreamLimits { first_byte: SILENCE, idle: SILENCE, bytes: MAX_BYTES as u64 };
    let mut answer = egress.open(request, limits).await.map_err(|error| refused(said(error)))?;
    if answer.status.is_redirection() {
        let to = answer.headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("another address");
        let to: String = to.chars().take(300).collect();
        return Err(refused(format!("the server sends on to {to}, which is not followed; enter that link, if you trust it")));
    }
    if !answer.status.is_success() {
        return Err(refused(format!("the server answered with status {}; expected the document itself", answer.status.as_u16())));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.next_chunk().await.map_err(|error| refused(said(error)))? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn said(error: EgressError) -> String {
    match error {
        EgressError::Refused => {
            "documents are read from public hosts only, by https:// on port 443, 8443 or one from 1024; upload it instead"
                .to_owned()
        }
        EgressError::TooLarge => format!("the document is larger than {MAX_BYTES} bytes (10 MiB); leave out what is not needed"),
        other => format!("{other}; try again, or upload the document"),
    }
}
