//! Arguments that are mirrored into headers.

use std::collections::BTreeSet;

use serde_json::Value;
use trunkline_protocol::mcp::mirrored::{PREFIX, mirrored};

/// Input: an array of a schema and arguments. What a client writes into headers is what a server finds in them.
pub fn target(data: &[u8]) {
    let Ok([schema, Value::Object(arguments)]) = serde_json::from_slice::<[Value; 2]>(data) else { return };
    let Ok(found) = mirrored(&schema) else { return };
    let names: BTreeSet<_> = found.iter().map(|mirrored| &mirrored.header).collect();
    assert_eq!(names.len(), found.len(), "one header for two arguments");
    for mirrored in &found {
        assert!(mirrored.header.starts_with(PREFIX) && mirrored.header.bytes().all(|b| b.is_ascii_graphic() && b != b':'));
        let value = mirrored.value(&arguments);
        assert!(value.as_deref().is_none_or(|value| value.bytes().all(|b| matches!(b, b' '..=b'~'))), "{value:?}");
        if let Some(value) = value {
            assert!(mirrored.agrees(Some(&value), &arguments), "{value} does not agree with its own argument");
            assert!(!mirrored.agrees(None, &arguments), "a missing header agrees with an argument");
        }
    }
}
