//! Exchanging keys while everything runs. The installation's key wraps one data key per tenant, so its rotation touches one row per
//! tenant; a tenant's data key seals its secrets, so its renewal touches those. Both go on where they were cut: what is done is seen in the
//! values themselves.

mod store;

use std::collections::BTreeMap;

use crate::{
    Platform,
    accounts::{self, totp},
    alerts,
    audit::{self, Event},
    catalog, chain, connections, epoch,
    error::{Error, Result},
    execution,
    ids::{TenantId, uuid_v7},
    jobs, oauth, publishing, vault,
};

/// Tenants that are listed, and jobs that are changed, in one transaction.
const PAGE: i64 = 200;
/// Values that are sealed anew in one transaction.
const VALUES: i64 = 100;

/// Which keys of the installation are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The id of the current one.
    pub current: String,
    /// How many data keys each has wrapped, by its id. One that is not here is needed no more.
    pub wrapped: BTreeMap<String, u64>,
    /// Jobs whose keys another one than the current has wrapped.
    pub jobs: u64,
    /// Signing keys that another one than the current has sealed.
    pub signing: u64,
    /// Audit keys that another one than the current has sealed.
    pub audit: u64,
}

/// Counts what each key has wrapped.
pub async fn usage(platform: &Platform) -> Result<Usage> {
    let mut usage =
        Usage { current: platform.master_key.id().to_owned(), wrapped: BTreeMap::new(), jobs: 0, signing: 0, audit: 0 };
    let mut after = None;
    while let Some(tenants) = page(platform, after).await? {
        for tenant in &tenants {
            let mut tx = platform.db.tenant(*tenant).await?;
            for key in vault::wrapped_by(&mut tx).await? {
                *usage.wrapped.entry(key).or_default() += 1;
            }
            tx.commit().await?;
        }
        after = tenants.last().copied();
    }
    for (key, count) in totp::wrapped_by(platform).await? {
        *usage.wrapped.entry(key).or_default() += u64::try_from(count).map_err(Error::internal)?;
    }
    usage.signing = oauth::signing_keys_under_others(platform).await?;
    usage.audit = chain::count_under_others(platform).await?;
    usage.jobs = jobs::count_under_others(platform).await?;
    Ok(usage)
}

/// Wraps everything with the current key that another has wrapped; how many. Calls go on meanwhile: replicas open with both.
pub async fn rewrap(platform: &Platform) -> Result<u64> {
    let (mut rewrapped, mut after) = (0, None);
    while let Some(tenants) = page(platform, after).await? {
        for tenant in &tenants {
            let mut tx = platform.db.tenant(*tenant).await?;
            rewrapped += vault::rewrap(&mut tx, &platform.master_key).await?;
            tx.commit().await?;
        }
        after = tenants.last().copied();
    }
    rewrapped += totp::rewrap(platform, PAGE).await?;
    rewrapped += oauth::reseal_signing_keys(platform).await? + chain::reseal(platform).await?;
    Ok(rewrapped + jobs::rewrap(platform, PAGE).await?)
}

/// Gives a tenant a new data key, seals all its secrets under it and destroys the old one; how many secrets. A run that was cut is gone
/// on with: there is still more than one key.
pub async fn renew(platform: &Platform, slug: &str) -> Result<u64> {
    let mut tx = platform.db.system().await?;
    let tenant = store::find_tenant(&mut tx, slug).await?.ok_or(Error::not_found("tenant"))?;
    tx.commit().await?;
    let mut tx = platform.db.tenant(tenant).await?;
    match vault::count(&mut tx).await? {
        0 => return Ok(0),
        1 => {
            let now = platform.clock.now();
            vault::renew(&mut tx, &platform.master_key, uuid_v7(now)).await?;
            audit::append_all(&mut tx, now, None, &[Event::DataKeyRenewed(tenant)]).await?;
        }
        _ => {}
    }
    tx.commit().await?;
    let resealed = reseal(platform, tenant).await?;
    let mut tx = platform.db.tenant(tenant).await?;
    vault::forget_older(&mut tx).await?;
    tx.commit().await?;
    epoch::changed(platform, tenant).await;
    Ok(resealed)
}

async fn reseal(platform: &Platform, tenant: TenantId) -> Result<u64> {
    let mut resealed = 0;
    loop {
        let mut tx = platform.db.tenant(tenant).await?;
        let Some(keys) = vault::find(&mut tx, &platform.master_key).await? else { return Ok(resealed) };
        let count = catalog::credential::reseal(&mut tx, &keys, VALUES).await?
            + connections::reseal(&mut tx, &keys, VALUES).await?
            + accounts::reseal_sso(&mut tx, &keys).await?
            + execution::logs::reseal(&mut tx, &keys, VALUES).await?
            + publishing::reseal(&mut tx, &keys, VALUES).await?
            + alerts::reseal(&mut tx, &keys, platform.clock.now()).await?;
        tx.commit().await?;
        if count == 0 {
            return Ok(resealed);
        }
        resealed += count;
    }
}

async fn page(platform: &Platform, after: Option<TenantId>) -> Result<Option<Vec<TenantId>>> {
    let mut tx = platform.db.system().await?;
    let tenants = store::tenants(&mut tx, after, PAGE).await?;
    tx.commit().await?;
    Ok((!tenants.is_empty()).then_some(tenants))
}
