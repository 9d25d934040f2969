//! SQL of invitations, inside their tenant.

use super::{Time, role};
use crate::{
    accounts::{EmailAddress, Invitation, OpenInvitation},
    actor::Role,
    db::TenantTx,
    error::Result,
    ids::{InvitationId, UserId},
    secret::Digest,
};

pub(in crate::accounts) struct NewInvitation<'a> {
    pub(in crate::accounts) id: InvitationId,
    pub(in crate::accounts) email: &'a EmailAddress,
    pub(in crate::accounts) role: Role,
    pub(in crate::accounts) digest: Digest,
    pub(in crate::accounts) invited_by: UserId,
    pub(in crate::accounts) expires_at: Time,
}

/// One invitation per address: a new one replaces the old with its secret.
pub(in crate::accounts) async fn upsert_invitation(tx: &mut TenantTx, invitation: &NewInvitation<'_>, now: Time) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.invitations (id, tenant_id, email, role, digest, invited_by, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (tenant_id, email) DO UPDATE
         SET id = excluded.id, role = excluded.role, digest = excluded.digest, invited_by = excluded.invited_by,
             created_at = excluded.created_at, expires_at = excluded.expires_at",
    )
    .bind(invitation.id)
    .bind(tx.tenant())
    .bind(invitation.email.as_str())
    .bind(invitation.role.as_str())
    .bind(invitation.digest.as_bytes())
    .bind(invitation.invited_by)
    .bind(now)
    .bind(invitation.expires_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(in crate::accounts) async fn list_invitations(tx: &mut TenantTx, now: Time) -> Result<Vec<OpenInvitation>> {
    let rows: Vec<(InvitationId, String, String, Time)> = sqlx::query_as(
        "SELECT id, email, role, expires_at FROM app.invitations WHERE tenant_id = $1 ORDER BY created_at DESC LIMIT 1000",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter()
        .map(|(id, email, text, expires_at)| {
            let email = EmailAddress::parse(&email)?;
            Ok(OpenInvitation { id, email, role: role(&text)?, expires_at, is_expired: expires_at <= now })
        })
        .collect()
}

pub(in crate::accounts) async fn find_invitation(tx: &mut TenantTx, digest: Digest, now: Time) -> Result<Option<Invitation>> {
    let row: Option<(String, String, String, bool)> = sqlx::query_as(
        "SELECT i.email, i.role, t.name, EXISTS (SELECT FROM app.users u WHERE u.email = i.email)
         FROM app.invitations i JOIN app.tenants t ON t.id = i.tenant_id
         WHERE i.tenant_id = $1 AND i.digest = $2 AND i.expires_at > $3",
    )
    .bind(tx.tenant())
    .bind(digest.as_bytes())
    .bind(now)
    .fetch_optional(tx.connection())
    .await?;
    row.map(|(email, text, organisation, has_account)| {
        Ok(Invitation { email: EmailAddress::parse(&email)?, role: role(&text)?, organisation, has_account })
    })
    .transpose()
}

/// Uses the invitation up, if it is for that address; tells its role.
pub(in crate::accounts) async fn take_invitation(
    tx: &mut TenantTx,
    digest: Digest,
    email: &EmailAddress,
    now: Time,
) -> Result<Option<Role>> {
    let text: Option<String> = sqlx::query_scalar(
        "DELETE FROM app.invitations WHERE tenant_id = $1 AND digest = $2 AND email = $3 AND expires_at > $4 RETURNING role",
    )
    .bind(tx.tenant())
    .bind(digest.as_bytes())
    .bind(email.as_str())
    .bind(now)
    .fetch_optional(tx.connection())
    .await?;
    text.map(|text| role(&text)).transpose()
}

/// False if there is no such invitation in the tenant.
pub(in crate::accounts) async fn delete_invitation(tx: &mut TenantTx, id: InvitationId) -> Result<bool> {
    let done = sqlx::query("DELETE FROM app.invitations WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Whoever loses a role loses what they handed out with it.
pub(in crate::accounts) async fn delete_invitations_by(tx: &mut TenantTx, user: UserId) -> Result<()> {
    sqlx::query("DELETE FROM app.invitations WHERE tenant_id = $1 AND invited_by = $2")
        .bind(tx.tenant())
        .bind(user)
        .execute(tx.connection())
        .await?;
    Ok(())
}
