//! Lists: what a caller may use, from memory, in order, in pages.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{Caller, Refusal, UNHEARD_READS, Unauthenticated};
use crate::{
    Platform,
    catalog::snapshot::LoadedTool,
    ids::AgentId,
    quota::{self, Decision, Scope, WithoutRedis},
};

/// Tools of one page.
const PAGE: usize = 500;
/// Bytes of a cursor's seal.
const SEAL: usize = 16;

/// One page of a list.
#[derive(Debug)]
pub struct ListPage {
    /// The tools.
    pub tools: Tools,
    /// Where the next page begins.
    pub next_cursor: Option<String>,
}

/// Tools in order.
pub type Tools = Vec<Arc<LoadedTool>>;

/// Charges a list, a handshake or a ping to the agent's own bucket for them, and notices changes as a call does.
pub async fn admit_list(platform: &Platform, mut caller: Caller) -> Result<Caller, Refusal> {
    for _ in 0..3 {
        let bucket = bucket(platform, caller.agent.id);
        let snapshot = &caller.snapshot;
        match quota::admit(platform, snapshot.tenant, &snapshot.epoch, &[bucket], WithoutRedis::LocalShare(UNHEARD_READS)).await {
            Decision::Admitted { .. } if caller.is_suspended() => return Err(Refusal::Suspended),
            Decision::Admitted { .. } => return Ok(caller),
            Decision::Limited { by, retry_after_ms, .. } => return Err(Refusal::Limited { by, retry_after_ms }),
            Decision::Unavailable => break,
            Decision::Stale => match caller.reload(platform).await {
                Ok(fresh) => caller = fresh,
                Err(Unauthenticated::Invalid) => return Err(Refusal::Revoked),
                Err(Unauthenticated::Unavailable) => break,
            },
        }
    }
    Err(Refusal::Unavailable { retry_after_ms: 1_000 })
}

/// The agent's bucket for what is no call of a tool.
pub(super) fn bucket(platform: &Platform, agent: AgentId) -> quota::Bucket {
    let key = format!("q:l:{}", agent.uuid().simple());
    quota::Bucket { scope: Scope::Lists, key, rate: platform.settings.quota.lists }
}

/// The page after `cursor`. `None`: the cursor is not one of ours for this caller.
pub fn list_tools(platform: &Platform, caller: &Caller, cursor: Option<&str>) -> Option<ListPage> {
    let after = match cursor {
        None => None,
        Some(cursor) => Some(open(platform, caller, cursor)?),
    };
    let mut visible = caller
        .snapshot
        .tools()
        .iter()
        .filter(|tool| after.as_deref().is_none_or(|after| tool.tool.name.as_str() > after))
        .filter(|tool| caller.may_use(tool));
    let tools: Tools = visible.by_ref().take(PAGE).cloned().collect();
    let more = visible.next().is_some();
    let next_cursor = tools.last().filter(|_| more).map(|last| seal(platform, caller, last.tool.name.as_str()));
    Some(ListPage { tools, next_cursor })
}

/// A cursor names the last tool of its page, and is sealed for this agent: another one's means nothing here.
fn seal(platform: &Platform, caller: &Caller, name: &str) -> String {
    let mac = mac(platform, caller, name);
    BASE64_URL_SAFE_NO_PAD.encode([&mac[..SEAL], name.as_bytes()].concat())
}

fn open(platform: &Platform, caller: &Caller, cursor: &str) -> Option<String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (seal, name) = bytes.split_at_checked(SEAL)?;
    let name = std::str::from_utf8(name).ok()?;
    let expected = mac(platform, caller, name);
    bool::from(subtle::ConstantTimeEq::ct_eq(seal, &expected[..SEAL])).then(|| name.to_owned())
}

fn mac(platform: &Platform, caller: &Caller, name: &str) -> [u8; 32] {
    platform.master_key.mac("list cursor", format!("{}|{}|{name}", caller.snapshot.tenant, caller.agent.id).as_bytes())
}
