//! What was changed in the time of a chart, in words, and where that is shown.

use trunkline_platform::{
    actor::Permission,
    ids::{AgentId, ToolId},
    usage::{MOST_MARKERS, Marker, Markers},
};

use crate::{
    dashboard::{components::Moment, format},
    extract::InTenant,
    urls,
};

/// A line on the charts, and an entry of the list that says the same.
pub(super) struct Mark {
    pub(super) t: i64,
    pub(super) at: Moment,
    /// `publish` or `limit`: how its line is drawn.
    pub(super) kind: &'static str,
    pub(super) text: String,
    pub(super) url: String,
}

/// Newest first.
pub(super) fn marks(member: &InTenant, markers: &Markers) -> Vec<Mark> {
    markers.rows.iter().map(|marker| mark(member, marker)).collect()
}

/// What the list says above its entries.
pub(super) fn lead(markers: &Markers) -> String {
    let count = markers.rows.len();
    match (count, markers.is_cut) {
        (1, _) => "1 change: publishes and limits".to_owned(),
        (_, false) => format!("{count} changes: publishes and limits"),
        (_, true) => format!("The newest {MOST_MARKERS} changes: publishes and limits. Choose a shorter range for older ones."),
    }
}

fn mark(member: &InTenant, marker: &Marker) -> Mark {
    let is_publish = matches!(marker.action.as_str(), "tool.published" | "tool.rolled_back");
    Mark {
        t: marker.at.timestamp(),
        at: Moment::minute(marker.at),
        kind: if is_publish { "publish" } else { "limit" },
        text: text(marker),
        url: url(member, marker),
    }
}

fn text(marker: &Marker) -> String {
    let version = marker.version.map(|number| format!(" v{number}")).unwrap_or_default();
    let what = match (marker.count, &marker.name) {
        (1, Some(name)) => format!("{name}{version}"),
        (1, None) if marker.subject.starts_with("ten_") => "The organisation".to_owned(),
        (1, None) => "What is gone by now".to_owned(),
        (count, _) => format!("{} tools", format::count(count)),
    };
    match marker.action.as_str() {
        "tool.published" => format!("{what} published"),
        "tool.rolled_back" => format!("{what} rolled back to"),
        "budget.set" => format!("{what}: budget set"),
        "budget.removed" => format!("{what}: budget removed"),
        _ => format!("{what}: limits changed"),
    }
}

/// The versions side by side; of limits the entry with what was and is, for who may read it; else the page of what was changed.
fn url(member: &InTenant, marker: &Marker) -> String {
    let slug = member.slug();
    let (tool, agent) = (marker.subject.parse::<ToolId>().ok(), marker.subject.parse::<AgentId>().ok());
    if let (1, Some(tool), Some(number)) = (marker.count, tool, marker.version) {
        let (from, to) = ((number - 1).to_string(), number.to_string());
        let is_next = marker.action == "tool.published" && number > 1;
        return if is_next {
            urls::with_query(&urls::tool_compare(slug, tool), &[("from", &from), ("to", &to)])
        } else {
            urls::tool(slug, tool)
        };
    }
    if member.may(Permission::ViewAudit) {
        let day = marker.at.format("%Y-%m-%d").to_string();
        let subject = if marker.count == 1 { marker.subject.as_str() } else { "" };
        return urls::with_query(&urls::audit(slug), &[("subject", subject), ("since", &day), ("until", &day)]);
    }
    match (marker.count, tool, agent) {
        (1, Some(tool), _) => urls::tool(slug, tool),
        (1, _, Some(agent)) => urls::agent(slug, agent),
        (1, None, None) => urls::limits(slug),
        _ => urls::tools(slug),
    }
}
