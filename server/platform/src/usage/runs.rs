//! What the runs of agents have cost: calls that one trace holds together. There are as many runs as an agent makes, so nothing sums them up
//! beforehand; they are counted from the record, of one day at most and of a bounded number of calls.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Range, Spent, Totals, store};
use crate::{
    Platform,
    actor::{Member, Permission},
    error::{Error, Result},
};

/// Longest time that is counted.
const LONGEST: TimeDelta = TimeDelta::hours(24);
/// Most calls that are counted. Beyond, it is done for the end of the time only.
pub const MOST_CALLS_OF_RUNS: i64 = 50_000;

/// Calls of one run.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Run {
    /// The trace. `None`: all calls that belong to none.
    pub trace_id: Option<String>,
    /// What they have cost.
    #[sqlx(flatten)]
    pub spent: Spent,
}

/// Runs of a time.
#[derive(Debug, Clone)]
pub struct Runs {
    /// What costs most, first.
    pub rows: Vec<Run>,
    /// All calls of that time. Latencies are not among it.
    pub totals: Totals,
    /// They began from then on.
    pub from: DateTime<Utc>,
    /// Are there so many calls that this is later than asked for?
    pub is_cut: bool,
}

/// What the runs of a range have cost: of its last day, if it is longer.
pub async fn runs(platform: &Platform, actor: &Member, range: Range, most: usize) -> Result<Runs> {
    actor.require(Permission::View)?;
    let asked = store::whole_second(platform.clock.now()) - range.length().min(LONGEST);
    let most = i64::try_from(most).map_err(Error::internal)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let from = store::runs_from(&mut tx, asked).await?;
    let mut rows = store::runs(&mut tx, from, most).await?;
    let all = rows.pop();
    let totals = all.map_or_else(Totals::default, |Run { spent, .. }| Totals {
        calls: spent.calls,
        errors: spent.errors,
        cost_micro: spent.cost_micro,
        counted: spent.counted,
        tokens_out: spent.tokens,
        context_micro: spent.context_micro,
        ..Totals::default()
    });
    Ok(Runs { rows, totals, from, is_cut: from > asked })
}
