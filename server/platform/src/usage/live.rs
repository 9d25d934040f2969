//! The log of calls while it grows: pages ask again and again, each time for a moment, so nobody holds a connection who waits.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::{Call, CallFilter, PAGE, store};
use crate::{
    Platform,
    actor::{Member, Permission},
    error::{Error, ErrorKind, Result},
    ids::TenantId,
};

/// Questions of one tenant that are answered at the same time, so that the pages which its members leave open take no more than that of the
/// database from all others.
const MOST_AT_ONCE: u32 = 3;
/// When a page may ask again that was not answered.
const RETRY_AFTER_MS: u64 = 5_000;

/// Questions that are being answered here, by tenant.
#[derive(Debug, Default)]
pub struct Lookers(Mutex<HashMap<TenantId, u32>>);

impl Lookers {
    fn enter(&self, tenant: TenantId) -> Option<Looker<'_>> {
        let mut looking = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = looking.entry(tenant).or_default();
        (*count < MOST_AT_ONCE).then(|| {
            *count += 1;
            Looker { lookers: self, tenant }
        })
    }
}

/// A place among them, until it is dropped.
struct Looker<'a> {
    lookers: &'a Lookers,
    tenant: TenantId,
}

impl Drop for Looker<'_> {
    fn drop(&mut self) {
        let mut looking = self.lookers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = looking.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                looking.remove(&self.tenant);
            }
        }
    }
}

/// The newest calls that fit, as many as a page of the log has. Fails with `Exhausted` while too many of the tenant ask.
pub async fn newest_calls(platform: &Platform, actor: &Member, filter: &CallFilter) -> Result<Vec<Call>> {
    actor.require(Permission::View)?;
    let busy = || Error::new(ErrorKind::Exhausted { retry_after_ms: RETRY_AFTER_MS });
    let _place = platform.lookers.enter(actor.tenant).ok_or_else(busy)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let filter = store::within_version(&mut tx, filter).await?;
    store::calls(&mut tx, &filter, PAGE).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_has_its_places_and_gets_them_back() {
        let (lookers, one, other) = (Lookers::default(), TenantId::from_uuid(uuid::Uuid::from_u128(1)), TenantId::NIL);
        let held: Vec<_> = (0..MOST_AT_ONCE).map(|_| lookers.enter(one).expect("a place")).collect();
        assert!(lookers.enter(one).is_none() && lookers.enter(other).is_some());
        drop(held);
        let again = lookers.enter(one).expect("a place");
        drop(again);
        assert!(lookers.0.lock().expect("a lock").is_empty());
    }
}
