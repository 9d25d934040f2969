//! Accounts at other servers that the person has connected, in all organisations.

use actix_web::{http::StatusCode, web};
use askama::Template;
use trunkline_platform::connections::{self, Connection, ConnectionState};

use super::tabs;
use crate::{
    Access, Route, WebState,
    dashboard::{
        Page,
        components::{Moment, Tab},
        layout::Layout,
        page_with,
    },
    extract::SignedIn,
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![Route::get("/account/connections", Access::Session, show)]
}

#[derive(Template)]
#[template(path = "dashboard/account_connections.html")]
struct ConnectionsPage {
    layout: Layout,
    tabs: Vec<Tab>,
    organisations: Vec<Organisation>,
}

struct Organisation {
    name: String,
    connections: Vec<ConnectionRow>,
}

struct ConnectionRow {
    source: String,
    url: String,
    host: String,
    scopes: String,
    works: bool,
    error: String,
    since: Moment,
}

fn row(slug: &str, connection: &Connection) -> ConnectionRow {
    ConnectionRow {
        source: connection.source_name.clone(),
        url: urls::connection(slug, connection.source),
        host: connection.origin.clone(),
        scopes: connection.scopes.clone(),
        works: connection.state == ConnectionState::Working,
        error: connection.error.clone(),
        since: Moment::day(connection.connected_at),
    }
}

async fn show(state: web::Data<WebState>, signed_in: SignedIn) -> Page {
    let all = connections::list_own(&state.platform, &signed_in.session).await?;
    let organisations = all.iter().map(|(membership, connections)| Organisation {
        name: membership.name.clone(),
        connections: connections.iter().map(|connection| row(membership.slug.as_str(), connection)).collect(),
    });
    page_with(
        StatusCode::OK,
        &ConnectionsPage {
            layout: signed_in.visitor.layout("Your connections"),
            tabs: tabs(urls::account_connections()),
            organisations: organisations.collect(),
        },
    )
}
