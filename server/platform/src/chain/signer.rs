//! The installation's key that signs checkpoints: its own, made when it is first needed, sealed under the installation's key.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};

use super::{checkpoint::PublicKey, store};
use crate::{
    Platform,
    error::{Error, Result},
    secret::DerivedKeys,
};

/// Both halves.
pub(super) struct Signer {
    pub(super) pair: Ed25519KeyPair,
    pub(super) public: PublicKey,
}

fn sealing_key(platform: &Platform) -> DerivedKeys {
    platform.master_key.derive("audit keys")
}

/// The key, made if there is none.
pub(super) async fn signer(platform: &Platform) -> Result<Signer> {
    let row = row(platform).await?;
    let pkcs8 = sealing_key(platform).open(&row.id, &row.sealed).map_err(Error::internal)?;
    let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| Error::internal("the audit key cannot be read"))?;
    Ok(Signer { public: public(&row)?, pair })
}

/// The public half, for everybody who wants to verify.
pub async fn public_key(platform: &Platform) -> Result<PublicKey> {
    public(&row(platform).await?)
}

fn public(row: &store::KeyRow) -> Result<PublicKey> {
    Ok(PublicKey::new(row.public.as_slice().try_into().map_err(Error::internal)?))
}

async fn row(platform: &Platform) -> Result<store::KeyRow> {
    let mut tx = platform.db.system().await?;
    if let Some(row) = store::keys(&mut tx).await?.pop() {
        tx.commit().await?;
        return Ok(row);
    }
    store::lock_keys(&mut tx).await?;
    // Another one may have made it meanwhile.
    let row = if let Some(row) = store::keys(&mut tx).await?.pop() {
        row
    } else {
        let row = make(platform)?;
        store::insert_key(&mut tx, &row, platform.clock.now()).await?;
        row
    };
    tx.commit().await?;
    Ok(row)
}

fn make(platform: &Platform) -> Result<store::KeyRow> {
    let failed = |_| Error::internal("no key could be made");
    let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(failed)?;
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(|_| Error::internal("the new key cannot be read"))?;
    let public = PublicKey::new(pair.public_key().as_ref().try_into().map_err(Error::internal)?);
    let id = public.id_text();
    Ok(store::KeyRow {
        sealed: sealing_key(platform).seal(&id, pkcs8.as_ref()),
        public: pair.public_key().as_ref().to_vec(),
        kek_id: platform.master_key.id().to_owned(),
        id,
    })
}

/// Seals the keys that another key of the installation has sealed under the current one; how many.
pub(crate) async fn reseal(platform: &Platform) -> Result<u64> {
    let (sealing, current) = (sealing_key(platform), platform.master_key.id());
    let mut tx = platform.db.system().await?;
    store::lock_keys(&mut tx).await?;
    let mut resealed = 0;
    for row in store::keys(&mut tx).await?.into_iter().filter(|row| row.kek_id != current) {
        let pkcs8 = sealing.open(&row.id, &row.sealed).map_err(Error::internal)?;
        store::reseal_key(&mut tx, &row.id, &sealing.seal(&row.id, &pkcs8), current).await?;
        resealed += 1;
    }
    tx.commit().await?;
    Ok(resealed)
}

/// How many keys are sealed under another key of the installation than the current one.
pub(crate) async fn count_under_others(platform: &Platform) -> Result<u64> {
    let mut tx = platform.db.system().await?;
    let rows = store::keys(&mut tx).await?;
    tx.commit().await?;
    Ok(rows.iter().filter(|row| row.kek_id != platform.master_key.id()).count() as u64)
}
