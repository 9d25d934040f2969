//! Numbers for Prometheus, on the operations listener only.

use actix_web::{HttpResponse, http::header::CONTENT_TYPE, web};

use crate::WebState;

/// All of them, in the OpenMetrics text format.
pub(super) async fn metrics(state: web::Data<WebState>) -> HttpResponse {
    let open = i64::try_from(state.platform.breakers.count_open()).unwrap_or(i64::MAX);
    state.platform.metrics.open_breakers.set(open);
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8"))
        .body(state.platform.metrics.encode())
}
