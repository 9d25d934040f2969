//! Another try, where it can do no harm: nothing was sent, or what was sent changes nothing more when it comes again.

use std::time::Duration;

use super::Run;
use crate::{
    catalog::{Executor, HttpMethod, Tool},
    quota::resilience::Resilience,
    random,
};
use trunkline_protocol::oauth::scope::Effect;

/// Longest wait before the second try; it doubles with each.
const FIRST_WAIT_MS: u64 = 100;
/// Statuses by which a server, or something in front of it, says that it cannot now.
const NOT_NOW: [u16; 4] = [429, 502, 503, 504];

/// Tries that are left to a call.
#[derive(Debug)]
pub(super) struct Retries {
    made: u8,
    most: u8,
    is_repeatable: bool,
}

impl Retries {
    pub(super) fn new(resilience: Resilience, tool: &Tool) -> Self {
        Self { made: 0, most: resilience.retries, is_repeatable: is_repeatable(tool) }
    }

    /// Waits a little, if the run is worth another try. Whoever waits for the call bounds the time.
    pub(super) async fn again(&mut self, run: &Run) -> bool {
        if self.made >= self.most || !self.helps(run) {
            return false;
        }
        let most = FIRST_WAIT_MS << self.made;
        self.made += 1;
        tokio::time::sleep(Duration::from_millis(u64::from_le_bytes(random::bytes()) % most)).await;
        true
    }

    fn helps(&self, run: &Run) -> bool {
        let class = run.error.as_deref().unwrap_or_default();
        let is_cut = class == "upstream_protocol" || run.status.is_some_and(|status| NOT_NOW.contains(&status));
        class == "upstream_unreachable" || (self.is_repeatable && is_cut)
    }
}

/// Does the same call again change nothing more? By its method (RFC 9110 §9.2.2), or by what its server and its owner say of it.
fn is_repeatable(tool: &Tool) -> bool {
    match &tool.version.executor {
        Executor::Http(http) => !matches!(http.method, HttpMethod::Post | HttpMethod::Patch),
        Executor::Operation(operation) => operation.method.is_idempotent(),
        Executor::Upstream { .. } => {
            #[derive(serde::Deserialize, Default)]
            struct Hints {
                #[serde(default, rename = "idempotentHint")]
                is_idempotent: bool,
            }
            #[derive(serde::Deserialize, Default)]
            struct Hinted {
                #[serde(default)]
                annotations: Hints,
            }
            let hinted = tool.version.definition.as_ref().and_then(|raw| serde_json::from_str::<Hinted>(raw.get()).ok());
            tool.version.effect == Effect::Read || hinted.is_some_and(|hinted| hinted.annotations.is_idempotent)
        }
        _ => false,
    }
}
