//! Agents: identities that call tools, with a ceiling of scopes. Keys: their long-lived secrets, meant for CI.
//!
//! What an agent may do at a call is decided in `gateway`; here it is set down.

mod agent;
mod key;
mod store;

use chrono::TimeDelta;
use trunkline_protocol::oauth::scope::ScopeSet;

pub use agent::{Agent, AgentName, AgentState, ListedAgent, NewAgent};
pub use key::{BearerKey, CreatedKey, Key, KeyCounts, KeyFilter, KeyState, ListedKey, NewKey};

use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Difference, Event},
    db::{
        TenantTx,
        page::{Found, Search},
    },
    epoch,
    error::{Error, Result},
    ids::{AgentId, KeyId, TenantId},
    quota::AgentLimits,
};

/// Longest life of a key, in days.
pub const MAX_KEY_DAYS: i64 = 366;
/// Keys of an agent that work at the same time: one, and its successor while it is rolled, twice over.
pub const MAX_ACTIVE_KEYS: usize = 4;
/// Scopes of one agent or key.
pub const MAX_SCOPES: usize = 200;

/// Creates an agent.
pub async fn create(platform: &Platform, actor: &Member, new: NewAgent) -> Result<Agent> {
    actor.require(Permission::ManageAgents)?;
    let now = platform.clock.now();
    let limits = new.limits;
    let agent = Agent::new(AgentId::new(now), new, now);
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::insert(&mut tx, &agent).await?;
    limits.store(&mut tx, now, agent.id).await?;
    audit::append(&mut tx, now, actor, &Event::AgentCreated(agent.id)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(agent)
}

/// Replaces name, description, ceiling and limits. Keys above a lowered ceiling keep working within it.
pub async fn update(platform: &Platform, actor: &Member, id: AgentId, new: NewAgent) -> Result<()> {
    actor.require(Permission::ManageAgents)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let before = store::lock(&mut tx, id).await?.ok_or(Error::not_found("agent"))?;
    let difference = AgentLimits::load(&mut tx, id).await?.note(&new.limits, before.note(&new));
    store::update(&mut tx, id, &new).await?;
    new.limits.store(&mut tx, now, id).await?;
    audit::append(&mut tx, now, actor, &Event::AgentChanged(id, difference)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// Stops an agent from calling, or lets it call again; from its next request on.
pub async fn set_state(platform: &Platform, actor: &Member, id: AgentId, state: AgentState) -> Result<()> {
    actor.require(Permission::ManageAgents)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::set_state(&mut tx, id, state).await?;
    let event = match state {
        AgentState::Active => Event::AgentResumed(id),
        AgentState::Suspended => Event::AgentSuspended(id),
    };
    audit::append(&mut tx, platform.clock.now(), actor, &event).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// Shows its callers two tools, to find and to call, instead of all; or all again. From the next list on.
pub async fn set_search_mode(platform: &Platform, actor: &Member, id: AgentId, on: bool) -> Result<()> {
    actor.require(Permission::ManageAgents)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::set_search_mode(&mut tx, id, on).await?;
    let difference = Difference::default().of("search_mode", !on, on);
    audit::append(&mut tx, platform.clock.now(), actor, &Event::AgentChanged(id, difference)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// An agent that was refused too often in one window: throttled, and suspended the third time within a day. It has done so itself: only who
/// shows its credential is counted.
pub(crate) async fn refused_too_often(platform: &Platform, tenant: TenantId, id: AgentId) -> Result<()> {
    let (now, ladder) = (platform.clock.now(), &platform.settings.quota.ladder);
    let until = now + TimeDelta::seconds(ladder.throttled_s.into());
    let mut tx = platform.db.tenant(tenant).await?;
    let most = i32::try_from(ladder.throttlings).unwrap_or(i32::MAX);
    let Some(is_suspended) = store::escalate(&mut tx, id, now, until, now - TimeDelta::days(1), most).await? else {
        return Ok(());
    };
    let event = if is_suspended { Event::AgentSuspendedForRefusals(id) } else { Event::AgentThrottled(id) };
    audit::append_all(&mut tx, now, None, &[event]).await?;
    tx.commit().await?;
    epoch::changed(platform, tenant).await;
    Ok(())
}

/// All agents by name.
pub async fn list(platform: &Platform, actor: &Member) -> Result<Vec<Agent>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::list(&mut tx).await
}

/// Agents that are suspended or throttled now, those that were refused too often first; at most 100.
pub async fn held_back(platform: &Platform, actor: &Member) -> Result<Vec<Agent>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::held_back(&mut tx, platform.clock.now(), 100).await
}

/// A page of the agents, by name.
pub async fn search(platform: &Platform, actor: &Member, search: &Search) -> Result<Found<ListedAgent>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::search(&mut tx, search, platform.clock.now()).await
}

/// The agent of exactly that name.
pub async fn find_by_name(platform: &Platform, actor: &Member, name: &str) -> Result<Option<AgentId>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::find_by_name(&mut tx, name).await
}

/// The limits that are set for one agent.
pub async fn limits(platform: &Platform, actor: &Member, id: AgentId) -> Result<AgentLimits> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    AgentLimits::load(&mut tx, id).await
}

/// One agent.
pub async fn get(platform: &Platform, actor: &Member, id: AgentId) -> Result<Agent> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::find(&mut tx, id).await?.ok_or(Error::not_found("agent"))
}

/// Keys of one agent, or of all, newest first. Revoked and expired ones too, since records name them.
pub async fn list_keys(platform: &Platform, actor: &Member, agent: Option<AgentId>) -> Result<Vec<Key>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::list_keys(&mut tx, agent).await
}

/// A page of the keys whose name or agent is looked for: working ones first, then the newest.
pub async fn search_keys(platform: &Platform, actor: &Member, filter: KeyFilter, search: &Search) -> Result<Found<ListedKey>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::search_keys(&mut tx, filter, search, platform.clock.now()).await
}

/// How many keys work, and how many of them deserve a look.
pub async fn count_keys(platform: &Platform, actor: &Member) -> Result<KeyCounts> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::count_keys(&mut tx, platform.clock.now()).await
}

/// Creates a key. Its text is in the answer and nowhere else.
pub async fn create_key(platform: &Platform, actor: &Member, agent: AgentId, new: NewKey) -> Result<CreatedKey> {
    actor.require(Permission::ManageKeys)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let created = insert_key(platform, actor, &mut tx, agent, new).await?;
    audit::append(&mut tx, platform.clock.now(), actor, &Event::KeyCreated(created.key.id, agent)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(created)
}

/// Gives a key a successor with the same name, scopes and life. The old one goes on for `overlap`, so that nothing stops meanwhile.
pub async fn roll_key(platform: &Platform, actor: &Member, id: KeyId, overlap: TimeDelta) -> Result<CreatedKey> {
    actor.require(Permission::ManageKeys)?;
    if overlap < TimeDelta::zero() || overlap > TimeDelta::days(30) {
        return Err(Error::invalid("overlap", "expected 0 to 30 days"));
    }
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let old = store::find_key(&mut tx, id).await?.ok_or(Error::not_found("key"))?;
    if old.state(now) != KeyState::Active {
        return Err(Error::conflict("Only a working key can be rolled. Create a new one instead."));
    }
    let days = (old.expires_at - old.created_at).num_days().clamp(1, MAX_KEY_DAYS);
    // The ceiling may have been lowered since: the successor keeps what is left.
    let agent = store::find(&mut tx, old.agent_id).await?.ok_or(Error::not_found("agent"))?;
    let scopes = old.scopes.within(&agent.scopes);
    if scopes.is_empty() {
        return Err(Error::conflict("Nothing of this key is left under its agent's scopes. Create a new one instead."));
    }
    let new = NewKey { name: old.name.clone(), scopes, days };
    store::expire_key(&mut tx, id, old.expires_at.min(now + overlap)).await?;
    let created = insert_key(platform, actor, &mut tx, old.agent_id, new).await?;
    let event = Event::KeyRolled { old: id, new: created.key.id, agent: old.agent_id };
    audit::append(&mut tx, now, actor, &event).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(created)
}

/// Ends a key at once. Gives whose it was.
pub async fn revoke_key(platform: &Platform, actor: &Member, id: KeyId) -> Result<AgentId> {
    actor.require(Permission::ManageKeys)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let key = store::find_key(&mut tx, id).await?.ok_or(Error::not_found("key"))?;
    if key.revoked_at.is_some() {
        return Ok(key.agent_id);
    }
    store::revoke_key(&mut tx, id, now).await?;
    audit::append(&mut tx, now, actor, &Event::KeyRevoked(id, key.agent_id)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(key.agent_id)
}

async fn insert_key(platform: &Platform, actor: &Member, tx: &mut TenantTx, agent: AgentId, new: NewKey) -> Result<CreatedKey> {
    let agent = store::lock(tx, agent).await?.ok_or(Error::not_found("agent"))?;
    if !agent.scopes.covers(&new.scopes) {
        return Err(Error::invalid("scopes", format!("a key cannot have more than its agent's ceiling ({})", agent.scopes)));
    }
    let now = platform.clock.now();
    let active = store::list_keys(tx, Some(agent.id)).await?.iter().filter(|key| key.state(now) == KeyState::Active).count();
    if active >= MAX_ACTIVE_KEYS {
        return Err(Error::conflict(format!("An agent has at most {MAX_ACTIVE_KEYS} working keys. Revoke one first.")));
    }
    let bearer = BearerKey::generate();
    let key = Key::new(KeyId::new(now), agent.id, new, &bearer, now);
    store::insert_key(tx, &key, &bearer, actor.user).await?;
    Ok(CreatedKey { key, text: bearer.into_text() })
}

/// Reads scopes from a form or a command line.
pub fn parse_scopes(text: &str) -> Result<ScopeSet> {
    let scopes = ScopeSet::parse(text).map_err(|error| Error::invalid("scopes", error.to_string()))?;
    if scopes.is_empty() {
        return Err(Error::invalid("scopes", "choose at least one, such as tools:read"));
    }
    if scopes.iter().count() > MAX_SCOPES {
        return Err(Error::invalid("scopes", format!("expected at most {MAX_SCOPES}")));
    }
    Ok(scopes)
}

/// Loads every agent and every working key of the tenant, for the snapshot.
pub(crate) async fn load(tx: &mut TenantTx) -> Result<(Vec<Agent>, Vec<store::StoredKey>)> {
    Ok((store::list(tx).await?, store::load_keys(tx).await?))
}

/// Notes that keys were used on a day; called by the record writer's tick, never on the path of a call.
pub(crate) async fn touch_keys(tx: &mut TenantTx, keys: &[KeyId], day: chrono::NaiveDate) -> Result<()> {
    store::touch_keys(tx, keys, day).await
}
