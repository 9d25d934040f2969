//! Codes, refresh tokens and secrets of clients as texts: `tl_<kind>_<tenant>_<random><crc>`. The tenant stands in clear, so that the query
//! which looks it up is made in that tenant; the checksum spares the query for what was mistyped or made up.

use crate::{
    ids::TenantId,
    random,
    secret::{CHECKSUM, Digest, Plaintext, checksum},
};

/// 32 characters of base 62: 190 bits.
const RANDOM: usize = 32;
/// Length of a tenant's id without its prefix.
const TENANT: usize = 26;

/// What a text is for. One kind is never taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Code,
    Refresh,
    Secret,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Code => "tl_code_",
            Self::Refresh => "tl_refresh_",
            Self::Secret => "tl_secret_",
        }
    }
}

/// A fresh text.
pub(super) fn generate(kind: Kind, tenant: TenantId) -> Plaintext {
    let tenant = tenant.to_string();
    let tenant = tenant.strip_prefix("ten_").unwrap_or_default();
    let body = format!("{}{tenant}_{}", kind.prefix(), random::base62(RANDOM));
    let sum = checksum(&body);
    Plaintext::new(format!("{body}{sum}"))
}

/// A text that is well formed: whose it says it is, and what is stored of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    pub(super) tenant: TenantId,
    pub(super) digest: Digest,
}

/// Reads a text. `None` if it is none of that kind or was mistyped.
pub(super) fn parse(kind: Kind, text: &str) -> Option<Ticket> {
    let rest = text.strip_prefix(kind.prefix())?;
    if rest.len() != TENANT + 1 + RANDOM + CHECKSUM || !rest.is_ascii() {
        return None;
    }
    let (tenant, rest) = rest.split_at(TENANT);
    let is_random = rest.strip_prefix('_')?.bytes().all(|b| b.is_ascii_alphanumeric());
    let (body, sum) = text.split_at(text.len() - CHECKSUM);
    let tenant = format!("ten_{tenant}").parse().ok()?;
    (is_random && sum == checksum(body)).then(|| Ticket { tenant, digest: Digest::of(text) })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    #[test]
    fn o_13_typing_errors_and_other_kinds_are_noticed() {
        let tenant = TenantId::new(DateTime::UNIX_EPOCH);
        let text = generate(Kind::Code, tenant).reveal().to_owned();
        assert_eq!(parse(Kind::Code, &text).map(|ticket| ticket.tenant), Some(tenant));
        assert!(parse(Kind::Refresh, &text).is_none());
        for i in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[i] = if changed[i] == b'x' { b'y' } else { b'x' };
            assert!(parse(Kind::Code, &String::from_utf8(changed).expect("ascii")).is_none(), "byte {i}");
        }
        for text in ["", "tl_code_", &text[..text.len() - 1], "tl_code_äääääääääääääääääääääääääääääääääääääää"]
        {
            assert!(parse(Kind::Code, text).is_none());
        }
    }
}
