//! Secrets as types: `Plaintext` is shown once, `Digest` is stored, `Sealed` is encrypted at rest. None of them prints.
//!
//! A sealed value is `version ‖ key id ‖ nonce ‖ ciphertext` of XChaCha20-Poly1305 under the tenant's data key, bound by its associated data to
//! the place it belongs to. The data key is wrapped the same way under the installation's key.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use hmac::Mac as _;
use sha2::Digest as _;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

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

/// Why a sealed value cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Written by a version of the format that this binary does not know, or cut short.
    #[error("the sealed value has an unknown format")]
    Format,
    /// Sealed under another key.
    #[error("the value is sealed under another key")]
    OtherKey,
    /// Changed, or moved to another place.
    #[error("the sealed value does not belong here")]
    Integrity,
}

const VERSION: u8 = 1;
/// First bytes of the SHA-256 of the key, so that a value sealed under an older key can be told.
const KEY_ID: usize = 8;
const NONCE: usize = 24;

/// A symmetric key of 256 bits. Wiped from memory when dropped.
#[derive(Clone)]
pub struct DataKey(Zeroizing<[u8; 32]>);

impl DataKey {
    /// A fresh key.
    pub fn generate() -> Self {
        Self(Zeroizing::new(crate::random::bytes()))
    }

    fn id(&self) -> [u8; KEY_ID] {
        let mut id = [0; KEY_ID];
        let digest = sha2::Sha256::digest([&b"trunkline data key id"[..], &self.0[..]].concat());
        id.copy_from_slice(&digest[..KEY_ID]);
        id
    }

    /// Seals `plaintext` for the place named by `place`; it opens there and nowhere else.
    ///
    /// # Panics
    /// Above 256 GiB, which the callers' bounds exclude.
    pub fn seal(&self, place: &str, plaintext: &[u8]) -> Vec<u8> {
        let nonce = XNonce::from(crate::random::bytes::<NONCE>());
        let cipher = XChaCha20Poly1305::new((&*self.0).into());
        #[expect(clippy::expect_used, reason = "XChaCha20-Poly1305 fails only above 256 GiB")]
        let ciphertext = cipher.encrypt(&nonce, Payload { msg: plaintext, aad: place.as_bytes() }).expect("small plaintext");
        [&[VERSION][..], &self.id(), &nonce[..], &ciphertext].concat()
    }

    /// Opens a sealed value at the place it was sealed for.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (&version, rest) = sealed.split_first().ok_or(SealError::Format)?;
        let (key_id, rest) = rest.split_at_checked(KEY_ID).ok_or(SealError::Format)?;
        let (nonce, ciphertext) = rest.split_at_checked(NONCE).ok_or(SealError::Format)?;
        if version != VERSION {
            return Err(SealError::Format);
        }
        if key_id != self.id() {
            return Err(SealError::OtherKey);
        }
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| SealError::Format)?;
        XChaCha20Poly1305::new((&*self.0).into())
            .decrypt(&XNonce::from(nonce), Payload { msg: ciphertext, aad: place.as_bytes() })
            .map(Zeroizing::new)
            .map_err(|_| SealError::Integrity)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// The installation's key, from which everything else hangs. Comes from a file or the environment, never from the database.
#[derive(Clone)]
pub struct MasterKey {
    id: String,
    key: DataKey,
}

impl MasterKey {
    /// A key from its 32 bytes. Its id is derived from it, so that a wrong key is noticed and not guessed at.
    pub fn new(key: [u8; 32]) -> Self {
        let digest = sha2::Sha256::digest([&b"trunkline key id"[..], &key].concat());
        let id = BASE64_URL_SAFE_NO_PAD.encode(&digest[..9]);
        Self { id, key: DataKey(Zeroizing::new(key)) }
    }

    /// Names the key without telling it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Wraps a tenant's data key.
    pub fn wrap(&self, place: &str, key: &DataKey) -> Vec<u8> {
        self.key.seal(place, &key.0[..])
    }

    /// Unwraps a tenant's data key.
    pub fn unwrap_key(&self, place: &str, wrapped: &[u8]) -> Result<DataKey, SealError> {
        let bytes = self.key.open(place, wrapped)?;
        let bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| SealError::Format)?;
        Ok(DataKey(Zeroizing::new(bytes)))
    }

    /// A key for that purpose only, for values that leave the installation and come back.
    pub fn derive(&self, purpose: &str) -> DataKey {
        DataKey(Zeroizing::new(hmac_sha256(&self.key.0[..], purpose.as_bytes())))
    }

    /// HMAC-SHA256 of `message` under a key for that purpose only.
    pub fn mac(&self, purpose: &str, message: &[u8]) -> [u8; 32] {
        let derived = hmac_sha256(&self.key.0[..], purpose.as_bytes());
        hmac_sha256(&derived, message)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac = <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(key).expect("any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_value_opens_only_at_its_place_and_unchanged() {
        let key = DataKey::generate();
        let sealed = key.seal("ten_a|credentials|https://a", b"secret");
        assert_eq!(key.open("ten_a|credentials|https://a", &sealed).as_deref().map(Vec::as_slice), Ok(&b"secret"[..]));
        assert_eq!(key.open("ten_a|credentials|https://b", &sealed), Err(SealError::Integrity));
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert!(key.open("ten_a|credentials|https://a", &changed).is_err(), "byte {i}");
        }
        assert_eq!(key.open("x", &[]), Err(SealError::Format));
    }

    #[test]
    fn secrets_do_not_print() {
        let secret = Plaintext::new("hunter2".into());
        assert!(!format!("{secret:?} {:?} {:?}", secret.digest(), MasterKey::new([7; 32])).contains("hunter2"));
    }
}
