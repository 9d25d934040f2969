//! Operations as drafts of tools.

use serde_json::{Map, Value, json, value::to_raw_value};
use trunkline_protocol::oauth::scope::Effect;

use super::{
    Described, Draft, MAX_OPERATIONS, Refusal, answer, body,
    document::Document,
    parameter, path,
    schema::{Schemas, Side},
    security::{self, Scheme},
    server,
    text::{self, Names},
};
use crate::catalog::{AnswerShape, LAYOUT, Operation, OperationMethod, definition::compile};

/// Longest description for models, in characters: more of it costs every agent more than it tells.
const MAX_DESCRIPTION: usize = 1024;
/// As for tools that people make.
const TIMEOUT_MS: u32 = 30_000;
/// Members of a path that are operations.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

struct Reader<'d> {
    document: &'d Document,
    schemes: Vec<Scheme>,
    requests: Schemas<'d>,
    answers: Schemas<'d>,
    names: Names,
}

/// All of a document.
pub(super) fn all(document: &Document) -> Result<Vec<Described>, Refusal> {
    let empty = Map::new();
    let paths = match document.root.get("paths") {
        Some(Value::Object(paths)) => paths,
        // 3.1 may have webhooks and components only.
        None if !document.is_old => &empty,
        _ => return Err(Refusal::new("It has no `paths`: there is nothing that could be called.")),
    };
    let items: Vec<(&String, Result<&Value, String>)> =
        paths.iter().filter(|(path, _)| !path.starts_with("x-")).map(|(path, item)| (path, document.resolve(item))).collect();
    let methods = |item: &Value| METHODS.iter().filter(|method| item.get(**method).is_some_and(Value::is_object)).count();
    let count: usize = items.iter().map(|(_, item)| item.as_ref().map_or(1, |item| methods(item))).sum();
    if count > MAX_OPERATIONS {
        return Err(Refusal::new(format!(
            "It has {count} operations. At most {MAX_OPERATIONS} are taken; leave out paths that are not needed."
        )));
    }
    let mut reader = Reader {
        document,
        schemes: security::schemes(document),
        requests: Schemas::new(document, Side::Request),
        answers: Schemas::new(document, Side::Answer),
        names: Names::default(),
    };
    let mut described = Vec::with_capacity(count);
    for (path, item) in items {
        match item {
            Ok(item) => {
                let raws = METHODS.iter().filter_map(|method| Some((*method, item.get(*method).filter(|raw| raw.is_object())?)));
                described.extend(raws.map(|(method, raw)| reader.describe(path, item, method, raw)));
            }
            Err(why) => described.push(Described {
                key: text::tidy(path, 300),
                tags: Vec::new(),
                summary: String::new(),
                is_deprecated: false,
                draft: Err(why),
            }),
        }
    }
    Ok(described)
}

impl Reader<'_> {
    fn describe(&mut self, path: &str, item: &Value, method: &str, raw: &Value) -> Described {
        let text = |member: &str| raw.get(member).and_then(Value::as_str).unwrap_or_default();
        let tags = raw.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let summary = [text("summary"), text("description").lines().next().unwrap_or_default()]
            .into_iter()
            .find(|text| !text.trim().is_empty());
        Described {
            key: text::tidy(&format!("{} {path}", method.to_uppercase()), 300),
            tags: tags.map(|tag| text::tidy(tag, 60)).filter(|tag| !tag.is_empty()).take(5).collect(),
            summary: text::tidy(summary.unwrap_or_default(), 160),
            is_deprecated: raw.get("deprecated") == Some(&Value::Bool(true)),
            draft: self.draft(path, item, method, raw).map(Box::new),
        }
    }

    fn draft(&mut self, path: &str, item: &Value, method: &str, raw: &Value) -> Result<Draft, String> {
        let (method, effect) = method_of(method)?;
        let security = security::needed(self.document, &self.schemes, raw)?;
        let mut parameters = parameter::read(self.document, &mut self.requests, item, raw)?;
        let body = body::read(self.document, &mut self.requests, raw, &mut parameters)?;
        let (segments, query) = path::parse(path, &mut parameters.inputs)?;
        let schema = json!({
            "type": "object", "properties": parameters.properties, "required": parameters.required, "additionalProperties": false,
        });
        let input = self.requests.finish(schema, parameters.refs)?;
        let mut notes = parameters.notes;
        if input.is_cut {
            notes.push("Parts of the schema of its arguments are left out, as it would be too large for a model.".to_owned());
        }
        // What does not compile here would fail at the first call.
        compile(&input.schema).map_err(|why| format!("the schema of its arguments cannot be used: {why}"))?;
        let (accept, output_schema) = answer::read(self.document, &mut self.answers, raw, &mut notes);
        let output_schema = output_schema.filter(|schema| {
            let usable = compile(schema);
            usable
                .as_ref()
                .err()
                .inspect(|why| notes.push(format!("Its answers have no schema that can be used: {why}.")))
                .is_none()
        });
        let operation = Operation {
            layout: LAYOUT,
            method,
            origin: String::new(),
            path: segments,
            query,
            inputs: parameters.inputs,
            body,
            accept,
            security,
            answer: AnswerShape { output_schema, ..AnswerShape::default() },
            timeout_ms: TIMEOUT_MS,
            defaults: serde_json::Map::new(),
            fixed: serde_json::Map::new(),
        };
        let serialized = serde_json::to_string(&operation).map_err(|error| error.to_string())?;
        if serialized.contains("\\u0000") || input.schema.to_string().contains("\\u0000") {
            return Err("it contains a NUL character".to_owned());
        }
        let text = |member: &str| raw.get(member).and_then(Value::as_str).unwrap_or_default();
        Ok(Draft {
            name: self.names.choose(raw.get("operationId").and_then(Value::as_str), method.as_str(), path),
            title: text::tidy(text("summary"), 80),
            description: description(text("summary"), text("description"), method, path),
            effect,
            input_schema: to_raw_value(&input.schema).map_err(|error| error.to_string())?,
            operation,
            server: server::of(raw).into_iter().chain(server::of(item)).next(),
            notes,
        })
    }
}

fn method_of(method: &str) -> Result<(OperationMethod, Effect), String> {
    Ok(match method {
        "get" => (OperationMethod::Get, Effect::Read),
        "head" => (OperationMethod::Head, Effect::Read),
        "options" => (OperationMethod::Options, Effect::Read),
        "put" => (OperationMethod::Put, Effect::Write),
        "post" => (OperationMethod::Post, Effect::Write),
        "patch" => (OperationMethod::Patch, Effect::Write),
        "delete" => (OperationMethod::Delete, Effect::Destructive),
        other => return Err(format!("{} sends back what was sent, secrets too; it is never a tool", other.to_uppercase())),
    })
}

/// Summary and description, each once; a document that says nothing is at least called by its method and path.
fn description(summary: &str, description: &str, method: OperationMethod, path: &str) -> String {
    let (summary, rest) = (text::tidy(summary, MAX_DESCRIPTION), text::tidy(description, MAX_DESCRIPTION));
    let whole = match (summary.is_empty(), rest.is_empty()) {
        (true, true) => format!("{} {path}", method.as_str()),
        (true, false) => rest,
        (false, true) => summary,
        (false, false) if rest.starts_with(&summary) => rest,
        (false, false) => format!("{summary}\n\n{rest}"),
    };
    text::tidy(&whole, MAX_DESCRIPTION)
}
