//! What others publish about themselves: key sets, and where an identity provider has its own. Fetched through the guarded client and kept for
//! a while; when its server is away, the last copy counts for a day.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{
    Method,
    header::{ACCEPT, HeaderMap, HeaderValue},
};
use serde_json::Value;
use tokio::sync::Semaphore;
use url::Url;

use crate::{Platform, egress::OutboundRequest};

/// Longest time for a document to arrive.
const WITHIN: Duration = Duration::from_secs(5);
/// Largest document.
const MAX_BYTES: usize = 64 * 1024;
/// Documents that are fetched at the same time.
const MOST_AT_ONCE: usize = 16;
/// A copy is taken without asking for this long, in seconds.
const FRESH_S: i64 = 600;
/// Nobody is asked again before this, in seconds: neither after a failure, nor because of a key that is not there.
const ASK_AGAIN_S: i64 = 10;
/// For how long the last copy counts while its server is away, in seconds.
const LAST_GOOD_S: i64 = 24 * 3_600;
/// Addresses that are remembered; beyond, those that nobody waits for are forgotten. Clients choose some of them, and what stands there.
const MOST_REMEMBERED: usize = 500;
/// Fetches from one host per minute: whoever can name an address could else make us ask somebody else's server without end.
const MOST_PER_HOST: u32 = 60;
/// Hosts that are remembered; beyond, all are forgotten.
const MOST_HOSTS: usize = 10_000;

#[derive(Debug, Default)]
struct Copy {
    document: Option<(Arc<Value>, i64)>,
    asked_at: i64,
    failure: Option<String>,
}

/// What this replica has fetched.
#[derive(Debug)]
pub struct PublishedDocuments {
    at_once: Semaphore,
    copies: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Copy>>>>,
    /// By host: the minute, and how often in it.
    hosts: Mutex<HashMap<String, (i64, u32)>>,
}

impl Default for PublishedDocuments {
    fn default() -> Self {
        Self { at_once: Semaphore::new(MOST_AT_ONCE), copies: Mutex::default(), hosts: Mutex::default() }
    }
}

impl PublishedDocuments {
    fn copy(&self, url: &str) -> Arc<tokio::sync::Mutex<Copy>> {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        if copies.len() >= MOST_REMEMBERED {
            copies.retain(|_, copy| Arc::strong_count(copy) > 1);
        }
        Arc::clone(copies.entry(url.to_owned()).or_default())
    }

    fn may_ask(&self, host: &str, now: i64) -> bool {
        let minute = now.div_euclid(60);
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MOST_HOSTS {
            hosts.clear();
        }
        let (of, count) = hosts.entry(host.to_owned()).or_insert((minute, 0));
        if *of != minute {
            (*of, *count) = (minute, 0);
        }
        *count = count.saturating_add(1);
        *count <= MOST_PER_HOST
    }
}

/// The document at that address; with `again`, a newer one than was kept, unless it was asked for a moment ago. The error says why there is none.
pub(super) async fn get(platform: &Platform, url: &str, again: bool) -> Result<Arc<Value>, String> {
    let now = platform.clock.now().timestamp();
    let copy = platform.published_documents.copy(url);
    // Whoever waits here takes what the other fetched.
    let mut copy = copy.lock().await;
    let last = copy.document.clone().filter(|(_, at)| now - at < LAST_GOOD_S);
    if let Some((document, at)) = &last
        && ((now - at < FRESH_S && !again) || now - copy.asked_at < ASK_AGAIN_S)
    {
        return Ok(Arc::clone(document));
    }
    if now - copy.asked_at < ASK_AGAIN_S
        && let Some(why) = &copy.failure
    {
        return Err(why.clone());
    }
    copy.asked_at = now;
    match fetch(platform, url).await {
        Ok(document) => {
            let document = Arc::new(document);
            copy.document = Some((Arc::clone(&document), now));
            copy.failure = None;
            Ok(document)
        }
        Err(why) => {
            copy.failure = Some(why.clone());
            last.map(|(document, _)| document).ok_or(why)
        }
    }
}

/// May such an address be fetched? The error completes "the address is not taken: ".
pub(super) fn check(platform: &Platform, url: &str) -> Result<Url, &'static str> {
    let parsed = Url::parse(url).map_err(|_| "it is no URL")?;
    if parsed.scheme() != "https" && !(platform.egress.allows_http() && parsed.scheme() == "http") {
        return Err("it must begin with https://");
    }
    if url.contains(['#', '@', '\\']) || url.len() > 2_048 {
        return Err("it must not have a fragment or a user name");
    }
    Ok(parsed)
}

async fn fetch(platform: &Platform, url: &str) -> Result<Value, String> {
    let url = check(platform, url)?;
    let Ok(_permit) = platform.published_documents.at_once.try_acquire() else {
        return Err("too many documents are being fetched".to_owned());
    };
    let now = platform.clock.now().timestamp();
    if !platform.published_documents.may_ask(url.host_str().unwrap_or_default(), now) {
        return Err("its host was asked too often; try again in a minute".to_owned());
    }
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let request = OutboundRequest { method: Method::GET, url, headers, body: None, deadline: WITHIN };
    let answer = platform.egress.send(request).await.map_err(|error| error.to_string())?;
    if answer.status != 200 {
        return Err(format!("its server answers {}", answer.status.as_u16()));
    }
    if answer.body.len() > MAX_BYTES {
        return Err(format!("it is larger than {} KiB", MAX_BYTES / 1024));
    }
    serde_json::from_slice(&answer.body).map_err(|_| "it is not JSON".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_asked_so_often_in_a_minute() {
        let documents = PublishedDocuments::default();
        assert!((0..MOST_PER_HOST).all(|_| documents.may_ask("a.example", 60)));
        assert!(
            !documents.may_ask("a.example", 119) && documents.may_ask("b.example", 119) && documents.may_ask("a.example", 120)
        );
    }
}
