//! How a tool runs: the closed set of kinds, as stored in a version. What a person may write here is parsed once, at publishing.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    answer::AnswerShape, function::FunctionTool, operation::Operation, template::UrlTemplate, tool::has_hidden_characters,
};
use crate::{
    error::{Error, Result},
    ids::SourceId,
};

/// Shortest and longest deadline of a tool, in milliseconds.
pub const TIMEOUT_MS: std::ops::RangeInclusive<u32> = 100..=60_000;
/// Parameters of one HTTP tool.
pub const MAX_PARAMETERS: usize = 64;

/// How a tool runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Executor {
    /// A tool of ours.
    Builtin {
        /// Which.
        name: Builtin,
    },
    /// A request to somebody's HTTP API.
    Http(HttpTool),
    /// An operation of an imported HTTP API.
    Operation(Operation),
    /// Code of the tenant's own.
    Function(FunctionTool),
    /// A tool of an MCP server.
    Upstream {
        /// Which server.
        source: SourceId,
        /// Its name there.
        name: String,
    },
}

/// The tools we bring along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Builtin {
    /// Gives its text back.
    Echo,
    /// Tells the time.
    Time,
    /// Takes parts of a JSON document.
    JsonQuery,
    /// Computes a digest.
    Hash,
    /// Makes identifiers.
    Uuid,
}

/// A request to somebody's HTTP API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpTool {
    /// Method.
    pub method: HttpMethod,
    /// Where to, with `{names}` in its path.
    pub url: UrlTemplate,
    /// What the caller fills in.
    pub parameters: Vec<Parameter>,
    /// Header that carries the sealed secret.
    pub secret_header: Option<String>,
    /// Longest time for the exchange, in milliseconds.
    pub timeout_ms: u32,
    /// What of its answers is given.
    #[serde(flatten)]
    pub answer: AnswerShape,
}

/// Methods of HTTP tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "their names say it")]
pub enum HttpMethod {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// What the caller fills in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Name in the arguments and upstream.
    pub name: String,
    /// Where it goes.
    pub place: Place,
    /// Its JSON type.
    #[serde(rename = "type")]
    pub kind: ParameterType,
    /// Must the caller give it?
    pub required: bool,
    /// For models.
    pub description: String,
    /// Sent when the caller does not give it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// Where a parameter goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Into the path, percent-encoded.
    Path,
    /// Into the query.
    Query,
    /// Into a header of that name.
    Header,
    /// As a member of the JSON body.
    Body,
}

/// JSON type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "their names say it")]
pub enum ParameterType {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
}

macro_rules! words {
    ($($name:ident: $what:literal { $($variant:ident $word:literal),* })*) => {$(
        impl $name {
            /// All of them, in the order they are offered.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text).ok_or_else(|| {
                    let words: Vec<_> = Self::ALL.iter().map(|one| one.as_str()).collect();
                    Error::invalid($what, format!("expected one of {}", words.join(", ")))
                })
            }
        }
    )*};
}

words! {
    Builtin: "builtin" { Echo "echo", Time "time", JsonQuery "json_query", Hash "hash", Uuid "uuid" }
    HttpMethod: "method" { Get "GET", Post "POST", Put "PUT", Patch "PATCH", Delete "DELETE" }
    Place: "place" { Path "path", Query "query", Header "header", Body "body" }
    ParameterType: "type" { String "string", Integer "integer", Number "number", Boolean "boolean", Array "array", Object "object" }
}

/// Headers that a tool never sets: they belong to the connection, to us, or would speak for somebody else.
const RESERVED_HEADERS: &[&str] = &[
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "expect",
    "cookie",
    "via",
    "forwarded",
    "content-type",
    "accept-encoding",
];

/// Headers that say who somebody is; a tool's secret may use them, a caller's argument may not.
const CREDENTIAL_HEADERS: &[&str] = &["authorization", "x-api-key", "x-real-ip", "x-auth-token"];

/// May a tool set that header? Header names are RFC 9110 tokens.
pub fn check_header_name(field: &str, name: &str) -> Result<()> {
    let is_token = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    let lower = name.to_ascii_lowercase();
    let reserved = RESERVED_HEADERS.contains(&lower.as_str())
        || lower.starts_with("x-forwarded-")
        || lower.starts_with("proxy-")
        || lower.starts_with("mcp-");
    match (is_token, reserved) {
        (false, _) => Err(Error::invalid(field, "expected a header name of letters, digits and hyphens, such as X-Api-Key")),
        (true, true) => Err(Error::invalid(field, format!("`{name}` is set by Trunkline and cannot be a tool's"))),
        (true, false) => Ok(()),
    }
}

impl HttpTool {
    /// Ok if the parts fit together; names the field that does not.
    pub fn check(&self) -> Result<()> {
        if !TIMEOUT_MS.contains(&self.timeout_ms) {
            return Err(Error::invalid("timeout_ms", "expected 100 to 60000 milliseconds"));
        }
        if self.parameters.len() > MAX_PARAMETERS {
            return Err(Error::invalid("parameters", format!("expected at most {MAX_PARAMETERS}")));
        }
        if let Some(name) = &self.secret_header {
            check_header_name("secret_header", name)?;
        }
        self.answer.check()?;
        for (i, parameter) in self.parameters.iter().enumerate() {
            self.check_parameter(parameter)?;
            if self.parameters[..i].iter().any(|other| other.name == parameter.name) {
                return Err(Error::invalid("parameters", format!("`{}` is there twice", parameter.name)));
            }
        }
        for name in self.url.placeholders() {
            if !self.parameters.iter().any(|p| p.place == Place::Path && p.name == name) {
                return Err(Error::invalid("url", format!("{{{name}}} has no parameter with place path")));
            }
        }
        Ok(())
    }

    fn check_parameter(&self, parameter: &Parameter) -> Result<()> {
        let name = &parameter.name;
        let fits =
            (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if !fits {
            return Err(Error::invalid("parameters", format!("`{name}` is not a name: expected 1 to 64 of A-Z a-z 0-9 _ - .")));
        }
        if has_hidden_characters(&parameter.description) {
            let message = format!("the description of {name} contains control, direction or invisible characters; remove them");
            return Err(Error::invalid("parameters", message));
        }
        if parameter.description.chars().count() > 400 {
            return Err(Error::invalid("parameters", format!("the description of {name} is longer than 400 characters")));
        }
        let is_composite = matches!(parameter.kind, ParameterType::Array | ParameterType::Object);
        match parameter.place {
            Place::Path if !self.url.placeholders().any(|p| p == name) => {
                Err(Error::invalid("parameters", format!("`{name}` goes into the path, but the URL has no {{{name}}}")))
            }
            Place::Path if !parameter.required && parameter.default.is_none() => {
                Err(Error::invalid("parameters", format!("`{name}` goes into the path, so it is required or has a default")))
            }
            // Who calls upstream is decided by the tool's owner, not by whoever calls the tool.
            Place::Header if CREDENTIAL_HEADERS.contains(&name.to_ascii_lowercase().as_str()) => {
                Err(Error::invalid("parameters", format!("{name} is a credential: enter it as the tool's secret instead")))
            }
            Place::Header => check_header_name("parameters", name).and_then(|()| {
                if self.secret_header.as_deref().is_some_and(|secret| secret.eq_ignore_ascii_case(name)) {
                    Err(Error::invalid("parameters", format!("`{name}` carries the secret already")))
                } else {
                    Ok(())
                }
            }),
            Place::Body if self.method == HttpMethod::Get => {
                Err(Error::invalid("parameters", format!("`{name}` goes into the body, but GET has none")))
            }
            _ => Ok(()),
        }?;
        if is_composite && parameter.place != Place::Body {
            return Err(Error::invalid(
                "parameters",
                format!("`{name}` is an {}, which only a body can carry", parameter.kind.as_str()),
            ));
        }
        match &parameter.default {
            Some(value) if !parameter.kind.fits(value) => {
                Err(Error::invalid("parameters", format!("the default of {name} is not a JSON {}", parameter.kind.as_str())))
            }
            _ => Ok(()),
        }
    }
}

impl ParameterType {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::Array => value.is_array(),
            Self::Object => value.is_object(),
        }
    }
}

impl Executor {
    /// Does somebody else's MCP server run it? Then it may talk while it runs.
    pub fn is_proxied(&self) -> bool {
        matches!(self, Self::Upstream { .. })
    }

    /// `scheme://host:port` of the one server that it calls, if it is such a tool.
    pub fn origin(&self) -> Option<&str> {
        match self {
            Self::Http(http) => Some(http.url.origin()),
            Self::Operation(operation) => Some(&operation.origin),
            // A function calls several, or none.
            Self::Builtin { .. } | Self::Upstream { .. } | Self::Function(_) => None,
        }
    }

    /// The header that carries its own secret, and the one origin to which it is sent. `None`: there is no such header.
    pub fn secret_use(&self) -> Option<(&str, &str)> {
        let (header, origin) = match self {
            Self::Http(http) => (&http.secret_header, http.url.origin()),
            Self::Function(function) => (&function.secret_header, function.hosts.first()?.as_str()),
            Self::Operation(_) | Self::Builtin { .. } | Self::Upstream { .. } => return None,
        };
        Some((header.as_deref()?, origin))
    }

    /// What of an HTTP answer is given. `None`: it has none.
    pub fn answer_shape(&self) -> Option<&AnswerShape> {
        match self {
            Self::Http(http) => Some(&http.answer),
            Self::Operation(operation) => Some(&operation.answer),
            Self::Builtin { .. } | Self::Upstream { .. } | Self::Function(_) => None,
        }
    }

    /// The JSON Schema of the arguments, in the order of the parameters. A server, and the description of an API, bring their own.
    pub fn input_schema(&self) -> Value {
        match self {
            Self::Upstream { .. } | Self::Operation(_) => json!({ "type": "object" }),
            Self::Builtin { name } => name.input_schema(),
            Self::Function(function) => function.input_schema.clone(),
            Self::Http(http) => http.input_schema(),
        }
    }
}

impl HttpTool {
    fn input_schema(&self) -> Value {
        let mut properties = Map::new();
        for parameter in &self.parameters {
            let mut schema = json!({ "type": parameter.kind.as_str() });
            if !parameter.description.is_empty() {
                schema["description"] = parameter.description.clone().into();
            }
            if let Some(default) = &parameter.default {
                schema["default"] = default.clone();
            }
            properties.insert(parameter.name.clone(), schema);
        }
        let required: Vec<_> = self.parameters.iter().filter(|p| p.required).map(|p| p.name.as_str()).collect();
        json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
    }
}
