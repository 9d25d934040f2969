//! `trunkline migrate`.

use std::{path::PathBuf, process::ExitCode};

use trunkline_platform::{db, secret::Plaintext};

use super::load_here;
use crate::{config::Config, terminal};

pub(super) async fn run(config: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    apply(&load_here(config)?).await?;
    terminal::say("The database has this version's schema.");
    Ok(ExitCode::SUCCESS)
}

/// Brings the database to this version's schema.
pub(super) async fn apply(config: &Config) -> anyhow::Result<()> {
    let app: &Plaintext = &config.database.url;
    let admin = config.database_admin_url.as_ref().unwrap_or(app);
    db::migrate(admin, app).await.map_err(|error| {
        // The kind's own sentence says too little to the person who runs this by hand.
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let advice = if config.database_admin_url.is_none() {
            "; database.admin_url is not set, and migrations need a role that may create roles"
        } else {
            ""
        };
        anyhow::anyhow!("the database cannot be migrated: {cause}{advice}")
    })
}
