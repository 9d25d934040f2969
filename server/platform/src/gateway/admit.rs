//! Does a call run?

use serde_json::{Map, Value, value::RawValue};
use trunkline_protocol::{mcp::object::RawObject, oauth::scope::Effect};

use super::{
    ATTEMPTS, AdmittedCall, CallRequest, Caller, Measure, Refusal, SOON_MS, UNHEARD_READS, UNHEARD_WRITES, Unauthenticated,
    admit_list,
    call::Ready,
    draft::Draft,
    slot::Slot,
    state::{Held, Opened, Place},
};
use crate::{
    Platform,
    call::Outcome,
    catalog::snapshot::LoadedTool,
    execution,
    quota::{Decision, WithoutRedis},
};

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
            match ask_for_nothing(platform, caller, request).await {
                Ok(fresh) => caller = fresh,
                Err(refusal) => return Err(draft.refuse_with(refusal)),
            }
            continue;
        };
        draft.about(&tool);
        let prepared = prepare(platform, &caller, &tool, request)
            .and_then(|(ready, state)| Ok((ready, slot(platform, &tool, state.as_ref())?, state)));
        let (ready, slot, state) = match prepared {
            Ok(prepared) => prepared,
            Err(refusal) => return Err(draft.refuse_with(refusal)),
        };
        let decision = draft.admit(platform, &caller, &tool, &ready).await;
        draft.entry.degraded = decision.is_degraded();
        match decision {
            Decision::Admitted { left, .. } => {
                if let Err(refusal) = use_up(platform, &caller, state.as_ref()).await {
                    return Err(draft.refuse_with(refusal));
                }
                return Ok(AdmittedCall { tool, ready, state: state.map(|state| state.held), caller, left, draft, slot });
            }
            Decision::Limited { by, retry_after_ms, .. } => {
                return Err(draft.refuse_with(Refusal::Limited { by, retry_after_ms }));
            }
            Decision::Unavailable => break,
            Decision::NoSession => return Err(draft.refuse_with(caller.session_ended(platform))),
            Decision::Stale => match caller.reload(platform).await {
                Ok(fresh) => caller = fresh,
                Err(Unauthenticated::Invalid | Unauthenticated::Unproven) => {
                    return Err(draft.refuse(Outcome::Denied, "revoked", Refusal::Revoked));
                }
                Err(Unauthenticated::Unavailable) => break,
            },
        }
    }
    Err(draft.refuse(Outcome::Denied, "limits_unavailable", Refusal::Unavailable { retry_after_ms: SOON_MS }))
}

/// A call of a tool that is not there is charged like a list: asking for nothing is not free, and an agent or a tool that has just come back is
/// noticed. Gives the caller if its tenant has changed.
async fn ask_for_nothing(platform: &Platform, caller: Caller, request: &CallRequest<'_>) -> Result<Caller, Refusal> {
    let before = caller.snapshot.epoch.clone();
    let fresh = admit_list(platform, caller).await?;
    if fresh.snapshot.epoch == before { Err(not_there(&fresh, request)) } else { Ok(fresh) }
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
    if request.revision.has_mirrored_arguments() {
        agree(tool, request, &arguments)?;
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
fn agree(tool: &LoadedTool, request: &CallRequest<'_>, arguments: &Map<String, Value>) -> Result<(), Refusal> {
    for mirrored in tool.mirrored() {
        let header = request.mirrored.iter().find(|(name, _)| *name == mirrored.header).map(|(_, value)| value.as_str());
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
