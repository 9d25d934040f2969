//! Sources: the list. The form stands in `edit`, one source with its definitions in `show`, one definition with its change in `definition`.

mod accounts;
mod apis;
mod definition;
pub(super) mod diff;
mod edit;
mod show;

use actix_web::web;
use askama::Template;
use trunkline_platform::{
    actor::Permission,
    catalog::{
        api,
        definition::{Finding, ItemKind},
        source::{self, ListedSource, Source, SourceKind},
    },
    publishing::{self, Health},
};

use self::apis::ApiRow;
use super::{Page, components::Moment, format, layout::Layout, page};
use crate::{Access, Route, WebState, extract::InTenant, urls};

pub(super) fn routes() -> Vec<Route> {
    let list = Route::get("/t/{tenant}/sources", Access::Member(Permission::View), list);
    // `new` before `{source}`: the first that fits is taken.
    std::iter::once(list)
        .chain(apis::routes())
        .chain(accounts::routes())
        .chain(edit::routes())
        .chain(definition::routes())
        .chain(show::routes())
        .collect()
}

#[derive(Template)]
#[template(path = "dashboard/sources.html")]
struct SourcesPage {
    layout: Layout,
    base: String,
    can_manage: bool,
    sources: Vec<SourceRow>,
    apis: Vec<ApiRow>,
}

struct SourceRow {
    url: String,
    name: String,
    place: String,
    state: &'static str,
    /// Does it fail what it is tried by?
    is_failing: bool,
    why: String,
    served: String,
    fresh: String,
    changed: String,
    blocked: String,
    refreshed: Option<Moment>,
}

async fn list(state: web::Data<WebState>, member: InTenant) -> Page {
    let sources = source::list(&state.platform, &member.actor).await?;
    let apis = api::list(&state.platform, &member.actor).await?;
    let health = publishing::health_of_sources(&state.platform, &member.actor).await?;
    let is_failing = |id| health.get(&id) == Some(&Health::Failing);
    page(&SourcesPage {
        layout: member.layout("Sources", "sources"),
        base: urls::tenant(member.slug()),
        can_manage: member.may(Permission::ManageTools),
        sources: sources.iter().map(|listed| row(member.slug(), listed, is_failing(listed.source.id))).collect(),
        apis: apis.iter().map(|listed| ApiRow::new(member.slug(), listed)).collect(),
    })
}

fn row(slug: &str, listed: &ListedSource, is_failing: bool) -> SourceRow {
    let (source, total) = (&listed.source, listed.total());
    let number = |count: i64| if count == 0 { String::new() } else { format::count(count) };
    SourceRow {
        url: urls::source(slug, source.id),
        name: source.name.to_string(),
        place: place(source),
        state: state_word(source),
        is_failing: is_failing && source.enabled,
        why: source.stale.as_ref().map(|stale| stale.why.clone()).unwrap_or_default(),
        served: format::count(total.on),
        fresh: number(total.waiting),
        changed: number(total.changed),
        blocked: number(total.blocked),
        refreshed: source.refreshed_at.map(Moment::second),
    }
}

/// Where it is, in words.
fn place(source: &Source) -> String {
    match &source.kind {
        SourceKind::Mcp { url, .. } => url.to_string(),
        SourceKind::Api { url } => format!("HTTP tools of {}", url.origin().ascii_serialization()),
        SourceKind::Conformance => "Fixtures of the conformance suite, built in".to_owned(),
    }
}

fn state_word(source: &Source) -> &'static str {
    match (source.enabled, &source.stale, source.refreshed_at) {
        (false, ..) => "disabled",
        // Nothing of it is ever read.
        _ if matches!(source.kind, SourceKind::Api { .. }) => "active",
        (true, Some(_), _) => "stale",
        (true, None, Some(_)) => "active",
        (true, None, None) => "pending",
    }
}

/// The kind for people, in the plural.
fn kind_label(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Tools => "Tools",
        ItemKind::Prompts => "Prompts",
        ItemKind::Resources => "Resources",
        ItemKind::ResourceTemplates => "Templates",
    }
}

/// A finding as a page shows it.
struct FindingRow {
    label: &'static str,
    tone: &'static str,
    place: String,
    what: String,
}

impl FindingRow {
    fn new(finding: &Finding) -> Self {
        Self {
            label: finding.kind.label(),
            tone: if finding.kind.forbids() { "bad" } else { "warn" },
            place: finding.place.clone(),
            what: finding.what.clone(),
        }
    }
}
