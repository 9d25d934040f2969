//! Registering and removing passkeys.

use actix_web::{http::StatusCode, web};
use askama::Template;
use serde::Deserialize;
use trunkline_platform::{ErrorKind, accounts, ids::PasskeyId, secret::Plaintext};

use super::after_setup;
use crate::{
    Access, Route, WebState,
    dashboard::{Page, format, layout::Layout, page_with, passkey::Ask, see_other},
    error::HtmlError,
    extract::{FieldErrors, Form, Path, SignedIn},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/account/security/passkeys/new", Access::Session, show),
        Route::post("/account/security/passkeys", Access::Session, register),
        Route::post("/account/security/passkeys/{passkey}/remove", Access::Session, remove),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/passkey_new.html")]
struct PasskeyNewPage {
    layout: Layout,
    errors: FieldErrors,
    passkey_name: String,
    passkey: Ask,
    security_url: &'static str,
}

#[derive(Deserialize)]
struct RegisterForm {
    name: String,
    attempt: String,
    answer: String,
}

#[derive(Deserialize)]
struct Nothing {}

async fn show(state: web::Data<WebState>, signed_in: SignedIn) -> Page {
    let name = format::device(&signed_in.visitor.user_agent());
    render(&state, &signed_in, StatusCode::OK, FieldErrors::default(), name).await
}

async fn render(state: &WebState, signed_in: &SignedIn, status: StatusCode, errors: FieldErrors, name: String) -> Page {
    let browser = signed_in.visitor.attempt_secret();
    let challenge = accounts::begin_registration(&state.platform, &signed_in.session, &browser).await;
    let here = "/account/security/passkeys/new";
    let challenge = challenge.map_err(|error| HtmlError::first(error, Some(here)))?;
    page_with(
        status,
        &PasskeyNewPage {
            layout: signed_in.visitor.layout("Add a passkey"),
            errors,
            passkey_name: name,
            passkey: Ask::new(state, "create", "/account/security/passkeys", challenge),
            security_url: urls::account_security(),
        },
    )
}

async fn register(state: web::Data<WebState>, signed_in: SignedIn, form: Form<RegisterForm>) -> Page {
    let RegisterForm { name, attempt, answer } = form.0;
    let browser = signed_in.visitor.attempt_secret();
    let attempt = Plaintext::new(attempt);
    match accounts::finish_registration(&state.platform, &signed_in.session, &browser, &attempt, &name, &answer).await {
        Ok(codes) => after_setup(&signed_in, &codes, "Your passkey is added."),
        Err(error) if matches!(error.kind(), ErrorKind::Invalid(_)) => {
            let errors = FieldErrors::from_failure(error)?;
            render(&state, &signed_in, StatusCode::UNPROCESSABLE_ENTITY, errors, name).await
        }
        Err(error) => Err(error.into()),
    }
}

async fn remove(state: web::Data<WebState>, signed_in: SignedIn, passkey: Path<PasskeyId>, _: Form<Nothing>) -> Page {
    accounts::remove_passkey(&state.platform, &signed_in.session, passkey.0).await?;
    signed_in.visitor.leave_flash("success", "The passkey is removed.");
    Ok(see_other(urls::account_security()))
}
