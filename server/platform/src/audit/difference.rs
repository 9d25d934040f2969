//! What a change made different: the members that are, as they were and as they are. Nothing else of either.

use serde::Serialize;
use serde_json::{Map, Value};

/// Characters of a text that are kept: enough to know it again.
const LONGEST: usize = 400;

/// Before and after, of what differs only. Never secrets, addresses, arguments or results.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Difference {
    before: Map<String, Value>,
    after: Map<String, Value>,
}

impl Difference {
    /// Notes a member if it differs.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "numbers, texts and references to more are said alike")]
    pub fn of<T: Serialize + PartialEq>(mut self, name: impl Into<String>, before: T, after: T) -> Self {
        if before != after {
            let name = name.into();
            self.before.insert(name.clone(), shown(&before));
            self.after.insert(name, shown(&after));
        }
        self
    }

    /// Is everything as it was?
    pub fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }

    /// Adds it to the details of an entry.
    pub(super) fn put(&self, mut details: Value) -> Value {
        if !self.is_empty() {
            details["before"] = Value::Object(self.before.clone());
            details["after"] = Value::Object(self.after.clone());
        }
        details
    }
}

fn shown<T: Serialize>(value: &T) -> Value {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) if text.chars().count() > LONGEST => {
            Value::String(text.chars().take(LONGEST).chain(['…']).collect())
        }
        Ok(value) => value,
        Err(_) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_kept() {
        let difference = Difference::default().of("name", "a", "b").of("same", 1, 1).of("per_day", None, Some(5));
        assert_eq!(
            difference.put(json!({ "version": 2 })),
            json!({ "version": 2, "before": { "name": "a", "per_day": null }, "after": { "name": "b", "per_day": 5 } })
        );
        assert_eq!(Difference::default().of("same", 1, 1).put(json!({})), json!({}));
    }

    #[test]
    fn long_texts_are_cut() {
        let long = "x".repeat(401);
        let details = Difference::default().of("text", long.as_str(), "").put(json!({}));
        assert_eq!(details["before"]["text"].as_str().map(|text| text.chars().count()), Some(401));
        assert!(details["before"]["text"].as_str().is_some_and(|text| text.ends_with('…')));
    }
}
