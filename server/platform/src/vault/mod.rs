//! The data keys of each tenant: made when first needed, wrapped by the installation's key, destroyed with the tenant.
//!
//! Usually one. After [`renew`] there are two, until everything is sealed under the newer one.

mod store;

use crate::{
    db::TenantTx,
    error::{Error, Result},
    ids::TenantId,
    secret::{DataKey, DataKeys, MasterKey},
};

fn place(tenant: TenantId) -> String {
    format!("dek|{tenant}")
}

/// The tenant's data keys, if it has any.
pub(crate) async fn find(tx: &mut TenantTx, master: &MasterKey) -> Result<Option<DataKeys>> {
    let place = place(tx.tenant());
    let mut keys = Vec::new();
    for row in store::list(tx).await? {
        let key = master.unwrap_key(&place, &row.wrapped).map_err(|error| {
            Error::internal(format!(
                "a data key of {} is wrapped by key {}; the current one is {}: {error}",
                tx.tenant(),
                row.kek_id,
                master.id()
            ))
        })?;
        keys.push(key);
    }
    let mut keys = keys.into_iter();
    Ok(keys.next().map(|newest| DataKeys::new(newest, keys.collect())))
}

/// The tenant's data keys, made if it has none.
pub(crate) async fn get_or_create(tx: &mut TenantTx, master: &MasterKey, id: uuid::Uuid) -> Result<DataKeys> {
    // Two members may store their first secret at the same time.
    store::lock(tx).await?;
    match find(tx, master).await? {
        Some(keys) => Ok(keys),
        None => Ok(DataKeys::new(add(tx, master, id).await?, Vec::new())),
    }
}

/// A new data key for the tenant; what is sealed under the others is sealed anew by whoever keeps it.
pub(crate) async fn renew(tx: &mut TenantTx, master: &MasterKey, id: uuid::Uuid) -> Result<()> {
    store::lock(tx).await?;
    add(tx, master, id).await?;
    Ok(())
}

/// Forgets all data keys but the newest. For when nothing is sealed under them any more.
pub(crate) async fn forget_older(tx: &mut TenantTx) -> Result<u64> {
    // Waits for whoever is sealing under the keys it has read.
    store::lock(tx).await?;
    let rows = store::list(tx).await?;
    let Some(newest) = rows.first() else { return Ok(0) };
    store::delete_all_but(tx, newest.id).await
}

/// Wraps the tenant's data keys with the current key of the installation. How many were wrapped by another.
pub(crate) async fn rewrap(tx: &mut TenantTx, master: &MasterKey) -> Result<u64> {
    store::lock(tx).await?;
    let place = place(tx.tenant());
    let mut rewrapped = 0;
    for row in store::list(tx).await? {
        if row.kek_id != master.id() {
            let key = master.unwrap_key(&place, &row.wrapped).map_err(Error::internal)?;
            store::update(tx, row.id, master.id(), &master.wrap(&place, &key)).await?;
            rewrapped += 1;
        }
    }
    Ok(rewrapped)
}

/// The ids of the installation's keys that wrapped the tenant's data keys, one for each.
pub(crate) async fn wrapped_by(tx: &mut TenantTx) -> Result<Vec<String>> {
    Ok(store::list(tx).await?.into_iter().map(|row| row.kek_id).collect())
}

async fn add(tx: &mut TenantTx, master: &MasterKey, id: uuid::Uuid) -> Result<DataKey> {
    let key = DataKey::generate();
    store::insert(tx, id, master.id(), &master.wrap(&place(tx.tenant()), &key)).await?;
    Ok(key)
}
