//! What a tenant of a test can have beside tools: sources, toolsets, more keys.

use trunkline_platform::{
    agents::{self, NewKey},
    catalog::{
        SecretChange,
        source::{self, DefinitionFilter, NewDefinitions, NewSource, Pick, Policy, Refreshed, Show, SourceName},
        toolset::{self, NewToolset, ToolsetName},
    },
    db::page::Search,
    ids::SourceId,
};
use trunkline_protocol::oauth::scope::Effect;

use super::{Agent, SOON, Tenant, eventually};

impl Tenant<'_> {
    /// The fixtures of the conformance suite, as a source.
    pub(crate) async fn conformance(&self) {
        let (owner, name) = (self.owner.clone(), SourceName::parse("fixtures").expect("a name"));
        let refreshed = self
            .app
            .act(|platform| async move {
                let id = source::create_conformance(&platform, owner.tenant, name).await.expect("the source is made");
                source::refresh_now(&platform, &owner, id).await.expect("the source is read")
            })
            .await;
        assert!(matches!(refreshed, Refreshed::Done(_)), "{refreshed:?}");
    }

    /// An MCP server as a source that is trusted in everything; its tools keep their names.
    pub(crate) async fn source(&self, name: &str, url: &str) -> SourceId {
        self.source_within_ms(name, url, 30_000).await
    }

    /// The same with another deadline.
    pub(crate) async fn source_within_ms(&self, name: &str, url: &str, timeout_ms: u32) -> SourceId {
        let (owner, name) = (self.owner.clone(), SourceName::parse(name).expect("a name"));
        let new = NewSource {
            url: source::parse_url(url).expect("a URL"),
            secret_header: None,
            secret: SecretChange::Remove,
            timeout_ms,
            policy: Policy { new: NewDefinitions::Approve, ..Policy::default() },
            default_effect: Effect::Read,
        };
        let actor = owner.clone();
        let created = self.app.act(|platform| async move { source::create(&platform, &actor, name, false, new).await });
        let id = created.await.expect("the source is made").id;
        // The background round may be at it.
        eventually("the source is read", SOON, async || {
            let actor = owner.clone();
            let refreshed = self.app.act(move |platform| async move { source::refresh_now(&platform, &actor, id).await.ok() });
            refreshed.await.filter(|refreshed| matches!(refreshed, Refreshed::Done(_)))
        })
        .await;
        self.let_in(id).await;
        id
    }

    /// Switches on what the gate stopped: servers of tests have tools that answer nothing sensible.
    async fn let_in(&self, id: SourceId) {
        let owner = self.owner.clone();
        self.app
            .act(move |platform| async move {
                let filter = DefinitionFilter { kind: None, show: Show::Waiting };
                let search = Search::new("", 1).sized(2_000);
                let waiting = source::search_definitions(&platform, &owner, id, filter, &search).await.expect("definitions");
                let stopped = waiting.items.iter().filter(|listed| !listed.reason.is_empty()).map(|listed| listed.id);
                let (pick, seen) = (Pick::These(stopped.collect()), platform.clock.now());
                source::switch_on(&platform, &owner, id, pick, seen).await.expect("decided");
            })
            .await;
    }

    /// A toolset of these tools, and its endpoint.
    pub(crate) async fn toolset(&self, name: &str, tools: &[&str]) -> String {
        let (owner, slug) = (self.owner.clone(), self.slug.clone());
        let (named, wanted) =
            (ToolsetName::parse(name).expect("a name"), tools.iter().map(|&tool| tool.to_owned()).collect::<Vec<_>>());
        self.app
            .act(|platform| async move {
                let snapshot = platform.snapshots.get(&platform, &slug).await.expect("a snapshot").expect("the tenant");
                let tools =
                    wanted.iter().map(|tool| snapshot.tool(tool).unwrap_or_else(|| panic!("no {tool}")).tool.id).collect();
                let new = NewToolset { title: String::new(), description: String::new(), tools };
                toolset::create(&platform, &owner, named, new).await.expect("the toolset is made");
            })
            .await;
        format!("{}/{name}", self.mcp_url())
    }

    /// One more key of that agent.
    pub(crate) async fn key(&self, agent: &Agent, scopes: &str) -> Agent {
        let (owner, id, scopes) = (self.owner.clone(), agent.id, scopes.to_owned());
        let created = self
            .app
            .act(|platform| async move {
                let key = NewKey::parse("another", &scopes, 30).expect("a key");
                agents::create_key(&platform, &owner, id, key).await.expect("the key is created")
            })
            .await;
        self.with_key(agent.id, created.key.id, created.text.reveal())
    }
}
