//! Numbers for Prometheus, on the operations listener only.

use actix_web::{HttpResponse, http::header::CONTENT_TYPE, web};
use trunkline_platform::{Platform, health::NotReady, metrics::ReadyLabels, telemetry};

use super::Vitals;
use crate::WebState;

/// What a replica says of itself that stops.
const STOPPING: &str = "stopping";

/// All of them, in the OpenMetrics text format.
pub(super) async fn metrics(state: web::Data<WebState>, vitals: web::Data<Vitals>) -> HttpResponse {
    let metrics = &state.platform.metrics;
    telemetry::look(&state.platform);
    note_readiness(&state.platform, &vitals).await;
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8"))
        .body(metrics.encode())
}

/// What this replica waits for, by the same question that /readyz answers.
async fn note_readiness(platform: &Platform, vitals: &Vitals) {
    let missing = vitals.health().check_ready(platform).await.err();
    let note = |reason, is_so| {
        platform.metrics.not_ready.get_or_create(&ReadyLabels { reason }).set(i64::from(is_so));
    };
    for reason in NotReady::ALL {
        note(reason.as_str(), missing == Some(reason));
    }
    note(STOPPING, vitals.is_draining());
}
