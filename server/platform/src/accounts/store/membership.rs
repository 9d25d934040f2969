//! SQL of memberships: inside their tenant, but for the reading of one's own.

use super::{Time, role};
use crate::{
    accounts::{EmailAddress, MemberRow, Membership},
    actor::Role,
    db::{SystemTx, TenantTx},
    error::{Error, Result},
    ids::{TenantId, UserId},
};

/// The user's own memberships, across tenants: the policy `own` of the table. The tenant of that slug is among them even if there are many.
pub(in crate::accounts) async fn list_memberships(tx: &mut SystemTx, user: UserId, slug: &str) -> Result<Vec<Membership>> {
    let rows: Vec<(TenantId, String, String, String, String, bool, bool)> = sqlx::query_as(
        "SELECT m.tenant_id, t.slug, t.name, t.currency, m.role, t.require_second_factor, t.require_sso
         FROM app.memberships m JOIN app.tenants t ON t.id = m.tenant_id
         WHERE m.user_id = $1
         ORDER BY t.slug = $2 DESC, lower(t.name), t.slug
         LIMIT 200",
    )
    .bind(user)
    .bind(slug)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter()
        .map(|(tenant, slug, name, currency, text, requires_second_factor, requires_sso)| {
            let slug = slug.parse().map_err(Error::internal)?;
            let role = role(&text)?;
            Ok(Membership { tenant, slug, name, currency, role, requires_second_factor, requires_sso })
        })
        .collect()
}

pub(in crate::accounts) async fn list_members(tx: &mut TenantTx) -> Result<Vec<MemberRow>> {
    let rows: Vec<(UserId, String, String, Time)> = sqlx::query_as(
        "SELECT m.user_id, u.email, m.role, m.created_at
         FROM app.memberships m JOIN app.users u ON u.id = m.user_id
         WHERE m.tenant_id = $1
         ORDER BY array_position(ARRAY['owner', 'admin', 'developer', 'viewer', 'auditor'], m.role), u.email
         LIMIT 1000",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter()
        .map(|(user, email, text, since)| Ok(MemberRow { user, email: EmailAddress::parse(&email)?, role: role(&text)?, since }))
        .collect()
}

/// The owners' roles and those of the users, locked in one order, so that two changes wait for each other instead of failing.
pub(in crate::accounts) async fn lock_roles(tx: &mut TenantTx, users: &[UserId]) -> Result<Vec<(UserId, Role)>> {
    let users: Vec<_> = users.iter().map(|user| user.uuid()).collect();
    let rows: Vec<(UserId, String)> = sqlx::query_as(
        "SELECT user_id, role FROM app.memberships
         WHERE tenant_id = $1 AND (role = 'owner' OR user_id = ANY ($2))
         ORDER BY user_id
         FOR UPDATE",
    )
    .bind(tx.tenant())
    .bind(users)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(|(user, text)| Ok((user, role(&text)?))).collect()
}

pub(in crate::accounts) async fn is_member(tx: &mut TenantTx, email: &EmailAddress) -> Result<bool> {
    let is_member = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM app.memberships m JOIN app.users u ON u.id = m.user_id WHERE m.tenant_id = $1 AND u.email = $2)",
    )
    .bind(tx.tenant())
    .bind(email.as_str())
    .fetch_one(tx.connection())
    .await?;
    Ok(is_member)
}

/// False if the user is a member already.
pub(in crate::accounts) async fn insert_membership(tx: &mut TenantTx, user: UserId, role: Role, now: Time) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO app.memberships (tenant_id, user_id, role, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant_id, user_id) DO NOTHING",
    )
    .bind(tx.tenant())
    .bind(user)
    .bind(role.as_str())
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(in crate::accounts) async fn update_membership(tx: &mut TenantTx, user: UserId, role: Role) -> Result<()> {
    sqlx::query("UPDATE app.memberships SET role = $3 WHERE tenant_id = $1 AND user_id = $2")
        .bind(tx.tenant())
        .bind(user)
        .bind(role.as_str())
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(in crate::accounts) async fn delete_membership(tx: &mut TenantTx, user: UserId) -> Result<()> {
    sqlx::query("DELETE FROM app.memberships WHERE tenant_id = $1 AND user_id = $2")
        .bind(tx.tenant())
        .bind(user)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// What the user is in the tenant, if anything. Locked until the transaction ends.
pub(in crate::accounts) async fn lock_role(tx: &mut TenantTx, user: UserId) -> Result<Option<Role>> {
    let text: Option<String> =
        sqlx::query_scalar("SELECT role FROM app.memberships WHERE tenant_id = $1 AND user_id = $2 FOR UPDATE")
            .bind(tx.tenant())
            .bind(user)
            .fetch_optional(tx.connection())
            .await?;
    text.map(|text| role(&text)).transpose()
}
