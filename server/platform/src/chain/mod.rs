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
mod signer;
mod store;
mod verify;

use std::collections::BTreeMap;

use chrono::TimeDelta;

use crate::{
    Platform,
    actor::{Member, Permission},
    error::{Error, Result},
    ids::TenantId,
};

pub use checkpoint::{Checkpoint, PublicKey, Unreadable};
pub use deliver::Settings;
pub use export::{Export, Format, Range};
pub use link::{Hash, ROOT, hash};
pub use offline::{Exported, verify_export};
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
        head.hash = hash(&previous, &entry.canonical()).to_vec();
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

/// What a chain was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Entries that are as they were.
    pub seq: u64,
    /// The hash of the last.
    pub head: Hash,
    /// The last of them that a checkpoint vouches for.
    pub signed: u64,
}

/// Verifies a tenant's whole chain in the database: every link, entry and call, every checkpoint there and of those that were kept outside, and
/// that nothing lies beside it. In pages: memory does not grow.
pub async fn verify(
    platform: &Platform,
    tenant: TenantId,
    key: &PublicKey,
    outside: &[Checkpoint],
) -> Result<std::result::Result<Verified, Finding>> {
    let mut outside: Vec<&Checkpoint> = outside.iter().filter(|checkpoint| checkpoint.tenant == tenant).collect();
    outside.sort_by_key(|checkpoint| checkpoint.seq);
    let mut verifier = Verifier::default();
    let mut signed = 0;
    loop {
        let mut tx = platform.db.tenant(tenant).await?;
        let page = store::page(&mut tx, verifier.seq(), PAGE).await?;
        let notes = store::checkpoints(&mut tx, verifier.seq(), PAGE).await?;
        tx.commit().await?;
        let is_last = page.is_empty();
        let mut notes = notes.into_iter().peekable();
        for (link, entry) in page {
            let seq = u64::try_from(link.seq).map_err(Error::internal)?;
            let canonical = entry.map(|entry| entry.canonical());
            if let Err(finding) = verifier.link(seq, &link.hash, canonical.as_deref()) {
                return Ok(Err(finding));
            }
            let vouched = outside.iter().filter(|checkpoint| checkpoint.seq == seq).copied().cloned();
            let mut vouched: Vec<Checkpoint> = vouched.collect();
            if let Some((_, note)) = notes.next_if(|(at, _)| *at == link.seq) {
                match own(&note, key, tenant, seq) {
                    Ok(checkpoint) => vouched.push(checkpoint),
                    Err(finding) => return Ok(Err(finding)),
                }
            }
            for checkpoint in &vouched {
                if let Err(finding) = verifier.checkpoint(checkpoint) {
                    return Ok(Err(finding));
                }
                signed = seq;
            }
        }
        if is_last {
            // Chained while this went along: what is signed now and was not there then is no finding.
            let beyond = notes.next().map(|(seq, note)| own(&note, key, tenant, u64::try_from(seq).unwrap_or(u64::MAX)));
            let beyond = match beyond.transpose() {
                Ok(beyond) => beyond,
                Err(finding) => return Ok(Err(finding)),
            };
            for checkpoint in outside.into_iter().chain(&beyond) {
                if let Err(finding) = verifier.end(checkpoint) {
                    return Ok(Err(finding));
                }
            }
            break;
        }
    }
    let mut tx = platform.db.tenant(tenant).await?;
    let stray = store::stray(&mut tx).await?;
    tx.commit().await?;
    if let Some(id) = stray {
        return Ok(Err(Finding { seq: verifier.seq(), wrong: Wrong::Unchained(id.to_string()) }));
    }
    Ok(Ok(Verified { seq: verifier.seq(), head: verifier.head(), signed }))
}

/// The same for a member who may see it, with the checkpoints that are in the database.
pub async fn verify_own(platform: &Platform, actor: &Member) -> Result<std::result::Result<Verified, Finding>> {
    actor.require(Permission::ViewAudit)?;
    let key = public_key(platform).await?;
    verify(platform, actor.tenant, &key, &[]).await
}

/// All checkpoints of a file to which they were appended; the first that the key has not signed is a finding.
pub fn read_checkpoints(file: &str, key: &PublicKey) -> std::result::Result<Vec<Checkpoint>, Finding> {
    let read = checkpoint::notes(file).map(|note| {
        Checkpoint::verify(&note, key).map_err(|error| {
            let seq = note.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or_default();
            Finding { seq, wrong: Wrong::Checkpoint(error.to_string()) }
        })
    });
    read.collect()
}

/// A checkpoint of the database, which has to be of this chain and place.
fn own(note: &str, key: &PublicKey, tenant: TenantId, seq: u64) -> std::result::Result<Checkpoint, Finding> {
    let wrong = |why: String| Finding { seq, wrong: Wrong::Checkpoint(why) };
    let checkpoint = Checkpoint::verify(note, key).map_err(|error| wrong(error.to_string()))?;
    if checkpoint.tenant == tenant && checkpoint.seq == seq {
        Ok(checkpoint)
    } else {
        Err(wrong("is of another chain or place".to_owned()))
    }
}
