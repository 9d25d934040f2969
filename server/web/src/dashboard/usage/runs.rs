//! What runs of agents have cost: the calls that one trace holds together.

use trunkline_platform::usage::{self, MOST_CALLS_OF_RUNS, Range, Run, Runs, Spent};

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
    let errors_url = if run.spent.errors == 0 { String::new() } else { log.url("failed", &[&narrowed]) };
    cost::numbers(cells(run), &run.spent, (log.url("", &[&narrowed]), errors_url), currency)
}

fn cells(run: &Run) -> (Cell, Cell) {
    (Cell { name: name(run), url: String::new() }, Cell { name: String::new(), url: String::new() })
}

fn name(run: &Run) -> String {
    run.trace_id.clone().unwrap_or_else(|| "No run".to_owned())
}

/// What has no row of its own.
fn rest(found: &Runs) -> Option<Run> {
    let rest = Spent::rest(&found.totals, found.rows.iter().map(|run| &run.spent));
    rest.map(|spent| Run { trace_id: Some("All others".to_owned()), spent })
}

fn others(found: &Runs, currency: &str) -> Option<Row> {
    rest(found).map(|run| cost::numbers(cells(&run), &run.spent, (String::new(), String::new()), currency))
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
    format!("{},{}", cost::quoted(&name(run)), cost::csv_numbers(&run.spent, currency))
}
