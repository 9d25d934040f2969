//! What exists for a caller: the tools, prompts and resources that its scopes, its agent's ceiling and its endpoint open.

use std::sync::Arc;

use trunkline_protocol::{
    mcp::Revision,
    oauth::scope::{Scope, ScopeSet},
};

use super::{Caller, credential::Credential};
use crate::{
    catalog::snapshot::{LoadedItem, LoadedTool},
    dialogue::ItemKind,
    gateway::Refusal,
    ids::SourceId,
};

impl Caller {
    /// May it read prompts?
    pub fn may_read_prompts(&self) -> bool {
        self.has(&Scope::PromptsRead)
    }

    /// May it read resources?
    pub fn may_read_resources(&self) -> bool {
        self.has(&Scope::ResourcesRead)
    }

    fn has(&self, scope: &Scope) -> bool {
        self.credential.scopes().iter().any(|have| have == scope) && self.agent.scopes.iter().any(|have| have == scope)
    }

    /// May it use that tool, at this endpoint? By its own scopes and by its agent's ceiling.
    pub fn may_use(&self, tool: &LoadedTool) -> bool {
        self.may_ask_for(tool) && self.opens(self.credential.scopes(), tool)
    }

    /// Is it at this endpoint and within the agent's ceiling, whatever was shown? Of such a tool a caller may know.
    fn may_ask_for(&self, tool: &LoadedTool) -> bool {
        let is_here = self.toolset.as_ref().is_none_or(|toolset| toolset.tools.contains(&tool.tool.id));
        is_here && self.opens(&self.agent.scopes, tool)
    }

    /// The scopes that would open that tool for a token that does not reach, where its agent's ceiling does. `None`: there is no such tool for
    /// this agent, or a key was shown, whose scopes nobody can be asked for.
    pub(in crate::gateway) fn missing_for_tool(&self, name: &str) -> Option<ScopeSet> {
        let Credential::Token(token) = &self.credential else { return None };
        let tool = self.given(name).filter(|tool| self.may_ask_for(tool) && !self.opens(&token.scopes, tool))?;
        let by_effect = ScopeSet::new([Scope::Tools(tool.tool.version.effect)]);
        if self.agent.scopes.covers(&by_effect) {
            return Some(by_effect);
        }
        // The ceiling opens it by its name or by a toolset.
        let opens = |scope: &&Scope| self.opens(&ScopeSet::new([(*scope).clone()]), tool);
        self.agent.scopes.iter().find(opens).map(|scope| ScopeSet::new([scope.clone()]))
    }

    /// The refusal that leads to a token with those scopes. Clients of the stateless revision add them to what they have; older ones ask for
    /// exactly what they are told, and would lose the rest.
    pub fn insufficient(&self, missing: ScopeSet, revision: Revision) -> Refusal {
        let scopes = if revision.has_handshake() {
            ScopeSet::new(missing.iter().chain(self.credential.scopes().iter()).cloned())
        } else {
            missing
        };
        Refusal::InsufficientScope { scopes }
    }

    /// The same for prompts and resources.
    pub fn missing_for_items(&self, scope: &Scope) -> Option<ScopeSet> {
        let may_ask = matches!(self.credential, Credential::Token(_)) && self.agent.scopes.iter().any(|have| have == scope);
        (may_ask && !self.has(scope)).then(|| ScopeSet::new([scope.clone()]))
    }

    /// A set of scopes opens a tool by its effect, by its name, or by a toolset that it is in.
    fn opens(&self, scopes: &ScopeSet, tool: &LoadedTool) -> bool {
        self.snapshot.opens(scopes, tool)
    }

    /// Prompts, resources or templates that exist for this caller, at this endpoint: at a toolset's, those of the sources of its tools.
    /// Tools are asked for by `tool`.
    pub fn items(&self, kind: ItemKind) -> impl Iterator<Item = &Arc<LoadedItem>> {
        let items: &[_] = match kind {
            _ if !self.may_read(kind) => &[],
            ItemKind::Prompts => self.snapshot.prompts(),
            ItemKind::Resources => self.snapshot.resources(),
            ItemKind::ResourceTemplates => self.snapshot.templates(),
            ItemKind::Tools => &[],
        };
        items.iter().filter(|item| self.has_source(item.source))
    }

    /// The one of that key, if it exists for this caller.
    pub(in crate::gateway) fn item(&self, kind: ItemKind, key: &str) -> Option<&Arc<LoadedItem>> {
        self.snapshot.item(kind, key).filter(|item| self.may_read(kind) && self.has_source(item.source))
    }

    fn may_read(&self, kind: ItemKind) -> bool {
        match kind {
            ItemKind::Prompts => self.may_read_prompts(),
            ItemKind::Resources | ItemKind::ResourceTemplates => self.may_read_resources(),
            ItemKind::Tools => false,
        }
    }

    fn has_source(&self, source: SourceId) -> bool {
        self.toolset.as_ref().is_none_or(|toolset| self.snapshot.toolset_has_source(toolset.id, source))
    }

    /// The tool of that name, if it exists for this caller.
    pub fn tool(&self, name: &str) -> Option<&Arc<LoadedTool>> {
        self.given(name).filter(|tool| self.may_use(tool))
    }

    /// Tools that exist for this caller, by name, each in the version that it is given.
    pub fn tools(&self) -> impl Iterator<Item = &Arc<LoadedTool>> {
        let given = self.snapshot.tools().iter().map(|tool| self.snapshot.version_for(self.agent.id, tool));
        given.filter(|tool| self.may_use(tool))
    }

    /// The tool of that name in the version that the agent is given.
    fn given(&self, name: &str) -> Option<&Arc<LoadedTool>> {
        self.snapshot.tool(name).map(|tool| self.snapshot.version_for(self.agent.id, tool))
    }
}
