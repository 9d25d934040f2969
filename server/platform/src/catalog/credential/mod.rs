//! Sealed secrets of the tenant that tools, sources and imported APIs refer to. A secret is bound to the origin it was entered for and is never
//! shown. What refers to it refers to the credential, not to its value: the value is exchanged here, for all of them at once, and for a while the
//! one before is kept for servers that do not know the new one yet.

#[expect(clippy::module_inception, reason = "one file per noun, and this is the noun")]
mod credential;
mod held;
mod shape;
mod store;

use chrono::TimeDelta;

pub use credential::{Credential, Kind, Overlap, Part, Shape, Use, User};
pub(crate) use held::Held;
pub use shape::Entered;

use super::tool::has_hidden_characters;
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Difference, Event},
    db::{
        TenantTx,
        page::{Found, Search},
    },
    epoch,
    error::{Error, Result},
    ids::{CredentialId, TenantId, uuid_v7},
    secret::{DataKeys, Plaintext, Refused},
    vault,
};

/// The longest that the value before is kept.
pub const LONGEST_OVERLAP: TimeDelta = TimeDelta::days(30);
/// Users that a list names, and that a page of one credential does.
const FEW: i64 = 3;
const MANY: i64 = 100;
/// Overlaps that one background round ends.
const MOST: usize = 200;
/// When the end of an overlap that could not be carried out is tried again.
const AGAIN: TimeDelta = TimeDelta::minutes(1);

/// A credential with what its form needs.
#[derive(Debug, Clone)]
pub struct Detail {
    /// The credential.
    pub credential: Credential,
    /// Its secrets by scheme, if it is an API's; else one without a name.
    pub parts: Vec<Part>,
}

/// Those of that label or host, the used ones first.
pub async fn search(platform: &Platform, actor: &Member, search: &Search) -> Result<Found<Credential>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let mut found = store::search(&mut tx, search, FEW, platform.clock.now()).await?;
    found.items.iter_mut().for_each(|credential| add_noted(platform, actor.tenant, credential));
    Ok(found)
}

/// How many people have connected accounts of their own; those are nobody else's to exchange.
pub async fn count_connections(platform: &Platform, actor: &Member) -> Result<i64> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::count_connections(&mut tx).await
}

/// One of them.
pub async fn get(platform: &Platform, actor: &Member, id: CredentialId) -> Result<Detail> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let mut credential = store::find(&mut tx, id, MANY, platform.clock.now()).await?.ok_or(not_found())?;
    add_noted(platform, actor.tenant, &mut credential);
    let value = open(platform, &mut tx, id).await?;
    let parts = parts(&mut tx, &credential, &value).await?;
    Ok(Detail { credential, parts })
}

/// Another value of the same kind, from the next call of everything that uses it on. For `overlap` calls go on with the one before where the
/// new one is refused. `seen` is the edition that somebody had before them: if it was changed meanwhile, nothing happens.
pub async fn rotate(
    platform: &Platform,
    actor: &Member,
    id: CredentialId,
    seen: i32,
    entered: Entered,
    overlap: TimeDelta,
) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    if overlap < TimeDelta::zero() || overlap > LONGEST_OVERLAP {
        return Err(Error::invalid("overlap", "expected 0 to 30 days"));
    }
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let credential = store::find(&mut tx, id, 1, now).await?.ok_or(not_found())?;
    // Before the row: a renewal of the tenant's keys waits until this value is sealed.
    let keys = vault::get_or_create(&mut tx, &platform.master_key, uuid_v7(now)).await?;
    check_seen(&mut tx, id, seen).await?;
    if let Some(running) = &credential.overlap {
        let message =
            format!("The overlap of the last exchange runs until {}: end it, or go back, first.", running.until.to_rfc3339());
        return Err(Error::conflict(message));
    }
    let old = open(platform, &mut tx, id).await?;
    let new = match &credential.kind {
        Kind::Header(_) => shape::header(entered, &old)?,
        Kind::Schemes => shape::schemes(entered, &old, &parts(&mut tx, &credential, &old).await?)?,
        Kind::Unknown => return Err(Error::conflict("Nothing refers to it: there is no need for another secret.")),
    };
    let sealed = keys.seal(&held::place(actor.tenant, id, &credential.origin), new.reveal().as_bytes());
    let until = (overlap > TimeDelta::zero()).then(|| now + overlap);
    store::exchange(&mut tx, id, &sealed, until, (now, actor.user)).await?;
    change(platform, actor, tx, Event::CredentialRotated(id, overlap.num_seconds())).await
}

/// The value before is in force again, and the one that it was exchanged for is used where it is refused, until the overlap ends.
pub async fn go_back(platform: &Platform, actor: &Member, id: CredentialId, seen: i32) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let has_overlap = check_seen(&mut tx, id, seen).await?.overlap_until.is_some_and(|until| now < until);
    if !has_overlap {
        return Err(Error::conflict("The overlap has ended, and the value before is destroyed."));
    }
    store::swap(&mut tx, id, (now, actor.user)).await?;
    change(platform, actor, tx, Event::CredentialWentBack(id)).await
}

/// Destroys the value before, before its time.
pub async fn end_overlap(platform: &Platform, actor: &Member, id: CredentialId, seen: i32) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if check_seen(&mut tx, id, seen).await?.previous.is_none() {
        return Err(Error::conflict("The overlap has ended already."));
    }
    store::forget_previous(&mut tx, id).await?;
    change(platform, actor, tx, Event::CredentialOverlapEnded(id)).await
}

/// Deletes one that nothing refers to.
pub async fn delete(platform: &Platform, actor: &Member, id: CredentialId) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::lock(&mut tx, id).await?.ok_or(not_found())?;
    let credential = store::find(&mut tx, id, 1, platform.clock.now()).await?.ok_or(not_found())?;
    if let Some(user) = credential.uses.first() {
        return Err(Error::conflict(format!("It is used by {}.", user.name)));
    }
    if credential.versions > 0 {
        return Err(Error::conflict(
            "Older versions of tools refer to it. Versions never change, and somebody may go back to one of them.",
        ));
    }
    store::delete(&mut tx, id).await?;
    change(platform, actor, tx, Event::CredentialDeleted(id)).await
}

/// Calls it something; nothing, if that is empty.
pub async fn set_label(platform: &Platform, actor: &Member, id: CredentialId, label: &str) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    let label = label.trim();
    if label.chars().count() > 80 || has_hidden_characters(label) || label.contains('\n') {
        return Err(Error::invalid("label", "expected at most 80 visible characters"));
    }
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::lock(&mut tx, id).await?.ok_or(not_found())?;
    let before = store::find(&mut tx, id, 1, now).await?.ok_or(not_found())?.label;
    store::set_label(&mut tx, id, label).await?;
    let difference = Difference::default().of("label", before.as_str(), label);
    audit::append(&mut tx, now, actor, &Event::CredentialChanged(id, difference)).await?;
    tx.commit().await
}

/// Destroys the values before whose overlap has ended. Called by a background tick.
pub async fn end_due(platform: &Platform) -> Result<()> {
    for _ in 0..MOST {
        let now = platform.clock.now();
        let mut tx = platform.db.system().await?;
        let due = store::take_due(&mut tx, now, now + AGAIN).await?;
        tx.commit().await?;
        let Some((tenant, id)) = due else { return Ok(()) };
        let mut tx = platform.db.tenant(tenant).await?;
        let Some(row) = store::lock(&mut tx, id).await? else { continue };
        if row.overlap_until.is_none_or(|until| now < until) {
            continue;
        }
        store::forget_previous(&mut tx, id).await?;
        audit::append_all(&mut tx, now, None, &[Event::CredentialOverlapEnded(id)]).await?;
        tx.commit().await?;
        epoch::changed(platform, tenant).await;
    }
    Ok(())
}

/// Writes down how often new values were refused here. Called by a background tick; calls only count.
pub async fn note_refusals(platform: &Platform) -> Result<()> {
    let mut outcome = Ok(());
    for ((tenant, id), refused) in platform.refusals.take() {
        if let Err(error) = note_one(platform, tenant, id, refused).await {
            platform.refusals.add((tenant, id), refused);
            outcome = Err(error);
        }
    }
    outcome
}

async fn note_one(platform: &Platform, tenant: TenantId, id: CredentialId, refused: Refused) -> Result<()> {
    let mut tx = platform.db.tenant(tenant).await?;
    store::add_refused(&mut tx, id, refused).await?;
    tx.commit().await
}

/// A new credential for that origin.
pub(super) async fn seal(platform: &Platform, tx: &mut TenantTx, origin: &str, secret: &Plaintext) -> Result<CredentialId> {
    let now = platform.clock.now();
    let keys = vault::get_or_create(tx, &platform.master_key, uuid_v7(now)).await?;
    let id = CredentialId::new(now);
    let sealed = keys.seal(&held::place(tx.tenant(), id, origin), secret.reveal().as_bytes());
    store::insert(tx, id, origin, &sealed, now).await?;
    Ok(id)
}

/// Where it may be sent, if there is such a credential.
pub(super) async fn origin_of(tx: &mut TenantTx, id: CredentialId) -> Result<Option<String>> {
    store::origin(tx, id).await
}

/// Removes it with the only one who used it.
pub(super) async fn remove(tx: &mut TenantTx, id: CredentialId) -> Result<()> {
    store::delete(tx, id).await
}

/// Seals some of the tenant's credentials anew that are sealed under an older key; how many. 0: none is left.
pub(crate) async fn reseal(tx: &mut TenantTx, keys: &DataKeys, most: i64) -> Result<u64> {
    let mut resealed = 0;
    for row in store::under_others(tx, &keys.newest(), most).await? {
        let place = held::place(tx.tenant(), row.id, &row.origin);
        let anew = |sealed: &[u8]| keys.reseal(&place, sealed).map(|new| new.unwrap_or_else(|| sealed.to_vec()));
        let sealed = anew(&row.sealed).map_err(Error::internal)?;
        let previous = row.previous.as_deref().map(anew).transpose().map_err(Error::internal)?;
        store::reseal(tx, row.id, &sealed, previous.as_deref()).await?;
        resealed += 1;
    }
    Ok(resealed)
}

fn not_found() -> Error {
    Error::not_found("credential")
}

/// The credential, held until the end of the transaction, if it still is what somebody has seen.
async fn check_seen(tx: &mut TenantTx, id: CredentialId, seen: i32) -> Result<store::Stored> {
    let row = store::lock(tx, id).await?.ok_or(not_found())?;
    if row.edition == seen {
        return Ok(row);
    }
    Err(Error::conflict("Its secret was changed while you looked at it. Look at it again, and repeat what is still to be done."))
}

/// The value in force.
async fn open(platform: &Platform, tx: &mut TenantTx, id: CredentialId) -> Result<Plaintext> {
    let held = Held::find(platform, tx, id).await?.ok_or(not_found())?;
    let keys = vault::find(tx, &platform.master_key).await?;
    let opened = held.open(keys.as_ref(), platform.clock.now()).map_err(Error::internal)?;
    Ok(opened.value().clone())
}

async fn parts(tx: &mut TenantTx, credential: &Credential, value: &Plaintext) -> Result<Vec<Part>> {
    match credential.kind {
        Kind::Schemes => shape::of_schemes(value, &store::schemes(tx, credential.id).await?),
        Kind::Header(_) => Ok(vec![Part { scheme: String::new(), shape: shape::of_header(value) }]),
        Kind::Unknown => Ok(Vec::new()),
    }
}

/// What was counted here and is not written down yet.
fn add_noted(platform: &Platform, tenant: TenantId, credential: &mut Credential) {
    let since = credential.rotated.as_ref().map(|(at, _)| *at);
    let noted = platform.refusals.of(tenant, credential.id).filter(|noted| Some(noted.at) >= since);
    let Some((overlap, noted)) = credential.overlap.as_mut().zip(noted) else { return };
    overlap.refused += noted.count;
    overlap.refused_at = overlap.refused_at.max(Some(noted.at));
}

async fn change(platform: &Platform, actor: &Member, mut tx: TenantTx, event: Event) -> Result<()> {
    audit::append(&mut tx, platform.clock.now(), actor, &event).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}
