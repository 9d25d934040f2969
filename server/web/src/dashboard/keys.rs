//! Keys: the list of all, and what is done with one. A key's text is on the page that answers the form, and nowhere else.

use actix_web::{
    http::header::{CACHE_CONTROL, HeaderValue},
    web,
};
use askama::Template;
use chrono::{DateTime, TimeDelta, Utc};
use trunkline_platform::{
    Error,
    actor::Permission,
    agents::{self, Agent, CreatedKey, Key, KeyFilter, KeyState, ListedKey},
    db::page::Search,
    ids::KeyId,
};

use super::{
    Page,
    components::{Choice, Listing, Moment, Stat, Tab},
    connect::{self, Example},
    format,
    layout::Layout,
    page, see_other,
};
use crate::{
    Access, Route, WebState,
    extract::{Allowed, Fields, Form, InTenant, ManageKeys, Path, Query},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageKeys);
    vec![
        Route::get("/t/{tenant}/keys", Access::Member(Permission::View), list),
        Route::post("/t/{tenant}/keys/{key}/roll", manage, roll),
        Route::post("/t/{tenant}/keys/{key}/revoke", manage, revoke),
    ]
}

/// A key that ends within this time is shown as expiring.
const ENDING: TimeDelta = TimeDelta::days(14);

/// Keys on one page: each brings two dialogs along.
const PAGE: u32 = 25;

/// For how long the old key goes on: what the form sends, in words, in hours.
const OVERLAPS: [(&str, &str, i64); 4] =
    [("none", "no time: it stops now", 0), ("1h", "1 hour", 1), ("1d", "1 day", 24), ("7d", "7 days", 7 * 24)];

/// A key in a list.
pub(super) struct KeyRow {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) prefix: String,
    pub(super) agent: String,
    pub(super) agent_url: String,
    pub(super) state: &'static str,
    pub(super) live: bool,
    pub(super) scopes: String,
    pub(super) expires: Moment,
    pub(super) last_used: String,
    pub(super) created: Moment,
    pub(super) roll_url: String,
    pub(super) revoke_url: String,
}

#[derive(Template)]
#[template(path = "dashboard/keys.html")]
struct KeysPage {
    layout: Layout,
    base: String,
    can_manage: bool,
    filters: Vec<Tab>,
    listing: Listing,
    url: String,
    show: &'static str,
    stats: Vec<Stat>,
    all_keys: Vec<KeyRow>,
    overlaps: Vec<Choice>,
}

#[derive(Template)]
#[template(path = "dashboard/key_created.html")]
struct KeyCreatedPage {
    layout: Layout,
    base: String,
    agent: String,
    agent_url: String,
    key_name: String,
    secret: String,
    scopes: String,
    expires: Moment,
    old_until: Option<Moment>,
    mcp_url: String,
    server_name: String,
    example: Example,
}

async fn list(state: web::Data<WebState>, member: InTenant, query: Query) -> Page {
    let (platform, slug) = (&state.platform, member.slug());
    let show = match query.get("show") {
        "" | "live" => "live",
        "all" => "all",
        _ => return Err(Error::invalid("show", "expected live or all").into()),
    };
    let q = query.get("q");
    let filter = KeyFilter { agent: None, live: show == "live" };
    let found = agents::search_keys(platform, &member.actor, filter, &Search::new(q, page_number(&query)).sized(PAGE)).await?;
    let counts = agents::count_keys(platform, &member.actor).await?;
    let url = urls::keys(slug);
    let tab = |value: &str, label: &str| Tab {
        url: urls::with_query(&url, &[("show", value), ("q", q)]),
        label: label.to_owned(),
        current: value == show,
    };
    let hint = |number: i64, text: &str| if number == 0 { String::new() } else { text.to_owned() };
    let stats = vec![
        Stat::new("Live", format::count(counts.live)),
        Stat { hint: hint(counts.ending, "roll them"), ..Stat::new("Expire within 14 days", format::count(counts.ending)) },
        Stat {
            hint: hint(counts.unused, "probably safe to revoke"),
            ..Stat::new("Unused for 90 days", format::count(counts.unused))
        },
    ];
    page(&KeysPage {
        layout: member.layout("Keys", "keys"),
        base: urls::tenant(slug),
        can_manage: member.may(Permission::ManageKeys),
        filters: vec![tab("live", "Live"), tab("all", "All")],
        listing: Listing::new(&found, &url, q, &[("show", show)]),
        show,
        stats,
        all_keys: found.items.into_iter().map(|key| key_row(slug, platform.clock.now(), key)).collect(),
        overlaps: overlaps(),
        url,
    })
}

async fn roll(state: web::Data<WebState>, member: Allowed<ManageKeys>, key: Path<KeyId>, form: Form<Fields>) -> Page {
    let chosen = form.0.get("overlap");
    let overlap = OVERLAPS.iter().find(|(value, ..)| *value == chosen);
    let (.., hours) = overlap.ok_or_else(|| Error::invalid("overlap", "expected none, 1h, 1d or 7d"))?;
    let created = agents::roll_key(&state.platform, &member.actor, key.0, TimeDelta::hours(*hours)).await?;
    let agent = agents::get(&state.platform, &member.actor, created.key.agent_id).await?;
    let old_until = (*hours > 0).then(|| created.key.created_at + TimeDelta::hours(*hours));
    show_created(&state, &member, &agent, &created, old_until).await
}

async fn revoke(state: web::Data<WebState>, member: Allowed<ManageKeys>, key: Path<KeyId>, form: Form<Fields>) -> Page {
    let agent = agents::revoke_key(&state.platform, &member.actor, key.0).await?;
    member.visitor.leave_flash("success", "The key is revoked: it is refused from the next request on.");
    let slug = member.slug();
    Ok(see_other(&if form.0.get("from") == "keys" { urls::keys(slug) } else { urls::agent(slug, agent) }))
}

/// The page with a new key's text. No cache may keep it.
pub(super) async fn show_created(
    state: &WebState,
    member: &Allowed<ManageKeys>,
    agent: &Agent,
    created: &CreatedKey,
    old_until: Option<DateTime<Utc>>,
) -> Page {
    let (slug, key) = (member.slug(), &created.key);
    let mut response = page(&KeyCreatedPage {
        layout: member.layout("Your new key", "keys"),
        base: urls::tenant(slug),
        agent: agent.name.to_string(),
        agent_url: urls::agent(slug, agent.id),
        key_name: key.name.clone(),
        secret: created.text.reveal().to_owned(),
        scopes: key.scopes.to_string(),
        expires: Moment::second(key.expires_at),
        old_until: old_until.map(Moment::second),
        mcp_url: connect::mcp_url(state, slug),
        server_name: slug.to_owned(),
        example: Example::find(&state.platform, slug, Some(&key.scopes)).await?,
    })?;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The page of a long list that a query asks for; the first one for what is no number.
pub(super) fn page_number(query: &Fields) -> u32 {
    query.get("page").parse().unwrap_or(1)
}

pub(super) fn overlaps() -> Vec<Choice> {
    let choice = |(value, label, _): (&str, &str, i64)| Choice {
        value: value.to_owned(),
        label: label.to_owned(),
        hint: String::new(),
        chosen: value == "1d",
    };
    OVERLAPS.into_iter().map(choice).collect()
}

pub(super) fn key_row(slug: &str, now: DateTime<Utc>, listed: ListedKey) -> KeyRow {
    let ListedKey { key, agent_name } = listed;
    let state = key.state(now);
    KeyRow {
        id: key.id.to_string(),
        prefix: key.masked().trim_end_matches('…').to_owned(),
        agent: agent_name,
        agent_url: urls::agent(slug, key.agent_id),
        state: state_word(&key, state, now),
        live: state == KeyState::Active,
        scopes: key.scopes.to_string(),
        expires: Moment::second(key.expires_at),
        last_used: key.last_used_on.map(|day| day.format("%-d %b %Y").to_string()).unwrap_or_default(),
        created: Moment::second(key.created_at),
        roll_url: urls::key_roll(slug, key.id),
        revoke_url: urls::key_revoke(slug, key.id),
        name: key.name,
    }
}

fn state_word(key: &Key, state: KeyState, now: DateTime<Utc>) -> &'static str {
    match state {
        KeyState::Active if key.expires_at - now < ENDING => "expiring",
        KeyState::Active => "active",
        KeyState::Expired => "expired",
        KeyState::Revoked => "revoked",
    }
}
