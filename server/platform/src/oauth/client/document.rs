//! Clients whose id is the address of a document about them (Client ID Metadata Documents). Fetched through the guarded client, kept as long
//! as HTTP says, and when its server is away the last good copy counts for a week. Strangers choose the addresses, so that fetching is
//! bounded: at once, per host, and not again right after a failure.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use reqwest::{
    Method,
    header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, HeaderMap, HeaderValue},
};
use serde_json::Value;
use tokio::sync::Semaphore;
use trunkline_protocol::oauth::{
    client_metadata::{ClientMetadata, document_url, local_document_url},
    error::{Cause, ErrorCode, OAuthError},
};
use url::Url;

use super::{Client, ClientKind, store};
use crate::{Platform, egress::OutboundRequest, error::Result, oauth::Failure};

/// Longest time for a document to arrive.
const WITHIN: Duration = Duration::from_secs(3);
/// Largest document. Real ones are larger than the 5 KiB that the draft suggests.
const MAX_BYTES: usize = 32 * 1024;
/// Documents that are fetched at the same time.
const MOST_AT_ONCE: usize = 16;
/// Fetches from one host per minute.
const MOST_PER_HOST: u32 = 10;
/// A failure is believed for this long, in seconds.
const FAILED_S: i64 = 10;
/// Bounds of what HTTP says about keeping it, and what counts when it says nothing, in seconds.
const KEEP_S: (i64, i64, i64) = (60, 3_600, 24 * 3_600);
/// For how long the last good copy counts.
const LAST_GOOD: TimeDelta = TimeDelta::days(7);
/// Hosts and addresses that are remembered; beyond, all are forgotten.
const MOST_REMEMBERED: usize = 10_000;

/// Fetches of this replica.
#[derive(Debug)]
pub struct DocumentFetches {
    at_once: Semaphore,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    hosts: Mutex<HashMap<String, (i64, u32)>>,
    failed: Mutex<HashMap<String, (i64, OAuthError)>>,
}

impl Default for DocumentFetches {
    fn default() -> Self {
        Self { at_once: Semaphore::new(MOST_AT_ONCE), turns: Mutex::default(), hosts: Mutex::default(), failed: Mutex::default() }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DocumentFetches {
    fn turn(&self, client_id: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = locked(&self.turns);
        // Nobody waits for those that only this map holds.
        if turns.len() >= MOST_REMEMBERED {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(turns.entry(client_id.to_owned()).or_default())
    }

    fn may_ask(&self, host: &str, now: i64) -> bool {
        let mut hosts = locked(&self.hosts);
        if hosts.len() >= MOST_REMEMBERED {
            hosts.clear();
        }
        let (since, count) = hosts.entry(host.to_owned()).or_insert((now, 0));
        if now - *since >= 60 {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= MOST_PER_HOST
    }

    fn failure(&self, client_id: &str, now: i64) -> Option<OAuthError> {
        locked(&self.failed).get(client_id).filter(|(until, _)| *until > now).map(|(_, why)| why.clone())
    }

    fn note_failure(&self, client_id: &str, why: &OAuthError, now: i64) {
        let mut failed = locked(&self.failed);
        if failed.len() >= MOST_REMEMBERED {
            failed.clear();
        }
        failed.insert(client_id.to_owned(), (now + FAILED_S, why.clone()));
    }
}

fn client(client_id: &str, metadata: ClientMetadata) -> Client {
    Client::of_metadata(client_id.to_owned(), ClientKind::Document, metadata, None)
}

/// The client that the document at that address describes.
pub(super) async fn get(platform: &Platform, client_id: &str) -> Result<Client, Failure> {
    let url = if platform.egress.allows_http() { local_document_url(client_id)? } else { document_url(client_id)? };
    if let Some((metadata, true)) = stored(platform, client_id).await? {
        return Ok(client(client_id, metadata));
    }
    let turn = platform.document_fetches.turn(client_id);
    let _turn = turn.lock().await;
    // Whoever waited takes what the other fetched.
    let known = stored(platform, client_id).await?;
    if let Some((metadata, true)) = known {
        return Ok(client(client_id, metadata));
    }
    match fetch(platform, client_id, url).await {
        Ok((metadata, keep_s)) => {
            let now = platform.clock.now();
            let mut tx = platform.db.system().await?;
            store::keep_document(&mut tx, client_id, &metadata, now, now + TimeDelta::seconds(keep_s)).await?;
            tx.commit().await?;
            Ok(client(client_id, metadata))
        }
        Err(why) => match known {
            Some((metadata, _)) => {
                tracing::warn!(%why, "the document of a client cannot be fetched; its last good copy counts");
                Ok(client(client_id, metadata))
            }
            None => Err(why.into()),
        },
    }
}

fn unusable(cause: Cause, why: &str) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidClient, format!("the document at client_id cannot be used: {why}")).because(cause)
}

fn unreachable(why: &str) -> OAuthError {
    unusable(Cause::DocumentUnreachable, why)
}

/// The copy that counts, and whether it is fresh.
async fn stored(platform: &Platform, client_id: &str) -> Result<Option<(ClientMetadata, bool)>> {
    let now = platform.clock.now();
    let mut tx = platform.db.system().await?;
    let found = store::find_document(&mut tx, client_id, now - LAST_GOOD).await?;
    tx.commit().await?;
    Ok(found.map(|(metadata, fresh_until)| (metadata, now < fresh_until)))
}

async fn fetch(platform: &Platform, client_id: &str, url: Url) -> Result<(ClientMetadata, i64), OAuthError> {
    let now = platform.clock.now().timestamp();
    let fetches = &platform.document_fetches;
    if let Some(why) = fetches.failure(client_id, now) {
        return Err(why);
    }
    let fetched = fetch_now(platform, client_id, url, now).await;
    if let Err(why) = &fetched {
        fetches.note_failure(client_id, why, now);
    }
    fetched
}

async fn fetch_now(platform: &Platform, client_id: &str, url: Url, now: i64) -> Result<(ClientMetadata, i64), OAuthError> {
    let fetches = &platform.document_fetches;
    let Ok(_permit) = fetches.at_once.try_acquire() else { return Err(unreachable("too many documents are being fetched")) };
    if !fetches.may_ask(url.host_str().unwrap_or_default(), now) {
        return Err(unreachable("its host was asked too often; try again in a minute"));
    }
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let request = OutboundRequest { method: Method::GET, url, headers, body: None, deadline: WITHIN };
    let answer = platform.egress.send(request).await.map_err(|error| unreachable(&error.to_string()))?;
    if answer.status != 200 {
        return Err(unreachable(&format!("its server answers {}", answer.status.as_u16())));
    }
    if answer.content_type != "application/json" && !answer.content_type.ends_with("+json") {
        return Err(unusable(Cause::DocumentInvalid, "it is not application/json"));
    }
    if answer.body.len() > MAX_BYTES {
        return Err(unusable(Cause::DocumentInvalid, &format!("it is larger than {} KiB", MAX_BYTES / 1024)));
    }
    let body: Value = serde_json::from_slice(&answer.body).map_err(|_| unusable(Cause::DocumentInvalid, "it is not JSON"))?;
    let metadata =
        ClientMetadata::of_document(client_id, &body).map_err(|error| unusable(Cause::DocumentInvalid, &error.description))?;
    Ok((metadata, keep_for(&answer.headers)))
}

/// For how long HTTP lets it be kept, within our bounds.
fn keep_for(headers: &HeaderMap) -> i64 {
    let (least, usual, most) = KEEP_S;
    let words = headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let mut words = words.split(',').map(str::trim);
    let said = words.find_map(|word| match word {
        "no-store" | "no-cache" => Some(0),
        _ => word.strip_prefix("max-age=").and_then(|seconds| seconds.parse::<i64>().ok()),
    });
    said.unwrap_or(usual).clamp(least, most)
}
