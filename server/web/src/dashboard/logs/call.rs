//! One call: what it was, where its time went, and what was asked of others for it.

use actix_web::web;
use askama::Template;
use trunkline_platform::{
    call::Outcome,
    ids::EntryId,
    usage::{self, Call},
};

use super::explain::explain;
use crate::{
    WebState,
    dashboard::{
        Page,
        components::{Moment, Part, Stat},
        context,
        downstream::{self, RequestRow},
        format,
        layout::Layout,
        page,
    },
    extract::{InTenant, Path},
    urls,
};

#[derive(Template)]
#[template(path = "dashboard/call.html")]
struct CallDetailPage {
    layout: Layout,
    base: String,
    call: CallDetail,
    stats: Vec<Stat>,
    requests: Vec<RequestRow>,
    more_requests: String,
}

struct CallDetail {
    id: String,
    at: Moment,
    outcome: &'static str,
    tone: &'static str,
    error: String,
    explanation: &'static str,
    agent: String,
    agent_url: String,
    key: String,
    tool: String,
    tool_url: String,
    version: String,
    client: String,
    decided: &'static str,
    revision: String,
    request_id: String,
    tokens_definition: String,
    tokens_out: String,
    tokens_note: &'static str,
    network: String,
    region: String,
    arguments_digest: String,
    definition_digest: String,
    upstream_status: String,
    parts: Vec<Part>,
}

pub(super) async fn show(state: web::Data<WebState>, member: InTenant, call: Path<EntryId>) -> Page {
    let call = usage::call(&state.platform, &member.actor, call.0).await?;
    let (slug, currency) = (member.slug(), &member.tenant.currency);
    let size = |label, bytes: i64| {
        let (value, unit) = format::size(bytes);
        Stat { unit, ..Stat::new(label, value) }
    };
    let stats = vec![
        Stat::new("Latency", format::micros(call.latency_us)),
        Stat::new("Cost", format::price(call.cost_micro, currency)),
        context::of_call(&call, currency),
        size("In", call.bytes_in),
        size("Out", call.bytes_out),
    ];
    let (requests, more_requests) = downstream::rows(&call);
    page(&CallDetailPage {
        layout: member.layout(format!("Call of {}", call.tool_name), "logs"),
        base: urls::tenant(slug),
        call: detail(slug, call),
        stats,
        requests,
        more_requests,
    })
}

fn detail(slug: &str, call: Call) -> CallDetail {
    let outcome = Outcome::find(&call.outcome).unwrap_or(Outcome::Unknown);
    let error = call.error.clone().unwrap_or_default();
    CallDetail {
        id: call.id.to_string(),
        at: Moment::second(call.at),
        outcome: outcome.as_str(),
        tone: if outcome.is_error() { "error" } else { "warning" },
        explanation: explain(&error),
        parts: parts(&call),
        agent: call.agent_name.unwrap_or_else(|| call.agent_id.to_string()),
        agent_url: urls::agent(slug, call.agent_id),
        key: call.key_name.or(call.key_id.map(|id| id.to_string())).unwrap_or_else(|| "–".to_owned()),
        tool_url: call.tool_id.map(|id| urls::tool(slug, id)).unwrap_or_default(),
        tool: call.tool_name,
        version: call.tool_version.map_or_else(|| "–".to_owned(), |number| format!("v{number}")),
        client: if call.client_name.is_empty() { "not told".to_owned() } else { call.client_name },
        decided: if call.degraded { "without Redis, on this server’s share" } else { "with Redis" },
        revision: call.revision,
        request_id: call.request_id,
        network: call.network.unwrap_or_else(|| "–".to_owned()),
        region: call.region.unwrap_or_default(),
        arguments_digest: call.arguments_digest.unwrap_or_default(),
        definition_digest: call.definition_digest.unwrap_or_default(),
        upstream_status: call.upstream_status.map(|class| format!("{class}xx")).unwrap_or_default(),
        tokens_definition: context::of_part(call.tokens_definition),
        tokens_out: context::of_part(call.tokens_out),
        tokens_note: if call.tokens_estimated == Some(true) { "estimated" } else { "" },
        error,
    }
}

/// Where the time went. What is none of the known steps is the rest.
#[expect(clippy::cast_precision_loss, reason = "microseconds of one call")]
fn parts(call: &Call) -> Vec<Part> {
    let rest = call.latency_us - call.auth_us - call.admission_us - call.upstream_us;
    let steps = [
        ("auth", "Authentication", call.auth_us),
        ("admission", "Admission", call.admission_us),
        ("upstream", "Tool", call.upstream_us),
        ("rest", "Everything else", rest.max(0)),
    ];
    let whole = steps.iter().map(|(.., us)| *us).sum::<i64>().max(1) as f64;
    let mut offset = 0.0;
    let mut part = |(name, label, us): (&'static str, &'static str, i64)| {
        let percent = us as f64 / whole * 100.0;
        let part = Part { name, label, text: format::micros(us), offset, percent };
        offset += percent;
        part
    };
    steps.map(&mut part).into()
}
