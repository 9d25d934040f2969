//! What calls have cost, by any two of tool, version, agent, client and user; as a page and as a file.

use actix_web::{
    HttpResponse,
    http::header::{self, ContentDisposition, DispositionParam, DispositionType},
    web,
};
use askama::Template;
use trunkline_platform::{
    Error,
    usage::{self, AnyId, Breakdown, Costs, Dimension, Range, Spent},
};

use super::{
    Log, Narrowed, Page, days_words, moment, narrowed, range,
    runs::{self, RUN},
    tab, views,
};
use crate::{
    WebState,
    dashboard::{
        components::{Choice, Stat, Tab},
        format, home,
        layout::Layout,
        page,
    },
    extract::{InTenant, Query},
    urls,
};

/// Rows of the page and of the file. All that follows is together in one more.
pub(super) const ROWS: usize = 50;
pub(super) const FILE_ROWS: usize = 10_000;

#[derive(Template)]
#[template(path = "dashboard/cost.html")]
pub(super) struct CostPage {
    pub(super) layout: Layout,
    pub(super) path: String,
    pub(super) views: Vec<Tab>,
    pub(super) ranges: Vec<Tab>,
    pub(super) range: &'static str,
    pub(super) range_words: &'static str,
    pub(super) by: Vec<Choice>,
    pub(super) and: Vec<Choice>,
    pub(super) nouns: (&'static str, &'static str),
    pub(super) lead: String,
    pub(super) stats: Vec<Stat>,
    pub(super) rows: Vec<Row>,
    pub(super) has_contexts: bool,
    pub(super) csv_url: String,
}

pub(super) struct Row {
    pub(super) first: Cell,
    pub(super) second: Cell,
    pub(super) calls: String,
    pub(super) calls_url: String,
    pub(super) errors: String,
    pub(super) errors_url: String,
    pub(super) cost: String,
    pub(super) tokens: String,
    pub(super) context: String,
}

pub(super) struct Cell {
    pub(super) name: String,
    pub(super) url: String,
}

/// What the address asks for: by one dimension, and by another if that is wanted.
fn dimensions(query: &Query) -> Result<(Dimension, Option<Dimension>), Error> {
    let first = match query.get("by") {
        "" => Dimension::Tool,
        word => Dimension::parse("by", word)
            .map_err(|_| Error::invalid("by", "expected tool, version, agent, client or user, or run alone"))?,
    };
    let second = match query.get("and") {
        "" => None,
        word => Some(Dimension::parse("and", word)?),
    };
    Ok((first, second.filter(|second| *second != first)))
}

/// Does the address ask for runs? They stand alone.
fn is_by_run(query: &Query) -> Result<bool, Error> {
    match (query.get("by"), query.get("and")) {
        (RUN, "") => Ok(true),
        (RUN, _) => Err(Error::invalid("and", "expected nothing: runs are not broken down further")),
        _ => Ok(false),
    }
}

fn noun(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Tool => "Tool",
        Dimension::Version => "Version",
        Dimension::Agent => "Agent",
        Dimension::Client => "Client",
        Dimension::User => "User",
    }
}

/// The name of one, or why it has none.
pub(super) fn label(dimension: Dimension, (id, name): &(Option<AnyId>, String)) -> String {
    match (id, dimension) {
        _ if !name.is_empty() => name.clone(),
        (Some(id), _) => format!("removed ({id})"),
        (None, Dimension::Tool | Dimension::Version) => "Unknown tools".to_owned(),
        (None, Dimension::Client) => "No client (key or certificate)".to_owned(),
        (None, Dimension::User) => "Nobody (services)".to_owned(),
        (None, Dimension::Agent) => "Unknown".to_owned(),
    }
}

pub(super) async fn show(state: web::Data<WebState>, member: InTenant, query: Query) -> Page {
    let range = range(&query, Range::Month)?;
    if is_by_run(&query)? {
        return runs::show(&state, &member, range).await;
    }
    let (first, second) = dimensions(&query)?;
    let (slug, currency) = (member.slug(), member.tenant.currency.as_str());
    let by = Breakdown { first, second, agent: None, tool: None, most: ROWS };
    let found = usage::costs(&state.platform, &member.actor, range, by).await?;
    let and = second.map_or("", Dimension::as_str);
    let fields = [("by", first.as_str()), ("and", and)];
    let lines = lines(&found, (first, second)).chain(others(&found));
    let log = Log { slug, of: None, from: moment(found.from) };
    let rows = lines.map(|line| row(&line, &log, currency, (first, second))).collect();
    let path = urls::cost(slug);
    page(&CostPage {
        layout: member.layout("Cost", "usage"),
        views: views(slug, range, false),
        ranges: Range::ALL[2..].iter().map(|one| tab(&path, *one, *one == range, &fields)).collect(),
        range: range.as_str(),
        range_words: home::words(range),
        by: choices(Some(first), false, false),
        and: choices(second, true, false),
        nouns: (noun(first), second.map_or("", noun)),
        lead: days_words(found.from, found.is_cut, false),
        stats: Stat::of_totals(&found.totals, currency, log.url("", &[])),
        rows,
        has_contexts: found.totals.counted > 0,
        csv_url: urls::with_query(&format!("{path}.csv"), &[("range", range.as_str()), fields[0], fields[1]]),
        path,
    })
}

/// What can be chosen: first, or after that; runs stand alone.
pub(super) fn choices(chosen: Option<Dimension>, is_second: bool, is_run: bool) -> Vec<Choice> {
    let choice = |value: &str, label: &str, chosen| Choice {
        value: value.to_owned(),
        label: label.to_owned(),
        hint: String::new(),
        chosen,
    };
    let none = is_second.then(|| choice("", "Nothing else", chosen.is_none()));
    let all = Dimension::ALL.into_iter().map(|one| choice(one.as_str(), noun(one), chosen == Some(one)));
    let run = (!is_second).then(|| choice(RUN, "Run (last day, alone)", is_run));
    none.into_iter().chain(all).chain(run).collect()
}

/// A row before it is shown.
struct Line {
    first: (Option<AnyId>, String),
    second: (Option<AnyId>, String),
    /// What leads to its calls; nothing for what is of many.
    narrowed: Vec<Narrowed>,
    spent: Spent,
}

fn lines(found: &Costs, (first, second): (Dimension, Option<Dimension>)) -> impl Iterator<Item = Line> {
    found.rows.iter().map(move |row| Line {
        first: (row.first.0.filter(|_| !row.first.1.is_empty()), label(first, &row.first)),
        second: second.map_or_else(
            || (None, String::new()),
            |second| (row.second.0.filter(|_| !row.second.1.is_empty()), label(second, &row.second)),
        ),
        narrowed: [Some(narrowed(first, &row.first)), second.map(|second| narrowed(second, &row.second))]
            .into_iter()
            .flatten()
            .collect(),
        spent: row.spent,
    })
}

/// What has no row of its own.
fn others(found: &Costs) -> Option<Line> {
    Spent::rest(&found.totals, found.rows.iter().map(|row| &row.spent)).map(|spent| Line {
        first: (None, "All others".to_owned()),
        second: (None, String::new()),
        narrowed: Vec::new(),
        spent,
    })
}

fn row(line: &Line, log: &Log<'_>, currency: &str, (first, second): (Dimension, Option<Dimension>)) -> Row {
    let slug = log.slug;
    let narrower: Vec<&Narrowed> = line.narrowed.iter().collect();
    let url = |outcome: &str, calls: i64| {
        if narrower.is_empty() || calls == 0 { String::new() } else { log.url(outcome, &narrower) }
    };
    let cell = |dimension: Option<Dimension>, (id, name): &(Option<AnyId>, String)| Cell {
        name: name.clone(),
        url: match (dimension, id) {
            (Some(Dimension::Tool), Some(id)) => urls::tool_usage(slug, (*id).into()),
            (Some(Dimension::Agent), Some(id)) => urls::agent_usage(slug, (*id).into()),
            _ => String::new(),
        },
    };
    let urls = (url("", line.spent.calls), url("failed", line.spent.errors));
    numbers((cell(Some(first), &line.first), cell(second, &line.second)), &line.spent, urls, currency)
}

/// A row of what calls have cost; where all of them and the failed ones are listed, if anywhere.
pub(super) fn numbers(
    (first, second): (Cell, Cell),
    spent: &Spent,
    (calls_url, errors_url): (String, String),
    currency: &str,
) -> Row {
    let is_counted = spent.counted > 0;
    Row {
        first,
        second,
        calls: format::count(spent.calls),
        calls_url,
        errors: format::count(spent.errors),
        errors_url,
        cost: format::cost_or_none(spent.cost_micro, currency),
        tokens: if is_counted { format::count(spent.tokens) } else { "–".to_owned() },
        context: if is_counted { format::cost(spent.context_micro, currency) } else { "–".to_owned() },
    }
}

/// The same as a file of comma-separated values, with more rows.
pub(super) async fn download(state: web::Data<WebState>, member: InTenant, query: Query) -> Page {
    let range = range(&query, Range::Month)?;
    if is_by_run(&query)? {
        return runs::download(&state, &member, range).await;
    }
    let (first, second) = dimensions(&query)?;
    let by = Breakdown { first, second, agent: None, tool: None, most: FILE_ROWS };
    let found = usage::costs(&state.platform, &member.actor, range, by).await?;
    let mut text = header_line((first, second));
    for line in lines(&found, (first, second)).chain(others(&found)) {
        text.push_str(&csv_line(&line, second.is_some(), &member.tenant.currency));
    }
    let name = format!("{}-cost-{}.csv", member.slug(), range.as_str());
    Ok(file(text, &name))
}

/// An answer that is saved under that name.
pub(super) fn file(text: String, name: &str) -> HttpResponse {
    let parameters = vec![DispositionParam::Filename(name.to_owned())];
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/csv; charset=utf-8"))
        .insert_header(ContentDisposition { disposition: DispositionType::Attachment, parameters })
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(text)
}

fn header_line((first, second): (Dimension, Option<Dimension>)) -> String {
    let second = second.map(|second| format!("{},", second.as_str())).unwrap_or_default();
    format!("{},{second}calls,failed,cost,currency,tokens,context_cost\r\n", first.as_str())
}

fn csv_line(line: &Line, has_second: bool, currency: &str) -> String {
    let second = if has_second { format!("{},", quoted(&line.second.1)) } else { String::new() };
    format!("{},{second}{}", quoted(&line.first.1), csv_numbers(&line.spent, currency))
}

/// The fields after the names, and the end of the line.
pub(super) fn csv_numbers(spent: &Spent, currency: &str) -> String {
    let (tokens, context) = match spent.counted {
        0 => (String::new(), String::new()),
        _ => (spent.tokens.to_string(), format::price_input(spent.context_micro)),
    };
    let (calls, errors, cost) = (spent.calls, spent.errors, format::price_input(spent.cost_micro));
    format!("{calls},{errors},{cost},{currency},{tokens},{context}\r\n")
}

/// A text as a field. What a spreadsheet would take for a formula gets an apostrophe before it.
pub(super) fn quoted(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_are_no_formulas() {
        assert_eq!(quoted("a \"b\", c"), "\"a \"\"b\"\", c\"");
        assert_eq!(quoted("=1+1"), "\"'=1+1\"");
    }
}
