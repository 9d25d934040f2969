//! Does a call run?

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, value::RawValue};
use trunkline_protocol::{mcp::object::RawObject, oauth::scope::Effect};

use super::{
    ATTEMPTS, AdmittedCall, CallRequest, Caller, Measure, Refusal, SOON_MS, UNHEARD_READS, UNHEARD_WRITES, Unauthenticated,
    admit_list,
    call::Ready,
    converse,
    draft::Draft,
    list,
    once::{Earlier, OnceOnly},
    slot::Slot,
    state::{Held, Opened, Place},
};
use crate::{
    Platform,
    actor::Member,
    agents,
    call::{Outcome, Reserved},
    catalog::{Tool, snapshot::LoadedTool},
    execution,
    quota::{
        self, Charge, ChargeOf, Charged, Decision, Passage, Question, Remaining, Strikes, Token, WithoutRedis,
        breakers::Standing, budgets,
    },
};

/// After its deadline a call is over; its place is given up a little later, if nobody has said so.
const SLACK: Duration = Duration::from_secs(5);

/// Decides whether a call runs. What is refused here is in the record when this returns, unless the record itself is full.
pub async fn admit_call(
    platform: &Platform,
    mut caller: Caller,
    request: &CallRequest<'_>,
    measure: Measure,
) -> Result<AdmittedCall, Refusal> {
    let Ok(place) = platform.spool.reserve() else {
        return Err(Refusal::Unavailable { retry_after_ms: SOON_MS });
    };
    let mut draft = Draft::new(platform, &caller, request, measure, place);
    for _ in 0..ATTEMPTS {
        let Some(tool) = caller.tool(request.name).filter(|_| !caller.is_suspended()).cloned() else {
            draft.says_unread(&caller, request.arguments);
            match ask_for_nothing(platform, &caller).await {
                Ok(Some(fresh)) => caller = fresh,
                Ok(None) => return Err(draft.refuse_with(not_there(&caller, request)).await),
                Err(refusal) => return Err(draft.refuse_with(refusal).await),
            }
            continue;
        };
        draft.about(&tool);
        let prepared = prepare(platform, &caller, &tool, request)
            .and_then(|(ready, state)| Ok((ready, slot(platform, &tool, state.as_ref())?, state)));
        match &prepared {
            Ok((Ready::Run(input), ..)) => draft.says(&caller, &input.arguments),
            _ => draft.says_unread(&caller, request.arguments),
        }
        let (ready, slot, state) = match prepared {
            Ok(prepared) => prepared,
            Err(refusal) => return Err(draft.refuse_with(refusal).await),
        };
        let wanted = match Wanted::of(platform, &caller, &tool, request, (&ready, slot.is_some())) {
            Ok(wanted) => wanted,
            // Not free either, and who has just got back what it was refused for is noticed.
            Err(refusal) => match ask_for_nothing(platform, &caller).await {
                Ok(Some(fresh)) => {
                    caller = fresh;
                    continue;
                }
                Ok(None) => return Err(draft.refuse_with(refusal).await),
                Err(refusal) => return Err(draft.refuse_with(refusal).await),
            },
        };
        let began = Instant::now();
        let decision = wanted.ask(platform, &caller, &tool, &draft.call_id()).await;
        draft.decided(began);
        draft.entry.degraded = decision.is_degraded();
        draft.entry.reserved = wanted.reserved(platform, &decision);
        let refusal = match decision {
            Decision::Admitted { left, degraded, crowded } => {
                let admitted = Admitted { tool, ready, state, caller, left, slot, degraded, crowded };
                return admitted.seal(platform, draft, wanted).await;
            }
            Decision::Limited { by, retry_after_ms, strikes, .. } => {
                escalate(platform, &caller, strikes);
                Refusal::Limited { by, retry_after_ms, as_result: caller.agent.limits_as_results }
            }
            Decision::Unavailable => Refusal::Unavailable { retry_after_ms: SOON_MS },
            Decision::NoSession => caller.session_ended(platform),
            Decision::OtherArguments => Refusal::OtherArguments,
            Decision::StillRunning { retry_after_ms } => Refusal::StillRunning { retry_after_ms },
            Decision::EndUnknown => Refusal::EndUnknown,
            Decision::Kept(kept) => match wanted.earlier(platform, &kept) {
                Some(Earlier::Answer(answer)) => {
                    wanted.nothing_ran(platform);
                    let ready = Ready::Earlier(answer);
                    return Ok(AdmittedCall { tool, ready, state: None, caller, left: None, draft, slot: None, once: None });
                }
                Some(Earlier::TooLarge) => Refusal::TooLargeToKeep,
                None => Refusal::OtherArguments,
            },
            Decision::Stale => match caller.reload(platform).await {
                Ok(fresh) => {
                    wanted.nothing_ran(platform);
                    caller = fresh;
                    continue;
                }
                Err(Unauthenticated::Invalid | Unauthenticated::Unproven) => Refusal::Revoked,
                Err(Unauthenticated::Unavailable) => Refusal::Unavailable { retry_after_ms: SOON_MS },
            },
        };
        wanted.nothing_ran(platform);
        return Err(draft.refuse_with(refusal).await);
    }
    Err(draft.refuse(Outcome::Denied, "limits_unavailable", Refusal::Unavailable { retry_after_ms: SOON_MS }).await)
}

/// What a call needs to be admitted.
struct Wanted {
    charge: Charge,
    once: Option<OnceOnly>,
    strikes: Option<Strikes>,
    passage: Option<Passage>,
    token: Option<Token>,
}

impl Wanted {
    /// One whose arguments do not fit is no call of the tool: it is charged like a list, so that it costs nothing of the tool's limit and is not
    /// free either.
    fn of(
        platform: &Platform,
        caller: &Caller,
        tool: &LoadedTool,
        request: &CallRequest<'_>,
        (ready, seated): (&Ready, bool),
    ) -> Result<Self, Refusal> {
        let (snapshot, agent) = (&caller.snapshot, &caller.agent);
        let Ready::Run(_) = ready else {
            let charge = list::bucket(platform, agent.id).into();
            return Ok(Self { charge, once: None, strikes: None, passage: None, token: None });
        };
        let throttled = agent.is_throttled(platform.clock.now());
        let version = &tool.tool.version;
        let of =
            ChargeOf { tenant: snapshot.tenant, agent: agent.id, tool: tool.tool.id, effect: version.effect, throttled, seated };
        let settings = &platform.settings.quota;
        let mut charge = snapshot.limits.charge(settings, &of);
        let bytes_in = i64::try_from(request.bytes_in).unwrap_or(i64::MAX);
        charge.budgets = snapshot.budgets.reserve(agent.id, tool.tool.id, version.price.reserve(bytes_in, &tool.typical));
        if let Some(counter) = charge.counters.iter().find(|counter| counter.most == 0) {
            return Err(Refusal::Denied { scope: counter.scope });
        }
        let passage = match execution::upstream(&tool.tool.version.executor) {
            Some(what) => {
                charge.seats.extend(snapshot.resilience.seats(&what).filter(|_| seated));
                let terms = snapshot.resilience.of(&what).breaker;
                let passage = platform.breakers.enter(snapshot.tenant, what, terms);
                Some(passage.map_err(|retry_after_ms| Refusal::SourceAway { retry_after_ms })?)
            }
            None => None,
        };
        let as_result = agent.limits_as_results;
        let token = platform.installation.take(settings.installation);
        let token = token.map_err(|(by, retry_after_ms)| Refusal::Limited { by, retry_after_ms, as_result })?;
        // While it is throttled it is refused more than before: that is no reason to go on.
        let is_counted = settings.ladder.refusals > 0 && !throttled;
        let strikes =
            is_counted.then(|| Strikes { key: format!("q:s:{}", agent.id.uuid().simple()), window_s: settings.ladder.window_s });
        let may_repeat = version.effect == Effect::Read;
        Ok(Self { charge, once: OnceOnly::of(platform, caller, request, may_repeat), strikes, passage, token })
    }

    async fn ask(&self, platform: &Platform, caller: &Caller, tool: &LoadedTool, call: &str) -> Decision {
        let snapshot = &caller.snapshot;
        let session = caller.session.as_ref().map(|session| session.keys(platform));
        let executor = &tool.tool.version.executor;
        let life = if executor.is_proxied() {
            converse::LONGEST
        } else {
            execution::deadline(executor, execution::resilience(snapshot, executor)) + SLACK
        };
        let question = Question {
            tenant: snapshot.tenant,
            epoch: &snapshot.epoch,
            session: session.as_ref(),
            call: Some(call),
            life_ms: u64::try_from(life.as_millis()).unwrap_or(u64::MAX),
            once: self.once.as_ref().map(|once| &once.once),
            strikes: self.strikes.as_ref(),
            charge: &self.charge,
            without_redis: without_redis(tool),
        };
        quota::admit(platform, &question).await
    }

    /// What may be reserved of budgets by now: also where the answer was not heard.
    fn reserved(&self, platform: &Platform, decision: &Decision) -> Option<Reserved> {
        let may_be = matches!(decision, Decision::Admitted { .. } | Decision::Unavailable);
        may_be.then(|| budgets::reserved(&self.charge, platform.counters.today(platform))).flatten()
    }

    fn earlier(&self, platform: &Platform, kept: &[u8]) -> Option<Earlier> {
        self.once.as_ref()?.open(platform, kept)
    }

    /// It was refused: what was taken on this replica is there for the next call.
    fn nothing_ran(self, platform: &Platform) {
        if let Some(token) = self.token {
            platform.installation.put_back(token);
        }
    }
}

/// What was decided of a call that runs.
struct Admitted {
    tool: Arc<LoadedTool>,
    ready: Ready,
    state: Option<Opened>,
    caller: Caller,
    left: Option<Remaining>,
    slot: Option<Slot>,
    degraded: bool,
    crowded: bool,
}

impl Admitted {
    /// Uses up what the call brought back; then nothing stands in its way.
    async fn seal(self, platform: &Platform, mut draft: Draft, wanted: Wanted) -> Result<AdmittedCall, Refusal> {
        let Self { tool, ready, state, caller, left, mut slot, degraded, crowded } = self;
        let charged = Charged::new(platform, caller.snapshot.tenant, &draft.call_id(), wanted.charge);
        if let Some(slot) = &mut slot {
            slot.seated = charged.seated(platform, crowded);
        }
        // What goes on with a call that waits somewhere was not begun by this request; a replica alone has nothing to give back.
        let waits = state.as_ref().is_some_and(|state| matches!(state.held, Held::Parked(_)));
        if !waits && !degraded && matches!(ready, Ready::Run(_)) {
            draft.charged = Some(charged);
        }
        draft.passage = wanted.passage;
        let mut refused = use_up(platform, &caller, state.as_ref()).await.err().map(|refusal| (None, refusal));
        if refused.is_none() && matches!(ready, Ready::Run(_)) && draft.intend().await.is_err() {
            refused = Some((Some("record_unavailable"), Refusal::Unavailable { retry_after_ms: SOON_MS }));
        }
        if let Some((reason, refusal)) = refused {
            if let Some(once) = wanted.once {
                once.settle(platform, None).await;
            }
            return Err(match reason {
                Some(reason) => draft.refuse(Outcome::Denied, reason, refusal).await,
                None => draft.refuse_with(refusal).await,
            });
        }
        let (state, once) = (state.map(|state| state.held), wanted.once);
        Ok(AdmittedCall { tool, ready, state, caller, left, draft, slot, once })
    }
}

/// Is what the tool calls left alone for a while? As this replica sees it.
pub fn standing(platform: &Platform, actor: &Member, tool: &Tool) -> Standing {
    let what = execution::upstream(&tool.version.executor);
    what.map_or(Standing::Closed, |what| platform.breakers.standing(actor.tenant, &what))
}

/// As many refusals in a window as lead up the ladder.
fn escalate(platform: &Platform, caller: &Caller, strikes: u32) {
    let most = platform.settings.quota.ladder.refusals;
    // Again with each further round of them, should the first not have been noted.
    if most == 0 || strikes < most || !strikes.is_multiple_of(most) {
        return;
    }
    let (platform, tenant, agent) = (platform.clone(), caller.snapshot.tenant, caller.agent.id);
    let conversations = platform.clone();
    conversations.conversations.spawn(async move {
        if let Err(error) = agents::refused_too_often(&platform, tenant, agent).await {
            tracing::warn!(agent.id = %agent, error = &error as &dyn std::error::Error, "an agent is not throttled");
        }
    });
}

/// A call that is refused by what is in memory is charged like a list: asking is not free, and an agent or a tool that has just come back is
/// noticed. Gives the caller if its tenant has changed.
async fn ask_for_nothing(platform: &Platform, caller: &Caller) -> Result<Option<Caller>, Refusal> {
    let fresh = admit_list(platform, caller.clone()).await?;
    Ok((fresh.snapshot.epoch != caller.snapshot.epoch).then_some(fresh))
}

/// Why there is no such tool for this caller.
fn not_there(caller: &Caller, request: &CallRequest<'_>) -> Refusal {
    match caller.missing_for_tool(request.name) {
        Some(missing) => caller.insufficient(missing, request.revision),
        None => Refusal::UnknownTool,
    }
}

/// Reads what the call brings: arguments, mirrored headers, what it brings back from an earlier round.
fn prepare(
    platform: &Platform,
    caller: &Caller,
    tool: &LoadedTool,
    request: &CallRequest<'_>,
) -> Result<(Ready, Option<Opened>), Refusal> {
    let arguments = match execution::read_arguments(tool, request.arguments) {
        Ok(arguments) => arguments,
        Err(run) => return Ok((Ready::Known(run), None)),
    };
    if let Some(headers) = request.mirrored.filter(|_| request.revision.has_mirrored_arguments()) {
        agree(tool, headers, &arguments)?;
    }
    let state = match request.input.state {
        None => None,
        Some(state) => {
            let state: String = serde_json::from_str(state.get()).map_err(|_| Refusal::InvalidState)?;
            let place = Place::new(caller, "tools/call", request.name, request.arguments.map(RawValue::get));
            Some(place.open(platform, &state).map_err(|_| Refusal::InvalidState)?)
        }
    };
    let retry = match Held::retry(state.as_ref().map(|state| &state.held), request.input.responses) {
        Ok(retry) => retry,
        Err(run) => return Ok((Ready::Known(run), state)),
    };
    let params = tool.tool.version.executor.is_proxied().then(|| params_of(request)).flatten();
    Ok((Ready::Run(execution::Input { arguments, params, retry, user: caller.user() }), state))
}

/// The parameters as they go on to somebody else: without what was meant for us.
fn params_of(request: &CallRequest<'_>) -> Option<RawObject<'static>> {
    let mut params = RawObject::parse(request.params?.get()).ok()?;
    for key in ["inputResponses", "requestState", "task"] {
        params.remove(key);
    }
    Some(params.into_owned())
}

/// Each mirrored argument has its header, and says the same.
fn agree(tool: &LoadedTool, headers: &[(String, String)], arguments: &Map<String, Value>) -> Result<(), Refusal> {
    for mirrored in tool.mirrored() {
        let header = headers.iter().find(|(name, _)| *name == mirrored.header).map(|(_, value)| value.as_str());
        if !mirrored.agrees(header, arguments) {
            return Err(Refusal::HeaderMismatch { header: mirrored.header.clone() });
        }
    }
    Ok(())
}

/// A place among the calls that run. One that waits somewhere has its own: where all of them wait, it could not be finished with a second.
fn slot(platform: &Platform, tool: &LoadedTool, state: Option<&Opened>) -> Result<Option<Slot>, Refusal> {
    if state.is_some_and(|state| matches!(state.held, Held::Parked(_))) {
        return Ok(None);
    }
    Slot::take(platform, &tool.running).map(Some).ok_or_else(Slot::refusal)
}

async fn use_up(platform: &Platform, caller: &Caller, state: Option<&Opened>) -> Result<(), Refusal> {
    let Some(state) = state else { return Ok(()) };
    match state.use_up(platform, caller).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Refusal::InvalidState),
        Err(_) => Err(Refusal::Unavailable { retry_after_ms: SOON_MS }),
    }
}

/// Tools that destroy something or cost money do not run while nobody can count them.
pub(super) fn without_redis(tool: &LoadedTool) -> WithoutRedis {
    let version = &tool.tool.version;
    match version.effect {
        _ if !version.price.is_free() => WithoutRedis::Refuse,
        Effect::Read => WithoutRedis::LocalShare(UNHEARD_READS),
        Effect::Write => WithoutRedis::LocalShare(UNHEARD_WRITES),
        Effect::Destructive => WithoutRedis::Refuse,
    }
}
