//! Sources: what an upstream brings, what becomes of it, and what nobody approved never reaches an agent.

mod changes;
mod hearing;
mod hostile;
mod lifecycle;
mod pages;
mod server;
mod toolsets;

use serde_json::{Value, json};
use trunkline_platform::{
    catalog::{
        SecretChange,
        source::{
            self, Changes, DefinitionFilter, ListedDefinition, Meanwhile, NewDefinitions, NewSource, Pick, Policy, Refreshed,
            Source, SourceName, Tally,
        },
    },
    clock::Clock as _,
    db::page::Search,
};
use trunkline_protocol::oauth::scope::Effect;

use crate::support::{Tenant, TestApp};
use server::Server;

/// A tool that only reads.
fn tool(name: &str, description: &str) -> Value {
    json!({
        "name": name,
        "description": description,
        "inputSchema": { "type": "object", "properties": { "text": { "type": "string" } } },
        "annotations": { "readOnlyHint": true },
    })
}

/// How far a source of a test is trusted.
fn trusting() -> Policy {
    Policy { new: NewDefinitions::Approve, ..Policy::default() }
}

fn strict() -> Policy {
    Policy { new: NewDefinitions::Approve, changes: Changes::EverythingWaits, meanwhile: Meanwhile::Block }
}

fn new_source(url: &str, policy: Policy) -> NewSource {
    NewSource {
        url: source::parse_url(url).expect("a URL"),
        secret_header: None,
        secret: SecretChange::Remove,
        timeout_ms: 5_000,
        policy,
        default_effect: Effect::Destructive,
    }
}

/// A source of a tenant, with verbs that a test needs.
struct Mine<'a> {
    app: &'a TestApp,
    tenant: &'a Tenant<'a>,
    source: Source,
}

impl<'a> Mine<'a> {
    async fn add(app: &'a TestApp, tenant: &'a Tenant<'a>, name: &str, url: &str, policy: Policy) -> Self {
        Self::add_as(app, tenant, name, true, new_source(url, policy)).await
    }

    async fn add_as(app: &'a TestApp, tenant: &'a Tenant<'a>, name: &str, prefix: bool, new: NewSource) -> Self {
        let (owner, name) = (tenant.owner.clone(), SourceName::parse(name).expect("a name"));
        let source =
            app.act(|platform| async move { source::create(&platform, &owner, name, prefix, new).await.expect("it is added") });
        Self { app, tenant, source: source.await }
    }

    async fn look(&self) -> Refreshed {
        let (tenant, id) = (self.tenant.id, self.source.id);
        // The background round may be at it.
        crate::support::eventually("it is refreshed", crate::support::SOON, async || {
            self.app.act(|platform| async move { source::refresh(&platform, tenant, id).await.ok() }).await
        })
        .await
    }

    async fn read(&self) -> Tally {
        match self.look().await {
            Refreshed::Done(tally) => tally,
            Refreshed::Stale(why) => panic!("not read: {why}"),
        }
    }

    async fn definitions(&self) -> Vec<ListedDefinition> {
        let (owner, id) = (self.tenant.owner.clone(), self.source.id);
        self.app
            .act(|platform| async move {
                let search = Search::new("", 1).sized(2_000);
                let found = source::search_definitions(&platform, &owner, id, DefinitionFilter::default(), &search).await;
                found.expect("definitions").items
            })
            .await
    }

    /// What became of the definition of that upstream name.
    async fn definition(&self, key: &str) -> ListedDefinition {
        let all = self.definitions().await;
        all.into_iter().find(|listed| listed.upstream_key == key).unwrap_or_else(|| panic!("there is no {key}"))
    }

    /// States of all definitions, as words.
    async fn states(&self) -> Vec<(String, &'static str)> {
        let mut states: Vec<_> =
            self.definitions().await.into_iter().map(|listed| (listed.exposed_key, listed.state.as_str())).collect();
        states.sort();
        states
    }

    async fn switch_on(&self, keys: &[&str]) {
        let mut ids = Vec::new();
        for key in keys {
            ids.push(self.definition(key).await.id);
        }
        let (owner, id, seen) = (self.tenant.owner.clone(), self.source.id, self.app.clock.now());
        let decided =
            self.app
                .act(|platform| async move {
                    source::switch_on(&platform, &owner, id, Pick::These(ids), seen).await.expect("decided")
                })
                .await;
        assert_eq!(decided.done, keys.len(), "{decided:?}");
    }
}
