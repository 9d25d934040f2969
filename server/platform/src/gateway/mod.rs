//! The path of a call, top to bottom: who → which tool → may it → do the arguments fit → admit → run → record → answer.
//!
//! No Postgres, one round trip to Redis, definitions from memory. Everything that is refused is recorded too. While a request runs it may
//! talk to its caller (`speak`), ask (`converse`, `parked`), and be gone on with by a later request (`state`).

mod admit;
mod call;
mod caller;
mod changes;
mod connect;
mod converse;
mod draft;
mod hearing;
mod items;
mod list;
mod measure;
mod offer;
mod once;
mod parked;
pub mod search;
mod slot;
mod speak;
mod state;
mod streams;
pub mod tasks;
mod trial;
mod uri_template;

use std::{net::IpAddr, time::Duration};

use serde_json::value::RawValue;
use trunkline_protocol::{jsonrpc::ErrorObject, mcp::Revision, oauth::scope::ScopeSet};

pub use admit::{admit_call, standing};
pub use call::AdmittedCall;
pub use caller::{Caller, Credential, Holder, SessionRefused, Shown, Unauthenticated, authenticate, why_refused};
pub use changes::{Change, Ears, Interest, watch};
pub use draft::clip;
pub use hearing::Hearing;
pub use items::{ItemRequest, OwnedItemRequest, answer_item, find_resource};
pub use list::{ListPage, admit_list, list, served};
pub use measure::Measure;
pub use offer::{MANY_TOKENS, MANY_TOOLS, Offer, Reader, offer, search_cost};
pub use parked::Parked;
pub use speak::{Outgoing, Voice, deliver_answer};
pub use streams::{OpenStream, StreamUse, Streams};
pub use trial::{Trial, try_code, try_out};

use crate::{
    quota::{Remaining, Scope},
    trace,
};

/// What the transport knows of a call.
#[derive(Debug, Clone)]
pub struct CallRequest<'a> {
    /// The tool's name, as in the body.
    pub name: &'a str,
    /// Its arguments, still raw.
    pub arguments: Option<&'a RawValue>,
    /// All parameters, as they were written.
    pub params: Option<&'a RawValue>,
    /// What came back with a retry.
    pub input: Input<'a>,
    /// `Mcp-Param-*` headers, by lower-case name, where the revision has them; `None`: they are of no tool.
    pub mirrored: Option<&'a [(String, String)]>,
    /// Its idempotency key, if it has one.
    pub idempotency: Option<&'a str>,
    /// Revision to answer in.
    pub revision: Revision,
    /// What the client says it is.
    pub client_name: &'a str,
    /// Where the request comes from.
    pub address: IpAddr,
    /// Size of the body in bytes.
    pub bytes_in: usize,
    /// Id of the HTTP request.
    pub request_id: &'a str,
    /// Id of the JSON-RPC request, as it was written.
    pub jsonrpc_id: Option<&'a str>,
    /// The trace that it belongs to for its caller.
    pub trace: Option<trace::Given>,
}

/// What a caller brings back after a result that required input.
#[derive(Debug, Clone, Copy, Default)]
pub struct Input<'a> {
    /// `inputResponses`.
    pub responses: Option<&'a RawValue>,
    /// `requestState`.
    pub state: Option<&'a RawValue>,
}

/// A request that was refused before anything ran.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// There is no such tool for this caller. Missing and forbidden look alike.
    UnknownTool,
    /// The token does not reach, and its agent's ceiling does: the person can be asked for more.
    InsufficientScope {
        /// Everything that the next token should have.
        scopes: ScopeSet,
    },
    /// A header says something else than the arguments, or is missing.
    HeaderMismatch {
        /// Which header.
        header: String,
    },
    /// `requestState` is not ours, not for this request, too old, or was used before.
    InvalidState,
    /// A bucket is empty, a day's calls are made, as many run as may.
    Limited {
        /// Which limit.
        by: Remaining,
        /// When it would be admitted, in milliseconds.
        retry_after_ms: u64,
        /// The agent's client reads it as a result only.
        as_result: bool,
    },
    /// A limit of none: no such call is ever admitted.
    Denied {
        /// Which limit.
        scope: Scope,
    },
    /// The source, or the origin of the tool, fails most of its calls and is left alone for a while.
    SourceAway {
        /// When to try again, in milliseconds.
        retry_after_ms: u64,
    },
    /// The idempotency key was used for something else.
    OtherArguments,
    /// The first call with that idempotency key still runs.
    StillRunning {
        /// When to look again, in milliseconds.
        retry_after_ms: u64,
    },
    /// The first call with that idempotency key was begun, its time is over, and nobody knows what became of it.
    EndUnknown,
    /// The call was made, and its result was too large to be kept.
    TooLargeToKeep,
    /// Redis is away and this tool must not run on a guess, or the record is full.
    Unavailable {
        /// When to try again, in milliseconds.
        retry_after_ms: u64,
    },
    /// The key was ended while the call was on its way.
    Revoked,
    /// The session has ended.
    NoSession,
    /// The agent or its tenant is suspended until somebody acts.
    Suspended,
}

/// An answer in the caller's revision.
#[derive(Debug)]
pub struct Finished {
    /// The `result` member as JSON, or the error.
    pub answer: Result<String, ErrorObject>,
    /// What is left of the limit that will be reached first, if it was charged to any.
    pub left: Option<Remaining>,
    end: End,
}

/// What an end means to whoever asks again under the same idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The same request would get the same: nothing is asked, and something was sent.
    Final,
    /// Nothing was sent, or something is asked first: it may be tried anew.
    Open,
    /// Something was sent, and its result is withheld.
    Lost,
}

impl Finished {
    /// Nothing was charged.
    fn uncharged(answer: Result<String, ErrorObject>) -> Self {
        Self { answer, left: None, end: End::Open }
    }

    fn error(error: ErrorObject) -> Self {
        Self::uncharged(Err(error))
    }
}

/// How long read and free write tools go on while neither Redis nor Postgres says whether the key still works.
const UNHEARD_READS: Duration = Duration::from_mins(5);
const UNHEARD_WRITES: Duration = Duration::from_secs(30);
/// When to come back after something that should pass quickly.
const SOON_MS: u64 = 1_000;
/// A change is noticed once; twice means that it goes on changing.
const ATTEMPTS: usize = 3;
