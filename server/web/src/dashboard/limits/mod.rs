//! Limits: how full they are, who was over them, who is held back for it, and what the organisation allows itself.

mod fill;
mod own;
pub(super) mod what_if;

use actix_web::{http::StatusCode, web};
use askama::Template;
use trunkline_platform::{
    actor::Permission,
    agents::{self, Agent, AgentState},
    catalog,
    quota::{
        self,
        breakers::{Protected, Standing},
    },
    usage::{self, LimitedAgent},
};

use super::{Page, components::Moment, format, home::DEGRADED, layout::Layout, page_with};
use crate::{
    Access, Route, WebState,
    error::HtmlError,
    extract::{Allowed, InTenant},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/t/{tenant}/limits", Access::Member(Permission::View), show),
        Route::post("/t/{tenant}/limits", Access::Member(Permission::ManageTenant), own::change),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/limits.html")]
struct LimitsPage {
    layout: Layout,
    can_manage_agents: bool,
    /// Says that Redis is away; empty if it is not.
    degraded: &'static str,
    fills: Vec<fill::FillRow>,
    more_fills: String,
    limited: Vec<LimitedRow>,
    held_back: Vec<HeldBackRow>,
    breakers: Vec<BreakerRow>,
    own: own::OwnLimits,
}

struct LimitedRow {
    url: String,
    name: String,
    logs_url: String,
    limited: String,
    calls: String,
    share: f64,
    share_words: String,
}

struct HeldBackRow {
    url: String,
    name: String,
    state: &'static str,
    reason: &'static str,
    until: Option<Moment>,
    resume_url: String,
}

struct BreakerRow {
    url: String,
    name: String,
    state: String,
}

async fn show(state: web::Data<WebState>, member: InTenant) -> Page {
    let limits = quota::tenant_limits(&state.platform, &member.actor).await?;
    let own = own::OwnLimits::of(&member, &limits);
    render(&state, &member, StatusCode::OK, own).await
}

async fn render<P>(state: &WebState, member: &Allowed<P>, status: StatusCode, own: own::OwnLimits) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let filled = quota::fill::fill(platform, actor).await?;
    let degraded = if filled.is_none() { DEGRADED } else { "" };
    let (fills, more_fills) = fill::rows(slug, filled.unwrap_or_default());
    let limited = usage::most_limited(platform, actor).await?;
    let held_back = agents::held_back(platform, actor).await?;
    let page = LimitsPage {
        layout: member.layout("Limits", "limits"),
        can_manage_agents: member.may(Permission::ManageAgents),
        degraded,
        fills,
        more_fills,
        limited: limited.into_iter().map(|one| limited_row(slug, one)).collect(),
        held_back: held_back.iter().map(|agent| held_back_row(slug, agent)).collect(),
        breakers: breakers(state, member).await?,
        own,
    };
    page_with(status, &page)
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^52")]
fn limited_row(slug: &str, one: LimitedAgent) -> LimitedRow {
    let share = one.limited as f64 / one.calls.max(1) as f64;
    LimitedRow {
        url: urls::agent(slug, one.agent_id),
        logs_url: urls::with_query(&urls::logs(slug), &[("agent", &one.name), ("outcome", "limited")]),
        name: one.name,
        limited: format::count(one.limited),
        calls: format::count(one.calls),
        share: share * 100.0,
        share_words: format!("{}\u{a0}%", format::percent(share)),
    }
}

fn held_back_row(slug: &str, agent: &Agent) -> HeldBackRow {
    let is_suspended = agent.state == AgentState::Suspended;
    HeldBackRow {
        url: urls::agent(slug, agent.id),
        name: agent.name.to_string(),
        state: if is_suspended { "suspended" } else { "throttled" },
        reason: match (is_suspended, agent.was_refused) {
            (true, true) => "It was throttled too often within a day.",
            (true, false) => "A member suspended it.",
            (false, _) => "It was refused too often within a minute, and has a tenth of its rates.",
        },
        until: agent.throttled_until.filter(|_| !is_suspended).map(Moment::second),
        resume_url: urls::agent_resume(slug, agent.id),
    }
}

async fn breakers<P>(state: &WebState, member: &Allowed<P>) -> Result<Vec<BreakerRow>, HtmlError> {
    let mut rows = Vec::new();
    for (what, standing) in state.platform.breakers.open_of(member.actor.tenant) {
        let (name, url) = match what {
            Protected::Origin(origin) => (origin, String::new()),
            Protected::Source(id) => {
                let listed = catalog::source::get(&state.platform, &member.actor, id).await?;
                (listed.source.name.to_string(), urls::source(member.slug(), id))
            }
        };
        rows.push(BreakerRow { url, name, state: standing_words(standing) });
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(rows)
}

/// How a breaker stands, in a sentence.
pub(super) fn standing_words(standing: Standing) -> String {
    match standing {
        Standing::Closed => "Calls pass.".to_owned(),
        Standing::Open { retry_after_ms } => format!("Left alone for {}\u{a0}s more.", retry_after_ms.div_ceil(1000)),
        Standing::HalfOpen => "The next call tries whether it is well again.".to_owned(),
    }
}
