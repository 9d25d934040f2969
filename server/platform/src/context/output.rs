//! What of a result a model reads.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::encoding::{Count, count};

/// What a call has given back.
#[derive(Debug)]
pub enum Output {
    /// One text.
    Text(String),
    /// A result as MCP has it: its texts are read, or where there is none, its structured content. Images and sound are not text; a result that has
    /// some is counted without them, as an estimate.
    Result(Box<str>),
}

#[derive(Deserialize)]
struct CallResult<'a> {
    #[serde(borrow, default)]
    content: Vec<Block<'a>>,
    #[serde(borrow, rename = "structuredContent")]
    structured: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    resource: Option<Resource<'a>>,
}

#[derive(Deserialize)]
struct Resource<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

impl Block<'_> {
    fn text(&self) -> Option<&str> {
        self.text.as_deref().or_else(|| self.resource.as_ref()?.text.as_deref())
    }
}

impl Output {
    /// Its size in memory.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Result(json) => json.len(),
        }
    }

    /// Its tokens; nothing if it is no result.
    pub(super) fn count(&self) -> Option<Count> {
        match self {
            Self::Text(text) => Some(count(&[text])),
            Self::Result(json) => count_result(json),
        }
    }
}

fn count_result(json: &str) -> Option<Count> {
    let result: CallResult<'_> = serde_json::from_str(json).ok()?;
    let texts: Vec<&str> = result.content.iter().filter_map(Block::text).collect();
    let has_more = texts.len() < result.content.len();
    let counted = match result.structured {
        Some(structured) if texts.is_empty() => count(&[structured.get()]),
        _ => count(&texts),
    };
    Some(Count { is_estimate: counted.is_estimate || has_more, ..counted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_counted_and_nothing_else() {
        let tokens = |json: &str| count_result(json).map(|count| (count.tokens, count.is_estimate));
        let text = count(&["hello world"]).tokens;
        assert_eq!(
            tokens(r#"{"content":[{"type":"text","text":"hello world"}],"structuredContent":{"a":1}}"#),
            Some((text, false))
        );
        assert_eq!(
            tokens(r#"{"content":[{"type":"text","text":"hello world"},{"type":"image","data":"AAAA"}]}"#),
            Some((text, true))
        );
        let resource = r#"{"content":[{"type":"resource","resource":{"uri":"x:y","text":"hello \u0077orld"}}]}"#;
        assert_eq!(tokens(resource), Some((text, false)));
        assert_eq!(
            tokens(r#"{"content":[],"structuredContent":"hello world"}"#),
            Some((count(&["\"hello world\""]).tokens, false))
        );
        assert_eq!(tokens(r#"{"content":[]}"#), Some((0, false)));
        assert_eq!([tokens("[1"), tokens(r#"{"content":7}"#), tokens(r#"{"content":[{"text":1}]}"#)], [None; 3]);
    }
}
