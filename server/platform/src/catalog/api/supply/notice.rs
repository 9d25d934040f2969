//! Letters about descriptions: to whoever may manage tools, in the transaction that notes what they are about.

use super::{super::api::Api, Change, Pin, store};
use crate::{
    Platform,
    actor::{Permission, Role},
    db::TenantTx,
    error::Result,
    jobs::{self, Job},
    mail::{DescriptionLetter, EmailAddress, Letter},
};

/// The link leads to another document than the one that is pinned.
pub(super) async fn tell_change(platform: &Platform, tx: &mut TenantTx, api: &Api, change: &Change) -> Result<()> {
    let review = &change.review;
    let letter = DescriptionLetter {
        pinned: Pin(api.sha256).to_string(),
        found: change.pin.to_string(),
        operations: [review.added.count, review.changed.count, review.removed.count],
        ..about(tx, api).await?
    };
    send(platform, tx, letter).await
}

/// The link cannot be read, and that lasts.
pub(super) async fn tell_failure(platform: &Platform, tx: &mut TenantTx, api: &Api, why: &str) -> Result<()> {
    let letter = DescriptionLetter { failure: why.to_owned(), ..about(tx, api).await? };
    send(platform, tx, letter).await
}

async fn about(tx: &mut TenantTx, api: &Api) -> Result<DescriptionLetter> {
    let (organisation, slug) = store::organisation(tx).await?;
    Ok(DescriptionLetter {
        organisation,
        slug,
        api: api.id,
        name: api.name.to_string(),
        link: api.link.as_ref().map(ToString::to_string).unwrap_or_default(),
        pinned: String::new(),
        found: String::new(),
        operations: [0; 3],
        failure: String::new(),
    })
}

async fn send(platform: &Platform, tx: &mut TenantTx, letter: DescriptionLetter) -> Result<()> {
    let roles: Vec<&str> = Role::ALL.into_iter().filter(|role| role.may(Permission::ManageTools)).map(Role::as_str).collect();
    for address in store::addresses(tx, &roles).await? {
        let letter = Letter::Description(Box::new(letter.clone()));
        jobs::enqueue(platform, tx, &Job::SendLetter { to: EmailAddress::parse(&address)?, letter }).await?;
    }
    Ok(())
}
