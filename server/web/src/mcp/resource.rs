//! RFC 9728: metadata of the endpoint as a protected resource. Names no authorization server while keys are the only credential.

use actix_web::{
    HttpResponse,
    http::header,
    web::{Data, Path},
};
use serde_json::json;

use crate::WebState;

/// `resource` of that tenant's endpoint: exactly what tokens will be bound to.
pub(super) fn identifier(state: &WebState, tenant: &str) -> String {
    format!("{}/t/{tenant}/mcp", state.settings.origin())
}

/// Where its metadata is.
pub(super) fn metadata_url(state: &WebState, tenant: &str) -> String {
    // Whatever stands in the path, it must not become a part of a header's syntax.
    let tenant: String = url::form_urlencoded::byte_serialize(tenant.as_bytes()).collect();
    format!("{}/.well-known/oauth-protected-resource/t/{tenant}/mcp", state.settings.origin())
}

/// The metadata; 404 if there is no such tenant.
pub(super) async fn metadata(state: Data<WebState>, tenant: Path<String>) -> HttpResponse {
    match state.platform.snapshots.get(&state.platform, &tenant).await {
        Ok(Some(_)) => HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "max-age=300")).json(json!({
            "resource": identifier(&state, &tenant),
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["tools:read"],
            "resource_name": "Trunkline",
        })),
        Ok(None) => HttpResponse::NotFound().finish(),
        Err(error) => {
            tracing::warn!(error = %error, source = ?error, "a tenant cannot be loaded");
            HttpResponse::ServiceUnavailable().insert_header((header::RETRY_AFTER, "1")).finish()
        }
    }
}
