//! Headers of every answer, errors included, and what a page under way has collected for its answer: nonce and cookies.

use actix_web::{
    Error, HttpMessage as _, HttpRequest,
    body::MessageBody,
    cookie::Cookie,
    dev::{ServiceRequest, ServiceResponse},
    http::header::{self, HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    web,
};

use super::request_id;
use crate::WebState;

/// What the answer to the request at hand needs beside its body.
#[derive(Default)]
pub(crate) struct Rendering {
    nonce: Option<String>,
    form_target: Option<String>,
    cookies: Vec<Cookie<'static>>,
}

impl Rendering {
    /// The nonce that scripts and styles of this page carry.
    pub(crate) fn nonce(&mut self) -> &str {
        self.nonce.get_or_insert_with(|| trunkline_platform::random::base62(22))
    }

    /// Lets forms of this page end at that place too: browsers hold the whole chain of redirects that a form leads to against the policy.
    pub(crate) fn let_forms_lead_to(&mut self, source: String) {
        self.form_target = Some(source);
    }

    /// Sets a cookie with the answer; of two with one name the later counts.
    pub(crate) fn set_cookie(&mut self, cookie: Cookie<'static>) {
        self.cookies.retain(|other| other.name() != cookie.name());
        self.cookies.push(cookie);
    }
}

/// Collects for the answer to that request.
pub(crate) fn with_rendering<T>(request: &HttpRequest, change: impl FnOnce(&mut Rendering) -> T) -> T {
    let mut extensions = request.extensions_mut();
    if extensions.get::<Rendering>().is_none() {
        extensions.insert(Rendering::default());
    }
    match extensions.get_mut::<Rendering>() {
        Some(rendering) => change(rendering),
        None => change(&mut Rendering::default()),
    }
}

pub(super) async fn add(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let https = request.app_data::<web::Data<WebState>>().is_some_and(|state| state.settings.is_https());
    let mut response = next.call(request).await?;
    let rendering = response.request().extensions_mut().remove::<Rendering>().unwrap_or_default();
    let id = HeaderValue::try_from(request_id(response.request())).ok();
    let headers = response.headers_mut();
    add_security(headers, rendering.nonce.as_deref(), https);
    if let (Some(nonce), Some(target)) = (&rendering.nonce, &rendering.form_target)
        && let Ok(policy) = HeaderValue::try_from(page_policy(nonce, target))
    {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    if let Some(id) = id {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    for cookie in rendering.cookies {
        if let Ok(value) = HeaderValue::try_from(cookie.to_string()) {
            headers.append(header::SET_COOKIE, value);
        }
    }
    Ok(response)
}

/// What a browser must not do with our answers. A handler's own choice of caching or referrer stays.
pub(super) fn add_security(headers: &mut HeaderMap, nonce: Option<&str>, https: bool) {
    if let Ok(policy) = HeaderValue::try_from(content_policy(nonce)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    let mut insert = |name: &'static str, value: &'static str| {
        let name = HeaderName::from_static(name);
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    };
    insert("x-content-type-options", "nosniff");
    insert("x-frame-options", "DENY");
    insert("referrer-policy", "same-origin");
    insert("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()");
    insert("cross-origin-opener-policy", "same-origin");
    insert("cross-origin-resource-policy", "same-origin");
    insert("cache-control", "no-store");
    if https {
        insert("strict-transport-security", "max-age=63072000; includeSubDomains");
    }
}

fn content_policy(nonce: Option<&str>) -> String {
    let Some(nonce) = nonce else {
        return "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'".to_owned();
    };
    page_policy(nonce, "")
}

fn page_policy(nonce: &str, form_target: &str) -> String {
    let form_target = if form_target.is_empty() { String::new() } else { format!(" {form_target}") };
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}' 'self'; style-src 'nonce-{nonce}' 'self'; img-src 'self' data:; \
         font-src 'self'; connect-src 'self'; form-action 'self'{form_target}; frame-ancestors 'none'; base-uri 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_forbids_what_it_does_not_need() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        add_security(&mut headers, Some("abc"), true);
        let policy = headers.get(header::CONTENT_SECURITY_POLICY).and_then(|v| v.to_str().ok()).unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'nonce-abc' 'self'") && !policy.contains("unsafe"));
        assert_eq!(headers.get(header::CACHE_CONTROL).unwrap(), "no-cache");
        assert!(headers.contains_key("strict-transport-security"));
        let mut headers = HeaderMap::new();
        add_security(&mut headers, None, false);
        assert!(!headers.contains_key("strict-transport-security"));
        assert_eq!(headers.get(header::CACHE_CONTROL).unwrap(), "no-store");
    }
}
