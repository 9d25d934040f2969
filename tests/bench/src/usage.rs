//! What pages of usage cost with many calls: fills a tenant with calls of ninety days and their sums, then asks what the pages ask, in a folder that stays
//! or in one of its own. The rows are made in the database, by its administrator, beside the writer; a day of them is held
//! against the record at the end, so that they are those that the writer would have made. Days that are not recorded have the sums of yesterday.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use trunkline_platform::{
    Platform,
    actor::{Member, Role},
    agents::{self, NewAgent},
    call::Outcome,
    ids::{AgentId, ClientId, EntryId, TenantId, ToolId, ToolVersionId, UserId},
    trace::TraceId,
    usage::{self, Breakdown, CallFilter, Dimension, Narrow, Range, Subject, Wrong},
};
use trunkline_protocol::oauth::scope::Effect;

use crate::{installation::Ground, pages, say};

/// Calls, unless told otherwise.
pub(crate) const CALLS: u64 = 100_000_000;
pub(crate) const DAYS: u64 = 90;
const AGENTS: usize = 200;
const TOOLS: usize = 100;
/// Tools that an agent uses.
const TOOLS_EACH: usize = 8;
const USERS: usize = 300;
const CLIENTS: usize = 5;
/// Each page is asked for so often, after it was asked for a few times.
const TIMES: usize = 40;
const WARM: usize = 3;
/// Rows of a page, as the pages have them.
const RANKED: usize = 15;
const BROKEN_DOWN: usize = 50;

/// Nobody calls.
const NOWHERE: &str = "http://127.0.0.1:9/";
/// What one more costs is said of each.
const MONTH: u64 = 30;
/// Minutes are kept for so long, and their sums of all with them.
const MINUTES_FOR_DAYS: u64 = 8;
/// In minutes.
const WEEK: i32 = 10_080;
/// Calls of a run. Every fourth agent says of its calls which run they belong to.
const RUN: u64 = 20;

/// Fills and measures; or one of both in a folder that stays.
pub(crate) async fn run(program: &Path, calls: u64, recorded_days: u64, dir: Option<&Path>) -> anyhow::Result<()> {
    let Some(dir) = dir else {
        let ground = Ground::prepare(program, NOWHERE, 0, TOOLS).await?;
        fill(&ground, calls, recorded_days).await?;
        return measure(program, ground).await?.clear().await;
    };
    let mut ground = Ground::open(program, dir, 0).await?;
    let mut sql = PgConnection::connect(ground.admin_url().reveal()).await?;
    let is_filled: bool = sqlx::query_scalar("SELECT to_regclass('bench.filled') IS NOT NULL").fetch_one(&mut sql).await?;
    sql.close().await?;
    if is_filled {
        return measure(program, ground).await?.leave().await;
    }
    ground.plant(NOWHERE, TOOLS, Effect::Write).await?;
    fill(&ground, calls, recorded_days).await?;
    ground.leave().await
}

/// Calls of ninety days, and what that takes.
async fn fill(ground: &Ground, calls: u64, recorded_days: u64) -> anyhow::Result<()> {
    let platform = ground.platform()?;
    let owner = ground.owner.clone().context("a tenant")?;
    for number in 0..AGENTS {
        agents::create(&platform, &owner, NewAgent::parse(&format!("agent-{number:04}"), "", "tools:write")?).await?;
    }
    let mut sql = PgConnection::connect(ground.admin_url().reveal()).await?;
    let (began, mut month) = (Instant::now(), Instant::now());
    let per_day = calls.div_ceil(DAYS);
    prepare(&mut sql, &owner).await?;
    let recorded_days = recorded_days.max(2);
    let mut days = Vec::new();
    for day in 0..DAYS {
        let context = || format!("the day {day} days ago");
        if day < recorded_days {
            fill_day(&mut sql, day, per_day).await.with_context(context)?;
            say(format!("  {} of {DAYS} days after {:.0} s", day + 1, began.elapsed().as_secs_f64()));
        } else {
            keep_day(&mut sql, day).await.with_context(context)?;
            let copied = Instant::now();
            copy_day(&mut sql, day).await.with_context(context)?;
            if day >= MINUTES_FOR_DAYS {
                days.push(copied.elapsed().as_secs_f64());
            }
        }
        if (day + 1).is_multiple_of(MONTH) {
            say(format!("  month {} took {:.0} s", (day + 1) / MONTH, month.elapsed().as_secs_f64()));
            say_days(std::mem::take(&mut days));
            tidy(&mut sql).await?;
            say_sizes(&mut sql, per_day * (day + 1), day + 1, began.elapsed()).await?;
            month = Instant::now();
        }
    }
    let yesterday = sqlx::query_scalar("SELECT date_trunc('day', now(), 'UTC') - interval '1 day'").fetch_one(&mut sql).await?;
    let checked = Instant::now();
    let found = usage::recount(&platform, owner.tenant, yesterday, Wrong::Tell).await?;
    ensure!(found.wrong == 0, "{} of {} sums are not those of the record", found.wrong, found.sums);
    say(format!(
        "  a day held against the record: {} calls, {} sums, {:.1} s",
        found.calls,
        found.sums,
        checked.elapsed().as_secs_f64()
    ));
    execute(&mut sql, "CREATE TABLE bench.filled AS SELECT now() AS at").await?;
    sql.close().await?;
    platform.db.close().await;
    Ok(())
}

/// What the pages ask of it.
async fn measure(program: &Path, ground: Ground) -> anyhow::Result<Ground> {
    let platform = ground.platform()?;
    let mut sql = PgConnection::connect(ground.admin_url().reveal()).await?;
    let (user, tenant): (UserId, TenantId) =
        sqlx::query_as("SELECT m.user_id, m.tenant_id FROM app.memberships m JOIN bench.tenant t ON t.id = m.tenant_id")
            .fetch_one(&mut sql)
            .await?;
    let owner = Member { user, tenant, role: Role::Owner };
    let agent: AgentId = sqlx::query_scalar("SELECT id FROM bench.agents WHERE n = 7").fetch_one(&mut sql).await?;
    let tool: ToolId = sqlx::query_scalar("SELECT id FROM bench.tools WHERE n = 7").fetch_one(&mut sql).await?;
    pages(&platform, &owner, agent, tool, &Range::ALL).await?;
    logs(&platform, &owner, &mut sql).await?;
    sql.close().await?;
    platform.db.close().await;
    pages::measure(program, ground, user, &paths(agent, tool)).await
}

/// Pages by name and path.
fn paths(agent: AgentId, tool: ToolId) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for range in Range::ALL.map(Range::as_str) {
        found.push((format!("usage {range}"), format!("/t/bench/usage?range={range}")));
        found.push((format!("tool {range}"), format!("/t/bench/tools/{tool}/usage?range={range}")));
        found.push((format!("agent {range}"), format!("/t/bench/agents/{agent}/usage?range={range}")));
    }
    for (by, and) in [("tool", "agent"), ("client", "user"), ("version", "client"), ("user", "tool"), ("agent", "")] {
        found.push((format!("cost {by} {and} 90d"), format!("/t/bench/usage/cost?by={by}&and={and}&range=90d")));
    }
    found.push(("runs".to_owned(), "/t/bench/usage/cost?by=run&range=24h".to_owned()));
    found.push(("log".to_owned(), "/t/bench/logs".to_owned()));
    found.push(("log of an agent".to_owned(), format!("/t/bench/logs?agent={agent}")));
    found
}

async fn execute(sql: &mut PgConnection, statement: &'static str) -> anyhow::Result<()> {
    sqlx::query(statement).execute(sql).await.with_context(|| statement.lines().next().unwrap_or_default().to_owned())?;
    Ok(())
}

/// People, clients, grants, and the months of the past; what the days are made of is kept in a schema of the benchmark's own.
async fn prepare(sql: &mut PgConnection, owner: &Member) -> anyhow::Result<()> {
    let (tenant, user) = (owner.tenant.uuid(), owner.user.uuid());
    let statements = [
        "CREATE SCHEMA bench".to_owned(),
        format!("CREATE TABLE bench.agents AS SELECT row_number() OVER (ORDER BY name) - 1 AS n, id FROM app.agents WHERE tenant_id = '{tenant}' AND name LIKE 'agent-%'"),
        format!("CREATE TABLE bench.tools AS SELECT row_number() OVER (ORDER BY name) - 1 AS n, id, version_id, name FROM app.tools WHERE tenant_id = '{tenant}'"),
        format!("CREATE TABLE bench.tenant AS SELECT '{tenant}'::uuid AS id"),
        format!(
            "INSERT INTO app.users (id, email, password_hash, email_verified_at)
             SELECT gen_random_uuid(), 'person-' || n || '@bench.example', (SELECT password_hash FROM app.users WHERE id = '{user}'), now()
             FROM generate_series(1, {USERS}) n"
        ),
        format!(
            "INSERT INTO app.clients (id, tenant_id, client_id, kind, name, state, created_at)
             SELECT gen_random_uuid(), '{tenant}', 'https://client-' || n || '.example/', 'document', 'Client ' || n, 'approved', now()
             FROM generate_series(1, {CLIENTS}) n"
        ),
        // Every agent has two people, each with a client.
        format!(
            "INSERT INTO app.grants (id, tenant_id, user_id, agent_id, client_id, resource, scopes, created_at, expires_at, last_used_at)
             SELECT gen_random_uuid(), '{tenant}', u.id, a.id, c.id, 'https://bench.example/mcp', '{{tools:write}}', now(), now() + interval '1 year', now()
             FROM bench.agents a CROSS JOIN generate_series(0, 1) k
             JOIN (SELECT row_number() OVER (ORDER BY email) - 1 AS n, id FROM app.users WHERE email LIKE 'person-%') u ON u.n = (a.n * 2 + k) % {USERS}
             JOIN (SELECT row_number() OVER (ORDER BY name) - 1 AS n, id FROM app.clients WHERE tenant_id = '{tenant}') c ON c.n = (a.n + k) % {CLIENTS}"
        ),
        "CREATE TABLE bench.grants AS SELECT g.id, g.user_id, a.n AS agent, row_number() OVER (PARTITION BY a.n ORDER BY g.id) - 1 AS k
         FROM app.grants g JOIN bench.agents a ON a.id = g.agent_id"
            .to_owned(),
        "DO $$ BEGIN FOR m IN 1..4 LOOP
           EXECUTE format('CREATE TABLE IF NOT EXISTS app.calls_%s PARTITION OF app.calls FOR VALUES FROM (%L) TO (%L)',
             to_char(now() AT TIME ZONE 'UTC' - make_interval(months => m), 'YYYYMM'),
             date_trunc('month', now() AT TIME ZONE 'UTC' - make_interval(months => m)) AT TIME ZONE 'UTC',
             date_trunc('month', now() AT TIME ZONE 'UTC' - make_interval(months => m - 1)) AT TIME ZONE 'UTC');
         END LOOP; END $$"
            .to_owned(),
    ];
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement.clone())).execute(&mut *sql).await.context(statement)?;
    }
    Ok(())
}

/// The columns of sums over `calls`, and the histogram of each group.
const SUMS: &str = "count(*) FILTER (WHERE outcome = 'ok'), count(*) FILTER (WHERE outcome = 'tool_error'),
    count(*) FILTER (WHERE outcome = 'upstream_error'), count(*) FILTER (WHERE outcome = 'timeout'), count(*) FILTER (WHERE outcome = 'denied'),
    count(*) FILTER (WHERE outcome = 'limited'), count(*) FILTER (WHERE outcome = 'cancelled'), count(*) FILTER (WHERE outcome = 'unknown'),
    sum(cost_micro), sum(bytes_in), sum(bytes_out), count(context_micro), coalesce(sum(tokens_definition), 0), coalesce(sum(tokens_out), 0),
    coalesce(sum(context_micro), 0)";

/// A week is made day by day.
const ADDED: &str = "ON CONFLICT (tenant_id, kind, step, start, agent_id, tool_id, version_id, grant_id, user_id) DO UPDATE SET
    ok = u.ok + EXCLUDED.ok, tool_error = u.tool_error + EXCLUDED.tool_error, upstream_error = u.upstream_error + EXCLUDED.upstream_error,
    timeout = u.timeout + EXCLUDED.timeout, denied = u.denied + EXCLUDED.denied, limited = u.limited + EXCLUDED.limited,
    cancelled = u.cancelled + EXCLUDED.cancelled, unknown = u.unknown + EXCLUDED.unknown, cost_micro = u.cost_micro + EXCLUDED.cost_micro,
    bytes_in = u.bytes_in + EXCLUDED.bytes_in, bytes_out = u.bytes_out + EXCLUDED.bytes_out, counted = u.counted + EXCLUDED.counted,
    tokens_definition = u.tokens_definition + EXCLUDED.tokens_definition, tokens_out = u.tokens_out + EXCLUDED.tokens_out,
    context_micro = u.context_micro + EXCLUDED.context_micro";

/// What the database does by itself when there is time.
async fn tidy(sql: &mut PgConnection) -> anyhow::Result<()> {
    forget_day(sql).await?;
    for statement in ["VACUUM ANALYZE app.usage_sums", "VACUUM ANALYZE app.usage_rollups", "ANALYZE app.calls"] {
        execute(sql, statement).await?;
    }
    Ok(())
}

/// The numbers of a sum.
const NUMBERS: &str =
    "ok, tool_error, upstream_error, timeout, denied, limited, cancelled, unknown, cost_micro, bytes_in, bytes_out, counted,
    tokens_definition, tokens_out, context_micro, histogram";

/// Yesterday's sums, beside all others: what is read for a day is then the same for each, however much is there. Minutes go where nobody keeps them, and
/// all of it before sizes are said.
async fn keep_day(sql: &mut PgConnection, day: u64) -> anyhow::Result<()> {
    if day == MINUTES_FOR_DAYS {
        forget_day(sql).await?;
    }
    for table in ["usage_sums", "usage_rollups"] {
        let keep = format!(
            "CREATE TEMPORARY TABLE IF NOT EXISTS day_of_{table} AS SELECT * FROM app.{table}
             WHERE step > {} AND step <= 1440 AND start >= date_trunc('day', now(), 'UTC') - interval '1 day' AND start < date_trunc('day', now(), 'UTC')",
            i32::from(day >= MINUTES_FOR_DAYS)
        );
        sqlx::query(AssertSqlSafe(keep)).execute(&mut *sql).await.with_context(|| format!("yesterday of {table}"))?;
    }
    Ok(())
}

async fn forget_day(sql: &mut PgConnection) -> anyhow::Result<()> {
    execute(sql, "DROP TABLE IF EXISTS day_of_usage_sums, day_of_usage_rollups").await
}

/// The sums of the day that many days ago are those of yesterday.
async fn copy_day(sql: &mut PgConnection, day: u64) -> anyhow::Result<()> {
    for (table, before, after) in [
        ("usage_sums", "tenant_id, kind, step", "agent_id, tool_id, version_id, grant_id, user_id"),
        ("usage_rollups", "tenant_id, step", "agent_id, tool_id"),
    ] {
        let copy = format!(
            "INSERT INTO app.{table} ({before}, start, {after}, {NUMBERS})
             SELECT {before}, start - interval '{} days', {after}, {NUMBERS} FROM day_of_{table}",
            day - 1
        );
        sqlx::query(AssertSqlSafe(copy)).execute(&mut *sql).await.with_context(|| format!("sums of {table}"))?;
    }
    let added = format!(
        "INSERT INTO app.usage_sums AS u (tenant_id, kind, step, start, agent_id, tool_id, version_id, grant_id, user_id, {NUMBERS})
         SELECT tenant_id, kind, {WEEK}, date_bin('7 days', start, '1970-01-01T00:00Z'), agent_id, tool_id, version_id, grant_id, user_id, {NUMBERS}
         FROM app.usage_sums WHERE kind = 'each' AND step = 1440 AND start = date_trunc('day', now(), 'UTC') - interval '{day} days' {ADDED}"
    );
    sqlx::query(AssertSqlSafe(added)).execute(&mut *sql).await.context("weeks")?;
    Ok(())
}

/// Calls of the day that many days ago, in the record, and their sums.
async fn fill_day(sql: &mut PgConnection, day: u64, per_day: u64) -> anyhow::Result<()> {
    let begin = format!("(date_trunc('day', now(), 'UTC') - interval '{day} days')");
    let calls = format!(
        "CREATE TEMPORARY TABLE calls AS
         SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(m::text || at::text), 1, 3) || '8' || substr(md5(at::text || m::text), 1, 15))::uuid AS id,
                at, a.id AS agent_id, t.id AS tool_id, t.version_id, t.name AS tool_name, g.id AS grant_id, g.user_id, outcome,
                -- Odd, so that none lies on the border of two buckets; a few milliseconds for most, and a long tail.
                (2 * (600 + (r * 4000)::bigint % 3000 + CASE WHEN r > 0.98 THEN (r * 1e8)::bigint % 900000 ELSE 0 END) + 1) * (1 + t.n % 5) AS latency_us,
                CASE WHEN t.n % 3 = 0 THEN 250 ELSE 0 END AS cost_micro, 300 + m % 500 AS bytes_in, 900 + m % 3000 AS bytes_out,
                CASE WHEN a.n % 2 = 0 THEN 120 END::bigint AS tokens_definition, CASE WHEN a.n % 2 = 0 THEN m % 900 END::bigint AS tokens_out,
                CASE WHEN a.n % 2 = 0 THEN m % 50 END::bigint AS context_micro,
                CASE WHEN a.n % 4 = 0 THEN md5(a.n || '/' || {day} || '/' || m / ({AGENTS} * {RUN})) END AS trace_id
         FROM generate_series(0, {per_day} - 1) m
         CROSS JOIN LATERAL (SELECT date_trunc('milliseconds', {begin} + m * (interval '1 day' / {per_day})) AS at, random() AS r, (m::bigint * 7919) % {AGENTS} AS agent,
                               (m / {AGENTS}) % {TOOLS_EACH} AS nth) AS d
         JOIN bench.agents a ON a.n = d.agent
         JOIN bench.tools t ON t.n = (d.agent * 3 + d.nth * d.nth) % {TOOLS}
         JOIN bench.grants g ON g.agent = d.agent AND g.k = (m / 1000) % 2
         CROSS JOIN LATERAL (SELECT CASE WHEN r < 0.94 THEN 'ok' WHEN r < 0.96 THEN 'tool_error' WHEN r < 0.97 THEN 'limited' WHEN r < 0.975 THEN 'denied'
                               WHEN r < 0.99 THEN 'upstream_error' WHEN r < 0.998 THEN 'timeout' ELSE 'cancelled' END AS outcome) AS o"
    );
    sqlx::query(AssertSqlSafe(calls)).execute(&mut *sql).await.context("calls")?;
    let record =
        "INSERT INTO app.calls (id, tenant_id, at, agent_id, tool_id, tool_version_id, tool_name, outcome, latency_us, auth_us, admission_us, upstream_us,
           bytes_in, bytes_out, cost_micro, revision, request_id, grant_id, user_id, tokens_definition, tokens_out, tokens_estimated, context_micro, trace_id)
         SELECT id, (SELECT id FROM bench.tenant), at, agent_id, tool_id, version_id, tool_name, outcome, latency_us, 20, 150, latency_us / 2,
           bytes_in, bytes_out, cost_micro, '2026-07-28', 'bench', grant_id, user_id, tokens_definition, tokens_out,
           CASE WHEN context_micro IS NOT NULL THEN false END, context_micro, trace_id FROM calls";
    execute(sql, record).await?;
    execute(
        sql,
        "ALTER TABLE calls ADD COLUMN bucket int GENERATED ALWAYS AS
           (CASE WHEN outcome IN ('denied', 'limited') THEN NULL ELSE least(177, greatest(1, 1 + ceil(8 * ln(latency_us / 100.0::float8) / ln(2.0::float8))))::int END) STORED",
    )
    .await?;
    let nil = "'00000000-0000-0000-0000-000000000000'::uuid";
    for (kind, step) in [
        ("all", 1),
        ("all", 60),
        ("all", 1440),
        ("tool", 1),
        ("tool", 60),
        ("tool", 1440),
        ("agent", 1),
        ("agent", 60),
        ("agent", 1440),
        ("version", 1440),
        ("each", 1440),
        ("each", WEEK),
        ("pair", 60),
    ] {
        if step == 1 && day >= MINUTES_FOR_DAYS {
            continue;
        }
        let id = |of: &[&str], column: &'static str| if of.contains(&kind) { column } else { nil };
        let (agent, tool) = (id(&["agent", "each", "pair"], "agent_id"), id(&["tool", "each", "pair"], "tool_id"));
        let ids = format!(
            "{agent} AS a, {tool} AS t, {} AS v, {} AS g, {} AS u",
            id(&["version", "each"], "version_id"),
            id(&["each"], "grant_id"),
            id(&["each"], "user_id")
        );
        let (table, columns, keys) = if kind == "pair" {
            ("usage_rollups", "tenant_id, step, start, agent_id, tool_id", "start, a, t")
        } else {
            (
                "usage_sums",
                "tenant_id, kind, step, start, agent_id, tool_id, version_id, grant_id, user_id",
                "start, a, t, v, g, u",
            )
        };
        let word = if kind == "pair" { String::new() } else { format!("'{kind}', ") };
        let start = format!("date_bin(interval '{step} minutes', at, timestamptz '1970-01-01T00:00Z')");
        let insert = if matches!(kind, "each" | "pair") {
            format!(
                "INSERT INTO app.{table} AS u ({columns}, ok, tool_error, upstream_error, timeout, denied, limited, cancelled, unknown, cost_micro, bytes_in,
                   bytes_out, counted, tokens_definition, tokens_out, context_micro, histogram)
                 SELECT (SELECT id FROM bench.tenant), {word}{step}, {keys}, {SUMS}, '{{}}' FROM (SELECT {start} AS start, {ids}, c.* FROM calls c) c GROUP BY {keys}
                 {}",
                if step == WEEK { ADDED } else { "" }
            )
        } else {
            format!(
                "WITH c AS MATERIALIZED (SELECT {start} AS start, {ids}, c.* FROM calls c),
                   h AS (SELECT {keys}, app.histogram_sum(one) AS histogram
                         FROM (SELECT {keys}, format('[%s:%s]={{%s}}', bucket, bucket, count(*))::bigint[] AS one
                               FROM c WHERE bucket IS NOT NULL GROUP BY {keys}, bucket) AS b GROUP BY {keys}),
                   s AS (SELECT {keys}, {SUMS} FROM c GROUP BY {keys})
                 INSERT INTO app.{table} ({columns}, ok, tool_error, upstream_error, timeout, denied, limited, cancelled, unknown, cost_micro, bytes_in,
                   bytes_out, counted, tokens_definition, tokens_out, context_micro, histogram)
                 SELECT (SELECT id FROM bench.tenant), {word}{step}, s.*, coalesce(h.histogram, '{{}}') FROM s LEFT JOIN h USING ({keys})"
            )
        };
        sqlx::query(AssertSqlSafe(insert)).execute(&mut *sql).await.with_context(|| format!("sums of {kind}, {step} minutes"))?;
    }
    execute(sql, "DROP TABLE calls").await
}

/// What a day of sums took, of those that have no minutes.
fn say_days(mut seconds: Vec<f64>) {
    seconds.sort_by(f64::total_cmp);
    if let (Some(least), Some(most)) = (seconds.first(), seconds.last()) {
        let median = seconds[seconds.len() / 2];
        say(format!("  a day of sums without minutes: median {median:.2} s of {} days, {least:.2} to {most:.2}", seconds.len()));
    }
}

async fn say_sizes(sql: &mut PgConnection, calls: u64, days: u64, took: Duration) -> anyhow::Result<()> {
    say(format!("  {calls} calls over {days} days, filled in {:.0} s", took.as_secs_f64()));
    let sizes: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT name, size::bigint, rows::bigint FROM (
           SELECT 'usage_sums' AS name, pg_total_relation_size('app.usage_sums') AS size, (SELECT count(*) FROM app.usage_sums) AS rows
           UNION ALL SELECT 'usage_rollups', pg_total_relation_size('app.usage_rollups'), (SELECT count(*) FROM app.usage_rollups)
           UNION ALL SELECT 'calls', sum(pg_total_relation_size(inhrelid)), (SELECT sum(reltuples) FROM pg_class JOIN pg_inherits ON inhrelid = oid WHERE inhparent = 'app.calls'::regclass)
             FROM pg_inherits WHERE inhparent = 'app.calls'::regclass
           UNION ALL SELECT 'database', pg_database_size(current_database()), 0) AS s",
    )
    .fetch_all(sql)
    .await?;
    for (name, bytes, rows) in sizes {
        say(format!(
            "  {name:>14}: {:>8.1} MB, {rows} rows",
            f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) * 1024.0 / 1e6
        ));
    }
    Ok(())
}

/// All queries of each page, one after another as the page asks them.
async fn pages(platform: &Platform, owner: &Member, agent: AgentId, tool: ToolId, ranges: &[Range]) -> anyhow::Result<()> {
    say("  page        range | p50 ms  p95 ms (all queries of a page)");
    for &range in ranges {
        for (name, subject) in [("usage", Subject::Everything), ("tool", Subject::Tool(tool)), ("agent", Subject::Agent(agent))] {
            time(&format!("{name:<10} {:>6}", range.as_str()), async || {
                usage::compared(platform, owner, range, subject).await?;
                usage::series(platform, owner, range, subject).await?;
                let (agent, tool, other) = match subject {
                    Subject::Everything => {
                        usage::rankings(platform, owner, range, RANKED).await?;
                        return Ok(());
                    }
                    Subject::Tool(tool) => (None, Some(tool), Dimension::Agent),
                    Subject::Agent(agent) => (Some(agent), None, Dimension::Tool),
                };
                for first in [other, Dimension::Version, Dimension::Client] {
                    usage::costs(platform, owner, range, Breakdown { first, second: None, agent, tool, most: RANKED }).await?;
                }
                Ok(())
            })
            .await?;
        }
    }
    for &range in &[Range::Week, Range::Month, Range::Quarter] {
        for (number, first) in Dimension::ALL.into_iter().enumerate() {
            for second in [None].into_iter().chain(Dimension::ALL[number + 1..].iter().map(|second| Some(*second))) {
                let words = second
                    .map_or_else(|| first.as_str().to_owned(), |second| format!("{} × {}", first.as_str(), second.as_str()));
                time(&format!("{words:<16} {:>6}", range.as_str()), async || {
                    let by = Breakdown { first, second, agent: None, tool: None, most: BROKEN_DOWN };
                    usage::costs(platform, owner, range, by).await?;
                    Ok(())
                })
                .await?;
            }
        }
    }
    time("runs", async || {
        usage::runs(platform, owner, Range::Day, BROKEN_DOWN).await?;
        Ok(())
    })
    .await
}

/// The log, narrowed to what it can be narrowed to: its first page, and one of the calls of yesterday.
async fn logs(platform: &Platform, owner: &Member, sql: &mut PgConnection) -> anyhow::Result<()> {
    type Found = (ToolVersionId, UserId, ClientId, String, EntryId);
    let (version, user, client, run, later): Found = sqlx::query_as(
        "SELECT c.tool_version_id, c.user_id, g.client_id, c.trace_id, c.id FROM app.calls c JOIN app.grants g ON g.id = c.grant_id
         WHERE c.trace_id IS NOT NULL AND c.at < date_trunc('day', now(), 'UTC') - interval '12 hours' ORDER BY c.id DESC LIMIT 1",
    )
    .fetch_one(sql)
    .await?;
    let run: TraceId = run.parse()?;
    let nobody = UserId::from(later.uuid());
    let filters = [
        ("all", CallFilter::default()),
        ("version", CallFilter { version: Some(Narrow::To(version)), ..CallFilter::default() }),
        ("client", CallFilter { client: Some(Narrow::To(client)), ..CallFilter::default() }),
        ("user", CallFilter { user: Some(Narrow::To(user)), ..CallFilter::default() }),
        ("nobody", CallFilter { user: Some(Narrow::To(nobody)), ..CallFilter::default() }),
        ("run", CallFilter { run: Some(Narrow::To(run)), ..CallFilter::default() }),
        ("failed", CallFilter { outcomes: vec![Outcome::Timeout], ..CallFilter::default() }),
    ];
    for (name, filter) in filters {
        for (page, before) in [("first", None), ("later", Some(later))] {
            let filter = CallFilter { before, ..filter.clone() };
            time(&format!("log: {name:<12} {page:>6}"), async || {
                usage::filter_names(platform, owner, &filter).await?;
                usage::calls(platform, owner, &filter).await?;
                Ok(())
            })
            .await?;
        }
    }
    Ok(())
}

async fn time(name: &str, ask: impl AsyncFn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for number in 0..WARM + TIMES {
        let began = Instant::now();
        ask().await?;
        if number >= WARM {
            times.push(began.elapsed().as_secs_f64() * 1000.0);
        }
    }
    times.sort_by(f64::total_cmp);
    say(format!("  {name:<24} | {:>6.1}  {:>6.1}", times[TIMES / 2], times[TIMES * 95 / 100]));
    Ok(())
}
