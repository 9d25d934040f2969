//! Address, sessions, and the end of the account.

use actix_web::{http::StatusCode, web};
use askama::Template;
use serde::Deserialize;
use trunkline_platform::{
    Error, ErrorKind,
    accounts::{self, OwnSession},
    ids::SessionId,
};

use super::{super::secret_page, tabs};
use crate::{
    Access, Route, WebState,
    dashboard::{
        Page,
        components::{Moment, Tab},
        format,
        layout::Layout,
        page_with, see_other,
    },
    error::HtmlError,
    extract::{FieldErrors, Form, Path, SignedIn, Token, Visitor},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/account", Access::Session, show),
        Route::post("/account/email", Access::Session, change_email),
        Route::post("/account/delete", Access::Session, delete),
        Route::post("/account/sessions/end-others", Access::Session, end_others),
        Route::post("/account/sessions/{session}/end", Access::Session, end),
        // Public: the link may be opened in a browser where nobody is signed in.
        Route::get("/email/{token}", Access::Public, show_email_change),
        Route::post("/email/{token}", Access::Public, confirm_email_change),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/account.html")]
struct AccountPage {
    layout: Layout,
    tabs: Vec<Tab>,
    problem: String,
    errors: FieldErrors,
    email: String,
    new_email: String,
    sessions: Vec<SessionView>,
    others: usize,
}

struct SessionView {
    browser: String,
    method: &'static str,
    address: String,
    since: Moment,
    seen: Moment,
    is_this: bool,
    end_url: String,
}

#[derive(Template)]
#[template(path = "dashboard/email_change.html")]
struct EmailChangePage {
    layout: Layout,
    email: String,
    url: String,
}

#[derive(Deserialize)]
struct EmailForm {
    email: String,
}

#[derive(Deserialize)]
struct DeleteForm {
    #[serde(default)]
    confirm: String,
}

#[derive(Deserialize)]
struct Nothing {}

/// What the page says beside the account.
#[derive(Default)]
struct Said {
    problem: String,
    errors: FieldErrors,
    new_email: String,
}

async fn show(state: web::Data<WebState>, signed_in: SignedIn) -> Page {
    render(&state, &signed_in, StatusCode::OK, Said::default()).await
}

async fn render(state: &WebState, signed_in: &SignedIn, status: StatusCode, said: Said) -> Page {
    let sessions = accounts::list_sessions(&state.platform, &signed_in.session).await;
    let sessions = sessions.map_err(|error| HtmlError::first(error, Some(urls::account())))?;
    page_with(
        status,
        &AccountPage {
            layout: signed_in.visitor.layout("Your account"),
            tabs: tabs(urls::account()),
            problem: said.problem,
            errors: said.errors,
            email: signed_in.session.email.as_str().to_owned(),
            new_email: said.new_email,
            others: sessions.iter().filter(|session| !session.is_this).count(),
            sessions: sessions.iter().map(view).collect(),
        },
    )
}

fn view(session: &OwnSession) -> SessionView {
    SessionView {
        browser: format::browser(&session.user_agent),
        method: match session.method.as_str() {
            "passkey" => "passkey",
            "sso" => "single sign-on",
            _ => "password",
        },
        address: session.address.clone(),
        since: Moment::day(session.since),
        seen: Moment::second(session.last_seen_at),
        is_this: session.is_this,
        end_url: urls::session_end(session.id),
    }
}

/// Back to this page after what has to be done first.
fn here(error: Error) -> HtmlError {
    HtmlError::first(error, Some(urls::account()))
}

async fn change_email(state: web::Data<WebState>, signed_in: SignedIn, form: Form<EmailForm>) -> Page {
    let new_email = form.0.email;
    match accounts::request_email_change(&state.platform, &signed_in.session, &new_email).await {
        Ok(email) => {
            let text =
                format!("A letter with a link is on its way to {}. Until you open it, your address stays.", email.as_str());
            signed_in.visitor.leave_flash("success", text);
            Ok(see_other(urls::account()))
        }
        Err(error) if matches!(error.kind(), ErrorKind::Invalid(_)) => {
            let said = Said { errors: FieldErrors::from_failure(error)?, new_email, ..Said::default() };
            render(&state, &signed_in, StatusCode::UNPROCESSABLE_ENTITY, said).await
        }
        Err(error) => Err(here(error)),
    }
}

async fn delete(state: web::Data<WebState>, signed_in: SignedIn, form: Form<DeleteForm>) -> Page {
    if form.0.confirm != "delete" {
        let said = Said { problem: "Type delete to confirm that your account is to be deleted.".to_owned(), ..Said::default() };
        return render(&state, &signed_in, StatusCode::UNPROCESSABLE_ENTITY, said).await;
    }
    match accounts::delete_account(&state.platform, &signed_in.session).await {
        Ok(()) => {
            signed_in.visitor.sign_out();
            signed_in.visitor.leave_flash("info", "Your account is deleted.");
            Ok(see_other(urls::login()))
        }
        Err(error) if matches!(error.kind(), ErrorKind::Conflict(_)) => {
            render(&state, &signed_in, StatusCode::CONFLICT, Said { problem: error.to_string(), ..Said::default() }).await
        }
        Err(error) => Err(here(error)),
    }
}

async fn end(state: web::Data<WebState>, signed_in: SignedIn, session: Path<SessionId>, _: Form<Nothing>) -> Page {
    accounts::end_session(&state.platform, &signed_in.session, session.0).await?;
    if session.0 == signed_in.session.id {
        signed_in.visitor.sign_out();
        return Ok(see_other(urls::login()));
    }
    signed_in.visitor.leave_flash("success", "That browser is logged out.");
    Ok(see_other(urls::account()))
}

async fn end_others(state: web::Data<WebState>, signed_in: SignedIn, _: Form<Nothing>) -> Page {
    let ended = accounts::end_other_sessions(&state.platform, &signed_in.session).await?;
    let text = match ended {
        0 => "You are logged in nowhere else.".to_owned(),
        1 => "One other browser is logged out.".to_owned(),
        many => format!("{many} other browsers are logged out."),
    };
    signed_in.visitor.leave_flash("success", text);
    Ok(see_other(urls::account()))
}

/// Looks only: programs that check mails open links too.
async fn show_email_change(state: web::Data<WebState>, visitor: Visitor, token: Path<Token>) -> Page {
    let Path(Token(token)) = token;
    let email = accounts::find_email_change(&state.platform, &token).await?.ok_or_else(|| HtmlError::not_found("link"))?;
    let url = urls::email_change_link(token.reveal());
    let layout = visitor.layout("Confirm your new address");
    secret_page(StatusCode::OK, &EmailChangePage { layout, email: email.as_str().to_owned(), url })
}

async fn confirm_email_change(state: web::Data<WebState>, visitor: Visitor, token: Path<Token>, _: Form<Nothing>) -> Page {
    let Path(Token(token)) = token;
    accounts::confirm_email_change(&state.platform, &token).await?;
    visitor.leave_flash("success", "Your address is changed. Log in with the new one from now on.");
    Ok(see_other(if visitor.session().is_some() { urls::account() } else { urls::login() }))
}
