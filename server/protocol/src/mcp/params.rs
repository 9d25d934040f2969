//! `params` of every method that is served, read in one pass.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

/// Members of `params` that any served method reads; the rest is not looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Params<'a> {
    /// Tool of `tools/call`, prompt of `prompts/get`.
    #[serde(borrow, default)]
    pub name: Option<Cow<'a, str>>,
    /// Resource of `resources/read`, `resources/subscribe` and `resources/unsubscribe`.
    #[serde(borrow, default)]
    pub uri: Option<Cow<'a, str>>,
    /// Arguments of `tools/call` and `prompts/get`, still raw.
    #[serde(borrow, default)]
    pub arguments: Option<&'a RawValue>,
    /// Where a list goes on.
    #[serde(borrow, default)]
    pub cursor: Option<Cow<'a, str>>,
    /// What `initialize` asks for.
    #[serde(borrow, default)]
    pub protocol_version: Option<Cow<'a, str>>,
    /// Who `initialize` says it is.
    #[serde(borrow, default, deserialize_with = "by_name")]
    pub client_info: Option<ClientInfo<'a>>,
    /// What `initialize` says the client can do.
    #[serde(borrow, default)]
    pub capabilities: Option<&'a RawValue>,
    /// Level of `logging/setLevel`.
    #[serde(borrow, default)]
    pub level: Option<Cow<'a, str>>,
    /// What `completion/complete` completes.
    #[serde(borrow, default, deserialize_with = "by_name", rename = "ref")]
    pub reference: Option<Reference<'a>>,
    /// Which request `notifications/cancelled` ends.
    #[serde(borrow, default)]
    pub request_id: Option<&'a RawValue>,
    /// What a client answers to the input that a result required, by key.
    #[serde(borrow, default)]
    pub input_responses: Option<&'a RawValue>,
    /// The state that came with the required input.
    #[serde(borrow, default)]
    pub request_state: Option<&'a RawValue>,
    /// What `subscriptions/listen` wants to hear of.
    #[serde(borrow, default, deserialize_with = "by_name")]
    pub notifications: Option<Wanted<'a>>,
    /// The task of `tasks/get`, `tasks/update` and `tasks/cancel`.
    #[serde(borrow, default)]
    pub task_id: Option<Cow<'a, str>>,
    /// Metadata of the request.
    #[serde(borrow, default, deserialize_with = "by_name", rename = "_meta")]
    pub meta: Option<Meta<'a>>,
}

impl<'a> Params<'a> {
    /// Reads them; absent and null are none.
    pub fn read(raw: Option<&'a RawValue>) -> Result<Self, serde_json::Error> {
        let Some(raw) = raw else { return Ok(Self::default()) };
        by_name(&mut serde_json::Deserializer::from_str(raw.get())).map(Option::unwrap_or_default)
    }

    /// Whose name the client mirrors into `Mcp-Name`, by method.
    pub fn mirrored_name(&self, method: &str) -> Option<&Cow<'a, str>> {
        match method {
            "tools/call" | "prompts/get" => self.name.as_ref(),
            "resources/read" => self.uri.as_ref(),
            "tasks/get" | "tasks/update" | "tasks/cancel" => self.task_id.as_ref(),
            _ => None,
        }
    }
}

/// Reads an object, or null as none. Derived readers take an array too, member by member in the order of our own source: whoever else looks
/// at the message would find nothing where we find a claim.
fn by_name<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    struct ByName<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for ByName<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }

        fn visit_unit<E>(self) -> Result<Option<T>, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(ByName(PhantomData))
}

/// Does that method need `Mcp-Name`?
pub(super) fn is_named(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read" | "tasks/get" | "tasks/update" | "tasks/cancel")
}

/// What a completion is for.
#[derive(Debug, Default, Clone, Deserialize)]
pub struct Reference<'a> {
    /// `ref/prompt` or `ref/resource`.
    #[serde(borrow, default, rename = "type")]
    pub kind: Cow<'a, str>,
    /// Name of the prompt.
    #[serde(borrow, default)]
    pub name: Option<Cow<'a, str>>,
    /// URI or template of the resource.
    #[serde(borrow, default)]
    pub uri: Option<Cow<'a, str>>,
}

/// What a client wants to hear of.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted<'a> {
    /// Changes of the list of tools.
    #[serde(default)]
    pub tools_list_changed: Option<bool>,
    /// Changes of the list of prompts.
    #[serde(default)]
    pub prompts_list_changed: Option<bool>,
    /// Changes of the list of resources.
    #[serde(default)]
    pub resources_list_changed: Option<bool>,
    /// Changes of these resources.
    #[serde(borrow, default)]
    pub resource_subscriptions: Option<Vec<Cow<'a, str>>>,
    /// Changes of these tasks.
    #[serde(borrow, default)]
    pub task_ids: Option<Vec<Cow<'a, str>>>,
}

/// `_meta` of a request.
#[derive(Debug, Default, Deserialize)]
pub struct Meta<'a> {
    /// The revision this request claims. Raw, since a claim of the wrong type is still a claim.
    #[serde(borrow, default, rename = "io.modelcontextprotocol/protocolVersion")]
    pub protocol_version: Option<&'a RawValue>,
    /// What the client can do.
    #[serde(borrow, default, rename = "io.modelcontextprotocol/clientCapabilities")]
    pub client_capabilities: Option<&'a RawValue>,
    /// Who it says it is.
    #[serde(borrow, default, deserialize_with = "by_name", rename = "io.modelcontextprotocol/clientInfo")]
    pub client_info: Option<ClientInfo<'a>>,
    /// From which level on it wants log messages.
    #[serde(borrow, default, rename = "io.modelcontextprotocol/logLevel")]
    pub log_level: Option<&'a RawValue>,
    /// By which it knows progress of this request: a string or an integer.
    #[serde(borrow, default, rename = "progressToken")]
    pub progress_token: Option<&'a RawValue>,
    /// Under which a call of a tool runs at most once, as the header `Idempotency-Key`. Raw, since one of the wrong type is no reason to call twice.
    #[serde(borrow, default, rename = "trunkline/idempotency-key")]
    pub idempotency_key: Option<&'a RawValue>,
    /// W3C trace context.
    #[serde(borrow, default)]
    pub traceparent: Option<Cow<'a, str>>,
    /// W3C trace state.
    #[serde(borrow, default)]
    pub tracestate: Option<Cow<'a, str>>,
}

/// What a client says of itself. For display only.
#[derive(Debug, Default, Clone, Deserialize)]
pub struct ClientInfo<'a> {
    /// Its name.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    /// Its version.
    #[serde(borrow, default)]
    pub version: Cow<'a, str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<bool> {
        let raw: &RawValue = serde_json::from_str(json).expect("JSON");
        Params::read(Some(raw)).ok().map(|params| params.meta.is_some_and(|meta| meta.protocol_version.is_some()))
    }

    #[test]
    fn members_are_read_by_name_only() {
        assert_eq!(read(r#"{"name":"a","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#), Some(true));
        assert_eq!(read(r#"{"_meta":null,"clientInfo":null}"#), Some(false));
        assert_eq!(read("null"), Some(false));
        for by_position in [
            r#"["a"]"#,
            "[]",
            r#"{"_meta":["2026-07-28",{}]}"#,
            r#"{"_meta":{"io.modelcontextprotocol/clientInfo":["a","1"]}}"#,
            r#"{"clientInfo":["a","1"]}"#,
            r#"{"ref":["ref/prompt","a"]}"#,
            r#"{"notifications":[true]}"#,
        ] {
            assert_eq!(read(by_position), None, "{by_position}");
        }
    }
}
