//! The MCP endpoint of a tenant: Streamable HTTP, all revisions on one URL. Translates; what may run is decided in `platform::gateway`.

mod accept;
mod bodies;
mod endpoint;
mod headers;
mod listen;
mod methods;
mod origin;
mod pieces;
mod place;
mod registry;
mod resource;
mod respond;
mod run;
mod session;
mod stream;

use actix_web::http::Method;

pub(crate) use bodies::Bodies;

use crate::{Access, Route};

/// Largest body of a request, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;

/// The routes of this surface.
pub fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    for endpoint in ["/t/{tenant}/mcp", "/t/{tenant}/mcp/{toolset_name}"] {
        routes.extend([
            Route::post(endpoint, Access::Agent, endpoint::post),
            Route::get(endpoint, Access::Agent, session::stream),
            Route::new(Method::DELETE, endpoint, Access::Agent, session::end),
            Route::new(Method::OPTIONS, endpoint, Access::Agent, endpoint::not_allowed),
        ]);
    }
    routes.extend([
        Route::get("/t/{tenant}/registry/v0.1/servers", Access::Agent, registry::list),
        Route::get("/t/{tenant}/registry/v0.1/servers/{server}/versions", Access::Agent, registry::versions),
        Route::get("/t/{tenant}/registry/v0.1/servers/{server}/versions/{version}", Access::Agent, registry::version),
        Route::get("/.well-known/oauth-protected-resource/t/{tenant}/mcp", Access::Public, resource::metadata),
        Route::get("/.well-known/oauth-protected-resource/t/{tenant}/mcp/{toolset_name}", Access::Public, resource::metadata),
    ]);
    routes
}
