//! The catalogue: tools and their immutable versions; what runs is what the tool points at. People come in by `drafts` and `publishing`, which
//! tries a version first; `create` and `publish` here do not, and are for those who set up an installation.

mod answer;
pub mod api;
mod builtin;
pub mod credential;
pub mod definition;
pub mod drafts;
mod executor;
mod function;
pub mod listen;
pub mod openapi;
mod operation;
mod price;
pub mod snapshot;
pub mod source;
mod store;
mod template;
mod tool;
pub mod toolset;

use chrono::{DateTime, Utc};
use sha2::Digest as _;

pub use answer::{AnswerShape, MAX_TEXT_BYTES, Selection};
pub use executor::{
    Builtin, Executor, HttpMethod, HttpTool, MAX_PARAMETERS, Parameter, ParameterType, Place, TIMEOUT_MS, check_header_name,
};
pub use function::{FunctionTool, MAX_HOSTS, Origin};
pub(crate) use operation::ClientSecret;
pub use operation::{
    BODY, Body, Carrier, FieldStyle, Input, InputPlace, LAYOUT, Operation, OperationMethod, Piece, Proof, Style,
};
pub use price::{Consumed, Price, Typical, parse_price};
pub use template::{Part, UrlTemplate};
pub use tool::{NewVersion, SecretChange, Tool, ToolName, ToolVersion};

use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Difference, Event},
    context::Count,
    db::{
        TenantTx,
        page::{Found, Search},
    },
    epoch,
    error::{Error, Result},
    ids::{CredentialId, ToolId, ToolVersionId},
    quota::ToolLimits,
};

/// Tools of one tenant.
pub const MAX_TOOLS: i64 = 5_000;

/// Tokens of a tool's definition, as it stands in a list.
pub async fn definition_tokens(tool: &Tool) -> Result<Count> {
    let loaded = snapshot::LoadedTool::new(tool.clone())?;
    tokio::task::spawn_blocking(move || loaded.definition.count()).await.map_err(Error::internal)
}

/// Creates a tool with its first version.
pub async fn create(platform: &Platform, actor: &Member, name: ToolName, new: NewVersion) -> Result<Tool> {
    actor.require(Permission::ManageTools)?;
    new.check()?;
    check_reach(platform, &new)?;
    let now = platform.clock.now();
    let id = ToolId::new(now);
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if store::count(&mut tx).await? >= MAX_TOOLS {
        return Err(Error::conflict(format!("A tenant has at most {MAX_TOOLS} tools.")));
    }
    let limits = new.limits;
    let version = version(platform, &mut tx, new, 1, None).await?;
    let tool = Tool::new(id, name, version, now);
    store::insert(&mut tx, &tool, actor.user).await?;
    if let Some(limits) = limits {
        limits.store(&mut tx, now, id).await?;
    }
    audit::append(&mut tx, now, actor, &Event::ToolPublished(id, 1, Difference::default())).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(tool)
}

/// Publishes the next version of a tool. `edited` is the number of the version that was edited: if another one was published meanwhile,
/// nothing happens. What would be the same version again is not published. Gives the number of the version that stands afterwards.
pub async fn publish(platform: &Platform, actor: &Member, id: ToolId, edited: i32, new: NewVersion) -> Result<i32> {
    actor.require(Permission::ManageTools)?;
    new.check()?;
    check_reach(platform, &new)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let tool = store::lock(&mut tx, id).await?.ok_or(Error::not_found("tool"))?;
    check_edited(&tool, edited)?;
    let limits = new.limits;
    let number = drafts::newest_number(&mut tx, id).await? + 1;
    let version = version(platform, &mut tx, new, number, Some(&tool.version)).await?;
    let (is_new, number) = (!version.runs_like(&tool.version), version.number);
    if is_new {
        store::insert_version(&mut tx, id, &version, actor.user, false).await?;
        store::point(&mut tx, id, version.id).await?;
        let published = Event::ToolPublished(id, version.number, tool.version.note(&version));
        audit::append(&mut tx, now, actor, &published).await?;
    }
    if let Some(limits) = limits {
        set_limits(&mut tx, actor, now, id, limits).await?;
    }
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(if is_new { number } else { edited })
}

/// Changes what a call of the tool costs and how often it may be called; its definition stays as it is. For tools of sources, whose
/// definitions nobody writes here. Gives the number of the version that stands afterwards.
pub async fn set_terms(
    platform: &Platform,
    actor: &Member,
    id: ToolId,
    edited: i32,
    price: Price,
    limits: ToolLimits,
) -> Result<i32> {
    actor.require(Permission::ManageTools)?;
    price.check()?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let tool = store::lock(&mut tx, id).await?.ok_or(Error::not_found("tool"))?;
    check_edited(&tool, edited)?;
    let is_new = price != tool.version.price;
    let number = drafts::newest_number(&mut tx, id).await? + 1;
    if is_new {
        let version = ToolVersion { id: ToolVersionId::new(now), number, price, created_at: now, ..tool.version.clone() };
        store::insert_version(&mut tx, id, &version, actor.user, false).await?;
        store::point(&mut tx, id, version.id).await?;
        let published = Event::ToolPublished(id, version.number, tool.version.note(&version));
        audit::append(&mut tx, now, actor, &published).await?;
    }
    set_limits(&mut tx, actor, now, id, limits).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(if is_new { number } else { edited })
}

/// Sets the limits of a tool, if they are others than before.
async fn set_limits(tx: &mut TenantTx, actor: &Member, now: DateTime<Utc>, id: ToolId, limits: ToolLimits) -> Result<()> {
    let before = ToolLimits::load(tx, id).await?;
    if limits == before {
        return Ok(());
    }
    limits.store(tx, now, id).await?;
    let difference = before.note(&limits, Difference::default());
    audit::append(tx, now, actor, &Event::ToolLimitsChanged(id, difference)).await
}

/// Is the version that somebody edited still the one that stands?
fn check_edited(tool: &Tool, edited: i32) -> Result<()> {
    if tool.version.number == edited {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "Version {} was published while you edited version {edited}. Open the tool again and repeat your change.",
        tool.version.number
    )))
}

/// Takes a tool out of every list and refuses its calls, or puts it back.
pub async fn set_enabled(platform: &Platform, actor: &Member, id: ToolId, enabled: bool) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let tool = store::lock(&mut tx, id).await?.ok_or(Error::not_found("tool"))?;
    if tool.is_draft {
        return Err(Error::conflict("It was never published: publish it first."));
    }
    if enabled && tool.withheld && matches!(tool.version.executor, Executor::Upstream { .. }) {
        return Err(Error::conflict("Its source does not serve it: switch it on there first."));
    }
    store::set_enabled(&mut tx, id, enabled).await?;
    let event = if enabled { Event::ToolEnabled(id) } else { Event::ToolDisabled(id) };
    audit::append(&mut tx, platform.clock.now(), actor, &event).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// All tools by name, with the version they point at.
pub async fn list(platform: &Platform, actor: &Member) -> Result<Vec<Tool>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::list(&mut tx).await
}

/// A page of the tools, by name.
pub async fn search(platform: &Platform, actor: &Member, search: &Search) -> Result<Found<Tool>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::search(&mut tx, search).await
}

/// The tool of exactly that name.
pub async fn find_by_name(platform: &Platform, actor: &Member, name: &str) -> Result<Option<ToolId>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::find_by_name(&mut tx, name).await
}

/// The limits that are set for one tool.
pub async fn limits(platform: &Platform, actor: &Member, id: ToolId) -> Result<ToolLimits> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    ToolLimits::load(&mut tx, id).await
}

/// One tool.
pub async fn get(platform: &Platform, actor: &Member, id: ToolId) -> Result<Tool> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::find(&mut tx, id).await?.ok_or(Error::not_found("tool"))
}

/// All versions of a tool, newest first.
pub async fn versions(platform: &Platform, actor: &Member, id: ToolId) -> Result<Vec<ToolVersion>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::find(&mut tx, id).await?.ok_or(Error::not_found("tool"))?;
    store::versions(&mut tx, id).await
}

/// May the tool's requests leave at all? Said here, where it can be mended, as well as at each call.
fn check_reach(platform: &Platform, new: &NewVersion) -> Result<()> {
    if let Executor::Function(function) = &new.executor {
        return check_reach_of(platform, function);
    }
    new.executor.origin().map_or(Ok(()), |origin| check_origin(platform, "url", origin))
}

/// May a function call the hosts that it names?
pub(crate) fn check_reach_of(platform: &Platform, function: &FunctionTool) -> Result<()> {
    function.hosts.iter().try_for_each(|host| check_origin(platform, "hosts", host.as_str()))
}

fn check_origin(platform: &Platform, field: &'static str, origin: &str) -> Result<()> {
    let origin = url::Url::parse(origin).map_err(|error| Error::invalid(field, error.to_string()))?;
    platform.egress.check(&origin).map_err(|_| {
        Error::invalid(
            field,
            "tools reach public hosts only, by https:// on port 443, 8443 or one from 1024; the operator can allow others",
        )
    })
}

/// Builds a version: schema, digest, and what becomes of the secret.
async fn version(
    platform: &Platform,
    tx: &mut TenantTx,
    new: NewVersion,
    number: i32,
    before: Option<&ToolVersion>,
) -> Result<ToolVersion> {
    let now = platform.clock.now();
    let credential = credential_of(platform, tx, &new, before).await?;
    let schema = serde_json::value::to_raw_value(&new.executor.input_schema()).map_err(Error::internal)?;
    let mut digest = sha2::Sha256::new();
    for part in [new.title.as_str(), &new.description, new.effect.as_str(), schema.get()] {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    digest.update(serde_json::to_vec(&new.executor).map_err(Error::internal)?);
    Ok(ToolVersion {
        id: ToolVersionId::new(now),
        number,
        title: new.title,
        description: new.description,
        effect: new.effect,
        input_schema: schema,
        executor: new.executor,
        credential,
        price: new.price,
        digest: digest.finalize().into(),
        definition: None,
        created_at: now,
    })
}

/// Which credential the version uses. A secret goes to the origin it was entered for and to no other: with a new origin it is asked again.
async fn credential_of(
    platform: &Platform,
    tx: &mut TenantTx,
    new: &NewVersion,
    before: Option<&ToolVersion>,
) -> Result<Option<CredentialId>> {
    if !matches!(new.executor, Executor::Http(_) | Executor::Function(_)) {
        return Ok(None);
    }
    match (&new.secret, new.executor.secret_use()) {
        (SecretChange::Remove | SecretChange::Keep, None) => Ok(None),
        (SecretChange::Set(_), None) => {
            Err(Error::invalid("secret_header", "name the header that carries the secret, such as Authorization"))
        }
        (SecretChange::Remove, Some(_)) => Err(Error::invalid("secret", "enter the secret, or clear the name of its header")),
        (SecretChange::Keep, Some((_, origin))) => {
            let kept = before.and_then(|version| version.credential);
            let id = kept.ok_or_else(|| Error::invalid("secret", "enter the secret that the header carries"))?;
            if credential::origin_of(tx, id).await?.as_deref() == Some(origin) {
                Ok(Some(id))
            } else {
                Err(Error::invalid("secret", "it would now be sent to another host: enter the secret for it again"))
            }
        }
        (SecretChange::Set(secret), Some((_, origin))) => credential::seal(platform, tx, origin, secret).await.map(Some),
    }
}
