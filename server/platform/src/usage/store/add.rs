//! SQL that adds to sums.

use std::collections::BTreeMap;

use crate::{
    db::RecordTx,
    error::Result,
    usage::rollup::{HOUR, PairKey, Sum, SumKey, Sums},
};

/// One column of all sums.
macro_rules! column {
    ($sums:expr, ($key:pat, $sum:pat) => $value:expr) => {
        $sums.iter().map(|($key, $sum)| $value).collect::<Vec<_>>()
    };
}

/// Adds the numbers of all sums to a query, after their keys.
macro_rules! bind_numbers {
    ($query:expr, $sums:expr) => {
        $query
            .bind(column!($sums, (_, sum) => sum.by_outcome[0]))
            .bind(column!($sums, (_, sum) => sum.by_outcome[1]))
            .bind(column!($sums, (_, sum) => sum.by_outcome[2]))
            .bind(column!($sums, (_, sum) => sum.by_outcome[3]))
            .bind(column!($sums, (_, sum) => sum.by_outcome[4]))
            .bind(column!($sums, (_, sum) => sum.by_outcome[5]))
            .bind(column!($sums, (_, sum) => sum.by_outcome[6]))
            .bind(column!($sums, (_, sum) => sum.by_outcome[7]))
            .bind(column!($sums, (_, sum) => sum.cost_micro))
            .bind(column!($sums, (_, sum) => sum.bytes_in))
            .bind(column!($sums, (_, sum) => sum.bytes_out))
            .bind(column!($sums, (_, sum) => sum.counted))
            .bind(column!($sums, (_, sum) => sum.tokens_definition))
            .bind(column!($sums, (_, sum) => sum.tokens_out))
            .bind(column!($sums, (_, sum) => sum.context_micro))
    };
}

/// Adds sums to those that are there, in the order of their keys.
pub(in crate::usage) async fn add_sums(tx: &mut RecordTx, sums: &Sums) -> Result<()> {
    if !sums.pairs.is_empty() {
        add_pairs(tx, &sums.pairs).await?;
    }
    if !sums.kinds.is_empty() {
        add_kinds(tx, &sums.kinds).await?;
    }
    Ok(())
}

async fn add_pairs(tx: &mut RecordTx, sums: &BTreeMap<PairKey, Sum>) -> Result<()> {
    let query = sqlx::query(
        "INSERT INTO app.usage_rollups AS u
           (tenant_id, step, start, agent_id, tool_id, ok, tool_error, upstream_error, timeout, denied, limited, cancelled, unknown,
            cost_micro, bytes_in, bytes_out, counted, tokens_definition, tokens_out, context_micro)
         SELECT tenant_id, step, start, agent_id, tool_id, ok, tool_error, upstream_error, timeout, denied, limited, cancelled, unknown,
            cost_micro, bytes_in, bytes_out, counted, tokens_definition, tokens_out, context_micro
         FROM unnest($1::uuid[], $2::smallint[], $3::timestamptz[], $4::uuid[], $5::uuid[], $6::bigint[], $7::bigint[], $8::bigint[],
            $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[],
            $18::bigint[], $19::bigint[], $20::bigint[])
           AS s (tenant_id, step, start, agent_id, tool_id, ok, tool_error, upstream_error, timeout, denied, limited, cancelled, unknown,
            cost_micro, bytes_in, bytes_out, counted, tokens_definition, tokens_out, context_micro)
         ON CONFLICT (tenant_id, step, start, agent_id, tool_id) DO UPDATE SET
           ok = u.ok + EXCLUDED.ok, tool_error = u.tool_error + EXCLUDED.tool_error,
           upstream_error = u.upstream_error + EXCLUDED.upstream_error, timeout = u.timeout + EXCLUDED.timeout,
           denied = u.denied + EXCLUDED.denied, limited = u.limited + EXCLUDED.limited,
           cancelled = u.cancelled + EXCLUDED.cancelled, unknown = u.unknown + EXCLUDED.unknown,
           cost_micro = u.cost_micro + EXCLUDED.cost_micro, bytes_in = u.bytes_in + EXCLUDED.bytes_in,
           bytes_out = u.bytes_out + EXCLUDED.bytes_out, counted = u.counted + EXCLUDED.counted,
           tokens_definition = u.tokens_definition + EXCLUDED.tokens_definition, tokens_out = u.tokens_out + EXCLUDED.tokens_out,
           context_micro = u.context_micro + EXCLUDED.context_micro",
    )
    .bind(column!(sums, (key, _) => key.tenant.uuid()))
    .bind(vec![HOUR; sums.len()])
    .bind(column!(sums, (key, _) => key.start))
    .bind(column!(sums, (key, _) => key.agent.uuid()))
    .bind(column!(sums, (key, _) => key.tool.uuid()));
    bind_numbers!(query, sums).execute(tx.connection()).await?;
    Ok(())
}

async fn add_kinds(tx: &mut RecordTx, sums: &BTreeMap<SumKey, Sum>) -> Result<()> {
    let query = sqlx::query(
        "INSERT INTO app.usage_sums AS u
           (tenant_id, kind, step, start, agent_id, tool_id, version_id, grant_id, user_id,
            ok, tool_error, upstream_error, timeout, denied, limited, cancelled, unknown,
            cost_micro, bytes_in, bytes_out, counted, tokens_definition, tokens_out, context_micro, histogram)
         SELECT tenant_id, kind, step, start, agent_id, tool_id, version_id, grant_id, user_id,
            ok, tool_error, upstream_error, timeout, denied, limited, cancelled, unknown,
            cost_micro, bytes_in, bytes_out, counted, tokens_definition, tokens_out, context_micro, histogram::bigint[]
         FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::timestamptz[], $5::uuid[], $6::uuid[], $7::uuid[], $8::uuid[], $9::uuid[],
            $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[],
            $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[], $25::text[])
           AS s (tenant_id, kind, step, start, agent_id, tool_id, version_id, grant_id, user_id,
            ok, tool_error, upstream_error, timeout, denied, limited, cancelled, unknown,
            cost_micro, bytes_in, bytes_out, counted, tokens_definition, tokens_out, context_micro, histogram)
         ON CONFLICT (tenant_id, kind, step, start, agent_id, tool_id, version_id, grant_id, user_id) DO UPDATE SET
           ok = u.ok + EXCLUDED.ok, tool_error = u.tool_error + EXCLUDED.tool_error,
           upstream_error = u.upstream_error + EXCLUDED.upstream_error, timeout = u.timeout + EXCLUDED.timeout,
           denied = u.denied + EXCLUDED.denied, limited = u.limited + EXCLUDED.limited,
           cancelled = u.cancelled + EXCLUDED.cancelled, unknown = u.unknown + EXCLUDED.unknown,
           cost_micro = u.cost_micro + EXCLUDED.cost_micro, bytes_in = u.bytes_in + EXCLUDED.bytes_in,
           bytes_out = u.bytes_out + EXCLUDED.bytes_out, counted = u.counted + EXCLUDED.counted,
           tokens_definition = u.tokens_definition + EXCLUDED.tokens_definition, tokens_out = u.tokens_out + EXCLUDED.tokens_out,
           context_micro = u.context_micro + EXCLUDED.context_micro, histogram = app.histogram_merge(u.histogram, EXCLUDED.histogram)",
    )
    .bind(column!(sums, (key, _) => key.tenant.uuid()))
    .bind(column!(sums, (key, _) => key.kind.as_str()))
    .bind(column!(sums, (key, _) => key.step))
    .bind(column!(sums, (key, _) => key.start))
    .bind(column!(sums, (key, _) => key.agent))
    .bind(column!(sums, (key, _) => key.tool))
    .bind(column!(sums, (key, _) => key.version))
    .bind(column!(sums, (key, _) => key.grant))
    .bind(column!(sums, (key, _) => key.user));
    // Arrays of arrays would have to be flattened on the way.
    let query = bind_numbers!(query, sums).bind(column!(sums, (_, sum) => sum.latency.to_text()));
    query.execute(tx.connection()).await?;
    Ok(())
}
