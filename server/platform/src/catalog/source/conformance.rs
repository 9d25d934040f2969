//! The source of the official conformance suite's fixtures: off unless whoever runs the installation switches it on for a tenant.

use super::{Changes, Meanwhile, NewDefinitions, Policy, Source, SourceKind, SourceName, refresh, store};
use crate::{
    Platform,
    audit::{self, Event},
    catalog::store as catalog_store,
    epoch,
    error::{Error, Result},
    ids::{SourceId, TenantId},
};

/// Adds the source of the conformance suite's fixtures to a tenant, served as it is. For whoever runs the installation: no page reaches it.
pub async fn create_conformance(platform: &Platform, tenant: TenantId, name: SourceName) -> Result<SourceId> {
    let now = platform.clock.now();
    let policy = Policy { new: NewDefinitions::Approve, changes: Changes::HarmlessPass, meanwhile: Meanwhile::ServeApproved };
    let source = Source {
        id: SourceId::new(now),
        name,
        kind: SourceKind::Conformance,
        enabled: true,
        prefix: false,
        policy,
        default_effect: trunkline_protocol::oauth::scope::Effect::Read,
        timeout_ms: 10_000,
        refreshed_at: None,
        stale: None,
        notice: String::new(),
        created_at: now,
        edition: 1,
    };
    let mut tx = platform.db.tenant(tenant).await?;
    store::insert(&mut tx, &source, None).await?;
    store::schedule(&mut tx, source.id, now).await?;
    audit::append_all(&mut tx, now, None, &[Event::SourceAdded(source.id)]).await?;
    tx.commit().await?;
    epoch::changed(platform, tenant).await;
    Ok(source.id)
}

/// Adds it to a tenant and reads it, or removes it. False: it is so already. For whoever runs the installation.
pub async fn switch_conformance(platform: &Platform, slug: &str, on: bool) -> Result<bool> {
    let mut tx = platform.db.system().await?;
    let tenant = catalog_store::find_tenant(&mut tx, slug).await?.ok_or(Error::not_found("tenant"))?;
    tx.commit().await?;
    let mut tx = platform.db.tenant(tenant).await?;
    let there = store::list(&mut tx).await?.into_iter().find(|source| source.kind == SourceKind::Conformance);
    match (there, on) {
        (None, false) | (Some(_), true) => Ok(false),
        (None, true) => {
            drop(tx);
            let id = create_conformance(platform, tenant, SourceName::parse("conformance")?).await?;
            refresh(platform, tenant, id).await?;
            Ok(true)
        }
        (Some(source), false) => {
            store::delete(&mut tx, source.id).await?;
            audit::append_all(&mut tx, platform.clock.now(), None, &[Event::SourceRemoved(source.id)]).await?;
            tx.commit().await?;
            epoch::changed(platform, tenant).await;
            Ok(true)
        }
    }
}
