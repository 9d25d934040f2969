//! Sums: what a batch of calls adds to its minutes and hours. In order of their keys, so that two replicas never wait for each other.

use std::collections::BTreeMap;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

use super::{histogram, store};
use crate::{
    call::{Entry, Outcome},
    db::RecordTx,
    error::Result,
    ids::{AgentId, TenantId, ToolId},
};

/// Lengths of the intervals in minutes.
const STEPS: [i16; 2] = [1, 60];

/// Which sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SumKey {
    pub(super) tenant: TenantId,
    pub(super) step: i16,
    pub(super) start: DateTime<Utc>,
    pub(super) agent: AgentId,
    pub(super) tool: ToolId,
}

/// What is added to it.
#[derive(Debug, Clone)]
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
    pub(super) latency: Vec<i64>,
}

/// Adds calls that were not counted yet.
pub(crate) async fn add(tx: &mut RecordTx, entries: &[&Entry]) -> Result<()> {
    let mut sums: BTreeMap<SumKey, Sum> = BTreeMap::new();
    for entry in entries {
        for step in STEPS {
            let start = entry.at.duration_trunc(TimeDelta::minutes(step.into())).unwrap_or(entry.at);
            let tool = entry.tool.map_or(ToolId::NIL, |(tool, _)| tool);
            let key = SumKey { tenant: entry.tenant, step, start, agent: entry.agent, tool };
            sums.entry(key).or_insert_with(Sum::empty).add(entry);
        }
    }
    if sums.is_empty() { Ok(()) } else { store::add_sums(tx, &sums).await }
}

impl Sum {
    fn empty() -> Self {
        Self {
            by_outcome: [0; Outcome::ALL.len()],
            cost_micro: 0,
            bytes_in: 0,
            bytes_out: 0,
            counted: 0,
            tokens_definition: 0,
            tokens_out: 0,
            context_micro: 0,
            latency: vec![0; histogram::BUCKETS],
        }
    }

    fn add(&mut self, entry: &Entry) {
        for (slot, outcome) in self.by_outcome.iter_mut().zip(Outcome::ALL) {
            *slot += i64::from(outcome == entry.outcome);
        }
        self.cost_micro += entry.cost_micro;
        self.bytes_in += entry.bytes_in;
        self.bytes_out += entry.bytes_out;
        if let Some(context) = entry.context {
            self.counted += 1;
            self.tokens_definition += context.tokens_definition;
            self.tokens_out += context.tokens_out;
            self.context_micro = self.context_micro.saturating_add(context.micro);
        }
        if entry.outcome.ran() {
            self.latency[histogram::bucket(entry.latency_us)] += 1;
        }
    }
}
