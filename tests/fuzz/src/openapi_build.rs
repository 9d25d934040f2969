//! Requests of imported operations: whatever the arguments are, the request goes to the origin of its template, along its path, with its names.

use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use trunkline_platform::{
    catalog::{AnswerShape, BODY, Body, Carrier, Input, InputPlace, LAYOUT, Operation, OperationMethod, Piece, Proof, Style},
    execution::operation::build,
};

const ORIGIN: &str = "https://api.example.com:8443";
const LITERALS: &[&str] = &["v1", "users", ".json", "a:b", "~x", "%20", ";v=1", "x,y"];
const NAMES: &[&str] = &["id", "q", "filter", "a b", "x&y=z", "limit", "sort[by]", "ä", "#"];
/// What might leave its place.
const HOSTILE: &[&str] = &[
    "..",
    "/",
    "\\",
    "%2e",
    "%2f",
    "%5c",
    "\r\n",
    "\0",
    "?",
    "#",
    "@",
    ":",
    "//evil.example",
    "&",
    "=",
    ";",
    "[",
    "]",
    "ä",
    "\u{202e}",
    "..%2f",
    "https://evil.example/",
    " ",
    "+",
    ".",
    "\t",
    "%00",
    "%",
    ",",
    "\"",
    "|",
    "%252e",
    "\u{ff0e}",
    "{id}",
    "]=1&admin=1",
];

/// Bytes as decisions; zeros when there are no more.
struct Draw<'a>(&'a [u8]);

impl Draw<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    fn one<'l>(&mut self, of: &[&'l str]) -> &'l str {
        of[self.below(of.len())]
    }

    fn text(&mut self) -> String {
        (0..self.below(7)).fold(String::new(), |mut text, _| {
            match self.byte() {
                byte @ 0..128 => text.push_str(HOSTILE[usize::from(byte) % HOSTILE.len()]),
                byte => text.push(char::from(byte - 128)),
            }
            text
        })
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth < 2 { 8 } else { 5 }) {
            0 => Value::Null,
            1 => (self.byte() > 127).into(),
            2 => i64::from(self.byte()).into(),
            3 | 4 => self.text().into(),
            5 => (0..self.below(4)).map(|_| self.value(depth + 1)).collect(),
            _ => Value::Object((0..self.below(4)).map(|_| (self.text(), self.value(depth + 1))).collect()),
        }
    }

    fn input(&mut self, at: usize, place: InputPlace) -> Input {
        let style = match place {
            InputPlace::Path => [Style::Simple, Style::Label, Style::Matrix][self.below(3)],
            InputPlace::Query => [Style::Form, Style::SpaceDelimited, Style::PipeDelimited, Style::DeepObject][self.below(4)],
            InputPlace::Header => Style::Simple,
            InputPlace::Cookie => Style::Form,
        };
        let name = match place {
            InputPlace::Header => format!("x-{at}"),
            InputPlace::Cookie => format!("c{at}"),
            _ => format!("{}{at}", self.one(NAMES)),
        };
        let flags = self.byte();
        let (explode, allow_reserved, json) =
            (flags & 1 > 0, flags & 2 > 0 && place == InputPlace::Query, flags & 0b1100 == 0b1100);
        Input { argument: format!("a{at}"), name, place, style, explode, allow_reserved, json }
    }

    fn operation(&mut self) -> Operation {
        let mut inputs = Vec::new();
        let mut path = Vec::new();
        for _ in 0..=self.below(3) {
            let mut segment = Vec::new();
            for _ in 0..=self.below(2) {
                if self.byte() > 100 {
                    inputs.push(self.input(inputs.len(), InputPlace::Path));
                    segment.push(Piece::Input(inputs.len() - 1));
                } else {
                    segment.push(Piece::Literal(self.one(LITERALS).to_owned()));
                }
            }
            path.push(segment);
        }
        for _ in 0..self.below(5) {
            let place =
                [InputPlace::Query, InputPlace::Query, InputPlace::Query, InputPlace::Header, InputPlace::Cookie][self.below(5)];
            inputs.push(self.input(inputs.len(), place));
        }
        let query = if self.byte() > 127 { vec![("fixed".to_owned(), "a&b".to_owned())] } else { Vec::new() };
        let body = match self.below(5) {
            0 => Some(Body::Json { media_type: "application/json".to_owned() }),
            1 => Some(Body::Form { fields: BTreeMap::default() }),
            2 => Some(Body::Multipart { files: BTreeMap::default() }),
            3 => Some(Body::Text { media_type: "text/plain".to_owned() }),
            _ => None,
        };
        Operation {
            layout: LAYOUT,
            method: OperationMethod::Post,
            origin: ORIGIN.to_owned(),
            path,
            query,
            inputs,
            body,
            accept: "*/*".to_owned(),
            security: vec![Proof { scheme: "k".to_owned(), carrier: Carrier::Query { name: "key".to_owned() } }],
            answer: AnswerShape::default(),
            timeout_ms: 1000,
            defaults: serde_json::Map::new(),
            fixed: serde_json::Map::new(),
        }
    }
}

/// Input: decisions about a template and its arguments.
pub fn target(data: &[u8]) {
    let mut draw = Draw(data);
    let operation = draw.operation();
    if operation.check().is_err() {
        return;
    }
    let mut arguments: Map<String, Value> =
        operation.inputs.iter().map(|input| (input.argument.clone(), draw.value(0))).collect();
    arguments.insert(BODY.to_owned(), draw.value(0));
    let Ok(request) = build(&operation, &arguments) else { return };

    let url = &request.url;
    assert_eq!(url.origin().ascii_serialization(), ORIGIN, "{url}");
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none(), "{url}");
    let segments: Vec<&str> = url.path_segments().into_iter().flatten().collect();
    assert_eq!(segments.len(), operation.path.len(), "{url}");
    for (segment, template) in segments.iter().zip(&operation.path) {
        let fixed: Option<String> =
            template.iter().map(|piece| if let Piece::Literal(text) = piece { Some(text.as_str()) } else { None }).collect();
        assert!(fixed.is_none_or(|fixed| fixed == *segment), "{url}");
        let decoded = percent_decode_str(segment).decode_utf8_lossy();
        assert!(!matches!(&*decoded, "" | "." | ".."), "{url}");
    }
    names_are_the_templates(&operation, &arguments, url.query().unwrap_or_default());
    let allowed: BTreeSet<&str> =
        operation.inputs.iter().map(|input| input.name.as_str()).chain(["accept", "content-type", "cookie"]).collect();
    for (name, value) in &request.headers {
        assert!(allowed.contains(name.as_str()), "{name}");
        assert!(value.as_bytes().iter().all(|byte| (0x20..0x7f).contains(byte)), "{value:?}");
    }
    let cookies = request.headers.get("cookie").and_then(|value| value.to_str().ok()).map_or(0, |text| text.split(';').count());
    let given =
        operation.inputs.iter().filter(|input| input.place == InputPlace::Cookie && !arguments[&input.argument].is_null());
    assert_eq!(cookies, given.count());
}

fn names_are_the_templates(operation: &Operation, arguments: &Map<String, Value>, query: &str) {
    let inputs: Vec<&Input> = operation.inputs.iter().filter(|input| input.place == InputPlace::Query).collect();
    let mut fixed = 0;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else { panic!("{pair:?} is no pair") };
        assert!(!value.contains(['=', '#', '+', ';']), "{query}");
        let Ok(name) = percent_decode_str(name).decode_utf8() else { panic!("{name:?} is not UTF-8") };
        if name == "fixed" && !operation.query.is_empty() {
            fixed += 1;
            continue;
        }
        let is_its = |input: &&Input| {
            let of = &arguments[&input.argument];
            let is_deep =
                input.style == Style::DeepObject && name.strip_prefix(&input.name).is_some_and(|rest| rest.starts_with('['));
            let is_member = input.style == Style::Form && input.explode && of.get(&*name).is_some();
            input.name == name || is_deep || is_member
        };
        assert!(inputs.iter().any(is_its), "{name:?} in {query}");
        assert_ne!(name, "key", "a secret's name comes from the caller");
    }
    assert_eq!(fixed, operation.query.len(), "{query}");
}
