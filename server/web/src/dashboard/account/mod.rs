//! A person's own account: who they are, where they are signed in, how the account is protected.

mod connections;
mod passkeys;
mod profile;
mod security;
mod totp;

use actix_web::{http::StatusCode, web};
use askama::Template;
use serde::Deserialize;
use trunkline_platform::{Error, accounts, secret::Plaintext};

use super::{Page, components::Tab, layout::Layout, page_with, see_other};
use crate::{
    Access, Route, WebState,
    error::HtmlError,
    extract::{FieldErrors, Form, SignedIn},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let own =
        vec![Route::get("/account/prove", Access::Session, show_prove), Route::post("/account/prove", Access::Session, prove)];
    [own, connections::routes(), profile::routes(), security::routes(), totp::routes(), passkeys::routes()]
        .into_iter()
        .flatten()
        .collect()
}

/// The pages of an account.
fn tabs(current: &str) -> Vec<Tab> {
    [(urls::account(), "Account"), (urls::account_security(), "Security"), (urls::account_connections(), "Connections")]
        .map(|(url, label)| Tab { url: url.to_owned(), label: label.to_owned(), current: url == current })
        .into()
}

/// The session's secret, which a signed-in browser has.
fn secret(signed_in: &SignedIn) -> Result<Plaintext, HtmlError> {
    signed_in.visitor.session_secret().ok_or_else(|| Error::internal("a session without its secret").into())
}

/// Codes that are shown this once.
#[derive(Template)]
#[template(path = "dashboard/recovery_codes.html")]
struct RecoveryCodesPage {
    layout: Layout,
    codes: Vec<String>,
    what: &'static str,
    done_url: &'static str,
}

/// The codes, if there are any to show; else back to the page.
fn after_setup(signed_in: &SignedIn, codes: &[Plaintext], what: &'static str) -> Page {
    if codes.is_empty() {
        signed_in.visitor.leave_flash("success", what);
        return Ok(see_other(urls::account_security()));
    }
    let codes = codes.iter().map(|code| code.reveal().to_owned()).collect();
    let layout = signed_in.visitor.layout("Recovery codes");
    page_with(StatusCode::OK, &RecoveryCodesPage { layout, codes, what, done_url: urls::account_security() })
}

#[derive(Template)]
#[template(path = "dashboard/prove.html")]
struct ProvePage {
    layout: Layout,
    errors: FieldErrors,
    next: String,
    email: String,
    has_password: bool,
}

#[derive(Deserialize)]
struct ProveQuery {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
struct ProveForm {
    password: String,
    #[serde(default)]
    next: String,
}

async fn prove_page(state: &WebState, signed_in: &SignedIn, status: StatusCode, errors: FieldErrors, next: &str) -> Page {
    let protection = accounts::protection(&state.platform, &signed_in.session).await?;
    page_with(
        status,
        &ProvePage {
            layout: signed_in.visitor.layout("Is it you?"),
            errors,
            next: urls::parse_next(next).unwrap_or(urls::account_security()).to_owned(),
            email: signed_in.session.email.as_str().to_owned(),
            has_password: protection.has_password,
        },
    )
}

async fn show_prove(state: web::Data<WebState>, signed_in: SignedIn, query: web::Query<ProveQuery>) -> Page {
    prove_page(&state, &signed_in, StatusCode::OK, FieldErrors::default(), &query.next).await
}

async fn prove(state: web::Data<WebState>, signed_in: SignedIn, form: Form<ProveForm>) -> Page {
    let ProveForm { password, next } = form.0;
    let secret = secret(&signed_in)?;
    if accounts::prove(&state.platform, &signed_in.session, &secret, Plaintext::new(password)).await? {
        return Ok(see_other(urls::parse_next(&next).unwrap_or(urls::account_security())));
    }
    let errors = FieldErrors::one("password", "The password is wrong.");
    prove_page(&state, &signed_in, StatusCode::UNPROCESSABLE_ENTITY, errors, &next).await
}
