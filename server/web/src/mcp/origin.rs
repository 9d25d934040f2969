//! `Origin`: agents send none; a browser page of somebody else must not reach an endpoint on this machine or this network (DNS rebinding).

use actix_web::{
    HttpRequest,
    http::header::{self, HeaderMap},
};

use crate::WebState;

/// True if there is no `Origin`, or it is our own.
pub(super) fn is_allowed(state: &WebState, request: &HttpRequest) -> bool {
    let mut origins = origins(request.headers());
    origins.all(|origin| origin.is_some_and(|origin| is_ours(state, request, origin)))
}

fn origins(headers: &HeaderMap) -> impl Iterator<Item = Option<&str>> {
    headers.get_all(header::ORIGIN).map(|value| value.to_str().ok())
}

/// The public origin, or, where the public URL is on this machine, the name by which the request came: the host check has let it through.
fn is_ours(state: &WebState, request: &HttpRequest, origin: &str) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    origin == state.settings.origin()
        || (!state.settings.is_https() && origin.strip_prefix("http://").is_some_and(|authority| authority == host))
}
