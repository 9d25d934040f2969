//! The installation's key, and how it is exchanged while everything runs: other keys open what they sealed, the current one seals.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::Mac as _;
use sha2::Digest as _;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::seal::{DataKey, SealError, open_with};

/// The installation's key, from which everything else hangs. Comes from a file or the environment, never from the database.
#[derive(Clone)]
pub struct MasterKey {
    id: String,
    key: DataKey,
    others: Vec<DataKey>,
}

impl MasterKey {
    /// A key from its 32 bytes. Its id is derived from it, so that a wrong key is noticed and not guessed at.
    pub fn new(key: [u8; 32]) -> Self {
        let digest = sha2::Sha256::digest([&b"trunkline key id"[..], &key].concat());
        let id = BASE64_URL_SAFE_NO_PAD.encode(&digest[..9]);
        Self { id, key: DataKey::from_bytes(key), others: Vec::new() }
    }

    /// The same key, which opens what that one sealed too.
    #[must_use]
    pub fn knowing(mut self, other: Self) -> Self {
        self.others.push(other.key);
        self
    }

    /// Names the key without telling it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Wraps a tenant's data key.
    pub fn wrap(&self, place: &str, key: &DataKey) -> Vec<u8> {
        self.key.seal(place, key.as_bytes())
    }

    /// Was it wrapped by the current key?
    pub fn wrapped(&self, value: &[u8]) -> bool {
        self.key.sealed(value)
    }

    /// Unwraps a tenant's data key.
    pub fn unwrap_key(&self, place: &str, wrapped: &[u8]) -> Result<DataKey, SealError> {
        let bytes = open_with(self.all(), place, wrapped)?;
        let bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| SealError::Format)?;
        Ok(DataKey::from_bytes(bytes))
    }

    /// Keys for that purpose only, for values that leave the installation and come back.
    pub fn derive(&self, purpose: &str) -> DerivedKeys {
        let derive = |key: &DataKey| DataKey::from_bytes(hmac_sha256(key.as_bytes(), purpose.as_bytes()));
        DerivedKeys { current: derive(&self.key), others: self.others.iter().map(derive).collect() }
    }

    /// HMAC-SHA256 of `message` under a key for that purpose only.
    pub fn mac(&self, purpose: &str, message: &[u8]) -> [u8; 32] {
        mac(&self.key, purpose, message)
    }

    /// Is this how such a code begins, under any of the keys? In constant time. An empty one is none.
    pub fn verify_mac(&self, purpose: &str, message: &[u8], begin: &[u8]) -> bool {
        !begin.is_empty()
            && self.all().any(|key| {
                let right = mac(key, purpose, message);
                right.get(..begin.len()).is_some_and(|right| right.ct_eq(begin).into())
            })
    }

    fn all(&self) -> impl Iterator<Item = &DataKey> {
        std::iter::once(&self.key).chain(&self.others)
    }
}

/// Keys for one purpose, of the installation's keys.
#[derive(Debug)]
pub struct DerivedKeys {
    current: DataKey,
    others: Vec<DataKey>,
}

impl DerivedKeys {
    /// As [`DataKey::seal`], under the current key.
    pub fn seal(&self, place: &str, plaintext: &[u8]) -> Vec<u8> {
        self.current.seal(place, plaintext)
    }

    /// The value sealed anew under the current key; `None` if it is already.
    pub fn reseal(&self, place: &str, sealed: &[u8]) -> Result<Option<Vec<u8>>, SealError> {
        if self.current.sealed(sealed) {
            return Ok(None);
        }
        Ok(Some(self.seal(place, &self.open(place, sealed)?)))
    }

    /// As [`DataKey::open`], under whichever of them sealed it.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        open_with(std::iter::once(&self.current).chain(&self.others), place, sealed)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

fn mac(key: &DataKey, purpose: &str, message: &[u8]) -> [u8; 32] {
    let derived = Zeroizing::new(hmac_sha256(key.as_bytes(), purpose.as_bytes()));
    hmac_sha256(&derived[..], message)
}

pub(super) fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac = <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(key).expect("any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Plaintext;

    #[test]
    fn secrets_do_not_print() {
        let secret = Plaintext::new("hunter2".into());
        assert!(!format!("{secret:?} {:?} {:?}", secret.digest(), MasterKey::new([7; 32])).contains("hunter2"));
    }

    #[test]
    fn another_key_opens_what_it_sealed_and_seals_nothing() {
        let (old, new) = (MasterKey::new([1; 32]), MasterKey::new([2; 32]));
        let key = DataKey::generate();
        let wrapped = old.wrap("place", &key);
        let sealed = old.derive("purpose").seal("place", b"value");
        let code = old.mac("purpose", b"message");
        assert_eq!(new.unwrap_key("place", &wrapped).err(), Some(SealError::OtherKey));
        assert!(!new.verify_mac("purpose", b"message", &code));
        let both = new.clone().knowing(old.clone());
        assert_eq!(both.unwrap_key("place", &wrapped).map(|key| key.id()), Ok(key.id()));
        assert_eq!(both.derive("purpose").open("place", &sealed).as_deref().map(Vec::as_slice), Ok(&b"value"[..]));
        assert!(both.verify_mac("purpose", b"message", &code[..16]));
        assert!(!both.verify_mac("another", b"message", &code) && !both.verify_mac("purpose", b"message", &[]));
        assert!(old.unwrap_key("place", &both.wrap("place", &key)).is_err(), "the current one seals");
        assert_eq!(both.id(), new.id());
    }
}
