//! The second step of logging in.

use actix_web::{HttpResponse, http::StatusCode, web};
use askama::Template;
use serde::Deserialize;
use trunkline_platform::{
    accounts::{self, Pending},
    secret::Plaintext,
};

use super::{
    Page,
    layout::Layout,
    page_with,
    passkey::{AnswerForm, Ask},
    see_other,
};
use crate::{
    Access, Route, WebState,
    extract::{ClientIp, FieldErrors, Form, Visitor},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        // Public: whose password was right has a session that is good for nothing else.
        Route::get("/login/second", Access::Public, show),
        Route::post("/login/second", Access::Public, finish),
        Route::post("/login/second/passkey", Access::Public, finish_with_passkey),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/second.html")]
struct SecondPage {
    layout: Layout,
    errors: FieldErrors,
    email: String,
    has_totp: bool,
    next: String,
    passkey: Option<Ask>,
    login_url: String,
}

#[derive(Deserialize)]
struct Query {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
struct CodeForm {
    code: String,
    #[serde(default)]
    next: String,
}

async fn show(state: web::Data<WebState>, visitor: Visitor, query: web::Query<Query>) -> Page {
    render(&state, &visitor, StatusCode::OK, FieldErrors::default(), &query.next).await
}

async fn finish(state: web::Data<WebState>, visitor: Visitor, ip: ClientIp, form: Form<CodeForm>) -> Page {
    let Some((secret, _)) = pending(&state, &visitor).await? else { return Ok(see_other(urls::login())) };
    let browser = visitor.browser(ip);
    let errors = match accounts::finish_with_code(&state.platform, &secret, &form.0.code, &browser).await {
        Ok(Some(secret)) => return Ok(go_on(&visitor, &secret, &form.0.next)),
        Ok(None) => FieldErrors::one("code", "This code is not right, or was used already."),
        Err(error) => FieldErrors::from_failure(error)?,
    };
    render(&state, &visitor, StatusCode::UNPROCESSABLE_ENTITY, errors, &form.0.next).await
}

async fn finish_with_passkey(state: web::Data<WebState>, visitor: Visitor, ip: ClientIp, form: Form<AnswerForm>) -> Page {
    let Some((pending, _)) = pending(&state, &visitor).await? else { return Ok(see_other(urls::login())) };
    let AnswerForm { attempt, answer, next } = form.0;
    let (from, browser) = (visitor.browser(ip), visitor.attempt_secret());
    let attempt = Plaintext::new(attempt);
    match accounts::finish_passkey_second(&state.platform, &pending, &from, &browser, &attempt, &answer).await {
        Ok(secret) => Ok(go_on(&visitor, &secret, &next)),
        Err(error) => {
            let errors = FieldErrors::from_failure(error)?;
            render(&state, &visitor, StatusCode::UNPROCESSABLE_ENTITY, errors, &next).await
        }
    }
}

/// The step before has ended with this one.
fn go_on(visitor: &Visitor, secret: &Plaintext, next: &str) -> HttpResponse {
    visitor.sign_in(secret);
    see_other(urls::parse_next(next).unwrap_or(urls::start()))
}

async fn pending(state: &WebState, visitor: &Visitor) -> Result<Option<(Plaintext, Pending)>, crate::error::HtmlError> {
    let Some(secret) = visitor.session_secret() else { return Ok(None) };
    Ok(accounts::find_pending(&state.platform, &secret).await?.map(|pending| (secret, pending)))
}

async fn render(state: &WebState, visitor: &Visitor, status: StatusCode, errors: FieldErrors, next: &str) -> Page {
    let next = urls::parse_next(next).unwrap_or_default().to_owned();
    // Signed in in full already, too late, or never begun.
    let Some((secret, pending)) = pending(state, visitor).await? else { return Ok(see_other(&urls::login_then(&next))) };
    let passkey = if pending.has_passkeys {
        let browser = visitor.attempt_secret();
        let challenge = accounts::begin_passkey_second(&state.platform, &secret, &browser).await?;
        challenge.map(|challenge| Ask::new(state, "get", "/login/second/passkey", challenge))
    } else {
        None
    };
    page_with(
        status,
        &SecondPage {
            layout: visitor.layout("One more step"),
            errors,
            email: pending.email.as_str().to_owned(),
            has_totp: pending.has_totp,
            login_url: urls::login_then(&next),
            next,
            passkey,
        },
    )
}
