//! The last day a key was used: noted once a day and key, after the calls themselves.

use std::collections::HashMap;

use chrono::NaiveDate;

use crate::{
    Platform, agents,
    call::Entry,
    ids::{KeyId, TenantId},
};

/// Notes the day on which keys were used. Best effort: the next call notes it again.
pub(super) async fn touch(platform: &Platform, entries: &[Entry]) {
    let mut used: HashMap<(TenantId, NaiveDate), Vec<KeyId>> = HashMap::new();
    for entry in entries {
        let Some(key) = entry.key.filter(|key| platform.keys_seen.first_today(*key, entry.at.date_naive())) else { continue };
        used.entry((entry.tenant, entry.at.date_naive())).or_default().push(key);
    }
    for ((tenant, day), keys) in used {
        let touched = async {
            let mut tx = platform.db.tenant(tenant).await?;
            agents::touch_keys(&mut tx, &keys, day).await?;
            tx.commit().await
        };
        if let Err(error) = touched.await {
            platform.keys_seen.forget(&keys);
            tracing::warn!(tenant.id = %tenant, error = %error, "the last use of keys could not be noted");
        }
    }
}

/// Keys whose use has been noted today, so that it is noted once.
#[derive(Debug, Default)]
pub struct KeysSeen(std::sync::Mutex<HashMap<KeyId, NaiveDate>>);

impl KeysSeen {
    fn first_today(&self, key: KeyId, day: NaiveDate) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if seen.len() > 100_000 {
            seen.clear();
        }
        seen.insert(key, day) != Some(day)
    }

    fn forget(&self, keys: &[KeyId]) {
        let mut seen = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.retain(|key, _| !keys.contains(key));
    }
}
