//! One call: what it was, where its time went, and what was asked of others for it.

use actix_web::web;
use askama::Template;
use trunkline_platform::{
    call::Outcome,
    ids::EntryId,
    usage::{self, Call},
};

use super::{
    again,
    explain::explain,
    waterfall::{self, WaterRow},
};
use crate::{
    WebState,
    dashboard::{
        Page,
        components::{Moment, Stat},
        context, format,
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
    steps: Vec<WaterRow>,
    more_requests: String,
    /// The same call from a terminal; empty if its tool is gone.
    curl: String,
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
    version_url: String,
    client: String,
    client_url: String,
    says: String,
    user: String,
    user_url: String,
    decided: &'static str,
    revision: String,
    request_id: String,
    jsonrpc_id: String,
    trace_id: String,
    run_url: String,
    tokens_definition: String,
    tokens_out: String,
    tokens_note: &'static str,
    network: String,
    region: String,
    arguments_digest: String,
    definition_digest: String,
    upstream_status: String,
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
    let (steps, more_requests) = waterfall::rows(&call);
    let curl = again::curl(&state, &member.actor, slug, &call).await?;
    page(&CallDetailPage {
        layout: member.layout(format!("Call of {}", call.tool_name), "logs"),
        base: urls::tenant(slug),
        call: detail(slug, call),
        stats,
        steps,
        more_requests,
        curl,
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
        version_url: linked(slug, "version", call.version_id),
        client_url: linked(slug, "client", call.client_id),
        user_url: linked(slug, "user", call.user_id),
        agent: call.agent_name.unwrap_or_else(|| call.agent_id.to_string()),
        agent_url: urls::agent(slug, call.agent_id),
        key: call.key_name.or(call.key_id.map(|id| id.to_string())).unwrap_or_else(|| "–".to_owned()),
        tool_url: call.tool_id.map(|id| urls::tool(slug, id)).unwrap_or_default(),
        tool: call.tool_name,
        version: call.tool_version.map_or_else(|| "–".to_owned(), |number| format!("v{number}")),
        client: call.client.or(call.client_id.map(|id| id.to_string())).unwrap_or_else(|| "none (key or certificate)".to_owned()),
        says: if call.client_name.is_empty() { "not told".to_owned() } else { call.client_name },
        user: call.user_email.or(call.user_id.map(|id| id.to_string())).unwrap_or_else(|| "nobody (a service)".to_owned()),
        decided: if call.degraded { "without Redis, on this server’s share" } else { "with Redis" },
        revision: call.revision,
        request_id: call.request_id,
        jsonrpc_id: call.jsonrpc_id.unwrap_or_default(),
        run_url: linked(slug, "run", call.trace_id.as_ref()),
        trace_id: call.trace_id.unwrap_or_default(),
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

/// The calls of one version, client or person.
fn linked(slug: &str, field: &str, id: Option<impl ToString>) -> String {
    id.map(|id| urls::with_query(&urls::logs(slug), &[(field, &id.to_string())])).unwrap_or_default()
}
