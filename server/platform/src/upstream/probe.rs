//! Which era an upstream speaks: it is asked in the newer one first, and what it says to that decides.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trunkline_protocol::{
    jsonrpc::{ErrorObject, METHOD_NOT_FOUND},
    mcp::{Revision, UNSUPPORTED_VERSION, object::RawObject},
};

use super::{Reply, Server, UpstreamError, error::Fault, link::Link, modern, pool::Pool, request::Request, session::Setup};
use crate::dialogue::Dialogue;

/// What the stateless question told.
enum Told {
    /// It speaks this era.
    Stateless(Server),
    /// It refuses the revision and says in the same breath that it speaks it.
    AskAgain,
    /// It does not, or may not.
    Unclear(UpstreamError),
}

/// Asks an upstream what it speaks, until one answer is clear or the deadline is over.
pub(super) async fn probe(pool: &Pool, link: &Arc<Link>, deadline: Instant) -> Result<Arc<Server>, UpstreamError> {
    // A server that never answers what it does not know must leave time for the handshake.
    let half = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
    let mut told = discover(link, half).await?;
    if matches!(told, Told::AskAgain) {
        told = discover(link, half).await?;
    }
    let unclear = match told {
        Told::Stateless(server) => return Ok(Arc::new(server)),
        Told::Unclear(error) => error,
        Told::AskAgain => UpstreamError::Broken("it refuses a revision and says that it speaks it"),
    };
    match pool.obtain(link, &Setup::of(&Dialogue::silent()), deadline).await {
        Ok(lease) => Ok(Arc::clone(&lease.session().server)),
        // No discovery and no handshake, but the newer era's errors: it can still be spoken to.
        Err(Fault::OtherEra(..)) if unclear == NO_DISCOVERY => {
            Ok(Arc::new(Server { revision: Revision::V2026_07_28, info: None, capabilities: None, instructions: None }))
        }
        Err(Fault::OtherEra(..)) => Err(UpstreamError::Broken("it speaks no revision that is spoken here")),
        Err(fault) => Err(fault.error()),
    }
}

/// Said by a server of the stateless era without discovery, and by servers of the other that say 404 to what they do not know.
const NO_DISCOVERY: UpstreamError = UpstreamError::Broken("it does not know discovery");

async fn discover(link: &Link, deadline: Instant) -> Result<Told, UpstreamError> {
    let (params, dialogue, cancelled) = (RawObject::default(), Dialogue::silent(), CancellationToken::new());
    let request = Request {
        method: "server/discover",
        params: &params,
        input: None,
        mirrored: &[],
        trace: None,
        dialogue: &dialogue,
        cancelled: &cancelled,
        deadline,
    };
    match modern::run(link, &request).await {
        Ok(Reply::Result(result)) => Ok(read(&result)),
        Ok(Reply::Error(error)) if error.code == METHOD_NOT_FOUND => Ok(Told::Unclear(NO_DISCOVERY)),
        Ok(Reply::Error(_) | Reply::InputRequired(_)) => Ok(Told::Unclear(UpstreamError::Broken("it refuses discovery"))),
        Err(Fault::OtherEra(_, Some(error))) if speaks_it(&error) => Ok(Told::AskAgain),
        Err(Fault::OtherEra(error, _) | Fault::SessionGone(error)) => Ok(Told::Unclear(error)),
        // Servers of the other era may fail in any way when asked what they do not know.
        Err(Fault::Upstream(error @ (UpstreamError::Timeout | UpstreamError::Status(_) | UpstreamError::Broken(_)))) => {
            Ok(Told::Unclear(error))
        }
        Err(Fault::Upstream(error)) => Err(error),
    }
}

/// Does a refusal of our revision name it among those that are spoken?
fn speaks_it(error: &ErrorObject) -> bool {
    let supported = error.data.as_ref().and_then(|data| data["supported"].as_array());
    let ours = Revision::V2026_07_28.as_str();
    error.code == UNSUPPORTED_VERSION && supported.is_some_and(|supported| supported.iter().any(|version| version == ours))
}

/// What discovery says. A server that does not name the stateless revision may still know an older one.
fn read(result: &RawValue) -> Told {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Discovered {
        supported_versions: Vec<String>,
        #[serde(default)]
        capabilities: Option<Box<RawValue>>,
        #[serde(default)]
        instructions: Option<String>,
        #[serde(default, rename = "_meta")]
        meta: Option<Meta>,
    }
    #[derive(Deserialize)]
    struct Meta {
        #[serde(default, rename = "io.modelcontextprotocol/serverInfo")]
        server_info: Option<Box<RawValue>>,
    }
    let Ok(read) = serde_json::from_str::<Discovered>(result.get()) else {
        return Told::Unclear(UpstreamError::Broken("its discovery cannot be read"));
    };
    let revision = read.supported_versions.iter().filter_map(|version| Revision::find(version));
    if !revision.clone().any(|revision| !revision.has_handshake()) {
        return Told::Unclear(UpstreamError::Broken("it speaks no revision that is spoken here"));
    }
    Told::Stateless(Server {
        revision: Revision::V2026_07_28,
        info: read.meta.and_then(|meta| meta.server_info),
        capabilities: read.capabilities,
        instructions: read.instructions,
    })
}
