//! Pages about tools, toolsets, and the secrets and servers behind them.

use trunkline_platform::ids::{CredentialId, ToolId, ToolsetId};

/// The tenant's secrets for what it calls.
pub fn credentials(slug: &str) -> String {
    format!("/t/{slug}/credentials")
}

/// One of them.
pub fn credential(slug: &str, credential: CredentialId) -> String {
    format!("{}/{credential}", credentials(slug))
}

/// How calls treat upstreams.
pub fn upstreams(slug: &str) -> String {
    format!("/t/{slug}/upstreams")
}

/// What may be spent on a tool.
pub fn tool_budgets(slug: &str, tool: ToolId) -> String {
    format!("{}/budgets", self::tool(slug, tool))
}

/// A tenant's tools.
pub fn tools(slug: &str) -> String {
    format!("/t/{slug}/tools")
}

/// The form for a new tool.
pub fn tool_new(slug: &str) -> String {
    format!("/t/{slug}/tools/new")
}

/// A tool.
pub fn tool(slug: &str, tool: ToolId) -> String {
    format!("/t/{slug}/tools/{tool}")
}

/// What a function logged in calls of agents.
pub fn tool_logs(slug: &str, tool: ToolId) -> String {
    format!("/t/{slug}/tools/{tool}/logs")
}

/// The form that changes a tool.
pub fn tool_edit(slug: &str, tool: ToolId) -> String {
    format!("/t/{slug}/tools/{tool}/edit")
}

/// Runs a tool by hand.
pub fn tool_try(slug: &str, tool: ToolId) -> String {
    format!("/t/{slug}/tools/{tool}/try")
}

/// Publishes a draft of a tool.
pub fn tool_publish(slug: &str, tool: ToolId) -> String {
    format!("/t/{slug}/tools/{tool}/publish")
}

/// Points a tool at an earlier version again.
pub fn tool_roll_back(slug: &str, tool: ToolId) -> String {
    format!("/t/{slug}/tools/{tool}/roll-back")
}

/// Agents that are given one version of a tool.
pub fn tool_pins(slug: &str, tool: ToolId) -> String {
    format!("/t/{slug}/tools/{tool}/pins")
}

/// Two versions of a tool side by side.
pub fn tool_compare(slug: &str, tool: ToolId) -> String {
    format!("/t/{slug}/tools/{tool}/compare")
}

/// How a tool is tried.
pub fn tool_probe(slug: &str, tool: ToolId) -> String {
    format!("/t/{slug}/tools/{tool}/probe")
}

/// A tenant's toolsets.
pub fn toolsets(slug: &str) -> String {
    format!("/t/{slug}/toolsets")
}

/// The form for a new toolset.
pub fn toolset_new(slug: &str) -> String {
    format!("/t/{slug}/toolsets/new")
}

/// A toolset.
pub fn toolset(slug: &str, toolset: ToolsetId) -> String {
    format!("/t/{slug}/toolsets/{toolset}")
}

/// What of it were calls of a tool.
pub fn tool_usage(slug: &str, tool: ToolId) -> String {
    format!("{}/usage", self::tool(slug, tool))
}
