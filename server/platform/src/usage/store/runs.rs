//! SQL that counts runs.

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};

use crate::{
    db::TenantTx,
    error::Result,
    ids::EntryId,
    usage::runs::{MOST_CALLS_OF_RUNS, Run},
};

/// From when on they can be counted within bounds.
pub(in crate::usage) async fn runs_from(tx: &mut TenantTx, asked: DateTime<Utc>) -> Result<DateTime<Utc>> {
    let cut: Option<DateTime<Utc>> = sqlx::query_scalar(
        "SELECT at FROM app.calls WHERE tenant_id = $1 AND id >= $2 AND at >= $3 ORDER BY id DESC OFFSET $4 LIMIT 1",
    )
    .bind(tx.tenant())
    .bind(EntryId::first_at(asked))
    .bind(asked)
    .bind(MOST_CALLS_OF_RUNS)
    .fetch_optional(tx.connection())
    .await?;
    // Calls of the same second are left out together, as the log's address knows no shorter time.
    Ok(cut.map_or(asked, |cut| whole_second(cut) + TimeDelta::seconds(1)))
}

/// The second that a moment lies in.
pub(in crate::usage) fn whole_second(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(TimeDelta::seconds(1)).unwrap_or(at)
}

/// What costs most; and after all others a row of all calls.
pub(in crate::usage) async fn runs(tx: &mut TenantTx, from: DateTime<Utc>, most: i64) -> Result<Vec<Run>> {
    Ok(sqlx::query_as(
        "WITH sums AS MATERIALIZED (
           SELECT trace_id, count(*) AS calls, count(*) FILTER (WHERE outcome IN ('tool_error', 'upstream_error', 'timeout', 'unknown')) AS errors,
                  sum(cost_micro)::bigint AS cost_micro,
                  COALESCE(sum(tokens_definition) + sum(tokens_out), 0)::bigint AS tokens, COALESCE(sum(context_micro), 0)::bigint AS context_micro,
                  count(context_micro) AS counted
           FROM app.calls WHERE tenant_id = $1 AND id >= $2 AND at >= $3
           GROUP BY trace_id
         )
         SELECT *, false AS is_all FROM (SELECT * FROM sums ORDER BY cost_micro DESC, calls DESC, trace_id LIMIT $4) AS first
         UNION ALL
         SELECT NULL, COALESCE(sum(calls), 0)::bigint, COALESCE(sum(errors), 0)::bigint, COALESCE(sum(cost_micro), 0)::bigint,
                COALESCE(sum(tokens), 0)::bigint, COALESCE(sum(context_micro), 0)::bigint, COALESCE(sum(counted), 0)::bigint, true FROM sums
         ORDER BY is_all, cost_micro DESC, calls DESC, trace_id",
    )
    .bind(tx.tenant())
    .bind(EntryId::first_at(from))
    .bind(from)
    .bind(most)
    .fetch_all(tx.connection())
    .await?)
}
