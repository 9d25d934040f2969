//! Logging in through an identity provider: an organisation's, or the installation's.

use actix_web::{
    HttpResponse,
    http::{StatusCode, header::ContentType},
    web,
};
use askama::Template;
use serde::Deserialize;
use trunkline_platform::{
    ErrorKind,
    accounts::{self, Answer, CALLBACK, Refusal, SignOn, TenantSlug, Through},
};

use super::{Page, layout::Layout, leaving::leave, page_with, see_other, unfit};
use crate::{
    Access, Route, WebState,
    extract::{ClientIp, FieldErrors, Form, Visitor},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/login/sso", Access::Public, show),
        Route::post("/login/sso", Access::Public, begin),
        Route::get(CALLBACK, Access::Public, finish),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/sso.html")]
struct SsoPage {
    layout: Layout,
    errors: FieldErrors,
    organisation: String,
    next: String,
    login_url: String,
    /// What people call the installation's provider, if it has one.
    provider: Option<String>,
}

#[derive(Template)]
#[template(path = "dashboard/sso_refused.html")]
struct RefusedPage {
    layout: Layout,
    title: &'static str,
    text: String,
    login_url: &'static str,
}

#[derive(Deserialize)]
struct Query {
    #[serde(default)]
    organisation: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
struct SsoForm {
    /// Empty: the installation's provider.
    #[serde(default)]
    organisation: String,
    #[serde(default)]
    through: String,
    #[serde(default)]
    next: String,
}

fn form_page(state: &WebState, visitor: &Visitor, errors: FieldErrors, organisation: String, next: &str) -> SsoPage {
    let next = urls::parse_next(next).unwrap_or_default().to_owned();
    SsoPage {
        layout: visitor.layout("Log in with single sign-on"),
        errors,
        organisation,
        login_url: urls::login_then(&next),
        next,
        provider: state.platform.settings.sso.as_ref().map(|provider| provider.name.clone()),
    }
}

async fn show(state: web::Data<WebState>, visitor: Visitor, query: web::Query<Query>) -> Page {
    let Query { organisation, next } = query.into_inner();
    page_with(StatusCode::OK, &form_page(&state, &visitor, FieldErrors::default(), organisation, &next))
}

async fn begin(state: web::Data<WebState>, visitor: Visitor, ip: ClientIp, form: Form<SsoForm>) -> Page {
    let SsoForm { organisation, through, next } = form.0;
    let refuse =
        |text: &str| unfit(&form_page(&state, &visitor, FieldErrors::one("organisation", text), organisation.clone(), &next));
    let whose = if through == "installation" {
        Through::Installation
    } else {
        match organisation.trim().to_lowercase().parse::<TenantSlug>() {
            Ok(slug) => Through::Tenant(slug),
            Err(_) => return refuse("Enter your organisation's name as it stands in its address, such as acme in /t/acme."),
        }
    };
    let default = match &whose {
        Through::Tenant(slug) => urls::tenant(slug.as_str()),
        Through::Installation => urls::start().to_owned(),
    };
    let goal = urls::parse_next(&next).unwrap_or(&default);
    let (from, browser) = (visitor.browser(ip), visitor.attempt_secret());
    match accounts::begin_sign_on(&state.platform, &whose, visitor.session(), goal, &from, &browser).await {
        Ok(Some(url)) => leave(&visitor, &url, "which says who you are"),
        // The same whether or not there is such an organisation.
        Ok(None) => refuse("This organisation has no single sign-on. Log in with your password or a passkey."),
        Err(error) if matches!(error.kind(), ErrorKind::Unavailable("identity provider")) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "an identity provider cannot be used");
            refuse("The identity provider does not answer as it should. Try again, or tell an owner of the organisation.")
        }
        Err(error) => Err(error.into()),
    }
}

async fn finish(state: web::Data<WebState>, visitor: Visitor, ip: ClientIp, answer: web::Query<Answer>) -> Page {
    let secret = visitor.session_secret();
    let current = secret.as_ref().zip(visitor.session());
    let (from, browser) = (visitor.browser(ip), visitor.attempt_secret());
    match accounts::finish_sign_on(&state.platform, answer.into_inner(), current, &from, &browser).await? {
        SignOn::Done { secret, next } => {
            visitor.replace_session(&secret).await?;
            Ok(see_other(urls::parse_next(&next).unwrap_or(urls::start())))
        }
        SignOn::Refused(refusal) => {
            let (status, title, text) = in_words(&refusal);
            let page = RefusedPage { layout: visitor.layout(title), title, text, login_url: urls::login() };
            Ok(HttpResponse::build(status).insert_header(ContentType::html()).body(askama::Template::render(&page)?))
        }
    }
}

/// What is wrong with an answer is the provider's or an intruder's: 400. What is wrong with a person is for an owner to mend: 403.
fn in_words(refusal: &Refusal) -> (StatusCode, &'static str, String) {
    let (status, title, text) = match refusal {
        Refusal::NotBegunHere => (
            StatusCode::BAD_REQUEST,
            "This sign-in was not begun here",
            "It was begun in another browser, took longer than ten minutes, or was finished already. Begin again.",
        ),
        Refusal::OtherIssuer => (
            StatusCode::BAD_REQUEST,
            "This answer comes from somebody else",
            "Another identity provider answered than the one that was asked. Nobody was signed in.",
        ),
        Refusal::Provider(reason) => {
            let text = format!("The identity provider sent you back, but {reason}. Tell an owner of your organisation.");
            return (StatusCode::BAD_REQUEST, "The identity provider cannot be used", text);
        }
        Refusal::Declined => (
            StatusCode::BAD_REQUEST,
            "You were not signed in",
            "The identity provider sent you back without saying who you are. Begin again, or log in another way.",
        ),
        Refusal::Unverified => (
            StatusCode::FORBIDDEN,
            "Your address is not verified there",
            "The identity provider does not vouch for your e-mail address, so it opens no account here. Log in to your account first, then \
             sign on from your organisation: that links both.",
        ),
        Refusal::OtherDomain => (
            StatusCode::FORBIDDEN,
            "Your address is not one of these",
            "The identity provider vouches for addresses of other domains than yours. An owner of the organisation can add it.",
        ),
        Refusal::NoRole => (
            StatusCode::FORBIDDEN,
            "You have no role here yet",
            "You are signed in there, but none of your groups has a role in this organisation. An owner can give it one.",
        ),
        Refusal::OtherPerson => (
            StatusCode::FORBIDDEN,
            "This is somebody else's sign-in",
            "It belongs to another account than the one you are logged in with. Log out first.",
        ),
    };
    (status, title, text.to_owned())
}
