//! Paths of a document as segments: literals encoded, parameters by number.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use url::form_urlencoded;

use crate::catalog::{Input, InputPlace, Piece, Style};

/// What a segment of a path cannot have as it is (RFC 3986, 3.3). `%` stays where two digits follow.
const LITERAL: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Segments of a path, and what stands in its query for good.
pub(super) type Parsed = (Vec<Vec<Piece>>, Vec<(String, String)>);

pub(super) fn parse(path: &str, inputs: &mut [Input]) -> Result<Parsed, String> {
    if !path.starts_with('/') {
        return Err("its path does not begin with /".to_owned());
    }
    if path.len() > 2000 || path.chars().any(char::is_control) {
        return Err("its path is longer than 2000 bytes or has control characters".to_owned());
    }
    // A fragment tells operations of one address apart in some documents; it is never sent.
    let path = path.split('#').next().unwrap_or_default();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query = fixed(query, inputs)?;
    let inputs = &*inputs;
    let segments = path[1..].split('/').map(|text| segment(text, inputs)).collect::<Result<Vec<_>, _>>()?;
    let used = |at: usize| segments.iter().flatten().any(|piece| *piece == Piece::Input(at));
    match inputs.iter().enumerate().find(|(at, input)| input.place == InputPlace::Path && !used(*at)) {
        Some((_, input)) => Err(format!("its parameter {} goes into the path, which has no {{{}}}", input.name, input.name)),
        None => Ok((segments, query)),
    }
}

/// What stands in the query for good. `name={parameter}` is a parameter of the query, wherever the document says that it goes.
fn fixed(query: &str, inputs: &mut [Input]) -> Result<Vec<(String, String)>, String> {
    let mut fixed = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
        let Some(parameter) = value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
            if name.contains(['{', '}']) || value.contains(['{', '}']) {
                return Err("its path has a {parameter} behind a question mark; declare it with `in: query`".to_owned());
            }
            fixed.push((name, value));
            continue;
        };
        if let Some(input) = inputs.iter_mut().find(|input| input.place == InputPlace::Path && input.name == parameter) {
            (input.name, input.place, input.style, input.explode) = (name, InputPlace::Query, Style::Form, true);
        } else if !inputs.iter().any(|input| input.place == InputPlace::Query && input.name == name) {
            return Err(format!("its path names {{{parameter}}}, which is no parameter of it"));
        }
    }
    Ok(fixed)
}

fn segment(text: &str, inputs: &[Input]) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let (literal, tail) = rest.split_at(open);
        let (name, after) = tail[1..].split_once('}').ok_or_else(|| format!("a brace in its path is not closed: {text}"))?;
        push_literal(&mut pieces, literal)?;
        // `{+name}` and `{name*}` are of RFC 6570, which OpenAPI does not have; the name is meant.
        let name = name.trim_start_matches('+').trim_end_matches('*');
        let at = inputs.iter().position(|input| input.place == InputPlace::Path && input.name == name);
        pieces.push(Piece::Input(at.ok_or_else(|| format!("its path names {{{name}}}, which is no parameter of it"))?));
        rest = after;
    }
    push_literal(&mut pieces, rest)?;
    if pieces.is_empty() {
        pieces.push(Piece::Literal(String::new()));
    }
    let decoded = percent_decode_str(text).decode_utf8_lossy();
    if matches!(&*decoded, "." | "..") || decoded.contains(['/', '\\']) {
        return Err("its path has a segment that is . or .. or hides a separator".to_owned());
    }
    Ok(pieces)
}

fn push_literal(pieces: &mut Vec<Piece>, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let is_coded = |at: usize| text.as_bytes().get(at + 1..at + 3).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit));
    if text.bytes().enumerate().any(|(at, byte)| byte == b'%' && !is_coded(at)) {
        return Err("its path has a % that codes nothing".to_owned());
    }
    pieces.push(Piece::Literal(utf8_percent_encode(text, LITERAL).to_string()));
    Ok(())
}
