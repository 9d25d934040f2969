//! The answer to what no route takes: 405 where another method would do, else 404, as a page or as problem+json, as the client likes.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
};
use serde_json::json;

use crate::{dashboard::Page, error::HtmlError, middleware::request_id, routes};

pub(crate) async fn answer(request: HttpRequest) -> Page {
    let allowed = methods(&request);
    if wants_html(&request) {
        return Err(if allowed.is_empty() { HtmlError::not_found("page") } else { HtmlError::WrongMethod(allowed) });
    }
    let (status, title) = if allowed.is_empty() {
        (StatusCode::NOT_FOUND, "There is nothing at this address, or nothing for you.")
    } else {
        (StatusCode::METHOD_NOT_ALLOWED, "This address exists, but not for this method.")
    };
    let problem = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "request_id": request_id(&request) });
    let mut response = HttpResponse::build(status);
    if !allowed.is_empty() {
        response.insert_header((header::ALLOW, allowed));
    }
    Ok(response.content_type("application/problem+json").body(problem.to_string()))
}

/// The methods that routes with this path have, such as `GET, POST`.
fn methods(request: &HttpRequest) -> String {
    let Some(pattern) = request.match_pattern() else { return String::new() };
    let methods: Vec<String> =
        routes().iter().filter(|route| route.path == pattern).map(|route| route.method.to_string()).collect();
    methods.join(", ")
}

fn wants_html(request: &HttpRequest) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("text/html")
}
