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

fn form_page(visitor: &Visitor, errors: FieldErrors, email: String, next: &str) -> LoginPage {
    let next = urls::parse_next(next).unwrap_or_default().to_owned();
    let layout = visitor.layout("Log in");
    LoginPage { layout, errors, email, next, signup_url: urls::signup(), reset_url: urls::reset() }
}

async fn show(visitor: Visitor, query: web::Query<Query>) -> Page {
    if visitor.session().is_some() {
        return go_on(&visitor, &query.next);
    }
    page(&form_page(&visitor, FieldErrors::default(), String::new(), &query.next))
}

async fn log_in(state: web::Data<WebState>, visitor: Visitor, ip: ClientIp, form: Form<LoginForm>) -> Page {
    let LoginForm { email, password, next } = form.0;
    let attempt =
        LogIn { email: email.clone(), password: Plaintext::new(password), user_agent: visitor.user_agent(), from: ip.0 };
    let errors = match accounts::log_in(&state.platform, attempt).await {
        Ok(Some(secret)) => {
            // The session before, of whoever it was, ends with the new one.
            if let Some(old) = visitor.session_secret() {
                accounts::log_out(&state.platform, &old).await?;
            }
            visitor.sign_in(&secret);
            return go_on(&visitor, &next);
        }
        Ok(None) => FieldErrors::one("password", "The address or the password is wrong."),
        Err(error) => FieldErrors::from_failure(error)?,
    };
    unfit(&form_page(&visitor, errors, email, &next))
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
