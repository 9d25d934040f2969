//! What an operator pins from outside: links, and the digests of the documents that they must lead to. What stands there wins over the database,
//! so whoever may write that cannot change what is verified.

use std::{collections::BTreeMap, fmt, str::FromStr};

use sha2::{Digest as _, Sha256};
use url::Url;

use crate::{
    error::{Error, Result},
    hex,
};

/// SHA-256 of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    /// Of these bytes.
    pub fn of(document: &[u8]) -> Self {
        Self(Sha256::digest(document).into())
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a SHA-256 as 64 digits of 0-9 a-f, found {0}")]
pub struct NoPin(String);

impl FromStr for Pin {
    type Err = NoPin;

    fn from_str(text: &str) -> std::result::Result<Self, NoPin> {
        let wrong = || match text.chars().count() {
            64 => NoPin("other characters".to_owned()),
            length => NoPin(format!("{length} characters")),
        };
        let bytes = hex::decode(&text.to_ascii_lowercase()).ok_or_else(wrong)?;
        bytes.try_into().map(Self).map_err(|_| wrong())
    }
}

/// Documents that an operator pins. Empty: none, and every link may be read.
#[derive(Debug, Clone, Default)]
pub struct Manifest {
    only: bool,
    documents: BTreeMap<Url, Pin>,
}

impl Manifest {
    /// These documents; `only`: no link but theirs may be read.
    pub fn new(only: bool, documents: BTreeMap<Url, Pin>) -> Self {
        Self { only, documents }
    }

    /// How many it pins.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Does it pin none?
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// May no link be read but those that it pins?
    pub fn is_exclusive(&self) -> bool {
        self.only
    }

    /// What it pins that link at.
    pub fn pin(&self, link: &Url) -> Option<Pin> {
        self.documents.get(link).copied()
    }

    /// Refuses a document that was read from a link, or is to stand for it, and is not the one that is pinned there. What has no link is nobody's
    /// but of who uploads it.
    pub fn check(&self, link: Option<&Url>, found: Pin) -> Result<()> {
        match link {
            Some(link) => self.objection(link, found).map_or(Ok(()), |why| Err(Error::invalid("link", why))),
            None => Ok(()),
        }
    }

    /// Why that document may not stand for the link; `None` if it may.
    pub fn objection(&self, link: &Url, found: Pin) -> Option<String> {
        match self.pin(link) {
            Some(pin) if pin == found => None,
            Some(pin) => Some(format!(
                "the installation's manifest pins {link} at SHA-256 {pin}, and this document has {found}; ask the operator, if it is the right one"
            )),
            None => self.refusal(link),
        }
    }

    /// Why that link may not be read at all; `None` if it may.
    pub fn refusal(&self, link: &Url) -> Option<String> {
        (self.only && self.pin(link).is_none()).then(|| {
            format!("the installation's manifest names the only links that may be read, and {link} is not among them; ask the operator to pin it")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_64_digits() {
        let pin = Pin::of(b"abc");
        assert_eq!(pin.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(pin.to_string().to_uppercase().parse(), Ok(pin));
        for wrong in ["", "ba78", &"g".repeat(64), &"ab".repeat(33)] {
            assert!(wrong.parse::<Pin>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_pinned_wins_and_the_rest_is_allowed_unless_told_otherwise() {
        let link = |host: &str| Url::parse(&format!("https://{host}/openapi.json")).expect("a URL");
        let (right, wrong) = (Pin::of(b"right"), Pin::of(b"wrong"));
        for only in [false, true] {
            let manifest = Manifest::new(only, BTreeMap::from([(link("pinned.example"), right)]));
            assert_eq!(manifest.objection(&link("pinned.example"), right), None);
            let why = manifest.objection(&link("pinned.example"), wrong).expect("refused");
            assert!(why.contains(&right.to_string()) && why.contains(&wrong.to_string()), "{why}");
            assert_eq!(manifest.objection(&link("other.example"), wrong).is_some(), only);
            assert_eq!(manifest.refusal(&link("other.example")).is_some(), only);
            assert_eq!(manifest.refusal(&link("pinned.example")), None);
            assert!(manifest.check(None, wrong).is_ok());
        }
    }
}
