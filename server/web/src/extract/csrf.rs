//! Forms are sent from our own pages only. Two proofs, both needed: what the browser says about where the request comes from, and a
//! token in the form that is bound to a cookie of this browser.

use actix_web::{HttpRequest, http::header};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use trunkline_platform::{Platform, secret::Plaintext};

use super::cookies;
use crate::WebState;

/// What its key is for.
const PURPOSE: &str = "csrf";

/// The token for forms of the browser with that cookie.
pub(super) fn token(platform: &Platform, cookie: &Plaintext) -> String {
    BASE64.encode(platform.master_key.mac(PURPOSE, cookie.reveal().as_bytes()))
}

/// Is it the token of one of this browser's cookies?
pub(super) fn is_token_right(platform: &Platform, request: &HttpRequest, given: &str) -> bool {
    let Ok(given) = BASE64.decode(given) else { return false };
    [cookies::SESSION, cookies::VISITOR]
        .into_iter()
        .filter_map(|name| cookies::read(request, name))
        .any(|cookie| given.len() == 32 && platform.master_key.verify_mac(PURPOSE, cookie.reveal().as_bytes(), &given))
}

/// Does the browser say that the request comes from a page of ours? A client that says nothing must still have the token.
pub(super) fn is_same_origin(state: &WebState, request: &HttpRequest) -> bool {
    let text = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
    // The name in Host is one of ours: the middleware has checked it.
    let host = text(header::HOST.as_str()).unwrap_or_default();
    let ours = format!("{}://{host}", state.settings.public_url.scheme());
    let is_ours = |origin: &str| origin.eq_ignore_ascii_case(&state.settings.origin()) || origin.eq_ignore_ascii_case(&ours);
    match (text("sec-fetch-site"), text(header::ORIGIN.as_str())) {
        // Pages with `no-referrer` send `Origin: null` with their own forms; the fetch metadata tells them from others.
        (Some(site), origin) => site == "same-origin" && origin.is_none_or(|origin| origin == "null" || is_ours(origin)),
        (None, Some(origin)) => is_ours(origin),
        (None, None) => true,
    }
}
