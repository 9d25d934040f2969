//! Our cookies. `__Host-`: browsers take them only with `Secure`, for this very host, for all its paths. They take them on plain HTTP
//! from the loopback interface too.

use actix_web::{
    HttpRequest,
    cookie::{Cookie, SameSite, time::Duration},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use trunkline_platform::{Platform, secret::Plaintext};

use crate::dashboard::layout::Flash;

/// The secret of a signed-in browser.
pub(crate) const SESSION: &str = "__Host-trunkline";
/// The secret that forms of a browser which is not signed in are bound to.
pub(crate) const VISITOR: &str = "__Host-visitor";
/// One message for the next page.
pub(crate) const FLASH: &str = "__Host-flash";

/// The value of that cookie, if it could be one of ours.
pub(crate) fn read(request: &HttpRequest, name: &str) -> Option<Plaintext> {
    let cookie = request.cookie(name)?;
    let value = cookie.value();
    let ours = !value.is_empty() && value.len() <= 64 && value.bytes().all(|b| b.is_ascii_alphanumeric());
    ours.then(|| Plaintext::new(value.to_owned()))
}

fn build(name: &'static str, value: String, max_age: Duration) -> Cookie<'static> {
    Cookie::build(name, value).path("/").secure(true).http_only(true).same_site(SameSite::Lax).max_age(max_age).finish()
}

pub(crate) fn session(secret: &Plaintext, days: u32) -> Cookie<'static> {
    build(SESSION, secret.reveal().to_owned(), Duration::days(days.into()))
}

pub(crate) fn visitor(secret: &Plaintext) -> Cookie<'static> {
    build(VISITOR, secret.reveal().to_owned(), Duration::days(1))
}

/// Makes the browser forget a cookie.
pub(crate) fn forget(name: &'static str) -> Cookie<'static> {
    build(name, String::new(), Duration::ZERO)
}

/// A message for the next page, signed, so that nobody can put words into our mouth.
pub(crate) fn flash(platform: &Platform, flash: &Flash) -> Cookie<'static> {
    let text = BASE64.encode(format!("{}:{}", flash.kind, flash.text));
    let mac = BASE64.encode(platform.master_key.mac("flash", text.as_bytes()));
    build(FLASH, format!("{text}.{mac}"), Duration::minutes(1))
}

pub(crate) fn read_flash(platform: &Platform, request: &HttpRequest) -> Option<Flash> {
    let cookie = request.cookie(FLASH)?;
    let (text, mac) = cookie.value().split_once('.')?;
    let mac = BASE64.decode(mac).ok()?;
    if mac.len() != 32 || !platform.master_key.verify_mac("flash", text.as_bytes(), &mac) {
        return None;
    }
    let text = String::from_utf8(BASE64.decode(text).ok()?).ok()?;
    let (kind, text) = text.split_once(':')?;
    let kind = ["success", "error", "info"].into_iter().find(|known| *known == kind)?;
    Some(Flash { kind, text: text.to_owned() })
}
