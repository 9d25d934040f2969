//! SQL of memberships: inside their tenant, but for the reading of one's own.

use chrono::NaiveDate;

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
    let rows: Vec<MembershipRow> = sqlx::query_as(
        "SELECT m.tenant_id, t.slug, t.name, t.currency, m.role, t.require_second_factor, t.require_sso,
                COALESCE(r.firing, 0) AS firing, COALESCE(c.wrong_days, '{}') AS wrong_days
         FROM app.memberships m JOIN app.tenants t ON t.id = m.tenant_id
         LEFT JOIN app.alert_rounds r ON r.tenant = t.id AND t.slug = $2
         LEFT JOIN app.usage_checks c ON c.tenant = t.id AND t.slug = $2
         WHERE m.user_id = $1
         ORDER BY t.slug = $2 DESC, lower(t.name), t.slug
         LIMIT 200",
    )
    .bind(user)
    .bind(slug)
    .fetch_all(tx.connection())
    .await?;
    let membership = |row: MembershipRow| {
        Ok(Membership {
            tenant: row.tenant_id,
            slug: row.slug.parse().map_err(Error::internal)?,
            name: row.name,
            currency: row.currency,
            role: role(&row.role)?,
            requires_second_factor: row.require_second_factor,
            requires_sso: row.require_sso,
            firing: row.firing,
            wrong_days: row.wrong_days,
        })
    };
    rows.into_iter().map(membership).collect()
}

#[derive(sqlx::FromRow)]
struct MembershipRow {
    tenant_id: TenantId,
    slug: String,
    name: String,
    currency: String,
    role: String,
    require_second_factor: bool,
    require_sso: bool,
    firing: i32,
    wrong_days: Vec<NaiveDate>,
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
