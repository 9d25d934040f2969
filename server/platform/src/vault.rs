//! The data key of each tenant: made when first needed, wrapped by the installation's key, destroyed with the tenant.

use crate::{
    db::TenantTx,
    error::{Error, Result},
    ids::TenantId,
    secret::{DataKey, MasterKey},
};

fn place(tenant: TenantId) -> String {
    format!("dek|{tenant}")
}

/// The tenant's data key, if it has one.
pub(crate) async fn find(tx: &mut TenantTx, master: &MasterKey) -> Result<Option<DataKey>> {
    let row: Option<(String, Vec<u8>)> =
        sqlx::query_as("SELECT kek_id, wrapped FROM app.tenant_keys WHERE tenant_id = $1 ORDER BY id DESC LIMIT 1")
            .bind(tx.tenant())
            .fetch_optional(tx.connection())
            .await?;
    let Some((kek_id, wrapped)) = row else { return Ok(None) };
    if kek_id != master.id() {
        return Err(Error::internal(format!(
            "the data key of {} is wrapped by key {kek_id}, not by {}",
            tx.tenant(),
            master.id()
        )));
    }
    master.unwrap_key(&place(tx.tenant()), &wrapped).map(Some).map_err(Error::internal)
}

/// The tenant's data key, made if it has none.
pub(crate) async fn get_or_create(tx: &mut TenantTx, master: &MasterKey, id: uuid::Uuid) -> Result<DataKey> {
    // Two members may store their first secret at the same time.
    sqlx::query("SELECT FROM app.tenants WHERE id = $1 FOR UPDATE").bind(tx.tenant()).execute(tx.connection()).await?;
    if let Some(key) = find(tx, master).await? {
        return Ok(key);
    }
    let key = DataKey::generate();
    sqlx::query("INSERT INTO app.tenant_keys (id, tenant_id, kek_id, wrapped) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(tx.tenant())
        .bind(master.id())
        .bind(master.wrap(&place(tx.tenant()), &key))
        .execute(tx.connection())
        .await?;
    Ok(key)
}
