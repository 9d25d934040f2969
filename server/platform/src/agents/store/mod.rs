//! SQL of agents. Their keys have a file of their own.

mod keys;

use chrono::{DateTime, Utc};
use trunkline_protocol::oauth::scope::ScopeSet;

use super::agent::{Agent, AgentState, ListedAgent, NewAgent};
use crate::{
    context::Model,
    db::{
        TenantTx,
        page::{Found, Search},
    },
    error::{Error, Result, is_unique_violation},
    ids::AgentId,
};

pub(crate) use keys::StoredKey;
pub(super) use keys::{count_keys, expire_key, find_key, insert_key, list_keys, load_keys, revoke_key, search_keys, touch_keys};

#[derive(sqlx::FromRow)]
struct AgentRow {
    id: AgentId,
    name: String,
    description: String,
    scopes: Vec<String>,
    state: String,
    state_reason: String,
    state_until: Option<DateTime<Utc>>,
    limits_as_results: bool,
    model_name: String,
    model_input_micro: Option<i64>,
    search_mode: bool,
    created_at: DateTime<Utc>,
}

fn scopes_from(stored: &[String]) -> Result<ScopeSet> {
    ScopeSet::parse(&stored.join(" ")).map_err(Error::internal)
}

fn scopes_to(scopes: &ScopeSet) -> Vec<String> {
    scopes.iter().map(ToString::to_string).collect()
}

impl TryFrom<AgentRow> for Agent {
    type Error = Error;

    fn try_from(row: AgentRow) -> Result<Self> {
        Ok(Self {
            id: row.id,
            name: Self::restore(row.name),
            description: row.description,
            scopes: scopes_from(&row.scopes)?,
            state: if row.state == AgentState::Suspended.as_str() { AgentState::Suspended } else { AgentState::Active },
            was_refused: row.state_reason == REFUSALS,
            throttled_until: row.state_until,
            limits_as_results: row.limits_as_results,
            model: row.model_input_micro.map(|input_micro| Model { name: row.model_name, input_micro }),
            search_mode: row.search_mode,
            created_at: row.created_at,
        })
    }
}

/// Why an agent is throttled or suspended without a person's doing.
const REFUSALS: &str = "refusals";

fn name_taken(error: sqlx::Error) -> Error {
    if is_unique_violation(&error) { Error::invalid("name", "another agent has this name") } else { error.into() }
}

pub(super) async fn insert(tx: &mut TenantTx, agent: &Agent) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.agents
           (id, tenant_id, name, description, scopes, state, created_at, limits_as_results, model_name, model_input_micro)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(agent.id)
    .bind(tx.tenant())
    .bind(agent.name.as_str())
    .bind(&agent.description)
    .bind(scopes_to(&agent.scopes))
    .bind(agent.state.as_str())
    .bind(agent.created_at)
    .bind(agent.limits_as_results)
    .bind(agent.model.as_ref().map_or("", |model| &model.name))
    .bind(agent.model.as_ref().map(|model| model.input_micro))
    .execute(tx.connection())
    .await
    .map_err(name_taken)?;
    Ok(())
}

pub(super) async fn update(tx: &mut TenantTx, id: AgentId, new: &NewAgent) -> Result<()> {
    let done = sqlx::query(
        "UPDATE app.agents
         SET name = $3, description = $4, scopes = $5, limits_as_results = $6, model_name = $7, model_input_micro = $8
         WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tx.tenant())
    .bind(id)
    .bind(new.name.as_str())
    .bind(&new.description)
    .bind(scopes_to(&new.scopes))
    .bind(new.limits_as_results)
    .bind(new.model.as_ref().map_or("", |model| &model.name))
    .bind(new.model.as_ref().map(|model| model.input_micro))
    .execute(tx.connection())
    .await
    .map_err(name_taken)?;
    if done.rows_affected() == 0 { Err(Error::not_found("agent")) } else { Ok(()) }
}

pub(super) async fn set_search_mode(tx: &mut TenantTx, id: AgentId, on: bool) -> Result<()> {
    let done = sqlx::query("UPDATE app.agents SET search_mode = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(on)
        .execute(tx.connection())
        .await?;
    if done.rows_affected() == 0 { Err(Error::not_found("agent")) } else { Ok(()) }
}

pub(super) async fn set_state(tx: &mut TenantTx, id: AgentId, state: AgentState) -> Result<()> {
    let done = sqlx::query(
        "UPDATE app.agents SET state = $3, state_reason = '', state_until = NULL, throttled_at = '{}' WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tx.tenant())
    .bind(id)
    .bind(state.as_str())
    .execute(tx.connection())
    .await?;
    if done.rows_affected() == 0 { Err(Error::not_found("agent")) } else { Ok(()) }
}

/// The next step of the ladder for an agent that is neither throttled nor suspended: throttled until then, or, the `most`th time since that
/// moment, suspended. `None`: somebody else was here. Gives whether it is suspended.
pub(super) async fn escalate(
    tx: &mut TenantTx,
    id: AgentId,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
    since: DateTime<Utc>,
    most: i32,
) -> Result<Option<bool>> {
    Ok(sqlx::query_scalar(
        "WITH counted AS (
             SELECT id, ARRAY(SELECT at FROM unnest(throttled_at) AS at WHERE at > $5) || $3::timestamptz AS times
             FROM app.agents
             WHERE tenant_id = $1 AND id = $2 AND (state = 'active' OR state = 'throttled' AND state_until <= $3) FOR UPDATE)
         UPDATE app.agents a
         SET state = CASE WHEN cardinality(c.times) >= $6 THEN 'suspended' ELSE 'throttled' END,
             state_until = CASE WHEN cardinality(c.times) >= $6 THEN NULL ELSE $4::timestamptz END,
             state_reason = $7, throttled_at = c.times
         FROM counted c WHERE a.tenant_id = $1 AND a.id = c.id RETURNING a.state = 'suspended'",
    )
    .bind(tx.tenant())
    .bind(id)
    .bind(now)
    .bind(until)
    .bind(since)
    .bind(most)
    .bind(REFUSALS)
    .fetch_optional(tx.connection())
    .await?)
}

pub(super) async fn list(tx: &mut TenantTx) -> Result<Vec<Agent>> {
    let rows: Vec<AgentRow> = sqlx::query_as(
        "SELECT id, name, description, scopes, state, state_reason, state_until, limits_as_results, model_name, model_input_micro, search_mode, created_at FROM app.agents WHERE tenant_id = $1 ORDER BY name",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Agent::try_from).collect()
}

/// Those that may not call, or less than they could, the latest stopped by themselves first.
pub(super) async fn held_back(tx: &mut TenantTx, now: DateTime<Utc>, most: i64) -> Result<Vec<Agent>> {
    let rows: Vec<AgentRow> = sqlx::query_as(
        "SELECT id, name, description, scopes, state, state_reason, state_until, limits_as_results, model_name, model_input_micro, search_mode, created_at FROM app.agents
         WHERE tenant_id = $1 AND (state = 'suspended' OR state = 'throttled' AND state_until > $2)
         ORDER BY state_reason = '', state, name LIMIT $3",
    )
    .bind(tx.tenant())
    .bind(now)
    .bind(most)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Agent::try_from).collect()
}

pub(super) async fn search(tx: &mut TenantTx, search: &Search, now: DateTime<Utc>) -> Result<Found<ListedAgent>> {
    #[derive(sqlx::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        agent: AgentRow,
        live_keys: i64,
    }
    let total = sqlx::query_scalar("SELECT count(*) FROM app.agents WHERE tenant_id = $1 AND strpos(lower(name), $2) > 0")
        .bind(tx.tenant())
        .bind(search.pattern())
        .fetch_one(tx.connection())
        .await?;
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT a.id, a.name, a.description, a.scopes, a.state, a.state_reason, a.state_until, a.limits_as_results, a.model_name, a.model_input_micro, a.search_mode, a.created_at,
                (SELECT count(*) FROM app.keys k
                 WHERE k.tenant_id = a.tenant_id AND k.agent_id = a.id AND k.revoked_at IS NULL AND k.expires_at > $3) AS live_keys
         FROM app.agents a
         WHERE a.tenant_id = $1 AND strpos(lower(a.name), $2) > 0
         ORDER BY lower(a.name), a.id LIMIT $4 OFFSET $5",
    )
    .bind(tx.tenant())
    .bind(search.pattern())
    .bind(now)
    .bind(search.limit())
    .bind(search.offset())
    .fetch_all(tx.connection())
    .await?;
    let listed = |row: Row| Ok(ListedAgent { agent: row.agent.try_into()?, live_keys: row.live_keys });
    Ok(search.found(rows.into_iter().map(listed).collect::<Result<_>>()?, total))
}

pub(super) async fn find_by_name(tx: &mut TenantTx, name: &str) -> Result<Option<AgentId>> {
    Ok(sqlx::query_scalar("SELECT id FROM app.agents WHERE tenant_id = $1 AND name = $2")
        .bind(tx.tenant())
        .bind(name)
        .fetch_optional(tx.connection())
        .await?)
}

pub(super) async fn find(tx: &mut TenantTx, id: AgentId) -> Result<Option<Agent>> {
    let row: Option<AgentRow> = sqlx::query_as(
        "SELECT id, name, description, scopes, state, state_reason, state_until, limits_as_results, model_name, model_input_micro, search_mode, created_at FROM app.agents WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tx.tenant())
    .bind(id)
    .fetch_optional(tx.connection())
    .await?;
    row.map(Agent::try_from).transpose()
}

/// The agent, held so that two keys made at once count each other.
pub(super) async fn lock(tx: &mut TenantTx, id: AgentId) -> Result<Option<Agent>> {
    let row: Option<AgentRow> = sqlx::query_as(
        "SELECT id, name, description, scopes, state, state_reason, state_until, limits_as_results, model_name, model_input_micro, search_mode, created_at FROM app.agents WHERE tenant_id = $1 AND id = $2 FOR UPDATE",
    )
    .bind(tx.tenant())
    .bind(id)
    .fetch_optional(tx.connection())
    .await?;
    row.map(Agent::try_from).transpose()
}
