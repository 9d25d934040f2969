//! What a source's policy would let in by itself is tried before: the gate is not this module's, so it is asked by the handle's `trial`.

use std::collections::HashMap;

use futures_util::future::BoxFuture;

use super::{Target, reconcile::Judged};
use crate::{Platform, catalog::definition::Definition, error::Result};

/// Why something waits although its source's policy would let it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stopped {
    /// The check that it failed.
    pub(crate) check: &'static str,
    /// What was wrong, as a sentence.
    pub(crate) reason: String,
}

/// Tries tools of a source; says of each, in their order, why it is stopped. Ends within half a minute.
pub(crate) type Trial = for<'a> fn(&'a Platform, &'a Target, &'a [&'a Definition]) -> BoxFuture<'a, Result<Vec<Option<Stopped>>>>;

/// What was tried in this look at a source, by name and digest: nothing is tried twice.
#[derive(Debug, Default)]
pub(super) struct Trials(HashMap<(String, [u8; 32]), Option<Stopped>>);

fn key(judged: &Judged) -> (String, [u8; 32]) {
    (judged.definition.key.clone(), judged.definition.digest)
}

impl Trials {
    /// Tries those that were not tried yet.
    pub(super) async fn run(&mut self, platform: &Platform, target: &Target, judged: &[Judged], wanted: &[usize]) -> Result<()> {
        let untried: Vec<&Judged> =
            wanted.iter().map(|at| &judged[*at]).filter(|judged| !self.0.contains_key(&key(judged))).collect();
        if untried.is_empty() {
            return Ok(());
        }
        let definitions: Vec<&Definition> = untried.iter().map(|judged| &judged.definition).collect();
        let stopped = (platform.trial)(platform, target, &definitions).await?;
        self.0.extend(untried.into_iter().map(key).zip(stopped));
        Ok(())
    }

    /// Writes down what came of it.
    pub(super) fn note(&self, judged: &mut [Judged]) {
        for judged in judged {
            judged.stopped = self.0.get(&key(judged)).cloned().flatten();
        }
    }

    /// Is each of them tried?
    pub(super) fn have(&self, judged: &[Judged], wanted: &[usize]) -> bool {
        wanted.iter().all(|at| self.0.contains_key(&key(&judged[*at])))
    }
}
