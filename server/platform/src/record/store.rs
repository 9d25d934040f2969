//! SQL of the record. One transaction per batch: calls, audit entries, sums.

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use crate::{
    Platform,
    call::Entry,
    db::{RecordTx, SystemTx},
    error::Result,
    ids::{EntryId, GrantId, KeyId, UserId},
    usage,
};

/// The position up to which a spool's entries are here; 0 for one that is not known.
pub(super) async fn register(platform: &Platform, name: Uuid) -> Result<u64> {
    let mut tx = platform.db.record().await?;
    sqlx::query("INSERT INTO app.spools (id, position, seen_at) VALUES ($1, 0, $2) ON CONFLICT (id) DO NOTHING")
        .bind(name)
        .bind(platform.clock.now())
        .execute(tx.connection())
        .await?;
    let position: i64 =
        sqlx::query_scalar("SELECT position FROM app.spools WHERE id = $1").bind(name).fetch_one(tx.connection()).await?;
    tx.commit().await?;
    Ok(u64::try_from(position).unwrap_or(0))
}

/// Writes a batch and its position. What is there already, by position or by id, is left alone and not counted again.
pub(super) async fn write(platform: &Platform, name: Uuid, load: &[(u64, Option<Entry>, Vec<u8>)]) -> Result<()> {
    let Some((last, ..)) = load.last() else { return Ok(()) };
    let mut tx = platform.db.record().await?;
    let before = advance(&mut tx, name, *last, platform.clock.now()).await?;
    let entries: Vec<&Entry> =
        load.iter().filter(|(position, ..)| *position > before).filter_map(|(_, entry, _)| entry.as_ref()).collect();
    let new = insert_calls(&mut tx, &entries).await?;
    let mut new: std::collections::HashSet<EntryId> = new.into_iter().collect();
    let fresh: Vec<&Entry> = entries.into_iter().filter(|entry| new.remove(&entry.id)).collect();
    insert_audit(&mut tx, &fresh).await?;
    usage::add(&mut tx, &fresh).await?;
    tx.commit().await
}

/// Takes the spool's row, so that a batch that is written twice waits for itself, and gives the position before.
async fn advance(tx: &mut RecordTx, name: Uuid, to: u64, now: DateTime<Utc>) -> Result<u64> {
    let before: i64 = sqlx::query_scalar(
        "UPDATE app.spools s SET position = GREATEST(s.position, $2), seen_at = $3
         FROM (SELECT id, position FROM app.spools WHERE id = $1 FOR UPDATE) AS before
         WHERE s.id = before.id
         RETURNING before.position",
    )
    .bind(name)
    .bind(i64::try_from(to).unwrap_or(i64::MAX))
    .bind(now)
    .fetch_one(tx.connection())
    .await?;
    Ok(u64::try_from(before).unwrap_or(0))
}

/// One column of all entries.
macro_rules! column {
    ($entries:expr, $entry:ident => $value:expr) => {
        $entries.iter().map(|$entry| $value).collect::<Vec<_>>()
    };
}

async fn insert_calls(tx: &mut RecordTx, entries: &[&Entry]) -> Result<Vec<EntryId>> {
    Ok(sqlx::query_scalar(
        "INSERT INTO app.calls
           (id, tenant_id, at, agent_id, key_id, tool_id, tool_version_id, tool_name, outcome, error, latency_us, auth_us, admission_us,
            upstream_us, bytes_in, bytes_out, cost_micro, revision, client_name, request_id, degraded, grant_id, user_id, jsonrpc_id, trace_id,
            tokens_out, tokens_definition, tokens_estimated, context_micro, network, region, arguments_digest, definition_digest,
            upstream_status, downstream)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::uuid[], $5::uuid[], $6::uuid[], $7::uuid[], $8::text[],
            $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[],
            $17::bigint[], $18::text[], $19::text[], $20::text[], $21::boolean[], $22::uuid[], $23::uuid[], $24::text[], $25::text[],
            $26::bigint[], $27::bigint[], $28::boolean[], $29::bigint[], $30::text[], $31::text[], $32::bytea[], $33::bytea[], $34::smallint[],
            $35::jsonb[])
         ON CONFLICT DO NOTHING
         RETURNING id",
    )
    .bind(column!(entries, e => e.id.uuid()))
    .bind(column!(entries, e => e.tenant.uuid()))
    .bind(column!(entries, e => e.at))
    .bind(column!(entries, e => e.agent.uuid()))
    .bind(column!(entries, e => e.key.map(KeyId::uuid)))
    .bind(column!(entries, e => e.tool.map(|(tool, _)| tool.uuid())))
    .bind(column!(entries, e => e.tool.map(|(_, version)| version.uuid())))
    .bind(column!(entries, e => e.tool_name.as_str()))
    .bind(column!(entries, e => e.outcome.as_str()))
    .bind(column!(entries, e => e.error.as_deref()))
    .bind(column!(entries, e => e.latency_us))
    .bind(column!(entries, e => e.auth_us))
    .bind(column!(entries, e => e.admission_us))
    .bind(column!(entries, e => e.upstream_us))
    .bind(column!(entries, e => e.bytes_in))
    .bind(column!(entries, e => e.bytes_out))
    .bind(column!(entries, e => e.cost_micro))
    .bind(column!(entries, e => &*e.revision))
    .bind(column!(entries, e => e.client_name.as_str()))
    .bind(column!(entries, e => e.request_id.as_str()))
    .bind(column!(entries, e => e.degraded))
    .bind(column!(entries, e => e.grant.map(GrantId::uuid)))
    .bind(column!(entries, e => e.user.map(UserId::uuid)))
    .bind(column!(entries, e => e.jsonrpc_id.as_deref()))
    .bind(column!(entries, e => e.trace_id.as_deref()))
    .bind(column!(entries, e => e.context.map(|context| context.tokens_out)))
    .bind(column!(entries, e => e.context.map(|context| context.tokens_definition)))
    .bind(column!(entries, e => e.context.map(|context| context.is_estimate)))
    .bind(column!(entries, e => e.context.map(|context| context.micro)))
    .bind(column!(entries, e => e.provenance.network.map(|network| network.to_string())))
    .bind(column!(entries, e => e.provenance.region.as_deref()))
    .bind(column!(entries, e => e.provenance.arguments.as_ref().map(|digest| &digest.0[..])))
    .bind(column!(entries, e => e.provenance.definition.as_ref().map(|digest| &digest.0[..])))
    .bind(column!(entries, e => e.provenance.upstream_status))
    .bind(column!(entries, e => (!e.downstream.is_empty()).then_some(Json(&e.downstream))))
    .fetch_all(tx.connection())
    .await?)
}

async fn insert_audit(tx: &mut RecordTx, entries: &[&Entry]) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.audit_entries (id, tenant_id, at, actor_kind, actor_id, action, subject, decision, reason, request_id)
         SELECT id, tenant_id, at, 'agent', actor_id, 'tools/call', subject, decision, reason, request_id
         FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[])
           AS e (id, tenant_id, at, actor_id, subject, decision, reason, request_id)",
    )
    .bind(column!(entries, e => e.id.uuid()))
    .bind(column!(entries, e => e.tenant.uuid()))
    .bind(column!(entries, e => e.at))
    .bind(column!(entries, e => e.agent.uuid()))
    .bind(column!(entries, e => e.tool.map_or_else(|| e.tool_name.clone(), |(tool, _)| tool.to_string())))
    .bind(column!(entries, e => e.outcome.decision()))
    .bind(column!(entries, e => e.error.as_deref().unwrap_or_default()))
    .bind(column!(entries, e => e.request_id.as_str()))
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(super) async fn ensure_partitions(tx: &mut SystemTx) -> Result<()> {
    sqlx::query("SELECT app.ensure_partitions(3)").execute(tx.connection()).await?;
    Ok(())
}
