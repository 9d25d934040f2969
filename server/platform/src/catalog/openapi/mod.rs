//! Descriptions of HTTP APIs: OpenAPI 3.0 and 3.1, read once and within limits. Every operation becomes a draft of a tool, or is refused with a
//! reason; none is left out silently. Nothing is fetched.

mod answer;
mod body;
mod document;
mod keywords;
mod operation;
mod parameter;
mod path;
mod schema;
mod security;
mod server;
mod text;

use serde_json::{Value, value::RawValue};
use trunkline_protocol::oauth::scope::Effect;

pub use document::MAX_BYTES;
pub use security::{Scheme, SchemeKind};
pub use server::resolve_server;

use super::Operation;
use document::Document;

/// Operations of one document.
pub const MAX_OPERATIONS: usize = 3_000;

/// Why a whole document is refused, in words for whoever brought it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(String);

impl Refusal {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// What a document describes.
#[derive(Debug)]
pub struct Api {
    /// Its title; never empty.
    pub title: String,
    /// Its own version.
    pub version: String,
    /// Where it is served, with the defaults of variables put in; may be relative to the document.
    pub servers: Vec<String>,
    /// How callers prove who they are.
    pub schemes: Vec<Scheme>,
    /// Its operations, in the order of paths.
    pub operations: Vec<Described>,
}

/// An operation, and what becomes of it.
#[derive(Debug)]
pub struct Described {
    /// Method and path, such as `GET /pets/{id}`: what it is known by when the document changes.
    pub key: String,
    /// Groups that it belongs to.
    pub tags: Vec<String>,
    /// What it is for, in a line.
    pub summary: String,
    /// Should nobody begin to use it?
    pub is_deprecated: bool,
    /// The tool that it would be, or why it cannot be one.
    pub draft: Result<Box<Draft>, String>,
}

/// The tool that an operation would be.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Unique in its document: 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// For people; at most 80 characters.
    pub title: String,
    /// For models; 1 to 1024 characters.
    pub description: String,
    /// What it does to the world, by its method.
    pub effect: Effect,
    /// JSON Schema of the arguments.
    pub input_schema: Box<RawValue>,
    /// The request, as yet without a server.
    pub operation: Operation,
    /// Its own server, where it is another than the document's.
    pub server: Option<String>,
    /// What is not as the document has it.
    pub notes: Vec<String>,
}

/// A name of a tool with a prefix: cut where it is longer than 64 characters, and told apart by a digest then.
pub fn prefixed(prefix: &str, name: &str) -> String {
    text::fit(&format!("{prefix}{name}"))
}

/// Reads a document.
pub fn read(bytes: &[u8]) -> Result<Api, Refusal> {
    let document = Document::parse(bytes)?;
    let info = |member: &str, most| match document.root.pointer(&format!("/info/{member}")) {
        Some(Value::String(text)) => text::tidy(text, most),
        _ => String::new(),
    };
    let title = Some(info("title", 80)).filter(|title| !title.is_empty()).unwrap_or_else(|| "Untitled API".to_owned());
    let operations = operation::all(&document)?;
    Ok(Api {
        title,
        version: info("version", 40),
        servers: server::of(&document.root),
        schemes: security::schemes(&document),
        operations,
    })
}
