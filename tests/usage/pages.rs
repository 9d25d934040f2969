//! The pages of usage and cost: numbers that are those of the calls, links that lead to them, and answers to what nobody should ask.

use chrono::{DateTime, NaiveTime, Utc};
use sqlx::PgConnection;

use super::recount::{insert_calls, usage};
use crate::support::{Agent, Tenant, TestApp, Visitor, tools};

/// Longest page.
const LONGEST: usize = 100 * 1024;

/// Calls since midnight (UTC) with their sums.
async fn calls_of_today(app: &TestApp, sql: &mut PgConnection, of: (&Tenant<'_>, &Agent), count: i64) {
    let today = Utc::now().date_naive();
    let midnight: DateTime<Utc> = today.and_time(NaiveTime::MIN).and_utc();
    insert_calls(sql, of, (midnight, Utc::now()), count).await;
    let rebuilt = usage(app, "rebuild", &["--tenant", "acme", "--from", &today.to_string(), "--to", &today.to_string()]);
    assert!(rebuilt.status.success(), "{rebuilt:?}");
}

/// The text of a row's cells, from its heading on.
fn cells(page: &str, heading: &str) -> Vec<String> {
    let row = page.split("<tr>").find(|row| row.contains(heading)).unwrap_or_else(|| panic!("no row {heading}: {page}"));
    let cells = row.split("</td>").filter_map(|cell| cell.split_once("<td").map(|(_, cell)| cell.to_owned()));
    let text = |cell: String| {
        let cell = cell.split_once('>').map(|(_, text)| text.to_owned()).unwrap_or_default();
        let mut inside = false;
        cell.chars()
            .filter(|c| {
                inside = (inside || *c == '<') && *c != '>';
                !inside && *c != '>'
            })
            .collect::<String>()
            .trim()
            .to_owned()
    };
    cells.map(text).collect()
}

#[tokio::test]
async fn pages_show_the_calls_of_the_record_and_lead_to_them() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let agent = acme.agent("billing", "tools:write").await;
    let tool = acme.tool("echo", tools::echo()).await;
    let mut sql = app.sql().await;
    calls_of_today(&app, &mut sql, (&acme, &agent), 2_000).await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;

    let page = owner.get("/t/acme/usage?range=30d").await.ok().body;
    assert!(page.len() < LONGEST, "{} bytes", page.len());
    for (class, calls) in [
        ("Succeeded", "600"),
        ("Policy", "200"),
        ("Limit", "200"),
        ("Tool", "200"),
        ("Upstream", "200"),
        ("Timeout", "200"),
        ("Cancelled", "200"),
        ("Unknown", "200"),
    ] {
        assert_eq!(
            cells(&page, &format!("<th scope=\"row\">{class}</th>"))[1..],
            [calls.to_owned(), if calls == "600" { "30\u{a0}%" } else { "10\u{a0}%" }.to_owned(), "0".to_owned()],
            "{class}"
        );
    }
    assert!(page.contains("class=\"heat-5\"") && page.contains(">2,000<"), "{page}");
    // What was called has no name here: seven tools that are gone, and one agent.
    assert!(page.contains(&format!("/t/acme/agents/{}/usage?range=30d", agent.id)), "{page}");
    let timeouts = page
        .split('"')
        .find(|url| url.contains("/logs?outcome=timeout"))
        .expect("a link")
        .replace("&amp;", "&")
        .replace("&#38;", "&");
    let log = owner.get(&timeouts).await.ok().body;
    assert!(log.contains("Since ") && log.contains("is-timeout\">Timeout") && !log.contains("is-denied\">"), "{timeouts}: {log}");
    let later = owner.get("/t/acme/logs?from=2999-01-01T00:00:00Z").await.ok().body;
    assert!(later.contains("No call matches"), "{later}");

    for path in [
        format!("/t/acme/agents/{}/usage?range=7d", agent.id),
        format!("/t/acme/tools/{}/usage", tool.id),
        "/t/acme/usage?range=1h".to_owned(),
        "/t/acme/usage?range=90d".to_owned(),
        "/t/acme/usage?range=24h".to_owned(),
        "/t/acme?range=90d".to_owned(),
    ] {
        let page = owner.get(&path).await.ok().body;
        assert!(page.len() < LONGEST, "{path}: {} bytes", page.len());
    }
    // Percentiles are those of the calls, within five percent.
    let exact: f64 = sqlx::query_scalar("SELECT percentile_disc(0.95) WITHIN GROUP (ORDER BY latency_us) / 1000.0::float8 FROM app.calls WHERE outcome NOT IN ('denied', 'limited')").fetch_one(&mut sql).await.expect("a percentile");
    let api = trunkline_platform::usage::compared(
        &app.platform,
        &acme.owner,
        trunkline_platform::usage::Range::Quarter,
        trunkline_platform::usage::Subject::Everything,
    )
    .await
    .expect("totals");
    let found = api.0.p95_ms.expect("a percentile");
    assert!((found / exact - 1.0).abs() < 0.05, "{found} instead of {exact}");
}

#[tokio::test]
async fn costs_are_broken_down_by_any_two() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let agent = acme.agent("=cmd", "tools:write").await;
    let mut sql = app.sql().await;
    calls_of_today(&app, &mut sql, (&acme, &agent), 3_000).await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let exact: i64 =
        sqlx::query_scalar("SELECT sum(cost_micro)::bigint FROM app.calls").fetch_one(&mut sql).await.expect("a sum");
    for first in ["tool", "version", "agent", "client", "user"] {
        for second in ["", "tool", "version", "agent", "client", "user"] {
            let page = owner.get(&format!("/t/acme/usage/cost?by={first}&and={second}&range=7d")).await.ok().body;
            assert!(page.len() < LONGEST && page.contains("Whole days (UTC) since"), "{first} and {second}");
            let file = owner.get(&format!("/t/acme/usage/cost.csv?by={first}&and={second}&range=7d")).await.ok().body;
            let columns: Vec<&str> = file.lines().next().expect("a line").split(',').collect();
            let at = |name: &str| columns.iter().position(|column| *column == name).expect("a column");
            let cost: f64 = file
                .lines()
                .skip(1)
                .map(|line| line.split(',').nth(at("cost")).expect("a field").parse::<f64>().expect("an amount"))
                .sum();
            let calls: i64 = file
                .lines()
                .skip(1)
                .map(|line| line.split(',').nth(at("calls")).expect("a field").parse::<i64>().expect("a count"))
                .sum();
            #[expect(clippy::cast_possible_truncation, reason = "an amount")]
            let micro = (cost * 1e6).round() as i64;
            assert_eq!((calls, micro), (3_000, exact), "{first} and {second}: {file}");
        }
    }
    let file = owner.get("/t/acme/usage/cost.csv?by=agent").await.ok().body;
    assert!(file.contains("\"'=cmd\",3000,"), "{file}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_words() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.agent("agent", "tools:write").await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    for (path, words) in [
        ("/t/acme/usage?range=9999d", "expected 1h, 24h, 7d, 30d or 90d"),
        ("/t/acme/usage?range=%27%20OR%201%3D1--", "expected 1h, 24h, 7d, 30d or 90d"),
        ("/t/acme/usage?range=%3Cscript%3Ealert(1)%3C/script%3E", "expected 1h, 24h, 7d, 30d or 90d"),
        ("/t/acme/usage/cost?by=pg_sleep(10)", "expected tool, version, agent, client or user"),
        ("/t/acme/usage/cost.csv?and=1;DROP%20TABLE%20app.calls", "expected tool, version, agent, client or user"),
        ("/t/acme/logs?from=yesterday", "expected a moment"),
        ("/t/acme/logs?from=%2B262000-01-01T00:00:00Z", "expected a moment"),
    ] {
        let page = owner.get(path).await;
        assert!((400..500).contains(&page.status) && page.body.contains(words), "{path}: {} {}", page.status, page.body);
        assert!(!page.body.contains("<script>alert"), "{path}");
    }
    assert!(owner.get("/t/acme/usage").await.ok().body.contains("No calls in the last 24 hours"));
    assert!(owner.get("/t/acme/usage/cost").await.ok().body.contains("No calls in the last 30 days"));
}

#[tokio::test]
async fn a_hundred_thousand_agents_are_ranked_within_bounds() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let mut sql = app.sql().await;
    let columns = "tenant_id, kind, step, start, agent_id, tool_id, version_id, grant_id, user_id, ok, tool_error, upstream_error, timeout, denied,
                   limited, cancelled, unknown, cost_micro, bytes_in, bytes_out, counted, tokens_definition, tokens_out, context_micro, histogram";
    let nil = "'00000000-0000-0000-0000-000000000000'::uuid";
    for (kind, agents) in [("agent", 100_000), ("all", 1)] {
        let agent = if kind == "all" { nil.to_owned() } else { "md5(n::text)::uuid".to_owned() };
        let insert = format!(
            "INSERT INTO app.usage_sums ({columns})
             SELECT $1, '{kind}', 1440, date_trunc('day', now(), 'UTC') - d * interval '1 day', {agent}, {nil}, {nil}, {nil}, {nil},
                    n, 0, 0, 0, 0, 0, 0, 0, n, 0, 0, 0, 0, 0, 0, '[80:80]={{1}}'
             FROM generate_series(1, {agents}) n, generate_series(0, 2) d"
        );
        sqlx::query(sqlx::AssertSqlSafe(insert)).bind(acme.id).execute(&mut sql).await.expect("sums");
    }
    sqlx::query("ANALYZE app.usage_sums").execute(&mut sql).await.expect("statistics");
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let began = std::time::Instant::now();
    let page = owner.get("/t/acme/usage?range=7d").await.ok().body;
    assert!(page.len() < LONGEST, "{} bytes", page.len());
    assert!(page.contains("there are too many agents for more than that"), "{page}");
    crate::support::say(&format!("usage: 300,000 sums of agents: {} ms, {} bytes", began.elapsed().as_millis(), page.len()));
}
