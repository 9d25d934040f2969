//! Runs each handler in a task of its own. actix drops a handler's future when the client resets its connection; a transaction dropped
//! half-way through its begin would lose what others write after it. So the handler goes on to its end, and only its answer is lost.

use actix_web::{
    Error, HttpResponse, ResponseError,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{StatusCode, header::ContentType},
    middleware::Next,
};
use tracing::Instrument as _;

pub(super) async fn run<B: MessageBody + 'static>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    let task = actix_web::rt::spawn(async move { next.call(request).await }.in_current_span());
    let Ok(outcome) = task.await else {
        // The panic itself is on standard error; this line has the request's id.
        tracing::error!("a handler panicked");
        return Err(Panicked.into());
    };
    outcome
}

/// The request went down with its handler, so the answer is made here, headers included.
#[derive(Debug, thiserror::Error)]
#[error("Something failed on our side.")]
struct Panicked;

impl ResponseError for Panicked {
    fn status_code(&self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }

    fn error_response(&self) -> HttpResponse {
        let mut response =
            HttpResponse::InternalServerError().insert_header(ContentType::plaintext()).body("Something failed on our side.\n");
        super::headers::add_security(response.headers_mut(), None, false);
        response
    }
}
