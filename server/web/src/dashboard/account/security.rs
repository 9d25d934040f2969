//! Password, second factors, recovery codes.

use actix_web::{http::StatusCode, web};
use askama::Template;
use serde::Deserialize;
use trunkline_platform::{
    ErrorKind,
    accounts::{self, Passkey},
    secret::Plaintext,
};

use super::{after_setup, secret, tabs};
use crate::{
    Access, Route, WebState,
    dashboard::{
        Page,
        components::{Moment, Tab},
        layout::Layout,
        page_with, see_other,
    },
    error::HtmlError,
    extract::{FieldErrors, Form, SignedIn},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/account/security", Access::Session, show),
        Route::post("/account/password", Access::Session, change_password),
        Route::post("/account/security/recovery", Access::Session, make_recovery_codes),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/security.html")]
struct SecurityPage {
    layout: Layout,
    tabs: Vec<Tab>,
    errors: FieldErrors,
    /// The organisation that asks for a second factor.
    asked_by: String,
    has_password: bool,
    has_totp: bool,
    recovery_codes: i64,
    can_have_passkeys: bool,
    passkeys: Vec<PasskeyView>,
}

struct PasskeyView {
    name: String,
    since: Moment,
    used: Option<Moment>,
    remove_url: String,
}

#[derive(Deserialize)]
struct Query {
    #[serde(default, rename = "for")]
    asked_by: String,
}

#[derive(Deserialize)]
struct PasswordForm {
    password: String,
}

#[derive(Deserialize)]
struct Nothing {}

fn view(passkey: &Passkey) -> PasskeyView {
    PasskeyView {
        name: passkey.name.clone(),
        since: Moment::day(passkey.created_at),
        used: passkey.last_used_at.map(Moment::second),
        remove_url: urls::passkey_remove(passkey.id),
    }
}

async fn show(state: web::Data<WebState>, signed_in: SignedIn, query: web::Query<Query>) -> Page {
    render(&state, &signed_in, StatusCode::OK, FieldErrors::default(), &query.asked_by).await
}

async fn render(state: &WebState, signed_in: &SignedIn, status: StatusCode, errors: FieldErrors, asked_by: &str) -> Page {
    let session = &signed_in.session;
    let protection = accounts::protection(&state.platform, session).await;
    let protection = protection.map_err(|error| HtmlError::first(error, Some(urls::account_security())))?;
    // A name that the visitor belongs to, or none: the query is anybody's.
    let memberships = if asked_by.is_empty() { Vec::new() } else { accounts::memberships(&state.platform, session).await? };
    let asked_by =
        memberships.into_iter().find(|membership| membership.slug.as_str() == asked_by && membership.requires_second_factor);
    page_with(
        status,
        &SecurityPage {
            layout: signed_in.visitor.layout("Security"),
            tabs: tabs(urls::account_security()),
            errors,
            asked_by: asked_by.map(|membership| membership.name).filter(|_| !session.has_second_factor).unwrap_or_default(),
            has_password: protection.has_password,
            has_totp: protection.has_totp,
            recovery_codes: protection.recovery_codes,
            can_have_passkeys: accounts::passkey_origin(&state.settings.public_url).is_some(),
            passkeys: protection.passkeys.iter().map(view).collect(),
        },
    )
}

async fn change_password(state: web::Data<WebState>, signed_in: SignedIn, form: Form<PasswordForm>) -> Page {
    let secret = secret(&signed_in)?;
    let password = Plaintext::new(form.0.password);
    match accounts::change_password(&state.platform, &signed_in.session, &secret, password).await {
        Ok(fresh) => {
            signed_in.visitor.sign_in(&fresh);
            signed_in.visitor.leave_flash("success", "Your password is changed, and every other browser is logged out.");
            Ok(see_other(urls::account_security()))
        }
        Err(error) if matches!(error.kind(), ErrorKind::Invalid(_)) => {
            let errors = FieldErrors::from_failure(error)?;
            render(&state, &signed_in, StatusCode::UNPROCESSABLE_ENTITY, errors, "").await
        }
        Err(error) => Err(error.into()),
    }
}

async fn make_recovery_codes(state: web::Data<WebState>, signed_in: SignedIn, _: Form<Nothing>) -> Page {
    let codes = accounts::make_recovery_codes(&state.platform, &signed_in.session).await?;
    after_setup(&signed_in, &codes, "New codes are made; the old ones work no more.")
}
