//! The handle that every verb takes first.

use std::{ops::Deref, sync::Arc};

use url::Url;

use crate::{accounts, clock::Clock, db::Db, mail, quota, redis::Redis, secret::MasterKey};

/// Settings of every module. Each owns its part; the binary composes them from defaults, file and environment.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where people and agents reach this installation, such as `https://trunkline.example`. Without a path.
    pub public_url: Url,
    /// People.
    pub accounts: accounts::Settings,
    /// Mail.
    pub mail: mail::Settings,
    /// Limits.
    pub quota: quota::Settings,
}

/// Everything a verb may need; cheap to clone.
#[derive(Clone)]
pub struct Platform {
    parts: Arc<Parts>,
    passwords: accounts::Passwords,
}

/// What `Platform` is made of. Built once, by the binary's wiring or by a test.
pub struct Parts {
    /// Postgres.
    pub db: Db,
    /// Redis.
    pub redis: Redis,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The installation's key.
    pub master_key: MasterKey,
    /// Settings of every module.
    pub settings: Settings,
    /// Where letters go.
    pub mailer: mail::Mailer,
}

impl Platform {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        Self { passwords: accounts::Passwords::new(&parts.settings.accounts), parts: Arc::new(parts) }
    }

    /// Hashing of passwords, bounded for the whole process.
    pub(crate) fn passwords(&self) -> &accounts::Passwords {
        &self.passwords
    }
}

impl Deref for Platform {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}
