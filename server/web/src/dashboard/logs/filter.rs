//! What the log's address asks for: which calls, in words, and how each part of that is taken away again.

use chrono::{DateTime, Datelike as _, SecondsFormat, Utc};
use trunkline_platform::{
    Error, agents,
    call::Outcome,
    catalog,
    usage::{self, CallFilter, FilterNames, Narrow},
};

use crate::{
    WebState,
    dashboard::components::Chip,
    extract::{FieldErrors, InTenant, Query},
    urls,
};

/// What stands for all outcomes that count as errors.
pub(super) const FAILED: &str = "failed";
/// What stands for calls that have no client, no person or no tool.
pub(in crate::dashboard) const NONE: &str = "none";
/// The fields of the address, but for where the page begins.
pub(super) const FIELDS: [&str; 9] = ["outcome", "tool", "agent", "version", "client", "user", "run", "from", "to"];
/// Those of them that are typed or chosen on the page; the others come with links.
const TYPED: [&str; 3] = ["outcome", "tool", "agent"];

/// What was asked for.
pub(super) struct Asked {
    pub(super) filter: CallFilter,
    pub(super) errors: FieldErrors,
    names: FilterNames,
}

impl Asked {
    /// Reads it. What is written wrong is an error; a name that nothing has is told beside its field.
    pub(super) async fn read(state: &WebState, member: &InTenant, query: &Query) -> Result<Self, Error> {
        let (platform, actor) = (&state.platform, &member.actor);
        let (outcome, tool, agent) = (query.get("outcome"), query.get("tool"), query.get("agent"));
        let mut errors = FieldErrors::default();
        let mut filter = CallFilter {
            outcomes: outcomes(outcome),
            version: narrow("version", query.get("version"))?,
            client: narrow("client", query.get("client"))?,
            user: narrow("user", query.get("user"))?,
            run: narrow("run", query.get("run"))?,
            from: moment("from", query.get("from"))?,
            to: moment("to", query.get("to"))?,
            ..CallFilter::default()
        };
        if !outcome.is_empty() && filter.outcomes.is_empty() {
            errors.add("outcome", "There is no such outcome.");
        }
        // What is gone has no name any more; its calls are found by its id.
        if !tool.is_empty() {
            filter.tool = catalog::find_by_name(platform, actor, tool).await?.or_else(|| tool.parse().ok());
            if filter.tool.is_none() {
                errors.add("tool", "There is no tool with exactly this name.");
            }
        }
        if !agent.is_empty() {
            filter.agent = agents::find_by_name(platform, actor, agent).await?.or_else(|| agent.parse().ok());
            if filter.agent.is_none() {
                errors.add("agent", "There is no agent with exactly this name.");
            }
        }
        let has_ids = filter.version.is_some() || filter.client.is_some() || filter.user.is_some();
        let names = if has_ids { usage::filter_names(platform, actor, &filter).await? } else { FilterNames::default() };
        Ok(Self { filter, errors, names })
    }

    /// What is not typed: each with the address of the log without it.
    pub(super) fn chips(&self, slug: &str, query: &Query) -> Vec<Chip> {
        let filter = &self.filter;
        let texts = [
            ("version", filter.version.map(|one| words(one, "Version", self.names.version.as_deref(), "Unknown tools"))),
            (
                "client",
                filter.client.map(|one| words(one, "Client", self.names.client.as_deref(), "No client (key or certificate)")),
            ),
            ("user", filter.user.map(|one| words(one, "For", self.names.user.as_deref(), "For nobody (services)"))),
            ("run", filter.run.map(|one| words(one, "Run", None, "No run"))),
            ("from", filter.from.map(|at| format!("Since {}", minute(at)))),
            ("to", filter.to.map(|at| format!("Before {}", minute(at)))),
        ];
        let chip = |(field, text): (&str, Option<String>)| {
            let rest: Vec<(&str, &str)> =
                FIELDS.into_iter().filter(|name| *name != field).map(|name| (name, query.get(name))).collect();
            Some(Chip { text: text?, without_url: urls::with_query(&urls::logs(slug), &rest) })
        };
        texts.into_iter().filter_map(chip).collect()
    }

    /// Ids that nothing here has, in words.
    pub(super) fn unknown(&self) -> Vec<&'static str> {
        let is_unknown = |is_one: bool, name: &Option<String>| is_one && name.is_none();
        let Self { filter, names, .. } = self;
        [
            ("tool version", is_unknown(filter.version.and_then(Narrow::id).is_some(), &names.version)),
            ("client", is_unknown(filter.client.and_then(Narrow::id).is_some(), &names.client)),
            ("person", is_unknown(filter.user.and_then(Narrow::id).is_some(), &names.user)),
        ]
        .into_iter()
        .filter_map(|(noun, is_unknown)| is_unknown.then_some(noun))
        .collect()
    }
}

fn words<T: ToString + Copy>(one: Narrow<T>, label: &str, name: Option<&str>, without: &str) -> String {
    match (one, name) {
        (Narrow::Without, _) => without.to_owned(),
        (Narrow::To(_), Some(name)) => format!("{label} {name}"),
        (Narrow::To(id), None) => format!("{label} {}", id.to_string()),
    }
}

/// What the form hands on unseen.
pub(super) fn hidden(query: &Query) -> Vec<(&'static str, String)> {
    let untyped = FIELDS.into_iter().filter(|name| !TYPED.contains(name));
    untyped.map(|name| (name, query.get(name).to_owned())).filter(|(_, value)| !value.is_empty()).collect()
}

/// Is any of it asked for?
pub(super) fn is_any(query: &Query) -> bool {
    FIELDS.into_iter().any(|name| !query.get(name).is_empty())
}

/// The outcomes that a word stands for; none for no word, and for a word without a meaning.
fn outcomes(word: &str) -> Vec<Outcome> {
    match word {
        FAILED => Outcome::ALL.into_iter().filter(|outcome| outcome.is_error()).collect(),
        word => Outcome::find(word).into_iter().collect(),
    }
}

fn narrow<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<Option<Narrow<T>>, Error>
where
    T::Err: std::fmt::Display,
{
    match text {
        "" => Ok(None),
        NONE => Ok(Some(Narrow::Without)),
        id => id.parse().map(|id| Some(Narrow::To(id))).map_err(|wrong| Error::invalid(field, format!("{wrong}, or `{NONE}`"))),
    }
}

/// A moment of the address: what pages of usage link to.
fn moment(field: &'static str, text: &str) -> Result<Option<DateTime<Utc>>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let moment = DateTime::parse_from_rfc3339(text).map(|at| at.with_timezone(&Utc)).ok();
    // What a database can say of years is more than calls have.
    let moment = moment.filter(|at| (1970..=9999).contains(&at.year()));
    moment.map(Some).ok_or_else(|| Error::invalid(field, "expected a moment such as 2026-11-22T10:00:00Z"))
}

/// A moment as the address has it.
pub(in crate::dashboard) fn moment_text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn minute(at: DateTime<Utc>) -> String {
    at.format("%-d %b %Y, %H:%M UTC").to_string()
}
