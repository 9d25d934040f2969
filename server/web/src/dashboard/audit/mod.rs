//! Who changed what: the log of changes, its proof, and a copy to take away.

use actix_web::{http::StatusCode, web};
use askama::Template;
use chrono::{DateTime, Days, NaiveDate, Utc};
use serde_json::Value;
use trunkline_platform::{
    Error,
    actor::Permission,
    audit::{self, Change, ChangeFilter, ChangePage, SUBJECTS},
};

use super::{
    Page,
    components::{Choice, Moment},
    layout::Layout,
    page_with,
};
use crate::{
    Access, Route, WebState,
    extract::{Allowed, FieldErrors, Fields, Form, Query, ViewAudit},
    urls,
};

mod export;
mod proof;

pub(super) fn routes() -> Vec<Route> {
    let see = Access::Member(Permission::ViewAudit);
    vec![
        Route::get("/t/{tenant}/audit", see, list),
        Route::post("/t/{tenant}/audit/verify", see, verify),
        Route::get("/t/{tenant}/audit/export", see, export::download),
    ]
}

type Auditing = Allowed<ViewAudit>;

#[derive(Template)]
#[template(path = "dashboard/audit.html")]
struct AuditPage {
    layout: Layout,
    url: String,
    export_url: String,
    command: String,
    proof: Option<proof::Proof>,
    asked: Asked,
    about: Vec<Choice>,
    errors: FieldErrors,
    filtered: bool,
    rows: Vec<Row>,
    newer_url: Option<String>,
    older_url: Option<String>,
}

/// What stands in the filter.
#[derive(Default)]
struct Asked {
    about: String,
    by: String,
    subject: String,
    since: String,
    until: String,
    before: String,
}

struct Row {
    id: String,
    at: Moment,
    who: String,
    action: String,
    subject: String,
    subject_id: String,
    subject_url: String,
    details: Vec<(String, String)>,
    /// What differs, as it was and as it is.
    differences: Vec<(String, String, String)>,
}

async fn list(state: web::Data<WebState>, member: Auditing, query: Query) -> Page {
    show(&state, &member, Asked::read(&query), None).await
}

async fn verify(state: web::Data<WebState>, member: Auditing, _: Form<Vec<(String, String)>>) -> Page {
    let proof = proof::find(&state.platform, &member.actor).await?;
    show(&state, &member, Asked::default(), Some(proof)).await
}

async fn show(state: &WebState, member: &Auditing, asked: Asked, proof: Option<proof::Proof>) -> Page {
    let (platform, slug) = (&state.platform, member.slug());
    let mut errors = FieldErrors::default();
    let found = match asked.parse(state, member, &mut errors).await? {
        Some(filter) => audit::changes(platform, &member.actor, &filter).await?,
        // A filter that means nothing finds nothing, instead of everything.
        None => ChangePage { changes: Vec::new(), older: None },
    };
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let page = AuditPage {
        layout: member.layout("Audit", "audit"),
        url: urls::audit(slug),
        export_url: urls::audit_export(slug),
        command: format!("trunkline audit verify --tenant {slug}"),
        proof,
        about: subjects(&asked.about),
        errors,
        filtered: asked.is_set(),
        rows: found.changes.into_iter().map(|change| row(slug, change)).collect(),
        newer_url: (!asked.before.is_empty()).then(|| asked.url(slug, "")),
        older_url: found.older.map(|id| asked.url(slug, &id.to_string())),
        asked,
    };
    page_with(status, &page)
}

impl Asked {
    fn read(query: &Fields) -> Self {
        let text = |name: &str| query.get(name).to_owned();
        Self {
            about: text("about"),
            by: text("by"),
            subject: text("subject"),
            since: text("since"),
            until: text("until"),
            before: text("before"),
        }
    }

    fn is_set(&self) -> bool {
        [&self.about, &self.by, &self.subject, &self.since, &self.until].into_iter().any(|text| !text.is_empty())
    }

    fn url(&self, slug: &str, before: &str) -> String {
        let query = [
            ("about", self.about.as_str()),
            ("by", &self.by),
            ("subject", &self.subject),
            ("since", &self.since),
            ("until", &self.until),
            ("before", before),
        ];
        urls::with_query(&urls::audit(slug), &query)
    }

    /// The filter, or what is wrong with it.
    async fn parse<'a>(
        &'a self,
        state: &WebState,
        member: &Auditing,
        errors: &mut FieldErrors,
    ) -> Result<Option<ChangeFilter<'a>>, Error> {
        let given = |text: &'a str| Some(text).filter(|text| !text.is_empty());
        let mut filter = ChangeFilter { about: given(&self.about), subject: given(&self.subject), ..ChangeFilter::default() };
        if filter.about.is_some_and(|about| !SUBJECTS.contains(&about)) {
            errors.add("about", "There is nothing of this kind in the log.");
        }
        if let Some(by) = given(&self.by) {
            // By id too: of those who have left, nothing else is known.
            filter.by = match by.parse() {
                Ok(id) => Some(id),
                Err(_) => audit::find_member(&state.platform, &member.actor, by).await?,
            };
            if filter.by.is_none() {
                errors.add("by", "No member has this address. Of former members, enter the id, such as usr_….");
            }
        }
        filter.since = day("since", &self.since, errors);
        // The day is in it.
        filter.until = day("until", &self.until, errors).and_then(|until| until.checked_add_days(Days::new(1)));
        if let Some(before) = given(&self.before) {
            filter.before =
                Some(before.parse().map_err(|_| Error::invalid("before", "expected the id of an entry, such as ent_…"))?);
        }
        Ok(errors.is_empty().then_some(filter))
    }
}

/// The beginning of a day, in UTC.
fn day(field: &'static str, text: &str, errors: &mut FieldErrors) -> Option<DateTime<Utc>> {
    if text.is_empty() {
        return None;
    }
    let day = text.parse::<NaiveDate>().ok().and_then(|day| day.and_hms_opt(0, 0, 0));
    if day.is_none() {
        errors.add(field, "Expected a day such as 2026-11-21.");
    }
    day.map(|day| day.and_utc())
}

fn row(slug: &str, change: Change) -> Row {
    let who = match (change.actor_kind.as_str(), change.actor_email, change.actor_id) {
        (_, Some(email), _) => email,
        ("member", None, Some(id)) => format!("{id} (not a member any more)"),
        ("operator", ..) => "An operator".to_owned(),
        _ => "Trunkline".to_owned(),
    };
    let is_difference = |name: &str| matches!(name, "before" | "after");
    let details = change.details.as_object().into_iter().flatten().filter(|(name, _)| !is_difference(name));
    Row {
        id: change.id.to_string(),
        at: Moment::second(change.at),
        who,
        action: change.action,
        subject_url: subject_url(slug, &change.subject),
        subject: change.subject_name.unwrap_or_default(),
        subject_id: change.subject,
        differences: differences(&change.details),
        details: details.map(|(name, value)| (name.replace('_', " "), word(value))).collect(),
    }
}

/// What differs, as it was and as it is.
fn differences(details: &Value) -> Vec<(String, String, String)> {
    let differing = details["before"].as_object().into_iter().flatten();
    differing.map(|(name, before)| (name.replace('_', " "), word(before), word(&details["after"][name]))).collect()
}

/// A value in words.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) if text.is_empty() => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(all) if all.iter().all(Value::is_string) => all.iter().map(word).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Where what was changed can be seen, if it has a page.
fn subject_url(slug: &str, subject: &str) -> String {
    if let Ok(agent) = subject.parse() {
        return urls::agent(slug, agent);
    }
    if let Ok(tool) = subject.parse() {
        return urls::tool(slug, tool);
    }
    subject.parse().map(|source| urls::source(slug, source)).unwrap_or_default()
}

fn subjects(chosen: &str) -> Vec<Choice> {
    let choice =
        |value: &str, label: String| Choice { value: value.to_owned(), label, hint: String::new(), chosen: value == chosen };
    let label = |subject: &str| match subject {
        "sso" => "Single sign-on".to_owned(),
        "tenant" => "Organisation".to_owned(),
        _ => subject.chars().take(1).flat_map(char::to_uppercase).chain(subject.chars().skip(1)).collect(),
    };
    let all = SUBJECTS.iter().map(|subject| choice(subject, label(subject)));
    std::iter::once(choice("", "Anything".to_owned())).chain(all).collect()
}
