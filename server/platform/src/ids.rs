//! Typed ids: a UUIDv7 inside, `agt_` and 26 characters outside, so that two kinds cannot be confused and a log line can be read.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Crockford's base 32 in lower case: no `i`, `l`, `o`, `u`.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 26;

/// Why a text is not the id that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `{prefix}_` and 26 characters")]
pub struct InvalidId {
    prefix: &'static str,
}

fn encode(id: Uuid) -> String {
    let mut value = id.as_u128();
    let mut text = [0u8; LENGTH];
    for slot in text.iter_mut().rev() {
        *slot = ALPHABET[(value & 31) as usize];
        value >>= 5;
    }
    text.iter().map(|&b| char::from(b)).collect()
}

fn decode(text: &str) -> Option<Uuid> {
    // 26 characters hold 130 bits: the first may only use three.
    if text.len() != LENGTH || text.as_bytes()[0] > b'7' {
        return None;
    }
    let mut value: u128 = 0;
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|&b| b == byte)?;
        value = (value << 5) | digit as u128;
    }
    Some(Uuid::from_u128(value))
}

/// What stands in an id of whatever kind; nothing for a text that is none.
pub fn uuid_of(id: &str) -> Option<Uuid> {
    id.split_once('_').and_then(|(_, text)| decode(text))
}

/// A fresh UUIDv7 for that moment; ids made later sort later (to the millisecond).
pub(crate) fn uuid_v7(at: DateTime<Utc>) -> Uuid {
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &crate::random::bytes()).into_uuid()
}

macro_rules! define_ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
        #[sqlx(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh id for that moment.
            pub fn new(at: DateTime<Utc>) -> Self {
                Self(uuid_v7(at))
            }

            /// The smallest id of that moment's millisecond, which names nothing.
            pub fn first_at(at: DateTime<Utc>) -> Self {
                let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid())
            }

            /// The nil id, which names nothing.
            pub const NIL: Self = Self(Uuid::nil());

            /// The id that the database stored so.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The id as the database stores it.
            pub fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($prefix, "_{}"), encode(self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix(concat!($prefix, "_")).and_then(decode).map(Self).ok_or(InvalidId { prefix: $prefix })
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

define_ids! {
    /// An organisation.
    TenantId "ten"
    /// A person.
    UserId "usr"
    /// A signed-in browser.
    SessionId "ses"
    /// An open invitation.
    InvitationId "inv"
    /// An identity that calls tools.
    AgentId "agt"
    /// A long-lived secret of an agent.
    KeyId "key"
    /// A callable name.
    ToolId "tool"
    /// One published definition of a tool.
    ToolVersionId "ver"
    /// That a tool was pointed at a version by a person.
    PublicationId "pub"
    /// How a tool or a source is tried.
    ProbeId "prb"
    /// That something was out of the ordinary.
    AlertId "alr"
    /// What the gate or a probe found.
    ProbeRunId "run"
    /// A public key by which a person signs in.
    PasskeyId "psk"
    /// A sealed upstream secret.
    CredentialId "crd"
    /// Where imported definitions come from.
    SourceId "src"
    /// An imported description of an HTTP API.
    ApiId "api"
    /// An operation of such an API.
    OperationId "opn"
    /// A person's account at the provider of a source.
    ConnectionId "con"
    /// A tool, prompt or resource of a source.
    DefinitionId "def"
    /// A change of a definition that waits for a person.
    ChangeId "chg"
    /// A version of an entry of a tenant's registry.
    RegistryEntryId "reg"
    /// A named choice of tools.
    ToolsetId "set"
    /// A limit that departs from the default.
    LimitId "lim"
    /// So much money in a day or a month.
    BudgetId "bud"
    /// A tool call or a change: its usage record and its audit entry share it.
    EntryId "ent"
    /// A piece of background work.
    JobId "job"
    /// An OAuth client that a tenant knows.
    ClientId "cli"
    /// A member let a client act as an agent.
    GrantId "gra"
    /// An access token.
    TokenId "tok"
    /// A code or a refresh token.
    TicketId "tkt"
    /// An identity provider that a tenant believes.
    TrustedIssuerId "tis"
    /// A name in certificates that stands for an agent.
    CertificateNameId "crn"
    /// A running server process.
    ReplicaId "rep"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_rejects_other_kinds() {
        let id = AgentId::new(DateTime::UNIX_EPOCH);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().len(), "agt_".len() + 26);
        assert!(id.to_string().parse::<KeyId>().is_err());
        assert!("agt_zzzzzzzzzzzzzzzzzzzzzzzzzz".parse::<AgentId>().is_err());
        assert!("agt_".parse::<AgentId>().is_err());
    }

    #[test]
    fn later_ids_sort_later() {
        let at = DateTime::from_timestamp_millis(1_800_000_000_000).unwrap_or_default();
        assert!(EntryId::first_at(at) <= EntryId::new(at));
        assert!(EntryId::new(at) < EntryId::new(at + chrono::TimeDelta::milliseconds(1)));
    }
}
