//! An invitation, as its receiver sees it.

use actix_web::{http::StatusCode, web};
use askama::Template;
use serde::Deserialize;
use trunkline_platform::accounts::{self, Invitation};

use super::{Page, layout::Layout, secret_page, see_other};
use crate::{
    Access, Route, WebState,
    error::HtmlError,
    extract::{Form, Path, SignedIn, Token, Visitor},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![Route::get("/invitations/{token}", Access::Public, show), Route::post("/invitations/{token}", Access::Session, accept)]
}

#[derive(Template)]
#[template(path = "dashboard/invitation.html")]
struct InvitationPage {
    layout: Layout,
    organisation: String,
    email: String,
    role: &'static str,
    step: Step,
}

/// What its receiver has to do next.
enum Step {
    /// Say yes.
    Accept { url: String },
    /// Log in first.
    LogIn { url: String },
    /// Sign up first.
    SignUp { url: String },
    /// Log out first: another person is signed in here.
    LogOut { signed_in_as: String },
}

/// Looks only: programs that check mails open links too.
async fn show(state: web::Data<WebState>, visitor: Visitor, token: Path<Token>) -> Page {
    let Path(Token(token)) = token;
    let found = accounts::find_invitation(&state.platform, &token).await?;
    let Invitation { email, role, organisation, has_account } = found.ok_or_else(|| HtmlError::not_found("invitation"))?;
    let url = urls::invitation(token.reveal());
    let step = match visitor.session() {
        Some(session) if session.email == email => Step::Accept { url },
        Some(session) => Step::LogOut { signed_in_as: session.email.as_str().to_owned() },
        None if has_account => Step::LogIn { url: urls::login_then(&url) },
        None => Step::SignUp { url: urls::signup_with_invitation(token.reveal()) },
    };
    let layout = visitor.layout(format!("Join {organisation}"));
    let email = email.as_str().to_owned();
    secret_page(StatusCode::OK, &InvitationPage { layout, organisation, email, role: role.as_str(), step })
}

#[derive(Deserialize)]
struct Nothing {}

async fn accept(state: web::Data<WebState>, signed_in: SignedIn, token: Path<Token>, _: Form<Nothing>) -> Page {
    let Path(Token(token)) = token;
    let slug = accounts::accept(&state.platform, &signed_in.session, &token).await?;
    signed_in.visitor.leave_flash("success", "Welcome. You are a member now.");
    Ok(see_other(&urls::tenant(slug.as_str())))
}
