//! A tool that gives back what it was given has done nothing: its server forgot to do the work, or something in front of it answers in its place.

use serde_json::{Map, Value};

/// Shorter texts are given back by accident: a city, a number, a yes.
const SHORTEST: usize = 8;

/// Is a result with these texts and this structured content nothing but the arguments?
pub fn is_echo(arguments: &Map<String, Value>, texts: &[&str], structured: Option<&Value>) -> bool {
    if arguments.is_empty() {
        return false;
    }
    let whole = Value::Object(arguments.clone());
    let says_nothing_else = |value: &Value| *value == whole || is_request(value, &whole);
    let is_given = |text: &str| {
        let read: Option<Value> = serde_json::from_str(text).ok();
        read.as_ref().is_some_and(says_nothing_else) || is_only_argument(arguments, text)
    };
    let texts: Vec<&str> = texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect();
    match structured.filter(|value| !value.is_null()) {
        Some(value) => says_nothing_else(value),
        None => !texts.is_empty() && texts.iter().all(|text| is_given(text)),
    }
}

/// The parameters of the request, or the whole of it.
fn is_request(value: &Value, arguments: &Value) -> bool {
    let params = value.get("params").unwrap_or(value);
    params.get("name").is_some() && params.get("arguments") == Some(arguments)
}

/// The one text that is long enough to be told from others.
fn is_only_argument(arguments: &Map<String, Value>, text: &str) -> bool {
    let long = |value: &&str| value.len() >= SHORTEST;
    let mut given = arguments.values().filter_map(Value::as_str).filter(long);
    matches!((given.next(), given.next()), (Some(given), None) if given.trim() == text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn echo(arguments: &Value, texts: &[&str], structured: &Value) -> bool {
        is_echo(arguments.as_object().expect("an object"), texts, Some(structured))
    }

    #[test]
    fn what_was_given_is_an_echo_however_it_is_written() {
        let given = json!({ "city": "Wien", "days": 3, "note": "bring an umbrella" });
        for text in [
            r#"{"days":3,"note":"bring an umbrella","city":"Wien"}"#,
            r#"{"name":"weather","arguments":{"city":"Wien","days":3,"note":"bring an umbrella"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"weather","arguments":{"city":"Wien","days":3,"note":"bring an umbrella"}}}"#,
            " bring an umbrella\n",
        ] {
            assert!(echo(&given, &[text], &Value::Null), "{text}");
            assert!(echo(&given, &[text, ""], &Value::Null), "{text} and nothing");
        }
        assert!(echo(&given, &["something else"], &given), "what is structured counts");
    }

    #[test]
    fn an_answer_is_none() {
        let given = json!({ "city": "Wien", "days": 3 });
        for text in
            ["Wien", "rain in Wien for 3 days", r#"{"city":"Wien","days":3,"rain":true}"#, r#"{"name":"x","arguments":{}}"#, ""]
        {
            assert!(!echo(&given, &[text], &Value::Null), "{text}");
        }
        assert!(!echo(&given, &[r#"{"city":"Wien","days":3}"#, "and rain"], &Value::Null));
        assert!(!echo(&given, &[r#"{"city":"Wien","days":3}"#], &json!({ "rain": true })));
        assert!(!echo(&json!({}), &["{}"], &json!({})), "without arguments there is nothing to give back");
    }
}
