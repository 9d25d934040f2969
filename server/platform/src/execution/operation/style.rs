//! Values as OpenAPI writes them: the styles of its tables, which come from RFC 6570. Names and values are encoded one by one; only what the
//! style itself puts between them is not.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::catalog::{Input, Style};

/// Everything but RFC 3986's unreserved characters.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Reserved characters that separate nothing in a query stay too. `&`, `=`, `+`, `#`, `;`, `%`, `[` and `]` separate something for one server
/// or another, and never stay.
const RESERVED: &AsciiSet = &PLAIN
    .remove(b':')
    .remove(b'/')
    .remove(b'?')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b',');
/// Members within members of a deep object.
const MAX_DEPTH: usize = 8;

/// A name or value of its own.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// A value as text. Lists and objects inside of others have no style: they are JSON.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn write(value: &Value, set: &'static AsciiSet) -> String {
    utf8_percent_encode(&scalar(value), set).to_string()
}

/// Items, or names and values in turn, or `name=value` with `explode`.
fn items(value: &Value, explode: bool, set: &'static AsciiSet) -> Vec<String> {
    match value {
        Value::Array(each) => each.iter().map(|one| write(one, set)).collect(),
        Value::Object(members) if explode => {
            members.iter().map(|(name, one)| format!("{}={}", utf8_percent_encode(name, set), write(one, set))).collect()
        }
        Value::Object(members) => {
            members.iter().flat_map(|(name, one)| [utf8_percent_encode(name, set).to_string(), write(one, set)]).collect()
        }
        one => vec![write(one, set)],
    }
}

/// In a segment of the path: `simple`, `label` or `matrix`.
pub(super) fn path(input: &Input, value: &Value) -> String {
    if input.json {
        return encode(&value.to_string());
    }
    let name = encode(&input.name);
    match (input.style, value) {
        (Style::Label, _) => format!(".{}", items(value, input.explode, PLAIN).join(if input.explode { "." } else { "," })),
        (Style::Matrix, Value::Array(_)) if input.explode => {
            items(value, true, PLAIN).iter().fold(String::new(), |text, one| text + ";" + &name + "=" + one)
        }
        (Style::Matrix, Value::Object(_)) if input.explode => {
            items(value, true, PLAIN).iter().fold(String::new(), |text, one| text + ";" + one)
        }
        (Style::Matrix, _) => {
            let text = items(value, false, PLAIN).join(",");
            if text.is_empty() { format!(";{name}") } else { format!(";{name}={text}") }
        }
        _ => items(value, input.explode, PLAIN).join(","),
    }
}

/// In the query: pairs, encoded.
pub(super) fn query(input: &Input, value: &Value) -> Vec<String> {
    let set = if input.allow_reserved { RESERVED } else { PLAIN };
    if input.json {
        return vec![format!("{}={}", encode(&input.name), encode(&value.to_string()))];
    }
    let pair = |(name, parts, between): (String, Vec<String>, &str)| {
        let parts: Vec<String> = parts.iter().map(|part| utf8_percent_encode(part, set).to_string()).collect();
        format!("{}={}", encode(&name), parts.join(between))
    };
    pairs(&input.name, input.style, input.explode, value).into_iter().map(pair).collect()
}

/// In a form: pairs, not encoded.
pub(super) fn form(name: &str, style: Style, explode: bool, value: &Value) -> Vec<(String, String)> {
    let plain = |between: &str| {
        if between == "%20" {
            " "
        } else if between == "%7C" {
            "|"
        } else {
            ","
        }
    };
    let pairs = pairs(name, style, explode, value).into_iter();
    pairs.map(|(name, parts, between)| (name, parts.join(plain(between)))).collect()
}

/// Names, what belongs to each, and what stands between it, encoded.
fn pairs(name: &str, style: Style, explode: bool, value: &Value) -> Vec<(String, Vec<String>, &'static str)> {
    let one = |parts: Vec<String>, between| vec![(name.to_owned(), parts, between)];
    let between = match style {
        Style::SpaceDelimited => "%20",
        Style::PipeDelimited => "%7C",
        _ => ",",
    };
    match (style, value) {
        (Style::DeepObject, Value::Array(_) | Value::Object(_)) => {
            let mut all = Vec::new();
            deep(name, value, 0, &mut all);
            all
        }
        (_, Value::Array(each)) if explode => each.iter().map(|item| (name.to_owned(), vec![scalar(item)], ",")).collect(),
        (_, Value::Array(each)) => one(each.iter().map(scalar).collect(), between),
        (Style::Form, Value::Object(members)) if explode => {
            members.iter().map(|(name, item)| (name.clone(), vec![scalar(item)], ",")).collect()
        }
        (_, Value::Object(members)) => {
            one(members.iter().flat_map(|(name, item)| [name.clone(), scalar(item)]).collect(), between)
        }
        (_, value) => one(vec![scalar(value)], between),
    }
}

/// `name[member][0]=value`, as those write it who have deep objects.
fn deep(name: &str, value: &Value, depth: usize, all: &mut Vec<(String, Vec<String>, &'static str)>) {
    match value {
        Value::Object(members) if depth < MAX_DEPTH => {
            members.iter().for_each(|(member, one)| deep(&format!("{name}[{member}]"), one, depth + 1, all));
        }
        Value::Array(each) if depth < MAX_DEPTH => {
            each.iter().enumerate().for_each(|(at, one)| deep(&format!("{name}[{at}]"), one, depth + 1, all));
        }
        one => all.push((name.to_owned(), vec![scalar(one)], ",")),
    }
}

/// In a header: `simple`, which is not encoded there.
pub(super) fn header(input: &Input, value: &Value) -> String {
    if input.json {
        return value.to_string();
    }
    match value {
        Value::Array(each) => each.iter().map(scalar).collect::<Vec<_>>().join(","),
        Value::Object(members) => {
            let between = if input.explode { "=" } else { "," };
            members.iter().map(|(name, one)| format!("{name}{between}{}", scalar(one))).collect::<Vec<_>>().join(",")
        }
        one => scalar(one),
    }
}

/// In a cookie: `form`, encoded, since a cookie has its own separators.
pub(super) fn cookie(input: &Input, value: &Value) -> Vec<String> {
    if input.json {
        return vec![format!("{}={}", encode(&input.name), encode(&value.to_string()))];
    }
    // Exploded names would be cookies that the caller chooses.
    let parts = items(value, false, PLAIN);
    vec![format!("{}={}", encode(&input.name), parts.join(","))]
}
