//! SQL of what members let clients do; everything else of it is written by `oauth`.

use super::Time;
use crate::{
    db::TenantTx,
    error::Result,
    ids::{GrantId, UserId},
};

/// Ends everything that somebody let clients do in this tenant; tells what.
pub(in crate::accounts) async fn revoke_grants_of(tx: &mut TenantTx, user: UserId, now: Time, why: &str) -> Result<Vec<GrantId>> {
    sqlx::query("DELETE FROM app.consents WHERE tenant_id = $1 AND user_id = $2")
        .bind(tx.tenant())
        .bind(user)
        .execute(tx.connection())
        .await?;
    Ok(sqlx::query_scalar(
        "UPDATE app.grants SET revoked_at = $3, revoked_why = $4
         WHERE tenant_id = $1 AND user_id = $2 AND revoked_at IS NULL RETURNING id",
    )
    .bind(tx.tenant())
    .bind(user)
    .bind(now)
    .bind(why)
    .fetch_all(tx.connection())
    .await?)
}
