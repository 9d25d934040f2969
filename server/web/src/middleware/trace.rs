//! One span per request, with the route's pattern and never the query, which may hold secrets of links.

use actix_web::{
    Error, HttpMessage as _, HttpRequest,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
};
use tracing::{Span, field::Empty};
use tracing_actix_web::{RequestId, RootSpanBuilder, TracingLogger};

use crate::routes::Pattern;

pub(super) fn layer() -> TracingLogger<RequestSpan> {
    TracingLogger::new()
}

/// Id of the request, a UUIDv7: in the span, in `x-request-id` and on pages about failures.
pub(crate) fn request_id(request: &HttpRequest) -> String {
    request.extensions().get::<RequestId>().map(ToString::to_string).unwrap_or_default()
}

pub(super) struct RequestSpan;

impl RootSpanBuilder for RequestSpan {
    fn on_request_start(request: &ServiceRequest) -> Span {
        tracing::info_span!(
            "request",
            request.id = request_id(request.request()),
            http.request.method = request.method().as_str(),
            http.route = Empty,
            http.response.status_code = Empty,
            // Of a call.
            trace.id = Empty,
            jsonrpc.id = Empty,
        )
    }

    fn on_request_end<B: MessageBody>(span: Span, outcome: &Result<ServiceResponse<B>, Error>) {
        let status = match outcome {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        if let Ok(response) = outcome
            && let Some(Pattern(route)) = response.request().extensions().get()
        {
            span.record("http.route", route);
        }
        span.record("http.response.status_code", status.as_u16());
        tracing::debug!(parent: &span, "answered");
    }
}
