//! The demo tenant: made at the first start, kept afterwards. What is shown once elsewhere is kept in a private file here, because the
//! whole installation is for showing.

use std::net::SocketAddr;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use trunkline_platform::{
    Platform,
    accounts::{self, TenantSlug},
    error::ErrorKind,
    ids::{TenantId, UserId},
    random,
    secret::Plaintext,
};

use super::state::StateDir;
use crate::services::{kept_secret, write_private};

/// What the first start made.
pub(super) const FILE: &str = "seed.json";
/// The demo user's password.
pub(super) const PASSWORD: &str = "demo.password";
const EMAIL: &str = "demo@trunkline.example";
const SLUG: &str = "demo";

/// What there is to announce.
#[derive(Debug, Clone)]
pub(super) struct Seeded {
    pub(super) tenant: String,
    pub(super) email: String,
    pub(super) password: String,
    pub(super) agent_id: Option<String>,
    pub(super) api_key: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Owner {
    tenant: TenantId,
    user: UserId,
}

/// Makes what is missing. `upstream` is where the sample upstream listens.
pub(super) async fn plant(platform: &Platform, dir: &StateDir, upstream: SocketAddr) -> anyhow::Result<Seeded> {
    let password = kept_secret(&dir.file(PASSWORD), || Plaintext::new(random::base62(16)))?;
    let owner = owner(platform, dir, &password).await.context("the demo tenant cannot be made")?;
    tracing::debug!(tenant.id = %owner.tenant, user.id = %owner.user, %upstream, "demo tenant is there");
    Ok(Seeded {
        tenant: SLUG.to_owned(),
        email: EMAIL.to_owned(),
        password: password.reveal().to_owned(),
        agent_id: None,
        api_key: None,
    })
}

async fn owner(platform: &Platform, dir: &StateDir, password: &Plaintext) -> anyhow::Result<Owner> {
    let file = dir.file(FILE);
    if let Ok(text) = std::fs::read_to_string(&file) {
        return serde_json::from_str(&text).with_context(|| format!("{} is broken; start over with --fresh", file.display()));
    }
    let slug = SLUG.parse::<TenantSlug>()?;
    let made = accounts::create_verified_user(platform, EMAIL, password, "Demo", &slug).await;
    let (user, tenant) = match made {
        Ok(made) => made,
        Err(error) if matches!(error.kind(), ErrorKind::Conflict(_)) => {
            anyhow::bail!("an earlier first start was cut short; start over with --fresh")
        }
        Err(error) => return Err(error.into()),
    };
    let owner = Owner { tenant, user };
    write_private(&file, &serde_json::to_string(&owner)?)?;
    Ok(owner)
}
