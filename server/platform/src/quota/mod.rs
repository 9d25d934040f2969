//! Limits: who may do how much, decided for all replicas at once by one script in Redis; without Redis, each replica has its share.
//!
//! A call is admitted by everything that bounds it or by nothing: a refused call costs nothing anywhere. What was charged for a call that was
//! never sent is given back (`after`).

mod after;
pub mod attempts;
pub mod breakers;
mod bucket;
pub mod budgets;
mod charge;
mod counters;
pub mod fill;
mod installation;
pub mod limits;
mod local;
pub mod plans;
pub mod replicas;
pub mod resilience;
mod shared;
mod store;
mod tenant;
pub mod what_if;

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_protocol::oauth::scope::Effect;

pub use after::{Afterwards, Charged, Seated, run_afterwards};
pub use breakers::{Breakers, Passage};
pub use bucket::{Bucket, Rate};
pub use budgets::{Budget, BudgetScope, BudgetTable, Noticed};
pub use charge::{Charge, Counted, Counter, Seats};
pub use counters::Counters;
pub use installation::{Installation, Token, run_lease};
pub use limits::{AgentLimits, ChargeOf, Limit, LimitScope, LimitTable, ToolLimits};
pub use local::LocalBuckets;
pub use tenant::{TenantLimits, set_tenant_limits, tenant_limits};

use crate::{Platform, error::Error, ids::TenantId};

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
    /// Calls that run at the same time.
    pub at_once: AtOnce,
    /// All calls of all tenants together, if they are limited.
    pub installation: Option<Rate>,
    /// What becomes of agents that are refused too often.
    pub ladder: Ladder,
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
            at_once: AtOnce::default(),
            installation: None,
            ladder: Ladder::default(),
            attempts: attempts::Settings::default(),
        }
    }
}

/// What becomes of an agent that is refused too often.
#[derive(Debug, Clone, Copy)]
pub struct Ladder {
    /// Refusals within the window after which it is throttled; 0: never.
    pub refusals: u32,
    /// The window, in seconds.
    pub window_s: u32,
    /// For how long it has a tenth of its rates, in seconds.
    pub throttled_s: u32,
    /// Throttlings within a day after which it is suspended.
    pub throttlings: u32,
}

impl Default for Ladder {
    fn default() -> Self {
        Self { refusals: 50, window_s: 60, throttled_s: 300, throttlings: 3 }
    }
}

/// How many calls run at the same time on all replicas together, if nothing else is set. Generous: they are there for what hangs.
#[derive(Debug, Clone, Copy)]
pub struct AtOnce {
    /// Of one agent.
    pub agent: u32,
    /// Of one read tool.
    pub read: u32,
    /// Of one write tool.
    pub write: u32,
    /// Of one destructive tool.
    pub destructive: u32,
}

impl Default for AtOnce {
    fn default() -> Self {
        Self { agent: 512, read: 1_024, write: 512, destructive: 128 }
    }
}

impl AtOnce {
    /// Of one tool of that effect.
    pub fn of_effect(&self, effect: Effect) -> u32 {
        match effect {
            Effect::Read => self.read,
            Effect::Write => self.write,
            Effect::Destructive => self.destructive,
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

/// Whom a limit is set for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Of {
    /// One agent.
    Agent,
    /// One tool.
    Tool,
    /// The tenant.
    Tenant,
    /// An upstream, for all agents together.
    Upstream,
}

impl Of {
    /// As `data.of` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Tool => "tool",
            Self::Tenant => "tenant",
            Self::Upstream => "upstream",
        }
    }
}

/// Which limit a refusal came from, in the words of the answer.
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
    /// Calls of a day.
    Day(Of),
    /// Money of a day or a month.
    Budget(Of),
    /// Calls that run at the same time.
    Concurrency(Of),
    /// All tenants together.
    Installation,
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
            Self::Day(_) => "day",
            Self::Budget(_) => "budget",
            Self::Concurrency(_) => "concurrency",
            Self::Installation => "installation",
        }
    }

    /// Whose it is, where its word does not say so.
    pub fn of(self) -> Option<Of> {
        match self {
            Self::Day(of) | Self::Budget(of) | Self::Concurrency(of) => Some(of),
            _ => None,
        }
    }
}

/// What is left of the limit that will be reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// Which limit.
    pub scope: Scope,
    /// The most in its window.
    pub limit: u64,
    /// The most at once.
    pub burst: u64,
    /// Its window in seconds; 0 for what runs at the same time.
    pub window_s: u64,
    /// Calls that would be admitted at once.
    pub remaining: u64,
    /// Until all of it is there again, in milliseconds.
    pub reset_ms: u64,
}

impl Remaining {
    /// Nothing is left of a rate.
    pub fn of_rate(scope: Scope, rate: Rate) -> Self {
        Self { scope, limit: rate.per_minute.into(), burst: rate.burst.into(), window_s: 60, remaining: 0, reset_ms: 0 }
    }

    /// Nothing is left of a day.
    pub fn of_day(scope: Scope, most: u64) -> Self {
        Self { scope, limit: most, burst: most, window_s: 86_400, remaining: 0, reset_ms: 0 }
    }

    /// Nothing is left of a budget of so many micro-units.
    pub fn of_budget(scope: Scope, amount_micro: u64, window_s: u64) -> Self {
        Self { scope, limit: amount_micro, burst: amount_micro, window_s, remaining: 0, reset_ms: 0 }
    }

    /// As many run as may run at the same time.
    pub fn at_once(scope: Scope, most: u32) -> Self {
        Self { scope, limit: most.into(), burst: most.into(), window_s: 0, remaining: 0, reset_ms: 0 }
    }

    /// As `_meta["trunkline/limits"]` says it.
    pub fn to_json(self) -> String {
        self.to_value().to_string()
    }

    fn to_value(self) -> Value {
        let mut value = json!({
            "scope": self.scope.as_str(),
            "limit": self.limit,
            "burst": self.burst,
            "remaining": self.remaining,
            "reset_ms": self.reset_ms,
        });
        if let Some(of) = self.scope.of() {
            value["of"] = of.as_str().into();
        }
        if let Scope::Budget(_) = self.scope {
            value["unit"] = "micro".into();
        }
        // A minute goes without saying.
        if self.window_s != 60 {
            value["window_s"] = self.window_s.into();
        }
        value
    }

    /// As `error.data` says it, for a refusal.
    pub fn to_refusal(self, retry_after_ms: u64) -> Value {
        let mut value = self.to_value();
        value["remaining"] = 0.into();
        value["retryable"] = true.into();
        value["retry_after_ms"] = retry_after_ms.into();
        value
    }
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Charged everywhere.
    Admitted {
        /// The tightest limit after the charge, if there is one.
        left: Option<Remaining>,
        /// Decided without Redis, on this replica's share.
        degraded: bool,
        /// Places among what runs are scarce somewhere: the one that this call takes must be free again before its answer leaves. Never without
        /// Redis, where nobody counts them.
        crowded: bool,
    },
    /// Charged nowhere.
    Limited {
        /// The limit that said no.
        by: Remaining,
        /// When it would say yes, in milliseconds.
        retry_after_ms: u64,
        /// Decided without Redis.
        degraded: bool,
        /// Refusals of this agent in the window of strikes, with this one.
        strikes: u32,
    },
    /// What is in memory of this tenant is out of date. Charged nowhere.
    Stale,
    /// The session has ended. Charged nowhere.
    NoSession,
    /// Redis is away and this call must not run on a guess. Charged nowhere.
    Unavailable,
    /// The call was answered before: this is what is kept of it, sealed. Charged nowhere.
    Kept(Vec<u8>),
    /// The idempotency key was used for something else. Charged nowhere.
    OtherArguments,
    /// The first call with that idempotency key still runs. Charged nowhere.
    StillRunning {
        /// When to look again, in milliseconds.
        retry_after_ms: u64,
    },
    /// The first call with that idempotency key was begun, its time is over, and nobody knows what became of it. Charged nowhere.
    EndUnknown,
}

impl Decision {
    /// Was it made without Redis?
    pub fn is_degraded(&self) -> bool {
        match self {
            Self::Admitted { degraded, .. } | Self::Limited { degraded, .. } => *degraded,
            Self::Unavailable => true,
            _ => false,
        }
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

/// An idempotency key of a call.
#[derive(Debug, Clone)]
pub struct Once {
    /// Where its result is kept, unique in the tenant.
    pub key: String,
    /// Digest of what is called; always of the same length.
    pub digest: String,
    /// How long what became of it is kept, in seconds.
    pub kept_s: u64,
    /// May it run again when nobody knows what became of it? What only reads may.
    pub may_repeat: bool,
}

/// Where an agent's refusals are counted.
#[derive(Debug, Clone)]
pub struct Strikes {
    /// Its key, unique in the tenant.
    pub key: String,
    /// For how long they count together, in seconds.
    pub window_s: u32,
}

/// What is asked of a call.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// Whose.
    pub tenant: TenantId,
    /// The epoch that the caller's snapshot was loaded under.
    pub epoch: &'a str,
    /// Its session, if it has one.
    pub session: Option<&'a SessionKeys>,
    /// Its id: who is asked again about the same call says the same. `None`: nothing is remembered.
    pub call: Option<&'a str>,
    /// How long it runs at most, in milliseconds.
    pub life_ms: u64,
    /// Its idempotency key, if it brought one.
    pub once: Option<&'a Once>,
    /// Where refusals are counted, if they are.
    pub strikes: Option<&'a Strikes>,
    /// What it is charged.
    pub charge: &'a Charge,
    /// What happens while Redis is away.
    pub without_redis: WithoutRedis,
}

impl Question<'_> {
    /// Can only Redis decide? What runs once only cannot be promised without it, and money cannot be shared by guess.
    fn needs_redis(&self) -> bool {
        self.once.is_some() || !self.charge.budgets.is_empty() || self.without_redis == WithoutRedis::Refuse
    }
}

/// Decides over everything a call is charged to, and charges all or nothing. One round trip; more on the first call of a day, whose counters
/// are read from the record, and where an answer got lost.
pub async fn admit(platform: &Platform, question: &Question<'_>) -> Decision {
    match counters::ask(platform, question).await {
        Ok(decision) => decision,
        Err(away) => without(platform, question, &away),
    }
}

fn without(platform: &Platform, question: &Question<'_>, away: &Error) -> Decision {
    platform.metrics.degraded_decisions.inc();
    tracing::debug!(error = %away, "admission without redis");
    match question.without_redis {
        WithoutRedis::Refuse => Decision::Unavailable,
        WithoutRedis::LocalShare(_) if question.needs_redis() => Decision::Unavailable,
        // Neither Redis nor Postgres has said lately whether the key still works.
        WithoutRedis::LocalShare(most_unheard) if platform.generations.unheard_for() > most_unheard => Decision::Unavailable,
        WithoutRedis::LocalShare(_) => {
            let day = platform.counters.today(platform);
            platform.local_buckets.admit(question.charge, &platform.counters, day, platform.replicas.share())
        }
    }
}
