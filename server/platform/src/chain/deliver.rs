//! Checkpoints leave the database: into files, to a webhook, or both. What was not taken is tried again with the next tick, in order.

use std::{io::Write as _, path::PathBuf, time::Duration};

use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use url::Url;

use super::store;
use crate::{
    Platform,
    egress::OutboundRequest,
    error::{Error, Result},
    ids::TenantId,
};

/// Checkpoints of one tick.
const MOST: i64 = 50;
/// Longest wait for the webhook to take one.
const DEADLINE: Duration = Duration::from_secs(10);

/// Where checkpoints go. Without any they stay in the database, where who can change the record can change them too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// A folder with a file for each tenant.
    pub dir: Option<PathBuf>,
    /// Who is sent each checkpoint.
    pub webhook: Option<Url>,
    /// Full months that the record is kept before the month is dropped; none: for ever.
    pub retention_months: Option<u32>,
}

impl Settings {
    /// Does anything leave the database?
    pub fn is_delivered(&self) -> bool {
        self.dir.is_some() || self.webhook.is_some()
    }
}

/// Delivers what has not been delivered.
pub(super) async fn run(platform: &Platform) -> Result<()> {
    let settings = &platform.settings.checkpoints;
    if !settings.is_delivered() {
        return Ok(());
    }
    // Held while delivering: nobody else delivers meanwhile, and chains go on.
    let mut tx = platform.db.chain().await?;
    if !store::lead(&mut tx, "trunkline checkpoints").await? {
        return Ok(());
    }
    let mut failed = None;
    for (tenant, seq, note) in store::undelivered(&mut tx, MOST).await? {
        if let Err(error) = deliver(platform, tenant, &note).await {
            failed = Some(error);
            break;
        }
        store::delivered(&mut tx, tenant, seq).await?;
    }
    tx.commit().await?;
    failed.map_or(Ok(()), Err)
}

/// One note, to all who get them.
pub(super) async fn deliver(platform: &Platform, tenant: TenantId, note: &str) -> Result<()> {
    let settings = &platform.settings.checkpoints;
    if let Some(dir) = &settings.dir {
        let (file, text) = (dir.join(format!("{tenant}.checkpoints")), format!("{note}\n"));
        let written = tokio::task::spawn_blocking(move || append(&file, &text)).await.map_err(Error::internal)?;
        written.map_err(|error| Error::unavailable("folder for checkpoints", error))?;
    }
    let Some(url) = &settings.webhook else { return Ok(()) };
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))]);
    let body = Some(note.to_owned().into());
    let request = OutboundRequest { method: Method::POST, url: url.clone(), headers, body, deadline: DEADLINE };
    let answer = platform.egress.send(request).await.map_err(|error| Error::unavailable("webhook for checkpoints", error))?;
    if answer.status.is_success() {
        Ok(())
    } else {
        Err(Error::unavailable("webhook for checkpoints", format!("it answered {}", answer.status)))
    }
}

fn append(file: &std::path::Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()
}
