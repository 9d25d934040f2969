//! Pages about sources and imported APIs.

use trunkline_platform::ids::{ApiId, ChangeId, DefinitionId, OperationId, SourceId};

/// Whether each person uses their own account at a source.
pub fn source_accounts(slug: &str, source: SourceId) -> String {
    format!("{}/accounts", self::source(slug, source))
}

/// The form for the origin of HTTP tools.
pub fn source_new_api(slug: &str) -> String {
    format!("{}/api", source_new(slug))
}

/// How a source is tried.
pub fn source_probe(slug: &str, source: SourceId) -> String {
    format!("/t/{slug}/sources/{source}/probe")
}

/// A tenant's sources.
pub fn sources(slug: &str) -> String {
    format!("/t/{slug}/sources")
}

/// The form for a new source.
pub fn source_new(slug: &str) -> String {
    format!("/t/{slug}/sources/new")
}

/// The form for importing an API.
pub fn api_import(slug: &str) -> String {
    format!("/t/{slug}/sources/import")
}

/// An imported API.
pub fn api(slug: &str, api: ApiId) -> String {
    format!("/t/{slug}/apis/{api}")
}

/// What is wanted of an operation of it otherwise than its description has it.
pub fn api_operation(slug: &str, api: ApiId, operation: OperationId) -> String {
    format!("{}/operations/{operation}", self::api(slug, api))
}

/// A document of it that waits to be approved.
pub fn api_change(slug: &str, api: ApiId) -> String {
    format!("{}/change", self::api(slug, api))
}

/// The form for reading the description of an API again.
pub fn api_again(slug: &str, api: ApiId) -> String {
    format!("{}/again", self::api(slug, api))
}

/// A source.
pub fn source(slug: &str, source: SourceId) -> String {
    format!("/t/{slug}/sources/{source}")
}

/// A definition of a source.
pub fn definition(slug: &str, source: SourceId, definition: DefinitionId) -> String {
    format!("/t/{slug}/sources/{source}/definitions/{definition}")
}

/// A change of a definition, to be decided.
pub fn change(slug: &str, source: SourceId, change: ChangeId) -> String {
    format!("/t/{slug}/sources/{source}/changes/{change}")
}
