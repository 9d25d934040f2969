//! A sealed secret as replicas keep it in memory. Opened for one request, at the place that it was sealed for.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::store::{self, Stored};
use crate::{
    Platform,
    db::TenantTx,
    error::Result,
    ids::{CredentialId, TenantId},
    secret::{DataKeys, Plaintext, Refusals, Rotating, SealError},
};

/// A sealed secret, and for a while the one before it.
#[derive(Debug)]
pub(crate) struct Held {
    tenant: TenantId,
    row: Stored,
    refusals: Arc<Refusals>,
}

impl Held {
    /// One of the tenant's.
    pub(crate) async fn find(platform: &Platform, tx: &mut TenantTx, id: CredentialId) -> Result<Option<Self>> {
        Ok(store::find_sealed(tx, id).await?.map(|row| Self::of(platform, tx.tenant(), row)))
    }

    /// Those that published and pinned versions and sources use.
    pub(in crate::catalog) async fn load(platform: &Platform, tx: &mut TenantTx) -> Result<Vec<Self>> {
        let rows = store::load(tx).await?;
        Ok(rows.into_iter().map(|row| Self::of(platform, tx.tenant(), row)).collect())
    }

    fn of(platform: &Platform, tenant: TenantId, row: Stored) -> Self {
        Self { tenant, row, refusals: Arc::clone(&platform.refusals) }
    }

    pub(in crate::catalog) fn id(&self) -> CredentialId {
        self.row.id
    }

    /// Where it may be sent, and nowhere else.
    pub(in crate::catalog) fn origin(&self) -> &str {
        &self.row.origin
    }

    /// Counts changes of what is sent.
    pub(in crate::catalog) fn edition(&self) -> i32 {
        self.row.edition
    }

    /// Opens it. The value before is there until its overlap has ended, on the second.
    pub(crate) fn open(&self, keys: Option<&DataKeys>, now: DateTime<Utc>) -> Result<Rotating, SealError> {
        let keys = keys.ok_or(SealError::OtherKey)?;
        let place = place(self.tenant, self.row.id, &self.row.origin);
        let secret = Rotating::alone(text(keys, &place, &self.row.sealed)?);
        match (&self.row.previous, self.row.overlap_until) {
            (Some(previous), Some(until)) if now < until => {
                Ok(secret.with_previous(text(keys, &place, previous)?, (self.tenant, self.row.id), &self.refusals))
            }
            _ => Ok(secret),
        }
    }
}

fn text(keys: &DataKeys, place: &str, sealed: &[u8]) -> Result<Plaintext, SealError> {
    let bytes = keys.open(place, sealed)?;
    std::str::from_utf8(&bytes).map(|text| Plaintext::new(text.to_owned())).map_err(|_| SealError::Format)
}

/// Where a sealed secret belongs: moving it to another tenant, row or origin makes it unreadable.
pub(super) fn place(tenant: TenantId, id: CredentialId, origin: &str) -> String {
    format!("{tenant}|credentials|{id}|{origin}")
}
