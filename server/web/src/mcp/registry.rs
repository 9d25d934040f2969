//! The tenant's private registry, as the registry's own API has it (`/v0.1`, read-only), for those who show a credential of the tenant.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web::Data};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use trunkline_platform::{
    gateway,
    registry::{self, Entry},
};

use super::{endpoint, place::Place, respond};
use crate::{WebState, extract::Query};

/// Entries of a page where nobody says how many, and the most.
const USUAL: usize = 30;
const MOST: usize = 100;

/// `GET /servers`.
pub(super) async fn list(state: Data<WebState>, place: Place, request: HttpRequest, query: Query) -> HttpResponse {
    match entries(&state, &place, &request).await {
        Ok(entries) => page(entries, &query).unwrap_or_else(|why| error(400, &why)),
        Err(refused) => refused,
    }
}

/// `GET /servers/{name}/versions`.
pub(super) async fn versions(state: Data<WebState>, place: Place, request: HttpRequest) -> HttpResponse {
    let found = match of_server(&state, &place, &request).await {
        Ok(found) => found,
        Err(refused) => return refused,
    };
    let servers: Vec<Value> = found.iter().map(told).collect();
    HttpResponse::Ok().json(json!({ "metadata": { "count": servers.len() }, "servers": servers }))
}

/// `GET /servers/{name}/versions/{version}`.
pub(super) async fn version(state: Data<WebState>, place: Place, request: HttpRequest) -> HttpResponse {
    let found = match of_server(&state, &place, &request).await {
        Ok(found) => found,
        Err(refused) => return refused,
    };
    let wanted = request.match_info().get("version").unwrap_or_default();
    let is_wanted = |entry: &&Entry| if wanted == "latest" { entry.is_latest } else { entry.version() == wanted };
    match found.iter().find(is_wanted) {
        Some(entry) => HttpResponse::Ok().json(told(entry)),
        None => error(404, "there is no such version"),
    }
}

/// Everything that the caller may know of; charged like a list.
async fn entries(state: &WebState, place: &Place, request: &HttpRequest) -> Result<Vec<Entry>, HttpResponse> {
    let caller = endpoint::caller(state, place, request).await?;
    let admitted = gateway::admit_list(&state.platform, caller).await;
    let caller = admitted.map_err(|refusal| respond::refused_without_id(state, place, &refusal))?;
    registry::entries(&state.platform, &caller).await.map_err(|failure| {
        tracing::error!(error = &failure as &dyn std::error::Error, "the registry cannot be read");
        error(503, "the registry cannot be read at the moment; try again")
    })
}

async fn of_server(state: &WebState, place: &Place, request: &HttpRequest) -> Result<Vec<Entry>, HttpResponse> {
    // The one slash of a name comes escaped, and stays so on the way through the router.
    let wanted = request.match_info().get("server").unwrap_or_default().replace("%2F", "/").replace("%2f", "/");
    let mut found = entries(state, place, request).await?;
    found.retain(|entry| entry.name == wanted);
    if found.is_empty() { Err(error(404, "there is no such server")) } else { Ok(found) }
}

fn page(mut entries: Vec<Entry>, query: &Query) -> Result<HttpResponse, String> {
    let limit = match query.get("limit") {
        "" => USUAL,
        text => text.parse().ok().filter(|limit| (1..=MOST).contains(limit)).ok_or("limit: expected 1 to 100")?,
    };
    match query.get("version") {
        "" => {}
        "latest" => entries.retain(|entry| entry.is_latest),
        _ => return Err("version: expected latest, or nothing".to_owned()),
    }
    let search = query.get("search").to_lowercase();
    entries.retain(|entry| entry.name.to_lowercase().contains(&search));
    let since = query.get("updated_since");
    if !since.is_empty() {
        let since =
            DateTime::parse_from_rfc3339(since).map_err(|_| "updated_since: expected a time such as 2026-11-22T10:00:00Z")?;
        entries.retain(|entry| entry.published_at >= since.with_timezone(&Utc));
    }
    let after = match query.get("cursor") {
        "" => String::new(),
        cursor => {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
            bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or("cursor: expected one that a page gave")?
        }
    };
    // Newer versions come first, so that the place of one is its name and how many come after it.
    let key = |entry: &Entry| format!("{} {:010}", entry.name, i32::MAX - entry.number);
    entries.retain(|entry| key(entry) > after);
    let is_more = entries.len() > limit;
    entries.truncate(limit);
    let servers: Vec<Value> = entries.iter().map(told).collect();
    let mut metadata = json!({ "count": servers.len() });
    if let Some(last) = entries.last().filter(|_| is_more) {
        metadata["nextCursor"] = BASE64_URL_SAFE_NO_PAD.encode(key(last)).into();
    }
    Ok(HttpResponse::Ok().json(json!({ "servers": servers, "metadata": metadata })))
}

/// An entry as the API tells it.
fn told(entry: &Entry) -> Value {
    let at = entry.published_at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let official = json!({ "status": "active", "publishedAt": at, "updatedAt": at, "isLatest": entry.is_latest });
    json!({ "server": entry.server, "_meta": { "io.modelcontextprotocol.registry/official": official } })
}

fn error(status: u16, why: &str) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::build(status).json(json!({ "error": why }))
}
