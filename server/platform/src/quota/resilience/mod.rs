//! How calls treat an upstream: how long they wait, how many run at once, when it is left alone, and how often they try again. One set for each MCP
//! server, and one for each origin of HTTP tools, which share it.

mod store;

use std::collections::HashMap;

use url::Url;

use super::{
    Of, Scope,
    breakers::{Protected, Terms},
    charge::Seats,
};
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Difference, Event},
    db::TenantTx,
    epoch,
    error::{Error, Result},
    hex,
    ids::ToolId,
};

/// Upstreams of one tenant that depart from the defaults.
const MOST: i64 = 1_000;
/// Tries after the first.
pub const MOST_RETRIES: u8 = 3;
/// Shortest and longest deadline, in milliseconds.
const DEADLINE_MS: std::ops::RangeInclusive<u32> = 100..=60_000;

/// What a person sets for an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resilience {
    /// Longest time of a call, in milliseconds. `None`: as long as its tool may take.
    pub deadline_ms: Option<u32>,
    /// Calls that may run at the same time, of all agents on all replicas together. `None`: not bounded.
    pub at_once: Option<u32>,
    /// When it is left alone.
    pub breaker: Terms,
    /// How often a call that is safe to repeat is tried again, within its deadline.
    pub retries: u8,
}

impl Resilience {
    fn check(&self) -> Result<()> {
        let expect = |field: &str, fits: bool, what: &str| if fits { Ok(()) } else { Err(Error::invalid(field, what)) };
        let deadline = self.deadline_ms.is_none_or(|ms| DEADLINE_MS.contains(&ms));
        expect("deadline_ms", deadline, "expected 100 to 60000 milliseconds, or nothing")?;
        let at_once = self.at_once.is_none_or(|most| (1..=10_000).contains(&most));
        expect("at_once", at_once, "expected 1 to 10000 calls, or nothing")?;
        let share = self.breaker.share.is_none_or(|share| (1..=100).contains(&share));
        expect("breaker_share", share, "expected 1 to 100 percent, or nothing")?;
        expect("breaker_s", (1..=600).contains(&self.breaker.open_s), "expected 1 to 600 seconds")?;
        expect("retries", self.retries <= MOST_RETRIES, "expected 0 to 3")
    }

    fn note(&self, after: &Self) -> Difference {
        Difference::default()
            .of("deadline_ms", self.deadline_ms, after.deadline_ms)
            .of("at_once", self.at_once, after.at_once)
            .of("breaker_share", self.breaker.share, after.breaker.share)
            .of("breaker_s", self.breaker.open_s, after.breaker.open_s)
            .of("retries", self.retries, after.retries)
    }
}

impl Protected {
    /// As stored and in links: `source:src_…` or an origin.
    pub fn to_text(&self) -> String {
        match self {
            Self::Source(id) => format!("source:{id}"),
            Self::Origin(origin) => origin.clone(),
        }
    }

    /// Reads it. An origin is `scheme://host` with a port that is not the usual one, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(id) = text.strip_prefix("source:") {
            return id.parse().ok().map(Self::Source);
        }
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        let origin = url.origin().ascii_serialization();
        (text.len() <= 300 && origin == text).then_some(Self::Origin(origin))
    }

    /// Where its running calls are counted.
    fn seats_key(&self) -> String {
        use sha2::{Digest as _, Sha256};
        format!("r:u:{}", hex::encode(&Sha256::digest(self.to_text())[..12]))
    }
}

/// An upstream in a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Which.
    pub upstream: Protected,
    /// What people call it.
    pub name: String,
    /// One of the tools that call it, if it is an origin.
    pub tool: Option<ToolId>,
    /// What holds for it.
    pub resilience: Resilience,
}

/// All that a tenant has set, for look-up on the path of a call.
#[derive(Debug, Clone, Default)]
pub struct ResilienceTable(HashMap<Protected, Resilience>);

impl ResilienceTable {
    /// Loads a tenant's.
    pub async fn load(tx: &mut TenantTx) -> Result<Self> {
        Ok(Self(store::load(tx).await?.into_iter().collect()))
    }

    /// What holds for that upstream.
    pub fn of(&self, upstream: &Protected) -> Resilience {
        self.0.get(upstream).copied().unwrap_or_default()
    }

    /// Its places among what runs, if they are bounded.
    pub fn seats(&self, upstream: &Protected) -> Option<Seats> {
        let most = self.of(upstream).at_once?;
        Some(Seats { scope: Scope::Concurrency(Of::Upstream), key: upstream.seats_key(), most })
    }
}

/// What holds for an upstream of the tenant.
pub async fn get(platform: &Platform, actor: &Member, upstream: &Protected) -> Result<Resilience> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    Ok(ResilienceTable::load(&mut tx).await?.of(upstream))
}

/// The upstreams of the tenant's tools that are served, with what holds for each, by name: sources first.
pub async fn list(platform: &Platform, actor: &Member) -> Result<Vec<Listed>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let table = ResilienceTable::load(&mut tx).await?;
    let named = store::used(&mut tx).await?;
    Ok(named.into_iter().map(|(upstream, name, tool)| Listed { resilience: table.of(&upstream), upstream, name, tool }).collect())
}

/// Sets it, from the next call on. The upstream is a source of the tenant, or the origin of one of its tools.
pub async fn set(platform: &Platform, actor: &Member, upstream: &Protected, new: Resilience) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    new.check()?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if !store::is_used(&mut tx, upstream).await? {
        return Err(Error::not_found("upstream"));
    }
    let before = ResilienceTable::load(&mut tx).await?.of(upstream);
    if before == new {
        return Ok(());
    }
    // What departs already may be changed, and brought back.
    if before == Resilience::default() && store::count(&mut tx).await? >= MOST {
        return Err(Error::conflict(format!("At most {MOST} upstreams depart from the defaults.")));
    }
    store::set(&mut tx, upstream, &new).await?;
    let event = Event::ResilienceChanged(upstream.to_text(), before.note(&new));
    audit::append(&mut tx, platform.clock.now(), actor, &event).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_sources_and_origins() {
        for text in ["https://api.example.com", "http://127.0.0.1:8080"] {
            assert_eq!(Protected::parse(text).map(|one| one.to_text()).as_deref(), Some(text));
        }
        for text in [
            "",
            "api.example.com",
            "https://api.example.com/",
            "https://a.example:443",
            "https://u@a.example",
            "source:x",
            "file:///a",
        ] {
            assert_eq!(Protected::parse(text), None, "{text}");
        }
    }
}
