//! Where a call came from and what it was about, told so that nobody can read its content from it.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use crate::{hex, network::Network};

/// Evidence beside what a call was and cost. What is not known is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// HMAC-SHA256 of the arguments' canonical form (RFC 8785) under a key of the tenant: who has the arguments can show that they were these,
    /// nobody can guess them. None for arguments that cannot be read, which are nested beyond 128 levels.
    pub arguments: Option<Fingerprint>,
    /// SHA-256 of the tool's definition, byte for byte as the newest revision's list has it.
    pub definition: Option<Fingerprint>,
    /// The network that the caller's address belongs to: 24 bits of IPv4, 48 of IPv6.
    pub network: Option<Network>,
    /// Region of the replica that took it, as its setting says.
    pub region: Option<Cow<'static, str>>,
    /// First digit of the HTTP status with which upstream answered. None where upstream gave none, or an MCP server's error said how it ended.
    pub upstream_status: Option<i16>,
}

/// 256 bits that stand for something.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let bytes = hex::decode(&text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("expected 64 digits in base 16, lower case")
    }
}
