//! A document that is not the pinned one: what it changes, and what somebody decides about it. What is approved is the very bytes that were looked at.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    super::{
        api::{Api, Document, Tally},
        read, store as apis,
    },
    Pin, notice, store,
};
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Event},
    catalog::openapi,
    db::TenantTx,
    error::{Error, Result},
    ids::{ApiId, TenantId},
};

/// What a person brought is not taken off their desk by what is read in the background, for so long.
const DESK: TimeDelta = TimeDelta::days(1);
/// Between two letters about an API, while nobody decides about what was told.
const AGAIN: TimeDelta = TimeDelta::days(1);

/// A document that waits for somebody to decide.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its digest.
    pub pin: Pin,
    /// Its length.
    pub bytes: usize,
    /// Where it was read from; `None`: it was uploaded.
    pub link: Option<Url>,
    /// As it has it.
    pub title: String,
    /// As it has it.
    pub version: String,
    /// What it changes.
    pub review: Review,
    /// Did a person bring it?
    pub is_brought: bool,
    /// When it was first read.
    pub found_at: DateTime<Utc>,
    /// When it was last read.
    pub seen_at: DateTime<Utc>,
}

/// What a document changes, compared with the pinned one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Operations that are new.
    pub added: Part,
    /// Operations that are described otherwise.
    pub changed: Part,
    /// Operations that are gone.
    pub removed: Part,
    /// Where the API is served, before and after, if that is not the same.
    pub servers: Option<(Vec<String>, Vec<String>)>,
    /// Ways to prove who calls that are new, gone or otherwise, with the place where their tokens come from.
    pub schemes: Vec<String>,
}

impl Review {
    /// Do all operations, servers and schemes stay as they are?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Operations of one fate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// All of them.
    pub count: usize,
    /// The first of them, tools before others.
    pub items: Vec<Item>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Method and path.
    pub key: String,
    /// Is it a tool?
    pub is_tool: bool,
    /// What of it is otherwise.
    pub what: Vec<String>,
    /// Its description before and after, where that is otherwise.
    pub description: Option<(String, String)>,
}

/// What came of reading a document again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The pinned one.
    Same,
    /// Another one, which waits for a person.
    Waits(Pin),
    /// Another one, about which somebody has said that it is not wanted; or which has to wait until a person has decided about what they brought.
    Ignored,
}

/// A document on its way into the database, with what is described in it.
pub(super) struct Brought {
    pub(super) pin: Pin,
    pub(super) document: Document,
    pub(super) described: openapi::Api,
}

impl Brought {
    /// Reads it, away from the threads that answer.
    pub(super) async fn read(document: Document) -> Result<Self> {
        let pin = Pin::of(&document.bytes);
        let (document, described) = read(document).await?;
        Ok(Self { pin, document, described })
    }
}

/// The document that waits for a decision about this API, if one does.
pub async fn change(platform: &Platform, actor: &Member, id: ApiId) -> Result<Option<Change>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::pending(&mut tx, id).await
}

/// Brings a document of the same API: what is not the pinned one waits to be approved, and nothing of it is used until then.
pub async fn propose(platform: &Platform, actor: &Member, id: ApiId, document: Document) -> Result<Found> {
    actor.require(Permission::ManageTools)?;
    let brought = Brought::read(document).await?;
    note(platform, actor.tenant, id, brought, Some(actor)).await
}

/// Notes what was read: by a person, or in the background.
pub(super) async fn note(
    platform: &Platform,
    tenant: TenantId,
    id: ApiId,
    brought: Brought,
    by: Option<&Member>,
) -> Result<Found> {
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(tenant).await?;
    let api = apis::lock(&mut tx, id).await?.ok_or(Error::not_found("API"))?;
    let is_own_link = api.link.is_some() && brought.document.link == api.link;
    let mut events = Vec::new();
    if is_own_link {
        events.extend(well(&mut tx, &api).await?);
    }
    if let Some(by) = by {
        audit::append(&mut tx, now, by, &Event::ApiReadAgain(id)).await?;
    }
    let found = if brought.pin == Pin(api.sha256) {
        if is_own_link {
            store::set_verified(&mut tx, id, now).await?;
        }
        same(&mut tx, &api, by, now, &mut events).await?
    } else {
        other(platform, &mut tx, &api, brought, by, &mut events).await?
    };
    audit::append_all(&mut tx, now, by, &events).await?;
    tx.commit().await?;
    Ok(found)
}

/// Its link can be read, whatever it leads to.
async fn well(tx: &mut TenantTx, api: &Api) -> Result<Option<Event>> {
    let was_told = store::set_readable(tx, api.id).await?;
    Ok(was_told.then_some(Event::ApiReadable(api.id)))
}

/// The pinned document again: what its link led to meanwhile needs no decision. What a person brought does, unless they brought this instead.
async fn same(tx: &mut TenantTx, api: &Api, by: Option<&Member>, now: DateTime<Utc>, events: &mut Vec<Event>) -> Result<Found> {
    let waits = store::pending(tx, api.id).await?;
    if let Some(change) = waits.filter(|change| !change.is_brought || by.is_some()) {
        store::settle(tx, api.id, "returned", None, now).await?;
        events.push(Event::ApiDescriptionReturned(api.id, change.pin.to_string()));
    }
    Ok(Found::Same)
}

async fn other(
    platform: &Platform,
    tx: &mut TenantTx,
    api: &Api,
    brought: Brought,
    by: Option<&Member>,
    events: &mut Vec<Event>,
) -> Result<Found> {
    let now = platform.clock.now();
    let (pin, waits) = (brought.pin, store::pending(tx, api.id).await?);
    if let Some(change) = &waits {
        if change.pin == pin {
            store::touch(tx, api.id, pin, now).await?;
            return Ok(Found::Waits(pin));
        }
        if by.is_none() && change.is_brought && change.seen_at > now - DESK {
            return Ok(Found::Ignored);
        }
    }
    let known = store::known(tx, api.id, pin).await?;
    if let Some(change) = &waits {
        store::settle(tx, api.id, "replaced", None, now).await?;
        events.push(Event::ApiDescriptionReplaced(api.id, change.pin.to_string()));
    }
    if by.is_none() && known.as_ref().is_some_and(|known| known.is_dismissed) {
        store::touch(tx, api.id, pin, now).await?;
        return Ok(Found::Ignored);
    }
    let rows = apis::rows(brought.described.operations, now)?;
    let review = store::compare(tx, api, &rows, &brought.described.servers, &brought.described.schemes).await?;
    let change = Change {
        pin,
        bytes: brought.document.bytes.len(),
        link: brought.document.link,
        title: brought.described.title,
        version: brought.described.version,
        review,
        is_brought: by.is_some(),
        found_at: now,
        seen_at: now,
    };
    store::put_pending(tx, api.id, &change, &brought.document.bytes, by.map(|by| by.user)).await?;
    store::prune(tx, api.id).await?;
    events.push(Event::ApiDescriptionChanged(api.id, Pin(api.sha256).to_string(), pin.to_string()));
    // One letter per document. While one that was told waits for somebody, others do not come faster than this.
    let is_told = known.is_some_and(|known| known.is_told);
    let is_soon = waits.is_some() && store::last_told(tx, api.id).await?.is_some_and(|at| at > now - AGAIN);
    if by.is_none() && !is_told && !is_soon {
        notice::tell_change(platform, tx, api, &change).await?;
        store::set_told(tx, api.id, pin, now).await?;
    }
    Ok(Found::Waits(pin))
}

/// Approves the document that waits: it is pinned from now on, and its operations stand to be published. `seen`: the digest that somebody looked at,
/// and nothing else is approved.
pub async fn approve(platform: &Platform, actor: &Member, id: ApiId, seen: &str) -> Result<Tally> {
    actor.require(Permission::ManageTools)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let before = apis::find(&mut tx, id).await?.ok_or(Error::not_found("API"))?.api;
    let pin = agreed(&mut tx, id, seen).await?;
    let document = store::document(&mut tx, id, pin).await?;
    tx.commit().await?;
    let brought = Brought::read(document.ok_or_else(settled)?).await?;
    if brought.pin != pin {
        return Err(Error::internal("a kept document does not have its digest"));
    }
    // It stands for that link from now on.
    let link = brought.document.link.clone().or_else(|| before.link.clone());
    if let Some(why) = link.as_ref().and_then(|link| platform.settings.supply.manifest.objection(link, brought.pin)) {
        return Err(Error::conflict(format!("Nothing was approved: {why}.")));
    }
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let before = apis::lock(&mut tx, id).await?.ok_or(Error::not_found("API"))?;
    agreed(&mut tx, id, seen).await?;
    let Brought { pin, document, described } = brought;
    let old = Pin(before.sha256);
    let is_read = document.link.is_some();
    let api = Api {
        title: described.title,
        version: described.version,
        link,
        sha256: pin.0,
        bytes: document.bytes.len(),
        servers: described.servers,
        schemes: described.schemes,
        read_at: now,
        ..before
    };
    let operations = apis::rows(described.operations, now)?;
    let tally = apis::replace_operations(&mut tx, id, &operations).await?;
    apis::update(&mut tx, &api).await?;
    store::settle(&mut tx, id, "approved", Some(actor.user), now).await?;
    super::rounds::begin(platform, &mut tx, &api, is_read).await?;
    audit::append(&mut tx, now, actor, &Event::ApiDescriptionApproved(id, old.to_string(), pin.to_string())).await?;
    tx.commit().await?;
    Ok(tally)
}

/// Goes on with the pinned document, and is not told of this one again.
pub async fn dismiss(platform: &Platform, actor: &Member, id: ApiId, seen: &str) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    apis::lock(&mut tx, id).await?.ok_or(Error::not_found("API"))?;
    let pin = agreed(&mut tx, id, seen).await?;
    store::settle(&mut tx, id, "dismissed", Some(actor.user), now).await?;
    audit::append(&mut tx, now, actor, &Event::ApiDescriptionDismissed(id, pin.to_string())).await?;
    tx.commit().await
}

/// Is what waits what was looked at?
async fn agreed(tx: &mut TenantTx, id: ApiId, seen: &str) -> Result<Pin> {
    let waits = store::pending(tx, id).await?.ok_or_else(settled)?;
    if waits.pin.to_string() == seen {
        return Ok(waits.pin);
    }
    let seen: String = seen.chars().take(64).collect();
    Err(Error::conflict(format!(
        "Nothing was decided: you looked at the document {seen}, and what waits now is {}. See what that one changes.",
        waits.pin
    )))
}

fn settled() -> Error {
    Error::conflict(
        "Nothing waits for a decision any more: the link leads to the pinned document again, or somebody has decided.",
    )
}
