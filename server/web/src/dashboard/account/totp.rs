//! Setting up an authenticator app.

use std::fmt::Write as _;

use actix_web::{http::StatusCode, web};
use askama::Template;
use serde::Deserialize;
use trunkline_platform::{
    ErrorKind,
    accounts::{self, TotpSetup},
};

use super::after_setup;
use crate::{
    Access, Route, WebState,
    dashboard::{Page, layout::Layout, page_with, see_other},
    extract::{FieldErrors, Form, SignedIn},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/account/security/authenticator", Access::Session, begin),
        Route::post("/account/security/authenticator/confirm", Access::Session, confirm),
        Route::post("/account/security/authenticator/remove", Access::Session, remove),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/totp.html")]
struct TotpPage {
    layout: Layout,
    errors: FieldErrors,
    text: String,
    url: String,
    size: usize,
    /// The dark squares, as the path of an SVG.
    path: String,
    security_url: &'static str,
}

#[derive(Deserialize)]
struct CodeForm {
    code: String,
}

#[derive(Deserialize)]
struct Nothing {}

fn setup_page(signed_in: &SignedIn, setup: &TotpSetup, status: StatusCode, errors: FieldErrors) -> Page {
    let mut path = String::new();
    for (y, row) in setup.squares.iter().enumerate() {
        for (x, _) in row.iter().enumerate().filter(|(_, dark)| **dark) {
            // Four squares of margin, which scanners need.
            let _ = write!(path, "M{} {}h1v1h-1z", x + 4, y + 4);
        }
    }
    let page = TotpPage {
        layout: signed_in.visitor.layout("Set up an authenticator app"),
        errors,
        text: setup.text.reveal().to_owned(),
        url: setup.url.reveal().to_owned(),
        size: setup.squares.len() + 8,
        path,
        security_url: urls::account_security(),
    };
    page_with(status, &page)
}

/// The secret is in the answer of the POST itself, so that no address shows it again.
async fn begin(state: web::Data<WebState>, signed_in: SignedIn, _: Form<Nothing>) -> Page {
    let setup = accounts::begin_totp(&state.platform, &signed_in.session).await?;
    setup_page(&signed_in, &setup, StatusCode::OK, FieldErrors::default())
}

async fn confirm(state: web::Data<WebState>, signed_in: SignedIn, form: Form<CodeForm>) -> Page {
    let code: String = form.0.code.chars().filter(|c| !c.is_whitespace()).collect();
    match accounts::confirm_totp(&state.platform, &signed_in.session, &code).await {
        Ok(codes) => after_setup(&signed_in, &codes, "Your authenticator app is set up."),
        Err(error) if matches!(error.kind(), ErrorKind::Invalid(_)) => {
            let setup = accounts::totp_setup(&state.platform, &signed_in.session).await?;
            setup_page(&signed_in, &setup, StatusCode::UNPROCESSABLE_ENTITY, FieldErrors::from_failure(error)?)
        }
        Err(error) => Err(error.into()),
    }
}

async fn remove(state: web::Data<WebState>, signed_in: SignedIn, _: Form<Nothing>) -> Page {
    accounts::remove_totp(&state.platform, &signed_in.session).await?;
    signed_in.visitor.leave_flash("success", "The authenticator app is switched off.");
    Ok(see_other(urls::account_security()))
}
