//! One definition: what it is, and the change of it that waits, laid side by side.

use actix_web::web;
use askama::Template;
use serde_json::Value;
use trunkline_platform::{
    Error,
    actor::Permission,
    catalog::{
        definition::{Definition, ItemKind, hidden, pretty},
        source::{self, Change, ChangeState, Decided, DefinitionDetail, DefinitionState, Meanwhile, Source},
    },
    ids::{ChangeId, DefinitionId, SourceId},
};

use super::{
    FindingRow,
    diff::{self, Line, Part, Piece},
    show::{definition_state, told},
};
use crate::{
    Access, Route, WebState,
    dashboard::{Page, components::Moment, layout::Layout, page, see_other},
    extract::{Allowed, Fields, Form, InTenant, ManageTools, Path},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageTools);
    vec![
        Route::get("/t/{tenant}/sources/{source}/definitions/{definition}", Access::Member(Permission::View), show),
        Route::post("/t/{tenant}/sources/{source}/changes/{change}/approve", manage, approve),
        Route::post("/t/{tenant}/sources/{source}/changes/{change}/reject", manage, reject),
    ]
}

/// Bytes of one member that are shown.
const SHOWN: usize = 24 * 1024;

#[derive(Template)]
#[template(path = "dashboard/definition.html")]
struct DefinitionPage {
    layout: Layout,
    can_manage: bool,
    source_name: String,
    source_url: String,
    name: String,
    upstream_key: Vec<Part>,
    kind: &'static str,
    state: &'static str,
    reason: String,
    findings: Vec<FindingRow>,
    effect: &'static str,
    tool_url: String,
    id: String,
    switch_on: bool,
    switch_off: bool,
    seen: String,
    description: Vec<Part>,
    members: Vec<Member>,
    change: Option<ChangeDetail>,
    history: Vec<HistoryRow>,
}

/// A member of the definition that stands.
struct Member {
    name: &'static str,
    parts: Vec<Part>,
    is_cut: bool,
}

/// The change that waits.
struct ChangeDetail {
    url: String,
    since: Moment,
    findings: Vec<FindingRow>,
    is_forbidden: bool,
    /// What the gate found, where the policy alone would have taken it.
    reason: String,
    /// What agents see meanwhile.
    meanwhile: &'static str,
    /// Words of the description; empty if it is the same.
    description: Vec<Piece>,
    members: Vec<MemberDiff>,
}

struct MemberDiff {
    name: &'static str,
    lines: Vec<Line>,
}

struct HistoryRow {
    state: &'static str,
    at: Moment,
    findings: usize,
}

async fn show(state: web::Data<WebState>, member: InTenant, path: (Path<SourceId>, Path<DefinitionId>)) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let (source, id) = (path.0.0, path.1.0);
    let source = source::get(platform, actor, source).await?.source;
    let detail = source::get_definition(platform, actor, source.id, id).await?;
    let listed = &detail.listed;
    let standing = Definition::read(listed.kind, listed.definition.clone()).map_err(Error::internal)?;
    let change = detail.changes.iter().find(|change| change.state == ChangeState::Pending);
    let change = change.map(|change| change_detail(slug, &source, &standing, change)).transpose()?;
    let is_here = listed.removed_at.is_none();
    let name = hidden::spelt_out(&listed.exposed_key);
    page(&DefinitionPage {
        layout: member.layout(name.as_str(), "sources"),
        can_manage: member.may(Permission::ManageTools),
        source_name: source.name.to_string(),
        source_url: urls::source(slug, source.id),
        name,
        upstream_key: diff::parts(&listed.upstream_key),
        kind: kind_word(listed.kind),
        state: definition_state(listed),
        reason: listed.reason.clone(),
        findings: if listed.state == DefinitionState::Approved {
            Vec::new()
        } else {
            listed.findings.iter().map(FindingRow::new).collect()
        },
        effect: if listed.kind == ItemKind::Tools { standing.effect(source.default_effect).as_str() } else { "" },
        tool_url: listed.tool.map(|tool| urls::tool(slug, tool.id)).unwrap_or_default(),
        id: listed.id.to_string(),
        switch_on: is_here && matches!(listed.state, DefinitionState::Waiting | DefinitionState::Off),
        switch_off: matches!(listed.state, DefinitionState::Waiting | DefinitionState::Approved),
        seen: platform.clock.now().to_rfc3339(),
        description: diff::parts(standing.description()),
        members: standing
            .locked()
            .filter(|(name, _)| *name != "description")
            .map(|(name, value)| member_row(name, value))
            .collect(),
        change,
        history: history(&detail),
    })
}

fn kind_word(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Tools => "Tool",
        ItemKind::Prompts => "Prompt",
        ItemKind::Resources => "Resource",
        ItemKind::ResourceTemplates => "Resource template",
    }
}

fn member_row(name: &'static str, value: &Value) -> Member {
    let text = text_of(value);
    let (beginning, is_cut) = crate::dashboard::format::beginning(&text, SHOWN);
    Member { name, parts: diff::parts(beginning), is_cut }
}

/// A text as it is, anything else as indented JSON.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| pretty(value), str::to_owned)
}

fn change_detail(slug: &str, source: &Source, standing: &Definition, change: &Change) -> Result<ChangeDetail, Error> {
    let new = Definition::read(standing.kind, change.definition.clone()).map_err(Error::internal)?;
    let names = standing.locked().chain(new.locked()).map(|(name, _)| name);
    let mut names: Vec<_> = names.filter(|name| *name != "description").collect();
    names.sort_unstable();
    names.dedup();
    let text = |definition: &Definition, name| definition.member(name).map(text_of).unwrap_or_default();
    let member = |name| MemberDiff { name, lines: diff::lines(&text(standing, name), &text(&new, name)) };
    Ok(ChangeDetail {
        url: urls::change(slug, source.id, change.id),
        since: Moment::second(change.created_at),
        findings: change.findings.iter().map(FindingRow::new).collect(),
        reason: change.reason.clone(),
        is_forbidden: change.findings.iter().any(|finding| finding.kind.forbids()),
        meanwhile: match source.policy.meanwhile {
            Meanwhile::ServeApproved => "Agents go on with the version below until you decide.",
            Meanwhile::Block => "No agent sees it until you decide.",
        },
        description: if standing.description() == new.description() {
            Vec::new()
        } else {
            diff::words(standing.description(), new.description())
        },
        members: names.into_iter().map(member).filter(|member| !member.lines.is_empty()).collect(),
    })
}

fn history(detail: &DefinitionDetail) -> Vec<HistoryRow> {
    let past = detail.changes.iter().filter(|change| change.state != ChangeState::Pending);
    let row = |change: &Change| HistoryRow {
        state: change.state.as_str(),
        at: Moment::second(change.decided_at.unwrap_or(change.created_at)),
        findings: change.findings.len(),
    };
    past.map(row).collect()
}

async fn approve(
    state: web::Data<WebState>,
    member: Allowed<ManageTools>,
    path: (Path<SourceId>, Path<ChangeId>),
    _: Form<Fields>,
) -> Page {
    let (source, change) = (path.0.0, path.1.0);
    let decided = source::approve_changes(&state.platform, &member.actor, source, &[change]).await?;
    lead_back(&member, source, decided, "approved")
}

async fn reject(
    state: web::Data<WebState>,
    member: Allowed<ManageTools>,
    path: (Path<SourceId>, Path<ChangeId>),
    _: Form<Fields>,
) -> Page {
    let (source, change) = (path.0.0, path.1.0);
    let decided = source::reject_changes(&state.platform, &member.actor, source, &[change]).await?;
    lead_back(&member, source, decided, "rejected")
}

fn lead_back(member: &Allowed<ManageTools>, source: SourceId, decided: Decided, done: &str) -> Page {
    if decided == Decided::default() {
        return Err(Error::not_found("change").into());
    }
    let (kind, text) = told(decided, done);
    member.visitor.leave_flash(kind, text);
    Ok(see_other(&urls::source(member.slug(), source)))
}
