//! An agent.

use chrono::{DateTime, Utc};
use trunkline_protocol::oauth::scope::ScopeSet;

use crate::{
    audit::Difference,
    context::Model,
    error::{Error, Result},
    ids::AgentId,
    quota::AgentLimits,
};

/// An identity that calls tools.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its id, which is the `sub` of its tokens.
    pub id: AgentId,
    /// Unique in the tenant.
    pub name: AgentName,
    /// For people.
    pub description: String,
    /// The most it may ever do.
    pub scopes: ScopeSet,
    /// May it call?
    pub state: AgentState,
    /// Was it stopped or slowed because it was refused too often?
    pub was_refused: bool,
    /// Until when it has a tenth of its rates.
    pub throttled_until: Option<DateTime<Utc>>,
    /// Its client cannot read answers other than 200: limits are told as a result.
    pub limits_as_results: bool,
    /// The model it is, if its contexts are counted.
    pub model: Option<Model>,
    /// Are its callers shown two tools, to find and to call, instead of all?
    pub search_mode: bool,
    /// Since when it exists.
    pub created_at: DateTime<Utc>,
}

/// What a person says of an agent.
#[derive(Debug, Clone)]
pub struct NewAgent {
    /// Unique in the tenant.
    pub name: AgentName,
    /// For people; at most 400 characters.
    pub description: String,
    /// The most it may ever do.
    pub scopes: ScopeSet,
    /// Its limits.
    pub limits: AgentLimits,
    /// Limits are told as a result.
    pub limits_as_results: bool,
    /// The model it is.
    pub model: Option<Model>,
}

/// An agent as a list shows it.
#[derive(Debug, Clone)]
pub struct ListedAgent {
    /// The agent.
    pub agent: Agent,
    /// Its keys that work.
    pub live_keys: i64,
}

/// May it call?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentState {
    /// Yes.
    Active,
    /// Not until somebody resumes it.
    Suspended,
}

/// 1 to 64 characters without control characters, trimmed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentName(String);

impl AgentName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > 64 || text.chars().any(char::is_control) {
            return Err(Error::invalid("name", "expected 1 to 64 characters"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for AgentName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl AgentState {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

impl NewAgent {
    /// Reads what a form or a command line says; names the field that does not fit. The default limits apply.
    pub fn parse(name: &str, description: &str, scopes: &str) -> Result<Self> {
        let description = description.trim();
        if description.chars().count() > 400 || description.chars().any(|c| c.is_control() && c != '\n' && c != '\r') {
            return Err(Error::invalid("description", "expected at most 400 characters, none of them a control character"));
        }
        let (name, scopes) = (AgentName::parse(name)?, super::parse_scopes(scopes)?);
        let (limits, limits_as_results, model) = (AgentLimits::default(), false, None);
        Ok(Self { name, description: description.to_owned(), scopes, limits, limits_as_results, model })
    }
}

impl Agent {
    pub(super) fn new(id: AgentId, new: NewAgent, now: DateTime<Utc>) -> Self {
        let NewAgent { name, description, scopes, limits: _, limits_as_results, model } = new;
        let (state, was_refused, throttled_until) = (AgentState::Active, false, None);
        Self {
            id,
            name,
            description,
            scopes,
            state,
            was_refused,
            throttled_until,
            limits_as_results,
            model,
            search_mode: false,
            created_at: now,
        }
    }

    /// What differs after a change, but for its limits.
    pub(super) fn note(&self, after: &NewAgent) -> Difference {
        let name = |model: Option<&Model>| model.map_or_else(String::new, |model| model.name.clone());
        let price = |model: Option<&Model>| model.map(|model| model.input_micro);
        Difference::default()
            .of("name", self.name.as_str(), after.name.as_str())
            .of("description", &self.description, &after.description)
            .of("scopes", self.scopes.to_string(), after.scopes.to_string())
            .of("limits_as_results", self.limits_as_results, after.limits_as_results)
            .of("model_name", name(self.model.as_ref()), name(after.model.as_ref()))
            .of("model_input_micro", price(self.model.as_ref()), price(after.model.as_ref()))
    }

    /// Has it a tenth of its rates at that moment?
    pub fn is_throttled(&self, now: DateTime<Utc>) -> bool {
        self.throttled_until.is_some_and(|until| now < until)
    }

    pub(super) fn restore(name: String) -> AgentName {
        AgentName(name)
    }
}
