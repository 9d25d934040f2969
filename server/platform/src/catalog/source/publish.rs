//! Approved definitions of tools become tools and versions of ours: the same things that people publish, with the upstream's own words kept
//! beside them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::{names::Names, source::Source, store};
use crate::{
    audit::{Difference, Event},
    catalog::{
        Executor, MAX_TOOLS, Price, Tool, ToolName, ToolVersion,
        definition::{Definition, ItemKind},
        store::{self as tools, Standing},
    },
    db::TenantTx,
    error::{Error, Result},
    ids::{DefinitionId, ToolId, ToolVersionId, UserId},
};

/// A definition that is served from now on.
pub(super) struct Publication<'a> {
    pub(super) id: DefinitionId,
    pub(super) exposed_key: &'a str,
    /// The tool it has already.
    pub(super) tool: Option<ToolId>,
    pub(super) definition: &'a Definition,
}

/// Publishes those that are tools; says what was published. A version that would be the same again is not made.
pub(super) async fn publish(
    tx: &mut TenantTx,
    source: &Source,
    names: &Names,
    publications: &[Publication<'_>],
    by: Option<UserId>,
    now: DateTime<Utc>,
) -> Result<Vec<Event>> {
    let wanted: Vec<_> = publications.iter().filter(|one| one.definition.kind == ItemKind::Tools).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let with_tool = |one: &Publication<'_>| one.tool.or_else(|| names.adoptable(one.exposed_key));
    let ids: Vec<_> = wanted.iter().filter_map(|one| with_tool(one)).collect();
    let standing: HashMap<ToolId, Standing> =
        tools::standing(tx, &ids).await?.into_iter().map(|standing| (standing.tool, standing)).collect();
    let (mut created, mut versions, mut pairs, mut events) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let first_time: Vec<_> = wanted.iter().filter(|one| one.tool.is_none()).map(|one| one.id).collect();
    for one in wanted {
        let tool = with_tool(one).and_then(|id| standing.get(&id));
        let number = tool.map_or(1, |tool| tool.newest + 1);
        let version = version(source, one.definition, number, tool.map_or_else(Price::default, |tool| tool.price.into()), now)?;
        if let Some(tool) = tool {
            let is_same =
                tool.digest == version.digest && tool.effect == version.effect.as_str() && tool.source() == Some(source.id);
            if !is_same {
                let difference = Difference::default().of("effect", tool.effect.as_str(), version.effect.as_str());
                events.push(Event::ToolPublished(tool.tool, number, difference));
                versions.push((tool.tool, version));
            }
            pairs.push((one.id, tool.tool));
        } else {
            let tool = Tool::new(ToolId::new(now), ToolName::parse(one.exposed_key)?, version, now);
            events.push(Event::ToolPublished(tool.id, number, Difference::default()));
            pairs.push((one.id, tool.id));
            created.push(tool);
        }
    }
    let room = MAX_TOOLS - tools::count(tx).await?;
    if i64::try_from(created.len()).unwrap_or(i64::MAX) > room {
        return Err(Error::conflict(format!(
            "A tenant has at most {MAX_TOOLS} tools; {} more would be too many.",
            created.len()
        )));
    }
    tools::insert_many(tx, &created, &versions, by).await?;
    store::set_tools(tx, &pairs).await?;
    // A tool that was left behind by a source is disabled; one that somebody disabled stays so.
    store::set_tool_states(tx, &first_time, true).await?;
    Ok(events)
}

/// The version of a tool that this definition is.
fn version(source: &Source, definition: &Definition, number: i32, price: Price, now: DateTime<Utc>) -> Result<ToolVersion> {
    let title: String = definition.title().chars().take(80).collect();
    // Clients and our own tables want a description; a name says a little.
    let description = [definition.description(), &title, &definition.key].into_iter().find(|text| !text.is_empty());
    let schema =
        definition.raw_member("inputSchema").ok_or_else(|| Error::internal("a tool without a schema was let through"))?;
    Ok(ToolVersion {
        id: ToolVersionId::new(now),
        number,
        description: description.unwrap_or_default().to_owned(),
        title,
        effect: definition.effect(source.default_effect),
        input_schema: serde_json::value::RawValue::from_string(schema).map_err(Error::internal)?,
        executor: Executor::Upstream { source: source.id, name: definition.key.clone() },
        credential: None,
        price,
        digest: definition.digest,
        definition: Some(definition.raw.clone()),
        created_at: now,
    })
}
