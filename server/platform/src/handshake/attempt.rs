//! Steps put together: which of them belong to one client's attempt to connect.

use super::{Finding, Hop, Step};

/// Silence after which the next step begins another attempt, in milliseconds.
const PAUSE_MS: i64 = 10 * 60 * 1000;
/// Attempts that are told of.
const MOST: usize = 20;

/// One client's attempt to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What the program calls itself.
    pub program: String,
    /// The client, if it got an id.
    pub client_id: Option<String>,
    /// Its steps, the first one first.
    pub steps: Vec<Step>,
    /// What stopped it; `None`: it arrived, or is still on its way.
    pub finding: Option<Finding>,
}

impl Attempt {
    /// Has it called?
    pub fn arrived(&self) -> bool {
        self.steps.iter().rev().find(|step| step.hop == Hop::Call).is_some_and(|step| step.fault.is_none())
    }

    /// How it went at that hop the last time; `None`: it was not there.
    pub fn at(&self, hop: Hop) -> Option<&Step> {
        self.steps.iter().rev().find(|step| step.hop == hop)
    }

    /// When its last step was, in milliseconds since 1970.
    pub fn last_ms(&self) -> i64 {
        self.steps.last().map_or(0, |step| step.at_ms)
    }

    fn takes(&self, step: &Step) -> bool {
        // Two clients at one place are two attempts as soon as both have an id.
        let both = self.client_id.as_ref().zip(step.client_id.as_ref());
        let (same_client, other_client) = (both.is_some_and(|(a, b)| a == b), both.is_some_and(|(a, b)| a != b));
        self.steps.iter().any(|one| {
            let same_grant = one.grant.is_some() && one.grant == step.grant;
            let near = (step.at_ms - one.at_ms).abs() < PAUSE_MS;
            same_grant || (near && (same_client || (one.place == step.place && !other_client)))
        })
    }
}

/// The attempts that these steps (the newest first) are of, the newest first, as they stand at that time.
pub fn attempts(mut steps: Vec<Step>, now_ms: i64) -> Vec<Attempt> {
    steps.sort_by_key(|step| step.at_ms);
    let mut attempts: Vec<Attempt> = Vec::new();
    for step in steps {
        let found = attempts.iter_mut().rev().find(|attempt| attempt.takes(&step));
        match found {
            Some(attempt) => {
                attempt.client_id = attempt.client_id.take().or_else(|| step.client_id.clone());
                attempt.steps.push(step);
            }
            None => attempts.push(Attempt {
                program: step.program.clone(),
                client_id: step.client_id.clone(),
                steps: vec![step],
                finding: None,
            }),
        }
    }
    for attempt in &mut attempts {
        attempt.finding = Finding::of(attempt, now_ms);
    }
    attempts.sort_by_key(|attempt| std::cmp::Reverse(attempt.last_ms()));
    attempts.truncate(MOST);
    attempts
}
