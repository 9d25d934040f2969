//! A new password by a mailed link.

use actix_web::{http::StatusCode, web};
use askama::Template;
use serde::Deserialize;
use trunkline_platform::{accounts, secret::Plaintext};

use super::{Page, layout::Layout, page, secret_page, see_other, unfit};
use crate::{
    Access, Route, WebState,
    error::HtmlError,
    extract::{ClientIp, FieldErrors, Form, Path, Token, Visitor},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/reset", Access::Public, show_request),
        Route::post("/reset", Access::Public, request),
        Route::get("/reset/sent", Access::Public, show_sent),
        Route::get("/reset/{token}", Access::Public, show),
        Route::post("/reset/{token}", Access::Public, reset),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/reset.html")]
struct ResetRequestPage {
    layout: Layout,
    errors: FieldErrors,
    email: String,
    login_url: &'static str,
}

#[derive(Template)]
#[template(path = "dashboard/reset_sent.html")]
struct ResetSentPage {
    layout: Layout,
    minutes: u32,
    login_url: &'static str,
}

#[derive(Template)]
#[template(path = "dashboard/reset_password.html")]
struct ResetPage {
    layout: Layout,
    errors: FieldErrors,
    email: String,
    url: String,
}

#[derive(Deserialize)]
struct RequestForm {
    email: String,
}

#[derive(Deserialize)]
struct ResetForm {
    password: String,
}

fn request_page(visitor: &Visitor, errors: FieldErrors, email: String) -> ResetRequestPage {
    ResetRequestPage { layout: visitor.layout("Reset your password"), errors, email, login_url: urls::login() }
}

async fn show_request(visitor: Visitor) -> Page {
    page(&request_page(&visitor, FieldErrors::default(), String::new()))
}

async fn request(state: web::Data<WebState>, visitor: Visitor, ip: ClientIp, form: Form<RequestForm>) -> Page {
    let email = form.0.email;
    match accounts::request_reset(&state.platform, &email, ip.0).await {
        Ok(()) => Ok(see_other(urls::reset_sent())),
        Err(error) => unfit(&request_page(&visitor, FieldErrors::from_failure(error)?, email)),
    }
}

async fn show_sent(state: web::Data<WebState>, visitor: Visitor) -> Page {
    let minutes = state.platform.settings.accounts.link_minutes;
    page(&ResetSentPage { layout: visitor.layout("Check your mail"), minutes, login_url: urls::login() })
}

async fn reset_page(state: &WebState, visitor: &Visitor, token: &Plaintext, errors: FieldErrors) -> Result<ResetPage, HtmlError> {
    let email = accounts::find_reset(&state.platform, token).await?.ok_or_else(|| HtmlError::not_found("link"))?;
    let (email, url) = (email.as_str().to_owned(), urls::reset_link(token.reveal()));
    Ok(ResetPage { layout: visitor.layout("Choose a new password"), errors, email, url })
}

/// Looks only: programs that check mails open links too.
async fn show(state: web::Data<WebState>, visitor: Visitor, token: Path<Token>) -> Page {
    let Path(Token(token)) = token;
    secret_page(StatusCode::OK, &reset_page(&state, &visitor, &token, FieldErrors::default()).await?)
}

async fn reset(state: web::Data<WebState>, visitor: Visitor, token: Path<Token>, form: Form<ResetForm>) -> Page {
    let Path(Token(token)) = token;
    if let Err(error) = accounts::reset(&state.platform, &token, Plaintext::new(form.0.password)).await {
        let errors = FieldErrors::from_failure(error)?;
        return secret_page(StatusCode::UNPROCESSABLE_ENTITY, &reset_page(&state, &visitor, &token, errors).await?);
    }
    visitor.leave_flash("success", "Your password is changed, and every browser is logged out. Log in with the new one.");
    Ok(see_other(urls::login()))
}
