//! What a client says it can do: at `initialize`, or with each request.

use serde_json::{Map, Value};

/// Id of the tasks extension.
pub const TASKS: &str = "io.modelcontextprotocol/tasks";

/// Capabilities of a client.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClientCapabilities(Map<String, Value>);

impl ClientCapabilities {
    /// Reads the object; anything else is none.
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok().map(Self)
    }

    /// Can it show a form to its user? An empty object means so.
    pub fn elicitation_form(&self) -> bool {
        self.object("elicitation").is_some_and(|modes| modes.is_empty() || modes.contains_key("form"))
    }

    /// Can it send its user to a URL?
    pub fn elicitation_url(&self) -> bool {
        self.object("elicitation").is_some_and(|modes| modes.contains_key("url"))
    }

    /// Can it ask its model?
    pub fn sampling(&self) -> bool {
        self.object("sampling").is_some()
    }

    /// Does it name its roots?
    pub fn roots(&self) -> bool {
        self.object("roots").is_some()
    }

    /// Does it speak an extension?
    pub fn extension(&self, id: &str) -> bool {
        self.object("extensions").is_some_and(|extensions| extensions.contains_key(id))
    }

    /// May it be asked by that method with those parameters?
    pub fn allows(&self, method: &str, params: &Value) -> bool {
        match method {
            "elicitation/create" if params["mode"] == "url" => self.elicitation_url(),
            "elicitation/create" => self.elicitation_form(),
            "sampling/createMessage" => self.sampling(),
            "roots/list" => self.roots(),
            _ => false,
        }
    }

    /// The capability that a method needs, as an object for error -32021.
    pub fn required_for(method: &str, params: &Value) -> Value {
        match method {
            "elicitation/create" if params["mode"] == "url" => serde_json::json!({ "elicitation": { "url": {} } }),
            "elicitation/create" => serde_json::json!({ "elicitation": {} }),
            "sampling/createMessage" => serde_json::json!({ "sampling": {} }),
            _ => serde_json::json!({ "roots": {} }),
        }
    }

    /// Only what an upstream server may ask through us: elicitation, sampling and roots.
    #[must_use]
    pub fn askable(&self) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(key, _)| matches!(key.as_str(), "elicitation" | "sampling" | "roots"))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        )
    }

    /// For revisions in which nobody may ask a user.
    #[must_use]
    pub fn without_elicitation(&self) -> Self {
        Self(self.0.iter().filter(|(key, _)| *key != "elicitation").map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    /// As JSON, members in order of their names.
    pub fn to_json(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    fn object(&self, key: &str) -> Option<&Map<String, Value>> {
        self.0.get(key).and_then(Value::as_object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn capabilities_say_what_may_be_asked() {
        let form =
            ClientCapabilities::parse(r#"{"elicitation":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#).expect("object");
        assert!(form.allows("elicitation/create", &json!({})) && !form.allows("elicitation/create", &json!({"mode":"url"})));
        assert!(form.extension(TASKS) && !form.sampling());
        assert_eq!(form.askable().to_json(), r#"{"elicitation":{}}"#);
        assert_eq!(form.without_elicitation().askable().to_json(), "{}");
        let url = ClientCapabilities::parse(r#"{"elicitation":{"url":{}},"sampling":{}}"#).expect("object");
        assert!(!url.elicitation_form() && url.elicitation_url() && url.allows("sampling/createMessage", &json!({})));
        assert_eq!(ClientCapabilities::parse("[]"), None);
    }
}
