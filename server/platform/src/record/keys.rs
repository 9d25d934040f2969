//! The last day a key was used: noted once a day and key, by a tick beside the record.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use chrono::NaiveDate;

use crate::{
    Platform, Result, agents,
    call::Entry,
    ids::{KeyId, TenantId},
};

/// Keys whose day is remembered; beyond, they are noted once more, which changes nothing.
const MOST: usize = 100_000;

/// Keys that were used, and on which day that was noted.
#[derive(Debug, Default)]
pub struct KeysSeen(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    noted: HashMap<KeyId, NaiveDate>,
    pending: HashMap<(TenantId, NaiveDate), Vec<KeyId>>,
}

impl KeysSeen {
    /// Remembers the keys of calls for the next tick.
    pub(super) fn remember<'a>(&self, entries: impl Iterator<Item = &'a Entry>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.noted.len() > MOST {
            seen.noted.clear();
        }
        for entry in entries {
            let day = entry.at.date_naive();
            if let Some(key) = entry.key
                && seen.noted.insert(key, day) != Some(day)
            {
                seen.pending.entry((entry.tenant, day)).or_default().push(key);
            }
        }
    }

    fn take(&self) -> HashMap<(TenantId, NaiveDate), Vec<KeyId>> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).pending)
    }

    fn forget(&self, keys: &[KeyId]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).noted.retain(|key, _| !keys.contains(key));
    }
}

/// Notes the days. Called by a background tick; what fails is noted with the key's next call.
pub async fn note_key_use(platform: &Platform) -> Result<()> {
    let mut failed = None;
    for ((tenant, day), keys) in platform.keys_seen.take() {
        if let Err(error) = touch(platform, tenant, &keys, day).await {
            platform.keys_seen.forget(&keys);
            failed = Some(error);
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn touch(platform: &Platform, tenant: TenantId, keys: &[KeyId], day: NaiveDate) -> Result<()> {
    let mut tx = platform.db.tenant(tenant).await?;
    agents::touch_keys(&mut tx, keys, day).await?;
    tx.commit().await
}
