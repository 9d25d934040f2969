//! Picked operations become tools, in one transaction: all of them, or none.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use trunkline_protocol::oauth::scope::Effect;
use url::Url;

use super::{Api, Overrides, Pin, store};
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Difference, Event},
    catalog::{
        Executor, MAX_TOOLS, Operation, Price, Tool, ToolName, ToolVersion,
        credential::{self, Held},
        openapi,
        operation::ClientSecret,
        snapshot::LoadedTool,
        store::{self as tools, Standing},
    },
    db::TenantTx,
    epoch,
    error::{Error, Result},
    ids::{ApiId, CredentialId, OperationId, ToolId, ToolVersionId, uuid_v7},
    secret::{Plaintext, Rotating},
    vault,
};

/// What somebody decides when they publish.
#[derive(Debug)]
pub struct Publication {
    /// Where the API is.
    pub server: String,
    /// Names of tools that are new begin with it.
    pub prefix: String,
    /// Secrets by the name of their scheme, those that were entered now. Empty: the ones there are stay.
    pub secrets: BTreeMap<String, Plaintext>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// New tools.
    pub created: usize,
    /// New versions of tools.
    pub changed: usize,
    /// Tools that are disabled now.
    pub disabled: usize,
}

/// A picked operation, as it is stored.
pub(super) struct Picked {
    pub(super) id: OperationId,
    pub(super) name: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) effect: Effect,
    pub(super) input_schema: Box<serde_json::value::RawValue>,
    pub(super) operation: Operation,
    pub(super) server: Option<String>,
    pub(super) tool: Option<ToolId>,
    pub(super) overrides: Overrides,
}

/// Makes tools of everything that is picked; tools of what is not picked any more are disabled.
pub async fn publish(platform: &Platform, actor: &Member, id: ApiId, publication: Publication) -> Result<Published> {
    actor.require(Permission::ManageTools)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let mut api = store::lock(&mut tx, id).await?.ok_or(Error::not_found("API"))?;
    check_pin(platform, &api)?;
    let base = openapi::resolve_server(&publication.server, api.link.as_ref())?;
    check_reach(platform, &base)?;
    api.credential = credential_of(platform, &mut tx, &api, &base, &publication).await?;
    api.server = base.to_string();
    api.prefix.clone_from(&publication.prefix);
    let mut picked = store::picked(&mut tx, id).await?;
    for one in &mut picked {
        let overrides = std::mem::take(&mut one.overrides);
        overrides.apply(one)?;
    }
    if picked.is_empty() && store::tool_count(&mut tx, id).await? == 0 {
        return Err(Error::invalid("operations", "pick at least one operation"));
    }
    let published = make(platform, &mut tx, actor, &api, &base, picked, now).await?;
    store::update(&mut tx, &api).await?;
    audit::append(&mut tx, now, actor, &Event::ApiPublished(id)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(published)
}

/// Tools that would be published, with the secret that their requests carry: for trying one of them before anybody can.
pub(crate) struct Rehearsal {
    /// Those that only read, and the one that was asked for.
    pub(crate) tools: Vec<LoadedTool>,
    pub(crate) secret: Option<Rotating>,
}

/// What publishing would make, without making it: whatever is wrong with the form is told here already. `named`: a tool that is wanted although it
/// may change something.
pub(crate) async fn rehearse(
    platform: &Platform,
    actor: &Member,
    id: ApiId,
    publication: &Publication,
    named: &str,
) -> Result<Rehearsal> {
    actor.require(Permission::ManageTools)?;
    let now = platform.clock.now();
    // Never committed.
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let mut api = store::lock(&mut tx, id).await?.ok_or(Error::not_found("API"))?;
    check_pin(platform, &api)?;
    let base = openapi::resolve_server(&publication.server, api.link.as_ref())?;
    check_reach(platform, &base)?;
    api.credential = credential_of(platform, &mut tx, &api, &base, publication).await?;
    let secret = match api.credential {
        Some(id) => Some(open(platform, &mut tx, id).await?),
        None => None,
    };
    let mut rehearsed = Vec::new();
    for one in store::picked(&mut tx, id).await? {
        let name = openapi::prefixed(&publication.prefix, &one.name);
        if one.effect == Effect::Read || name == named {
            let version = version(platform, &api, &base, one, (1, Price::default()), now)?;
            rehearsed.push(LoadedTool::new(Tool::new(ToolId::new(now), ToolName::parse(&name)?, version, now))?);
        }
    }
    Ok(Rehearsal { tools: rehearsed, secret })
}

async fn open(platform: &Platform, tx: &mut TenantTx, id: CredentialId) -> Result<Rotating> {
    let held = Held::find(platform, tx, id).await?.ok_or_else(|| Error::internal("a secret is gone"))?;
    let keys = vault::find(tx, &platform.master_key).await?;
    held.open(keys.as_ref(), platform.clock.now()).map_err(Error::internal)
}

async fn make(
    platform: &Platform,
    tx: &mut TenantTx,
    actor: &Member,
    api: &Api,
    base: &Url,
    picked: Vec<Picked>,
    now: DateTime<Utc>,
) -> Result<Published> {
    let name_of = |one: &Picked| openapi::prefixed(&api.prefix, &one.name);
    let new: Vec<String> = picked.iter().filter(|one| one.tool.is_none()).map(name_of).collect();
    let adoptable: HashMap<String, ToolId> = store::adoptable(tx, &new).await?.into_iter().collect();
    let tool_of = |one: &Picked| one.tool.or_else(|| adoptable.get(&name_of(one)).copied());
    let ids: Vec<ToolId> = picked.iter().filter_map(tool_of).collect();
    let standing: HashMap<ToolId, Standing> =
        tools::standing(tx, &ids).await?.into_iter().map(|standing| (standing.tool, standing)).collect();
    let (mut created, mut versions, mut pairs, mut events) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for one in picked {
        let tool = tool_of(&one).and_then(|id| standing.get(&id));
        let number = tool.map_or(1, |tool| tool.newest + 1);
        let price = tool.map_or_else(Price::default, |tool| tool.price.into());
        let (operation, name) = (one.id, name_of(&one));
        let version = version(platform, api, base, one, (number, price), now)?;
        if let Some(tool) = tool {
            pairs.push((operation, tool.tool));
            if tool.digest != version.digest || tool.credential != version.credential {
                let difference = Difference::default().of("effect", tool.effect.as_str(), version.effect.as_str());
                events.push(Event::ToolPublished(tool.tool, number, difference));
                versions.push((tool.tool, version));
            }
        } else {
            let name = ToolName::parse(&name)?;
            let tool = Tool::new(ToolId::new(now), name, version, now);
            events.push(Event::ToolPublished(tool.id, number, Difference::default()));
            pairs.push((operation, tool.id));
            created.push(tool);
        }
    }
    check_room(tx, &created).await?;
    tools::insert_many(tx, &created, &versions, Some(actor.user)).await?;
    store::set_published(tx, &pairs).await?;
    let switched = store::switch_tools(tx, api.id).await?;
    events.extend(switched.iter().map(|(tool, on)| if *on { Event::ToolEnabled(*tool) } else { Event::ToolDisabled(*tool) }));
    for event in &events {
        audit::append(tx, now, actor, event).await?;
    }
    let disabled = switched.iter().filter(|(_, on)| !on).count();
    Ok(Published { created: created.len(), changed: versions.len(), disabled })
}

/// Are the names free, and is there room?
async fn check_room(tx: &mut TenantTx, created: &[Tool]) -> Result<()> {
    let room = MAX_TOOLS - tools::count(tx).await?;
    if i64::try_from(created.len()).unwrap_or(i64::MAX) > room {
        let message =
            format!("A tenant has at most {MAX_TOOLS} tools; there is room for {room} more, and {} are picked.", created.len());
        return Err(Error::conflict(message));
    }
    let names: Vec<&str> = created.iter().map(|tool| tool.name.as_str()).collect();
    let own: HashSet<&str> = names.iter().copied().collect();
    let taken = store::taken_names(tx, &names).await?;
    if let Some(first) = taken.first() {
        let message = format!(
            "{} of the names are taken by other tools, such as {first}; choose a prefix, such as the name of the API and “_”",
            taken.len()
        );
        return Err(Error::invalid("prefix", message));
    }
    if own.len() < names.len() {
        return Err(Error::invalid("operations", "two of the picked operations have the same name: give one of them another"));
    }
    Ok(())
}

/// The version that an operation is.
fn version(
    platform: &Platform,
    api: &Api,
    base: &Url,
    one: Picked,
    (number, price): (i32, Price),
    now: DateTime<Utc>,
) -> Result<ToolVersion> {
    let named = |error: Error| Error::invalid("server", format!("{}: {error}", one.name));
    let at = match &one.server {
        // Its own server is the document's choice; it is never below what somebody chose for the API.
        Some(own) => match openapi::resolve_server(own, api.link.as_ref()) {
            Ok(own) => own,
            Err(_) => base.clone(),
        },
        None => base.clone(),
    };
    check_reach(platform, &at).map_err(named)?;
    let mut operation = one.operation.at(&at).map_err(named)?;
    // Secrets go to the origin that they were entered for, and to no other.
    let is_home = at.origin() == base.origin();
    if !is_home {
        operation.security.clear();
    }
    let credential = api.credential.filter(|_| is_home && !operation.security.is_empty());
    let executor = Executor::Operation(operation);
    let mut digest = Sha256::new();
    for part in [one.title.as_str(), &one.description, one.effect.as_str(), one.input_schema.get()] {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    digest.update(serde_json::to_vec(&executor).map_err(Error::internal)?);
    Ok(ToolVersion {
        id: ToolVersionId::new(now),
        number,
        title: one.title,
        description: one.description,
        effect: one.effect,
        input_schema: one.input_schema,
        executor,
        credential,
        price,
        digest: digest.finalize().into(),
        definition: None,
        created_at: now,
    })
}

/// What the operator's manifest does not let be read is not published either.
fn check_pin(platform: &Platform, api: &Api) -> Result<()> {
    let objection = api.link.as_ref().and_then(|link| platform.settings.supply.manifest.objection(link, Pin(api.sha256)));
    objection.map_or(Ok(()), |why| Err(Error::conflict(format!("Nothing was published: {why}."))))
}

fn check_reach(platform: &Platform, url: &Url) -> Result<()> {
    platform.egress.check(url).map_err(|_| {
        Error::invalid(
            "server",
            "tools reach public hosts only, by https:// on port 443, 8443 or one from 1024; the operator can allow others",
        )
    })
}

/// A secret as it is sealed: one of a client with the token endpoint that it goes to.
fn to_seal(platform: &Platform, api: &Api, scheme: &str, secret: &str) -> Result<String> {
    let Some(token_url) = api.token_url(scheme) else { return Ok(secret.to_owned()) };
    let wrong = |what: &str| Error::invalid(format!("secret_{scheme}"), what);
    if secret.split_once(':').is_none_or(|(id, secret)| id.is_empty() || secret.is_empty()) {
        return Err(wrong("expected client_id:client_secret"));
    }
    platform.egress.check(token_url).map_err(|_| {
        wrong(
            "its token endpoint is not one that can be asked: public hosts only, by https:// on port 443, 8443 or one from 1024",
        )
    })?;
    let sealed = ClientSecret { pair: secret.to_owned(), token_url: token_url.clone() };
    serde_json::to_string(&sealed).map_err(Error::internal)
}

/// Secrets of clients go to the token endpoint that they were entered for: with another one they are asked again.
fn check_endpoints(api: &Api, kept: &BTreeMap<String, String>, entered: &BTreeMap<&str, &str>) -> Result<()> {
    for (scheme, sealed) in kept.iter().filter(|(scheme, _)| !entered.contains_key(scheme.as_str())) {
        let Some(token_url) = api.token_url(scheme) else { continue };
        let is_same = serde_json::from_str::<ClientSecret>(sealed).is_ok_and(|sealed| sealed.token_url == *token_url);
        if !is_same {
            let message = format!("its token endpoint is {token_url} now: enter client_id:client_secret for it again");
            return Err(Error::invalid(format!("secret_{scheme}"), message));
        }
    }
    Ok(())
}

/// Which credential its tools use. Secrets go to the origin they were entered for: with another server they are asked again.
async fn credential_of(
    platform: &Platform,
    tx: &mut TenantTx,
    api: &Api,
    base: &Url,
    publication: &Publication,
) -> Result<Option<CredentialId>> {
    let origin = base.origin().ascii_serialization();
    let entered = publication.secrets.iter().filter(|(_, secret)| !secret.reveal().is_empty());
    let entered: BTreeMap<&str, &str> = entered.map(|(scheme, secret)| (scheme.as_str(), secret.reveal())).collect();
    for (scheme, secret) in &entered {
        if secret.len() > 4096 || !secret.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Err(Error::invalid(format!("secret_{scheme}"), "expected 1 to 4096 visible ASCII characters"));
        }
    }
    if !entered.is_empty() {
        // Whoever exchanges one of the others meanwhile waits, or is waited for.
        vault::get_or_create(tx, &platform.master_key, uuid_v7(platform.clock.now())).await?;
    }
    let kept = match api.credential {
        Some(id) => Held::find(platform, tx, id).await?,
        None => None,
    };
    let is_kept = kept.as_ref().is_some_and(|kept| kept.origin() == origin);
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    if let (Some(kept), true) = (&kept, is_kept) {
        let keys = vault::find(tx, &platform.master_key).await?;
        let opened = kept.open(keys.as_ref(), platform.clock.now()).map_err(Error::internal)?;
        all = serde_json::from_str(opened.value().reveal()).map_err(Error::internal)?;
        check_endpoints(api, &all, &entered)?;
    }
    if entered.is_empty() {
        return match kept {
            Some(_) if !is_kept => Err(Error::invalid("server", "it is another host now: enter the secrets for it again")),
            other => Ok(other.map(|kept| kept.id())),
        };
    }
    for (scheme, secret) in entered {
        all.insert(scheme.to_owned(), to_seal(platform, api, scheme, secret)?);
    }
    let text = Plaintext::new(serde_json::to_string(&all).map_err(Error::internal)?);
    credential::seal(platform, tx, &origin, &text).await.map(Some)
}
