//! The keys of each tenant: made when first needed, wrapped by the installation's key, destroyed with the tenant.
//!
//! Data keys seal its secrets. Usually there is one; after [`renew`] there are two, until everything is sealed under the newer one. One more
//! key fingerprints what its record must not tell.

mod store;

use store::{Purpose, StoredKey};

use crate::{
    db::TenantTx,
    error::{Error, Result},
    ids::TenantId,
    secret::{DataKey, DataKeys, MasterKey},
};

fn place(tenant: TenantId) -> String {
    format!("dek|{tenant}")
}

fn record_place(tenant: TenantId) -> String {
    format!("record|{tenant}")
}

/// The tenant's data keys, if it has any.
pub(crate) async fn find(tx: &mut TenantTx, master: &MasterKey) -> Result<Option<DataKeys>> {
    let mut keys = Vec::new();
    for row in store::list(tx, Purpose::Secrets).await? {
        keys.push(unwrap(tx, master, &place(tx.tenant()), &row)?);
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

/// The key that the tenant's record fingerprints arguments with, made if it has none. Never exchanged: fingerprints have to stay comparable.
pub(crate) async fn record_key(tx: &mut TenantTx, master: &MasterKey, id: uuid::Uuid) -> Result<DataKey> {
    let place = record_place(tx.tenant());
    if let Some(row) = store::list(tx, Purpose::Record).await?.first() {
        return unwrap(tx, master, &place, row);
    }
    // Two replicas may need it first.
    store::lock(tx).await?;
    if let Some(row) = store::list(tx, Purpose::Record).await?.first() {
        return unwrap(tx, master, &place, row);
    }
    let key = DataKey::generate();
    store::insert(tx, Purpose::Record, id, master.id(), &master.wrap(&place, &key)).await?;
    Ok(key)
}

fn unwrap(tx: &TenantTx, master: &MasterKey, place: &str, row: &StoredKey) -> Result<DataKey> {
    master.unwrap_key(place, &row.wrapped).map_err(|error| {
        let (tenant, current) = (tx.tenant(), master.id());
        Error::internal(format!("a key of {tenant} is wrapped by key {}; the current one is {current}: {error}", row.kek_id))
    })
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
    let rows = store::list(tx, Purpose::Secrets).await?;
    let Some(newest) = rows.first() else { return Ok(0) };
    store::delete_all_but(tx, Purpose::Secrets, newest.id).await
}

/// Wraps the tenant's keys with the current key of the installation. How many were wrapped by another.
pub(crate) async fn rewrap(tx: &mut TenantTx, master: &MasterKey) -> Result<u64> {
    store::lock(tx).await?;
    let mut rewrapped = 0;
    for (purpose, place) in [(Purpose::Secrets, place(tx.tenant())), (Purpose::Record, record_place(tx.tenant()))] {
        for row in store::list(tx, purpose).await? {
            if row.kek_id != master.id() {
                let key = master.unwrap_key(&place, &row.wrapped).map_err(Error::internal)?;
                store::update(tx, row.id, master.id(), &master.wrap(&place, &key)).await?;
                rewrapped += 1;
            }
        }
    }
    Ok(rewrapped)
}

/// The ids of the installation's keys that wrapped the tenant's keys, one for each.
pub(crate) async fn wrapped_by(tx: &mut TenantTx) -> Result<Vec<String>> {
    let mut rows = store::list(tx, Purpose::Secrets).await?;
    rows.extend(store::list(tx, Purpose::Record).await?);
    Ok(rows.into_iter().map(|row| row.kek_id).collect())
}

/// How many data keys the tenant has.
pub(crate) async fn count(tx: &mut TenantTx) -> Result<usize> {
    Ok(store::list(tx, Purpose::Secrets).await?.len())
}

async fn add(tx: &mut TenantTx, master: &MasterKey, id: uuid::Uuid) -> Result<DataKey> {
    let key = DataKey::generate();
    store::insert(tx, Purpose::Secrets, id, master.id(), &master.wrap(&place(tx.tenant()), &key)).await?;
    Ok(key)
}
