//! Objects whose members stay as they were written.

use serde_json::Value;
use trunkline_protocol::mcp::object::RawObject;

/// What is parsed and written is the same object: keys, order, and the bytes of every value.
pub fn target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(mut object) = RawObject::parse(text) else { return };
    let json = object.to_json();
    let again = RawObject::parse(&json).map(|again| members(&again));
    assert_eq!(again.ok(), Some(members(&object)));
    assert!(object.iter().all(|(_, value)| text.contains(value)), "a value was changed");
    if let Ok(read) = serde_json::from_str::<Value>(text) {
        assert_eq!(serde_json::from_str::<Value>(&json).ok(), Some(read));
    }
    let before = members(&object);
    object.set("x-new", "[1.50]");
    assert_eq!(object.get("x-new"), Some("[1.50]"));
    let others = |all: &[(String, String)]| all.iter().filter(|(key, _)| key != "x-new").cloned().collect::<Vec<_>>();
    assert_eq!(others(&members(&object)), others(&before));
    assert_eq!(object.remove("x-new").as_deref(), Some("[1.50]"));
    assert!(!object.has("x-new"));
}

fn members(object: &RawObject<'_>) -> Vec<(String, String)> {
    object.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
