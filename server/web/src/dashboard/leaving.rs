//! The page on the way to another's.

use actix_web::http::{
    StatusCode,
    header::{HeaderName, HeaderValue},
};
use askama::Template;
use url::Url;

use super::{Page, layout::Layout, page_with};
use crate::extract::Visitor;

/// Where to, for browsers that do not go by themselves.
#[derive(Template)]
#[template(path = "dashboard/leaving.html")]
struct LeavingPage {
    layout: Layout,
    url: String,
    host: String,
    what_for: &'static str,
}

/// A page that leads on by itself: the content policy lets forms lead to our own pages only, redirects included. `what_for` ends the
/// sentence that names the host.
pub(super) fn leave(visitor: &Visitor, url: &Url, what_for: &'static str) -> Page {
    let host = url.host_str().unwrap_or_default().to_owned();
    let page = LeavingPage { layout: visitor.layout("One moment"), url: url.to_string(), host, what_for };
    let mut response = page_with(StatusCode::OK, &page)?;
    if let Ok(value) = HeaderValue::try_from(format!("0;url={url}")) {
        response.headers_mut().insert(HeaderName::from_static("refresh"), value);
    }
    Ok(response)
}
