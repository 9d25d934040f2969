//! Limits: who may do how much, decided for all replicas at once by one script in Redis; without Redis, each replica has its share.
//!
//! A call is admitted by all of its buckets or by none: a refused call costs nothing anywhere.

pub mod attempts;
mod bucket;
pub mod limits;
mod local;
pub mod replicas;
mod shared;
mod store;

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_protocol::oauth::scope::Effect;

pub use bucket::{Bucket, Rate};
pub use limits::{AgentLimits, BucketsOf, LimitScope, LimitTable, ToolLimits};
pub use local::LocalBuckets;

use crate::{Platform, ids::TenantId, redis::Away};

/// Settings of the limits.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// An agent's calls to one read tool.
    pub read: Rate,
    /// An agent's calls to one write tool.
    pub write: Rate,
    /// An agent's calls to one destructive tool.
    pub destructive: Rate,
    /// An agent's calls to all tools together.
    pub agent: Rate,
    /// A tenant's calls.
    pub tenant: Rate,
    /// An agent's lists, handshakes and pings.
    pub lists: Rate,
    /// Attempts on the public pages.
    pub attempts: attempts::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            read: Rate::per_minute(300),
            write: Rate::per_minute(60),
            destructive: Rate::per_minute(5),
            agent: Rate::per_minute(1_200),
            tenant: Rate::per_minute(12_000),
            lists: Rate::per_minute(1_200),
            attempts: attempts::Settings::default(),
        }
    }
}

impl Settings {
    /// An agent's calls to one tool of that effect, if nothing else is set.
    pub fn of_effect(&self, effect: Effect) -> Rate {
        match effect {
            Effect::Read => self.read,
            Effect::Write => self.write,
            Effect::Destructive => self.destructive,
        }
    }
}

/// Which bucket a refusal came from, in the words of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One agent on one tool.
    AgentTool,
    /// One agent.
    Agent,
    /// One tool, all agents.
    Tool,
    /// One tenant.
    Tenant,
    /// One agent's lists.
    Lists,
    /// Calls to one tool that run at the same time.
    Concurrency,
}

impl Scope {
    /// As `data.scope` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgentTool => "agent_tool",
            Self::Agent => "agent",
            Self::Tool => "tool",
            Self::Tenant => "tenant",
            Self::Lists => "lists",
            Self::Concurrency => "concurrency",
        }
    }
}

/// What is left in the bucket that will run dry first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// Which bucket.
    pub scope: Scope,
    /// Its rate.
    pub rate: Rate,
    /// Calls that would be admitted at once.
    pub remaining: u32,
    /// Until it is full again, in milliseconds.
    pub reset_ms: u64,
}

impl Remaining {
    /// As many calls run as may run at the same time.
    pub fn concurrency(most: u32) -> Self {
        Self { scope: Scope::Concurrency, rate: Rate { per_minute: most, burst: most }, remaining: 0, reset_ms: 0 }
    }

    /// As `_meta["trunkline/limits"]` says it.
    pub fn to_json(self) -> String {
        format!(
            r#"{{"scope":"{}","limit":{},"burst":{},"remaining":{},"reset_ms":{}}}"#,
            self.scope.as_str(),
            self.rate.per_minute,
            self.rate.burst,
            self.remaining,
            self.reset_ms
        )
    }
}

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Charged in every bucket.
    Admitted {
        /// The tightest bucket after the charge.
        left: Remaining,
        /// Decided without Redis, on this replica's share.
        degraded: bool,
    },
    /// Charged nowhere.
    Limited {
        /// The bucket that said no.
        by: Remaining,
        /// When it would say yes, in milliseconds.
        retry_after_ms: u64,
        /// Decided without Redis.
        degraded: bool,
    },
    /// What is in memory of this tenant is out of date. Charged nowhere.
    Stale,
    /// The session has ended. Charged nowhere.
    NoSession,
    /// Redis is away and this call must not run on a guess. Charged nowhere.
    Unavailable,
}

impl Decision {
    /// Was it made without Redis?
    pub fn is_degraded(&self) -> bool {
        match self {
            Self::Admitted { degraded, .. } | Self::Limited { degraded, .. } => *degraded,
            Self::Unavailable => true,
            Self::Stale | Self::NoSession => false,
        }
    }

    /// As `error.data` says it, for a refusal.
    pub fn limited_data(by: Remaining, retry_after_ms: u64) -> Value {
        json!({
            "scope": by.scope.as_str(),
            "limit": by.rate.per_minute,
            "burst": by.rate.burst,
            "remaining": 0,
            "retryable": true,
            "retry_after_ms": retry_after_ms,
        })
    }
}

/// What happens to a call while Redis is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutRedis {
    /// It runs on this replica's share of the limits, unless changes have not been heard of for longer than this.
    LocalShare(Duration),
    /// It is refused.
    Refuse,
}

/// Where a session is in Redis; admission finds out whether it is still there, and puts its end off.
#[derive(Debug, Clone)]
pub struct SessionKeys {
    /// Its id.
    pub id: String,
    /// Its key.
    pub session: String,
    /// Key of its agent's sessions.
    pub index: String,
    /// Its idle time in seconds.
    pub idle_s: u64,
}

/// Decides over all buckets of a call, and charges all or none. One round trip.
pub async fn admit(
    platform: &Platform,
    tenant: TenantId,
    epoch: &str,
    session: Option<&SessionKeys>,
    buckets: &[Bucket],
    without_redis: WithoutRedis,
) -> Decision {
    match shared::admit(platform, tenant, epoch, session, buckets).await {
        Ok(decision) => decision,
        Err(away) => without(platform, buckets, without_redis, &away),
    }
}

fn without(platform: &Platform, buckets: &[Bucket], without_redis: WithoutRedis, away: &Away) -> Decision {
    platform.metrics.degraded_decisions.inc();
    tracing::debug!(error = %away, "admission without redis");
    match without_redis {
        WithoutRedis::Refuse => Decision::Unavailable,
        // Neither Redis nor Postgres has said lately whether the key still works.
        WithoutRedis::LocalShare(most_unheard) if platform.generations.unheard_for() > most_unheard => Decision::Unavailable,
        WithoutRedis::LocalShare(_) => platform.local_buckets.admit(buckets, platform.replicas.share()),
    }
}
