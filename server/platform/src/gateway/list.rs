//! Lists: what a caller may use, from memory, in order, in pages.

use std::{borrow::Cow, sync::Arc};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use trunkline_protocol::mcp::{Revision, lifecycle::Served};

use super::{Caller, Refusal, UNHEARD_READS, Unauthenticated, search};
use crate::{
    Platform,
    catalog::snapshot::{Page, PageKey},
    dialogue::ItemKind,
    ids::AgentId,
    quota::{self, Decision, Question, Scope, WithoutRedis},
};

/// Items of one page.
const PAGE: usize = 500;
/// Bytes of a cursor's seal.
const SEAL: usize = 16;
/// What its key is for.
const PURPOSE: &str = "list cursor";

/// One page of a list.
#[derive(Debug)]
pub struct ListPage {
    /// Its items.
    pub page: Arc<Page>,
    /// Where the next page begins.
    pub next_cursor: Option<String>,
}

/// Charges a list, a handshake or a ping to the agent's own bucket for them, and notices changes as a call does.
pub async fn admit_list(platform: &Platform, mut caller: Caller) -> Result<Caller, Refusal> {
    for _ in 0..3 {
        let charge = bucket(platform, caller.agent.id).into();
        let snapshot = &caller.snapshot;
        let session = caller.session.as_ref().map(|session| session.keys(platform));
        let question = Question {
            tenant: snapshot.tenant,
            epoch: &snapshot.epoch,
            session: session.as_ref(),
            call: None,
            life_ms: 0,
            once: None,
            strikes: None,
            charge: &charge,
            without_redis: WithoutRedis::LocalShare(UNHEARD_READS),
        };
        match quota::admit(platform, &question).await {
            Decision::NoSession => return Err(caller.session_ended(platform)),
            Decision::Admitted { .. } if caller.is_suspended() => return Err(Refusal::Suspended),
            Decision::Admitted { .. } => return Ok(caller),
            Decision::Limited { by, retry_after_ms, .. } => {
                return Err(Refusal::Limited { by, retry_after_ms, as_result: false });
            }
            Decision::Unavailable
            | Decision::Kept(_)
            | Decision::OtherArguments
            | Decision::StillRunning { .. }
            | Decision::EndUnknown => break,
            Decision::Stale => match caller.reload(platform).await {
                Ok(fresh) => caller = fresh,
                Err(Unauthenticated::Invalid | Unauthenticated::Unproven) => return Err(Refusal::Revoked),
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

/// What is served to this caller beside tools.
pub fn served(caller: &Caller) -> Served {
    let has = |kind| caller.items(kind).next().is_some();
    let prompts = has(ItemKind::Prompts);
    let resources = has(ItemKind::Resources) || has(ItemKind::ResourceTemplates);
    Served { prompts, resources, completions: prompts || resources }
}

/// The page of a list after `cursor`, as that revision describes its items. `None`: the cursor is not one of ours for this caller.
pub fn list(platform: &Platform, caller: &Caller, kind: ItemKind, revision: Revision, cursor: Option<&str>) -> Option<ListPage> {
    let after = match cursor {
        None => None,
        Some(cursor) => Some(open(platform, caller, kind, cursor)?),
    };
    if kind == ItemKind::Tools && caller.searches() {
        let page = Arc::new(Page { items: search::items(), last: None });
        return Some(ListPage { page, next_cursor: None });
    }
    let key = PageKey {
        kind,
        revision,
        scopes: [Cow::Borrowed(caller.credential.scopes()), Cow::Borrowed(&caller.agent.scopes)],
        toolset: caller.toolset.as_ref().map(|toolset| toolset.id),
        pinned: Some(caller.agent.id).filter(|agent| caller.snapshot.is_pinned(*agent)),
        after: after.as_deref().map(Cow::Borrowed),
    };
    let page = caller.snapshot.pages.get(key, || match kind {
        ItemKind::Tools => {
            let visible = caller.tools();
            write(visible.map(|tool| (tool.tool.name.as_str(), tool.description(revision))), after.as_deref())
        }
        _ => write(caller.items(kind).map(|item| (item.key.as_str(), item.definition.get())), after.as_deref()),
    });
    let next_cursor = page.last.as_ref().map(|last| seal(platform, caller, kind, last));
    Some(ListPage { page, next_cursor })
}

fn write<'c>(visible: impl Iterator<Item = (&'c str, &'c str)>, after: Option<&str>) -> Page {
    let mut visible = visible.skip_while(|(key, _)| after.is_some_and(|after| *key <= after)).peekable();
    let (mut items, mut last) = (Vec::new(), "");
    while let Some((key, item)) = visible.next_if(|_| items.len() < PAGE) {
        last = key;
        items.push(item);
    }
    Page { items: items.join(","), last: visible.peek().is_some().then(|| last.to_owned()) }
}

/// A cursor names the last item of its page, and is sealed for this agent and list: another one's means nothing here.
fn seal(platform: &Platform, caller: &Caller, kind: ItemKind, name: &str) -> String {
    let mac = platform.master_key.mac(PURPOSE, cursor_of(caller, kind, name).as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode([&mac[..SEAL], name.as_bytes()].concat())
}

fn open(platform: &Platform, caller: &Caller, kind: ItemKind, cursor: &str) -> Option<String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (seal, name) = bytes.split_at_checked(SEAL)?;
    let name = std::str::from_utf8(name).ok()?;
    platform.master_key.verify_mac(PURPOSE, cursor_of(caller, kind, name).as_bytes(), seal).then(|| name.to_owned())
}

fn cursor_of(caller: &Caller, kind: ItemKind, name: &str) -> String {
    format!("{}|{}|{}|{name}", caller.snapshot.tenant, caller.agent.id, kind.as_str())
}
