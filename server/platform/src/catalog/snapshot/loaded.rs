//! What a snapshot is made of: tools, prompts and resources ready to be listed and used, sources ready to be reached.

use std::sync::{Arc, OnceLock, atomic::AtomicU32};

use jsonschema::Validator;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use trunkline_protocol::mcp::{
    Revision,
    mirrored::{Mirrored, mirrored},
    object::RawObject,
    tools::{Annotations, ToolDescription},
};

use super::words::Words;
use crate::{
    call::Fingerprint,
    catalog::{
        Executor, Selection, Typical,
        credential::Held,
        definition::{ItemKind, compile},
        source::Source,
        tool::Tool,
    },
    connections::Provider,
    context::Definition,
    error::{Error, Result},
    ids::{DefinitionId, SourceId},
};

/// A tool, ready to be listed and run.
#[derive(Debug)]
pub struct LoadedTool {
    /// The tool and its version.
    pub tool: Tool,
    descriptions: Descriptions,
    validator: OnceLock<Result<Validator, String>>,
    output_validator: OnceLock<Option<Result<Validator, String>>>,
    selection: OnceLock<Option<Selection>>,
    mirrored: OnceLock<Vec<Mirrored>>,
    words: OnceLock<Words>,
    /// Calls of it that run on this replica.
    pub(crate) running: Arc<AtomicU32>,
    /// What they were like lately.
    pub(crate) typical: Arc<Typical>,
    /// It as it stands in the context of those who are offered it.
    pub(crate) definition: Arc<Definition>,
    /// SHA-256 of that.
    pub(crate) digest: Fingerprint,
}

/// A tool as it stands in a list, as JSON: where revisions differ, once for each.
#[derive(Debug)]
struct Descriptions {
    stateless: Arc<str>,
    structured: Arc<str>,
    oldest: Arc<str>,
}

impl LoadedTool {
    pub(in crate::catalog) fn new(tool: Tool) -> Result<Self> {
        let descriptions = match &tool.version.definition {
            Some(definition) => Descriptions::of_definition(tool.name.as_str(), definition)?,
            None => Descriptions::of_ours(&tool)?,
        };
        Ok(Self {
            definition: Arc::new(Definition::new(Arc::clone(&descriptions.stateless))),
            digest: Fingerprint(Sha256::digest(&*descriptions.stateless).into()),
            descriptions,
            tool,
            validator: OnceLock::new(),
            output_validator: OnceLock::new(),
            selection: OnceLock::new(),
            mirrored: OnceLock::new(),
            words: OnceLock::new(),
            running: Arc::default(),
            typical: Arc::default(),
        })
    }

    /// It as it stands in a list of that revision: JSON. A tool of a source is described in its source's own words, to the byte; only its
    /// name is ours, and what the revision does not know is left out.
    pub fn description(&self, revision: Revision) -> &str {
        if !revision.has_structured_content() {
            &self.descriptions.oldest
        } else if !revision.has_free_structured_content() {
            &self.descriptions.structured
        } else {
            &self.descriptions.stateless
        }
    }

    /// Arguments that clients mirror into headers. Annotations that cannot be used do not come this far.
    pub fn mirrored(&self) -> &[Mirrored] {
        self.mirrored.get_or_init(|| {
            let schema = self.tool.version.input_schema.get();
            // Few schemas have one; the others are not read again.
            let schema = schema.contains("x-mcp-header").then(|| serde_json::from_str(schema).ok()).flatten();
            schema.and_then(|schema| mirrored(&schema).ok()).unwrap_or_default()
        })
    }

    /// Its words; found when first needed.
    pub(crate) fn words(&self) -> &Words {
        self.words.get_or_init(|| Words::of(&self.tool))
    }

    /// The compiled schema of its arguments; compiled when first needed.
    pub fn validator(&self) -> Result<&Validator, &str> {
        self.validator.get_or_init(|| compile_text(self.tool.version.input_schema.get())).as_ref().map_err(String::as_str)
    }

    /// The part of an HTTP answer that it gives, if it is not all of it; read when first needed.
    pub(crate) fn selection(&self) -> Option<&Selection> {
        let read = || Selection::parse(self.tool.version.executor.answer_shape()?.select.as_deref()?).ok();
        self.selection.get_or_init(read).as_ref()
    }

    /// The compiled schema of its structured results, if it promises any; compiled when first needed.
    pub fn output_validator(&self) -> Option<Result<&Validator, &str>> {
        let compiled = self.output_validator.get_or_init(|| {
            if let Some(shape) = self.tool.version.executor.answer_shape() {
                return shape.output_schema.as_ref().map(compile);
            }
            let definition = RawObject::parse(self.tool.version.definition.as_ref()?.get()).ok()?;
            definition.get("outputSchema").map(compile_text)
        });
        compiled.as_ref().map(|compiled| compiled.as_ref().map_err(String::as_str))
    }
}

fn compile_text(schema: &str) -> Result<Validator, String> {
    compile(&serde_json::from_str(schema).map_err(|error| error.to_string())?)
}

impl Descriptions {
    fn of_ours(tool: &Tool) -> Result<Self> {
        let version = &tool.version;
        let is_idempotent = match &version.executor {
            Executor::Operation(operation) => Some(operation.method.is_idempotent()),
            _ => None,
        };
        let output = version.executor.answer_shape().and_then(|shape| shape.output_schema.as_ref());
        let output = output.map(serde_json::value::to_raw_value).transpose().map_err(Error::internal)?;
        let description = serde_json::to_string(&ToolDescription {
            name: tool.name.as_str(),
            title: &version.title,
            description: &version.description,
            input_schema: &version.input_schema,
            output_schema: output.as_deref(),
            annotations: Annotations::new(version.effect, is_idempotent),
        });
        let description: Arc<str> = description.map_err(Error::internal)?.into();
        if output.is_some() {
            let definition = RawValue::from_string(description.to_string()).map_err(Error::internal)?;
            return Self::of_definition(tool.name.as_str(), &definition);
        }
        Ok(Self { stateless: Arc::clone(&description), structured: Arc::clone(&description), oldest: description })
    }

    fn of_definition(name: &str, definition: &RawValue) -> Result<Self> {
        let mut object = RawObject::parse(definition.get()).map_err(Error::internal)?;
        object.set_text("name", name);
        object.remove("execution");
        let stateless: Arc<str> = object.to_json().into();
        let mut structured = Arc::clone(&stateless);
        if object.get("outputSchema").is_some_and(|schema| !is_of_objects(schema)) {
            object.remove("outputSchema");
            structured = object.to_json().into();
        }
        let mut oldest = Arc::clone(&structured);
        if object.has("outputSchema") || object.has("title") {
            object.remove("outputSchema");
            object.remove("title");
            oldest = object.to_json().into();
        }
        Ok(Self { stateless, structured, oldest })
    }
}

/// Is the schema's root `"type": "object"`, as revisions with a handshake want it?
fn is_of_objects(schema: &str) -> bool {
    RawObject::parse(schema).is_ok_and(|schema| schema.text("type").as_deref() == Some("object"))
}

/// A prompt, resource or resource template of a source, as it was approved.
#[derive(Debug)]
pub struct LoadedItem {
    /// Its id.
    pub id: DefinitionId,
    /// What it is.
    pub kind: ItemKind,
    /// Whose it is.
    pub source: SourceId,
    /// As callers name it: a prompt's name or a URI.
    pub key: String,
    /// As its source names it.
    pub upstream_key: String,
    /// It as it stands in a list: in its source's own words, to the byte, under the name that callers use.
    pub definition: Box<RawValue>,
    pub(super) digest: [u8; 32],
}

impl LoadedItem {
    pub(in crate::catalog) fn new(
        id: DefinitionId,
        kind: ItemKind,
        source: SourceId,
        (key, upstream_key): (String, String),
        definition: Box<RawValue>,
        digest: [u8; 32],
    ) -> Result<Self> {
        let definition = if kind == ItemKind::Prompts && key != upstream_key {
            let mut object = RawObject::parse(definition.get()).map_err(Error::internal)?;
            object.set_text("name", &key);
            RawValue::from_string(object.to_json()).map_err(Error::internal)?
        } else {
            definition
        };
        Ok(Self { id, kind, source, key, upstream_key, definition, digest })
    }
}

/// A source, ready to be reached.
#[derive(Debug)]
pub struct LoadedSource {
    /// The source.
    pub source: Source,
    /// Its sealed secret.
    pub(super) held: Option<Arc<Held>>,
    /// Whom people have their accounts with, if each of them uses their own at this source.
    pub provider: Option<Provider>,
    /// Requests for its prompts, resources and completions that run on this replica.
    pub(crate) running: Arc<AtomicU32>,
}

impl LoadedSource {
    /// Counts changes of what is asked and how, and of the secret with which.
    pub(crate) fn edition(&self) -> (i32, i32) {
        (self.source.edition, self.held.as_ref().map_or(0, |held| held.edition()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptions(definition: &str) -> Descriptions {
        let raw = RawValue::from_string(definition.to_owned()).expect("JSON");
        Descriptions::of_definition("src.x", &raw).expect("descriptions")
    }

    #[test]
    fn each_revision_gets_what_it_knows_and_the_rest_survives() {
        let all = descriptions(
            r#"{"name":"x" ,"title":"T","inputSchema": { "type" : "object" },"outputSchema":{"type":"array"},"execution":{"taskSupport":"optional"},"x-new":[1.0, 2]}"#,
        );
        let stateless = r#"{"name":"src.x","title":"T","inputSchema":{ "type" : "object" },"outputSchema":{"type":"array"},"x-new":[1.0, 2]}"#;
        assert_eq!(&*all.stateless, stateless);
        assert_eq!(&*all.structured, stateless.replace(r#""outputSchema":{"type":"array"},"#, ""));
        assert_eq!(&*all.oldest, r#"{"name":"src.x","inputSchema":{ "type" : "object" },"x-new":[1.0, 2]}"#);
        let objects = descriptions(r#"{"name":"x","outputSchema":{"type":"object"}}"#);
        assert_eq!(objects.stateless, objects.structured);
        assert_eq!(&*objects.oldest, r#"{"name":"src.x"}"#);
        let plain = descriptions(r#"{"name":"x","description":"d"}"#);
        assert!(Arc::ptr_eq(&plain.stateless, &plain.oldest), "said once");
    }
}
