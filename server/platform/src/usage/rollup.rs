//! Sums: what a batch of calls adds to its minutes, hours and days. In order of their keys, so that two replicas never wait for each other.

use std::collections::BTreeMap;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use uuid::Uuid;

use super::{histogram::Histogram, store};
use crate::{
    call::{Context, Entry, Outcome},
    db::RecordTx,
    error::Result,
    ids::{AgentId, GrantId, TenantId, ToolId, ToolVersionId, UserId},
};

/// Lengths of intervals, in minutes.
pub(super) const MINUTE: i16 = 1;
pub(super) const HOUR: i16 = 60;
pub(super) const DAY: i16 = 1_440;
/// From a Thursday on, as the first of January 1970 was one.
pub(super) const WEEK: i16 = 10_080;

/// What a sum is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    All,
    Tool,
    Version,
    Agent,
    /// What agrees in agent, tool, version, grant and user. Latencies would be too many.
    Each,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [Self::All, Self::Tool, Self::Version, Self::Agent, Self::Each];

    /// As stored.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Tool => "tool",
            Self::Version => "version",
            Self::Agent => "agent",
            Self::Each => "each",
        }
    }

    pub(super) fn find(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The intervals that it is summed over, the shortest first.
    pub(super) fn steps(self) -> &'static [i16] {
        match self {
            Self::All | Self::Tool | Self::Agent => &[MINUTE, HOUR, DAY],
            Self::Version => &[DAY],
            Self::Each => &[DAY, WEEK],
        }
    }
}

/// Which sum of an agent and a tool: of the hour that begins there, without latencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PairKey {
    pub(super) tenant: TenantId,
    pub(super) start: DateTime<Utc>,
    pub(super) agent: AgentId,
    pub(super) tool: ToolId,
}

/// Which sum of a kind. Ids that it is not about are nil.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SumKey {
    pub(super) tenant: TenantId,
    pub(super) kind: Kind,
    pub(super) step: i16,
    pub(super) start: DateTime<Utc>,
    pub(super) agent: Uuid,
    pub(super) tool: Uuid,
    pub(super) version: Uuid,
    pub(super) grant: Uuid,
    pub(super) user: Uuid,
}

/// What counts of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    pub(super) tenant: TenantId,
    pub(super) at: DateTime<Utc>,
    pub(super) agent: AgentId,
    pub(super) tool: Option<(ToolId, ToolVersionId)>,
    pub(super) grant: Option<GrantId>,
    pub(super) user: Option<UserId>,
    pub(super) outcome: Outcome,
    pub(super) latency_us: i64,
    pub(super) cost_micro: i64,
    pub(super) bytes_in: i64,
    pub(super) bytes_out: i64,
    pub(super) context: Option<Context>,
}

impl From<&Entry> for Counted {
    fn from(entry: &Entry) -> Self {
        let Entry { tenant, at, agent, tool, grant, user, outcome, .. } = *entry;
        let Entry { latency_us, cost_micro, bytes_in, bytes_out, context, .. } = *entry;
        Self { tenant, at, agent, tool, grant, user, outcome, latency_us, cost_micro, bytes_in, bytes_out, context }
    }
}

/// What is added to a sum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) by_outcome: [i64; Outcome::ALL.len()],
    pub(super) cost_micro: i64,
    pub(super) bytes_in: i64,
    pub(super) bytes_out: i64,
    /// Calls whose tokens were counted.
    pub(super) counted: i64,
    pub(super) tokens_definition: i64,
    pub(super) tokens_out: i64,
    pub(super) context_micro: i64,
    pub(super) latency: Histogram,
}

/// Sums of some calls, of all kinds.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) pairs: BTreeMap<PairKey, Sum>,
    pub(super) kinds: BTreeMap<SumKey, Sum>,
}

/// Adds calls that were not counted yet.
pub(crate) async fn add(tx: &mut RecordTx, entries: &[&Entry]) -> Result<()> {
    let mut sums = Sums::default();
    for entry in entries {
        sums.count(&Counted::from(*entry));
    }
    store::add_sums(tx, &sums).await
}

/// The beginning of the interval that a moment lies in; of days, by UTC.
pub(super) fn start_of(at: DateTime<Utc>, step: i16) -> DateTime<Utc> {
    at.duration_trunc(TimeDelta::minutes(step.into())).unwrap_or(at)
}

impl Sums {
    /// Counts a call once in each sum that it belongs to.
    fn count(&mut self, call: &Counted) {
        self.count_steps(call, |_| true);
    }

    /// The same but for sums over intervals of that length.
    pub(super) fn count_but(&mut self, call: &Counted, step: i16) {
        self.count_steps(call, |one| one != step);
    }

    /// The same only for those.
    pub(super) fn count_only(&mut self, call: &Counted, step: i16) {
        self.count_steps(call, |one| one == step);
    }

    fn count_steps(&mut self, call: &Counted, wanted: impl Fn(i16) -> bool) {
        let (tool, version) = call.tool.unwrap_or((ToolId::NIL, ToolVersionId::NIL));
        if wanted(HOUR) {
            let key = PairKey { tenant: call.tenant, start: start_of(call.at, HOUR), agent: call.agent, tool };
            self.pairs.entry(key).or_default().add(call, false);
        }
        let id_if = |is_of_it: bool, id: Uuid| if is_of_it { id } else { Uuid::nil() };
        for kind in Kind::ALL {
            let (each, of) = (kind == Kind::Each, |one: Kind| kind == one || kind == Kind::Each);
            for step in kind.steps().iter().filter(|step| wanted(**step)) {
                let key = SumKey {
                    tenant: call.tenant,
                    kind,
                    step: *step,
                    start: start_of(call.at, *step),
                    agent: id_if(of(Kind::Agent), call.agent.uuid()),
                    tool: id_if(of(Kind::Tool), tool.uuid()),
                    version: id_if(of(Kind::Version), version.uuid()),
                    grant: id_if(each, call.grant.map_or_else(Uuid::nil, GrantId::uuid)),
                    user: id_if(each, call.user.map_or_else(Uuid::nil, UserId::uuid)),
                };
                self.kinds.entry(key).or_default().add(call, !each);
            }
        }
    }
}

impl Sum {
    fn add(&mut self, call: &Counted, with_latency: bool) {
        for (slot, outcome) in self.by_outcome.iter_mut().zip(Outcome::ALL) {
            *slot += i64::from(outcome == call.outcome);
        }
        self.cost_micro += call.cost_micro;
        self.bytes_in += call.bytes_in;
        self.bytes_out += call.bytes_out;
        if let Some(context) = call.context {
            self.counted += 1;
            self.tokens_definition += context.tokens_definition;
            self.tokens_out += context.tokens_out;
            self.context_micro = self.context_micro.saturating_add(context.micro);
        }
        if with_latency && call.outcome.ran() {
            self.latency.count(call.latency_us);
        }
    }

    /// Takes another one away. What is left may be negative: it corrects what is there.
    pub(super) fn subtract(&mut self, other: &Self) {
        self.merge(other, -1);
    }

    /// Adds another one that often.
    pub(super) fn merge(&mut self, other: &Self, times: i64) {
        for (slot, other) in self.by_outcome.iter_mut().zip(other.by_outcome) {
            *slot += times * other;
        }
        self.cost_micro += times * other.cost_micro;
        self.bytes_in += times * other.bytes_in;
        self.bytes_out += times * other.bytes_out;
        self.counted += times * other.counted;
        self.tokens_definition += times * other.tokens_definition;
        self.tokens_out += times * other.tokens_out;
        self.context_micro += times * other.context_micro;
        self.latency.merge(&other.latency, times);
    }
}
