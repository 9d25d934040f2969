//! The MCP endpoint of a tenant: Streamable HTTP, all revisions on one URL. Translates; what may run is decided in `platform::gateway`.

mod accept;
mod endpoint;
mod methods;
mod origin;
mod resource;
mod respond;
mod stream;

use actix_web::http::Method;

use crate::{Access, Route};

/// Largest body of a request, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;

/// The routes of this surface.
pub fn routes() -> Vec<Route> {
    let endpoint = "/t/{tenant}/mcp";
    vec![
        Route::post(endpoint, Access::Agent, endpoint::post),
        // Without sessions there is no stream to open and none to end.
        Route::get(endpoint, Access::Agent, endpoint::not_allowed),
        Route::new(Method::DELETE, endpoint, Access::Agent, endpoint::not_allowed),
        Route::new(Method::OPTIONS, endpoint, Access::Agent, endpoint::not_allowed),
        Route::get("/.well-known/oauth-protected-resource/t/{tenant}/mcp", Access::Public, resource::metadata),
    ]
}
