//! What a change brings in that a person should see first. Only what is *introduced* counts: a text that was approved with a warning sign
//! in it does not ask again because of a corrected comma.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_protocol::oauth::scope::Effect;

use super::{Definition, ItemKind, fitness, hidden, instructions};

/// What is suspicious.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Text that speaks to the model about something else than the tool.
    Instructions,
    /// It asks for secrets, keys, files or the conversation.
    AsksForSecrets,
    /// An address that was not there.
    NewUrl,
    /// Letters that look like others, or long runs of encoded text.
    Disguised,
    /// Callers must now give more.
    RequiredParameter,
    /// Something callers may give is gone.
    RemovedParameter,
    /// A parameter has another type.
    ChangedType,
    /// It no longer says that it only reads.
    LostReadOnly,
    /// It may now destroy.
    GainedDestructive,
    /// It claims to be milder, so that more agents may use it.
    Milder,
    /// Characters that are not seen.
    HiddenCharacters,
    /// More than 4 KiB of description.
    LongDescription,
    /// Clients could not use it.
    Unusable,
    /// Its name belongs to something else.
    NameTaken,
}

/// One thing to see before approving.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// Where, such as `inputSchema.properties.path.description`.
    pub place: String,
    /// The words, spelt out so that nothing in them is hidden.
    pub what: String,
}

impl FindingKind {
    /// In words.
    pub fn label(self) -> &'static str {
        match self {
            Self::Instructions => "Instruction-like text",
            Self::AsksForSecrets => "Asks for secrets or files",
            Self::NewUrl => "New address",
            Self::Disguised => "Disguised text",
            Self::RequiredParameter => "New required parameter",
            Self::RemovedParameter => "Removed parameter",
            Self::ChangedType => "Changed type",
            Self::LostReadOnly => "No longer read-only",
            Self::GainedDestructive => "Now destructive",
            Self::Milder => "Claims to be milder",
            Self::HiddenCharacters => "Hidden characters",
            Self::LongDescription => "Description over 4 KiB",
            Self::Unusable => "Cannot be used",
            Self::NameTaken => "Name is taken",
        }
    }

    /// Can nobody approve it?
    pub fn forbids(self) -> bool {
        matches!(self, Self::HiddenCharacters | Self::LongDescription | Self::Unusable | Self::NameTaken)
    }
}

impl Finding {
    /// Longest quotation, in characters.
    const QUOTED: usize = 160;

    pub(in crate::catalog) fn new(kind: FindingKind, place: impl Into<String>, what: impl AsRef<str>) -> Self {
        let what = what.as_ref();
        let mut quoted: String = what.chars().take(Self::QUOTED).collect();
        if quoted.len() < what.len() {
            quoted.push('…');
        }
        Self { kind, place: hidden::spelt_out(&place.into()), what: hidden::spelt_out(&quoted) }
    }
}

/// Findings that are kept of one definition; who has this many has a problem.
const MOST: usize = 40;

/// What `new` introduces over `old`; over nothing, if it is new itself. `silent` is what a tool of that source does that says nothing of it.
/// Misfits stand first.
pub fn risk(old: Option<&Definition>, new: &Definition, silent: Effect) -> Vec<Finding> {
    let mut found = fitness::misfits(new);
    let before: Vec<_> = old.map(texts).unwrap_or_default();
    instructions::introduced(&before, &texts(new), &mut found);
    if let Some(old) = old {
        if new.kind == ItemKind::Tools {
            effects(old, new, silent, &mut found);
            schemas(old, new, &mut found);
        } else if new.kind == ItemKind::Prompts {
            arguments(old, new, &mut found);
        }
    }
    let mut seen = BTreeSet::new();
    found.retain(|finding| seen.insert((finding.kind, finding.place.clone(), finding.what.clone())));
    found.truncate(MOST);
    found
}

fn effects(old: &Definition, new: &Definition, silent: Effect, found: &mut Vec<Finding>) {
    // As it is published: a word that is taken back counts like one that is said.
    let (before, after) = (old.effect(silent), new.effect(silent));
    let what = format!("{} → {}", before.as_str(), after.as_str());
    let mut add = |kind| found.push(Finding::new(kind, "annotations", &what));
    if before == Effect::Read && after != Effect::Read {
        add(FindingKind::LostReadOnly);
    }
    if before != Effect::Destructive && after == Effect::Destructive {
        add(FindingKind::GainedDestructive);
    }
    if after < before {
        add(FindingKind::Milder);
    }
}

/// What callers rely on in a schema, by place.
#[derive(Default)]
struct Shape {
    types: BTreeMap<String, String>,
    parameters: BTreeSet<String>,
    required: BTreeSet<String>,
}

impl Shape {
    fn of(schema: Option<&Value>, root: &str) -> Self {
        let mut shape = Self::default();
        if let Some(schema) = schema {
            shape.walk(schema, root);
        }
        shape
    }

    fn walk(&mut self, schema: &Value, place: &str) {
        let Value::Object(members) = schema else { return };
        if let Some(kind) = members.get("type") {
            self.types.insert(place.to_owned(), kind.to_string());
        }
        for name in members.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            self.required.insert(format!("{place}.{name}"));
        }
        for (key, value) in members {
            match (key.as_str(), value) {
                ("properties", Value::Object(properties)) => {
                    for (name, property) in properties {
                        let place = format!("{place}.{name}");
                        self.walk(property, &place);
                        self.parameters.insert(place);
                    }
                }
                // Data, not schemas.
                ("enum" | "const" | "default" | "examples", _) => {}
                (_, Value::Object(_)) => self.walk(value, &format!("{place}/{key}")),
                (_, Value::Array(items)) => {
                    for (at, item) in items.iter().enumerate() {
                        self.walk(item, &format!("{place}/{key}/{at}"));
                    }
                }
                _ => {}
            }
        }
    }
}

fn schemas(old: &Definition, new: &Definition, found: &mut Vec<Finding>) {
    for root in ["inputSchema", "outputSchema"] {
        let (before, after) = (Shape::of(old.member(root), root), Shape::of(new.member(root), root));
        for (place, kind) in &before.types {
            if let Some(now) = after.types.get(place).filter(|now| *now != kind) {
                found.push(Finding::new(FindingKind::ChangedType, place.as_str(), format!("{kind} → {now}")));
            }
        }
        if root == "outputSchema" {
            continue;
        }
        for place in after.required.difference(&before.required) {
            let known = if before.parameters.contains(place) { "was optional" } else { "is new" };
            found.push(Finding::new(FindingKind::RequiredParameter, place.as_str(), known));
        }
        for place in before.parameters.difference(&after.parameters) {
            found.push(Finding::new(FindingKind::RemovedParameter, place.as_str(), "is gone"));
        }
    }
}

/// Arguments of a prompt: the same rules in their own form.
fn arguments(old: &Definition, new: &Definition, found: &mut Vec<Finding>) {
    let read = |definition: &Definition| -> BTreeMap<String, bool> {
        let arguments = definition.member("arguments").and_then(Value::as_array).cloned().unwrap_or_default();
        let one =
            |argument: &Value| Some((argument.get("name")?.as_str()?.to_owned(), argument.get("required") == Some(&true.into())));
        arguments.iter().filter_map(one).collect()
    };
    let (before, after) = (read(old), read(new));
    for (name, _) in after.iter().filter(|(name, required)| **required && before.get(*name) != Some(&true)) {
        let known = if before.contains_key(name) { "was optional" } else { "is new" };
        found.push(Finding::new(FindingKind::RequiredParameter, format!("arguments.{name}"), known));
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        found.push(Finding::new(FindingKind::RemovedParameter, format!("arguments.{name}"), "is gone"));
    }
}

/// Every text that is locked, with its place; names of members are texts too.
pub(super) fn texts(definition: &Definition) -> Vec<(String, &str)> {
    let mut found = Vec::new();
    for (member, value) in definition.locked() {
        collect(value, member, &mut found);
    }
    found
}

fn collect<'a>(value: &'a Value, place: &str, found: &mut Vec<(String, &'a str)>) {
    match value {
        Value::String(text) => found.push((place.to_owned(), text)),
        Value::Array(items) => items.iter().for_each(|item| collect(item, place, found)),
        Value::Object(members) => {
            for (key, value) in members {
                found.push((place.to_owned(), key));
                collect(value, &format!("{place}.{key}"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
