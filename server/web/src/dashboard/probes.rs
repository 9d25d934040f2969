//! What the gate and the probes say, as cards and as a page of their own; and the form that says how something is tried.

use actix_web::web;
use askama::Template;
use serde_json::{Map, Value};
use trunkline_platform::{
    Error, ErrorKind, Result,
    actor::{Member, Permission},
    catalog::api::{self, ListedApi},
    gate::Check,
    ids::SourceId,
    publishing::{self, Health, Kind, Probe, RunReport, StatusRow, Subject, Terms},
};

use super::{
    Page,
    components::{Choice, Moment},
    format,
    layout::Layout,
    page, see_other,
};
use crate::{
    Access, Route, WebState,
    error::HtmlError,
    extract::{Allowed, FieldErrors, Fields, Form, InTenant, ManageTools, Path},
    urls,
};

/// Runs that a card lists.
const RECENT: i64 = 12;

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageTools);
    vec![
        Route::get("/t/{tenant}/status", Access::Member(Permission::View), status),
        Route::post("/t/{tenant}/sources/{source}/probe", manage, change_source),
        Route::post("/t/{tenant}/sources/{source}/probe/now", manage, try_source),
    ]
}

/// A check, in words.
pub(super) struct CheckRow {
    pub(super) label: &'static str,
    /// `passed`, `failed` or `skipped`.
    pub(super) verdict: String,
    pub(super) took: String,
    pub(super) problem: String,
    pub(super) advice: String,
}

/// One time that something was tried.
pub(super) struct RunRow {
    pub(super) at: Moment,
    pub(super) kind: &'static str,
    pub(super) passed: bool,
    pub(super) took: String,
    /// The check that failed and what was wrong; empty if it passed.
    pub(super) problem: String,
    pub(super) version: String,
}

/// What is known of a tool or a source, and how it is tried.
#[expect(clippy::struct_excessive_bools, reason = "each is a box of the form")]
pub(super) struct ProbeCard {
    pub(super) url: String,
    pub(super) health: &'static str,
    pub(super) since: Option<Moment>,
    pub(super) checked: Option<Moment>,
    pub(super) problem: String,
    pub(super) is_hidden: bool,
    pub(super) is_source: bool,
    /// Is it one that may change something?
    pub(super) changes_something: bool,
    pub(super) runs: Vec<RunRow>,
    pub(super) pauses: Vec<Choice>,
    pub(super) called: String,
    pub(super) sample: String,
    pub(super) expected: String,
    pub(super) within_ms: String,
    pub(super) confirmed: bool,
    pub(super) repeats: bool,
    pub(super) may_echo: bool,
    pub(super) hides: bool,
}

/// The card of a subject.
pub(super) async fn card<P>(
    state: &WebState,
    member: &Allowed<P>,
    (subject, url): (Subject, String),
    changes_something: bool,
) -> Result<ProbeCard> {
    let (platform, actor) = (&state.platform, &member.actor);
    let probe = publishing::probe(platform, actor, subject).await?;
    let runs = match &probe {
        Some(probe) => publishing::runs(platform, actor, probe.id, RECENT).await?,
        None => Vec::new(),
    };
    let terms = probe.as_ref().map(|probe| probe.terms.clone()).unwrap_or_default();
    let text = SampleText::of(&terms);
    Ok(ProbeCard {
        url,
        health: probe.as_ref().map_or(Health::Unknown, |probe| probe.health).as_str(),
        since: probe.as_ref().and_then(|probe| probe.since).map(Moment::second),
        checked: probe.as_ref().and_then(|probe| probe.checked_at).map(Moment::second),
        problem: probe.as_ref().map(problem).unwrap_or_default(),
        is_hidden: probe.as_ref().is_some_and(|probe| probe.health == Health::Failing && probe.terms.hides),
        is_source: matches!(subject, Subject::Source(_)),
        changes_something,
        runs: runs.iter().map(run_row).collect(),
        pauses: pauses(terms.every_s),
        called: terms.called.clone(),
        sample: text.sample,
        expected: text.expected,
        within_ms: text.within_ms,
        confirmed: terms.confirmed,
        repeats: terms.repeats,
        may_echo: terms.may_echo,
        hides: terms.hides,
    })
}

/// What stands in the fields about the call.
#[derive(Default)]
pub(super) struct SampleText {
    pub(super) sample: String,
    pub(super) expected: String,
    pub(super) within_ms: String,
    pub(super) confirmed: bool,
    pub(super) untried_reason: String,
}

impl SampleText {
    pub(super) fn of(terms: &Terms) -> Self {
        let sample = terms.arguments.as_ref().map(|arguments| serde_json::to_string_pretty(arguments).unwrap_or_default());
        Self {
            sample: sample.unwrap_or_default(),
            expected: terms.expected.clone(),
            within_ms: terms.within_ms.to_string(),
            confirmed: terms.confirmed,
            untried_reason: String::new(),
        }
    }

    pub(super) fn sent(form: &Fields) -> Self {
        // The example of a function that somebody has just run is the call to make, unless they say another.
        let is_function = form.get("kind") == "function" && form.get("sample").trim().is_empty();
        Self {
            sample: form.get(if is_function { "example" } else { "sample" }).to_owned(),
            expected: form.get("expected").to_owned(),
            within_ms: form.get("within_ms").to_owned(),
            confirmed: !form.get("confirmed").is_empty(),
            untried_reason: form.get("untried_reason").to_owned(),
        }
    }

    /// Those terms with what the fields say of the call. What does not fit goes to the errors.
    pub(super) fn parse(&self, before: &Terms, errors: &mut FieldErrors) -> Option<Terms> {
        let within_ms = if self.within_ms.is_empty() { Some(before.within_ms) } else { self.within_ms.parse().ok() };
        if within_ms.is_none() {
            errors.add("within_ms", "expected 1 to 60000 milliseconds");
        }
        let arguments = match self.sample.trim() {
            "" => Some(None),
            text => match serde_json::from_str::<Map<String, Value>>(text) {
                Ok(arguments) => Some(Some(arguments)),
                Err(error) => {
                    let at = format!("line {}, column {}", error.line(), error.column());
                    errors.add("sample", format!(r#"expected a JSON object, such as {{"city": "Lisbon"}}; look at {at}"#));
                    None
                }
            },
        };
        Some(Terms {
            arguments: arguments?,
            confirmed: self.confirmed,
            expected: self.expected.trim().to_owned(),
            within_ms: within_ms?,
            ..before.clone()
        })
    }
}

/// Everything that the card's form says.
pub(super) fn read(form: &Fields, before: &Terms, errors: &mut FieldErrors) -> Result<Option<Terms>, HtmlError> {
    let every_s = match form.get("every_s") {
        "off" => Some(None),
        text => text.parse().ok().map(Some),
    };
    if every_s.is_none() {
        errors.add("every_s", "choose one");
    }
    let terms = SampleText::sent(form).parse(before, errors);
    let (Some(terms), Some(every_s)) = (terms, every_s) else { return Ok(None) };
    let is_checked = |field: &str| !form.get(field).is_empty();
    let terms = Terms {
        called: form.get("called").trim().to_owned(),
        repeats: is_checked("repeats"),
        may_echo: is_checked("may_echo"),
        hides: is_checked("hides"),
        every_s,
        ..terms
    };
    Ok(errors.take(terms.check())?.map(|()| terms))
}

/// Takes the card's form; where it does not fit, says so in a message.
pub(super) async fn change(state: &WebState, member: &Allowed<ManageTools>, subject: Subject, form: &Fields, back: &str) -> Page {
    let (platform, actor) = (&state.platform, &member.actor);
    let before = publishing::probe(platform, actor, subject).await?.map(|probe| probe.terms).unwrap_or_default();
    let mut errors = FieldErrors::default();
    let Some(terms) = read(form, &before, &mut errors)? else {
        // Nothing is there that somebody could not see: it is told as for any thing of another tenant.
        publishing::exists(platform, actor, subject).await?;
        let fields = ["sample", "expected", "within_ms", "every_s", "called"];
        let said = fields.iter().map(|field| errors.of(field)).find(|said| !said.is_empty()).unwrap_or_default();
        member.visitor.leave_flash("error", format!("Nothing was changed. {said}"));
        return Ok(see_other(back));
    };
    publishing::set_terms(platform, actor, subject, &terms).await?;
    member.visitor.leave_flash("success", "Saved. It is tried like that from now on.");
    Ok(see_other(back))
}

/// Tries it at once, and says what came of it.
pub(super) async fn try_now(state: &WebState, member: &Allowed<ManageTools>, subject: Subject, back: &str) -> Page {
    match publishing::try_now(&state.platform, &member.actor, subject).await {
        Ok(true) => member.visitor.leave_flash("success", "It was tried and works."),
        Ok(false) => member.visitor.leave_flash("error", "It was tried and failed: the report is below."),
        Err(error) if matches!(error.kind(), ErrorKind::Conflict(_) | ErrorKind::Exhausted { .. }) => {
            member.visitor.leave_flash("error", error.to_string());
        }
        Err(error) => return Err(error.into()),
    }
    Ok(see_other(back))
}

async fn change_source(
    state: web::Data<WebState>,
    member: Allowed<ManageTools>,
    source: Path<SourceId>,
    form: Form<Fields>,
) -> Page {
    let back = urls::source(member.slug(), source.0);
    change(&state, &member, Subject::Source(source.0), &form.0, &back).await
}

async fn try_source(state: web::Data<WebState>, member: Allowed<ManageTools>, source: Path<SourceId>, _: Form<Fields>) -> Page {
    let back = urls::source(member.slug(), source.0);
    try_now(&state, &member, Subject::Source(source.0), &back).await
}

#[derive(Template)]
#[template(path = "dashboard/status.html")]
struct StatusPage {
    layout: Layout,
    tools_url: String,
    failing: usize,
    rows: Vec<StatusLine>,
    descriptions: Vec<DescriptionLine>,
}

/// An API whose description is not what was approved, or cannot be read.
struct DescriptionLine {
    url: String,
    name: String,
    why: String,
}

struct StatusLine {
    url: String,
    name: String,
    kind: &'static str,
    health: &'static str,
    is_hidden: bool,
    since: Option<Moment>,
    checked: Option<Moment>,
    every: String,
    problem: String,
    bar: Vec<&'static str>,
    bar_words: String,
}

async fn status(state: web::Data<WebState>, member: InTenant) -> Page {
    let rows = publishing::status(&state.platform, &member.actor).await?;
    let slug = member.slug();
    let apis = api::list(&state.platform, &member.actor).await?;
    let failing = rows.iter().filter(|row| row.probe.health == Health::Failing && row.is_on).count();
    page(&StatusPage {
        layout: member.layout("Status", "status"),
        tools_url: urls::tools(slug),
        failing,
        rows: rows.into_iter().map(|row| status_line(slug, row)).collect(),
        descriptions: apis.iter().filter_map(|listed| description_line(slug, listed)).collect(),
    })
}

fn description_line(slug: &str, listed: &ListedApi) -> Option<DescriptionLine> {
    let id = listed.api.id;
    let (url, why) = match &listed.api.failing {
        _ if listed.is_waiting => (
            urls::api_change(slug, id),
            "its link leads to another document than the pinned one, which waits for a decision and is used for nothing"
                .to_owned(),
        ),
        Some(failing) => (urls::api(slug, id), format!("its link cannot be read: {}", failing.why)),
        None => return None,
    };
    Some(DescriptionLine { url, name: listed.api.name.to_string(), why })
}

fn status_line(slug: &str, row: StatusRow) -> StatusLine {
    let (passed, failed) = row.bar.iter().fold((0, 0), |sum, piece| (sum.0 + piece.0, sum.1 + piece.1));
    let (url, kind) = match row.probe.subject {
        Subject::Tool(id) => (urls::tool(slug, id), "Tool"),
        Subject::Source(id) => (urls::source(slug, id), "Source"),
    };
    StatusLine {
        url,
        name: row.name,
        kind,
        health: if row.is_on { row.probe.health.as_str() } else { "off" },
        is_hidden: row.is_on && row.probe.health == Health::Failing && row.probe.terms.hides,
        since: row.probe.since.map(Moment::second),
        checked: row.probe.checked_at.map(Moment::second),
        every: row.probe.terms.every_s.map_or_else(|| "no probes".to_owned(), |pause| format!("every {}", pause_words(pause))),
        problem: problem(&row.probe),
        bar: row.bar.iter().map(piece).collect(),
        bar_words: format!("Last 24 hours: {} passed, {} failed", format::count(passed), format::count(failed)),
    }
}

fn piece((passed, failed): &(i64, i64)) -> &'static str {
    match (passed, failed) {
        (0, 0) => "none",
        (_, 0) => "well",
        (0, _) => "failing",
        _ => "mixed",
    }
}

/// What is wrong with it; empty while it is well.
fn problem(probe: &Probe) -> String {
    match Check::find(&probe.failed) {
        Some(check) if !probe.problem.is_empty() => format!("{}: {}", check.label(), probe.problem),
        Some(check) => check.label().to_owned(),
        None => String::new(),
    }
}

/// The checks of a report.
pub(super) fn check_rows(run: &RunReport) -> Vec<CheckRow> {
    let rows = run.checks.iter().filter_map(|stored| {
        Some(CheckRow {
            label: Check::find(&stored.check)?.label(),
            verdict: stored.verdict.clone(),
            took: stored.took_ms.map(|ms| format!("{ms}\u{a0}ms")).unwrap_or_default(),
            problem: stored.problem.clone().unwrap_or_default(),
            advice: stored.advice.clone().unwrap_or_default(),
        })
    });
    rows.collect()
}

fn run_row(run: &RunReport) -> RunRow {
    let failed = check_rows(run).into_iter().find(|row| row.verdict == "failed");
    RunRow {
        at: Moment::second(run.at),
        kind: match run.kind {
            Kind::Gate => "Gate",
            Kind::Probe => "Probe",
            Kind::Echo => "Live calls",
        },
        passed: run.passed,
        took: format!("{}\u{a0}ms", run.took_ms),
        problem: failed.map(|row| format!("{}: {}", row.label, row.problem)).unwrap_or_default(),
        version: run.version.map(|number| format!("v{number}")).unwrap_or_default(),
    }
}

fn pauses(chosen: Option<u32>) -> Vec<Choice> {
    let mut pauses = vec![60, 300, 900, 3_600, 21_600];
    pauses.extend(chosen.filter(|pause| !pauses.contains(pause)));
    pauses.sort_unstable();
    let choice = |pause: u32| Choice {
        value: pause.to_string(),
        label: format!("Every {}", pause_words(pause)),
        hint: String::new(),
        chosen: chosen == Some(pause),
    };
    let off = Choice { value: "off".to_owned(), label: "Never".to_owned(), hint: String::new(), chosen: chosen.is_none() };
    pauses.into_iter().map(choice).chain([off]).collect()
}

fn pause_words(pause_s: u32) -> String {
    match pause_s {
        60 => "minute".to_owned(),
        3_600 => "hour".to_owned(),
        pause if pause.is_multiple_of(3_600) => format!("{} hours", pause / 3_600),
        pause if pause.is_multiple_of(60) => format!("{} minutes", pause / 60),
        pause => format!("{pause} seconds"),
    }
}

/// What publishing says to whoever pressed the button: where to go on, or the failure.
pub(super) fn told(error: &Error) -> Option<String> {
    matches!(error.kind(), ErrorKind::Conflict(_) | ErrorKind::Exhausted { .. } | ErrorKind::Invalid(_))
        .then(|| error.to_string())
}

/// How a subject is tried at the moment.
pub(super) async fn terms_of(state: &WebState, actor: &Member, subject: Subject) -> Result<Terms> {
    Ok(publishing::probe(&state.platform, actor, subject).await?.map(|probe| probe.terms).unwrap_or_default())
}
