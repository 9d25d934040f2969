//! A user without the mail: for the development installation and tests.

use super::{EmailAddress, TenantSlug, password, store, tenant};
use crate::{
    Platform,
    actor::{Member, Role},
    audit::{self, Event},
    error::{Error, Result},
    ids::{TenantId, UserId},
    secret::Plaintext,
};

/// A user whose address counts as confirmed, and a tenant of theirs. Fails with `Conflict` if address or slug are taken. For whoever
/// runs the installation: no page reaches it.
pub async fn create_verified_user(
    platform: &Platform,
    email: &str,
    password: &Plaintext,
    tenant_name: &str,
    slug: &TenantSlug,
) -> Result<(UserId, TenantId)> {
    let email = EmailAddress::parse(email)?;
    password::check_rules(password, Some(&email))?;
    let name = tenant::parse_name("tenant_name", tenant_name)?;
    let hash = platform.passwords.hash(password.clone()).await?;
    let now = platform.clock.now();
    let (user, id) = (UserId::new(now), TenantId::new(now));
    let mut tx = platform.db.system().await?;
    if !store::insert_user(&mut tx, user, email.as_str(), &hash, now).await? {
        return Err(Error::conflict("There is a user with this address already."));
    }
    if !store::insert_tenant(&mut tx, id, slug, &name, now).await? {
        return Err(Error::conflict("There is a tenant with this slug already."));
    }
    let mut tx = tx.enter(id).await?;
    store::insert_membership(&mut tx, user, Role::Owner, now).await?;
    let owner = Member { user, tenant: id, role: Role::Owner };
    audit::append(&mut tx, now, &owner, &Event::TenantCreated(id)).await?;
    audit::append(&mut tx, now, &owner, &Event::MemberJoined(user, Role::Owner)).await?;
    tx.commit().await?;
    Ok((user, id))
}
