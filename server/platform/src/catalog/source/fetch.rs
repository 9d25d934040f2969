//! What a source has at the moment.

use serde_json::value::RawValue;

use super::Target;
use crate::{Platform, catalog::definition::ItemKind};

/// All lists of a source, or why one of them cannot be read: in words of ours.
pub(super) async fn lists(platform: &Platform, target: Option<&Target>) -> Result<Vec<(ItemKind, Vec<Box<RawValue>>)>, String> {
    let mut lists = Vec::new();
    for kind in ItemKind::ALL {
        let items = match target {
            Some(target) => platform.upstreams.list(&platform.egress, target, kind).await.map_err(|error| error.to_string())?,
            None => (platform.conformance)(kind),
        };
        lists.push((kind, items));
    }
    Ok(lists)
}
