//! Values encrypted at rest.
//!
//! A sealed value is `version ‖ key id ‖ nonce ‖ ciphertext` of XChaCha20-Poly1305 under the tenant's data key, bound by its associated data to
//! the place it belongs to. The data key is wrapped the same way under the installation's key.

use std::fmt;

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use sha2::Digest as _;
use zeroize::Zeroizing;

use super::master::hmac_sha256;

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

    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0[..]
    }

    /// HMAC-SHA256 of that message.
    pub fn mac(&self, message: &[u8]) -> [u8; 32] {
        hmac_sha256(&self.0[..], message)
    }

    /// Did this key seal that value?
    pub(super) fn sealed(&self, value: &[u8]) -> bool {
        value.get(1..=KEY_ID).is_some_and(|id| id == self.id())
    }

    /// Names the key inside the values it sealed, without telling it.
    pub(crate) fn id(&self) -> [u8; KEY_ID] {
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

/// The data keys of one tenant: the newest seals, all of them open, so that values can be sealed anew while they are in use.
#[derive(Debug, Clone)]
pub struct DataKeys {
    newest: DataKey,
    older: Vec<DataKey>,
}

impl DataKeys {
    /// `older` keys are those that values may still be sealed under.
    pub fn new(newest: DataKey, older: Vec<DataKey>) -> Self {
        Self { newest, older }
    }

    /// The id of the newest, as it stands in the values it sealed.
    pub(crate) fn newest(&self) -> [u8; KEY_ID] {
        self.newest.id()
    }

    /// As [`DataKey::seal`], under the newest.
    pub fn seal(&self, place: &str, plaintext: &[u8]) -> Vec<u8> {
        self.newest.seal(place, plaintext)
    }

    /// As [`DataKey::open`], under whichever of them sealed it.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        open_with(std::iter::once(&self.newest).chain(&self.older), place, sealed)
    }

    /// The value sealed anew under the newest key; `None` if it is already.
    pub fn reseal(&self, place: &str, sealed: &[u8]) -> Result<Option<Vec<u8>>, SealError> {
        if self.newest.sealed(sealed) {
            return Ok(None);
        }
        Ok(Some(self.seal(place, &self.open(place, sealed)?)))
    }
}

/// Opens with the key that sealed it.
pub(super) fn open_with<'k>(
    keys: impl Iterator<Item = &'k DataKey>,
    place: &str,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    for key in keys {
        match key.open(place, sealed) {
            Err(SealError::OtherKey) => {}
            result => return result,
        }
    }
    Err(SealError::OtherKey)
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
    fn values_of_older_keys_open_and_are_sealed_anew_once() {
        let (old, new) = (DataKey::generate(), DataKey::generate());
        let sealed = old.seal("place", b"secret");
        let keys = DataKeys::new(new.clone(), vec![old]);
        let anew = keys.reseal("place", &sealed).expect("opens").expect("sealed anew");
        assert_eq!(new.open("place", &anew).as_deref().map(Vec::as_slice), Ok(&b"secret"[..]));
        assert_eq!(keys.reseal("place", &anew), Ok(None));
        assert_eq!(keys.reseal("elsewhere", &sealed), Err(SealError::Integrity));
        assert_eq!(DataKeys::new(new, Vec::new()).open("place", &sealed), Err(SealError::OtherKey));
    }
}
