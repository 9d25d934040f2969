//! One imported API: its operations to pick from, and making tools of them. One form, so that nothing that was ticked is lost on the way
//! to another page of it.

use std::collections::BTreeMap;

use actix_web::{http::StatusCode, web};
use askama::Template;
use trunkline_platform::{
    ErrorKind, Platform,
    actor::Permission,
    catalog::{
        api::{self, ListedApi, ListedOperation, OperationFilter, Pin, Publication, Shown},
        openapi::{Scheme, SchemeKind},
    },
    db::page::Search,
    gate::Report,
    ids::{ApiId, OperationId},
    publishing::{self, ApiPublication, ApiTrial},
    secret::Plaintext,
};

use crate::{
    Access, Route, WebState,
    dashboard::{
        Page,
        components::{Choice, Listing, Moment, Tab},
        format,
        layout::Layout,
        page_with, see_other,
    },
    extract::{Allowed, FieldErrors, Fields, Form, InTenant, ManageTools, Needs, Path, Query},
    urls,
};

/// Operations on a page.
const ROWS: u32 = 50;

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageTools);
    vec![
        Route::get("/t/{tenant}/apis/{api}", Access::Member(Permission::View), show),
        Route::post("/t/{tenant}/apis/{api}", manage, change),
        Route::post("/t/{tenant}/apis/{api}/remove", manage, remove),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/api.html")]
#[expect(clippy::struct_excessive_bools, reason = "each is shown by itself")]
struct ApiPage {
    layout: Layout,
    base: String,
    can_manage: bool,
    url: String,
    api_name: String,
    lead: String,
    facts: Vec<(&'static str, String)>,
    /// Where its secrets are exchanged; empty if it has none.
    credential_url: String,
    read: Moment,
    picked: String,
    has_tools: bool,
    changed: i64,
    gone: i64,
    /// Where another document waits; empty: none does.
    waits_url: String,
    failing: Option<(Moment, String)>,
    verified: Option<Moment>,
    /// What the operator's manifest has against the pinned document; empty: nothing.
    objection: String,
    shows: Vec<Tab>,
    show: &'static str,
    tags: Vec<Choice>,
    listing: Listing,
    page: u32,
    has_next: bool,
    rows: Vec<OperationRow>,
    server: String,
    servers: Vec<String>,
    names_begin: String,
    secrets: Vec<SecretField>,
    accounts_url: String,
    /// What was sent of the call that is made first.
    called: String,
    sample: String,
    untried_reason: String,
    /// Does it have to be said how something is tried?
    asks_for_call: bool,
    errors: FieldErrors,
}

struct OperationRow {
    edit_url: String,
    id: String,
    key: String,
    name: String,
    summary: String,
    effect: &'static str,
    picked: bool,
    pickable: bool,
    state: &'static str,
    note: String,
    tool_url: String,
}

/// A secret that the picked operations can use.
struct SecretField {
    name: String,
    label: String,
    hint: String,
    error: String,
}

/// Where in the list somebody is.
struct View {
    filter: OperationFilter,
    q: String,
    page: u32,
}

impl View {
    fn read(fields: &Fields) -> Self {
        let filter = OperationFilter {
            tag: fields.get("tag").chars().take(60).collect(),
            shown: Shown::find(fields.get("show")).unwrap_or_default(),
        };
        Self { filter, q: fields.get("q").chars().take(100).collect(), page: fields.get("page").parse().unwrap_or(1) }
    }

    /// Its address, on that page.
    fn url(&self, path: &str, page: u32) -> String {
        let page = page.to_string();
        let fields = [("q", self.q.as_str()), ("tag", &self.filter.tag), ("show", self.filter.shown.as_str()), ("page", &page)];
        let usual = [("q", ""), ("tag", ""), ("show", "all"), ("page", "1")];
        urls::with_query(path, &fields.into_iter().filter(|field| !usual.contains(field)).collect::<Vec<_>>())
    }
}

async fn show(state: web::Data<WebState>, member: InTenant, id: Path<ApiId>, query: Query) -> Page {
    let listed = api::get(&state.platform, &member.actor, id.0).await?;
    render(&state, &member, StatusCode::OK, &listed, &View::read(&query), None, FieldErrors::default()).await
}

async fn change(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<ApiId>, form: Form<Fields>) -> Page {
    let (platform, actor, form) = (&state.platform, &member.actor, form.0);
    let listed = api::get(platform, actor, id.0).await?;
    let url = urls::api(member.slug(), id.0);
    let view = View::read(&form);
    let ids = |name| form.all(name).filter_map(|id| id.parse::<OperationId>().ok()).collect::<Vec<_>>();
    api::pick(platform, actor, id.0, &ids("shown"), &ids("pick")).await?;
    match form.get("then") {
        then @ ("all" | "none") => {
            api::pick_all(platform, actor, id.0, &view.filter, &view.q, then == "all").await?;
            Ok(see_other(&view.url(&url, view.page)))
        }
        "next" => Ok(see_other(&view.url(&url, view.page.saturating_add(1)))),
        "previous" => Ok(see_other(&view.url(&url, view.page.saturating_sub(1).max(1)))),
        "publish" => publish(&state, &member, &listed, &view, &form).await,
        // Another filter begins with its first page.
        _ => Ok(see_other(&view.url(&url, 1))),
    }
}

async fn publish(state: &WebState, member: &Allowed<ManageTools>, listed: &ListedApi, view: &View, form: &Fields) -> Page {
    let mut errors = FieldErrors::default();
    if let Some(prefix) = errors.take(api::parse_prefix(form.get("prefix")))? {
        let secret = |scheme: &Scheme| {
            let entered = form.exactly(&format!("secret_{}", scheme.name));
            (!entered.is_empty()).then(|| (scheme.name.clone(), Plaintext::new(entered.to_owned())))
        };
        let secrets: BTreeMap<String, Plaintext> = listed.api.schemes.iter().filter_map(secret).collect();
        let publication = Publication { server: form.get("server").to_owned(), prefix, secrets };
        let outcome = match trial(form, &mut errors) {
            Some(trial) => {
                publishing::publish_api(&state.platform, &member.actor, listed.api.id, publication, &trial).await.map(Some)
            }
            None => Ok(None),
        };
        match outcome {
            Err(error) if matches!(error.kind(), ErrorKind::Conflict(_) | ErrorKind::Exhausted { .. }) => {
                errors.add("form", error.to_string());
            }
            Ok(Some(ApiPublication::Stopped(report))) => errors.add("form", stopped(&report)),
            other => {
                if let Some(Some(ApiPublication::Live(published))) = errors.take(other)? {
                    let text = format!(
                        "Published: {} new, {} changed, {} disabled. Agents see it with their next request.",
                        tools(published.created),
                        published.changed,
                        published.disabled
                    );
                    member.visitor.leave_flash("success", text);
                    return Ok(see_other(&urls::api(member.slug(), listed.api.id)));
                }
            }
        }
    }
    let listed = api::get(&state.platform, &member.actor, listed.api.id).await?;
    render(state, member, StatusCode::UNPROCESSABLE_ENTITY, &listed, view, Some(form), errors).await
}

/// How one of the operations is tried, as the form says it; `None` if it cannot be read.
fn trial(form: &Fields, errors: &mut FieldErrors) -> Option<ApiTrial> {
    let arguments = match form.get("sample").trim() {
        "" => None,
        text => {
            let read = serde_json::from_str(text).ok();
            if read.is_none() {
                errors.add("sample", r#"expected a JSON object, such as {"city": "Lisbon"}"#);
                return None;
            }
            read
        }
    };
    let (called, untried) = (form.get("called").trim().to_owned(), form.get("untried_reason").trim().to_owned());
    Some(ApiTrial { called, arguments, untried })
}

/// What the gate says, in a sentence.
fn stopped(report: &Report) -> String {
    let failure = report.failure();
    let check = failure.map_or("a check", |failure| failure.check.label());
    let problem = failure.and_then(|failure| failure.problem.as_deref()).unwrap_or_default();
    let advice = failure.and_then(|failure| failure.advice).unwrap_or_default();
    let tool = report.tool.as_deref().unwrap_or("one of them");
    format!("Nothing was published: a real call of {tool} failed at “{check}”: {problem}. {advice}")
}

fn tools(count: usize) -> String {
    if count == 1 { "1 tool".to_owned() } else { format!("{count} tools") }
}

async fn remove(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<ApiId>) -> Page {
    api::remove(&state.platform, &member.actor, id.0).await?;
    member.visitor.leave_flash("success", "The API is removed. Its tools are disabled.");
    Ok(see_other(&urls::sources(member.slug())))
}

async fn render<N: Needs>(
    state: &WebState,
    member: &Allowed<N>,
    status: StatusCode,
    listed: &ListedApi,
    view: &View,
    sent: Option<&Fields>,
    errors: FieldErrors,
) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let (api, counts) = (&listed.api, listed.counts);
    let url = urls::api(slug, api.id);
    let found = api::search(platform, actor, api.id, &view.filter, &Search::new(&view.q, view.page).sized(ROWS)).await?;
    let tags = api::tags(platform, actor, api.id).await?;
    let mut listing = Listing::new(&found, &url, &view.q, &[("tag", &view.filter.tag), ("show", view.filter.shown.as_str())]);
    listing.is_long = listing.is_long || counts.all > i64::from(ROWS);
    let of = |field: &str, kept: &str| sent.map_or_else(|| kept.to_owned(), |sent| sent.get(field).to_owned());
    let page = ApiPage {
        layout: member.layout(api.name.to_string(), "sources"),
        base: urls::tenant(slug),
        can_manage: member.may(Permission::ManageTools),
        api_name: api.name.to_string(),
        lead: format!("{} {}", api.title, api.version),
        facts: facts(listed),
        credential_url: api.credential.map(|id| urls::credential(slug, id)).unwrap_or_default(),
        read: Moment::second(api.read_at),
        picked: format::count(counts.picked),
        has_tools: counts.tools > 0,
        changed: counts.changed,
        gone: counts.gone,
        waits_url: if listed.is_waiting { urls::api_change(slug, api.id) } else { String::new() },
        failing: api.failing.as_ref().map(|failing| (Moment::second(failing.since), failing.why.clone())),
        verified: api.verified_at.map(Moment::second),
        objection: objection(platform, listed),
        shows: shows(listed, view, &url),
        show: view.filter.shown.as_str(),
        tags: tag_choices(tags, &view.filter.tag),
        page: found.page,
        has_next: found.has_next(),
        rows: found.items.into_iter().map(|one| row(slug, api.id, one)).collect(),
        listing,
        server: of("server", if api.server.is_empty() { api.servers.first().map_or("", String::as_str) } else { &api.server }),
        servers: if api.servers.len() > 1 { api.servers.clone() } else { Vec::new() },
        names_begin: of("prefix", &api.prefix),
        secrets: secrets(listed, &errors),
        called: of("called", ""),
        sample: of("sample", ""),
        untried_reason: of("untried_reason", ""),
        asks_for_call: sent.is_some(),
        accounts_url: if api.schemes.iter().any(|scheme| scheme.kind == SchemeKind::Person) {
            urls::source_new_api(slug)
        } else {
            String::new()
        },
        url,
        errors,
    };
    page_with(status, &page)
}

/// What the operator's manifest has against the pinned document.
fn objection(platform: &Platform, listed: &ListedApi) -> String {
    let (manifest, api) = (&platform.settings.supply.manifest, &listed.api);
    api.link.as_ref().and_then(|link| manifest.objection(link, Pin(api.sha256))).unwrap_or_default()
}

fn facts(listed: &ListedApi) -> Vec<(&'static str, String)> {
    let api = &listed.api;
    let digest = Pin(api.sha256);
    vec![
        ("Document", api.link.as_ref().map_or_else(|| "uploaded".to_owned(), ToString::to_string)),
        ("Pinned", format!("SHA-256 {digest}, {} bytes", format::count(i64::try_from(api.bytes).unwrap_or(i64::MAX)))),
    ]
}

fn shows(listed: &ListedApi, view: &View, url: &str) -> Vec<Tab> {
    let counts = listed.counts;
    let tab = |shown: Shown| {
        let label = match shown {
            Shown::All => format!("All {}", format::count(counts.all)),
            Shown::Picked => format!("Picked {}", format::count(counts.picked)),
            Shown::Read => "Read-only".to_owned(),
            Shown::Changed => format!("Changed {}", format::count(counts.changed + counts.gone)),
            Shown::Refused => format!("Refused {}", format::count(counts.refused)),
        };
        let at = View { filter: OperationFilter { shown, tag: view.filter.tag.clone() }, q: view.q.clone(), page: 1 };
        Tab { url: at.url(url, 1), label, current: shown == view.filter.shown }
    };
    Shown::ALL.into_iter().map(tab).collect()
}

fn tag_choices(tags: Vec<api::Tag>, chosen: &str) -> Vec<Choice> {
    let all = Choice { label: "All tags".to_owned(), chosen: chosen.is_empty(), ..Choice::default() };
    let one = |tag: api::Tag| Choice {
        label: format!("{} ({})", tag.name, format::count(tag.count)),
        chosen: tag.name == chosen,
        value: tag.name,
        ..Choice::default()
    };
    std::iter::once(all).chain(tags.into_iter().map(one)).collect()
}

fn row(slug: &str, api: ApiId, one: ListedOperation) -> OperationRow {
    let state = match (one.is_gone, one.is_changed, one.tool) {
        (true, ..) => "removed",
        (false, true, _) => "changed",
        (false, false, Some(_)) => "published",
        (false, false, None) if !one.refused.is_empty() => "blocked",
        (false, false, None) if one.is_deprecated => "deprecated",
        (false, false, None) => "",
    };
    let note = if one.refused.is_empty() { one.notes.replace('\n', " ") } else { one.refused.clone() };
    OperationRow {
        id: one.id.to_string(),
        key: one.key,
        name: one.name,
        summary: one.summary,
        effect: if one.refused.is_empty() { one.effect.as_str() } else { "" },
        picked: one.is_picked,
        pickable: one.refused.is_empty() && !one.is_gone,
        state,
        note,
        edit_url: urls::api_operation(slug, api, one.id),
        tool_url: one.tool.map(|tool| urls::tool(slug, tool)).unwrap_or_default(),
    }
}

fn secrets(listed: &ListedApi, errors: &FieldErrors) -> Vec<SecretField> {
    let usable = listed.api.schemes.iter().filter(|scheme| scheme.carrier.is_some());
    let field = |scheme: &Scheme| {
        let kind = match scheme.kind {
            SchemeKind::Key | SchemeKind::Other => "API key",
            SchemeKind::Basic => "User and password, as user:password",
            SchemeKind::Bearer => "Bearer token",
            SchemeKind::ClientCredentials if listed.api.token_url(&scheme.name).is_some() => "Client, as client_id:client_secret",
            SchemeKind::ClientCredentials | SchemeKind::Person => "Access token",
        };
        let kept = if listed.api.credential.is_some() { " Leave empty to keep what is there." } else { "" };
        let said = if scheme.description.is_empty() { String::new() } else { format!("{} ", scheme.description) };
        SecretField {
            name: format!("secret_{}", scheme.name),
            label: format!("{}: {kind}", scheme.name),
            hint: match listed.api.token_url(&scheme.name) {
                Some(url) => format!("{said}Sealed, sent to {url} only, which gives tokens for it, and never shown again.{kept}"),
                None => format!("{said}Sealed, sent to this server only, and never shown again.{kept}"),
            },
            error: errors.of(&format!("secret_{}", scheme.name)).to_owned(),
        }
    };
    usable.take(8).map(field).collect()
}
