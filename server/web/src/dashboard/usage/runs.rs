//! What runs of agents have cost: the calls that one trace holds together.

use trunkline_platform::usage::{self, MOST_CALLS_OF_RUNS, Range, Run, Runs};

use super::{
    Log, Narrowed, Page,
    cost::{self, Cell, CostPage, FILE_ROWS, ROWS, Row},
    moment, views,
};
use crate::{
    WebState,
    dashboard::{components::Stat, format, logs::filter::NONE, page},
    extract::InTenant,
    urls,
};

/// The word of the address.
pub(super) const RUN: &str = "run";

/// The page of costs by run.
pub(super) async fn show(state: &WebState, member: &InTenant, range: Range) -> Page {
    let (slug, currency) = (member.slug(), member.tenant.currency.as_str());
    let found = usage::runs(&state.platform, &member.actor, range, ROWS).await?;
    let path = urls::cost(slug);
    let log = Log { slug, of: None, from: moment(found.from) };
    page(&CostPage {
        layout: member.layout("Cost", "usage"),
        views: views(slug, range, false),
        // Of whatever range it is the last day.
        ranges: Vec::new(),
        range: range.as_str(),
        range_words: "the last day",
        by: cost::choices(None, false, true),
        and: cost::choices(None, true, false),
        nouns: ("Run", ""),
        lead: lead(&found),
        stats: stats(&found, currency, &log),
        rows: found.rows.iter().map(|run| row(run, &log, currency)).chain(others(&found, currency)).collect(),
        has_contexts: found.totals.counted > 0,
        csv_url: urls::with_query(&format!("{path}.csv"), &[("range", range.as_str()), ("by", RUN)]),
        path,
    })
}

/// Latencies are those of sums, and of runs there are none.
fn stats(found: &Runs, currency: &str, log: &Log<'_>) -> Vec<Stat> {
    let latencies = ["p50", "p95", "p99"];
    let stats = Stat::of_totals(&found.totals, currency, log.url("", &[]));
    stats.into_iter().filter(|stat| !latencies.contains(&stat.label) && stat.label != "Error rate").collect()
}

fn lead(found: &Runs) -> String {
    let since = found.from.format("%-d %b %Y, %H:%M:%S UTC");
    let why = "A run is a trace that the caller sends (traceparent). There are too many for sums, so the calls of the last day at most are counted.";
    let most = format::count(MOST_CALLS_OF_RUNS);
    let cut = if found.is_cut { format!(" There were more than {most} calls: these are the newest.") } else { String::new() };
    format!("Since {since}. {why}{cut}")
}

fn row(run: &Run, log: &Log<'_>, currency: &str) -> Row {
    let narrowed: Narrowed = (RUN, run.trace_id.clone().unwrap_or_else(|| NONE.to_owned()));
    let is_counted = run.counted > 0;
    Row {
        first: Cell { name: name(run), url: String::new() },
        second: Cell { name: String::new(), url: String::new() },
        calls: format::count(run.calls),
        calls_url: log.url("", &[&narrowed]),
        errors: format::count(run.errors),
        errors_url: if run.errors == 0 { String::new() } else { log.url("failed", &[&narrowed]) },
        cost: format::cost_or_none(run.cost_micro, currency),
        tokens: if is_counted { format::count(run.tokens) } else { "–".to_owned() },
        context: if is_counted { format::cost(run.context_micro, currency) } else { "–".to_owned() },
    }
}

fn name(run: &Run) -> String {
    run.trace_id.clone().unwrap_or_else(|| "No run".to_owned())
}

/// What has no row of its own.
fn rest(found: &Runs) -> Option<Run> {
    let listed = |of: fn(&Run) -> i64| found.rows.iter().map(of).sum::<i64>();
    let totals = &found.totals;
    let calls = totals.calls - listed(|run| run.calls);
    (calls > 0).then(|| Run {
        trace_id: Some("All others".to_owned()),
        calls,
        errors: totals.errors - listed(|run| run.errors),
        cost_micro: totals.cost_micro - listed(|run| run.cost_micro),
        tokens: totals.tokens_out - listed(|run| run.tokens),
        context_micro: totals.context_micro - listed(|run| run.context_micro),
        counted: totals.counted - listed(|run| run.counted),
    })
}

fn others(found: &Runs, currency: &str) -> Option<Row> {
    let nowhere = Log { slug: "", of: None, from: String::new() };
    rest(found).map(|run| Row { calls_url: String::new(), errors_url: String::new(), ..row(&run, &nowhere, currency) })
}

/// The same as a file.
pub(super) async fn download(state: &WebState, member: &InTenant, range: Range) -> Page {
    let found = usage::runs(&state.platform, &member.actor, range, FILE_ROWS).await?;
    let mut text = "run,calls,failed,cost,currency,tokens,context_cost\r\n".to_owned();
    for run in found.rows.iter().cloned().chain(rest(&found)) {
        text.push_str(&line(&run, &member.tenant.currency));
    }
    Ok(cost::file(text, &format!("{}-cost-by-run.csv", member.slug())))
}

fn line(run: &Run, currency: &str) -> String {
    let (tokens, context) = match run.counted {
        0 => (String::new(), String::new()),
        _ => (run.tokens.to_string(), format::price_input(run.context_micro)),
    };
    let (calls, errors, cost) = (run.calls, run.errors, format::price_input(run.cost_micro));
    format!("{},{calls},{errors},{cost},{currency},{tokens},{context}\r\n", cost::quoted(&name(run)))
}
