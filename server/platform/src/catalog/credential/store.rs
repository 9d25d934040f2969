//! SQL of credentials.

use chrono::{DateTime, Utc};
use sqlx::types::Json;

use super::credential::{Credential, Kind, Overlap, Use, User};
use crate::{
    catalog::openapi::Scheme,
    db::{
        SystemTx, TenantTx,
        page::{Found, Search},
    },
    error::{Error, Result},
    ids::{CredentialId, TenantId, UserId},
    secret::Refused,
};

type Time = DateTime<Utc>;

/// A sealed secret, and for a while the one before it.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Stored {
    pub(super) id: CredentialId,
    pub(super) origin: String,
    pub(super) sealed: Vec<u8>,
    pub(super) previous: Option<Vec<u8>>,
    pub(super) overlap_until: Option<Time>,
    pub(super) edition: i32,
}

pub(super) async fn insert(tx: &mut TenantTx, id: CredentialId, origin: &str, sealed: &[u8], at: Time) -> Result<()> {
    sqlx::query("INSERT INTO app.credentials (id, tenant_id, origin, sealed, created_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(id)
        .bind(tx.tenant())
        .bind(origin)
        .bind(sealed)
        .bind(at)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn delete(tx: &mut TenantTx, id: CredentialId) -> Result<()> {
    sqlx::query("DELETE FROM app.credentials WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn origin(tx: &mut TenantTx, id: CredentialId) -> Result<Option<String>> {
    Ok(sqlx::query_scalar("SELECT origin FROM app.credentials WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .fetch_optional(tx.connection())
        .await?)
}

pub(super) async fn find_sealed(tx: &mut TenantTx, id: CredentialId) -> Result<Option<Stored>> {
    Ok(sqlx::query_as(
        "SELECT id, origin, sealed, previous, overlap_until, edition FROM app.credentials WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tx.tenant())
    .bind(id)
    .fetch_optional(tx.connection())
    .await?)
}

/// The same, held so that two people cannot exchange it at the same time.
pub(super) async fn lock(tx: &mut TenantTx, id: CredentialId) -> Result<Option<Stored>> {
    Ok(sqlx::query_as(
        "SELECT id, origin, sealed, previous, overlap_until, edition FROM app.credentials WHERE tenant_id = $1 AND id = $2 FOR UPDATE",
    )
    .bind(tx.tenant())
    .bind(id)
    .fetch_optional(tx.connection())
    .await?)
}

/// Those that published and pinned versions and sources use.
pub(super) async fn load(tx: &mut TenantTx) -> Result<Vec<Stored>> {
    Ok(sqlx::query_as(
        "SELECT id, origin, sealed, previous, overlap_until, edition FROM app.credentials
         WHERE tenant_id = $1 AND id IN (
           SELECT v.credential_id FROM app.tools t
           JOIN app.tool_versions v ON v.tenant_id = t.tenant_id AND v.id = t.version_id
           WHERE t.tenant_id = $1
           UNION
           SELECT v.credential_id FROM app.agent_pins p
           JOIN app.tool_versions v ON v.tenant_id = p.tenant_id AND v.id = p.version_id
           WHERE p.tenant_id = $1
           UNION
           SELECT s.credential_id FROM app.sources s WHERE s.tenant_id = $1)",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?)
}

// For people

#[derive(sqlx::FromRow)]
struct Row {
    id: CredentialId,
    label: String,
    origin: String,
    created_at: Time,
    rotated_at: Option<Time>,
    rotated_by: Option<String>,
    overlap_until: Option<Time>,
    refused: i64,
    refused_at: Option<Time>,
    edition: i32,
}

#[derive(sqlx::FromRow)]
struct UseRow {
    credential_id: CredentialId,
    what: String,
    id: uuid::Uuid,
    name: String,
    used: i64,
}

#[derive(sqlx::FromRow)]
struct SentRow {
    credential_id: CredentialId,
    is_of_api: bool,
    header: Option<String>,
    versions: i64,
}

impl Row {
    fn credential(self, uses: &[UseRow], sent: &[SentRow], now: Time) -> Result<Credential> {
        let mine = uses.iter().filter(|one| one.credential_id == self.id);
        let used = mine.clone().next().map_or(0, |first| first.used);
        let sent = sent.iter().find(|one| one.credential_id == self.id);
        let kind = match sent {
            Some(sent) if sent.is_of_api => Kind::Schemes,
            Some(SentRow { header: Some(header), .. }) => Kind::Header(header.clone()),
            _ => Kind::Unknown,
        };
        let overlap = |until| Overlap { until, refused: self.refused, refused_at: self.refused_at };
        Ok(Credential {
            id: self.id,
            label: self.label,
            origin: self.origin,
            created_at: self.created_at,
            rotated: self.rotated_at.map(|at| (at, self.rotated_by)),
            overlap: self.overlap_until.filter(|until| now < *until).map(overlap),
            edition: self.edition,
            kind,
            uses: mine.map(UseRow::read).collect::<Result<_>>()?,
            used,
            versions: sent.map_or(0, |sent| sent.versions),
        })
    }
}

impl UseRow {
    fn read(&self) -> Result<Use> {
        let user = match self.what.as_str() {
            "api" => User::Api(self.id.into()),
            "source" => User::Source(self.id.into()),
            "tool" => User::Tool(self.id.into()),
            _ => return Err(Error::internal("something unknown uses a credential")),
        };
        Ok(Use { user, name: self.name.clone() })
    }
}

/// Those of that label or host, the used ones first.
pub(super) async fn search(tx: &mut TenantTx, search: &Search, most_uses: i64, now: Time) -> Result<Found<Credential>> {
    let total = sqlx::query_scalar(
        "SELECT count(*) FROM app.credentials c
         WHERE c.tenant_id = $1 AND (strpos(lower(c.label), $2) > 0 OR strpos(lower(c.origin), $2) > 0)",
    )
    .bind(tx.tenant())
    .bind(search.pattern())
    .fetch_one(tx.connection())
    .await?;
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT c.id, c.label, c.origin, c.created_at, c.rotated_at, u.email AS rotated_by, c.overlap_until, c.refused, c.refused_at, c.edition
         FROM app.credentials c
         LEFT JOIN app.memberships m ON m.tenant_id = c.tenant_id AND m.user_id = c.rotated_by
         LEFT JOIN app.users u ON u.id = m.user_id
         WHERE c.tenant_id = $1 AND (strpos(lower(c.label), $2) > 0 OR strpos(lower(c.origin), $2) > 0)
         ORDER BY NOT (
             EXISTS (SELECT FROM app.tool_versions v JOIN app.tools t ON t.tenant_id = v.tenant_id AND t.version_id = v.id
                     WHERE v.tenant_id = c.tenant_id AND v.credential_id = c.id)
             OR EXISTS (SELECT FROM app.tool_versions v JOIN app.agent_pins p ON p.tenant_id = v.tenant_id AND p.version_id = v.id
                        WHERE v.tenant_id = c.tenant_id AND v.credential_id = c.id)
             OR EXISTS (SELECT FROM app.sources s WHERE s.tenant_id = c.tenant_id AND s.credential_id = c.id)
             OR EXISTS (SELECT FROM app.apis a WHERE a.tenant_id = c.tenant_id AND a.credential_id = c.id)),
           c.origin, c.id
         LIMIT $3 OFFSET $4",
    )
    .bind(tx.tenant())
    .bind(search.pattern())
    .bind(search.limit())
    .bind(search.offset())
    .fetch_all(tx.connection())
    .await?;
    Ok(search.found(described(tx, rows, most_uses, now).await?, total))
}

/// One of them.
pub(super) async fn find(tx: &mut TenantTx, id: CredentialId, most_uses: i64, now: Time) -> Result<Option<Credential>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT c.id, c.label, c.origin, c.created_at, c.rotated_at, u.email AS rotated_by, c.overlap_until, c.refused, c.refused_at, c.edition
         FROM app.credentials c
         LEFT JOIN app.memberships m ON m.tenant_id = c.tenant_id AND m.user_id = c.rotated_by
         LEFT JOIN app.users u ON u.id = m.user_id
         WHERE c.tenant_id = $1 AND c.id = $2",
    )
    .bind(tx.tenant())
    .bind(id)
    .fetch_all(tx.connection())
    .await?;
    Ok(described(tx, rows, most_uses, now).await?.pop())
}

async fn described(tx: &mut TenantTx, rows: Vec<Row>, most_uses: i64, now: Time) -> Result<Vec<Credential>> {
    let ids: Vec<CredentialId> = rows.iter().map(|row| row.id).collect();
    let uses = uses(tx, &ids, most_uses).await?;
    let sent = sent(tx, &ids).await?;
    rows.into_iter().map(|row| row.credential(&uses, &sent, now)).collect()
}

/// Who uses them: of each the first by kind and name, and how many there are.
async fn uses(tx: &mut TenantTx, ids: &[CredentialId], most: i64) -> Result<Vec<UseRow>> {
    Ok(sqlx::query_as(
        "WITH used AS (
           SELECT a.credential_id, 'api' AS what, a.id, a.name FROM app.apis a WHERE a.tenant_id = $1 AND a.credential_id = ANY ($2)
           UNION
           SELECT s.credential_id, 'source', s.id, s.name FROM app.sources s WHERE s.tenant_id = $1 AND s.credential_id = ANY ($2)
           UNION
           SELECT v.credential_id, 'tool', t.id, t.name FROM app.tool_versions v
           JOIN app.tools t ON t.tenant_id = v.tenant_id AND t.id = v.tool_id
           WHERE v.tenant_id = $1 AND v.credential_id = ANY ($2)
             AND (t.version_id = v.id
                  OR EXISTS (SELECT FROM app.agent_pins p WHERE p.tenant_id = v.tenant_id AND p.version_id = v.id))),
         placed AS (
           SELECT used.*, row_number() OVER (PARTITION BY credential_id ORDER BY what, name, id) AS place,
                  count(*) OVER (PARTITION BY credential_id) AS used
           FROM used)
         SELECT credential_id, what, id, name, used FROM placed WHERE place <= $3 ORDER BY credential_id, place",
    )
    .bind(tx.tenant())
    .bind(ids)
    .bind(most)
    .fetch_all(tx.connection())
    .await?)
}

/// How they are sent, by what refers to them, now or in an older version.
async fn sent(tx: &mut TenantTx, ids: &[CredentialId]) -> Result<Vec<SentRow>> {
    Ok(sqlx::query_as(
        "SELECT c.id AS credential_id,
                EXISTS (SELECT FROM app.apis a WHERE a.tenant_id = c.tenant_id AND a.credential_id = c.id)
                  OR COALESCE(bool_or(v.executor ->> 'kind' = 'operation'), false) AS is_of_api,
                COALESCE((SELECT min(s.secret_header) FROM app.sources s WHERE s.tenant_id = c.tenant_id AND s.credential_id = c.id),
                         (array_agg(v.executor ->> 'secret_header' ORDER BY v.id DESC))[1]) AS header,
                count(v.id) AS versions
         FROM app.credentials c
         LEFT JOIN app.tool_versions v ON v.tenant_id = c.tenant_id AND v.credential_id = c.id
         WHERE c.tenant_id = $1 AND c.id = ANY ($2)
         GROUP BY c.tenant_id, c.id",
    )
    .bind(tx.tenant())
    .bind(ids)
    .fetch_all(tx.connection())
    .await?)
}

/// The security schemes of the API whose secrets these are; empty if it is gone.
pub(super) async fn schemes(tx: &mut TenantTx, id: CredentialId) -> Result<Vec<Scheme>> {
    let schemes: Option<Json<Vec<Scheme>>> =
        sqlx::query_scalar("SELECT schemes FROM app.apis WHERE tenant_id = $1 AND credential_id = $2 ORDER BY id LIMIT 1")
            .bind(tx.tenant())
            .bind(id)
            .fetch_optional(tx.connection())
            .await?;
    Ok(schemes.map(|schemes| schemes.0).unwrap_or_default())
}

/// How many people have connected an account of their own, with which nobody else has anything to do.
pub(super) async fn count_connections(tx: &mut TenantTx) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM app.connections WHERE tenant_id = $1")
        .bind(tx.tenant())
        .fetch_one(tx.connection())
        .await?)
}

// Exchanging

/// Another value; the one before is kept until then, or not at all.
pub(super) async fn exchange(
    tx: &mut TenantTx,
    id: CredentialId,
    sealed: &[u8],
    until: Option<Time>,
    (at, by): (Time, UserId),
) -> Result<()> {
    sqlx::query(
        "UPDATE app.credentials
         SET previous = CASE WHEN $4::timestamptz IS NOT NULL THEN sealed END, sealed = $3, overlap_until = $4, edition = edition + 1,
             rotated_at = $5, rotated_by = $6, refused = 0, refused_at = NULL
         WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tx.tenant())
    .bind(id)
    .bind(sealed)
    .bind(until)
    .bind(at)
    .bind(by)
    .execute(tx.connection())
    .await?;
    schedule(tx, id, until).await
}

/// The two values change places.
pub(super) async fn swap(tx: &mut TenantTx, id: CredentialId, (at, by): (Time, UserId)) -> Result<()> {
    sqlx::query(
        "UPDATE app.credentials
         SET sealed = previous, previous = sealed, edition = edition + 1, rotated_at = $3, rotated_by = $4, refused = 0, refused_at = NULL
         WHERE tenant_id = $1 AND id = $2 AND previous IS NOT NULL",
    )
    .bind(tx.tenant())
    .bind(id)
    .bind(at)
    .bind(by)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Destroys the value before.
pub(super) async fn forget_previous(tx: &mut TenantTx, id: CredentialId) -> Result<()> {
    sqlx::query(
        "UPDATE app.credentials SET previous = NULL, overlap_until = NULL, edition = edition + 1, refused = 0, refused_at = NULL
         WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tx.tenant())
    .bind(id)
    .execute(tx.connection())
    .await?;
    schedule(tx, id, None).await
}

async fn schedule(tx: &mut TenantTx, id: CredentialId, due_at: Option<Time>) -> Result<()> {
    let Some(due_at) = due_at else {
        sqlx::query("DELETE FROM app.credential_overlaps WHERE tenant = $1 AND credential_id = $2")
            .bind(tx.tenant())
            .bind(id)
            .execute(tx.connection())
            .await?;
        return Ok(());
    };
    sqlx::query(
        "INSERT INTO app.credential_overlaps (credential_id, tenant, due_at) VALUES ($1, $2, $3)
         ON CONFLICT (credential_id) DO UPDATE SET due_at = EXCLUDED.due_at",
    )
    .bind(id)
    .bind(tx.tenant())
    .bind(due_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The overlap that is due longest, put off until `again` for all others. `SKIP LOCKED`: replicas do not wait for each other.
pub(super) async fn take_due(tx: &mut SystemTx, now: Time, again: Time) -> Result<Option<(TenantId, CredentialId)>> {
    Ok(sqlx::query_as(
        "UPDATE app.credential_overlaps SET due_at = $2
         WHERE credential_id = (SELECT credential_id FROM app.credential_overlaps WHERE due_at <= $1
                                ORDER BY due_at, credential_id
                                LIMIT 1
                                FOR UPDATE SKIP LOCKED)
         RETURNING tenant, credential_id",
    )
    .bind(now)
    .bind(again)
    .fetch_optional(tx.connection())
    .await?)
}

/// Writes refusals down, if the overlap in which they happened still runs.
pub(super) async fn add_refused(tx: &mut TenantTx, id: CredentialId, refused: Refused) -> Result<()> {
    sqlx::query(
        "UPDATE app.credentials SET refused = refused + $3, refused_at = GREATEST(refused_at, $4)
         WHERE tenant_id = $1 AND id = $2 AND previous IS NOT NULL AND rotated_at <= $4",
    )
    .bind(tx.tenant())
    .bind(id)
    .bind(refused.count)
    .bind(refused.at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(super) async fn set_label(tx: &mut TenantTx, id: CredentialId, label: &str) -> Result<()> {
    sqlx::query("UPDATE app.credentials SET label = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(label)
        .execute(tx.connection())
        .await?;
    Ok(())
}

// Renewal of data keys

/// Some that are sealed, with either value, under another key than that one; until the end of the transaction nobody else's.
pub(super) async fn under_others(tx: &mut TenantTx, key: &[u8], most: i64) -> Result<Vec<Stored>> {
    // After the version comes the id of the key.
    Ok(sqlx::query_as(
        "SELECT id, origin, sealed, previous, overlap_until, edition FROM app.credentials
         WHERE tenant_id = $1 AND (substring(sealed FROM 2 FOR 8) <> $2 OR substring(previous FROM 2 FOR 8) <> $2)
         ORDER BY id LIMIT $3 FOR UPDATE",
    )
    .bind(tx.tenant())
    .bind(key)
    .bind(most)
    .fetch_all(tx.connection())
    .await?)
}

pub(super) async fn reseal(tx: &mut TenantTx, id: CredentialId, sealed: &[u8], previous: Option<&[u8]>) -> Result<()> {
    sqlx::query("UPDATE app.credentials SET sealed = $3, previous = $4 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(sealed)
        .bind(previous)
        .execute(tx.connection())
        .await?;
    Ok(())
}
