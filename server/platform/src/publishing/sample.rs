//! Arguments of sample calls: sealed under the tenant's data key, since they may be somebody's data. Opened for the call, and for whoever manages it.

use serde_json::{Map, Value};

use super::{
    probe::{Probe, Subject, Terms},
    store,
};
use crate::{
    Platform,
    db::TenantTx,
    error::{Error, Result},
    ids::{ProbeId, TenantId, UserId, uuid_v7},
    secret::DataKeys,
    vault,
};

fn place(tenant: TenantId, id: ProbeId) -> String {
    format!("{tenant}|probes|{id}|sample")
}

/// The subject's probe, if it has one.
pub(super) async fn of(platform: &Platform, tx: &mut TenantTx, subject: Subject) -> Result<Option<Probe>> {
    match store::of(tx, subject).await? {
        Some(probe) => opened(platform, tx, probe).await.map(Some),
        None => Ok(None),
    }
}

/// One, held until the end of the transaction.
pub(super) async fn lock(platform: &Platform, tx: &mut TenantTx, id: ProbeId) -> Result<Option<Probe>> {
    match store::lock(tx, id).await? {
        Some(probe) => opened(platform, tx, probe).await.map(Some),
        None => Ok(None),
    }
}

/// Says how it is tried.
pub(super) async fn set_terms(platform: &Platform, tx: &mut TenantTx, id: ProbeId, terms: &Terms, by: UserId) -> Result<()> {
    let sealed = match &terms.arguments {
        Some(arguments) => Some(seal(platform, tx, id, arguments).await?),
        None => None,
    };
    store::set_terms(tx, id, terms, sealed.as_deref(), by).await
}

/// Seals what an older release has left as it was entered.
pub(super) async fn seal_plain(platform: &Platform, tx: &mut TenantTx, probe: &Probe) -> Result<()> {
    if let (None, Some(arguments)) = (&probe.sealed, &probe.terms.arguments) {
        let sealed = seal(platform, tx, probe.id, arguments).await?;
        store::set_sample(tx, probe.id, &sealed).await?;
    }
    Ok(())
}

/// Seals samples anew that older data keys have sealed, and those that none has; at most so many of each. How many.
pub(crate) async fn reseal(tx: &mut TenantTx, keys: &DataKeys, most: i64) -> Result<u64> {
    let tenant = tx.tenant();
    let mut resealed = 0;
    for (id, sealed) in store::samples_under_others(tx, &keys.newest(), most).await? {
        if let Some(sealed) = keys.reseal(&place(tenant, id), &sealed).map_err(Error::internal)? {
            store::set_sample(tx, id, &sealed).await?;
            resealed += 1;
        }
    }
    for (id, plain) in store::plain_samples(tx, most).await? {
        store::set_sample(tx, id, &keys.seal(&place(tenant, id), plain.as_bytes())).await?;
        resealed += 1;
    }
    Ok(resealed)
}

async fn seal(platform: &Platform, tx: &mut TenantTx, id: ProbeId, arguments: &Map<String, Value>) -> Result<Vec<u8>> {
    let keys = vault::get_or_create(tx, &platform.master_key, uuid_v7(platform.clock.now())).await?;
    let text = serde_json::to_string(arguments).map_err(Error::internal)?;
    Ok(keys.seal(&place(tx.tenant(), id), text.as_bytes()))
}

async fn opened(platform: &Platform, tx: &mut TenantTx, mut probe: Probe) -> Result<Probe> {
    if let Some(sealed) = &probe.sealed {
        let keys = vault::find(tx, &platform.master_key).await?.ok_or_else(|| Error::internal("the key of a sample is gone"))?;
        let text = keys.open(&place(tx.tenant(), probe.id), sealed).map_err(Error::internal)?;
        probe.terms.arguments = serde_json::from_slice(&text).map_err(Error::internal)?;
    }
    Ok(probe)
}
