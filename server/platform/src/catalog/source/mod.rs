//! Sources: upstream servers whose definitions are imported, each locked by its digest until somebody, or the source's policy, takes a change.

mod conformance;
mod decide;
mod definition;
mod fetch;
mod names;
mod publish;
mod reconcile;
mod refresh;
#[expect(clippy::module_inception, reason = "one file per noun, and this is the noun")]
mod source;
pub(super) mod store;
mod trial;

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{AUTHORIZATION, HeaderName};
use url::Url;

pub use decide::{Decided, Pick, approve_changes, reject_changes, switch_off, switch_on};
pub use definition::{
    Change, ChangeState, Counts, DefinitionFilter, DefinitionState, ListedChange, ListedDefinition, ListedTool, Show,
};
pub use refresh::{Refreshed, Tally, refresh, refresh_due};
pub use source::{Changes, Meanwhile, NewDefinitions, NewSource, Policy, Source, SourceKind, SourceName, Stale, parse_url};

pub(crate) use trial::{Stopped, Trial};

pub use conformance::{create_conformance, switch_conformance};

pub use crate::upstream::Target;

use super::{
    SecretChange,
    credential::{self, Held},
    definition::ItemKind,
};
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Event},
    connections,
    db::{
        TenantTx,
        page::{Found, Search},
    },
    epoch,
    error::{Error, Result},
    ids::{CredentialId, DefinitionId, SourceId, TenantId},
    secret::{DataKeys, Plaintext, Rotating},
    upstream::UpstreamError,
    vault,
};

/// Sources of one tenant.
pub const MAX_SOURCES: i64 = 200;

/// A source in a list.
#[derive(Debug, Clone)]
pub struct ListedSource {
    /// The source.
    pub source: Source,
    /// Its definitions, by kind.
    pub counts: Vec<(ItemKind, Counts)>,
}

impl ListedSource {
    /// Its definitions of all kinds together.
    pub fn total(&self) -> Counts {
        self.counts.iter().fold(Counts::default(), |all, (_, of)| Counts {
            on: all.on + of.on,
            waiting: all.waiting + of.waiting,
            changed: all.changed + of.changed,
            blocked: all.blocked + of.blocked,
            off: all.off + of.off,
            removed: all.removed + of.removed,
        })
    }

    /// Its definitions of one kind.
    pub fn of(&self, kind: ItemKind) -> Counts {
        self.counts.iter().find(|(of, _)| *of == kind).map(|(_, counts)| *counts).unwrap_or_default()
    }
}

/// A definition with everything that is known of it.
#[derive(Debug, Clone)]
pub struct DefinitionDetail {
    /// As it stands.
    pub listed: ListedDefinition,
    /// Its changes that somebody decided about or should, newest first.
    pub changes: Vec<Change>,
}

/// Adds a source. It is read as soon as somebody asks, and by the next background round.
pub async fn create(platform: &Platform, actor: &Member, name: SourceName, prefix: bool, new: NewSource) -> Result<Source> {
    actor.require(Permission::ManageTools)?;
    check(platform, &new)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if store::count(&mut tx).await? >= MAX_SOURCES {
        return Err(Error::conflict(format!("A tenant has at most {MAX_SOURCES} sources.")));
    }
    let credential = credential_of(platform, &mut tx, &new, None).await?;
    let kind = SourceKind::Mcp { url: new.url, secret_header: new.secret_header, credential };
    let source = Source {
        id: SourceId::new(now),
        name,
        kind,
        enabled: true,
        prefix,
        policy: new.policy,
        default_effect: new.default_effect,
        timeout_ms: new.timeout_ms,
        refreshed_at: None,
        stale: None,
        notice: String::new(),
        created_at: now,
        edition: 1,
    };
    store::insert(&mut tx, &source, Some(actor.user)).await?;
    store::schedule(&mut tx, source.id, now).await?;
    audit::append(&mut tx, now, actor, &Event::SourceAdded(source.id)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(source)
}

/// Adds the origin of HTTP tools, so that people can connect their accounts with it.
pub async fn create_api(platform: &Platform, actor: &Member, name: SourceName, url: Url) -> Result<Source> {
    actor.require(Permission::ManageTools)?;
    reaches(platform, &url)?;
    if url.path() != "/" || url.query().is_some() {
        return Err(Error::invalid(
            "url",
            "expected the scheme and host that the tools have in common, such as https://api.example.com",
        ));
    }
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if store::count(&mut tx).await? >= MAX_SOURCES {
        return Err(Error::conflict(format!("A tenant has at most {MAX_SOURCES} sources.")));
    }
    if store::list(&mut tx).await?.iter().any(|other| other.kind == SourceKind::Api { url: url.clone() }) {
        return Err(Error::invalid("url", "there is a source of this host already"));
    }
    let source = Source {
        id: SourceId::new(now),
        name,
        kind: SourceKind::Api { url },
        enabled: true,
        prefix: false,
        policy: Policy::default(),
        default_effect: trunkline_protocol::oauth::scope::Effect::Destructive,
        timeout_ms: 30_000,
        refreshed_at: None,
        stale: None,
        notice: String::new(),
        created_at: now,
        edition: 1,
    };
    store::insert(&mut tx, &source, Some(actor.user)).await?;
    audit::append(&mut tx, now, actor, &Event::SourceAdded(source.id)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(source)
}

/// Changes where a source is, its secret, or how far it is trusted. Its name and prefix never change.
pub async fn update(platform: &Platform, actor: &Member, id: SourceId, new: NewSource) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    check(platform, &new)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let before = store::lock(&mut tx, id).await?.ok_or(Error::not_found("source"))?;
    let SourceKind::Mcp { credential: old, .. } = &before.kind else {
        return Err(Error::conflict("Of this source nothing can be changed; it can only be switched on and off."));
    };
    if connections::origin_of(&mut tx, id).await?.is_some_and(|origin| origin != new.origin()) {
        let message =
            "people have connected accounts for the host that it has now; go back to one credential for the tenant first";
        return Err(Error::invalid("url", message));
    }
    let kept = credential_of(platform, &mut tx, &new, *old).await?;
    let kind = SourceKind::Mcp { url: new.url, secret_header: new.secret_header, credential: kept };
    let (policy, default_effect, timeout_ms) = (new.policy, new.default_effect, new.timeout_ms);
    store::update(&mut tx, &Source { kind, policy, default_effect, timeout_ms, ..before.clone() }).await?;
    if let Some(old) = old.filter(|old| kept != Some(*old)) {
        credential::remove(&mut tx, old).await?;
    }
    if before.enabled {
        store::schedule(&mut tx, id, now).await?;
    }
    audit::append(&mut tx, now, actor, &Event::SourceChanged(id)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// Takes everything of a source out of every list and refuses its calls, or puts it back.
pub async fn set_enabled(platform: &Platform, actor: &Member, id: SourceId, enabled: bool) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let source = store::lock(&mut tx, id).await?.ok_or(Error::not_found("source"))?;
    store::set_enabled(&mut tx, id, enabled).await?;
    if enabled && !matches!(source.kind, SourceKind::Api { .. }) {
        store::schedule(&mut tx, id, now).await?;
    } else {
        store::unschedule(&mut tx, id).await?;
    }
    let event = if enabled { Event::SourceEnabled(id) } else { Event::SourceDisabled(id) };
    audit::append(&mut tx, now, actor, &event).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// Removes a source with its definitions and its secret. Its tools stay, disabled: records point at them.
pub async fn remove(platform: &Platform, actor: &Member, id: SourceId) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let source = store::lock(&mut tx, id).await?.ok_or(Error::not_found("source"))?;
    store::delete(&mut tx, id).await?;
    if let SourceKind::Mcp { credential: Some(credential), .. } = source.kind {
        credential::remove(&mut tx, credential).await?;
    }
    audit::append(&mut tx, platform.clock.now(), actor, &Event::SourceRemoved(id)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// Looks at a source now, for a member.
pub async fn refresh_now(platform: &Platform, actor: &Member, id: SourceId) -> Result<Refreshed> {
    actor.require(Permission::ManageTools)?;
    refresh(platform, actor.tenant, id).await
}

/// All sources by name.
pub async fn list(platform: &Platform, actor: &Member) -> Result<Vec<ListedSource>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let sources = store::list(&mut tx).await?;
    let counts = store::counts(&mut tx).await?;
    let of = |id: SourceId| counts.iter().filter(|(of, ..)| *of == id).map(|(_, kind, counts)| (*kind, *counts)).collect();
    Ok(sources.into_iter().map(|source| ListedSource { counts: of(source.id), source }).collect())
}

/// One source.
pub async fn get(platform: &Platform, actor: &Member, id: SourceId) -> Result<ListedSource> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let source = store::find(&mut tx, id).await?.ok_or(Error::not_found("source"))?;
    let counts = store::counts(&mut tx).await?;
    let counts = counts.into_iter().filter(|(of, ..)| *of == id).map(|(_, kind, counts)| (kind, counts)).collect();
    Ok(ListedSource { source, counts })
}

/// A page of a source's definitions: those with a change first, then by name.
pub async fn search_definitions(
    platform: &Platform,
    actor: &Member,
    id: SourceId,
    filter: DefinitionFilter,
    search: &Search,
) -> Result<Found<ListedDefinition>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::search(&mut tx, id, filter, search).await
}

/// One definition of a source.
pub async fn get_definition(platform: &Platform, actor: &Member, source: SourceId, id: DefinitionId) -> Result<DefinitionDetail> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let listed = store::listed(&mut tx, source, &[id]).await?.pop().ok_or(Error::not_found("definition"))?;
    let changes = store::changes(&mut tx, id).await?;
    Ok(DefinitionDetail { listed, changes })
}

/// May requests to it leave at all? Said here, where it can be mended, as well as at each request.
fn check(platform: &Platform, new: &NewSource) -> Result<()> {
    new.check()?;
    reaches(platform, &new.url)
}

fn reaches(platform: &Platform, url: &Url) -> Result<()> {
    platform.egress.check(url).map_err(|_| {
        Error::invalid(
            "url",
            "sources are reached on public hosts only, by https:// on port 443, 8443 or one from 1024; the operator can allow others",
        )
    })
}

/// Which credential the source uses. A secret goes to the origin it was entered for and to no other: with a new origin it is asked again.
async fn credential_of(
    platform: &Platform,
    tx: &mut TenantTx,
    new: &NewSource,
    before: Option<CredentialId>,
) -> Result<Option<CredentialId>> {
    let origin = new.origin();
    match (&new.secret, &new.secret_header) {
        (SecretChange::Remove | SecretChange::Keep, None) => Ok(None),
        (SecretChange::Set(_), None) => {
            Err(Error::invalid("secret_header", "name the header that carries the secret, such as Authorization"))
        }
        (SecretChange::Remove, Some(_)) => Err(Error::invalid("secret", "enter the secret, or clear the name of its header")),
        (SecretChange::Keep, Some(_)) => {
            let id = before.ok_or_else(|| Error::invalid("secret", "enter the secret that the header carries"))?;
            if credential::origin_of(tx, id).await?.as_deref() == Some(origin.as_str()) {
                Ok(Some(id))
            } else {
                Err(Error::invalid("secret", "the URL now leads to another host: enter the secret for it again"))
            }
        }
        (SecretChange::Set(secret), Some(_)) => credential::seal(platform, tx, &origin, secret).await.map(Some),
    }
}

/// How a source is reached, with its secret opened.
async fn reached(platform: &Platform, tx: &mut TenantTx, source: &Source) -> Result<Option<Reached>> {
    let held = match source.credential() {
        Some(id) => Held::find(platform, tx, id).await?,
        None => None,
    };
    let keys = vault::find(tx, &platform.master_key).await?;
    source.reached(tx.tenant(), held.as_ref(), keys.as_ref(), platform.clock.now())
}

/// A source, and how its lists are read: with the tenant's secret, or the account of whoever set the accounts up. `None`: not over the network.
pub(crate) async fn reach(platform: &Platform, tenant: TenantId, id: SourceId) -> Result<Option<(Source, Option<Target>)>> {
    let mut tx = platform.db.tenant(tenant).await?;
    let Some(source) = store::find(&mut tx, id).await? else { return Ok(None) };
    let reached = reached(platform, &mut tx, &source).await?;
    let accounts = connections::reader_of(&mut tx, id).await?;
    tx.commit().await?;
    let mut target = match reached {
        Some(reached) => Some(reached.working(platform).await),
        None => None,
    };
    if let (Some(reader), true) = (&accounts, source.credential().is_none()) {
        let token = connections::reader_token(platform, tenant, reader).await?;
        target = token.as_ref().and_then(|token| source.target_of_person(tenant, token)).or(target);
    }
    Ok(Some((source, target)))
}

/// How a source is reached: with its secret, and for a while with the one before.
pub(crate) struct Reached {
    /// As it should be.
    pub(crate) target: Target,
    secret: Option<Rotating>,
}

impl Reached {
    /// The same with the secret before, while that is kept.
    pub(crate) fn before(&self) -> Option<Target> {
        let (name, _) = self.target.header.clone()?;
        let previous = self.secret.as_ref()?.previous()?.clone();
        Some(Target { header: Some((name, previous)), ..self.target.clone() })
    }

    /// The server refused the one secret and took the other.
    pub(crate) fn note_refusal(&self) {
        if let Some(secret) = &self.secret {
            secret.note_refusal();
        }
    }

    /// The one that the server takes, for what cannot be repeated request by request. It is asked while an overlap runs, and only then.
    pub(crate) async fn working(self, platform: &Platform) -> Target {
        let Some(before) = self.before() else { return self.target };
        match platform.upstreams.probe(&platform.egress, &self.target).await {
            Err(UpstreamError::Unauthorized) => {
                self.note_refusal();
                before
            }
            _ => self.target,
        }
    }
}

impl Source {
    /// How it is reached; `None` if not over the network.
    pub(super) fn reached(
        &self,
        tenant: TenantId,
        held: Option<&Held>,
        keys: Option<&DataKeys>,
        now: DateTime<Utc>,
    ) -> Result<Option<Reached>> {
        let SourceKind::Mcp { url, secret_header, .. } = &self.kind else { return Ok(None) };
        let Some(name) = secret_header else {
            return Ok(Some(Reached { target: self.target_at(tenant, url, None), secret: None }));
        };
        let held = held.ok_or_else(|| Error::internal("a source's secret is gone"))?;
        let secret = held.open(keys, now).map_err(Error::internal)?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(Error::internal)?;
        let target = self.target_at(tenant, url, Some((name, secret.value().clone())));
        Ok(Some(Reached { target, secret: Some(secret) }))
    }

    /// The same with a person's token instead of the tenant's secret.
    pub(crate) fn target_of_person(&self, tenant: TenantId, token: &Plaintext) -> Option<Target> {
        let SourceKind::Mcp { url, .. } = &self.kind else { return None };
        let bearer = Plaintext::new(format!("Bearer {}", token.reveal()));
        Some(self.target_at(tenant, url, Some((AUTHORIZATION, bearer))))
    }

    fn target_at(&self, tenant: TenantId, url: &Url, header: Option<(HeaderName, Plaintext)>) -> Target {
        let deadline = Duration::from_millis(self.timeout_ms.into());
        Target { tenant, source: self.id, url: url.clone(), header, deadline }
    }
}
