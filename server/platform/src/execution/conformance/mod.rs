//! A source that is built in: the fixtures by which the official conformance suite judges a server. Its tools, prompts and resources take the
//! ordinary path of an imported source, with its authentication, scopes, admission and record.
//!
//! One file per way of answering: `tools` answers at once or after a while, `asks` puts questions to the caller while it runs, `rounds` returns
//! them as required input, `tasks` is what runs in the background. What they are called and take stands in the JSON files beside them.

mod asks;
mod prompts;
mod questions;
mod reply;
mod request;
mod resources;
mod rounds;
mod tasks;
mod tools;

use serde_json::value::RawValue;
use trunkline_protocol::{
    jsonrpc::{ErrorObject, METHOD_NOT_FOUND},
    mcp::object::RawObject,
};

pub use tasks::{TaskUse, asks_first, task_use};

use crate::{
    Platform,
    catalog::definition::ItemKind,
    dialogue::{Dialogue, Reply, Retry},
    ids::TenantId,
};

/// Where an answer is given.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The clock, and the way to the other replicas.
    pub platform: &'a Platform,
    /// Whose source it is.
    pub tenant: TenantId,
}

/// Definitions of one kind, as an MCP server would list them.
pub fn definitions(kind: ItemKind) -> Vec<Box<RawValue>> {
    let listed = match kind {
        ItemKind::Tools => include_str!("tools.json"),
        ItemKind::Prompts => include_str!("prompts.json"),
        ItemKind::Resources => include_str!("resources.json"),
        ItemKind::ResourceTemplates => include_str!("templates.json"),
    };
    // A test reads all of them.
    serde_json::from_str(listed).unwrap_or_default()
}

/// Answers one request: `tools/call`, `prompts/get`, `resources/read` or `completion/complete`. Dropping it cancels it.
pub async fn answer(world: World<'_>, method: &str, params: &RawObject<'_>, retry: Option<&Retry>, dialogue: &Dialogue) -> Reply {
    match method {
        "tools/call" => call(world, params, retry, dialogue).await,
        "prompts/get" => prompts::get(params, retry, dialogue),
        "resources/read" => resources::read(world, params),
        "completion/complete" => prompts::complete(params),
        _ => Reply::Error(ErrorObject::new(METHOD_NOT_FOUND, "This source answers no such method.")),
    }
}

async fn call(world: World<'_>, params: &RawObject<'_>, retry: Option<&Retry>, dialogue: &Dialogue) -> Reply {
    let Some(call) = request::Call::read(params) else {
        return reply::invalid("name is not a text, or arguments is not an object");
    };
    if let Some(reply) = rounds::call(&call, retry, dialogue) {
        return reply;
    }
    if let Some(reply) = asks::call(&call, dialogue).await {
        return reply;
    }
    if let Some(reply) = tasks::call(&call, retry, dialogue).await {
        return reply;
    }
    match tools::call(world, &call, dialogue).await {
        Some(reply) => reply,
        None => reply::invalid(format!("there is no tool {:?}", call.name)),
    }
}

#[cfg(test)]
mod tests {
    use trunkline_protocol::mcp::mirrored::mirrored;

    use super::*;
    use crate::catalog::definition::{Definition, compile};

    #[test]
    fn definitions_are_read_as_any_source_s() {
        for (kind, count) in
            [(ItemKind::Tools, 37), (ItemKind::Prompts, 5), (ItemKind::Resources, 3), (ItemKind::ResourceTemplates, 1)]
        {
            let listed = definitions(kind);
            assert_eq!(listed.len(), count, "{kind:?}");
            let mut keys = std::collections::BTreeSet::new();
            for raw in listed {
                assert!(!raw.get().contains('\n'), "a definition stands on one line");
                let definition = Definition::read(kind, raw).expect("readable");
                assert!(!definition.description().is_empty(), "{}", definition.key);
                if let Some(schema) = definition.member("inputSchema") {
                    mirrored(schema).expect("sound headers");
                    compile(schema).expect("a sound schema");
                }
                assert!(keys.insert(definition.key), "a name is there once");
            }
        }
    }
}
