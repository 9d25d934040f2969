//! Reading descriptions again in the background: each API with a link, now and again, by one replica at a time.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, stream::FuturesUnordered};

use super::{
    super::{
        api::{Api, Document},
        fetch::fetch,
        store as apis,
    },
    change::{self, Brought},
    notice, store,
};
use crate::{
    Platform,
    audit::{self, Event},
    catalog,
    db::TenantTx,
    error::{Error, ErrorKind, Result},
    ids::{ApiId, TenantId},
};

/// Longest time for one description, and how long nobody else begins.
const DEADLINE: Duration = Duration::from_mins(1);
const LEASE: TimeDelta = TimeDelta::seconds(120);
/// Descriptions that one replica reads at the same time, each of another tenant: each can have 10 MiB.
const TOGETHER: usize = 4;
/// A link that cannot be read is told of when that lasts: until then it is a deployment, or somebody else's bad day.
const LASTS: TimeDelta = TimeDelta::hours(24);
/// Characters of why it cannot be read.
const WHY: usize = 400;

/// Has its link read now and again from now on, the first time within one pause; without a link, not any more. `is_verified`: the pinned document was
/// just read from there.
pub(in crate::catalog::api) async fn begin(platform: &Platform, tx: &mut TenantTx, api: &Api, is_verified: bool) -> Result<()> {
    let now = platform.clock.now();
    if is_verified {
        store::set_verified(tx, api.id, now).await?;
    }
    if api.link.is_none() {
        return store::unschedule(tx, api.id).await;
    }
    store::schedule(tx, api.id, now + share(platform.settings.supply.every, 50, 100)).await
}

/// Between so many percent of it: what was imported together is not read together.
fn share(pause: Duration, least: u32, most: u32) -> Duration {
    let percent = least + u32::from(crate::random::bytes::<1>()[0]) * (most - least) / 255;
    pause * percent / 100
}

/// Reads every description that is due by now, a few at a time. Called by a background tick.
pub async fn read_due(platform: &Platform) -> Result<()> {
    let mut reading = FuturesUnordered::new();
    let mut busy: Vec<TenantId> = Vec::new();
    let mut outcome = Ok(());
    loop {
        while reading.len() < TOGETHER && outcome.is_ok() {
            match next_due(platform, &busy).await {
                Ok(Some((tenant, id))) => {
                    busy.push(tenant);
                    reading.push(read_and_tell(platform, tenant, id));
                }
                Ok(None) => break,
                // The queue cannot be read; what was begun is finished.
                Err(error) => outcome = Err(error),
            }
        }
        match reading.next().await {
            Some(done) => busy.retain(|tenant| *tenant != done),
            None => return outcome,
        }
    }
}

async fn next_due(platform: &Platform, but: &[TenantId]) -> Result<Option<(TenantId, ApiId)>> {
    let now = platform.clock.now();
    let mut tx = platform.db.system().await?;
    let due = store::lease_due(&mut tx, but, now, now + LEASE).await?;
    tx.commit().await?;
    Ok(due)
}

/// A description that cannot be looked after is nobody else's trouble. Says whose it is.
async fn read_and_tell(platform: &Platform, tenant: TenantId, id: ApiId) -> TenantId {
    if let Err(error) = leased(platform, tenant, id).await {
        tracing::warn!(tenant.id = %tenant, api.id = %id, error = &error as &dyn std::error::Error, "a description was not verified");
    }
    tenant
}

/// The same under a lease, which ends with it.
async fn leased(platform: &Platform, tenant: TenantId, id: ApiId) -> Result<()> {
    let outcome = tokio::time::timeout(DEADLINE, one(platform, tenant, id)).await;
    let mut tx = platform.db.tenant(tenant).await?;
    store::release(&mut tx, id, platform.clock.now() + share(platform.settings.supply.every, 90, 110)).await?;
    tx.commit().await?;
    outcome.unwrap_or_else(|_| Err(Error::internal("a description took longer than its lease")))
}

async fn one(platform: &Platform, tenant: TenantId, id: ApiId) -> Result<()> {
    let mut tx = platform.db.tenant(tenant).await?;
    let found = apis::find(&mut tx, id).await?;
    // While a tenant is suspended nothing is asked for in its name.
    let is_active = catalog::store::is_active(&mut tx).await?;
    tx.commit().await?;
    let Some(link) = found.and_then(|found| found.api.link).filter(|_| is_active) else { return Ok(()) };
    if platform.settings.supply.manifest.refusal(&link).is_some() {
        return Ok(());
    }
    let read = async {
        let bytes = fetch(&platform.egress, &link).await?;
        Brought::read(Document { bytes, link: Some(link.clone()) }).await
    };
    match read.await {
        Ok(brought) => change::note(platform, tenant, id, brought, None).await.map(drop),
        Err(error) => match error.kind() {
            // What is read there is no description: as good as nothing.
            ErrorKind::Invalid(fields) => {
                let why = fields.first().map_or_else(|| error.to_string(), |field| field.message.clone());
                note_failure(platform, tenant, id, &why).await
            }
            _ => Err(error),
        },
    }
}

/// What cannot be read changes nothing; when it lasts, somebody is told, once.
async fn note_failure(platform: &Platform, tenant: TenantId, id: ApiId, why: &str) -> Result<()> {
    let now = platform.clock.now();
    let why: String = why.chars().filter(|c| *c != '\0').take(WHY).collect();
    let mut tx = platform.db.tenant(tenant).await?;
    let Some(api) = apis::lock(&mut tx, id).await? else { return Ok(()) };
    let (since, is_told): (DateTime<Utc>, bool) = store::set_unreadable(&mut tx, id, now, &why).await?;
    if !is_told && now - since >= LASTS {
        audit::append_all(&mut tx, now, None, &[Event::ApiUnreadable(id, why.clone())]).await?;
        notice::tell_failure(platform, &mut tx, &api, &why).await?;
        store::set_failure_told(&mut tx, id).await?;
    }
    tx.commit().await
}
