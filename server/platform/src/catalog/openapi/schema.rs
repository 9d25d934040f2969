//! Schemas of the document as JSON Schema 2020-12. A component is converted once; small ones are put in their place, others become `$defs`, so
//! that a schema never grows beyond the sum of what it refers to, and cycles stay what they are.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    rc::Rc,
};

use serde_json::{Map, Value, json};

use super::{document::Document, keywords};

/// Most values of one schema, with what was put in its place.
const MAX_PARTS: usize = 20_000;
/// Components up to that size are put in their place, if they refer to nothing.
const SMALL: usize = 400;
/// Components within components that are looked at for that.
const LOOK_AHEAD: usize = 8;
/// Largest schema without its `$defs`, in bytes.
const MAX_ROOT_BYTES: usize = 64 * 1024;

/// Which way the values go: what is read-only does not stand in a request, what is write-only in no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Answer,
}

impl Side {
    /// Most bytes of `$defs`: a model reads what it may send, and hardly ever what it gets.
    fn max_defs_bytes(self) -> usize {
        match self {
            Self::Request => 24 * 1024,
            Self::Answer => 12 * 1024,
        }
    }
}

/// Components that a schema refers to.
pub(super) type Refs = BTreeSet<String>;

/// A converted component.
#[derive(Debug)]
struct Component {
    value: Value,
    bytes: usize,
    parts: usize,
    refs: Refs,
}

/// Everything converted so far, of one side.
#[derive(Debug)]
pub(super) struct Schemas<'d> {
    document: &'d Document,
    side: Side,
    known: HashMap<String, Rc<Component>>,
    /// Names under `$defs`, by what they stand for.
    names: HashMap<String, String>,
    taken: HashSet<String>,
    /// Being converted.
    open: HashSet<String>,
    patterns: HashMap<String, bool>,
    parts: usize,
}

/// A finished schema.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) schema: Value,
    /// Was something left out, as it would have been too large?
    pub(super) is_cut: bool,
}

impl<'d> Schemas<'d> {
    pub(super) fn new(document: &'d Document, side: Side) -> Self {
        Self {
            document,
            side,
            known: HashMap::new(),
            names: HashMap::new(),
            taken: HashSet::new(),
            open: HashSet::new(),
            patterns: HashMap::new(),
            parts: 0,
        }
    }

    /// A schema of the document; its own reference, if it is one, is followed. Adds what else it refers to.
    pub(super) fn convert(&mut self, raw: &Value, refs: &mut Refs) -> Result<Value, String> {
        self.parts = 0;
        let mut own = Refs::new();
        let value = self.any(raw, &mut own, 0)?;
        let followed = match own.first().filter(|pointer| own.len() == 1 && value == reference(&self.names[*pointer])) {
            Some(pointer) => self.component(&pointer.clone(), 0)?,
            None => None,
        };
        let Some(component) = followed else {
            refs.extend(own);
            return Ok(value);
        };
        refs.extend(component.refs.iter().cloned());
        Ok(component.value.clone())
    }

    /// The schema with the `$defs` that it needs, nearest first, as far as there is room.
    pub(super) fn finish(&mut self, mut root: Value, refs: Refs) -> Result<Finished, String> {
        let bytes = size(&root);
        if bytes > MAX_ROOT_BYTES {
            return Err(format!("its schema has {bytes} bytes; at most {MAX_ROOT_BYTES} are taken"));
        }
        let mut room = self.side.max_defs_bytes();
        let (mut defs, mut is_cut) = (Map::new(), false);
        let mut seen: HashSet<String> = refs.iter().cloned().collect();
        let mut waiting: VecDeque<String> = refs.into_iter().collect();
        while let Some(pointer) = waiting.pop_front() {
            let component = self.component(&pointer, 0)?;
            let name = self.names[&pointer].clone();
            let value = if let Some(component) = component.filter(|component| component.bytes <= room) {
                room -= component.bytes;
                waiting.extend(component.refs.iter().filter(|next| seen.insert((*next).clone())).cloned());
                component.value.clone()
            } else {
                is_cut = true;
                json!({ "description": "Too large to be described here; see the documentation of the API." })
            };
            defs.insert(name, value);
        }
        if let (Some(root), false) = (root.as_object_mut(), defs.is_empty()) {
            root.insert("$defs".to_owned(), Value::Object(defs));
        }
        Ok(Finished { schema: root, is_cut })
    }

    /// `None`: it is being converted, or too deep inside of others to look at now.
    fn component(&mut self, pointer: &str, depth: usize) -> Result<Option<Rc<Component>>, String> {
        if let Some(known) = self.known.get(pointer) {
            return Ok(Some(Rc::clone(known)));
        }
        if depth > LOOK_AHEAD || !self.open.insert(pointer.to_owned()) {
            return Ok(None);
        }
        let outer = std::mem::take(&mut self.parts);
        let mut refs = Refs::new();
        let raw = self.document.root.pointer(pointer).ok_or("a `$ref` leads nowhere")?;
        let value = self.any(raw, &mut refs, depth);
        let parts = std::mem::replace(&mut self.parts, outer);
        self.open.remove(pointer);
        let value = value?;
        let component = Rc::new(Component { bytes: size(&value), value, parts, refs });
        self.known.insert(pointer.to_owned(), Rc::clone(&component));
        Ok(Some(component))
    }

    fn any(&mut self, raw: &Value, refs: &mut Refs, depth: usize) -> Result<Value, String> {
        self.count(1)?;
        match raw {
            Value::Object(members) if members.get("$ref").is_some_and(Value::is_string) => {
                self.reference(raw, members, refs, depth)
            }
            Value::Object(members) => self.object(members, refs, depth),
            Value::Bool(_) => Ok(raw.clone()),
            // Not a schema; anything fits.
            _ => Ok(json!({})),
        }
    }

    fn reference(&mut self, raw: &Value, members: &Map<String, Value>, refs: &mut Refs, depth: usize) -> Result<Value, String> {
        let target = self.document.target(raw)?.ok_or("a `$ref` leads nowhere")?;
        self.name(&target.pointer);
        let component = self.component(&target.pointer, depth + 1)?;
        let mut value =
            if let Some(component) = component.filter(|component| component.refs.is_empty() && component.bytes <= SMALL) {
                self.count(component.parts)?;
                component.value.clone()
            } else {
                let value = reference(&self.names[&target.pointer]);
                refs.insert(target.pointer);
                value
            };
        // Beside a reference, a description is what is said most often, also where the version of OpenAPI ignores it.
        if let (Some(value), Some(Value::String(text))) = (value.as_object_mut(), members.get("description"))
            && let Some(text) = keywords::description(text)
        {
            value.insert("description".to_owned(), text.into());
        }
        Ok(value)
    }

    fn object(&mut self, raw: &Map<String, Value>, refs: &mut Refs, depth: usize) -> Result<Value, String> {
        let mut schema = keywords::simple(raw, self.document.is_old);
        if let Some(Value::String(pattern)) = raw.get("pattern")
            && self.is_usable(pattern)
        {
            schema.insert("pattern".to_owned(), pattern.as_str().into());
        }
        for key in ["items", "not", "contains", "propertyNames", "additionalProperties"] {
            match raw.get(key) {
                Some(one @ (Value::Object(_) | Value::Bool(_))) => {
                    schema.insert(key.to_owned(), self.any(one, refs, depth)?);
                }
                Some(Value::Array(each)) if key == "items" => {
                    schema.insert("prefixItems".to_owned(), self.each(each, refs, depth)?);
                }
                _ => {}
            }
        }
        // One of several: descriptions often let two of them fit the same value, and the API decides in the end.
        for (key, as_key) in [("allOf", "allOf"), ("anyOf", "anyOf"), ("oneOf", "anyOf"), ("prefixItems", "prefixItems")] {
            if let Some(Value::Array(each)) = raw.get(key).filter(|each| each.as_array().is_some_and(|each| !each.is_empty())) {
                let each = self.each(each, refs, depth)?;
                match schema.get_mut(as_key).and_then(Value::as_array_mut) {
                    Some(before) => before.extend(each.as_array().into_iter().flatten().cloned()),
                    None => drop(schema.insert(as_key.to_owned(), each)),
                }
            }
        }
        if let Some(Value::Object(members)) = raw.get("patternProperties") {
            let mut converted = Map::new();
            for (pattern, one) in members {
                if self.is_usable(pattern) {
                    converted.insert(pattern.clone(), self.any(one, refs, depth)?);
                }
            }
            schema.insert("patternProperties".to_owned(), Value::Object(converted));
        }
        if let Some(Value::Object(members)) = raw.get("properties") {
            self.properties(raw, members, &mut schema, refs, depth)?;
        }
        Ok(keywords::nullable(raw, schema, self.document.is_old))
    }

    fn properties(
        &mut self,
        raw: &Map<String, Value>,
        members: &Map<String, Value>,
        schema: &mut Map<String, Value>,
        refs: &mut Refs,
        depth: usize,
    ) -> Result<(), String> {
        let hidden = if self.side == Side::Request { "readOnly" } else { "writeOnly" };
        let mut converted = Map::new();
        for (name, one) in members {
            let target = self.document.resolve(one)?;
            if [one, target].iter().any(|one| one.get(hidden) == Some(&Value::Bool(true))) {
                if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
                    required.retain(|other| other.as_str() != Some(name));
                }
                continue;
            }
            converted.insert(name.clone(), self.any(one, refs, depth)?);
        }
        schema.insert("properties".to_owned(), Value::Object(converted));
        if !raw.contains_key("type") {
            schema.insert("type".to_owned(), "object".into());
        }
        Ok(())
    }

    fn each(&mut self, each: &[Value], refs: &mut Refs, depth: usize) -> Result<Value, String> {
        each.iter().map(|one| self.any(one, refs, depth)).collect()
    }

    fn count(&mut self, parts: usize) -> Result<(), String> {
        self.parts += parts;
        if self.parts > MAX_PARTS { Err(format!("a schema has more than {MAX_PARTS} parts")) } else { Ok(()) }
    }

    /// Can it be tried in linear time? Others are left out: the API tries them itself.
    fn is_usable(&mut self, pattern: &str) -> bool {
        if let Some(usable) = self.patterns.get(pattern) {
            return *usable;
        }
        let usable = pattern.len() <= 1000 && crate::catalog::definition::compile(&json!({ "pattern": pattern })).is_ok();
        self.patterns.insert(pattern.to_owned(), usable);
        usable
    }

    /// Gives a component its name under `$defs`.
    fn name(&mut self, pointer: &str) {
        if self.names.contains_key(pointer) {
            return;
        }
        let last = pointer.rsplit('/').next().unwrap_or_default();
        let plain: String = last
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' })
            .take(60)
            .collect();
        let mut name = plain.clone();
        let mut number = 2;
        while !self.taken.insert(name.clone()) {
            name = format!("{plain}_{number}");
            number += 1;
        }
        self.names.insert(pointer.to_owned(), name);
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn size(value: &Value) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // A value always has a text.
    let _ = serde_json::to_writer(&mut counter, value);
    counter.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(components: &Value, schema: &Value, side: Side) -> Finished {
        let root = json!({ "openapi": "3.0.0", "components": { "schemas": components } });
        let document = Document::parse(root.to_string().as_bytes()).expect("document");
        let mut schemas = Schemas::new(&document, side);
        let mut refs = Refs::new();
        let root = schemas.convert(schema, &mut refs).expect("converted");
        let finished = schemas.finish(root, refs).expect("finished");
        crate::catalog::definition::compile(&finished.schema).expect("compiles");
        finished
    }

    #[test]
    fn cycles_become_definitions_and_small_ones_stand_in_their_place() {
        let components = json!({
            "Node": { "type": "object", "properties": { "next": { "$ref": "#/components/schemas/Node" }, "kind": { "$ref": "#/components/schemas/Kind" } } },
            "Kind": { "enum": ["a", "b"] },
        });
        let schema = finished(&components, &json!({ "$ref": "#/components/schemas/Node" }), Side::Request).schema;
        assert_eq!(schema["properties"]["kind"], json!({ "enum": ["a", "b"] }));
        assert_eq!(schema["properties"]["next"], json!({ "$ref": "#/$defs/Node" }));
        assert_eq!(schema["$defs"]["Node"]["properties"]["next"], json!({ "$ref": "#/$defs/Node" }));
    }

    #[test]
    fn dialect_of_3_0_becomes_json_schema() {
        let schema = finished(
            &json!({}),
            &json!({ "type": "object", "required": ["id", "a"], "properties": {
                "id": { "type": "integer", "readOnly": true },
                "a": { "type": "string", "nullable": true, "enum": ["x"] },
                "b": { "type": "number", "minimum": 1, "exclusiveMinimum": true, "example": 2, "pattern": "(?=x)" },
                "c": { "type": "file" },
            } }),
            Side::Request,
        );
        let expected = json!({ "type": "object", "required": ["a"], "properties": {
            "a": { "type": ["string", "null"], "enum": ["x", null] },
            "b": { "type": "number", "exclusiveMinimum": 1 },
            "c": {},
        } });
        assert_eq!(schema.schema, expected);
    }

    #[test]
    fn what_refers_to_everything_does_not_grow() {
        let all: Map<String, Value> = (0..300)
            .map(|i| {
                let properties: Map<String, Value> =
                    (0..300).map(|j| (format!("p{j}"), json!({ "$ref": format!("#/components/schemas/C{j}") }))).collect();
                (format!("C{i}"), json!({ "type": "object", "properties": properties }))
            })
            .collect();
        let finished = finished(&Value::Object(all), &json!({ "$ref": "#/components/schemas/C0" }), Side::Answer);
        assert!(finished.is_cut && size(&finished.schema) < 100_000, "{}", size(&finished.schema));
    }

    #[test]
    fn million_references_are_refused() {
        let many: Map<String, Value> =
            (0..30_000).map(|i| (format!("p{i}"), json!({ "$ref": "#/components/schemas/A" }))).collect();
        let root = json!({ "openapi": "3.0.0", "components": { "schemas": { "A": {}, "Many": { "properties": many } } } });
        let document = Document::parse(root.to_string().as_bytes()).expect("document");
        let converted =
            Schemas::new(&document, Side::Request).convert(&json!({ "$ref": "#/components/schemas/Many" }), &mut Refs::new());
        assert!(converted.expect_err("refused").contains("more than 20000 parts"));
    }
}
