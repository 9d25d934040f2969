//! A document that is not the pinned one: what it would change, and the decision. The form carries the digest that was shown, and nothing else is approved.

use actix_web::{http::StatusCode, web};
use askama::Template;
use trunkline_platform::{
    Error, ErrorKind, Result,
    actor::Permission,
    catalog::api::{
        self, ListedApi, Pin,
        supply::{self, Change, Item},
    },
    ids::ApiId,
};

use crate::{
    Access, Route, WebState,
    dashboard::{
        Page,
        components::Moment,
        format,
        layout::Layout,
        page_with, see_other,
        sources::diff::{self, Piece},
    },
    extract::{Allowed, Fields, Form, InTenant, ManageTools, Needs, Path},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageTools);
    vec![
        Route::get("/t/{tenant}/apis/{api}/change", Access::Member(Permission::View), show),
        Route::post("/t/{tenant}/apis/{api}/change/dismiss", manage, dismiss),
        Route::post("/t/{tenant}/apis/{api}/change/approve", manage, approve),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/api_change.html")]
struct ChangePage {
    layout: Layout,
    can_manage: bool,
    url: String,
    api_url: String,
    api_name: String,
    /// Why nothing was decided; empty: nothing was asked.
    problem: String,
    waits: Option<Waiting>,
}

/// The document that waits.
struct Waiting {
    pin: String,
    pinned: String,
    link: String,
    is_brought: bool,
    title: String,
    size: String,
    old_title: String,
    old_size: String,
    old_link: String,
    pinned_at: Moment,
    found: Moment,
    seen: Moment,
    /// What the operator's manifest has against it; empty: nothing.
    objection: String,
    is_wording: bool,
    servers: Option<(Vec<String>, Vec<String>)>,
    schemes: Vec<String>,
    parts: Vec<PartView>,
}

/// Operations of one fate.
struct PartView {
    title: &'static str,
    lead: &'static str,
    count: String,
    left_out: usize,
    items: Vec<ItemView>,
}

struct ItemView {
    key: String,
    is_tool: bool,
    what: String,
    description: Vec<Piece>,
}

async fn show(state: web::Data<WebState>, member: InTenant, id: Path<ApiId>) -> Page {
    render(&state, &member, StatusCode::OK, id.0, String::new()).await
}

async fn approve(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<ApiId>, form: Form<Fields>) -> Page {
    let tally = supply::approve(&state.platform, &member.actor, id.0, form.0.get("digest")).await;
    match refused(tally)? {
        Ok(tally) => {
            let text = format!(
                "Approved and pinned: {} new, {} changed, {} removed. Your tools stay as they are until you publish.",
                tally.added, tally.changed, tally.removed
            );
            member.visitor.leave_flash("success", text);
            Ok(see_other(&urls::api(member.slug(), id.0)))
        }
        Err(problem) => render(&state, &member, StatusCode::CONFLICT, id.0, problem).await,
    }
}

async fn dismiss(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<ApiId>, form: Form<Fields>) -> Page {
    let done = supply::dismiss(&state.platform, &member.actor, id.0, form.0.get("digest")).await;
    match refused(done)? {
        Ok(()) => {
            member.visitor.leave_flash("success", "The pinned document is kept. You are not told of this one again.");
            Ok(see_other(&urls::api(member.slug(), id.0)))
        }
        Err(problem) => render(&state, &member, StatusCode::CONFLICT, id.0, problem).await,
    }
}

/// What does not fit any more is said on the page; what is wrong otherwise is an error.
fn refused<T>(outcome: Result<T>) -> Result<std::result::Result<T, String>> {
    match outcome {
        Ok(done) => Ok(Ok(done)),
        Err(error) if matches!(error.kind(), ErrorKind::Conflict(_)) => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}

async fn render<N: Needs>(state: &WebState, member: &Allowed<N>, status: StatusCode, id: ApiId, problem: String) -> Page {
    let listed = api::get(&state.platform, &member.actor, id).await?;
    let change = supply::change(&state.platform, &member.actor, id).await?;
    let page = ChangePage {
        layout: member.layout(format!("{}: its description", listed.api.name), "sources"),
        can_manage: member.may(Permission::ManageTools),
        url: urls::api_change(member.slug(), id),
        api_url: urls::api(member.slug(), id),
        api_name: listed.api.name.to_string(),
        problem,
        waits: change.map(|change| waiting(state, &listed, change)).transpose()?,
    };
    page_with(status, &page)
}

fn waiting(state: &WebState, listed: &ListedApi, change: Change) -> Result<Waiting> {
    let api = &listed.api;
    let stands_for = change.link.as_ref().or(api.link.as_ref());
    let objection = stands_for.and_then(|link| state.platform.settings.supply.manifest.objection(link, change.pin));
    let size =
        |bytes: usize| i64::try_from(bytes).map(|bytes| format!("{} bytes", format::count(bytes))).map_err(Error::internal);
    let is_wording = change.review.is_empty();
    let review = change.review;
    let part = |title, lead, part: supply::Part| PartView {
        title,
        lead,
        left_out: part.count - part.items.len(),
        count: part.count.to_string(),
        items: part.items.into_iter().map(item).collect(),
    };
    let parts = [
        part("Described otherwise", "Tools are as they were published until you publish again.", review.changed),
        part("Gone", "Tools of these go on until you publish; then they are disabled.", review.removed),
        part("New", "None of them is picked.", review.added),
    ];
    Ok(Waiting {
        pin: change.pin.to_string(),
        pinned: Pin(api.sha256).to_string(),
        link: change.link.map(|link| link.to_string()).unwrap_or_default(),
        is_brought: change.is_brought,
        title: format!("{} {}", change.title, change.version),
        size: size(change.bytes)?,
        old_title: format!("{} {}", api.title, api.version),
        old_size: size(api.bytes)?,
        old_link: api.link.as_ref().map(ToString::to_string).unwrap_or_default(),
        pinned_at: Moment::second(api.verified_at.unwrap_or(api.read_at)),
        found: Moment::second(change.found_at),
        seen: Moment::second(change.seen_at),
        objection: objection.unwrap_or_default(),
        is_wording,
        servers: review.servers,
        schemes: review.schemes,
        parts: parts.into_iter().filter(|part| !part.items.is_empty()).collect(),
    })
}

fn item(item: Item) -> ItemView {
    ItemView {
        key: item.key,
        is_tool: item.is_tool,
        what: item.what.join(", "),
        description: item.description.map(|(old, new)| diff::words(&old, &new)).unwrap_or_default(),
    }
}
