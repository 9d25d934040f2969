//! A secret that is being exchanged: the value that requests carry, and for a while the one before it, for servers that do not know the new
//! one yet.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};

use super::Plaintext;
use crate::{
    clock::Clock,
    ids::{CredentialId, TenantId},
};

/// A secret as a call uses it.
#[derive(Debug, Clone)]
pub struct Rotating {
    value: Plaintext,
    previous: Option<Previous>,
}

#[derive(Debug, Clone)]
struct Previous {
    value: Plaintext,
    of: (TenantId, CredentialId),
    refusals: Arc<Refusals>,
}

impl Rotating {
    /// One that nobody exchanges.
    pub fn alone(value: Plaintext) -> Self {
        Self { value, previous: None }
    }

    /// The same with the value before it, for as long as their overlap runs.
    pub(crate) fn with_previous(self, value: Plaintext, of: (TenantId, CredentialId), refusals: &Arc<Refusals>) -> Self {
        Self { previous: Some(Previous { value, of, refusals: Arc::clone(refusals) }), ..self }
    }

    /// What requests carry.
    pub fn value(&self) -> &Plaintext {
        &self.value
    }

    /// What the same request carries if that was refused.
    pub(crate) fn previous(&self) -> Option<&Plaintext> {
        self.previous.as_ref().map(|previous| &previous.value)
    }

    /// The server refused the one and took the other.
    pub(crate) fn note_refusal(&self) {
        if let Some(previous) = &self.previous {
            previous.refusals.note(previous.of);
        }
    }
}

/// How often new values were refused here, until somebody writes it down: a call never does. At most one entry for each overlap that runs.
pub struct Refusals {
    clock: Arc<dyn Clock>,
    noted: Mutex<HashMap<(TenantId, CredentialId), Refused>>,
}

/// Refusals of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// How many.
    pub count: i64,
    /// When the last was.
    pub at: DateTime<Utc>,
}

impl Refusals {
    /// None yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, noted: Mutex::default() }
    }

    fn note(&self, of: (TenantId, CredentialId)) {
        self.add(of, Refused { count: 1, at: self.clock.now() });
    }

    /// Those that are not written down yet.
    pub(crate) fn of(&self, tenant: TenantId, credential: CredentialId) -> Option<Refused> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).get(&(tenant, credential)).copied()
    }

    /// Takes all of them, to write them down.
    pub(crate) fn take(&self) -> HashMap<(TenantId, CredentialId), Refused> {
        std::mem::take(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds some, also those that could not be written down.
    pub(crate) fn add(&self, of: (TenantId, CredentialId), refused: Refused) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = noted.entry(of).or_insert(Refused { count: 0, at: refused.at });
        entry.count += refused.count;
        entry.at = entry.at.max(refused.at);
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusals").field("noted", &self.noted).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn refusals_are_counted_until_they_are_taken() {
        let clock = Arc::new(ManualClock::default());
        let refusals = Arc::new(Refusals::new(Arc::<ManualClock>::clone(&clock)));
        let of = (TenantId::new(clock.now()), CredentialId::new(clock.now()));
        let alone = Rotating::alone(Plaintext::new("new".to_owned()));
        alone.note_refusal();
        assert!(refusals.take().is_empty() && alone.previous().is_none());
        let rotating = alone.with_previous(Plaintext::new("old".to_owned()), of, &refusals);
        rotating.note_refusal();
        clock.advance(chrono::TimeDelta::seconds(5));
        let later = clock.now();
        rotating.note_refusal();
        let noted = refusals.of(of.0, of.1).expect("refused");
        assert!(noted.count == 2 && noted.at >= later, "{noted:?}");
        refusals.take().into_iter().for_each(|(of, refused)| refusals.add(of, refused));
        assert_eq!(refusals.of(of.0, of.1), Some(noted), "what could not be written down is not lost");
        assert!(!format!("{rotating:?}").contains("new") && !format!("{rotating:?}").contains("old"));
    }
}
