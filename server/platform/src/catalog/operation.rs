//! One operation of somebody's HTTP API, as an import made it of their description: where every argument goes, as data. Nothing of it is a
//! text into which a value is pasted. `execution::operation` makes requests of it.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use super::{answer::AnswerShape, executor::TIMEOUT_MS};
use crate::error::{Error, Result};

/// Layout of what is stored. A release that cannot read a newer one refuses to run it.
pub const LAYOUT: u32 = 1;
/// Name of the argument that is the body.
pub const BODY: &str = "body";

/// A request to somebody's HTTP API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Layout of what is stored.
    pub layout: u32,
    /// Method.
    pub method: OperationMethod,
    /// `scheme://host:port`; empty as long as nobody has chosen a server.
    pub origin: String,
    /// The path, by segment.
    pub path: Vec<Vec<Piece>>,
    /// What always stands in the query.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<(String, String)>,
    /// Arguments that go anywhere but into the body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// What becomes of the argument `body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// `Accept` of the request.
    pub accept: String,
    /// What proves who calls, all of it together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security: Vec<Proof>,
    /// What of its answers is given, and what they promise to be.
    #[serde(flatten)]
    pub answer: AnswerShape,
    /// Longest time for the exchange, in milliseconds.
    pub timeout_ms: u32,
    /// Arguments that are sent where the caller gives none.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub defaults: Map<String, Value>,
    /// Arguments that are always sent so, whatever the caller gives.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fixed: Map<String, Value>,
}

/// Methods of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "their names say it")]
pub enum OperationMethod {
    Get,
    Head,
    Options,
    Put,
    Post,
    Patch,
    Delete,
}

/// A piece of a segment of the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Piece {
    /// Fixed text, encoded already.
    Literal(String),
    /// That one of the inputs.
    Input(usize),
}

/// An argument, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Its name among the arguments.
    pub argument: String,
    /// Its name in the request.
    pub name: String,
    /// Where it goes.
    pub place: InputPlace,
    /// How lists and objects are written.
    pub style: Style,
    /// Is each item, or member, written by itself?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub explode: bool,
    /// Do characters such as `/` and `:` stay as they are, where they separate nothing?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_reserved: bool,
    /// Is it written as JSON instead?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub json: bool,
}

/// Where an argument goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "their names say it")]
pub enum InputPlace {
    Path,
    Query,
    Header,
    Cookie,
}

/// How a value is written: styles of OpenAPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "names of the specification")]
pub enum Style {
    Simple,
    Label,
    Matrix,
    Form,
    SpaceDelimited,
    PipeDelimited,
    DeepObject,
}

/// What becomes of the argument `body`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// JSON.
    Json {
        /// `Content-Type`.
        media_type: String,
    },
    /// `application/x-www-form-urlencoded`.
    Form {
        /// How members are written that are not written as usual.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        fields: BTreeMap<String, FieldStyle>,
    },
    /// `multipart/form-data`.
    Multipart {
        /// Members that are base64 here and bytes there, with their `Content-Type`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        files: BTreeMap<String, String>,
    },
    /// Text as it is.
    Text {
        /// `Content-Type`.
        media_type: String,
    },
    /// Base64 here and bytes there.
    Binary {
        /// `Content-Type`.
        media_type: String,
    },
}

/// How a member of a form is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldStyle {
    /// How lists and objects are written.
    pub style: Style,
    /// Is each item, or member, written by itself?
    pub explode: bool,
}

/// A secret of the tenant that proves who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Name of the scheme in the description; secrets are kept under it.
    pub scheme: String,
    /// How it is carried.
    pub carrier: Carrier,
}

/// How a secret is carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Carrier {
    /// In a header, as it is.
    Header {
        /// Its name.
        name: String,
    },
    /// In the query.
    Query {
        /// Its name.
        name: String,
    },
    /// In a cookie.
    Cookie {
        /// Its name.
        name: String,
    },
    /// `Authorization: Basic`; the secret is `user:password`.
    Basic,
    /// `Authorization: Bearer`.
    Bearer,
    /// `Authorization: Bearer`, with a token that is fetched for the tenant (RFC 6749 §4.4); the secret is `client_id:client_secret`.
    ClientCredentials {
        /// The token endpoint: where the secret goes, and nowhere else.
        token_url: Url,
        /// What is asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        scopes: Vec<String>,
    },
}

/// A client's secret as it is sealed: with the endpoint that it was entered for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ClientSecret {
    /// `client_id:client_secret`.
    pub(crate) pair: String,
    /// Where it may go.
    pub(crate) token_url: Url,
}

impl Carrier {
    /// Is it in the header `Authorization`, which there is once?
    pub fn is_authorization(&self) -> bool {
        matches!(self, Self::Basic | Self::Bearer | Self::ClientCredentials { .. })
    }
}

impl OperationMethod {
    /// As sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Does the same request again change nothing more (RFC 9110, 9.2.2)?
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Self::Post | Self::Patch)
    }
}

impl Operation {
    /// The same at that server: its path comes first.
    pub fn at(&self, base: &Url) -> Result<Self> {
        let wrong = |message: &str| Error::invalid("server", message);
        if !matches!(base.scheme(), "https" | "http") || base.cannot_be_a_base() {
            return Err(wrong("expected https://host/path"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong("a user name or password does not belong into the URL; enter it as the secret"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(wrong("expected a URL without ? and #"));
        }
        let mut path: Vec<Vec<Piece>> =
            base.path_segments().into_iter().flatten().map(|segment| vec![Piece::Literal(segment.to_owned())]).collect();
        while path.last().is_some_and(|last| *last == [Piece::Literal(String::new())]) {
            path.pop();
        }
        path.extend(self.path.iter().cloned());
        let operation = Self { origin: base.origin().ascii_serialization(), path, ..self.clone() };
        operation.check()?;
        Ok(operation)
    }

    /// Ok if its parts fit together.
    pub fn check(&self) -> Result<()> {
        let broken = |message: &str| Err(Error::invalid("operation", message));
        if self.layout != LAYOUT {
            return broken("it was stored by another release");
        }
        if !TIMEOUT_MS.contains(&self.timeout_ms) {
            return Err(Error::invalid("timeout_ms", "expected 100 to 60000 milliseconds"));
        }
        let pieces = || self.path.iter().flatten();
        if pieces().any(|piece| matches!(piece, Piece::Input(at) if *at >= self.inputs.len())) {
            return broken("its path names a parameter that it does not have");
        }
        let sample = self.path.iter().fold(String::new(), |path, segment| path + "/" + &sample(segment));
        let url = Url::parse(&format!("{}{sample}", self.origin)).ok();
        if url.is_none_or(|url| url.path() != sample || url.origin().ascii_serialization() != self.origin) {
            return broken("its path cannot be sent as it stands: it has . or .. in it, or is not encoded");
        }
        Ok(())
    }

    /// The arguments as they are sent: those of the caller with what is pinned.
    pub fn pinned<'a>(&self, arguments: &'a Map<String, Value>) -> Cow<'a, Map<String, Value>> {
        if self.defaults.is_empty() && self.fixed.is_empty() {
            return Cow::Borrowed(arguments);
        }
        let mut all = self.defaults.clone();
        for given in [arguments, &self.fixed] {
            all.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        Cow::Owned(all)
    }

    /// The path for people, with `{names}`.
    pub fn display_path(&self) -> String {
        let mut text = String::new();
        for segment in &self.path {
            text.push('/');
            for piece in segment {
                match piece {
                    Piece::Literal(literal) => text.push_str(literal),
                    Piece::Input(at) => {
                        text.push('{');
                        text.push_str(self.inputs.get(*at).map_or("?", |input| &input.name));
                        text.push('}');
                    }
                }
            }
        }
        text
    }
}

/// A segment with harmless values.
fn sample(segment: &[Piece]) -> String {
    segment.iter().map(|piece| if let Piece::Literal(literal) = piece { literal.as_str() } else { "x" }).collect()
}
