//! Secrets as types: `Plaintext` is shown once, `Digest` is stored, sealed values are encrypted at rest. None of them prints.

mod master;
mod rotating;
mod seal;

use std::fmt;

use sha2::Digest as _;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

pub use master::{DerivedKeys, MasterKey};
pub use rotating::{Refusals, Refused, Rotating};
pub use seal::{DataKey, DataKeys, SealError};

/// A secret in the clear. Wiped from memory when dropped.
#[derive(Clone)]
pub struct Plaintext(Zeroizing<String>);

impl Plaintext {
    /// Takes ownership of a secret.
    pub fn new(secret: String) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// A fresh secret of 256 bits, URL-safe, with that prefix.
    pub fn generate(prefix: &str) -> Self {
        Self::new(format!("{prefix}{}", crate::random::base62(43)))
    }

    /// The secret itself: for the one answer that shows it, or the one request that carries it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.reveal())
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// SHA-256 of a random secret. Enough for secrets of 128 bits and more; passwords use argon2.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of that secret.
    pub fn of(secret: &str) -> Self {
        Self(sha2::Sha256::digest(secret.as_bytes()).into())
    }

    /// A digest read from the database, if it has 32 bytes.
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same, as a key of a map: what it is the digest of cannot be had from it.
    pub(crate) fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Equal? In constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[DIGEST]")
    }
}

/// Length of a checksum.
pub(crate) const CHECKSUM: usize = 6;

/// CRC-32 in base 62, six characters: with it, typing errors in a secret cost no look-up.
pub(crate) fn checksum(body: &str) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut sum = crc32fast::hash(body.as_bytes());
    let mut text = [b'0'; CHECKSUM];
    for slot in text.iter_mut().rev() {
        *slot = ALPHABET[(sum % 62) as usize];
        sum /= 62;
    }
    text.iter().map(|&b| char::from(b)).collect()
}
