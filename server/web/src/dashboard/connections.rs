//! Connecting one's own account to a source: our page first, which says what for; then the provider's, and back.

use actix_web::{http::StatusCode, web};
use askama::Template;
use serde::Deserialize;
use trunkline_platform::{
    accounts::Answer,
    actor::Permission,
    catalog::source,
    connections::{self, CALLBACK, Connection, ConnectionState, Finished, Refusal},
    ids::SourceId,
};

use super::{Page, components::Moment, layout::Layout, leaving::leave, page, page_with, see_other};
use crate::{
    Access, Route, WebState,
    error::HtmlError,
    extract::{Fields, Form, InTenant, Path, Visitor},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let view = Access::Member(Permission::View);
    vec![
        Route::get("/t/{tenant}/connections/{source}", view, show),
        Route::post("/t/{tenant}/connections/{source}", view, begin),
        Route::post("/t/{tenant}/connections/{source}/disconnect", view, disconnect),
        // Public: what an answer is held against is bound to a session and its person, and there is nothing to say to others.
        Route::get(CALLBACK, Access::Public, finish),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/connection.html")]
struct ConnectionPage {
    layout: Layout,
    tenant: String,
    source: String,
    provider: Option<ProviderView>,
    connection: Option<ConnectionView>,
    connect_url: String,
    connections_url: &'static str,
    email: String,
}

struct ProviderView {
    /// Where the person is sent.
    host: String,
    /// Where their token goes.
    origin: String,
    scopes: Vec<String>,
    reads_lists: bool,
}

struct ConnectionView {
    works: bool,
    error: String,
    since: Moment,
    disconnect_url: String,
}

#[derive(Template)]
#[template(path = "dashboard/connection_refused.html")]
struct RefusedPage {
    layout: Layout,
    title: &'static str,
    text: String,
    connections_url: &'static str,
}

#[derive(Deserialize)]
struct DisconnectForm {
    /// `account`: the list of all connections.
    #[serde(default)]
    from: String,
}

fn words(scopes: &str) -> Vec<String> {
    scopes.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
}

/// A reason stands by itself.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().into_iter().flat_map(char::to_uppercase).chain(characters).collect()
}

fn view(member: &InTenant, connection: &Connection) -> ConnectionView {
    ConnectionView {
        works: connection.state == ConnectionState::Working,
        error: sentence(&connection.error),
        since: Moment::day(connection.connected_at),
        disconnect_url: format!("{}/disconnect", urls::connection(member.slug(), connection.source)),
    }
}

async fn show(state: web::Data<WebState>, member: InTenant, id: Path<SourceId>) -> Page {
    let offer = connections::offer(&state.platform, &member.actor, id.0).await?;
    page(&ConnectionPage {
        layout: member.visitor.layout(format!("Your account for {}", offer.source_name)),
        tenant: member.tenant.name.clone(),
        source: offer.source_name,
        provider: offer.provider.map(|provider| ProviderView {
            host: provider.host().to_owned(),
            scopes: words(&provider.scopes),
            origin: provider.origin,
            reads_lists: offer.reads_lists,
        }),
        connection: offer.connection.map(|connection| view(&member, &connection)),
        connect_url: urls::connection(member.slug(), id.0),
        connections_url: urls::account_connections(),
        email: member.session.email.as_str().to_owned(),
    })
}

async fn begin(state: web::Data<WebState>, member: InTenant, id: Path<SourceId>, _: Form<Fields>) -> Page {
    let secret = member.visitor.session_secret().ok_or(HtmlError::SignIn(None))?;
    let begun = connections::begin(&state.platform, &member.actor, &member.tenant.slug, id.0, &secret).await?;
    match begun {
        Some(url) => leave(&member.visitor, &url, "where you say yes or no"),
        None => Ok(see_other(&urls::connection(member.slug(), id.0))),
    }
}

async fn disconnect(state: web::Data<WebState>, member: InTenant, id: Path<SourceId>, form: Form<DisconnectForm>) -> Page {
    let (kind, text) = if connections::disconnect(&state.platform, &member.actor, id.0).await? {
        ("success", "Disconnected. Calls in your name are refused from now on, and the token is forgotten here.")
    } else {
        ("info", "Nothing was connected.")
    };
    member.visitor.leave_flash(kind, text);
    let back =
        if form.0.from == "account" { urls::account_connections().to_owned() } else { urls::connection(member.slug(), id.0) };
    Ok(see_other(&back))
}

async fn finish(state: web::Data<WebState>, visitor: Visitor, answer: web::Query<Answer>) -> Page {
    let secret = visitor.session_secret();
    let session = secret.as_ref().zip(visitor.session());
    match connections::finish(&state.platform, session, answer.into_inner()).await? {
        Finished::Done { actor, slug, source, reads_lists } => {
            if reads_lists && actor.role.may(Permission::ManageTools) {
                // So that its page has something to show; what fails is tried again by itself.
                let _ = source::refresh_now(&state.platform, &actor, source).await;
            }
            visitor.leave_flash("success", "Connected. Go back to your application: it goes on from there.");
            Ok(see_other(&urls::connection(slug.as_str(), source)))
        }
        Finished::Refused(refusal) => {
            let (title, text) = in_words(refusal);
            let layout = visitor.layout(title);
            page_with(StatusCode::BAD_REQUEST, &RefusedPage { layout, title, text, connections_url: urls::account_connections() })
        }
    }
}

fn in_words(refusal: Refusal) -> (&'static str, String) {
    let (title, text) = match refusal {
        Refusal::NotBegunHere => (
            "This was not begun here",
            "It was begun in another browser or by somebody else, took longer than ten minutes, or was finished already. Nothing was \
             connected. Open the link from your application again.",
        ),
        Refusal::OtherIssuer => (
            "This answer comes from somebody else",
            "Another authorization server answered than the one that was asked. Nothing was connected.",
        ),
        Refusal::Changed => (
            "Something has changed meanwhile",
            "The source asks for another account now, or for none. Nothing was connected. Open the link from your application again.",
        ),
        Refusal::Declined => {
            ("Nothing was connected", "The provider sent you back without access. You can begin again at any time.")
        }
        Refusal::Provider(why) => {
            let text = format!("You said yes, but {why}. Tell whoever looks after the source.");
            return ("The provider does not let us in", text);
        }
    };
    (title, text.to_owned())
}
