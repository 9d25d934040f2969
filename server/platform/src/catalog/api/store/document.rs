//! SQL of what a document describes, on its way into the database.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::value::to_raw_value;
use sha2::{Digest as _, Sha256};
use trunkline_protocol::oauth::scope::Effect;

use crate::{
    catalog::{api::api::Tally, openapi::Described},
    db::TenantTx,
    error::{Error, Result},
    ids::{ApiId, OperationId},
};

/// An operation on its way into the database.
pub(in crate::catalog::api) struct OperationRow {
    id: OperationId,
    pub(in crate::catalog::api) key: String,
    summary: String,
    tags: String,
    is_deprecated: bool,
    pub(in crate::catalog::api) refused: String,
    name: String,
    pub(in crate::catalog::api) title: String,
    pub(in crate::catalog::api) description: String,
    pub(in crate::catalog::api) effect: Effect,
    pub(in crate::catalog::api) input_schema: Option<String>,
    pub(in crate::catalog::api) operation: Option<String>,
    pub(in crate::catalog::api) server: Option<String>,
    notes: String,
    pub(in crate::catalog::api) digest: Vec<u8>,
    is_picked: bool,
}

/// Rows of what a document describes. A key that comes twice is the first one's.
pub(in crate::catalog::api) fn rows(described: Vec<Described>, now: DateTime<Utc>) -> Result<Vec<OperationRow>> {
    let mut seen = std::collections::HashSet::new();
    described.into_iter().filter(|one| seen.insert(one.key.clone())).map(|one| row(one, now)).collect()
}

pub(super) fn row(one: Described, now: DateTime<Utc>) -> Result<OperationRow> {
    let mut row = OperationRow {
        id: OperationId::new(now),
        key: one.key,
        summary: one.summary,
        tags: one.tags.join("\n"),
        is_deprecated: one.is_deprecated,
        refused: String::new(),
        name: String::new(),
        title: String::new(),
        description: String::new(),
        effect: Effect::Destructive,
        input_schema: None,
        operation: None,
        server: None,
        notes: String::new(),
        digest: Vec::new(),
        is_picked: false,
    };
    match one.draft {
        Ok(draft) => {
            let draft = *draft;
            row.operation = Some(to_raw_value(&draft.operation).map_err(Error::internal)?.get().to_owned());
            row.input_schema = Some(draft.input_schema.get().to_owned());
            (row.name, row.title, row.description, row.effect) = (draft.name, draft.title, draft.description, draft.effect);
            (row.server, row.notes) = (draft.server, draft.notes.join("\n"));
        }
        Err(why) => row.refused = why.replace('\0', "").chars().take(500).collect(),
    }
    let mut digest = Sha256::new();
    let texts = [Some(row.refused.as_str()), Some(row.title.as_str()), Some(row.description.as_str()), Some(row.effect.as_str())];
    for part in texts.into_iter().chain([row.input_schema.as_deref(), row.operation.as_deref(), row.server.as_deref()]) {
        let part = part.unwrap_or_default();
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    row.digest = digest.finalize().to_vec();
    Ok(row)
}

/// Picks what is sensible to begin with.
pub(in crate::catalog::api) fn choose(rows: &mut [OperationRow], all: usize, read: usize) {
    let usable = |row: &OperationRow| row.refused.is_empty() && !row.is_deprecated;
    let is_small = rows.iter().filter(|row| usable(row)).count() <= all;
    let mut left = read;
    for row in rows.iter_mut().filter(|row| usable(row)) {
        row.is_picked = is_small || (row.effect == Effect::Read && left > 0);
        left = left.saturating_sub(usize::from(row.is_picked));
    }
}

pub(in crate::catalog::api) async fn insert_operations(tx: &mut TenantTx, api: ApiId, rows: &[OperationRow]) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.api_operations
           (id, tenant_id, api_id, key, position, summary, tags, deprecated, refused, name, title, description, effect, input_schema, operation, server,
            notes, digest, picked)
         SELECT n.id, $1, $2, n.key, n.position, n.summary, string_to_array(n.tags, E'\\n'), n.deprecated, n.refused, n.name, n.title, n.description,
                n.effect, n.input_schema::json, n.operation::json, n.server, n.notes, n.digest, n.picked
         FROM UNNEST($3::uuid[], $4::text[], $5::int[], $6::text[], $7::text[], $8::boolean[], $9::text[], $10::text[], $11::text[], $12::text[],
                     $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::bytea[], $19::boolean[])
              AS n (id, key, position, summary, tags, deprecated, refused, name, title, description, effect, input_schema, operation, server, notes,
                    digest, picked)
         ON CONFLICT (tenant_id, api_id, key) DO UPDATE SET
             position = EXCLUDED.position, summary = EXCLUDED.summary, tags = EXCLUDED.tags, deprecated = EXCLUDED.deprecated,
             refused = EXCLUDED.refused, name = EXCLUDED.name, title = EXCLUDED.title, description = EXCLUDED.description, effect = EXCLUDED.effect,
             input_schema = EXCLUDED.input_schema, operation = EXCLUDED.operation, server = EXCLUDED.server, notes = EXCLUDED.notes,
             digest = EXCLUDED.digest, gone = false, picked = app.api_operations.picked AND EXCLUDED.refused = ''",
    )
    .bind(tx.tenant())
    .bind(api)
    .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.key.as_str()).collect::<Vec<_>>())
    .bind((0i32..).take(rows.len()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.summary.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.tags.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.is_deprecated).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.refused.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.title.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.description.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.effect.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.input_schema.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.operation.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.server.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.notes.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.digest.as_slice()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.is_picked).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// A newer document: what it has is as it has it; what it has not is gone, or forgotten if it was never published.
pub(in crate::catalog::api) async fn replace_operations(tx: &mut TenantTx, api: ApiId, rows: &[OperationRow]) -> Result<Tally> {
    let before: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT key, digest FROM app.api_operations WHERE tenant_id = $1 AND api_id = $2 AND NOT gone")
            .bind(tx.tenant())
            .bind(api)
            .fetch_all(tx.connection())
            .await?;
    let before: HashMap<String, Vec<u8>> = before.into_iter().collect();
    let mut tally = Tally::default();
    for row in rows {
        match before.get(&row.key) {
            None => tally.added += 1,
            Some(digest) if *digest != row.digest => tally.changed += 1,
            Some(_) => {}
        }
    }
    tally.removed = before.len() + tally.added - rows.len();
    let keys: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
    sqlx::query("DELETE FROM app.api_operations WHERE tenant_id = $1 AND api_id = $2 AND tool_id IS NULL AND key <> ALL ($3)")
        .bind(tx.tenant())
        .bind(api)
        .bind(&keys)
        .execute(tx.connection())
        .await?;
    sqlx::query(
        "UPDATE app.api_operations SET gone = true, picked = false WHERE tenant_id = $1 AND api_id = $2 AND key <> ALL ($3)",
    )
    .bind(tx.tenant())
    .bind(api)
    .bind(&keys)
    .execute(tx.connection())
    .await?;
    insert_operations(tx, api, rows).await?;
    Ok(tally)
}
