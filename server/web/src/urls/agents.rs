//! Pages about agents, their keys, and how they connect.

use trunkline_platform::ids::{AgentId, KeyId};

/// What an agent may spend.
pub fn agent_budgets(slug: &str, agent: AgentId) -> String {
    format!("{}/budgets", self::agent(slug, agent))
}

/// A tenant's agents.
pub fn agents(slug: &str) -> String {
    format!("/t/{slug}/agents")
}

/// The form for a new agent.
pub fn agent_new(slug: &str) -> String {
    format!("/t/{slug}/agents/new")
}

/// An agent.
pub fn agent(slug: &str, agent: AgentId) -> String {
    format!("/t/{slug}/agents/{agent}")
}

/// Lets an agent call again.
pub fn agent_resume(slug: &str, agent: AgentId) -> String {
    format!("/t/{slug}/agents/{agent}/resume")
}

/// The form that changes an agent.
pub fn agent_edit(slug: &str, agent: AgentId) -> String {
    format!("/t/{slug}/agents/{agent}/edit")
}

/// A tenant's keys.
pub fn keys(slug: &str) -> String {
    format!("/t/{slug}/keys")
}

/// Gives a key a successor.
pub fn key_roll(slug: &str, key: KeyId) -> String {
    format!("/t/{slug}/keys/{key}/roll")
}

/// Ends a key.
pub fn key_revoke(slug: &str, key: KeyId) -> String {
    format!("/t/{slug}/keys/{key}/revoke")
}

/// What of it was called by an agent.
pub fn agent_usage(slug: &str, agent: AgentId) -> String {
    format!("{}/usage", self::agent(slug, agent))
}

/// How to connect a client.
pub fn connect(slug: &str) -> String {
    format!("/t/{slug}/connect")
}

/// Has a call come?
pub fn connect_status(slug: &str) -> String {
    format!("/t/{slug}/connect/status")
}
