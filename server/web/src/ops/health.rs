//! The three questions, without authentication.

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, ContentType},
    },
    web,
};
use serde::Serialize;
use trunkline_platform::health::{Dependency, Status};

use super::Vitals;
use crate::WebState;

/// Alive: answers as long as the process can answer anything. Restarting it helps only if this does not.
pub(super) async fn healthz() -> HttpResponse {
    plain(StatusCode::OK, "alive\n".to_owned())
}

/// May take traffic: not before the database has answered and fits, not while stopping.
pub(super) async fn readyz(state: web::Data<WebState>, vitals: web::Data<Vitals>) -> HttpResponse {
    if vitals.is_draining() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    match vitals.health().check_ready(&state.platform).await {
        Ok(()) => plain(StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

#[derive(Serialize)]
struct HealthAnswer {
    status: Status,
    version: &'static str,
    uptime_s: u64,
    dependencies: Vec<Dependency>,
    open_breakers: usize,
}

/// Every dependency, its state and how long it took to answer.
pub(super) async fn health(state: web::Data<WebState>, vitals: web::Data<Vitals>) -> HttpResponse {
    let report = vitals.health().report(&state.platform).await;
    let code = if report.status == Status::Unhealthy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    HttpResponse::build(code).insert_header((CACHE_CONTROL, "no-store")).json(HealthAnswer {
        status: report.status,
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: vitals.uptime_s(),
        dependencies: report.dependencies,
        open_breakers: report.open_breakers,
    })
}

fn plain(code: StatusCode, text: String) -> HttpResponse {
    HttpResponse::build(code).insert_header(ContentType::plaintext()).insert_header((CACHE_CONTROL, "no-store")).body(text)
}
