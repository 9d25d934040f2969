//! Signing up, and confirming it by the mailed link.

use actix_web::web;
use askama::Template;
use serde::Deserialize;
use trunkline_platform::{
    accounts::{self, Intent},
    secret::Plaintext,
};

use super::{Page, layout::Layout, page, secret_page, see_other, unfit};
use crate::{
    Access, Route, WebState,
    error::HtmlError,
    extract::{ClientIp, FieldErrors, Form, Path, PathPart as _, Token, Visitor},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/signup", Access::Public, show),
        Route::post("/signup", Access::Public, sign_up),
        Route::get("/signup/sent", Access::Public, show_sent),
        Route::get("/confirm/{token}", Access::Public, show_confirm),
        Route::post("/confirm/{token}", Access::Public, confirm),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/signup.html")]
struct SignupPage {
    layout: Layout,
    errors: FieldErrors,
    email: String,
    organisation: String,
    invited: Option<Invited>,
    login_url: String,
}

/// Somebody who signs up to accept an invitation.
struct Invited {
    token: String,
    email: String,
    organisation: String,
}

#[derive(Template)]
#[template(path = "dashboard/signup_sent.html")]
struct SignupSentPage {
    layout: Layout,
    minutes: u32,
}

#[derive(Template)]
#[template(path = "dashboard/confirm.html")]
struct ConfirmPage {
    layout: Layout,
    url: String,
    email: String,
    organisation: Option<String>,
}

#[derive(Deserialize)]
struct Query {
    #[serde(default)]
    invitation: String,
}

#[derive(Deserialize)]
struct SignupForm {
    #[serde(default)]
    email: String,
    password: String,
    #[serde(default)]
    organisation: String,
    #[serde(default)]
    invitation: String,
}

/// The invitation of a text that may be its secret; an empty text is none.
async fn find_invited(state: &WebState, text: &str) -> Result<Option<Invited>, HtmlError> {
    if text.is_empty() {
        return Ok(None);
    }
    let Token(token) = Token::parse(text).ok_or_else(|| HtmlError::not_found("invitation"))?;
    let found = accounts::find_invitation(&state.platform, &token).await?;
    let found = found.ok_or_else(|| HtmlError::not_found("invitation"))?;
    let token = token.reveal().to_owned();
    Ok(Some(Invited { token, email: found.email.as_str().to_owned(), organisation: found.organisation }))
}

fn form_page(
    visitor: &Visitor,
    errors: FieldErrors,
    email: String,
    organisation: String,
    invited: Option<Invited>,
) -> SignupPage {
    let login_url = match &invited {
        Some(invited) => urls::login_then(&urls::invitation(&invited.token)),
        None => urls::login().to_owned(),
    };
    SignupPage { layout: visitor.layout("Sign up"), errors, email, organisation, invited, login_url }
}

async fn show(state: web::Data<WebState>, visitor: Visitor, query: web::Query<Query>) -> Page {
    let invited = find_invited(&state, &query.invitation).await?;
    if invited.is_none() && visitor.session().is_some() {
        return Ok(see_other(urls::start()));
    }
    let page = form_page(&visitor, FieldErrors::default(), String::new(), String::new(), invited);
    secret_page(actix_web::http::StatusCode::OK, &page)
}

async fn sign_up(state: web::Data<WebState>, visitor: Visitor, ip: ClientIp, form: Form<SignupForm>) -> Page {
    let SignupForm { email, password, organisation, invitation } = form.0;
    let invited = find_invited(&state, &invitation).await?;
    let intent = match &invited {
        Some(invited) => Intent::Invitation(Plaintext::new(invited.token.clone())),
        None => Intent::Organisation(organisation.clone()),
    };
    match accounts::sign_up(&state.platform, &email, Plaintext::new(password), intent, ip.0).await {
        Ok(()) => Ok(see_other(urls::signup_sent())),
        Err(error) => {
            let errors = FieldErrors::from_failure(error)?;
            unfit(&form_page(&visitor, errors, email, organisation, invited))
        }
    }
}

async fn show_sent(state: web::Data<WebState>, visitor: Visitor) -> Page {
    let minutes = state.platform.settings.accounts.link_minutes;
    page(&SignupSentPage { layout: visitor.layout("Check your mail"), minutes })
}

/// Looks only: programs that check mails open links too.
async fn show_confirm(state: web::Data<WebState>, visitor: Visitor, token: Path<Token>, query: web::Query<Query>) -> Page {
    let Path(Token(token)) = token;
    let signup = accounts::find_signup(&state.platform, &token).await?.ok_or_else(|| HtmlError::not_found("link"))?;
    let invitation = Some(query.invitation.as_str()).filter(|text| !text.is_empty());
    secret_page(
        actix_web::http::StatusCode::OK,
        &ConfirmPage {
            layout: visitor.layout("Confirm your address"),
            url: urls::confirm_link(token.reveal(), invitation),
            email: signup.email.as_str().to_owned(),
            organisation: signup.organisation,
        },
    )
}

#[derive(Deserialize)]
struct Nothing {}

async fn confirm(
    state: web::Data<WebState>,
    visitor: Visitor,
    token: Path<Token>,
    query: web::Query<Query>,
    _: Form<Nothing>,
) -> Page {
    let Path(Token(token)) = token;
    let slug = accounts::confirm(&state.platform, &token).await?;
    visitor.leave_flash("success", "Your address is confirmed. Log in to go on.");
    let next = match (slug, Token::parse(&query.invitation)) {
        (Some(slug), _) => urls::login_then(&urls::tenant(slug.as_str())),
        (None, Some(Token(invitation))) => urls::login_then(&urls::invitation(invitation.reveal())),
        (None, None) => urls::login().to_owned(),
    };
    Ok(see_other(&next))
}
