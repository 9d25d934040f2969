//! Credentials: the list. One of them, and what can be done with it, stands in `show`.

mod show;

use actix_web::web;
use askama::Template;
use trunkline_platform::{
    actor::Permission,
    catalog::credential::{self, Credential, Kind, Use, User},
    db::page::Search,
};

use super::{
    Page,
    components::{Listing, Moment},
    format,
    keys::page_number,
    layout::Layout,
    page,
};
use crate::{
    Access, Route, WebState,
    extract::{InTenant, Query},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let list = Route::get("/t/{tenant}/credentials", Access::Member(Permission::View), list);
    std::iter::once(list).chain(show::routes()).collect()
}

#[derive(Template)]
#[template(path = "dashboard/credentials.html")]
struct CredentialsPage {
    layout: Layout,
    sources_url: String,
    url: String,
    listing: Listing,
    rows: Vec<Row>,
    connections: String,
}

struct Row {
    url: String,
    name: String,
    origin: String,
    sent: String,
    uses: Vec<UseLink>,
    /// Beyond those that are named.
    more: String,
    since: Moment,
    rotated: Option<Moment>,
    by: String,
    /// Until when the value before is kept.
    overlap: Option<Moment>,
    is_refused: bool,
}

/// What uses a credential.
struct UseLink {
    url: String,
    kind: &'static str,
    name: String,
}

impl UseLink {
    fn new(slug: &str, used: &Use) -> Self {
        let (kind, url) = match used.user {
            User::Api(id) => ("HTTP API", urls::api(slug, id)),
            User::Source(id) => ("MCP server", urls::source(slug, id)),
            User::Tool(id) => ("Tool", urls::tool(slug, id)),
        };
        Self { url, kind, name: used.name.clone() }
    }
}

async fn list(state: web::Data<WebState>, member: InTenant, query: Query) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let q = query.get("q");
    let found = credential::search(platform, actor, &Search::new(q, page_number(&query))).await?;
    let connections = credential::count_connections(platform, actor).await?;
    let url = urls::credentials(slug);
    page(&CredentialsPage {
        layout: member.layout("Credentials", "sources"),
        sources_url: urls::sources(slug),
        listing: Listing::new(&found, &url, q, &[]),
        url,
        rows: found.items.iter().map(|credential| row(slug, credential)).collect(),
        connections: match connections {
            0 => String::new(),
            1 => "One person has connected an account of their own".to_owned(),
            many => format!("{} accounts of their own are connected by people", format::count(many)),
        },
    })
}

fn row(slug: &str, credential: &Credential) -> Row {
    let more = credential.used - i64::try_from(credential.uses.len()).unwrap_or(i64::MAX);
    let rotated = credential.rotated.as_ref();
    Row {
        url: urls::credential(slug, credential.id),
        name: name(credential),
        origin: credential.origin.clone(),
        sent: sent(&credential.kind),
        uses: credential.uses.iter().map(|used| UseLink::new(slug, used)).collect(),
        more: if more > 0 { format!("and {} more", format::count(more)) } else { String::new() },
        since: Moment::day(credential.created_at),
        rotated: rotated.map(|(at, _)| Moment::second(*at)),
        by: rotated.and_then(|(_, by)| by.clone()).unwrap_or_default(),
        overlap: credential.overlap.map(|overlap| Moment::second(overlap.until)),
        is_refused: credential.overlap.is_some_and(|overlap| overlap.refused > 0),
    }
}

/// What its owner calls it, else what uses it.
fn name(credential: &Credential) -> String {
    match (credential.label.as_str(), credential.uses.first()) {
        ("", Some(first)) if credential.used > 1 => format!("{} and {} more", first.name, format::count(credential.used - 1)),
        ("", Some(first)) => first.name.clone(),
        ("", None) => "Unused".to_owned(),
        (label, _) => label.to_owned(),
    }
}

fn sent(kind: &Kind) -> String {
    match kind {
        Kind::Header(name) => format!("Header {name}"),
        Kind::Schemes => "Security schemes".to_owned(),
        Kind::Unknown => "–".to_owned(),
    }
}
