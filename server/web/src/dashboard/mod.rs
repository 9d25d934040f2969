//! Pages for people. A page's struct, its template and its handlers stand together; the template has the same name.

mod account;
mod agent_edit;
mod agents;
mod alerts;
mod attempts;
mod audit;
mod budgets;
mod clients;
pub mod components;
mod connect;
mod connections;
mod context;
mod credentials;
pub mod format;
mod home;
mod invitation;
mod keys;
pub mod layout;
mod leaving;
mod limits;
mod login;
mod logs;
mod members;
mod meter;
mod passkey;
mod probes;
mod reset;
mod second;
mod settings;
mod sign_in;
mod signup;
mod sources;
mod sso;
pub mod standing;
mod tools;
mod toolsets;
mod trust;
mod upstreams;
mod usage;
mod welcome;

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{ContentType, LOCATION},
    },
};
use askama::Template;

use crate::{Route, error::HtmlError, extract::Visitor, urls};

/// What a page's handler answers.
pub type Page = Result<HttpResponse, HtmlError>;

/// Routes of this surface.
pub fn routes() -> Vec<Route> {
    [
        welcome::routes(),
        signup::routes(),
        login::routes(),
        second::routes(),
        passkey::routes(),
        sso::routes(),
        account::routes(),
        reset::routes(),
        invitation::routes(),
        home::routes(),
        connect::routes(),
        connections::routes(),
        budgets::routes(),
        // `new` before `{agent}`: the first that fits is taken.
        meter::routes(),
        agent_edit::routes(),
        agents::routes(),
        keys::routes(),
        clients::routes(),
        trust::routes(),
        tools::routes(),
        probes::routes(),
        alerts::routes(),
        upstreams::routes(),
        credentials::routes(),
        sources::routes(),
        toolsets::routes(),
        logs::routes(),
        usage::routes(),
        limits::routes(),
        audit::routes(),
        members::routes(),
        sign_in::routes(),
        settings::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A page.
pub fn page(template: &impl Template) -> Page {
    page_with(StatusCode::OK, template)
}

/// A page that says what does not fit: status 422.
pub fn unfit(template: &impl Template) -> Page {
    page_with(StatusCode::UNPROCESSABLE_ENTITY, template)
}

/// A page with that status.
pub fn page_with(status: StatusCode, template: &impl Template) -> Page {
    Ok(HttpResponse::build(status).insert_header(ContentType::html()).body(template.render()?))
}

/// A page at a URL with a secret in it: nothing on it may tell the URL to anybody.
fn secret_page(status: StatusCode, template: &impl Template) -> Page {
    let mut response = page_with(status, template)?;
    let value = actix_web::http::header::HeaderValue::from_static("no-referrer");
    response.headers_mut().insert(actix_web::http::header::REFERRER_POLICY, value);
    Ok(response)
}

/// Leads on after a form was taken.
pub fn see_other(url: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, url)).finish()
}

#[derive(Template)]
#[template(path = "dashboard/go_on.html")]
struct GoOnPage {
    layout: layout::Layout,
    url: String,
}

/// Leads on after somebody has signed in, to where they wanted to go. What an application asks for may lead back to the application at once,
/// and browsers would hold that against the policy of the form that was sent; so the chain is cut by a page.
pub(crate) fn go_on(visitor: &Visitor, next: &str) -> Page {
    let url = urls::parse_next(next).unwrap_or(urls::start());
    if !url.starts_with(urls::authorize()) {
        return Ok(see_other(url));
    }
    page(&GoOnPage { layout: visitor.layout("Signed in"), url: url.to_owned() })
}
