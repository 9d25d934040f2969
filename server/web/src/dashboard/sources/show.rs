//! One source: its definitions, and what is done with it and with them.

use actix_web::web;
use askama::Template;
use chrono::{DateTime, Utc};
use trunkline_platform::{
    Error, ErrorKind,
    actor::Permission,
    catalog::{
        definition::{Definition, Finding, FindingKind, ItemKind, hidden},
        source::{
            self, Decided, DefinitionFilter, DefinitionState, ListedDefinition, ListedSource, Pick, Refreshed, Show, Source,
            SourceKind,
        },
    },
    connections,
    db::page::Search,
    ids::{ChangeId, DefinitionId, SourceId},
    publishing::{self, Admission, Subject},
    quota::breakers::{Protected, Standing},
};

use super::{FindingRow, kind_label, place, state_word};
use crate::{
    Access, Route, WebState,
    dashboard::{
        Page,
        components::{Listing, Moment, Stat, Tab},
        format,
        keys::page_number,
        layout::Layout,
        page,
        probes::{self, ProbeCard},
        see_other,
    },
    extract::{Allowed, Fields, Form, InTenant, ManageTools, Path, Query},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageTools);
    vec![
        Route::get("/t/{tenant}/sources/{source}", Access::Member(Permission::View), show),
        Route::post("/t/{tenant}/sources/{source}/refresh", manage, refresh),
        Route::post("/t/{tenant}/sources/{source}/definitions", manage, decide),
        Route::post("/t/{tenant}/sources/{source}/disable", manage, disable),
        Route::post("/t/{tenant}/sources/{source}/enable", manage, enable),
        // Last: what is removed cannot be looked at.
        Route::post("/t/{tenant}/sources/{source}/remove", manage, remove),
    ]
}

/// Characters of a description in the list.
const BRIEF: usize = 140;
/// Findings of one definition in the list.
const FINDINGS: usize = 4;

#[derive(Template)]
#[template(path = "dashboard/source.html")]
struct SourcePage {
    layout: Layout,
    base: String,
    can_manage: bool,
    source: SourceDetail,
    stats: Vec<Stat>,
    kinds: Vec<Tab>,
    shows: Vec<Tab>,
    kind: &'static str,
    show: &'static str,
    listing: Listing,
    rows: Vec<DefinitionRow>,
    /// Whether any on the page can be switched on, switched off, or has a change to decide.
    can: Can,
    /// New ones in which nothing was found, for one click; 0 if not asked.
    waiting: i64,
    /// When the page was made: nobody approves what came later.
    seen: String,
    /// `None`: it is not reached over the network, or has no tools of its own.
    probe: Option<ProbeCard>,
    /// Did the gate stop it when it was asked last?
    is_stopped: bool,
}

#[expect(clippy::struct_excessive_bools, reason = "each is shown by itself")]
struct SourceDetail {
    url: String,
    name: String,
    place: String,
    state: &'static str,
    enabled: bool,
    can_edit: bool,
    stale_since: Option<Moment>,
    /// Most of its calls fail, as this server sees it.
    is_left_alone: bool,
    why: String,
    notice: String,
    refreshed: Option<Moment>,
    /// Its tools are HTTP tools, and stand in the list of tools.
    is_api: bool,
    /// Where it is said whose accounts it uses; empty where nobody can have one.
    accounts_url: String,
    upstream_url: String,
    /// Where its secret is exchanged; empty if it has none.
    credential_url: String,
    accounts: Option<AccountsView>,
}

/// Where each person uses their own account.
struct AccountsView {
    host: String,
    connected: String,
    broken: String,
    connect_url: String,
}

#[derive(Default)]
struct Can {
    switch_on: bool,
    switch_off: bool,
    decide: bool,
}

struct DefinitionRow {
    /// What the form sends: the definition, and its change if one waits.
    pick: String,
    url: String,
    name: String,
    kind: &'static str,
    description: String,
    effect: &'static str,
    state: &'static str,
    reason: String,
    findings: Vec<FindingRow>,
    pickable: bool,
}

async fn show(state: web::Data<WebState>, member: InTenant, id: Path<SourceId>, query: Query) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let listed = source::get(platform, actor, id.0).await?;
    let filter = filter(&query)?;
    let q = query.get("q");
    let found = source::search_definitions(platform, actor, id.0, filter, &Search::new(q, page_number(&query))).await?;
    let source = &listed.source;
    let url = urls::source(slug, source.id);
    let (kind, show) = (filter.kind.map_or("", ItemKind::word), filter.show.as_str());
    let listing = Listing::new(&found, &url, q, &[("kind", kind), ("show", show)]);
    let can_manage = member.may(Permission::ManageTools);
    let mut can = Can::default();
    let rows = found.items.iter().map(|one| row(slug, source, one, &mut can)).collect();
    let waiting = match filter.kind {
        Some(kind) => listed.of(kind).waiting,
        None => listed.total().waiting,
    };
    let accounts = accounts(&state, &member, source).await?;
    let probe = if matches!(source.kind, SourceKind::Mcp { .. }) {
        let subject = (Subject::Source(source.id), urls::source_probe(slug, source.id));
        Some(probes::card(&state, &member, subject, true).await?)
    } else {
        None
    };
    let has_failed = probe.as_ref().and_then(|card| card.runs.first()).is_some_and(|run| run.kind == "Gate" && !run.passed);
    // Beyond the first tools nobody is asked for a reason.
    let is_stopped = has_failed && listed.of(ItemKind::Tools).on == 0;
    page(&SourcePage {
        layout: member.layout(source.name.as_str(), "sources"),
        base: urls::tenant(slug),
        can_manage,
        stats: stats(&listed),
        kinds: kinds(&listed, &url, filter),
        shows: shows(&listed, &url, filter),
        kind,
        show,
        listing,
        rows,
        can,
        waiting: if matches!(filter.show, Show::All | Show::Waiting) && can_manage { waiting } else { 0 },
        seen: platform.clock.now().to_rfc3339(),
        probe,
        is_stopped,
        source: SourceDetail { accounts, is_left_alone: is_left_alone(&state, &member, source), ..detail(slug, source) },
    })
}

/// Its breaker, or for the origin of HTTP tools theirs.
fn is_left_alone(state: &WebState, member: &InTenant, source: &Source) -> bool {
    let what = match &source.kind {
        SourceKind::Api { url } => Protected::Origin(url.origin().ascii_serialization()),
        _ => Protected::Source(source.id),
    };
    state.platform.breakers.standing(member.actor.tenant, &what) != Standing::Closed
}

async fn accounts(state: &WebState, member: &InTenant, source: &Source) -> Result<Option<AccountsView>, Error> {
    let Some(provider) = connections::find_provider(&state.platform, &member.actor, source.id).await? else { return Ok(None) };
    let (working, broken) = connections::count(&state.platform, &member.actor, source.id).await?;
    let people = |count: i64| if count == 1 { "1 person".to_owned() } else { format!("{} people", format::count(count)) };
    Ok(Some(AccountsView {
        host: provider.host().to_owned(),
        connected: people(working),
        broken: if broken == 0 { String::new() } else { people(broken) },
        connect_url: urls::connection(member.slug(), source.id),
    }))
}

fn filter(query: &Query) -> Result<DefinitionFilter, Error> {
    let kind = match query.get("kind") {
        "" => None,
        word => Some(
            ItemKind::find(word).ok_or_else(|| Error::invalid("kind", "expected tool, prompt, resource or resource_template"))?,
        ),
    };
    let show = match query.get("show") {
        "" => Show::All,
        word => Show::find(word)
            .ok_or_else(|| Error::invalid("show", "expected all, on, waiting, changed, blocked, off or removed"))?,
    };
    Ok(DefinitionFilter { kind, show })
}

fn detail(slug: &str, source: &Source) -> SourceDetail {
    SourceDetail {
        url: urls::source(slug, source.id),
        name: source.name.to_string(),
        place: place(source),
        state: state_word(source),
        enabled: source.enabled,
        can_edit: matches!(source.kind, SourceKind::Mcp { .. }),
        is_left_alone: false,
        stale_since: source.stale.as_ref().map(|stale| Moment::second(stale.since)),
        why: source.stale.as_ref().map(|stale| stale.why.clone()).unwrap_or_default(),
        notice: source.notice.clone(),
        refreshed: source.refreshed_at.map(Moment::second),
        is_api: matches!(source.kind, SourceKind::Api { .. }),
        upstream_url: urls::resilience(&urls::source(slug, source.id)),
        credential_url: match &source.kind {
            SourceKind::Mcp { credential: Some(id), .. } => urls::credential(slug, *id),
            _ => String::new(),
        },
        accounts_url: match &source.kind {
            SourceKind::Mcp { .. } | SourceKind::Api { .. } => urls::source_accounts(slug, source.id),
            SourceKind::Conformance => String::new(),
        },
        accounts: None,
    }
}

fn stats(listed: &ListedSource) -> Vec<Stat> {
    let total = listed.total();
    let kind = |kind: ItemKind| {
        let count = listed.of(kind).on;
        let label = kind_label(kind).to_lowercase();
        let label = if count == 1 { label.trim_end_matches('s') } else { &label };
        (count > 0).then(|| format!("{} {label}", format::count(count)))
    };
    let served: Vec<_> = ItemKind::ALL.into_iter().filter_map(kind).collect();
    let hint = |count: i64, text: &str| if count == 0 { String::new() } else { text.to_owned() };
    vec![
        Stat { hint: served.join(", "), ..Stat::new("Served", format::count(total.on)) },
        Stat { hint: hint(total.waiting, "switch on what agents may use"), ..Stat::new("New", format::count(total.waiting)) },
        Stat { hint: hint(total.changed, "decide about each"), ..Stat::new("Changes that wait", format::count(total.changed)) },
        Stat { hint: hint(total.blocked, "cannot be served"), ..Stat::new("Blocked", format::count(total.blocked)) },
    ]
}

fn kinds(listed: &ListedSource, url: &str, filter: DefinitionFilter) -> Vec<Tab> {
    let tab = |kind: Option<ItemKind>| Tab {
        url: urls::with_query(url, &[("kind", kind.map_or("", ItemKind::word))]),
        label: kind.map_or("Everything", kind_label).to_owned(),
        current: kind == filter.kind,
    };
    let has = |kind: &ItemKind| listed.counts.iter().any(|(of, _)| of == kind) || filter.kind == Some(*kind);
    let kinds: Vec<_> = ItemKind::ALL.into_iter().filter(has).collect();
    // One kind needs no tabs.
    if kinds.len() < 2 && filter.kind.is_none() {
        Vec::new()
    } else {
        std::iter::once(None).chain(kinds.into_iter().map(Some)).map(tab).collect()
    }
}

fn shows(listed: &ListedSource, url: &str, filter: DefinitionFilter) -> Vec<Tab> {
    let counts = filter.kind.map_or_else(|| listed.total(), |kind| listed.of(kind));
    let tab = |show: Show| {
        let (label, count) = match show {
            Show::All => ("All", None),
            Show::On => ("Served", Some(counts.on)),
            Show::Waiting => ("New", Some(counts.waiting)),
            Show::Changed => ("Changed", Some(counts.changed)),
            Show::Blocked => ("Blocked", Some(counts.blocked)),
            Show::Off => ("Off", Some(counts.off)),
            Show::Removed => ("Gone", Some(counts.removed)),
        };
        let kind = filter.kind.map_or("", ItemKind::word);
        (count != Some(0) || show == filter.show).then(|| Tab {
            url: urls::with_query(url, &[("kind", kind), ("show", show.as_str())]),
            label: count.map_or(label.to_owned(), |count| format!("{label} {}", format::count(count))),
            current: show == filter.show,
        })
    };
    Show::ALL.into_iter().filter_map(tab).collect()
}

/// The word for what became of it, as its badge says it.
pub(super) fn definition_state(listed: &ListedDefinition) -> &'static str {
    match (listed.state, listed.removed_at, &listed.pending, listed.tool) {
        (_, Some(_), ..) => "gone",
        (DefinitionState::Approved, _, Some(_), _) => "changed",
        (DefinitionState::Approved, _, _, Some(tool)) if !tool.enabled => "disabled",
        (DefinitionState::Approved, ..) => "served",
        (DefinitionState::Waiting, ..) => "new",
        (DefinitionState::Off, ..) => "off",
        (DefinitionState::Blocked, ..) => "blocked",
    }
}

fn row(slug: &str, source: &Source, listed: &ListedDefinition, can: &mut Can) -> DefinitionRow {
    let definition = Definition::read(listed.kind, listed.definition.clone()).ok();
    let here = listed.removed_at.is_none();
    let switch_on = here && matches!(listed.state, DefinitionState::Waiting | DefinitionState::Off);
    let switch_off = matches!(listed.state, DefinitionState::Waiting | DefinitionState::Approved);
    can.switch_on |= switch_on;
    can.switch_off |= switch_off;
    can.decide |= listed.pending.is_some();
    let findings = listed.pending.as_ref().map_or(&listed.findings, |change| &change.findings);
    let is_served = listed.state == DefinitionState::Approved && listed.pending.is_none();
    let pick = match &listed.pending {
        Some(change) => format!("{}/{}", listed.id, change.id),
        None => listed.id.to_string(),
    };
    let described = definition.as_ref().map_or("", Definition::description);
    DefinitionRow {
        pick,
        url: urls::definition(slug, source.id, listed.id),
        name: hidden::spelt_out(&listed.exposed_key),
        kind: match listed.kind {
            ItemKind::Tools => "",
            ItemKind::Prompts => "Prompt",
            ItemKind::Resources => "Resource",
            ItemKind::ResourceTemplates => "Template",
        },
        description: brief(described),
        effect: match (&definition, listed.kind) {
            (Some(definition), ItemKind::Tools) => definition.effect(source.default_effect).as_str(),
            _ => "",
        },
        state: definition_state(listed),
        reason: listed.pending.as_ref().map_or(&listed.reason, |change| &change.reason).clone(),
        findings: if is_served { Vec::new() } else { badges(findings) },
        pickable: switch_on || switch_off || listed.pending.is_some(),
    }
}

/// One of each kind.
fn badges(findings: &[Finding]) -> Vec<FindingRow> {
    let mut kinds: Vec<_> = findings.iter().map(|finding| finding.kind).collect();
    kinds.sort_by_key(|kind| !kind.forbids());
    let mut seen = std::collections::HashSet::new();
    let first = |kind: FindingKind| findings.iter().find(|finding| finding.kind == kind).map(FindingRow::new);
    kinds.into_iter().filter(|kind| seen.insert(*kind)).filter_map(first).take(FINDINGS).collect()
}

/// The beginning of a description, in one line, with nothing hidden in it.
fn brief(description: &str) -> String {
    let (beginning, is_cut) = format::beginning(description, BRIEF);
    let line: String = beginning.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    format!("{}{}", hidden::spelt_out(line.trim_end()), if is_cut { "…" } else { "" })
}

async fn refresh(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<SourceId>, _: Form<Fields>) -> Page {
    let (kind, text) = match source::refresh_now(&state.platform, &member.actor, id.0).await {
        Ok(Refreshed::Done(tally)) => {
            let parts = [
                (tally.added, "new"),
                (tally.changed, "changed"),
                (tally.pending, "waiting for you"),
                (tally.removed, "gone"),
                (tally.returned, "back"),
            ];
            let parts: Vec<_> =
                parts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
            let what = if parts.is_empty() { "nothing has changed".to_owned() } else { parts.join(", ") };
            ("success", format!("Read: {what}."))
        }
        Ok(Refreshed::Stale(why)) => ("error", format!("It cannot be read: {why}. Nothing has changed.")),
        Err(error) if matches!(error.kind(), ErrorKind::Conflict(_)) => ("info", error.to_string()),
        Err(error) => return Err(error.into()),
    };
    member.visitor.leave_flash(kind, text);
    Ok(see_other(&urls::source(member.slug(), id.0)))
}

async fn disable(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<SourceId>, _: Form<Fields>) -> Page {
    source::set_enabled(&state.platform, &member.actor, id.0, false).await?;
    member.visitor.leave_flash("success", "The source is disabled: no agent sees anything of it from the next request on.");
    Ok(see_other(&urls::source(member.slug(), id.0)))
}

async fn enable(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<SourceId>, _: Form<Fields>) -> Page {
    source::set_enabled(&state.platform, &member.actor, id.0, true).await?;
    member.visitor.leave_flash("success", "The source is enabled again.");
    Ok(see_other(&urls::source(member.slug(), id.0)))
}

async fn remove(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<SourceId>, _: Form<Fields>) -> Page {
    source::remove(&state.platform, &member.actor, id.0).await?;
    member.visitor.leave_flash("success", "The source is removed. Its tools stay in the list of tools, disabled.");
    Ok(see_other(&urls::sources(member.slug())))
}

async fn decide(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<SourceId>, form: Form<Fields>) -> Page {
    let (platform, actor, form) = (&state.platform, &member.actor, form.0);
    let seen = seen(&form)?;
    let picked: Vec<&str> = form.all("pick").collect();
    let definitions: Vec<DefinitionId> =
        picked.iter().filter_map(|pick| pick.split('/').next().and_then(|id| id.parse().ok())).collect();
    let changes: Vec<ChangeId> =
        picked.iter().filter_map(|pick| pick.split_once('/').and_then(|(_, id)| id.parse().ok())).collect();
    let (decided, done) = match form.get("action") {
        "all" => {
            let kind = ItemKind::find(form.get("kind"));
            (switch_on(&state, &member, (id.0, Pick::Unsuspicious(kind)), seen, &form).await, "switched on")
        }
        "on" => (switch_on(&state, &member, (id.0, Pick::These(definitions)), seen, &form).await, "switched on"),
        "off" => (source::switch_off(platform, actor, id.0, &definitions).await, "switched off"),
        "approve" => (source::approve_changes(platform, actor, id.0, &changes).await, "approved"),
        "reject" => (source::reject_changes(platform, actor, id.0, &changes).await, "rejected"),
        _ => return Err(Error::invalid("action", "expected all, on, off, approve or reject").into()),
    };
    let back = urls::with_query(&urls::source(member.slug(), id.0), &[("kind", form.get("kind")), ("show", form.get("show"))]);
    match decided {
        Ok(decided) => {
            let (kind, text) = told(decided, done);
            member.visitor.leave_flash(kind, text);
        }
        Err(error) => match probes::told(&error) {
            Some(text) => member.visitor.leave_flash("error", text),
            None => return Err(error.into()),
        },
    }
    Ok(see_other(&back))
}

/// Switches definitions on; the first tools of a server only if the gate lets it pass, or somebody says why it is not tried.
async fn switch_on(
    state: &WebState,
    member: &Allowed<ManageTools>,
    (id, pick): (SourceId, Pick),
    seen: DateTime<Utc>,
    form: &Fields,
) -> Result<Decided, Error> {
    let (platform, actor) = (&state.platform, &member.actor);
    let is_of_tools = !matches!(pick, Pick::Unsuspicious(Some(kind)) if kind != ItemKind::Tools);
    let reason = Some(form.get("untried_reason").trim()).filter(|reason| !reason.is_empty());
    if is_of_tools && let Admission::Stopped(report) = publishing::admit(platform, actor, id, reason).await? {
        let failure = report.failure();
        let check = failure.map_or("a check", |failure| failure.check.label());
        let problem = failure.and_then(|failure| failure.problem.clone()).unwrap_or_default();
        return Err(Error::conflict(format!("Nothing was switched on: the gate stopped this server at “{check}”: {problem}.")));
    }
    source::switch_on(platform, actor, id, pick, seen).await
}

/// When the page was made that the form was on.
pub(super) fn seen(form: &Fields) -> Result<DateTime<Utc>, Error> {
    let text = form.get("seen");
    let wrong = |_| Error::invalid("seen", "expected the time at which the page was made");
    DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()).map_err(wrong)
}

/// What became of a decision, in a sentence.
pub(super) fn told(decided: Decided, done: &str) -> (&'static str, String) {
    let mut text = match decided.done {
        0 => format!("Nothing was {done}."),
        1 => format!("1 {done}."),
        count => format!("{count} {done}."),
    };
    if decided.stale > 0 {
        text = format!("{text} {} changed meanwhile or cannot be {done} as it is; look again.", decided.stale);
    }
    if decided.forbidden > 0 {
        text = format!("{text} {} cannot be served; open it to see why.", decided.forbidden);
    }
    let kind = match (decided.done, decided.stale + decided.forbidden) {
        (0, _) => "info",
        (_, 0) => "success",
        _ => "info",
    };
    (kind, text)
}
