//! Who belongs to a tenant, as what. A tenant always keeps an owner: every change locks the owners' rows first, and decides by the roles
//! it finds under the lock, not by those the request came with.

use chrono::{DateTime, NaiveDate, Utc};

use super::{EmailAddress, Session, TenantSlug, store};
use crate::{
    Platform,
    actor::{Member, Permission, Role},
    audit::{self, Difference, Event},
    db::TenantTx,
    epoch,
    error::{Error, ErrorKind, Result, Step},
    ids::{TenantId, UserId},
};

/// A tenant somebody belongs to.
#[derive(Debug, Clone)]
pub struct Membership {
    /// The tenant.
    pub tenant: TenantId,
    /// Its name in URLs.
    pub slug: TenantSlug,
    /// Its name.
    pub name: String,
    /// Three letters of its currency.
    pub currency: String,
    /// As what.
    pub role: Role,
    /// Must its members have a second factor?
    pub requires_second_factor: bool,
    /// Must they come through its identity provider?
    pub requires_sso: bool,
    /// Alerts that fire. This and the next are told of the one tenant that was asked for.
    pub firing: i32,
    /// Days (UTC) whose sums are known to differ from the record.
    pub wrong_days: Vec<NaiveDate>,
}

impl Membership {
    /// Ok if a session is proven as the tenant asks for. Its identity provider's word stands for a second factor too: how that one asks is
    /// its owners' own choice.
    fn require_proof(&self, session: &Session) -> Result<()> {
        let is_signed_on = session.signed_on.contains(&self.tenant);
        let first = |step| Err(Error::new(ErrorKind::First(step)));
        if self.requires_sso && !is_signed_on {
            return first(Step::SignOn(self.slug.to_string()));
        }
        if self.requires_second_factor && !session.has_second_factor && !is_signed_on {
            return first(Step::SecondFactor(self.slug.to_string()));
        }
        Ok(())
    }
}

/// Somebody who belongs to a tenant.
#[derive(Debug, Clone)]
pub struct MemberRow {
    /// Who.
    pub user: UserId,
    /// Their address.
    pub email: EmailAddress,
    /// As what.
    pub role: Role,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// The tenants that a session may be good for, by name; at most 200. What each of them asks for, `member` checks.
pub async fn memberships(platform: &Platform, session: &Session) -> Result<Vec<Membership>> {
    list(platform, session, "").await
}

async fn list(platform: &Platform, session: &Session, first: &str) -> Result<Vec<Membership>> {
    let mut tx = platform.db.user(session.user).await?;
    let mut memberships = store::list_memberships(&mut tx, session.user, first).await?;
    memberships.retain(|membership| session.limited_to.is_none_or(|tenant| tenant == membership.tenant));
    Ok(memberships)
}

/// The membership of that tenant, and the other tenants the session may be good for. A tenant its user does not belong to does not exist.
/// Fails with `First` if the tenant asks for more than the session has proven.
pub async fn member(platform: &Platform, session: &Session, slug: &TenantSlug) -> Result<(Membership, Vec<Membership>)> {
    let mut memberships = list(platform, session, slug.as_str()).await?;
    let position = memberships.iter().position(|m| m.slug == *slug).ok_or_else(|| Error::not_found("page"))?;
    let membership = memberships.remove(position);
    membership.require_proof(session)?;
    Ok((membership, memberships))
}

/// The members of the actor's tenant, owners first; at most 1,000.
pub async fn list_members(platform: &Platform, actor: &Member) -> Result<Vec<MemberRow>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::list_members(&mut tx).await
}

/// Gives a member another role.
pub async fn change_role(platform: &Platform, actor: &Member, user: UserId, role: Role) -> Result<()> {
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let roles = Roles::lock(&mut tx, actor, user).await?;
    roles.actor.require(Permission::ManageMembers)?;
    if roles.target == Role::Owner || role == Role::Owner {
        roles.actor.require(Permission::ManageOwners)?;
    }
    if roles.target == role {
        return tx.commit().await;
    }
    if roles.target == Role::Owner {
        roles.require_another_owner()?;
    }
    store::update_membership(&mut tx, user, role).await?;
    store::delete_invitations_by(&mut tx, user).await?;
    if !role.may(Permission::ManageKeys) {
        end_grants(&mut tx, now, &roles.actor, user, "role_changed").await?;
    }
    let difference = Difference::default().of("role", roles.target, role);
    audit::append(&mut tx, now, &roles.actor, &Event::MemberRoleChanged(user, role, difference)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// What somebody let clients do ends with their right to let them.
async fn end_grants(tx: &mut TenantTx, now: DateTime<Utc>, actor: &Member, user: UserId, why: &'static str) -> Result<()> {
    let ended = store::revoke_grants_of(tx, user, now, why).await?;
    let events: Vec<Event> = ended.into_iter().map(|grant| Event::GrantRevoked(grant, why)).collect();
    audit::append_all(tx, now, Some(actor), &events).await
}

/// Ends somebody's membership.
pub async fn remove(platform: &Platform, actor: &Member, user: UserId) -> Result<()> {
    if actor.user == user {
        return leave(platform, actor).await;
    }
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let roles = Roles::lock(&mut tx, actor, user).await?;
    roles.actor.require(Permission::ManageMembers)?;
    if roles.target == Role::Owner {
        roles.actor.require(Permission::ManageOwners)?;
        roles.require_another_owner()?;
    }
    store::delete_membership(&mut tx, user).await?;
    store::delete_invitations_by(&mut tx, user).await?;
    end_grants(&mut tx, now, &roles.actor, user, "member_removed").await?;
    audit::append(&mut tx, now, &roles.actor, &Event::MemberRemoved(user)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// Ends the actor's own membership, which everybody but the last owner may.
pub async fn leave(platform: &Platform, actor: &Member) -> Result<()> {
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let roles = Roles::lock(&mut tx, actor, actor.user).await?;
    if roles.target == Role::Owner {
        roles.require_another_owner()?;
    }
    store::delete_membership(&mut tx, actor.user).await?;
    store::delete_invitations_by(&mut tx, actor.user).await?;
    end_grants(&mut tx, now, &roles.actor, actor.user, "member_left").await?;
    audit::append(&mut tx, now, &roles.actor, &Event::MemberRemoved(actor.user)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// The roles of all who matter for a change, under a lock until the transaction ends.
struct Roles {
    actor: Member,
    target: Role,
    owners: usize,
}

impl Roles {
    async fn lock(tx: &mut TenantTx, actor: &Member, target: UserId) -> Result<Self> {
        let rows = store::lock_roles(tx, &[actor.user, target]).await?;
        let role_of = |user| rows.iter().find(|(id, _)| *id == user).map(|(_, role)| *role);
        let owners = rows.iter().filter(|(_, role)| *role == Role::Owner).count();
        let role = role_of(actor.user).ok_or_else(|| Error::not_found("page"))?;
        let target = role_of(target).ok_or_else(|| Error::not_found("member"))?;
        Ok(Self { actor: Member { role, ..actor.clone() }, target, owners })
    }

    fn require_another_owner(&self) -> Result<()> {
        if self.owners > 1 {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict("The last owner stays one: make somebody else an owner first.".to_owned())))
    }
}
