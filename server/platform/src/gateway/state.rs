//! What a caller has to bring back with the input that a result required (`requestState`): sealed, so that it says nothing and cannot be
//! made up; bound to tenant, agent, credential, method, name and arguments; gone after ten minutes; good once.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use redis::cmd;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{Caller, connect};
use crate::{
    Platform,
    bus::Address,
    call::Outcome,
    dialogue::{Reply, Retry},
    execution::{Answer, Run},
    redis::Away,
};

/// Longest time between a question and its answer, in seconds.
const GOOD_FOR_S: i64 = 600;
/// Longest state that is read, in characters.
const MAX_LENGTH: usize = 96 * 1024;
/// Longest state of somebody else that is sealed, as JSON: what becomes of it can be read again.
const MAX_HELD: usize = 64 * 1024;

/// What is inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Held {
    /// State of whoever answers the request; possibly none.
    Upstream(Option<String>),
    /// The request still runs on a replica and waits; the text is an `Address`.
    Parked(String),
    /// The person connects an account. With what the request had brought back for whoever answers it, as JSON.
    Connect {
        /// Answers of the client.
        responses: Option<String>,
        /// The state that was given with the requests.
        state: Option<String>,
    },
}

impl Held {
    pub(super) fn parked(address: &Address) -> Self {
        Self::Parked(address.to_string())
    }

    pub(super) fn connect(retry: Retry) -> Self {
        Self::Connect { responses: retry.responses.map(|json| json.get().to_owned()), state: retry.state }
    }

    /// What whoever answers the request gets with it. The failure is a result: the person does not want what it needs.
    pub(super) fn retry(held: Option<&Self>, responses: Option<&RawValue>) -> Result<Option<Retry>, Run> {
        match held {
            None => Ok(responses.map(|responses| Retry { responses: Some(responses.to_owned()), state: None })),
            Some(Self::Upstream(state)) => Ok(Some(Retry { responses: responses.map(ToOwned::to_owned), state: state.clone() })),
            Some(Self::Parked(_)) => Ok(Some(Retry { responses: responses.map(ToOwned::to_owned), state: None })),
            Some(Self::Connect { responses: before, state }) => {
                let before = before.clone().and_then(|json| RawValue::from_string(json).ok());
                connect::come_back(&Retry { responses: before, state: state.clone() }, responses)
            }
        }
    }
}

/// A run whose state is too long to be brought back has failed: better now than when somebody has answered.
pub(super) fn bounded(run: Run) -> Run {
    let Answer::Reply(Reply::InputRequired(needed)) = &run.answer else { return run };
    let length = needed.state.as_ref().map_or(0, |state| serde_json::to_string(state).map_or(usize::MAX, |json| json.len()));
    if length <= MAX_HELD {
        return run;
    }
    Run::failed(Outcome::UpstreamError, "upstream_too_large", "The tool's server asks to be sent more state than can be kept.")
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    held: Held,
    until: i64,
    once: String,
}

/// A state that was opened. It counts when it has been used up.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) held: Held,
    once: String,
}

/// Not a state of ours for this request, or not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Invalid;

/// What a state is bound to beside its caller.
#[derive(Debug, Clone)]
pub(super) struct Place(String);

impl Place {
    /// `name` is the tool, prompt or resource; `arguments` as they were written.
    pub(super) fn new(caller: &Caller, method: &str, name: &str, arguments: Option<&str>) -> Self {
        let arguments = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(canonical(arguments)));
        let (tenant, agent) = (caller.snapshot.tenant, caller.agent.id);
        Self(format!("{tenant} {agent} {} {method} {arguments} {name}", caller.client()))
    }

    pub(super) fn seal(&self, platform: &Platform, held: Held) -> String {
        let sealed = Sealed { held, until: platform.clock.now().timestamp() + GOOD_FOR_S, once: crate::random::base62(16) };
        let json = serde_json::to_vec(&sealed).unwrap_or_default();
        BASE64_URL_SAFE_NO_PAD.encode(platform.master_key.derive("request state").seal(&self.0, &json))
    }

    pub(super) fn open(&self, platform: &Platform, state: &str) -> Result<Opened, Invalid> {
        if state.len() > MAX_LENGTH {
            return Err(Invalid);
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(state).map_err(|_| Invalid)?;
        let json = platform.master_key.derive("request state").open(&self.0, &bytes).map_err(|_| Invalid)?;
        let sealed: Sealed = serde_json::from_slice(&json).map_err(|_| Invalid)?;
        if sealed.until < platform.clock.now().timestamp() {
            return Err(Invalid);
        }
        Ok(Opened { held: sealed.held, once: sealed.once })
    }
}

/// The same arguments written again may have other spaces or another order.
pub(super) fn canonical(arguments: Option<&str>) -> Vec<u8> {
    let value: serde_json::Value = arguments.and_then(|json| serde_json::from_str(json).ok()).unwrap_or(serde_json::json!({}));
    serde_json::to_vec(&value).unwrap_or_default()
}

impl Opened {
    /// Uses it up; false if it was used before.
    pub(super) async fn use_up(&self, platform: &Platform, caller: &Caller) -> Result<bool, Away> {
        let key = platform.redis.tenant_key(caller.snapshot.tenant, &format!("once:{}", self.once));
        let mut set = cmd("SET");
        set.arg(key).arg(1).arg("NX").arg("EX").arg(GOOD_FOR_S);
        Ok(platform.redis.command::<Option<String>>(&set).await?.is_some())
    }
}
