//! SQL of the chains.

use chrono::{DateTime, Utc};

use super::{
    link::{EntryRow, FORM},
    receipt::Receipt,
};
use crate::{
    audit::Event,
    db::{ChainTx, SystemTx, TenantTx},
    error::Result,
    ids::{EntryId, TenantId},
};

/// One at a time in all of the installation, for that work. False if another one is at it.
pub(super) async fn lead(tx: &mut ChainTx, what: &str) -> Result<bool> {
    Ok(sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtext($1))").bind(what).fetch_one(tx.connection()).await?)
}

/// The oldest entries without a place.
pub(super) async fn unchained(tx: &mut ChainTx, most: i64) -> Result<Vec<EntryRow>> {
    Ok(sqlx::query_as(
        "WITH u AS MATERIALIZED (SELECT tenant_id, id, at FROM app.audit_unchained ORDER BY at, id LIMIT $1)
         SELECT a.tenant_id, a.id, a.at, a.actor_kind, a.actor_id, a.action, a.subject, a.decision, a.reason, a.request_id, a.details,
           c.agent_id, c.key_id, c.grant_id, c.user_id, c.tool_id, c.tool_version_id, c.tool_name, c.outcome, c.error, c.latency_us,
           c.auth_us, c.admission_us, c.upstream_us, c.bytes_in, c.bytes_out, c.tokens_out, c.tokens_definition, c.tokens_estimated,
           c.context_micro, c.cost_micro, c.revision, c.client_name,
           c.degraded, c.jsonrpc_id, c.trace_id, c.network, c.region, c.arguments_digest, c.definition_digest, c.upstream_status,
           c.downstream
         FROM u
         JOIN LATERAL
           (SELECT * FROM app.audit_entries a WHERE a.tenant_id = u.tenant_id AND a.id = u.id AND a.at = u.at LIMIT 1) a ON true
         LEFT JOIN LATERAL
           (SELECT * FROM app.calls c WHERE c.tenant_id = u.tenant_id AND c.id = u.id AND c.at = u.at LIMIT 1) c ON true
         ORDER BY a.at, a.id",
    )
    .bind(most)
    .fetch_all(tx.connection())
    .await?)
}

/// Where a chain goes on.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct HeadRow {
    pub(super) tenant_id: TenantId,
    pub(super) seq: i64,
    pub(super) hash: Vec<u8>,
}

pub(super) async fn heads(tx: &mut ChainTx, tenants: &[TenantId]) -> Result<Vec<HeadRow>> {
    Ok(sqlx::query_as("SELECT tenant_id, seq, hash FROM app.audit_heads WHERE tenant_id = ANY($1)")
        .bind(tenants)
        .fetch_all(tx.connection())
        .await?)
}

/// A link, as it is written.
#[derive(Debug)]
pub(super) struct NewLink {
    pub(super) tenant: TenantId,
    pub(super) seq: i64,
    pub(super) entry: EntryId,
    pub(super) at: DateTime<Utc>,
    pub(super) hash: Vec<u8>,
}

pub(super) async fn append(tx: &mut ChainTx, links: &[NewLink], heads: &[HeadRow]) -> Result<()> {
    let tenants: Vec<TenantId> = links.iter().map(|link| link.tenant).collect();
    let entries: Vec<EntryId> = links.iter().map(|link| link.entry).collect();
    let times: Vec<DateTime<Utc>> = links.iter().map(|link| link.at).collect();
    sqlx::query(
        "INSERT INTO app.audit_chain (tenant_id, seq, entry_id, at, hash, form)
         SELECT *, $6 FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::timestamptz[], $5::bytea[])",
    )
    .bind(&tenants)
    .bind(links.iter().map(|link| link.seq).collect::<Vec<_>>())
    .bind(&entries)
    .bind(&times)
    .bind(links.iter().map(|link| &*link.hash).collect::<Vec<_>>())
    .bind(FORM)
    .execute(tx.connection())
    .await?;
    sqlx::query(
        "INSERT INTO app.audit_heads (tenant_id, seq, hash) SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bytea[])
         ON CONFLICT (tenant_id) DO UPDATE SET seq = EXCLUDED.seq, hash = EXCLUDED.hash",
    )
    .bind(heads.iter().map(|head| head.tenant_id).collect::<Vec<_>>())
    .bind(heads.iter().map(|head| head.seq).collect::<Vec<_>>())
    .bind(heads.iter().map(|head| &*head.hash).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    sqlx::query(
        "DELETE FROM app.audit_unchained u USING unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS e (tenant_id, id, at)
         WHERE u.tenant_id = e.tenant_id AND u.id = e.id AND u.at = e.at",
    )
    .bind(&tenants)
    .bind(&entries)
    .bind(&times)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Chains of which something is not signed, and has waited or is much.
pub(super) async fn to_sign(tx: &mut ChainTx, before: DateTime<Utc>, most_entries: i64, most: i64) -> Result<Vec<HeadRow>> {
    Ok(sqlx::query_as(
        "SELECT tenant_id, seq, hash FROM app.audit_heads
         WHERE seq > signed_seq AND (signed_at IS NULL OR signed_at <= $1 OR seq - signed_seq >= $2)
         ORDER BY signed_at NULLS FIRST LIMIT $3",
    )
    .bind(before)
    .bind(most_entries)
    .bind(most)
    .fetch_all(tx.connection())
    .await?)
}

pub(super) async fn insert_checkpoint(tx: &mut ChainTx, head: &HeadRow, note: &str, at: DateTime<Utc>) -> Result<()> {
    sqlx::query("INSERT INTO app.audit_checkpoints (tenant_id, seq, at, note) VALUES ($1, $2, $3, $4)")
        .bind(head.tenant_id)
        .bind(head.seq)
        .bind(at)
        .bind(note)
        .execute(tx.connection())
        .await?;
    sqlx::query("UPDATE app.audit_heads SET signed_seq = $2, signed_at = $3 WHERE tenant_id = $1")
        .bind(head.tenant_id)
        .bind(head.seq)
        .bind(at)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Checkpoints that have not been delivered, oldest first.
pub(super) async fn undelivered(tx: &mut ChainTx, most: i64) -> Result<Vec<(TenantId, i64, String)>> {
    Ok(sqlx::query_as(
        "SELECT p.tenant_id, p.seq, p.note FROM app.audit_heads h
         JOIN app.audit_checkpoints p ON p.tenant_id = h.tenant_id AND p.seq > h.delivered_seq
         WHERE h.signed_seq > h.delivered_seq
         ORDER BY p.at, p.tenant_id, p.seq LIMIT $1",
    )
    .bind(most)
    .fetch_all(tx.connection())
    .await?)
}

pub(super) async fn delivered(tx: &mut ChainTx, tenant: TenantId, seq: i64) -> Result<()> {
    sqlx::query("UPDATE app.audit_heads SET delivered_seq = GREATEST(delivered_seq, $2) WHERE tenant_id = $1")
        .bind(tenant)
        .bind(seq)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// A key that signs.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct KeyRow {
    pub(super) id: String,
    pub(super) public: Vec<u8>,
    pub(super) sealed: Vec<u8>,
    pub(super) kek_id: String,
}

pub(super) async fn lock_keys(tx: &mut SystemTx) -> Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('trunkline audit keys'))").execute(tx.connection()).await?;
    Ok(())
}

pub(super) async fn keys(tx: &mut SystemTx) -> Result<Vec<KeyRow>> {
    Ok(sqlx::query_as("SELECT id, public, sealed, kek_id FROM app.audit_keys ORDER BY created_at, id")
        .fetch_all(tx.connection())
        .await?)
}

pub(super) async fn insert_key(tx: &mut SystemTx, key: &KeyRow, now: DateTime<Utc>) -> Result<()> {
    sqlx::query("INSERT INTO app.audit_keys (id, public, sealed, kek_id, created_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(&key.id)
        .bind(&key.public)
        .bind(&key.sealed)
        .bind(&key.kek_id)
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn reseal_key(tx: &mut SystemTx, id: &str, sealed: &[u8], kek_id: &str) -> Result<()> {
    sqlx::query("UPDATE app.audit_keys SET sealed = $2, kek_id = $3 WHERE id = $1")
        .bind(id)
        .bind(sealed)
        .bind(kek_id)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn find_tenant(tx: &mut SystemTx, slug: &str) -> Result<Option<TenantId>> {
    Ok(sqlx::query_scalar("SELECT id FROM app.tenants WHERE slug = $1").bind(slug).fetch_optional(tx.connection()).await?)
}

/// A link with what it stands for, if that is there.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct LinkRow {
    pub(super) seq: i64,
    pub(super) hash: Vec<u8>,
    /// The canonical form that was hashed.
    pub(super) form: i16,
    pub(super) is_there: bool,
}

/// The next links of a chain, each with its entry if that is there. Two lists of the same length, because a row cannot be half there.
///
/// Each entry is looked up by itself: without statistics, as in the first hours of a month, a join reads all that comes after the page.
pub(super) async fn page(tx: &mut TenantTx, after: u64, most: i64) -> Result<Vec<(LinkRow, Option<EntryRow>)>> {
    let rows = sqlx::query(
        "WITH k AS MATERIALIZED (
           SELECT tenant_id, seq, entry_id, at, hash, form FROM app.audit_chain WHERE tenant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3
         )
         SELECT k.seq, k.hash, k.form, a.id IS NOT NULL AS is_there,
           k.tenant_id, k.entry_id AS id, COALESCE(a.at, k.at) AS at, COALESCE(a.actor_kind, '') AS actor_kind, a.actor_id,
           COALESCE(a.action, '') AS action, COALESCE(a.subject, '') AS subject, COALESCE(a.decision, '') AS decision,
           COALESCE(a.reason, '') AS reason, COALESCE(a.request_id, '') AS request_id, COALESCE(a.details, '{}') AS details,
           c.agent_id, c.key_id, c.grant_id, c.user_id, c.tool_id, c.tool_version_id, c.tool_name, c.outcome, c.error, c.latency_us,
           c.auth_us, c.admission_us, c.upstream_us, c.bytes_in, c.bytes_out, c.tokens_out, c.tokens_definition, c.tokens_estimated,
           c.context_micro, c.cost_micro, c.revision, c.client_name,
           c.degraded, c.jsonrpc_id, c.trace_id, c.network, c.region, c.arguments_digest, c.definition_digest, c.upstream_status,
           c.downstream
         FROM k
         LEFT JOIN LATERAL
           (SELECT * FROM app.audit_entries a WHERE a.tenant_id = $1 AND a.id = k.entry_id AND a.at = k.at LIMIT 1) a ON true
         LEFT JOIN LATERAL (SELECT * FROM app.calls c WHERE c.tenant_id = $1 AND c.id = k.entry_id AND c.at = k.at LIMIT 1) c ON true
         ORDER BY k.seq",
    )
    .bind(tx.tenant())
    .bind(i64::try_from(after).unwrap_or(i64::MAX))
    .bind(most)
    .fetch_all(tx.connection())
    .await?;
    let mut page = Vec::with_capacity(rows.len());
    for row in &rows {
        let link = <LinkRow as sqlx::FromRow<_>>::from_row(row)?;
        let entry = if link.is_there { Some(<EntryRow as sqlx::FromRow<_>>::from_row(row)?) } else { None };
        page.push((link, entry));
    }
    Ok(page)
}

/// The checkpoints of a chain, in order.
pub(super) async fn checkpoints(tx: &mut TenantTx, after: u64, most: i64) -> Result<Vec<(i64, String)>> {
    Ok(sqlx::query_as("SELECT seq, note FROM app.audit_checkpoints WHERE tenant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3")
        .bind(tx.tenant())
        .bind(i64::try_from(after).unwrap_or(i64::MAX))
        .bind(most)
        .fetch_all(tx.connection())
        .await?)
}

/// An entry that neither has a place nor waits for one, or one that waits and is gone.
pub(super) async fn stray(tx: &mut TenantTx) -> Result<Option<EntryId>> {
    Ok(sqlx::query_scalar(
        "SELECT a.id FROM app.audit_entries a
         WHERE a.tenant_id = $1
         AND NOT EXISTS (SELECT FROM app.audit_chain k WHERE k.tenant_id = $1 AND k.entry_id = a.id AND k.at = a.at)
         AND NOT EXISTS (SELECT FROM app.audit_unchained u WHERE u.tenant_id = $1 AND u.id = a.id AND u.at = a.at)
         UNION ALL
         SELECT u.id FROM app.audit_unchained u
         WHERE u.tenant_id = $1
         AND NOT EXISTS (SELECT FROM app.audit_entries a WHERE a.tenant_id = $1 AND a.id = u.id AND a.at = u.at)
         LIMIT 1",
    )
    .bind(tx.tenant())
    .fetch_optional(tx.connection())
    .await?)
}

/// The receipts of a chain.
pub(super) async fn receipts(tx: &mut TenantTx) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar("SELECT note FROM app.audit_receipts WHERE tenant_id = $1 ORDER BY month")
        .bind(tx.tenant())
        .fetch_all(tx.connection())
        .await?)
}

/// First link from that moment on, and the last before another; none if there is nothing in between.
pub(super) async fn bounds(
    tx: &mut TenantTx,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
) -> Result<Option<(i64, i64)>> {
    let (first, last): (Option<i64>, Option<i64>) = sqlx::query_as(
        "SELECT min(seq), max(seq) FROM app.audit_chain
         WHERE tenant_id = $1 AND ($2::timestamptz IS NULL OR at >= $2) AND ($3::timestamptz IS NULL OR at < $3)",
    )
    .bind(tx.tenant())
    .bind(since)
    .bind(until)
    .fetch_one(tx.connection())
    .await?;
    Ok(first.zip(last))
}

/// The hash of one link.
pub(super) async fn hash_at(tx: &mut TenantTx, seq: i64) -> Result<Option<Vec<u8>>> {
    Ok(sqlx::query_scalar("SELECT hash FROM app.audit_chain WHERE tenant_id = $1 AND seq = $2")
        .bind(tx.tenant())
        .bind(seq)
        .fetch_optional(tx.connection())
        .await?)
}

/// Statements of this transaction may take long: it goes through a month of all tenants.
pub(super) async fn take_time(tx: &mut ChainTx) -> Result<()> {
    sqlx::query("SET LOCAL statement_timeout = '10min'").execute(tx.connection()).await?;
    Ok(())
}

/// The months that have a partition, as `YYYYMM`, oldest first.
pub(super) async fn months(tx: &mut ChainTx) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "SELECT right(c.relname, 6) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'app.audit_entries'::regclass AND c.relname ~ '^audit_entries_[0-9]{6}$' ORDER BY 1",
    )
    .fetch_all(tx.connection())
    .await?)
}

/// Entries of that time without a place.
pub(super) async fn count_unchained(tx: &mut ChainTx, since: DateTime<Utc>, until: DateTime<Utc>) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM app.audit_unchained WHERE at >= $1 AND at < $2")
        .bind(since)
        .bind(until)
        .fetch_one(tx.connection())
        .await?)
}

/// Places in chains of that time.
pub(super) async fn count_links(tx: &mut ChainTx, since: DateTime<Utc>, until: DateTime<Utc>) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM app.audit_chain WHERE at >= $1 AND at < $2")
        .bind(since)
        .bind(until)
        .fetch_one(tx.connection())
        .await?)
}

/// Places of entries of that time that are there: first and last of each run without a gap.
pub(super) async fn runs(tx: &mut ChainTx, since: DateTime<Utc>, until: DateTime<Utc>) -> Result<Vec<(TenantId, i64, i64)>> {
    Ok(sqlx::query_as(
        "SELECT tenant_id, min(seq), max(seq) FROM (
           SELECT k.tenant_id, k.seq, k.seq - row_number() OVER (PARTITION BY k.tenant_id ORDER BY k.seq) AS island
           FROM app.audit_chain k
           JOIN app.audit_entries a ON a.tenant_id = k.tenant_id AND a.id = k.entry_id AND a.at = k.at
           WHERE k.at >= $1 AND k.at < $2 AND a.at >= $1 AND a.at < $2) AS places
         GROUP BY tenant_id, island ORDER BY tenant_id, 2",
    )
    .bind(since)
    .bind(until)
    .fetch_all(tx.connection())
    .await?)
}

/// How far the checkpoints of each chain are outside.
pub(super) async fn delivered_heads(tx: &mut ChainTx) -> Result<Vec<(TenantId, i64)>> {
    Ok(sqlx::query_as("SELECT tenant_id, delivered_seq FROM app.audit_heads").fetch_all(tx.connection()).await?)
}

pub(super) async fn insert_receipt(tx: &mut ChainTx, receipt: &Receipt, note: &str, at: DateTime<Utc>) -> Result<()> {
    sqlx::query("INSERT INTO app.audit_receipts (tenant_id, month, at, note) VALUES ($1, $2, $3, $4)")
        .bind(receipt.tenant)
        .bind(&receipt.month)
        .bind(at)
        .bind(note)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// An event of the system itself.
pub(super) async fn insert_event(tx: &mut ChainTx, tenant: TenantId, at: DateTime<Utc>, event: &Event) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.audit_entries (id, tenant_id, at, actor_kind, action, subject, decision, details)
         VALUES ($1, $2, $3, 'system', $4, $5, 'allowed', $6)",
    )
    .bind(EntryId::new(at))
    .bind(tenant)
    .bind(at)
    .bind(event.action())
    .bind(event.subject())
    .bind(event.details())
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(super) async fn drop_month(tx: &mut ChainTx, month: &str) -> Result<()> {
    sqlx::query("SELECT app.drop_month($1)").bind(month).execute(tx.connection()).await?;
    Ok(())
}
