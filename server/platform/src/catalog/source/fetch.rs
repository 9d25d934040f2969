//! What a source has at the moment.

use reqwest::{
    Method,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Target;
use crate::{Platform, catalog::definition::ItemKind, egress::OutboundRequest};

/// All lists of a source, or why one of them cannot be read: in words of ours.
pub(super) async fn lists(platform: &Platform, target: Option<&Target>) -> Result<Vec<(ItemKind, Vec<Box<RawValue>>)>, String> {
    let mut lists = Vec::new();
    for kind in ItemKind::ALL {
        let items = match target {
            Some(target) => list(platform, target, kind).await?,
            None => (platform.conformance)(kind),
        };
        lists.push((kind, items));
    }
    Ok(lists)
}

async fn list(platform: &Platform, target: &Target, kind: ItemKind) -> Result<Vec<Box<RawValue>>, String> {
    #[derive(Deserialize)]
    struct Answer {
        result: Option<std::collections::BTreeMap<String, Box<RawValue>>>,
    }
    let (method, member) = match kind {
        ItemKind::Tools => ("tools/list", "tools"),
        ItemKind::Prompts => ("prompts/list", "prompts"),
        ItemKind::Resources => ("resources/list", "resources"),
        ItemKind::ResourceTemplates => ("resources/templates/list", "resourceTemplates"),
    };
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some((name, secret)) = &target.header {
        let mut value = HeaderValue::from_str(secret.reveal()).map_err(|_| "its secret cannot be sent".to_owned())?;
        value.set_sensitive(true);
        headers.insert(name.clone(), value);
    }
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{}}}}"#);
    let request = OutboundRequest {
        method: Method::POST,
        url: target.url.clone(),
        headers,
        body: Some(body.into()),
        deadline: target.deadline,
    };
    let answer = platform.egress.send(request).await.map_err(|error| error.to_string())?;
    if !answer.status.is_success() {
        return Err(format!("the server answered with status {}", answer.status.as_u16()));
    }
    let answer: Answer =
        serde_json::from_slice(&answer.body).map_err(|_| "the server does not keep to the protocol".to_owned())?;
    let Some(mut result) = answer.result else { return Ok(Vec::new()) };
    let Some(items) = result.remove(member) else { return Ok(Vec::new()) };
    serde_json::from_str(items.get()).map_err(|_| "the server does not keep to the protocol".to_owned())
}
