//! An HTTP tool: the request is put together by position, so that an argument can never become another host, path or header.

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Map, Value};
use url::Url;

use super::Run;
use crate::{
    call::Outcome,
    catalog::{HttpMethod, HttpTool, Part, Place},
    egress::{Egress, OutboundAnswer, OutboundRequest},
    secret::{Plaintext, Rotating},
};

/// Everything but RFC 3986's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Runs it, with a person's token, if there is one. The answer as it came. Where the secret is being exchanged and the server refuses the new
/// value, it gets the one before: what it refused did not run.
pub(super) async fn exchange(
    egress: &Egress,
    tool: &HttpTool,
    arguments: &Map<String, Value>,
    secret: Option<&Rotating>,
    token: Option<&Plaintext>,
) -> Result<OutboundAnswer, Run> {
    let answer = once(egress, tool, arguments, secret.map(Rotating::value), token).await?;
    let previous = secret.and_then(|secret| Some((secret, secret.previous()?)));
    let Some((secret, previous)) = previous.filter(|_| answer.status == StatusCode::UNAUTHORIZED) else { return Ok(answer) };
    let answer = once(egress, tool, arguments, Some(previous), token).await?;
    if answer.status != StatusCode::UNAUTHORIZED {
        secret.note_refusal();
    }
    Ok(answer)
}

async fn once(
    egress: &Egress,
    tool: &HttpTool,
    arguments: &Map<String, Value>,
    secret: Option<&Plaintext>,
    token: Option<&Plaintext>,
) -> Result<OutboundAnswer, Run> {
    let mut request = build(tool, arguments, secret)?;
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal())).map_err(|_| broken())?;
        value.set_sensitive(true);
        request.headers.insert(AUTHORIZATION, value);
    }
    egress.send(request).await.map_err(Run::from)
}

/// The request for these arguments.
fn build(tool: &HttpTool, arguments: &Map<String, Value>, secret: Option<&Plaintext>) -> Result<OutboundRequest, Run> {
    let mut headers = HeaderMap::new();
    let mut body = Map::new();
    let mut query = Vec::new();
    for parameter in &tool.parameters {
        let Some(value) = arguments.get(&parameter.name).or(parameter.default.as_ref()) else { continue };
        match parameter.place {
            Place::Path => {}
            Place::Query => query.push((parameter.name.as_str(), scalar(&parameter.name, value)?)),
            Place::Header => {
                let name = HeaderName::from_bytes(parameter.name.as_bytes()).map_err(|_| broken())?;
                headers.insert(name, header_value(&parameter.name, value)?);
            }
            Place::Body => {
                body.insert(parameter.name.clone(), value.clone());
            }
        }
    }
    let url = url(tool, arguments, &query)?;
    let body = if tool.method == HttpMethod::Get || !tool.parameters.iter().any(|p| p.place == Place::Body) {
        None
    } else {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Some(Bytes::from(serde_json::to_vec(&body).map_err(|_| broken())?))
    };
    if let Some(name) = &tool.secret_header {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| broken())?;
        let secret = secret.ok_or_else(broken)?;
        let mut value = HeaderValue::from_str(secret.reveal()).map_err(|_| broken())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(OutboundRequest {
        method: method(tool.method),
        url,
        headers,
        body,
        deadline: std::time::Duration::from_millis(tool.timeout_ms.into()),
    })
}

/// The URL, with every path argument inside its own segment. The result is held against the template before anything is sent.
fn url(tool: &HttpTool, arguments: &Map<String, Value>, query: &[(&str, String)]) -> Result<Url, Run> {
    let mut text = tool.url.origin().to_owned();
    for segment in tool.url.segments() {
        text.push('/');
        let start = text.len();
        for part in segment {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Placeholder(name) => {
                    let default = tool
                        .parameters
                        .iter()
                        .find(|p| p.place == Place::Path && p.name == *name)
                        .and_then(|p| p.default.as_ref());
                    let value =
                        arguments.get(name).or(default).ok_or_else(|| Run::invalid_arguments(&format!("{name} is missing")))?;
                    text.extend(utf8_percent_encode(&scalar(name, value)?, SEGMENT));
                }
            }
        }
        let built = &text[start..];
        let has_placeholder = segment.iter().any(|part| matches!(part, Part::Placeholder(_)));
        if has_placeholder && matches!(built, "" | "." | "..") {
            return Err(Run::invalid_arguments("a part of the path would be empty, \".\" or \"..\""));
        }
    }
    let mut url = Url::parse(&text).map_err(|_| broken())?;
    url.set_query(tool.url.query());
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let segments = url.path_segments().map_or(0, Iterator::count);
    if url.origin().ascii_serialization() != tool.url.origin() || segments != tool.url.segments().len() {
        return Err(Run::invalid_arguments("they would change where the request goes"));
    }
    Ok(url)
}

/// A string, number or boolean as text. Control characters have no place in an address or a header.
fn scalar(name: &str, value: &Value) -> Result<String, Run> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        _ => return Err(Run::invalid_arguments(&format!("{name} must be a string, a number or a boolean"))),
    };
    Ok(text)
}

fn header_value(name: &str, value: &Value) -> Result<HeaderValue, Run> {
    let text = scalar(name, value)?;
    let visible = text.bytes().all(|b| (0x20..0x7f).contains(&b));
    let value = visible.then(|| HeaderValue::from_str(text.trim()).ok()).flatten();
    value.ok_or_else(|| Run::invalid_arguments(&format!("{name} goes into a header: expected visible ASCII characters")))
}

fn method(method: HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Delete => Method::DELETE,
    }
}

/// A definition that publishing should not have let through.
fn broken() -> Run {
    Run::failed(Outcome::Unknown, "tool_crashed", "The tool's definition is broken. Its owner has to publish it again.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::{AnswerShape, Parameter, ParameterType, UrlTemplate};

    fn tool(url: &str, parameters: &[(&str, Place)]) -> HttpTool {
        let parameters = parameters.iter().map(|&(name, place)| Parameter {
            name: name.into(),
            place,
            kind: ParameterType::String,
            required: true,
            description: String::new(),
            default: None,
        });
        HttpTool {
            method: HttpMethod::Post,
            url: UrlTemplate::parse(url).expect("template"),
            parameters: parameters.collect(),
            secret_header: None,
            timeout_ms: 1000,
            answer: AnswerShape::default(),
        }
    }

    fn arguments(value: &Value) -> Map<String, Value> {
        value.as_object().expect("object").clone()
    }

    #[test]
    fn path_argument_never_leaves_its_segment() {
        let tool = tool("https://api.example.com/users/{id}/files/x-{name}", &[("id", Place::Path), ("name", Place::Path)]);
        for id in [
            "../admin",
            "a/b",
            "a%2fb",
            "a?b#c",
            "//evil.example",
            "@evil.example",
            "a\\b",
            "ä b",
            "a;b",
            "%2e%2e",
            "\r\nX: y",
            "\u{0}",
        ] {
            let url = build(&tool, &arguments(&json!({ "id": id, "name": id })), None).expect("built").url;
            assert_eq!(url.origin().ascii_serialization(), "https://api.example.com");
            let segments: Vec<_> = url.path_segments().expect("path").collect();
            assert_eq!((segments.len(), segments[0], segments[2]), (4, "users", "files"), "{id}");
            assert_eq!(percent_encoding::percent_decode_str(segments[1]).decode_utf8().expect("utf-8"), id);
            assert!(url.query().is_none() && url.fragment().is_none());
        }
        for id in ["", ".", ".."] {
            assert!(build(&tool, &arguments(&json!({ "id": id, "name": "x" })), None).is_err(), "{id:?}");
        }
    }

    #[test]
    fn query_and_body_are_built_by_serialisers() {
        let tool = tool("https://a.example/x?fixed=1", &[("q", Place::Query), ("b", Place::Body)]);
        let request = build(&tool, &arguments(&json!({ "q": "a&b=c#d e", "b": "\"}" })), None).expect("built");
        assert_eq!(request.url.as_str(), "https://a.example/x?fixed=1&q=a%26b%3Dc%23d+e");
        assert_eq!(request.body.as_deref(), Some(&br#"{"b":"\"}"}"#[..]));
    }

    #[test]
    fn header_argument_cannot_add_headers() {
        let tool = tool("https://a.example/", &[("X-Trace", Place::Header)]);
        assert!(build(&tool, &arguments(&json!({ "X-Trace": "a\r\nEvil: 1" })), None).is_err());
        assert!(build(&tool, &arguments(&json!({ "X-Trace": "plain" })), None).is_ok());
    }
}
