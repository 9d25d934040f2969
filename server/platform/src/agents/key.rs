//! A key: `tl_live_<id>_<secret><crc>`. Greppable by its prefix, found by its id, checked for typing errors without any lookup.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use trunkline_protocol::oauth::scope::ScopeSet;

use crate::{
    error::{Error, Result},
    ids::{AgentId, KeyId},
    random,
    secret::{CHECKSUM, Digest, Plaintext, checksum},
};

const PREFIX: &str = "tl_live_";
const LOOKUP: usize = 12;
/// 32 characters of base 62: 190 bits.
const SECRET: usize = 32;

/// A key without its secret.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its id, which records name.
    pub id: KeyId,
    /// Whose it is.
    pub agent_id: AgentId,
    /// For people.
    pub name: String,
    /// The public part of its text.
    pub lookup: String,
    /// What it may use, within the agent's ceiling.
    pub scopes: ScopeSet,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// Until when.
    pub expires_at: DateTime<Utc>,
    /// Ended by hand.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The last day it was used.
    pub last_used_on: Option<NaiveDate>,
}

/// What a person says of a key.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// For people.
    pub name: String,
    /// What it may use.
    pub scopes: ScopeSet,
    /// Its life in days.
    pub days: i64,
}

/// A key as a list shows it.
#[derive(Debug, Clone)]
pub struct ListedKey {
    /// The key.
    pub key: Key,
    /// Name of the agent whose it is.
    pub agent_name: String,
}

/// Which keys of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyFilter {
    /// Only those of that agent.
    pub agent: Option<AgentId>,
    /// Only those that work.
    pub live: bool,
}

/// Keys of a tenant that work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, sqlx::FromRow)]
pub struct KeyCounts {
    /// All of them.
    pub live: i64,
    /// Of them: those that end within 14 days.
    pub ending: i64,
    /// Of them: those older than 90 days that were not used for 90 days.
    pub unused: i64,
}

/// A key just made, with the only copy of its text.
#[derive(Debug)]
pub struct CreatedKey {
    /// The key.
    pub key: Key,
    /// Its text.
    pub text: Plaintext,
}

/// Does it work?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Yes.
    Active,
    /// Its time is over.
    Expired,
    /// It was ended.
    Revoked,
}

impl NewKey {
    /// Reads what a form or a command line says; names the field that does not fit.
    pub fn parse(name: &str, scopes: &str, days: i64) -> Result<Self> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
            return Err(Error::invalid("name", "expected 1 to 64 characters"));
        }
        if !(1..=super::MAX_KEY_DAYS).contains(&days) {
            return Err(Error::invalid("days", format!("expected 1 to {}", super::MAX_KEY_DAYS)));
        }
        Ok(Self { name: name.to_owned(), scopes: super::parse_scopes(scopes)?, days })
    }
}

impl Key {
    pub(super) fn new(id: KeyId, agent_id: AgentId, new: NewKey, bearer: &BearerKey, now: DateTime<Utc>) -> Self {
        Self {
            id,
            agent_id,
            name: new.name,
            lookup: bearer.lookup().to_owned(),
            scopes: new.scopes,
            created_at: now,
            expires_at: now + TimeDelta::days(new.days),
            revoked_at: None,
            last_used_on: None,
        }
    }

    /// Does it work at that time?
    pub fn state(&self, now: DateTime<Utc>) -> KeyState {
        match self.revoked_at {
            Some(_) => KeyState::Revoked,
            None if self.expires_at <= now => KeyState::Expired,
            None => KeyState::Active,
        }
    }

    /// What people recognise it by.
    pub fn masked(&self) -> String {
        format!("{PREFIX}{}_…", self.lookup)
    }
}

/// The text of a key, well formed: its checksum holds. Whether it works is another question.
pub struct BearerKey {
    text: Plaintext,
}

impl BearerKey {
    pub(super) fn generate() -> Self {
        let body = format!("{PREFIX}{}_{}", random::base62(LOOKUP), random::base62(SECRET));
        let text = format!("{body}{}", checksum(&body));
        Self { text: Plaintext::new(text) }
    }

    /// Reads a bearer. `None` if it is no key of ours or was mistyped.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?;
        let well_formed = rest.len() == LOOKUP + 1 + SECRET + CHECKSUM
            && rest.bytes().enumerate().all(|(i, b)| if i == LOOKUP { b == b'_' } else { b.is_ascii_alphanumeric() });
        let (body, sum) = text.split_at_checked(text.len().checked_sub(CHECKSUM)?)?;
        (well_formed && sum == checksum(body)).then(|| Self { text: Plaintext::new(text.to_owned()) })
    }

    /// The part it is found by.
    pub fn lookup(&self) -> &str {
        &self.text.reveal()[PREFIX.len()..PREFIX.len() + LOOKUP]
    }

    /// What is stored of it.
    pub fn digest(&self) -> Digest {
        self.text.digest()
    }

    pub(super) fn into_text(self) -> Plaintext {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_text_survives_and_typing_errors_are_noticed() {
        let key = BearerKey::generate();
        let text = key.text.reveal().to_owned();
        assert_eq!(BearerKey::parse(&text).map(|k| k.lookup().to_owned()), Some(key.lookup().to_owned()));
        for i in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[i] = if changed[i] == b'x' { b'y' } else { b'x' };
            assert!(BearerKey::parse(&String::from_utf8(changed).expect("ascii")).is_none(), "byte {i}");
        }
        for text in ["", "tl_live_", "tl_live_äääääääääääääää", "Bearer"] {
            assert!(BearerKey::parse(text).is_none());
        }
    }
}
