//! RFC 9728: metadata of the endpoint as a protected resource. Names no authorization server while keys are the only credential.

use actix_web::{HttpRequest, HttpResponse, http::header, web::Data};
use serde_json::json;
use trunkline_platform::{
    catalog::toolset::ToolsetName,
    handshake::{Hop, Told},
};

use super::place::Place;
use crate::{WebState, doctor};

/// The metadata; 404 if there is no such tenant, or that is no name of a toolset. Which toolsets there are is nobody's business: whoever has
/// no bearer for one learns from its endpoint as much as from one that is not there.
pub(super) async fn metadata(state: Data<WebState>, place: Place, request: HttpRequest) -> HttpResponse {
    match state.platform.snapshots.get(&state.platform, &place.tenant).await {
        Ok(Some(tenant)) if place.toolset.as_ref().is_none_or(|name| is_name(name)) => {
            doctor::tell(&state, &request, Some(tenant.tenant), Told::well(Hop::ResourceMetadata));
            HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "max-age=300")).json(json!({
                "resource": place.identifier(&state),
                "bearer_methods_supported": ["header"],
                "scopes_supported": ["tools:read"],
                "resource_name": "Trunkline",
            }))
        }
        Ok(_) => HttpResponse::NotFound().finish(),
        Err(error) => {
            tracing::warn!(error = %error, source = ?error, "a tenant cannot be loaded");
            HttpResponse::ServiceUnavailable().insert_header((header::RETRY_AFTER, "1")).finish()
        }
    }
}

fn is_name(text: &str) -> bool {
    ToolsetName::parse(text).is_ok_and(|name| name.as_str() == text)
}
