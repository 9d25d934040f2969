//! Signed heads of chains, in the form of C2SP tlog-checkpoint: what was there when it was signed can be proven, from the note and the key alone.

use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use super::link::{Hash, time};
use crate::{hex, ids::TenantId};

/// Who signs, as it stands in notes and keys.
const SIGNER: &str = "trunkline";
/// Ed25519, as signed notes number their algorithms.
const ALGORITHM: u8 = 1;

/// What is wrong with a key or a note.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The key.
    #[error("expected a key as `trunkline audit key` prints it: trunkline+8 hexadecimal digits+base64")]
    Key,
    /// The note's form.
    #[error("is not a checkpoint")]
    Form,
    /// The signature.
    #[error("is not signed by this key: it was changed or forged")]
    Signature,
}

/// The public half of the key that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Of these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its id in signatures.
    pub fn id(&self) -> [u8; 4] {
        let digest = Sha256::new().chain_update(SIGNER).chain_update([b'\n', ALGORITHM]).chain_update(self.0).finalize();
        [digest[0], digest[1], digest[2], digest[3]]
    }

    /// Its id as text.
    pub fn id_text(&self) -> String {
        hex::encode(&self.id())
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes: Vec<u8> = std::iter::once(ALGORITHM).chain(self.0).collect();
        write!(f, "{SIGNER}+{}+{}", self.id_text(), BASE64.encode(bytes))
    }
}

impl FromStr for PublicKey {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(SIGNER), Some(id), Some(bytes)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Unreadable::Key);
        };
        let bytes = BASE64.decode(bytes).map_err(|_| Unreadable::Key)?;
        let key = match bytes.split_first() {
            Some((&ALGORITHM, key)) => Self(key.try_into().map_err(|_| Unreadable::Key)?),
            _ => return Err(Unreadable::Key),
        };
        if key.id_text() == id { Ok(key) } else { Err(Unreadable::Key) }
    }
}

/// A head of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose chain.
    pub tenant: TenantId,
    /// Its length.
    pub seq: u64,
    /// The hash of its last link.
    pub hash: Hash,
}

impl Checkpoint {
    /// The signed note.
    pub fn sign(&self, at: DateTime<Utc>, key: &Ed25519KeyPair, public: &PublicKey) -> String {
        let body = format!("trunkline/{}\n{}\n{}\ntime {}\n", self.tenant, self.seq, BASE64.encode(self.hash), time(at));
        sign(&body, key, public)
    }

    /// Reads a note and checks that the key has signed it.
    pub fn verify(note: &str, key: &PublicKey) -> Result<Self, Unreadable> {
        let body = signed_body(note, key)?;
        let mut lines = body.lines();
        let tenant = lines.next().and_then(|line| line.strip_prefix("trunkline/")?.parse().ok());
        let seq = lines.next().and_then(|line| line.parse().ok());
        let hash = lines.next().and_then(|line| BASE64.decode(line).ok()?.try_into().ok());
        match (tenant, seq, hash) {
            (Some(tenant), Some(seq), Some(hash)) => Ok(Self { tenant, seq, hash }),
            _ => Err(Unreadable::Form),
        }
    }
}

/// A signed note (C2SP signed-note) with that text.
pub(super) fn sign(body: &str, key: &Ed25519KeyPair, public: &PublicKey) -> String {
    let signature: Vec<u8> = public.id().iter().chain(key.sign(body.as_bytes()).as_ref()).copied().collect();
    format!("{body}\n\u{2014} {SIGNER} {}\n", BASE64.encode(signature))
}

/// The text of a note that the key has signed.
pub(super) fn signed_body(note: &str, key: &PublicKey) -> Result<String, Unreadable> {
    let (body, signatures) = note.split_once("\n\n").ok_or(Unreadable::Form)?;
    let body = format!("{body}\n");
    let is_signed = signatures
        .lines()
        .filter_map(|line| line.strip_prefix("\u{2014} ")?.strip_prefix(SIGNER)?.strip_prefix(' '))
        .any(|signature| {
            let bytes = BASE64.decode(signature).unwrap_or_default();
            bytes.split_at_checked(4).is_some_and(|(id, signature)| {
                id == key.id() && UnparsedPublicKey::new(&ED25519, key.0).verify(body.as_bytes(), signature).is_ok()
            })
        });
    if is_signed { Ok(body) } else { Err(Unreadable::Signature) }
}

/// The notes of a file to which they were appended one after the other.
pub(super) fn notes(file: &str) -> impl Iterator<Item = String> {
    let mut parts = file.split("\n\n").filter(|part| !part.trim().is_empty());
    std::iter::from_fn(move || {
        let body = parts.next()?.trim_start_matches('\n');
        Some(format!("{body}\n\n{}\n", parts.next().unwrap_or_default().trim_end()))
    })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{rand::SystemRandom, signature::KeyPair as _};

    use super::*;

    #[test]
    fn a_note_proves_its_head_and_nothing_else() {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let public = PublicKey::new(pair.public_key().as_ref().try_into().unwrap());
        assert_eq!(public.to_string().parse::<PublicKey>(), Ok(public.clone()));
        let head = Checkpoint { tenant: TenantId::new(DateTime::UNIX_EPOCH), seq: 12, hash: [7; 32] };
        let note = head.sign(DateTime::UNIX_EPOCH, &pair, &public);
        assert_eq!(Checkpoint::verify(&note, &public), Ok(head.clone()));
        assert_eq!(Checkpoint::verify(&note.replace("\n12\n", "\n13\n"), &public), Err(Unreadable::Signature));
        let other = Checkpoint { seq: 13, ..head.clone() }.sign(DateTime::UNIX_EPOCH, &pair, &public);
        let file = format!("{note}\n{other}\n");
        let read: Vec<_> = notes(&file).map(|note| Checkpoint::verify(&note, &public).unwrap().seq).collect();
        assert_eq!(read, [12, 13]);
        assert!("trunkline+00000000+AAAA".parse::<PublicKey>().is_err());
    }
}
