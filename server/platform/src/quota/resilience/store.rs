//! SQL of resilience.

use super::{Protected, Resilience, Terms};
use crate::{
    db::TenantTx,
    error::{Error, Result},
    ids::{SourceId, ToolId},
};

#[derive(sqlx::FromRow)]
struct Row {
    upstream: String,
    deadline_ms: Option<i32>,
    at_once: Option<i32>,
    breaker_share: Option<i32>,
    breaker_s: i32,
    retries: i32,
}

impl TryFrom<Row> for (Protected, Resilience) {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let upstream = Protected::parse(&row.upstream).ok_or_else(|| Error::internal("a stored upstream cannot be read"))?;
        let resilience = Resilience {
            deadline_ms: row.deadline_ms.map(i32::unsigned_abs),
            at_once: row.at_once.map(i32::unsigned_abs),
            breaker: Terms { share: row.breaker_share.map(i32::unsigned_abs), open_s: row.breaker_s.unsigned_abs() },
            retries: row.retries.try_into().map_err(Error::internal)?,
        };
        Ok((upstream, resilience))
    }
}

pub(super) async fn load(tx: &mut TenantTx) -> Result<Vec<(Protected, Resilience)>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT upstream, deadline_ms, at_once, breaker_share, breaker_s, retries FROM app.resilience WHERE tenant_id = $1",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

pub(super) async fn count(tx: &mut TenantTx) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM app.resilience WHERE tenant_id = $1")
        .bind(tx.tenant())
        .fetch_one(tx.connection())
        .await?)
}

/// Sources, and origins of tools that are served, with their names.
pub(super) async fn used(tx: &mut TenantTx) -> Result<Vec<(Protected, String, Option<ToolId>)>> {
    let sources: Vec<(SourceId, String)> =
        sqlx::query_as("SELECT id, name FROM app.sources WHERE tenant_id = $1 AND kind = 'mcp' ORDER BY name")
            .bind(tx.tenant())
            .fetch_all(tx.connection())
            .await?;
    let origins: Vec<(String, ToolId)> = sqlx::query_as(
        "SELECT DISTINCT ON (origin) COALESCE(v.executor ->> 'origin', substring(v.executor ->> 'url' FROM '^[a-z]+://[^/?#{]+')) AS origin, t.id
         FROM app.tools t
         JOIN app.tool_versions v ON v.tenant_id = t.tenant_id AND v.id = t.version_id
         WHERE t.tenant_id = $1 AND t.state = 'published' AND v.executor ->> 'kind' IN ('http', 'operation')
         ORDER BY origin, t.id",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    let origins = origins.into_iter().filter_map(|(origin, tool)| Some((Protected::parse(&origin)?, origin, Some(tool))));
    Ok(sources.into_iter().map(|(id, name)| (Protected::Source(id), name, None)).chain(origins).collect())
}

/// Does anything of the tenant call it?
pub(super) async fn is_used(tx: &mut TenantTx, upstream: &Protected) -> Result<bool> {
    let (source, origin) = match upstream {
        Protected::Source(id) => (Some(*id), None),
        // As it begins in a URL: what follows is a path.
        Protected::Origin(origin) => (None, Some(origin)),
    };
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM app.sources WHERE tenant_id = $1 AND id = $2)
             OR EXISTS (SELECT FROM app.tool_versions WHERE tenant_id = $1
                        AND (executor ->> 'origin' = $3 OR starts_with(executor ->> 'url', $3 || '/') OR executor ->> 'url' = $3))",
    )
    .bind(tx.tenant())
    .bind(source)
    .bind(origin)
    .fetch_one(tx.connection())
    .await?)
}

/// Without a row for what is the default.
pub(super) async fn set(tx: &mut TenantTx, upstream: &Protected, new: &Resilience) -> Result<()> {
    let text = upstream.to_text();
    if *new == Resilience::default() {
        sqlx::query("DELETE FROM app.resilience WHERE tenant_id = $1 AND upstream = $2")
            .bind(tx.tenant())
            .bind(text)
            .execute(tx.connection())
            .await?;
        return Ok(());
    }
    let number = |value: Option<u32>| value.map(i32::try_from).transpose().map_err(Error::internal);
    sqlx::query(
        "INSERT INTO app.resilience (tenant_id, upstream, deadline_ms, at_once, breaker_share, breaker_s, retries)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (tenant_id, upstream) DO UPDATE
         SET deadline_ms = $3, at_once = $4, breaker_share = $5, breaker_s = $6, retries = $7",
    )
    .bind(tx.tenant())
    .bind(text)
    .bind(number(new.deadline_ms)?)
    .bind(number(new.at_once)?)
    .bind(number(new.breaker.share)?)
    .bind(i32::try_from(new.breaker.open_s).map_err(Error::internal)?)
    .bind(i32::from(new.retries))
    .execute(tx.connection())
    .await?;
    Ok(())
}
