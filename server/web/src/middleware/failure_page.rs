//! Turns a handler's `HtmlError` into the page that says so: only here are the request's id and nonce known.

use actix_web::{
    Error,
    body::{BoxBody, EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::ContentType,
    middleware::Next,
};
use askama::Template as _;

use crate::error::{ErrorPage, Failure};

pub(super) async fn render<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let mut response = next.call(request).await?;
    let Some(failure) = response.response_mut().extensions_mut().remove::<Failure>() else {
        return Ok(response.map_into_left_body());
    };
    let page = ErrorPage::new(response.request(), &failure).render();
    let text = page.unwrap_or_else(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "the page for failures cannot be rendered");
        failure.text.clone()
    });
    let mut response = response.map_body(|_, _| BoxBody::new(text));
    if let Ok(kind) = actix_web::http::header::TryIntoHeaderValue::try_into_value(ContentType::html()) {
        response.headers_mut().insert(actix_web::http::header::CONTENT_TYPE, kind);
    }
    Ok(response.map_into_right_body())
}
