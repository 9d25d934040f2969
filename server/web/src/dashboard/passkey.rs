//! Logging in with a passkey alone; and what every form that asks the browser for one is made of.

use actix_web::{http::StatusCode, web};
use askama::Template;
use serde::Deserialize;
use trunkline_platform::{
    accounts::{self, Challenge},
    secret::Plaintext,
};

use super::{Page, layout::Layout, page_with, see_other};
use crate::{
    Access, Route, WebState,
    extract::{ClientIp, FieldErrors, Form, Visitor},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![Route::get("/login/passkey", Access::Public, show), Route::post("/login/passkey", Access::Public, log_in)]
}

/// A form that asks the browser for a passkey; `static/js/passkey.js` does it.
pub(super) struct Ask {
    /// `create` or `get`.
    pub(super) kind: &'static str,
    /// Where the answer goes.
    pub(super) url: &'static str,
    /// What the browser is asked.
    pub(super) options: String,
    /// The secret that the answer comes back with.
    pub(super) attempt: String,
    /// Where browsers have passkeys for us.
    pub(super) origin: String,
}

impl Ask {
    pub(super) fn new(state: &WebState, kind: &'static str, url: &'static str, challenge: Challenge) -> Self {
        let origin = accounts::passkey_origin(&state.settings.public_url);
        Self {
            kind,
            url,
            options: challenge.options,
            attempt: challenge.secret.reveal().to_owned(),
            origin: origin.map(|url| url.origin().ascii_serialization()).unwrap_or_default(),
        }
    }
}

/// What comes back.
#[derive(Deserialize)]
pub(super) struct AnswerForm {
    pub(super) attempt: String,
    pub(super) answer: String,
    #[serde(default)]
    pub(super) next: String,
}

#[derive(Template)]
#[template(path = "dashboard/passkey_login.html")]
struct PasskeyLoginPage {
    layout: Layout,
    errors: FieldErrors,
    next: String,
    passkey: Option<Ask>,
    login_url: String,
}

#[derive(Deserialize)]
struct Query {
    #[serde(default)]
    next: String,
}

async fn show(state: web::Data<WebState>, visitor: Visitor, ip: ClientIp, query: web::Query<Query>) -> Page {
    render(&state, &visitor, ip, StatusCode::OK, FieldErrors::default(), &query.next).await
}

async fn log_in(state: web::Data<WebState>, visitor: Visitor, ip: ClientIp, form: Form<AnswerForm>) -> Page {
    let AnswerForm { attempt, answer, next } = form.0;
    let (from, browser) = (visitor.browser(ip), visitor.attempt_secret());
    match accounts::finish_passkey_sign_in(&state.platform, &from, &browser, &Plaintext::new(attempt), &answer).await {
        Ok(secret) => {
            visitor.replace_session(&secret).await?;
            Ok(see_other(urls::parse_next(&next).unwrap_or(urls::start())))
        }
        Err(error) => {
            let errors = FieldErrors::from_failure(error)?;
            render(&state, &visitor, ip, StatusCode::UNPROCESSABLE_ENTITY, errors, &next).await
        }
    }
}

async fn render(state: &WebState, visitor: &Visitor, ip: ClientIp, status: StatusCode, errors: FieldErrors, next: &str) -> Page {
    let next = urls::parse_next(next).unwrap_or_default().to_owned();
    let passkey = if accounts::passkey_origin(&state.settings.public_url).is_some() {
        let challenge = accounts::begin_passkey_sign_in(&state.platform, &visitor.browser(ip), &visitor.attempt_secret()).await?;
        Some(Ask::new(state, "get", "/login/passkey", challenge))
    } else {
        None
    };
    let login_url = urls::login_then(&next);
    page_with(status, &PasskeyLoginPage { layout: visitor.layout("Log in with a passkey"), errors, next, passkey, login_url })
}
