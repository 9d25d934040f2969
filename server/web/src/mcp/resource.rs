//! RFC 9728: metadata of the endpoint as a protected resource. Names the authorization server of this installation.

use actix_web::{HttpResponse, http::header, web::Data};
use trunkline_platform::oauth;
use trunkline_protocol::oauth::metadata;

use super::place::Place;
use crate::{WebState, oauth::open_to_browsers};

/// The metadata; 404 if there is no such tenant or toolset.
pub(super) async fn metadata(state: Data<WebState>, place: Place) -> HttpResponse {
    match state.platform.snapshots.get(&state.platform, &place.tenant).await {
        Ok(Some(tenant)) if place.toolset.as_ref().is_none_or(|name| tenant.toolset(name).is_some()) => {
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
