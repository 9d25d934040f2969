//! The authorization server over HTTP. What may be granted is decided in `platform::oauth`; here requests are read and answers written.

mod answer;
mod authorize;
mod metadata;
mod register;
mod token;

use actix_web::http::Method;

pub(crate) use answer::open_to_browsers;

use crate::{Access, Route};

/// The routes of this surface.
pub(crate) fn routes() -> Vec<Route> {
    let mut routes = vec![
        Route::get("/oauth/authorize", Access::Client, authorize::show),
        Route::post("/oauth/authorize", Access::Client, authorize::decide),
        Route::post("/oauth/token", Access::Client, token::token),
        Route::post("/oauth/revoke", Access::Client, token::revoke),
        Route::post("/oauth/introspect", Access::Client, token::introspect),
        Route::post("/oauth/register", Access::Client, register::register),
        Route::get("/oauth/jwks", Access::Public, metadata::jwks),
    ];
    for place in metadata::PLACES {
        routes.push(Route::get(place, Access::Public, metadata::authorization_server));
    }
    // Clients that run in a browser ask first. No cookie means anything at these places.
    let asked_by_scripts = ["/oauth/token", "/oauth/revoke", "/oauth/register", "/oauth/jwks"];
    let resources = [
        "/.well-known/oauth-protected-resource/t/{tenant}/mcp",
        "/.well-known/oauth-protected-resource/t/{tenant}/mcp/{toolset_name}",
    ];
    for place in asked_by_scripts.into_iter().chain(metadata::PLACES.iter().copied()).chain(resources) {
        routes.push(Route::new(Method::OPTIONS, place, Access::Public, answer::preflight));
    }
    routes
}
