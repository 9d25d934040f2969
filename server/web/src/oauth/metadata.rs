//! The server's documents about itself: RFC 8414 at every place clients look, and the key set.

use actix_web::{HttpRequest, HttpResponse, http::header, web::Data};
use trunkline_platform::{
    handshake::{Hop, Told},
    oauth,
};
use trunkline_protocol::oauth::metadata::AuthorizationServer;

use super::answer::{failed, open_to_browsers};
use crate::{WebState, doctor};

/// Where the document is: as RFC 8414 §3.1 puts it for an issuer with a path, as OpenID Connect does (both ways), and where clients of
/// 2025-03-26 look, who know of no issuer.
pub(super) const PLACES: &[&str] = &[
    "/.well-known/oauth-authorization-server/oauth",
    "/.well-known/openid-configuration/oauth",
    "/oauth/.well-known/openid-configuration",
    "/oauth/.well-known/oauth-authorization-server",
    "/.well-known/oauth-authorization-server",
];
/// For how long documents may be kept.
const KEPT: &str = "max-age=300";

/// RFC 8414.
pub(super) async fn authorization_server(state: Data<WebState>, request: HttpRequest) -> HttpResponse {
    doctor::tell(&state, &request, None, Told::well(Hop::ServerMetadata));
    let issuer = oauth::issuer(&state.platform);
    let document = AuthorizationServer { issuer: &issuer, certificates: state.settings.sees_certificates() };
    open_to_browsers(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, KEPT)).json(document.to_json()))
}

/// The keys that verify access tokens.
pub(super) async fn jwks(state: Data<WebState>) -> HttpResponse {
    match oauth::jwks(&state.platform).await {
        Ok(keys) => open_to_browsers(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, KEPT)).json(keys)),
        Err(error) => failed(&error.into()),
    }
}
