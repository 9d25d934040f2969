//! What makes the record evident: every audit entry has a place in its tenant's hash chain, heads are signed and delivered outside, and anybody
//! with the public key can find what was changed, deleted, put in or moved afterwards.
//!
//! Entries note themselves as unchained in their own transaction. One chainer of the installation gives them their places, signs and delivers; it
//! is never on the path of a call.

mod checkpoint;
mod deliver;
mod export;
mod link;
mod offline;
mod online;
mod outside;
mod parquet;
mod receipt;
mod retention;
mod signer;
mod store;
mod verify;

use std::collections::BTreeMap;

use chrono::TimeDelta;

use crate::{
    Platform,
    error::{Error, Result},
    ids::TenantId,
};

pub use checkpoint::{Checkpoint, PublicKey, Unreadable};
pub use deliver::Settings;
pub use export::{Export, Format, Range};
pub use link::{Hash, ROOT, hash};
pub use offline::{Exported, verify_export, verify_parquet};
pub use online::{Verified, verify, verify_own};
pub use outside::Outside;
pub use receipt::Receipt;
pub use retention::retain;
pub use signer::public_key;
pub(crate) use signer::{count_under_others, reseal};
pub use verify::{Finding, Verifier, Wrong};

/// Entries that get their places in one transaction.
const BATCH: i64 = 1_000;
/// Chains that are signed in one transaction.
const SIGNED: i64 = 200;
/// A head is signed this long after the one before, or when so many entries are new.
const SIGN_EVERY: TimeDelta = TimeDelta::seconds(60);
const SIGN_ENTRIES: i64 = 1_000;
/// Links that are read at once.
const PAGE: i64 = 1_000;
/// Who gives places and signs.
const CHAINER: &str = "trunkline chain";

/// Gives all entries that wait their places, signs what is due and delivers it. Called by a background tick; does nothing where another
/// replica is at it.
pub async fn advance(platform: &Platform) -> Result<()> {
    while chain(platform).await? == BATCH {}
    while sign(platform).await? == SIGNED {}
    deliver::run(platform).await
}

/// One batch; how many entries. 0 also where another replica is at it.
async fn chain(platform: &Platform) -> Result<i64> {
    let mut tx = platform.db.chain().await?;
    if !store::lead(&mut tx, CHAINER).await? {
        return Ok(0);
    }
    let entries = store::unchained(&mut tx, BATCH).await?;
    if entries.is_empty() {
        return Ok(0);
    }
    let mut tenants: Vec<TenantId> = entries.iter().map(|entry| entry.tenant_id).collect();
    tenants.sort_unstable();
    tenants.dedup();
    let mut heads: BTreeMap<TenantId, store::HeadRow> =
        store::heads(&mut tx, &tenants).await?.into_iter().map(|head| (head.tenant_id, head)).collect();
    let mut links = Vec::with_capacity(entries.len());
    for entry in &entries {
        let head = heads.entry(entry.tenant_id).or_insert_with(|| store::HeadRow {
            tenant_id: entry.tenant_id,
            seq: 0,
            hash: ROOT.to_vec(),
        });
        let previous: Hash = head.hash.as_slice().try_into().map_err(Error::internal)?;
        head.seq += 1;
        head.hash = hash(&previous, &entry.canonical(link::FORM)).to_vec();
        let link =
            store::NewLink { tenant: entry.tenant_id, seq: head.seq, entry: entry.id, at: entry.at, hash: head.hash.clone() };
        links.push(link);
    }
    let heads: Vec<_> = heads.into_values().collect();
    store::append(&mut tx, &links, &heads).await?;
    tx.commit().await?;
    Ok(i64::try_from(entries.len()).unwrap_or(BATCH))
}

/// Signs the heads that are due; how many.
async fn sign(platform: &Platform) -> Result<i64> {
    let now = platform.clock.now();
    let signer = signer::signer(platform).await?;
    let mut tx = platform.db.chain().await?;
    if !store::lead(&mut tx, CHAINER).await? {
        return Ok(0);
    }
    let due = store::to_sign(&mut tx, now - SIGN_EVERY, SIGN_ENTRIES, SIGNED).await?;
    for head in &due {
        let checkpoint = Checkpoint {
            tenant: head.tenant_id,
            seq: u64::try_from(head.seq).map_err(Error::internal)?,
            hash: head.hash.as_slice().try_into().map_err(Error::internal)?,
        };
        let note = checkpoint.sign(now, &signer.pair, &signer.public);
        store::insert_checkpoint(&mut tx, head, &note, now).await?;
    }
    tx.commit().await?;
    Ok(i64::try_from(due.len()).unwrap_or(SIGNED))
}

/// The tenant of that name.
pub async fn find_tenant(platform: &Platform, slug: &str) -> Result<TenantId> {
    let mut tx = platform.db.system().await?;
    let found = store::find_tenant(&mut tx, slug).await?;
    tx.commit().await?;
    found.ok_or(Error::not_found("tenant"))
}
