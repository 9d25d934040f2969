//! Calls asked again, one after the other. Pure: what admission's script does with keys, with numbers in memory.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use trunkline_protocol::oauth::scope::Effect;

use crate::{
    call::{self, Outcome},
    ids::{AgentId, EntryId, TenantId, ToolId},
    quota::{
        ChargeOf, LimitTable, Scope, Settings,
        bucket::{ScaledRate, Verdict, decide},
        charge::DAY_S,
    },
};

/// A call that was asked of its limits.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Asked {
    pub(super) at: DateTime<Utc>,
    pub(super) id: EntryId,
    pub(super) agent_id: AgentId,
    pub(super) tool_id: ToolId,
    pub(super) outcome: String,
    pub(super) error: Option<String>,
    pub(super) latency_us: i64,
}

/// What has become of an agent's calls.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) asked: u64,
    pub(super) were_refused: u64,
    pub(super) refused: u64,
    pub(super) first: Option<(DateTime<Utc>, Scope)>,
}

/// The limits in the middle of the replay.
pub(super) struct Replay<'a> {
    settings: &'a Settings,
    tenant: TenantId,
    table: LimitTable,
    effects: HashMap<ToolId, Effect>,
    since: DateTime<Utc>,
    reached: DateTime<Utc>,
    /// Places of buckets, counters and sets, by their keys.
    places: HashMap<String, usize>,
    charges: HashMap<(AgentId, ToolId), Arc<Charge>>,
    /// When each bucket is full again, in microseconds from the beginning.
    full_at_us: Vec<Option<f64>>,
    /// What is used of each counter, and of which day that is.
    used: Vec<(i64, u64)>,
    running: Vec<u32>,
    /// Calls that have not ended, the next to end first.
    ends: BinaryHeap<Reverse<End>>,
    /// Calls of each tool that ran, and how long they took together: how long one would have run that was refused.
    took: HashMap<ToolId, (i64, i64)>,
    tallies: HashMap<AgentId, Tally>,
}

/// What calls of one agent to one tool are charged to, by place.
#[derive(Debug)]
struct Charge {
    buckets: Vec<(usize, Scope, ScaledRate)>,
    counters: Vec<(usize, Scope, u64, u64)>,
    seats: Vec<(usize, Scope, u32)>,
}

/// The end of a call: its places are free, and what was never sent gets its charge back.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    at_us: i64,
    of: (AgentId, ToolId),
    /// Of which day it was charged, if it gets it back.
    gives_back: Option<i64>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        tenant: TenantId,
        table: LimitTable,
        effects: HashMap<ToolId, Effect>,
        since: DateTime<Utc>,
    ) -> Self {
        Self {
            settings,
            tenant,
            table,
            effects,
            since,
            reached: since,
            places: HashMap::new(),
            charges: HashMap::new(),
            full_at_us: Vec::new(),
            used: Vec::new(),
            running: Vec::new(),
            ends: BinaryHeap::new(),
            took: HashMap::new(),
            tallies: HashMap::new(),
        }
    }

    /// The last moment that was replayed.
    pub(super) fn reached(&self) -> DateTime<Utc> {
        self.reached
    }

    /// What has become of the calls of each agent.
    pub(super) fn tallies(&self) -> impl Iterator<Item = (&AgentId, &Tally)> {
        self.tallies.iter()
    }

    /// The next call, in the order of their time.
    pub(super) fn ask(&mut self, call: &Asked) {
        self.reached = self.reached.max(call.at);
        let at_us = micros(call.at - self.since);
        self.end_until(at_us);
        let of = (call.agent_id, call.tool_id);
        let charge = self.charge(of);
        let day = call.at.timestamp().div_euclid(DAY_S);
        let was_refused = call.outcome == Outcome::Limited.as_str() || call.outcome == Outcome::Denied.as_str();
        let refused = self.refused_by(&charge, day, at_us);
        let tally = self.tallies.entry(call.agent_id).or_default();
        tally.asked += 1;
        tally.were_refused += u64::from(was_refused);
        if let Some(scope) = refused {
            tally.refused += 1;
            tally.first.get_or_insert((call.at, scope));
        } else {
            self.take(&charge, day, at_us);
            let took = self.took(call, was_refused);
            let was_sent = was_refused || call::was_sent(call.error.as_deref());
            self.ends.push(Reverse(End { at_us: at_us + took, of, gives_back: (!was_sent).then_some(day) }));
        }
    }

    /// How long it runs: as it did, or, if it was refused, as long as others of its tool.
    fn took(&mut self, call: &Asked, was_refused: bool) -> i64 {
        let (calls, together) = self.took.entry(call.tool_id).or_default();
        if was_refused {
            return *together / (*calls).max(1);
        }
        *calls += 1;
        *together = together.saturating_add(call.latency_us);
        call.latency_us
    }

    /// The limit that refuses it for longest; as in admission, buckets and days before what runs.
    fn refused_by(&self, charge: &Charge, day: i64, at_us: i64) -> Option<Scope> {
        let now = float(at_us);
        let waits = charge.buckets.iter().filter_map(|(place, scope, rate)| match decide(*rate, self.full_at_us[*place], now) {
            Verdict::Wait { us } => Some((us, *scope)),
            Verdict::Admit { .. } => None,
        });
        let over = charge.counters.iter().filter(|(place, _, amount, most)| self.used_on(*place, day) + amount > *most);
        let until_midnight = float((day + 1) * DAY_S * 1_000_000 - micros(self.since - DateTime::UNIX_EPOCH)) - now;
        let waits = waits.chain(over.map(|(_, scope, ..)| (until_midnight, *scope)));
        let full = charge.seats.iter().filter(|(place, _, most)| self.running[*place] >= *most);
        let waits = waits.chain(full.map(|(_, scope, _)| (1.0, *scope)));
        waits.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, scope)| scope)
    }

    fn take(&mut self, charge: &Charge, day: i64, at_us: i64) {
        for (place, _, rate) in &charge.buckets {
            if let Verdict::Admit { full_at_us } = decide(*rate, self.full_at_us[*place], float(at_us)) {
                self.full_at_us[*place] = Some(full_at_us);
            }
        }
        for (place, _, amount, _) in &charge.counters {
            self.used[*place] = (day, self.used_on(*place, day) + amount);
        }
        for (place, ..) in &charge.seats {
            self.running[*place] += 1;
        }
    }

    /// Lets the calls end that have ended by then.
    fn end_until(&mut self, now_us: i64) {
        while self.ends.peek().is_some_and(|Reverse(end)| end.at_us <= now_us) {
            let Some(Reverse(end)) = self.ends.pop() else { return };
            let charge = self.charge(end.of);
            for (place, ..) in &charge.seats {
                self.running[*place] = self.running[*place].saturating_sub(1);
            }
            let Some(day) = end.gives_back else { continue };
            for (place, _, rate) in &charge.buckets {
                let earlier = self.full_at_us[*place].map(|full_at| full_at - rate.interval_us);
                self.full_at_us[*place] = earlier.filter(|full_at| *full_at > float(end.at_us));
            }
            for (place, _, amount, _) in &charge.counters {
                let used = &mut self.used[*place];
                if used.0 == day {
                    used.1 = used.1.saturating_sub(*amount);
                }
            }
        }
    }

    fn used_on(&self, place: usize, day: i64) -> u64 {
        let (of, used) = self.used[place];
        if of == day { used } else { 0 }
    }

    /// What calls of that agent to that tool are charged to; worked out once.
    fn charge(&mut self, of: (AgentId, ToolId)) -> Arc<Charge> {
        if let Some(charge) = self.charges.get(&of) {
            return Arc::clone(charge);
        }
        let (agent, tool) = of;
        // What is no tool any more is taken for the worst.
        let effect = self.effects.get(&tool).copied().unwrap_or(Effect::Destructive);
        let call = ChargeOf { tenant: self.tenant, agent, tool, effect, throttled: false, seated: true };
        let charged = self.table.charge(self.settings, &call);
        let mut place = |key: &str| {
            let next = self.places.len();
            *self.places.entry(key.to_owned()).or_insert(next)
        };
        let charge = Arc::new(Charge {
            buckets: charged.buckets.iter().map(|one| (place(&one.key), one.scope, one.rate.scaled(1.0))).collect(),
            counters: charged.counters.iter().map(|one| (place(&one.name), one.scope, one.amount, one.most)).collect(),
            seats: charged.seats.iter().map(|one| (place(&one.key), one.scope, one.most)).collect(),
        });
        let places = self.places.len();
        self.full_at_us.resize(places, None);
        self.used.resize(places, (0, 0));
        self.running.resize(places, 0);
        self.charges.insert(of, Arc::clone(&charge));
        charge
    }
}

fn micros(span: TimeDelta) -> i64 {
    span.num_microseconds().unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of some days")]
fn float(us: i64) -> f64 {
    us as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::{Limit, LimitScope, Rate};

    const SINCE_S: i64 = 1_800_057_600;

    fn at(us: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(SINCE_S * 1_000_000 + us).expect("a time")
    }

    fn call(us: i64, latency_us: i64, outcome: Outcome, error: Option<&str>) -> Asked {
        let (agent_id, tool_id) = (AgentId::NIL, ToolId::NIL);
        let (outcome, error) = (outcome.as_str().to_owned(), error.map(str::to_owned));
        Asked { at: at(us), id: EntryId::NIL, agent_id, tool_id, outcome, error, latency_us }
    }

    /// How many of these calls are refused under that limit of their agent, and by what first.
    fn refused(limit: Limit, calls: &[Asked]) -> (u64, Option<Scope>) {
        let settings = Settings::default();
        let table = LimitTable::default().with(&[(LimitScope::Agent(AgentId::NIL), limit)]);
        let effects = HashMap::from([(ToolId::NIL, Effect::Read)]);
        let mut replay = Replay::new(&settings, TenantId::NIL, table, effects, at(0));
        for call in calls {
            replay.ask(call);
        }
        let tally = replay.tallies[&AgentId::NIL].clone();
        (tally.refused, tally.first.map(|(_, scope)| scope))
    }

    fn every(step_us: i64, latency_us: i64, count: i64) -> Vec<Asked> {
        (0..count).map(|number| call(number * step_us, latency_us, Outcome::Ok, None)).collect()
    }

    #[test]
    fn burst_passes_and_then_the_rate() {
        let limit = Limit::from(Rate { per_minute: 60, burst: 3 });
        // Ten a second for ten seconds: three at once and one for each second after.
        assert_eq!(refused(limit, &every(100_000, 0, 100)), (100 - 3 - 9, Some(Scope::Agent)));
        assert_eq!(refused(limit, &every(1_000_000, 0, 100)), (0, None));
    }

    #[test]
    fn day_begins_anew_at_midnight() {
        let limit = Limit { per_day: Some(10), ..Limit::default() };
        // One an hour for two days.
        let (refused, by) = refused(limit, &every(3_600_000_000, 0, 48));
        assert_eq!((refused, by), (28, Some(Scope::Day(crate::quota::Of::Agent))));
    }

    #[test]
    fn what_runs_has_its_place_until_it_ends() {
        let limit = Limit { at_once: Some(2), ..Limit::default() };
        // One a second, each runs for four: two of four are refused.
        assert_eq!(refused(limit, &every(1_000_000, 4_000_000, 40)).0, 20);
        assert_eq!(refused(limit, &every(1_000_000, 2_000_000, 40)).0, 0);
    }

    #[test]
    fn what_was_never_sent_gets_its_charge_back() {
        let limit = Limit { per_day: Some(2), ..Limit::default() };
        let unsent = |us| call(us, 1_000, Outcome::UpstreamError, Some("upstream_unreachable"));
        let calls: Vec<_> = (0..10).map(|number| unsent(number * 10_000)).chain(every(1, 0, 0)).collect();
        assert_eq!(refused(limit, &calls).0, 0);
        let sent: Vec<_> = (0..10).map(|number| call(number * 10_000, 1_000, Outcome::ToolError, None)).collect();
        assert_eq!(refused(limit, &sent).0, 8);
    }

    #[test]
    fn refused_then_runs_as_long_as_others_would() {
        let limit = Limit { at_once: Some(1), ..Limit::default() };
        let calls = [
            call(0, 1_000_000, Outcome::Ok, None),
            call(2_000_000, 10, Outcome::Limited, Some("agent")),
            // While that one would still run, and after it.
            call(2_900_000, 1_000_000, Outcome::Ok, None),
            call(3_100_000, 1_000_000, Outcome::Ok, None),
        ];
        assert_eq!(refused(limit, &calls), (1, Some(Scope::Concurrency(crate::quota::Of::Agent))));
    }
}
