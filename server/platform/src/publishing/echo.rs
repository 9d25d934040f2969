//! Calls of agents whose answer is what was asked: a tool that does so again and again does nothing. It is looked at after the answer has left, in a
//! queue with a bound; what is compared is dropped at once, and only digests of arguments are remembered, to tell one call from another.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    ensured, notice,
    probe::{Health, Kind, Probe, Subject},
    rounds::{self, Found},
    sample, store,
};
use crate::{
    Platform,
    catalog::{Builtin, Executor, definition::canonical_members, snapshot::LoadedTool},
    dialogue::Reply,
    error::Result,
    execution::{Answer, Run},
    gate::{Check, Checked, Report, Verdict, is_echo},
    ids::{TenantId, ToolId, ToolVersionId},
};

/// Longest text that is compared: what is given back is about as long as what was given.
const MOST_BYTES: usize = 4 * 1024;
/// Shorter arguments are given back by accident.
const SHORTEST: usize = 16;
/// Calls that wait to be looked at; what finds no room is not looked at.
const MOST_WAITING: usize = 256;
/// So many calls a second are looked at, and so many in a row: more would say nothing more, and cost as much as a part of the call.
const PER_SECOND: u64 = 200;
const IN_A_ROW: u64 = 64;
/// Tools that are remembered.
const MOST_TOOLS: usize = 10_000;
/// Calls in a row, with other arguments each, that change what is known.
const ENOUGH: usize = 3;

/// A call as far as it is compared.
#[derive(Debug)]
pub struct Answered {
    tenant: TenantId,
    tool: ToolId,
    version: ToolVersionId,
    arguments: Map<String, Value>,
    text: Option<String>,
    result: Option<String>,
}

/// What this replica has seen lately.
#[derive(Debug)]
pub struct Echoes {
    sender: mpsc::Sender<Answered>,
    receiver: Mutex<Option<mpsc::Receiver<Answered>>>,
    /// When the bucket of looks is full again, in microseconds since `began`.
    full_at_us: AtomicU64,
    began: Instant,
}

/// Of one version: the last calls that agree with each other.
#[derive(Debug, Default)]
struct Streak {
    is_echo: bool,
    digests: Vec<[u8; 8]>,
    /// Is what the streak says known already?
    is_told: bool,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    #[serde(default)]
    content: Vec<Value>,
    structured_content: Option<Value>,
}

impl Default for Echoes {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        Self { sender, receiver: Mutex::new(Some(receiver)), full_at_us: AtomicU64::default(), began: Instant::now() }
    }
}

impl Echoes {
    /// Is there a look to be had at this moment? Taken with the asking.
    pub fn takes_one(&self) -> bool {
        let step = 1_000_000 / PER_SECOND;
        let now = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let next = |full_at: u64| (full_at <= now + step * (IN_A_ROW - 1)).then(|| full_at.max(now) + step);
        self.full_at_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// Has a call looked at when there is time.
    pub fn offer(&self, answered: Option<Answered>) {
        if let Some(answered) = answered {
            // With a full queue others are looked at.
            let _ = self.sender.try_send(answered);
        }
    }
}

impl Answered {
    /// What is worth a look: an answer that is as short as what was asked. `None`: it cannot be an echo, or may be one.
    pub fn of(tenant: TenantId, tool: &LoadedTool, arguments: Map<String, Value>, run: &Run) -> Option<Self> {
        let version = &tool.tool.version;
        if arguments.is_empty() || run.error.is_some() || matches!(version.executor, Executor::Builtin { name: Builtin::Echo }) {
            return None;
        }
        let (text, result) = match &run.answer {
            Answer::Text(result) if result.text.len() <= MOST_BYTES => (Some(result.text.clone()), None),
            Answer::Reply(Reply::Result(result)) if result.get().len() <= MOST_BYTES => (None, Some(result.get().to_owned())),
            _ => return None,
        };
        Some(Self { tenant, tool: tool.tool.id, version: version.id, arguments, text, result })
    }

    fn is_echo(&self) -> bool {
        match (&self.text, &self.result) {
            (Some(text), _) => is_echo(&self.arguments, &[text], None),
            (None, Some(result)) => serde_json::from_str::<Said>(result).is_ok_and(|said| {
                let texts: Vec<&str> = said.content.iter().filter_map(|block| block["text"].as_str()).collect();
                is_echo(&self.arguments, &texts, said.structured_content.as_ref())
            }),
            (None, None) => false,
        }
    }
}

/// Looks at calls until told to stop.
pub async fn watch(platform: Platform, stop: CancellationToken) {
    let receiver = platform.echoes.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut receiver) = receiver else { return };
    let mut streaks = HashMap::new();
    while let Some(Some(answered)) = stop.run_until_cancelled(receiver.recv()).await {
        if streaks.len() >= MOST_TOOLS {
            streaks.clear();
        }
        let Some(is_echo) = weigh(&mut streaks, &answered) else { continue };
        if let Err(error) = note(&platform, &answered, is_echo).await {
            streaks.remove(&answered.version);
            tracing::warn!(tool.id = %answered.tool, error = &error as &dyn std::error::Error, "it is not noted whether a tool gives back what it is given");
        }
    }
}

/// What is certain now, if it was not before.
fn weigh(streaks: &mut HashMap<ToolVersionId, Streak>, answered: &Answered) -> Option<bool> {
    let canonical = canonical_members(&answered.arguments);
    if canonical.len() < SHORTEST {
        return None;
    }
    let is_echo = answered.is_echo();
    let streak = streaks.entry(answered.version).or_default();
    if streak.is_echo != is_echo {
        *streak = Streak { is_echo, ..Streak::default() };
    }
    if streak.is_told {
        return None;
    }
    let mut digest = [0; 8];
    digest.copy_from_slice(&Sha256::digest(canonical)[..8]);
    if !streak.digests.contains(&digest) {
        streak.digests.push(digest);
    }
    streak.is_told = streak.digests.len() >= ENOUGH;
    streak.is_told.then_some(is_echo)
}

/// Notes that a tool gives back what it is given, or does so no more.
async fn note(platform: &Platform, answered: &Answered, is_echo: bool) -> Result<()> {
    let (subject, now) = (Subject::Tool(answered.tool), platform.clock.now());
    let mut tx = platform.db.tenant(answered.tenant).await?;
    if crate::catalog::drafts::current_version(&mut tx, answered.tool).await? != Some(answered.version) {
        return Ok(());
    }
    let probe = match sample::of(platform, &mut tx, subject).await? {
        Some(probe) => probe,
        None if is_echo => ensured(platform, &mut tx, subject).await?,
        None => return Ok(()),
    };
    let Some(before) = sample::lock(platform, &mut tx, probe.id).await? else { return Ok(()) };
    let fails_as_echo = before.health == Health::Failing && before.failed == Check::Echo.as_str();
    if before.terms.may_echo || is_echo == fails_as_echo || (is_echo && before.health == Health::Failing) {
        return Ok(());
    }
    let report = report(is_echo);
    rounds::insert_run(&mut tx, before.id, Kind::Echo, &Found { report, version: Some(answered.version) }, now).await?;
    let known = if is_echo { (Health::Failing, Check::Echo.as_str(), ECHOED) } else { (Health::Well, "", "") };
    let after = Probe {
        health: known.0,
        failed: known.1.to_owned(),
        problem: known.2.to_owned(),
        since: Some(now),
        checked_at: Some(now),
        against: 0,
        ..before
    };
    store::set_state(&mut tx, &after).await?;
    notice::tell(platform, &mut tx, &after).await?;
    tx.commit().await?;
    if after.terms.hides {
        crate::epoch::changed(platform, answered.tenant).await;
    }
    Ok(())
}

const ECHOED: &str = "the last calls of agents were given back what they had sent";

fn report(is_echo: bool) -> Report {
    let verdict = if is_echo { Verdict::Failed } else { Verdict::Passed };
    let problem = is_echo.then(|| ECHOED.to_owned());
    let advice = is_echo.then_some("The tool did nothing, or something in front of it answered in its place.");
    Report {
        passed: !is_echo,
        checks: vec![Checked { check: Check::Echo, verdict, took_ms: None, problem, advice }],
        ..Report::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answered(arguments: &Value, text: &str) -> Answered {
        Answered {
            tenant: TenantId::NIL,
            tool: ToolId::NIL,
            version: ToolVersionId::NIL,
            arguments: arguments.as_object().cloned().expect("an object"),
            text: Some(text.to_owned()),
            result: None,
        }
    }

    #[test]
    fn three_echoes_of_other_arguments_in_a_row_are_certain_once() {
        let mut streaks = HashMap::new();
        let mut see = |note: &str, answer: &str| weigh(&mut streaks, &answered(&json!({ "note": note }), answer));
        for _ in 0..5 {
            assert_eq!(see("bring an umbrella", "bring an umbrella"), None, "the same call says nothing new");
        }
        assert_eq!(see("bring another one", "bring another one"), None);
        assert_eq!(see("and a third of them", "and a third of them"), Some(true));
        assert_eq!(see("and a fourth of them", "and a fourth of them"), None, "it is known");
        assert_eq!(see("and a fifth of them", "kept"), None);
        assert_eq!(see("and a sixth of them", "kept"), None);
        assert_eq!(see("and one more of them", "and one more of them"), None, "it begins anew");
        assert_eq!(see("x", "x"), None);
        assert_eq!(
            [see("note number one", "a"), see("note number two", "b"), see("note number three", "c")],
            [None, None, Some(false)]
        );
    }
}
