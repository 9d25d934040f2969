//! E-mail addresses, parsed once.

use crate::error::{Error, Result};

/// An e-mail address: lower-case ASCII, at most 254 characters, safe in a mail header. Does not print, since logs hold no addresses.
#[derive(Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Parses what a person typed; the error belongs to the field `email`.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim().to_ascii_lowercase();
        let wrong = |message: &str| Err(Error::invalid("email", message));
        if text.is_empty() {
            return wrong("Enter an e-mail address.");
        }
        if text.len() > 254 {
            return wrong("An e-mail address has at most 254 characters.");
        }
        // Quoted and international local parts exist; too few servers take them, and a typo is likelier.
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'(' | b')' | b',' | b';' | b'\\');
        if !text.bytes().all(plain) || text.parse::<lettre::Address>().is_err() {
            return wrong("This is not an e-mail address. One looks like name@example.com.");
        }
        Ok(Self(text))
    }

    /// The address: for the database, a page of its owner's team, or a mail.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[ADDRESS]")
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<EmailAddress> for String {
    fn from(address: EmailAddress) -> Self {
        address.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_lower_cased_and_trimmed() {
        assert_eq!(EmailAddress::parse(" Ada@Example.COM ").map(|a| a.0).ok().as_deref(), Some("ada@example.com"));
    }

    #[test]
    fn what_could_break_a_header_is_refused() {
        let long = format!("{}@example.com", "a".repeat(250));
        for text in [
            "",
            "ada",
            "ada@",
            "@example.com",
            "a b@example.com",
            "a@b.c\r\nBcc: x@y.z",
            "<a@b.c>",
            "a@b.c,d@e.f",
            &long,
            "ä@b.c",
        ] {
            assert!(EmailAddress::parse(text).is_err(), "{text}");
        }
    }
}
