//! Imported APIs: a description is read and pinned, somebody picks operations, and those become tools in one transaction. Read again, it shows
//! what would change (`supply`); what is pinned stays until somebody approves another, what is published until somebody publishes again.

#[expect(clippy::module_inception, reason = "one file per noun, and this is the noun")]
mod api;
mod fetch;
mod overrides;
mod publish;
mod store;
pub mod supply;

use serde_json::value::RawValue;
use trunkline_protocol::oauth::scope::Effect;

pub use api::{Api, Counts, Document, Failing, ListedApi, ListedOperation, OperationFilter, Shown, Tag, Tally, parse_prefix};
pub use fetch::{fetch, parse_link};
pub use overrides::{Overrides, Pinned};
pub use publish::{Publication, Published, publish};
pub(crate) use publish::{Rehearsal, rehearse};
pub use supply::{Manifest, Pin};

use super::{openapi, source::SourceName};
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Event},
    db::page::{Found, Search},
    epoch,
    error::{Error, Result},
    ids::{ApiId, OperationId, ToolId},
};

/// Imported APIs of one tenant.
pub const MAX_APIS: i64 = 100;
/// Up to so many operations, all of them are picked to begin with; above, only those that read, and no more than `PICKED_READ`.
const PICKED_ALL: usize = 40;
const PICKED_READ: usize = 100;

/// Imports a description. Nothing is published yet.
pub async fn import(platform: &Platform, actor: &Member, name: SourceName, prefix: String, document: Document) -> Result<ApiId> {
    actor.require(Permission::ManageTools)?;
    let pin = Pin::of(&document.bytes);
    platform.settings.supply.manifest.check(document.link.as_ref(), pin)?;
    let (document, described) = read(document).await?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if store::count(&mut tx).await? >= MAX_APIS {
        return Err(Error::conflict(format!("A tenant has at most {MAX_APIS} imported APIs. Remove one that is not needed.")));
    }
    let base = document.link.as_ref();
    let server = described.servers.iter().find_map(|server| openapi::resolve_server(server, base).ok());
    let api = Api {
        id: ApiId::new(now),
        name,
        title: described.title,
        version: described.version,
        link: document.link,
        sha256: pin.0,
        bytes: document.bytes.len(),
        servers: described.servers,
        server: server.map(String::from).unwrap_or_default(),
        prefix,
        schemes: described.schemes,
        credential: None,
        created_at: now,
        read_at: now,
        verified_at: None,
        failing: None,
    };
    let mut operations = store::rows(described.operations, now)?;
    store::choose(&mut operations, PICKED_ALL, PICKED_READ);
    store::insert(&mut tx, &api, actor.user).await?;
    store::insert_operations(&mut tx, api.id, &operations).await?;
    supply::begin(platform, &mut tx, &api, api.link.is_some()).await?;
    audit::append(&mut tx, now, actor, &Event::ApiImported(api.id)).await?;
    tx.commit().await?;
    Ok(api.id)
}

/// Reads it on a thread that may be busy for a while.
async fn read(document: Document) -> Result<(Document, openapi::Api)> {
    let read = tokio::task::spawn_blocking(move || openapi::read(&document.bytes).map(|api| (document, api)));
    read.await.map_err(Error::internal)?.map_err(|refusal| Error::invalid("document", refusal.to_string()))
}

/// All imported APIs by name.
pub async fn list(platform: &Platform, actor: &Member) -> Result<Vec<ListedApi>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::list(&mut tx).await
}

/// One of them.
pub async fn get(platform: &Platform, actor: &Member, id: ApiId) -> Result<ListedApi> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::find(&mut tx, id).await?.ok_or(Error::not_found("API"))
}

/// A page of its operations.
pub async fn search(
    platform: &Platform,
    actor: &Member,
    id: ApiId,
    filter: &OperationFilter,
    search: &Search,
) -> Result<Found<ListedOperation>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::search(&mut tx, id, filter, search).await
}

/// Its tags, those with most operations first.
pub async fn tags(platform: &Platform, actor: &Member, id: ApiId) -> Result<Vec<Tag>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::tags(&mut tx, id).await
}

/// An operation as somebody changes it.
#[derive(Debug, Clone)]
pub struct OperationDetail {
    /// Method and path.
    pub key: String,
    /// As its description has it: name without the prefix, title, description, effect.
    pub name: String,
    /// For people.
    pub title: String,
    /// For models.
    pub description: String,
    /// What it does to the world.
    pub effect: Effect,
    /// The schema of its arguments.
    pub input_schema: Box<RawValue>,
    /// The tool that it is.
    pub tool: Option<ToolId>,
    /// What is wanted otherwise.
    pub overrides: Overrides,
}

/// One operation that is, or could be, a tool.
pub async fn operation(platform: &Platform, actor: &Member, id: ApiId, operation: OperationId) -> Result<OperationDetail> {
    actor.require(Permission::ManageTools)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let (key, found) = store::find_operation(&mut tx, id, operation).await?.ok_or(Error::not_found("operation"))?;
    Ok(OperationDetail {
        key,
        name: found.name,
        title: found.title,
        description: found.description,
        effect: found.effect,
        input_schema: found.input_schema,
        tool: found.tool,
        overrides: found.overrides,
    })
}

/// Says what of an operation is wanted otherwise than its description has it. Agents see it when it is published.
pub async fn override_operation(
    platform: &Platform,
    actor: &Member,
    id: ApiId,
    operation: OperationId,
    overrides: Overrides,
) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    overrides.check()?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::lock(&mut tx, id).await?.ok_or(Error::not_found("API"))?;
    let (_, mut found) = store::find_operation(&mut tx, id, operation).await?.ok_or(Error::not_found("operation"))?;
    if found.overrides == overrides {
        return Ok(());
    }
    overrides.apply(&mut found)?;
    store::set_overrides(&mut tx, operation, &overrides).await?;
    audit::append(&mut tx, platform.clock.now(), actor, &Event::ApiOverridden(id, operation)).await?;
    tx.commit().await
}

/// Of those that were shown, picks exactly these.
pub async fn pick(platform: &Platform, actor: &Member, id: ApiId, shown: &[OperationId], picked: &[OperationId]) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::lock(&mut tx, id).await?.ok_or(Error::not_found("API"))?;
    store::pick(&mut tx, id, shown, picked).await?;
    tx.commit().await
}

/// Picks all that the filter finds, or none of them.
pub async fn pick_all(
    platform: &Platform,
    actor: &Member,
    id: ApiId,
    filter: &OperationFilter,
    words: &str,
    picked: bool,
) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::lock(&mut tx, id).await?.ok_or(Error::not_found("API"))?;
    store::pick_all(&mut tx, id, filter, &Search::new(words, 1), picked).await?;
    tx.commit().await
}

/// Forgets an API with its secrets. Its tools stay, disabled: records point at them.
pub async fn remove(platform: &Platform, actor: &Member, id: ApiId) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::lock(&mut tx, id).await?.ok_or(Error::not_found("API"))?;
    store::disable_tools(&mut tx, id).await?;
    store::delete(&mut tx, id).await?;
    audit::append(&mut tx, platform.clock.now(), actor, &Event::ApiRemoved(id)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}
