//! Keys that sign access tokens. A key's state follows from times that stand in the database, so that all replicas change over at the same
//! moment without talking: it is published when it is made, signs from `active_from` until its successor does, and is verified with until
//! the last token it signed has expired. A key that somebody else may know is removed, and is gone everywhere with the next notification.

mod store;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    jwk::{Jwk, PublicKeyUse, ThumbprintHash},
};
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::Instant};
use trunkline_protocol::oauth::access_token::{self, Claims, LEEWAY_S, MAX_LIFE_S};

use crate::{
    Platform,
    error::{Error, Result},
    secret::DerivedKeys,
};

/// A key is published this long before it signs: twice as long as its publication may be kept.
const PUBLISHED_BEFORE: TimeDelta = TimeDelta::minutes(10);
/// A token may be a little older than its claims say.
const KEPT_AFTER: TimeDelta = TimeDelta::seconds(MAX_LIFE_S + LEEWAY_S + 60);
/// Age at which a key gets a successor by itself.
const SIGNS_FOR: TimeDelta = TimeDelta::days(90);
/// An unknown key may be a new one, but not every time.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A key.
struct Key {
    kid: String,
    jwk: Value,
    verifying: DecodingKey,
    /// Not there when it was sealed by another installation's key.
    signing: Option<EncodingKey>,
    active_from: DateTime<Utc>,
    /// Until when it is published; its successor says so.
    until: Option<DateTime<Utc>>,
}

/// The keys at one moment, oldest first.
pub(super) struct Ring {
    keys: Vec<Key>,
    /// Changes when a key comes or goes.
    pub(super) serial: u64,
    generation: u64,
    loaded: Instant,
}

/// The keys that this replica knows.
#[derive(Default)]
pub struct SigningKeys {
    ring: ArcSwapOption<Ring>,
    loading: Mutex<()>,
    serial: AtomicU64,
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKeys")
    }
}

/// A new key.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// Its id.
    pub kid: String,
    /// From when on it signs.
    pub active_from: DateTime<Utc>,
}

/// The keys, loaded if there are none or a change was heard of.
pub(super) async fn ring(platform: &Platform) -> Result<Arc<Ring>> {
    let keys = &platform.signing_keys;
    match keys.ring.load_full() {
        Some(ring) if ring.generation == platform.generations.of_installation() => Ok(ring),
        _ => load(platform, false).await,
    }
}

async fn load(platform: &Platform, again: bool) -> Result<Arc<Ring>> {
    let keys = &platform.signing_keys;
    let before = Instant::now();
    let _guard = keys.loading.lock().await;
    // Who waited takes what the other loaded.
    let known = keys.ring.load_full();
    if let Some(ring) = &known
        && ring.generation == platform.generations.of_installation()
        && (!again || ring.loaded >= before)
    {
        return Ok(Arc::clone(ring));
    }
    let generation = platform.generations.of_installation();
    let mut tx = platform.db.system().await?;
    let mut rows = store::list(&mut tx).await?;
    if !rows.iter().any(|row| row.removed_at.is_none()) {
        store::lock(&mut tx).await?;
        rows = store::list(&mut tx).await?;
        if !rows.iter().any(|row| row.removed_at.is_none()) {
            // The first key of a fresh installation: nobody waits for another one.
            rows.push(insert(platform, &mut tx, platform.clock.now()).await?);
        }
    }
    tx.commit().await?;
    let loaded = read(platform, rows);
    let same = |ring: &Ring| ring.keys.iter().map(|key| &key.kid).eq(loaded.iter().map(|key| &key.kid));
    let serial = match &known {
        Some(ring) if same(ring) => ring.serial,
        _ => keys.serial.fetch_add(1, Ordering::Relaxed) + 1,
    };
    let ring = Arc::new(Ring { keys: loaded, serial, generation, loaded: Instant::now() });
    keys.ring.store(Some(Arc::clone(&ring)));
    Ok(ring)
}

fn read(platform: &Platform, rows: Vec<store::Row>) -> Vec<Key> {
    let now = platform.clock.now();
    let sealing = sealing_key(platform);
    let rows: Vec<_> = rows.into_iter().filter(|row| row.removed_at.is_none()).collect();
    let starts: Vec<_> = rows.iter().map(|row| row.active_from).collect();
    let mut keys = Vec::new();
    for (i, row) in rows.into_iter().enumerate() {
        let until = starts.get(i + 1).map(|successor| *successor + KEPT_AFTER);
        if until.is_some_and(|until| until <= now) {
            continue;
        }
        let signing = match sealing.open(&row.kid, &row.sealed) {
            Ok(pkcs8) => Some(EncodingKey::from_ed_der(&pkcs8)),
            Err(error) => {
                tracing::error!(key.id = row.kid, kek.id = row.kek_id, %error, "a signing key cannot be opened: rotate the keys");
                None
            }
        };
        let jwk: Option<Jwk> = serde_json::from_value(row.public_jwk.0.clone()).ok();
        let Some(verifying) = jwk.and_then(|jwk| DecodingKey::from_jwk(&jwk).ok()) else {
            tracing::error!(key.id = row.kid, "a signing key cannot be read: rotate the keys");
            continue;
        };
        keys.push(Key { kid: row.kid, jwk: row.public_jwk.0, verifying, signing, active_from: row.active_from, until });
    }
    keys
}

fn sealing_key(platform: &Platform) -> DerivedKeys {
    platform.master_key.derive("signing keys")
}

async fn insert(platform: &Platform, tx: &mut crate::db::SystemTx, active_from: DateTime<Utc>) -> Result<store::Row> {
    // PKCS#8 version 1: the library takes no other.
    let pkcs8 = aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8v1(&aws_lc_rs::rand::SystemRandom::new())
        .map_err(|_| Error::internal("no key could be made"))?;
    let signing = EncodingKey::from_ed_der(pkcs8.as_ref());
    let mut jwk = Jwk::from_encoding_key(&signing, Algorithm::EdDSA).map_err(Error::internal)?;
    let kid = jwk.thumbprint(ThumbprintHash::SHA256).map_err(Error::internal)?;
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    jwk.common.key_id = Some(kid.clone());
    let row = store::Row {
        sealed: sealing_key(platform).seal(&kid, pkcs8.as_ref()),
        kek_id: platform.master_key.id().to_owned(),
        public_jwk: sqlx::types::Json(serde_json::to_value(&jwk).map_err(Error::internal)?),
        kid,
        active_from,
        removed_at: None,
    };
    store::insert(tx, &row, platform.clock.now()).await?;
    Ok(row)
}

impl Ring {
    fn find(&self, kid: &str, now: DateTime<Utc>) -> Option<&Key> {
        self.keys.iter().find(|key| key.kid == kid && key.until.is_none_or(|until| now < until))
    }

    fn signs(&self, now: DateTime<Utc>) -> Option<&Key> {
        self.keys.iter().rev().find(|key| key.active_from <= now && key.signing.is_some())
    }
}

/// Signs claims. Of a ring that is there already: whoever signs has a transaction open, and must not wait for a second connection in it.
pub(super) fn sign(platform: &Platform, ring: &Ring, claims: &Claims) -> Result<String> {
    let key = ring.signs(platform.clock.now()).ok_or_else(|| Error::internal("there is no key to sign with"))?;
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(access_token::TYPE.to_owned());
    header.kid = Some(key.kid.clone());
    let signing = key.signing.as_ref().ok_or_else(|| Error::internal("there is no key to sign with"))?;
    jsonwebtoken::encode(&header, claims, signing).map_err(Error::internal)
}

/// The claims of a token that one of our keys has signed, whatever they say; with the ring they were verified by.
pub(super) async fn verify(platform: &Platform, token: &str) -> Result<Option<(Claims, Arc<Ring>)>> {
    let Some(header) = access_token::Header::read(token).filter(|header| header.alg == "EdDSA") else { return Ok(None) };
    let now = platform.clock.now();
    let mut ring = ring(platform).await?;
    if ring.find(&header.kid, now).is_none() && ring.loaded.elapsed() >= ASK_AGAIN {
        // Another replica may have made a key whose notification has not come yet.
        ring = load(platform, true).await?;
    }
    let Some(key) = ring.find(&header.kid, now) else { return Ok(None) };
    // The signature only: what the claims must say is ours to judge, strictly.
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let verified = jsonwebtoken::decode::<Claims>(token, &key.verifying, &validation);
    Ok(verified.ok().map(|verified| (verified.claims, Arc::clone(&ring))))
}

/// The key set, as it is published.
pub async fn jwks(platform: &Platform) -> Result<Value> {
    let ring = ring(platform).await?;
    let now = platform.clock.now();
    let keys: Vec<&Value> =
        ring.keys.iter().filter(|key| key.until.is_none_or(|until| now < until)).map(|key| &key.jwk).collect();
    Ok(json!({ "keys": keys }))
}

/// Loads the keys again, for changes whose notification was missed, and makes a successor when it is time. Called by a background tick.
pub async fn refresh(platform: &Platform) -> Result<()> {
    let ring = load(platform, true).await?;
    let now = platform.clock.now();
    if ring.keys.last().is_some_and(|key| key.active_from + SIGNS_FOR <= now) {
        let rotation = make_successor(platform, SIGNS_FOR).await?;
        if let Some(rotation) = rotation {
            tracing::info!(key.id = rotation.kid, active_from = %rotation.active_from, "a new signing key is published");
        }
    }
    Ok(())
}

/// Makes a successor, which signs when everybody has had the time to read it. With the id of a key that somebody else may know, that key is
/// removed at once, everywhere; if it was the one that signs, the new one signs immediately.
pub async fn rotate(platform: &Platform, emergency: Option<&str>) -> Result<Option<Rotation>> {
    let Some(kid) = emergency else {
        return match make_successor(platform, TimeDelta::zero()).await? {
            Some(rotation) => Ok(Some(rotation)),
            None => Err(Error::conflict("A successor is published already and does not sign yet. Wait ten minutes.")),
        };
    };
    let now = platform.clock.now();
    let mut tx = platform.db.system().await?;
    store::lock(&mut tx).await?;
    if !store::remove(&mut tx, kid, now).await? {
        return Err(Error::not_found("signing key"));
    }
    let rows = store::list(&mut tx).await?;
    let signs = rows.iter().any(|row| row.removed_at.is_none() && row.active_from <= now);
    let new = if signs { None } else { Some(insert(platform, &mut tx, now).await?) };
    tx.commit().await?;
    platform.generations.advance_installation();
    Ok(new.map(|row| Rotation { kid: row.kid, active_from: row.active_from }))
}

/// Seals the keys that another key of the installation has sealed under the current one; how many. For when that one is exchanged.
pub(crate) async fn reseal(platform: &Platform) -> Result<u64> {
    let (sealing, current) = (sealing_key(platform), platform.master_key.id());
    let mut tx = platform.db.system().await?;
    store::lock(&mut tx).await?;
    let mut resealed = 0;
    for row in store::list(&mut tx).await?.into_iter().filter(|row| row.removed_at.is_none() && row.kek_id != current) {
        let pkcs8 = sealing.open(&row.kid, &row.sealed).map_err(Error::internal)?;
        store::reseal(&mut tx, &row.kid, &sealing.seal(&row.kid, &pkcs8), current).await?;
        resealed += 1;
    }
    tx.commit().await?;
    Ok(resealed)
}

/// How many keys are sealed under another key of the installation than the current one.
pub(crate) async fn count_under_others(platform: &Platform) -> Result<u64> {
    let mut tx = platform.db.system().await?;
    let rows = store::list(&mut tx).await?;
    tx.commit().await?;
    let others = rows.iter().filter(|row| row.removed_at.is_none() && row.kek_id != platform.master_key.id()).count();
    Ok(u64::try_from(others).unwrap_or(u64::MAX))
}

/// `None` if the newest key is younger than `age`, or does not sign yet.
async fn make_successor(platform: &Platform, age: TimeDelta) -> Result<Option<Rotation>> {
    let now = platform.clock.now();
    let mut tx = platform.db.system().await?;
    store::lock(&mut tx).await?;
    let rows = store::list(&mut tx).await?;
    if rows.iter().any(|row| row.removed_at.is_none() && row.active_from + age > now) {
        return Ok(None);
    }
    let row = insert(platform, &mut tx, now + PUBLISHED_BEFORE).await?;
    // Whoever signed before the one before cannot have signed anything that still lives.
    let live: Vec<_> = rows.iter().filter(|row| row.removed_at.is_none()).collect();
    for (old, successor) in live.iter().zip(live.iter().skip(1)) {
        if successor.active_from + KEPT_AFTER < now {
            store::delete(&mut tx, &old.kid).await?;
        }
    }
    tx.commit().await?;
    platform.generations.advance_installation();
    Ok(Some(Rotation { kid: row.kid, active_from: row.active_from }))
}
