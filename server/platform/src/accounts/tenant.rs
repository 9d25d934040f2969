//! Tenants: their slug, how one comes into being, how it changes.

use std::{fmt, str::FromStr};

use super::{Membership, Session, store};
use crate::{
    Platform,
    actor::{Member, Permission, Role},
    audit::{self, Difference, Event},
    db::{SystemTx, TenantTx},
    error::{Error, Result},
    ids::{TenantId, UserId},
    quota::attempts::{self, Attempt},
};

/// The name of a tenant in URLs: 1 to 40 of `a-z`, `0-9` and `-`, no `-` at either end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantSlug(String);

/// Not a slug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 40 of a-z, 0-9 and -, without - at either end")]
pub struct InvalidSlug;

impl TenantSlug {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What an organisation of that name would like to be called, with room for a number behind it.
    fn derive(name: &str) -> Self {
        let mut slug = String::new();
        for character in name.chars().map(|c| c.to_ascii_lowercase()) {
            if character.is_ascii_alphanumeric() {
                slug.push(character);
            } else if !slug.is_empty() && !slug.ends_with('-') {
                slug.push('-');
            }
            if slug.len() == 32 {
                break;
            }
        }
        let slug = slug.trim_end_matches('-');
        Self(if slug.is_empty() { "team".to_owned() } else { slug.to_owned() })
    }

    fn numbered(&self, number: u32) -> Self {
        Self(format!("{}-{number}", self.0))
    }
}

impl FromStr for TenantSlug {
    type Err = InvalidSlug;

    fn from_str(text: &str) -> Result<Self, InvalidSlug> {
        let allowed = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let fits = (1..=40).contains(&text.len()) && !text.starts_with('-') && !text.ends_with('-');
        if allowed && fits { Ok(Self(text.to_owned())) } else { Err(InvalidSlug) }
    }
}

impl fmt::Display for TenantSlug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tenant's name as a person typed it, trimmed; the error belongs to `field`.
pub(super) fn parse_name(field: &str, name: &str) -> Result<String> {
    let name = name.trim();
    match name.chars().count() {
        0 => Err(Error::invalid(field, "Enter a name.")),
        1..=80 if !name.chars().any(char::is_control) => Ok(name.to_owned()),
        1..=80 => Err(Error::invalid(field, "A name is one line of ordinary text.")),
        _ => Err(Error::invalid(field, "A name has at most 80 characters.")),
    }
}

/// A tenant with that user as its owner, in the transaction that wants it.
pub(super) async fn insert(platform: &Platform, mut tx: SystemTx, user: UserId, name: &str) -> Result<(TenantTx, TenantSlug)> {
    let now = platform.clock.now();
    let id = TenantId::new(now);
    let slug = insert_under_free_slug(&mut tx, id, name, now).await?;
    let mut tx = tx.enter(id).await?;
    store::insert_membership(&mut tx, user, Role::Owner, now).await?;
    let owner = Member { user, tenant: id, role: Role::Owner };
    audit::append(&mut tx, now, &owner, &Event::TenantCreated(id)).await?;
    audit::append(&mut tx, now, &owner, &Event::MemberJoined(user, Role::Owner)).await?;
    Ok((tx, slug))
}

/// The plain slug, or the first number from 2 that is free. Two that reach for the same one do not fail: the later takes the next.
async fn insert_under_free_slug(
    tx: &mut SystemTx,
    id: TenantId,
    name: &str,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<TenantSlug> {
    let plain = TenantSlug::derive(name);
    let candidates: Vec<TenantSlug> = std::iter::once(plain.clone()).chain((2..=50).map(|n| plain.numbered(n))).collect();
    let texts: Vec<&str> = candidates.iter().map(TenantSlug::as_str).collect();
    let taken = store::list_taken_slugs(tx, &texts).await?;
    for slug in candidates.iter().filter(|slug| !taken.iter().any(|t| t == slug.as_str())) {
        if store::insert_tenant(tx, id, slug, name, now).await? {
            return Ok(slug.clone());
        }
    }
    // So many namesakes that counting on would be slow.
    loop {
        let slug = plain.numbered(100 + u32::from_be_bytes(crate::random::bytes()) % 9_999_900);
        if store::insert_tenant(tx, id, &slug, name, now).await? {
            return Ok(slug);
        }
    }
}

/// A further tenant of a signed-in user, who owns it.
pub async fn create_tenant(platform: &Platform, session: &Session, name: &str) -> Result<TenantSlug> {
    session.require_own()?;
    let user = session.user;
    let name = parse_name("organisation", name)?;
    attempts::check(platform, Attempt::SignupFromIp, &user.to_string()).await?;
    let tx = platform.db.user(user).await?;
    let (tx, slug) = insert(platform, tx, user, &name).await?;
    tx.commit().await?;
    Ok(slug)
}

/// Changes a tenant's name and the currency its costs are counted in.
pub async fn change_tenant(platform: &Platform, actor: &Member, name: &str, currency: &str) -> Result<()> {
    actor.require(Permission::ManageTenant)?;
    let name = parse_name("name", name)?;
    let currency = parse_currency(currency)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let before = store::lock_tenant(&mut tx).await?;
    store::update_tenant(&mut tx, &name, &currency).await?;
    let difference = Difference::default().of("name", &before.0, &name).of("currency", &before.1, &currency);
    audit::append(&mut tx, now, actor, &Event::TenantChanged(actor.tenant, difference)).await?;
    tx.commit().await
}

fn parse_currency(text: &str) -> Result<String> {
    let text = text.trim().to_ascii_uppercase();
    if text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase()) {
        Ok(text)
    } else {
        Err(Error::invalid("currency", "Enter the three letters of a currency, such as USD or EUR."))
    }
}

impl Membership {
    /// The person as the actor of verbs in this tenant.
    pub fn actor(&self, user: UserId) -> Member {
        Member { user, tenant: self.tenant, role: self.role }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_made_of_what_urls_and_host_names_take() {
        for (name, slug) in [
            ("Acme", "acme"),
            ("  Acme & Söhne, Inc. ", "acme-s-hne-inc"),
            ("日本", "team"),
            ("---", "team"),
            (&"x".repeat(80), &"x".repeat(32)),
        ] {
            let derived = TenantSlug::derive(name);
            assert_eq!(derived.as_str(), slug);
            assert_eq!(derived.numbered(9_999_999).as_str().parse(), Ok(derived.numbered(9_999_999)));
        }
    }

    #[test]
    fn what_is_no_slug_is_refused() {
        for text in ["", "-a", "a-", "A", "a_b", "a b", "ä", &"a".repeat(41)] {
            assert_eq!(text.parse::<TenantSlug>(), Err(InvalidSlug), "{text}");
        }
    }

    #[test]
    fn names_are_one_line() {
        assert_eq!(parse_name("name", " Acme ").ok().as_deref(), Some("Acme"));
        for name in ["", "  ", "a\nb", &"x".repeat(81)] {
            assert!(parse_name("name", name).is_err());
        }
    }
}
