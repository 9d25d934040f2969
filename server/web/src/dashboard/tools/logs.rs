//! What a function logged while agents called it: for whoever may change its code.

use actix_web::web;
use askama::Template;
use trunkline_platform::{
    actor::Permission,
    catalog::{self, Executor},
    execution::logs::{self, CallLog},
    functions::Line,
    ids::ToolId,
};

use crate::{
    Access, Route, WebState,
    dashboard::{Page, components::Moment, keys::page_number, layout::Layout, page},
    extract::{Allowed, ManageTools, Path, Query},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![Route::get("/t/{tenant}/tools/{tool}/logs", Access::Member(Permission::ManageTools), show)]
}

/// Calls on one page.
const CALLS: i64 = 10;

#[derive(Template)]
#[template(path = "dashboard/tool_logs.html")]
struct LogsPage {
    layout: Layout,
    back_url: String,
    back_label: String,
    edit_url: String,
    /// Does the version that agents get keep what it logs?
    is_kept: bool,
    calls: Vec<CallLines>,
    newer: Option<String>,
    older: Option<String>,
}

struct CallLines {
    url: String,
    id: String,
    at: Moment,
    lines: Vec<LogLine>,
    /// Says that lines are missing; empty if none is.
    left_out: String,
}

/// A line of `console`, as pages show it.
pub(super) struct LogLine {
    pub(super) at: String,
    pub(super) level: &'static str,
    pub(super) text: String,
}

impl LogLine {
    pub(super) fn of(line: &Line) -> Self {
        Self {
            at: format!("{} ms", line.at_ms),
            level: match line.level.as_str() {
                "warn" => "warn",
                "error" => "error",
                "info" => "info",
                "debug" => "debug",
                _ => "log",
            },
            text: line.text.clone(),
        }
    }
}

async fn show(state: web::Data<WebState>, member: Allowed<ManageTools>, tool: Path<ToolId>, query: Query) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let tool = catalog::get(platform, actor, tool.0).await?;
    let number = page_number(&query).clamp(1, 1_000);
    let skip = i64::from(number - 1) * CALLS;
    let (calls, has_more) = logs::recent(platform, actor, tool.id, skip, CALLS).await?;
    let url = urls::tool_logs(slug, tool.id);
    let at = |number: u32| urls::with_query(&url, &[("page", &number.to_string())]);
    page(&LogsPage {
        layout: member.layout(format!("Logs of {}", tool.name), "tools"),
        back_url: urls::tool(slug, tool.id),
        back_label: tool.name.to_string(),
        edit_url: urls::tool_edit(slug, tool.id),
        is_kept: matches!(&tool.version.executor, Executor::Function(function) if function.keep_logs),
        calls: calls.iter().map(|call| lines_of(slug, call)).collect(),
        newer: (number > 1).then(|| at(number - 1)),
        older: has_more.then(|| at(number + 1)),
    })
}

fn lines_of(slug: &str, call: &CallLog) -> CallLines {
    let left_out = match call.left_out {
        0 => String::new(),
        1 => "1 line before these was not kept.".to_owned(),
        more => format!("{more} lines before these were not kept."),
    };
    CallLines {
        url: urls::call(slug, call.call),
        id: call.call.to_string(),
        at: Moment::second(call.at),
        lines: call.lines.iter().map(LogLine::of).collect(),
        left_out,
    }
}
