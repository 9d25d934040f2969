//! The answer to what no route takes: 405 where another method would do, else 404, as a page or as problem+json, as the client likes.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::Data,
};
use serde_json::json;
use trunkline_platform::handshake::{Fault, Hop, Told};

use crate::{WebState, dashboard::Page, doctor, error::HtmlError, middleware::request_id, routes};

pub(crate) async fn answer(state: Data<WebState>, request: HttpRequest) -> Page {
    let allowed = methods(&request);
    if let Some(hop) = metadata_sought(request.path()).filter(|_| allowed.is_empty()) {
        let tenant = match tenant_in(request.path()) {
            Some(slug) => doctor::tenant(&state, slug).await,
            None => None,
        };
        let told = Told::failed(hop, Fault::NoSuchMetadata).because(format!("It asked for {}.", request.path()));
        doctor::tell(&state, &request, tenant, told);
    }
    if wants_html(&request) {
        return Err(if allowed.is_empty() { HtmlError::not_found("page") } else { HtmlError::WrongMethod(allowed) });
    }
    let (status, title) = if allowed.is_empty() {
        (StatusCode::NOT_FOUND, "There is nothing at this address, or nothing for you.")
    } else {
        (StatusCode::METHOD_NOT_ALLOWED, "This address exists, but not for this method.")
    };
    let problem = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "request_id": request_id(&request) });
    let mut response = HttpResponse::build(status);
    if !allowed.is_empty() {
        response.insert_header((header::ALLOW, allowed));
    }
    Ok(response.content_type("application/problem+json").body(problem.to_string()))
}

/// A client that takes another address for the server than it has looks for metadata at a place derived from that. The doctor is told.
fn metadata_sought(path: &str) -> Option<Hop> {
    let names = [
        ("oauth-protected-resource", Hop::ResourceMetadata),
        ("oauth-authorization-server", Hop::ServerMetadata),
        ("openid-configuration", Hop::ServerMetadata),
    ];
    let (_, sought) = path.split_once("/.well-known/")?;
    names.into_iter().find(|(name, _)| sought.split('/').next() == Some(name)).map(|(_, hop)| hop)
}

/// The tenant that such a path names.
fn tenant_in(path: &str) -> Option<&str> {
    path.split_once("/t/").and_then(|(_, rest)| rest.split('/').next()).filter(|slug| !slug.is_empty())
}

/// The methods that routes with this path have, such as `GET, POST`.
fn methods(request: &HttpRequest) -> String {
    let Some(pattern) = request.match_pattern() else { return String::new() };
    let methods: Vec<String> =
        routes().iter().filter(|route| route.path == pattern).map(|route| route.method.to_string()).collect();
    methods.join(", ")
}

fn wants_html(request: &HttpRequest) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("text/html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_where_clients_look_for_metadata_are_recognised() {
        for (path, hop, tenant) in [
            ("/.well-known/oauth-protected-resource", Some(Hop::ResourceMetadata), None),
            ("/.well-known/oauth-protected-resource/mcp", Some(Hop::ResourceMetadata), None),
            ("/t/acme/mcp/.well-known/oauth-protected-resource", Some(Hop::ResourceMetadata), Some("acme")),
            ("/.well-known/oauth-authorization-server/t/acme/mcp", Some(Hop::ServerMetadata), Some("acme")),
            ("/t/acme/.well-known/openid-configuration", Some(Hop::ServerMetadata), Some("acme")),
            ("/.well-known/security.txt", None, None),
            ("/t/acme/oauth-protected-resource", None, Some("acme")),
        ] {
            assert_eq!((metadata_sought(path), tenant_in(path)), (hop, tenant), "{path}");
        }
    }
}
