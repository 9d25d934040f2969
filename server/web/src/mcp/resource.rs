//! RFC 9728: metadata of the endpoint as a protected resource. Names the authorization server of this installation.

use actix_web::{HttpRequest, HttpResponse, http::header, web::Data};
use trunkline_platform::{
    catalog::toolset::ToolsetName,
    handshake::{Hop, Told},
    oauth,
};
use trunkline_protocol::oauth::metadata;

use super::place::Place;
use crate::{WebState, doctor, oauth::open_to_browsers};

/// The metadata; 404 if there is no such tenant, or that is no name of a toolset. Which toolsets there are is nobody's business: whoever has
/// no bearer for one learns from its endpoint as much as from one that is not there.
pub(super) async fn metadata(state: Data<WebState>, place: Place, request: HttpRequest) -> HttpResponse {
    match state.platform.snapshots.get(&state.platform, &place.tenant).await {
        Ok(Some(tenant)) if place.toolset.as_ref().is_none_or(|name| is_name(name)) => {
            doctor::tell(&state, &request, Some(tenant.tenant), Told::well(Hop::ResourceMetadata));
            let document = metadata::protected_resource(&place.identifier(&state), &oauth::issuer(&state.platform));
            open_to_browsers(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "max-age=300")).json(document))
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
