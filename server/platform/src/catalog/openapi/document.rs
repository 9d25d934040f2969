//! The document as it came: JSON or YAML within limits, and where its references lead. Nothing outside of it is ever read.

use std::cell::Cell;

use percent_encoding::percent_decode_str;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::options::DuplicateKeyPolicy;

use super::Refusal;

/// Largest document, in bytes.
pub const MAX_BYTES: usize = 10 * 1024 * 1024;
/// Most values and most objects: together they bound what a document takes in memory, however it is written.
const MAX_VALUES: usize = 2_000_000;
const MAX_OBJECTS: usize = 500_000;
/// References that lead to references.
const MAX_HOPS: usize = 16;
/// Nesting of YAML; JSON's is bounded by its parser, at 128.
const MAX_DEPTH: usize = 128;

/// A parsed OpenAPI document of version 3.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) root: Value,
    /// Of 3.0, whose schemas are a dialect of their own.
    pub(super) is_old: bool,
}

/// What a reference leads to, and where that stands.
#[derive(Debug, Clone)]
pub(super) struct Target<'d> {
    pub(super) value: &'d Value,
    /// The last reference on the way, without `#`.
    pub(super) pointer: String,
}

impl Document {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > MAX_BYTES {
            return Err(Refusal::new(format!(
                "It has {} bytes. A description of an API has at most {MAX_BYTES} (10 MiB); leave out what is not needed.",
                bytes.len()
            )));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Refusal::new("It is not UTF-8 text. Expected JSON or YAML."))?;
        let text = text.trim_start_matches('\u{feff}');
        let root = if text.trim_start().starts_with(['{', '[']) { json(text) } else { yaml(text) }?;
        let is_old = version(&root)?;
        Ok(Self { root, is_old })
    }

    /// Follows references until something else comes.
    pub(super) fn resolve<'d>(&'d self, value: &'d Value) -> Result<&'d Value, String> {
        Ok(self.target(value)?.map_or(value, |target| target.value))
    }

    /// What a reference leads to; `None`: it is none.
    pub(super) fn target<'d>(&'d self, value: &'d Value) -> Result<Option<Target<'d>>, String> {
        let mut found: Option<Target<'d>> = None;
        for _ in 0..MAX_HOPS {
            let at = found.as_ref().map_or(value, |target| target.value);
            let Some(reference) = at.get("$ref").and_then(Value::as_str) else { return Ok(found) };
            found = Some(self.look_up(reference)?);
        }
        Err("a `$ref` leads in a circle".to_owned())
    }

    fn look_up(&self, reference: &str) -> Result<Target<'_>, String> {
        let shown = || reference.chars().take(120).collect::<String>();
        let fragment = reference
            .strip_prefix('#')
            .ok_or_else(|| format!("`$ref` to {} leads outside of the document; put what it needs into one file", shown()))?;
        let pointer = percent_decode_str(fragment).decode_utf8().map_err(|_| format!("`$ref` to {} is not UTF-8", shown()))?;
        let value = self.root.pointer(&pointer).ok_or_else(|| format!("`$ref` to {} leads nowhere", shown()))?;
        Ok(Target { value, pointer: pointer.into_owned() })
    }
}

/// Is it of 3.0? Says what else it is, if it is neither 3.0 nor 3.1.
fn version(root: &Value) -> Result<bool, Refusal> {
    if let Some(version) = root.get("swagger") {
        let version = version.as_str().map_or_else(|| version.to_string(), str::to_owned);
        return Err(Refusal::new(format!(
            "Swagger {version} is not OpenAPI 3: convert it with `npx swagger2openapi`, or on editor.swagger.io with Edit → Convert to OpenAPI 3."
        )));
    }
    let version = match root.get("openapi") {
        Some(Value::String(version)) => version.clone(),
        Some(Value::Number(version)) => version.to_string(),
        _ => {
            let text = "It is not an OpenAPI document: it has no `openapi` member such as \"3.1.0\" at its top.";
            return Err(Refusal::new(text));
        }
    };
    let is = |minor: &str| version == minor || version.strip_prefix(minor).is_some_and(|rest| rest.starts_with('.'));
    match () {
        () if is("3.0") => Ok(true),
        // 3.2 adds to 3.1 what is not needed here.
        () if is("3.1") || is("3.2") => Ok(false),
        () => Err(Refusal::new(format!("It is OpenAPI {version}. Expected 3.0 or 3.1."))),
    }
}

fn json(text: &str) -> Result<Value, Refusal> {
    let counted = Counted::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed = Seed(&counted).deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    parsed.map_err(|error| Refusal::new(format!("It is not JSON that can be read: {error}.")))
}

fn yaml(text: &str) -> Result<Value, Refusal> {
    let counted = Counted::default();
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 2 * MAX_VALUES + MAX_OBJECTS,
            max_nodes: MAX_VALUES,
            max_depth: MAX_DEPTH,
            max_documents: 1,
            max_aliases: 5_000,
            max_anchors: 5_000,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 200_000, max_replay_stack_depth: 16 },
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        strict_booleans: true,
        with_snippet: false,
    };
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        Seed(&counted).deserialize(deserializer)
    });
    read.map_err(|error| {
        let why: String = error.to_string().chars().take(300).collect();
        Refusal::new(format!("It is not YAML that can be read: {why}."))
    })
}

#[derive(Default)]
struct Counted {
    values: Cell<usize>,
    objects: Cell<usize>,
}

impl Counted {
    fn count<E: serde::de::Error>(&self, is_object: bool) -> Result<(), E> {
        self.values.set(self.values.get() + 1);
        self.objects.set(self.objects.get() + usize::from(is_object));
        if self.values.get() > MAX_VALUES || self.objects.get() > MAX_OBJECTS {
            return Err(E::custom(format!("more than {MAX_VALUES} values or {MAX_OBJECTS} objects")));
        }
        Ok(())
    }
}

/// Reads a value and counts.
struct Seed<'c>(&'c Counted);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.0.count(false).map(|()| value.into())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.0.count(false).map(|()| value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.0.count(false).map(|()| value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        self.0.count(false)?;
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.0.count(false).map(|()| value.into())
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        self.0.count(false).map(|()| value.into())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.0.count(false).map(|()| Value::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.0.count(false)?;
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(Seed(self.0))? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        self.0.count(true)?;
        let mut all = Map::new();
        // A key of YAML may be a number, such as a status.
        while let Some(key) = members.next_key_seed(Key)? {
            all.insert(key, members.next_value_seed(Seed(self.0))?);
        }
        Ok(Value::Object(all))
    }
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = String;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<String, E> {
        if value.len() > 4096 { Err(E::custom("a key is longer than 4096 bytes")) } else { Ok(value.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_yaml_say_the_same() {
        let json = Document::parse(br##"{"openapi":"3.0.3","paths":{"/a":{"get":{"responses":{"200":{"$ref":"#/x~1y/%7Bz%7D"}}}}},"x/y":{"{z}":{"ok":true}}}"##);
        let yaml = Document::parse(
            b"openapi: 3.0.3\npaths:\n  /a:\n    get:\n      responses:\n        200:\n          $ref: '#/x~1y/%7Bz%7D'\nx/y:\n  '{z}': {ok: true}\n",
        );
        let (json, yaml) = (json.expect("JSON"), yaml.expect("YAML"));
        assert_eq!(json.root, yaml.root);
        let reference = json.root.pointer("/paths/~1a/get/responses/200").expect("reference");
        assert_eq!(json.resolve(reference), Ok(&serde_json::json!({ "ok": true })));
    }

    #[test]
    fn yaml_words_stay_words() {
        let read = yaml("a: no\nb: 2021-01-01\nc: 1.10\nd: 'x'\ne: true\nf: ~\ng: 12\n").expect("YAML");
        assert_eq!(read, serde_json::json!({"a":"no","b":"2021-01-01","c":1.1,"d":"x","e":true,"f":null,"g":12}));
    }

    #[test]
    fn what_is_no_openapi_is_named() {
        let why = |text: &str| Document::parse(text.as_bytes()).expect_err("refused").to_string();
        assert!(why(r#"{"swagger":"2.0"}"#).contains("Swagger 2.0 is not OpenAPI 3: convert it with"));
        assert!(why("swagger: '2.0'").contains("Swagger 2.0 is not OpenAPI 3"));
        assert!(why(r#"{"openapi":"4.0.0"}"#).contains("Expected 3.0 or 3.1"));
        assert!(why("hello").contains("not an OpenAPI document"));
        assert!(why("{").contains("not JSON"));
        assert!(why("a: [").contains("not YAML"));
        assert!(Document::parse(b"\xff\xfe").expect_err("refused").to_string().contains("UTF-8"));
        assert!(Document::parse(&vec![b' '; MAX_BYTES + 1]).expect_err("refused").to_string().contains("10485761 bytes"));
    }

    #[test]
    fn bombs_are_refused_in_no_time() {
        let started = std::time::Instant::now();
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..12 {
            let alias = format!("*a{},", i - 1).repeat(10);
            bomb = format!("{bomb}a{i}: &a{i} [{}]\n", alias.trim_end_matches(','));
        }
        assert!(Document::parse(bomb.as_bytes()).is_err());
        assert!(Document::parse(format!("{{\"a\":[{}", "{},".repeat(600_000)).as_bytes()).is_err());
        assert!(Document::parse("[".repeat(100_000).as_bytes()).is_err());
        assert!(Document::parse(format!("a: {}", "[".repeat(100_000)).as_bytes()).is_err());
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }
}
