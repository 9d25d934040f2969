//! Owners are told when a share of a budget is spent, and when all of it is: once in each period, by a letter and an entry in the audit log.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use super::{Budget, Reservation, period, store};
use crate::{
    Platform,
    audit::{self, Event},
    error::Result,
    ids::{BudgetId, TenantId},
    jobs::{self, Job},
    mail::{BudgetLetter, EmailAddress, Letter},
};

/// What is remembered of who was told.
const MOST: usize = 10_000;

/// How far a budget has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The share at which owners are told.
    Warned,
    /// Nothing is left for the next call.
    Spent,
}

impl Stage {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warned => "warned",
            Self::Spent => "spent",
        }
    }
}

/// Of what this replica has told owners: the database is asked once.
#[derive(Debug, Default)]
pub struct Noticed(Mutex<HashSet<Notice>>);

/// Of which budget, on which terms, in the period from which day on, and what.
type Notice = (BudgetId, (i64, Option<i16>), i64, Stage);

impl Noticed {
    /// True the first time.
    fn note(&self, what: Notice) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(what)
    }

    fn forget(&self, what: Notice) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&what);
    }
}

/// Looks at where a decision leaves a budget: `used` of it, and whether it has `refused` the call. Whoever has to be told is told in the background.
pub(in crate::quota) fn look(platform: &Platform, tenant: TenantId, at: &Reservation, day: i64, (used, refused): (i64, bool)) {
    let terms = &at.budget.terms;
    let stage = if refused || used >= terms.amount_micro {
        Stage::Spent
    } else if terms.warns_at().is_some_and(|sum| used >= sum) {
        Stage::Warned
    } else {
        return;
    };
    let (begins, _) = at.budget.period.around(day);
    let what = (at.budget.id, (terms.amount_micro, terms.warn_percent), begins, stage);
    if !platform.noticed.note(what) {
        return;
    }
    let (platform, budget) = (platform.clone(), at.budget.clone());
    let conversations = platform.clone();
    conversations.conversations.spawn(async move {
        if let Err(error) = tell(&platform, tenant, &budget, begins, stage).await {
            platform.noticed.forget(what);
            tracing::warn!(budget.id = %budget.id, error = &error as &dyn std::error::Error, "owners are not told of a budget");
        }
    });
}

async fn tell(platform: &Platform, tenant: TenantId, budget: &Budget, begins: i64, stage: Stage) -> Result<()> {
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(tenant).await?;
    if !store::insert_notice(&mut tx, budget, period::date(begins), stage, now).await? {
        return Ok(());
    }
    let subject = budget.scope.subject(tenant);
    let event = match stage {
        Stage::Warned => Event::BudgetWarned(budget.id, subject),
        Stage::Spent => Event::BudgetSpent(budget.id, subject),
    };
    audit::append_all(&mut tx, now, None, &[event]).await?;
    let about = store::about(&mut tx, budget.scope).await?;
    for owner in store::owners(&mut tx).await? {
        let letter = BudgetLetter {
            is_spent: stage == Stage::Spent,
            organisation: about.organisation.clone(),
            slug: about.slug.clone(),
            agent: budget.scope.ids().0,
            tool: budget.scope.ids().1,
            name: about.name.clone(),
            period: budget.period.as_str().to_owned(),
            amount_micro: budget.terms.amount_micro,
            currency: about.currency.clone(),
            warn_percent: budget.terms.warn_percent,
            blocks: budget.terms.blocks,
        };
        let job = Job::SendLetter { to: EmailAddress::parse(&owner)?, letter: Letter::Budget(Box::new(letter)) };
        jobs::enqueue(platform, &mut tx, &job).await?;
    }
    tx.commit().await
}
