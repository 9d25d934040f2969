//! Verifies a chain in the database.

use super::{
    PAGE,
    checkpoint::{Checkpoint, PublicKey},
    link::Hash,
    outside::Outside,
    receipt::{Dropped, Receipt},
    signer::public_key,
    store,
    verify::{Finding, Verifier, Wrong},
};
use crate::{
    Platform,
    actor::{Member, Permission},
    error::Result,
    ids::TenantId,
};

/// What a chain was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its length. The entries that are there are as they were.
    pub seq: u64,
    /// The hash of the last.
    pub head: Hash,
    /// The last of them that a checkpoint vouches for.
    pub signed: u64,
    /// How many were dropped by retention, with a receipt.
    pub dropped: u64,
}

/// What is believed about a chain beside what lies in it.
struct Believed<'a> {
    key: &'a PublicKey,
    tenant: TenantId,
    checkpoints: Vec<&'a Checkpoint>,
    dropped: Dropped,
}

/// Verifies a tenant's whole chain in the database: every link, entry and call, every checkpoint there and of those that were kept outside, and
/// that nothing lies beside it. In pages: memory does not grow. An entry may be missing only where a signed receipt says so.
pub async fn verify(
    platform: &Platform,
    tenant: TenantId,
    key: &PublicKey,
    outside: &Outside,
) -> Result<std::result::Result<Verified, Finding>> {
    let mut checkpoints: Vec<&Checkpoint> = outside.checkpoints.iter().filter(|checkpoint| checkpoint.tenant == tenant).collect();
    checkpoints.sort_by_key(|checkpoint| checkpoint.seq);
    let mut receipts = receipts(platform, tenant, key).await?;
    receipts.extend(outside.receipts.iter().filter(|receipt| receipt.tenant == tenant).cloned());
    let believed = Believed { key, tenant, checkpoints, dropped: Dropped::new(receipts.iter()) };
    let mut verified = Verified { seq: 0, head: super::ROOT, signed: 0, dropped: 0 };
    let mut verifier = Verifier::default();
    loop {
        let mut tx = platform.db.tenant(tenant).await?;
        let page = store::page(&mut tx, verifier.seq(), PAGE).await?;
        let notes = store::checkpoints(&mut tx, verifier.seq(), PAGE).await?;
        tx.commit().await?;
        let is_last = page.is_empty();
        let mut notes = notes.into_iter().peekable();
        for (link, entry) in page {
            let note = notes.next_if(|(at, _)| *at == link.seq).map(|(_, note)| note);
            let canonical = entry.map(|entry| entry.canonical(link.form));
            if let Err(finding) = believed.link(&mut verifier, &mut verified, &link, canonical.as_deref(), note.as_deref()) {
                return Ok(Err(finding));
            }
        }
        if is_last {
            // Chained while this went along: what is signed now and was not there then is no finding.
            let beyond = notes.next().map(|(seq, note)| own(&note, key, tenant, u64::try_from(seq).unwrap_or(u64::MAX)));
            let beyond = match beyond.transpose() {
                Ok(beyond) => beyond,
                Err(finding) => return Ok(Err(finding)),
            };
            for checkpoint in believed.checkpoints.into_iter().chain(&beyond) {
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
    Ok(Ok(Verified { seq: verifier.seq(), head: verifier.head(), ..verified }))
}

impl Believed<'_> {
    fn link(
        &self,
        verifier: &mut Verifier,
        verified: &mut Verified,
        link: &store::LinkRow,
        entry: Option<&str>,
        note: Option<&str>,
    ) -> std::result::Result<(), Finding> {
        let seq = u64::try_from(link.seq).unwrap_or_default();
        if entry.is_none() && self.dropped.run(seq).is_some() {
            verifier.pass(seq, &link.hash)?;
            verified.dropped += 1;
        } else {
            verifier.link(seq, &link.hash, entry)?;
        }
        let noted = note.map(|note| own(note, self.key, self.tenant, seq)).transpose()?;
        let vouched = self.checkpoints.iter().copied().filter(|checkpoint| checkpoint.seq == seq);
        for checkpoint in vouched.chain(&noted) {
            verifier.checkpoint(checkpoint)?;
            verified.signed = seq;
        }
        Ok(())
    }
}

/// The receipts of a chain in the database that the key has signed. Others are worth nothing: what they say is gone counts as missing.
pub(super) async fn receipts(platform: &Platform, tenant: TenantId, key: &PublicKey) -> Result<Vec<Receipt>> {
    let mut tx = platform.db.tenant(tenant).await?;
    let notes = store::receipts(&mut tx).await?;
    tx.commit().await?;
    let read = notes.iter().filter_map(|note| Receipt::verify(note, key).ok());
    Ok(read.filter(|receipt| receipt.tenant == tenant).collect())
}

/// The same for a member who may see it, with the checkpoints that are in the database.
pub async fn verify_own(platform: &Platform, actor: &Member) -> Result<std::result::Result<Verified, Finding>> {
    actor.require(Permission::ViewAudit)?;
    let key = public_key(platform).await?;
    verify(platform, actor.tenant, &key, &Outside::default()).await
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
