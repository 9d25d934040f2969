//! Search mode: a caller reads two tools instead of a list of hundreds, one that finds tools and one that calls them. What it finds is what it may
//! use, and what it calls is the tool itself: admitted, limited and recorded under its own name.

use std::{borrow::Cow, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;
use trunkline_protocol::{
    jsonrpc::{ErrorObject, INVALID_PARAMS},
    mcp::{Revision, object::RawObject, tools::ToolResult},
};

use super::Caller;
use crate::{catalog::snapshot::LoadedTool, context::Count};

/// Finds tools.
pub const FIND: &str = "find_tools";
/// Calls one of those that were found.
pub const CALL: &str = "call_tool";

/// Both as they stand in a list, whatever the revision.
const DEFINITIONS: [&str; 2] = [
    r#"{"name":"find_tools","description":"Finds tools by what they do. There are more tools than are listed here: say in a few words what you need, read the definitions that come back, then use call_tool with one of their names.","inputSchema":{"type":"object","properties":{"query":{"type":"string","minLength":1,"maxLength":500,"description":"What the tool should do, such as “refund a payment”."},"limit":{"type":"integer","minimum":1,"maximum":20,"default":5,"description":"The most definitions to get."}},"required":["query"],"additionalProperties":false},"annotations":{"readOnlyHint":true,"destructiveHint":false,"idempotentHint":true}}"#,
    r#"{"name":"call_tool","description":"Calls a tool that find_tools has found.","inputSchema":{"type":"object","properties":{"name":{"type":"string","description":"The tool's name, as find_tools says it."},"arguments":{"type":"object","description":"Its arguments, as its inputSchema wants them."}},"required":["name"],"additionalProperties":false},"annotations":{"readOnlyHint":false,"destructiveHint":true}}"#,
];
/// Longest answer with definitions, in bytes. The first is there whatever its size.
const MOST_BYTES: usize = 48 * 1024;
/// Definitions that come back where nobody says how many.
const USUAL: usize = 5;
/// The most that come back.
const MOST: usize = 20;
/// Different words of a query: each is looked for in every tool.
const MOST_WORDS: usize = 16;
/// Longest query, in bytes.
const MOST_QUERY: usize = 2_000;

/// The items of the list in this mode.
pub(super) fn items() -> String {
    DEFINITIONS.join(",")
}

/// What reading them costs. Never on a thread of the runtime.
pub fn cost() -> Count {
    crate::context::count(&DEFINITIONS)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query<'a> {
    #[serde(borrow)]
    query: Cow<'a, str>,
    #[serde(default)]
    limit: Option<usize>,
}

/// Finds tools for the caller: definitions as that revision lists them, the best first.
pub fn find(caller: &Caller, revision: Revision, arguments: Option<&RawValue>) -> ToolResult {
    let wrong = |why: &str| ToolResult {
        text: format!("The arguments do not fit: {why}. Expected {{\"query\": \"what the tool should do\", \"limit\": 5}}."),
        is_error: true,
    };
    let asked: Query<'_> = match serde_json::from_str(arguments.map_or("{}", RawValue::get)) {
        Ok(asked) => asked,
        Err(error) => return wrong(&error.to_string()),
    };
    let limit = asked.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) || asked.query.len() > MOST_QUERY {
        return wrong(&format!("limit is 1 to {MOST}, and query at most {MOST_QUERY} bytes"));
    }
    let words = words(&asked.query);
    if !(1..=MOST_WORDS).contains(&words.len()) {
        return wrong(&format!("query has 1 to {MOST_WORDS} different words"));
    }
    let visible: Vec<&Arc<LoadedTool>> = caller.tools().collect();
    let found = rank(&words, visible);
    ToolResult { text: answer(&found, limit, revision), is_error: false }
}

fn answer(found: &[&Arc<LoadedTool>], limit: usize, revision: Revision) -> String {
    let (mut tools, mut size) = (Vec::new(), 0);
    for tool in found.iter().take(limit) {
        let definition = tool.description(revision);
        size += definition.len();
        if size > MOST_BYTES && !tools.is_empty() {
            break;
        }
        tools.push(definition);
    }
    let more = found.len() - tools.len();
    let hint = if found.is_empty() { r#","hint":"Nothing fits: try other words.""# } else { "" };
    format!(r#"{{"tools":[{}],"more":{more}{hint}}}"#, tools.join(","))
}

/// Tools that have any of the words, the best first: words that few tools have weigh more, and more in a name than in a description.
fn rank<'t>(words: &[String], tools: Vec<&'t Arc<LoadedTool>>) -> Vec<&'t Arc<LoadedTool>> {
    let hits: Vec<Vec<f64>> = tools.iter().map(|tool| words.iter().map(|word| tool.words().hits(word)).collect()).collect();
    #[expect(clippy::cast_precision_loss, reason = "thousands of tools")]
    let weight = |word: usize| {
        let having = hits.iter().filter(|hits| hits[word] > 0.0).count();
        (1.0 + tools.len() as f64 / (1.0 + having as f64)).ln()
    };
    let weights: Vec<f64> = (0..words.len()).map(weight).collect();
    let score = |hits: &Vec<f64>| hits.iter().zip(&weights).map(|(hit, weight)| hit * weight).sum::<f64>();
    let mut scored: Vec<(f64, &Arc<LoadedTool>)> = hits.iter().map(score).zip(tools).filter(|(score, _)| *score > 0.0).collect();
    scored.sort_by(|(a, one), (b, other)| b.total_cmp(a).then_with(|| one.tool.name.cmp(&other.tool.name)));
    scored.into_iter().map(|(_, tool)| tool).collect()
}

/// Words in lower case; `listUsers` and `list_users` are two each.
fn words(text: &str) -> Vec<String> {
    let mut words = crate::catalog::snapshot::words_of(text);
    words.sort_unstable();
    words.dedup();
    words
}

/// A call that was wrapped into one of `call_tool`.
#[derive(Debug)]
pub struct Wrapped {
    /// The tool.
    pub name: String,
    /// Its arguments.
    pub arguments: Option<Box<RawValue>>,
    /// The parameters as they would have been without the wrapper.
    pub params: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapper<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

/// Takes the call out of its wrapper.
pub fn unwrap(arguments: Option<&RawValue>, params: Option<&RawValue>) -> Result<Wrapped, ErrorObject> {
    let wrong = |why: String| {
        let expected = "expected {\"name\": \"a tool that find_tools has found\", \"arguments\": {…}}";
        ErrorObject::new(INVALID_PARAMS, format!("the arguments of {CALL} do not fit: {why}; {expected}"))
    };
    let wrapper: Wrapper<'_> =
        serde_json::from_str(arguments.map_or("{}", RawValue::get)).map_err(|error| wrong(error.to_string()))?;
    let mut object = RawObject::parse(params.map_or("{}", RawValue::get)).map_err(|error| wrong(error.to_string()))?;
    object.set_text("name", &wrapper.name);
    object.remove("arguments");
    if let Some(arguments) = wrapper.arguments {
        object.set("arguments", arguments.get());
    }
    let params = RawValue::from_string(object.to_json()).map_err(|error| wrong(error.to_string()))?;
    Ok(Wrapped { name: wrapper.name.clone().into_owned(), arguments: wrapper.arguments.map(ToOwned::to_owned), params })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).expect("JSON")
    }

    #[test]
    fn definitions_are_json_and_named_as_they_are_called() {
        for (definition, name) in DEFINITIONS.iter().zip([FIND, CALL]) {
            let value: serde_json::Value = serde_json::from_str(definition).expect("JSON");
            assert_eq!(value["name"], name);
            assert!(crate::catalog::definition::compile(&value["inputSchema"]).is_ok());
        }
    }

    #[test]
    fn a_call_comes_out_of_its_wrapper_as_it_was() {
        let arguments = raw(r#"{"name":"pay","arguments":{"a": 1.0}}"#);
        let params = raw(r#"{"name":"call_tool","arguments":{},"_meta":{"k":1}}"#);
        let call = unwrap(Some(&arguments), Some(&params)).expect("a call");
        assert_eq!(call.name, "pay");
        assert_eq!(call.arguments.expect("arguments").get(), r#"{"a": 1.0}"#);
        assert_eq!(call.params.get(), r#"{"name":"pay","_meta":{"k":1},"arguments":{"a": 1.0}}"#);
        for wrong in ["{}", "[]", r#"{"name":7}"#, r#"{"name":"a","x":1}"#, r#"{"name":"a","name":"b"}"#] {
            assert!(unwrap(Some(&raw(wrong)), Some(&params)).is_err(), "{wrong}");
        }
        assert!(unwrap(None, None).is_err());
    }
}
