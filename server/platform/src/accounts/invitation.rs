//! Invitations: a mailed link by which a signed-in user with that address becomes a member.
//!
//! The secret begins with the tenant's id, so that the row is looked up inside its tenant; its digest covers the whole text.

use chrono::{DateTime, TimeDelta, Utc};

use super::{EmailAddress, Session, TenantSlug, store};
use crate::{
    Platform,
    actor::{Member, Permission, Role},
    audit::{self, Event},
    error::{Error, Result},
    ids::{InvitationId, TenantId},
    jobs::{self, Job},
    mail::Letter,
    quota::attempts::{self, Attempt},
    secret::Plaintext,
};

/// An invitation as its receiver sees it.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// Whom it is for.
    pub email: EmailAddress,
    /// As what.
    pub role: Role,
    /// Name of the organisation.
    pub organisation: String,
    /// Has somebody with that address an account? Told to the holder of the secret only.
    pub has_account: bool,
}

/// An invitation as the organisation sees it.
#[derive(Debug, Clone)]
pub struct OpenInvitation {
    /// Which.
    pub id: InvitationId,
    /// Whom it is for.
    pub email: EmailAddress,
    /// As what.
    pub role: Role,
    /// Until when it works.
    pub expires_at: DateTime<Utc>,
    /// Too late to accept it?
    pub is_expired: bool,
}

fn tenant_of(token: &Plaintext) -> Option<TenantId> {
    token.reveal().rsplit_once('_')?.0.parse().ok()
}

/// Invites somebody, or invites them anew: an older invitation of the same address stops working.
pub async fn invite(platform: &Platform, actor: &Member, email: &str, role: Role) -> Result<InvitationId> {
    actor.require(Permission::ManageMembers)?;
    if role == Role::Owner {
        actor.require(Permission::ManageOwners)?;
    }
    let email = EmailAddress::parse(email)?;
    attempts::check(platform, Attempt::MailToAccount, email.as_str()).await?;
    let now = platform.clock.now();
    let id = InvitationId::new(now);
    let days = platform.settings.accounts.invitation_days;
    let token = Plaintext::generate(&format!("{}_", actor.tenant));
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if store::is_member(&mut tx, &email).await? {
        return Err(Error::invalid("email", "Somebody with this address is a member already."));
    }
    let invitation = store::NewInvitation {
        id,
        email: &email,
        role,
        digest: token.digest(),
        invited_by: actor.user,
        expires_at: now + TimeDelta::days(i64::from(days)),
    };
    store::upsert_invitation(&mut tx, &invitation, now).await?;
    let (organisation, invited_by) = store::get_names(&mut tx, actor.user).await?;
    let letter = Letter::Invitation { token: token.reveal().to_owned(), organisation, invited_by, role, days };
    jobs::enqueue(platform, &mut tx, &Job::SendLetter { to: email, letter }).await?;
    audit::append(&mut tx, now, actor, &Event::MemberInvited(id, role)).await?;
    tx.commit().await?;
    Ok(id)
}

/// Takes an invitation back.
pub async fn withdraw(platform: &Platform, actor: &Member, id: InvitationId) -> Result<()> {
    actor.require(Permission::ManageMembers)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if !store::delete_invitation(&mut tx, id).await? {
        return Err(Error::not_found("invitation"));
    }
    audit::append(&mut tx, now, actor, &Event::InvitationWithdrawn(id)).await?;
    tx.commit().await
}

/// The invitations nobody has accepted yet, newest first; at most 1,000. For those who may invite: addresses are in it.
pub async fn list_invitations(platform: &Platform, actor: &Member) -> Result<Vec<OpenInvitation>> {
    actor.require(Permission::ManageMembers)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::list_invitations(&mut tx, now).await
}

/// The invitation of that secret, if it still works. Looks only.
pub async fn find_invitation(platform: &Platform, token: &Plaintext) -> Result<Option<Invitation>> {
    let Some(tenant) = tenant_of(token) else { return Ok(None) };
    let mut tx = platform.db.tenant(tenant).await?;
    let invitation = store::find_invitation(&mut tx, token.digest(), platform.clock.now()).await?;
    tx.commit().await?;
    Ok(invitation)
}

/// Makes the signed-in user a member, if the invitation is for their address.
pub async fn accept(platform: &Platform, session: &Session, token: &Plaintext) -> Result<TenantSlug> {
    session.require_own()?;
    let is_gone = || Error::not_found("invitation");
    let tenant = tenant_of(token).ok_or_else(is_gone)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(tenant).await?;
    let role = store::take_invitation(&mut tx, token.digest(), &session.email, now).await?.ok_or_else(is_gone)?;
    if store::insert_membership(&mut tx, session.user, role, now).await? {
        let joined = Member { user: session.user, tenant, role };
        audit::append(&mut tx, now, &joined, &Event::MemberJoined(session.user, role)).await?;
    }
    let slug = store::get_slug(&mut tx).await?;
    tx.commit().await?;
    Ok(slug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_names_its_tenant() {
        let tenant = TenantId::new(DateTime::UNIX_EPOCH);
        assert_eq!(tenant_of(&Plaintext::generate(&format!("{tenant}_"))), Some(tenant));
        for text in ["", "_", "ten_", "ten_x_y", "no such thing"] {
            assert_eq!(tenant_of(&Plaintext::new(text.to_owned())), None);
        }
    }
}
