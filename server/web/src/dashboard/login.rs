//! Logging in and out.

use actix_web::web;
use askama::Template;
use serde::Deserialize;
use trunkline_platform::{
    accounts::{self, LogIn},
    secret::Plaintext,
};

use super::{Page, go_on, layout::Layout, page, see_other, unfit};
use crate::{
    Access, Route, WebState,
    extract::{ClientIp, FieldErrors, Form, Visitor},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/login", Access::Public, show),
        Route::post("/login", Access::Public, log_in),
        // Public: whoever is signed out already gets the same answer.
        Route::post("/logout", Access::Public, log_out),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/login.html")]
struct LoginPage {
    layout: Layout,
    errors: FieldErrors,
    email: String,
    next: String,
    signup_url: &'static str,
    reset_url: &'static str,
    passkey_url: String,
    sso_url: String,
    /// What people call the installation's identity provider, if it has one.
    provider: Option<String>,
    /// Somebody is signed in, for one organisation only.
    is_limited: bool,
}

#[derive(Deserialize)]
struct Query {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
struct LoginForm {
    email: String,
    password: String,
    #[serde(default)]
    next: String,
}

fn form_page(state: &WebState, visitor: &Visitor, errors: FieldErrors, email: String, next: &str) -> LoginPage {
    let next = urls::parse_next(next).unwrap_or_default().to_owned();
    let layout = visitor.layout("Log in");
    let organisation = next.strip_prefix("/t/").and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default();
    LoginPage {
        layout,
        errors,
        email,
        signup_url: urls::signup(),
        reset_url: urls::reset(),
        passkey_url: urls::login_passkey(&next),
        sso_url: urls::sso_then(organisation, &next),
        provider: state.platform.settings.sso.as_ref().map(|provider| provider.name.clone()),
        is_limited: visitor.session().is_some(),
        next,
    }
}

async fn show(state: web::Data<WebState>, visitor: Visitor, query: web::Query<Query>) -> Page {
    if visitor.session().is_some_and(|session| session.limited_to.is_none()) {
        return go_on(&visitor, &query.next);
    }
    page(&form_page(&state, &visitor, FieldErrors::default(), String::new(), &query.next))
}

async fn log_in(state: web::Data<WebState>, visitor: Visitor, ip: ClientIp, form: Form<LoginForm>) -> Page {
    let LoginForm { email, password, next } = form.0;
    let attempt = LogIn { email: email.clone(), password: Plaintext::new(password), browser: visitor.browser(ip) };
    let errors = match accounts::log_in(&state.platform, attempt).await {
        Ok(Some(begun)) => {
            // The session before, of whoever it was, ends with the new one.
            visitor.replace_session(&begun.secret).await?;
            if begun.needs_second {
                return Ok(see_other(&urls::login_second(urls::parse_next(&next))));
            }
            return go_on(&visitor, &next);
        }
        Ok(None) => FieldErrors::one("password", "The address or the password is wrong."),
        Err(error) => FieldErrors::from_failure(error)?,
    };
    unfit(&form_page(&state, &visitor, errors, email, &next))
}

#[derive(Deserialize)]
struct Nothing {}

async fn log_out(state: web::Data<WebState>, visitor: Visitor, _: Form<Nothing>) -> Page {
    if let Some(secret) = visitor.session_secret() {
        accounts::log_out(&state.platform, &secret).await?;
    }
    visitor.sign_out();
    visitor.leave_flash("info", "You are logged out.");
    Ok(see_other(urls::login()))
}
