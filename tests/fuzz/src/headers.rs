//! The coding of header values.

use trunkline_protocol::mcp::headers::{decode, encode};

/// Any text survives a header, and any header value is a text or refused.
pub fn target(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let encoded = encode(&text);
    assert!(encoded.bytes().all(|b| matches!(b, b' '..=b'~')), "{encoded:?} cannot stand in a header");
    assert_eq!(encoded.trim(), encoded, "a header loses the space at its ends");
    assert_eq!(decode(&encoded).as_deref(), Some(&*text));
    if let Some(decoded) = decode(&text) {
        let is_sentinel = text.starts_with("=?base64?") && text.ends_with("?=");
        assert!(is_sentinel || decoded == text, "what is no sentinel stands for itself");
        assert_eq!(decode(&encode(&decoded)), Some(decoded.clone()));
    }
}
