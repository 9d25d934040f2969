//! What functions wrote with `console` while agents called them: kept for whoever may change the code, where a version says that it is. The last
//! lines of the last calls, sealed under the tenant's key, written after the answer has left and by a queue that drops rather than waits.

mod store;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    Platform,
    actor::{Member, Permission},
    db::TenantTx,
    error::{Error, Result},
    functions::Line,
    ids::{EntryId, TenantId, ToolId, uuid_v7},
    metrics::Metrics,
    secret::DataKeys,
    vault,
};

/// How long they are kept.
pub const KEPT: TimeDelta = TimeDelta::days(7);
/// Of how many calls of a tool: the last ones.
const MOST_CALLS: i64 = 50;
/// Of one call, in bytes of text: its last lines.
const MOST_BYTES: usize = 4 * 1024;
/// Calls whose lines wait to be written; what finds no room is counted and dropped.
const MOST_WAITING: usize = 256;
/// Calls that are written in one go.
const TOGETHER: usize = 64;

/// What waits on this replica.
#[derive(Debug)]
pub struct Logs {
    sender: mpsc::Sender<Written>,
    receiver: Mutex<Option<mpsc::Receiver<Written>>>,
    metrics: Arc<Metrics>,
}

/// Of one call.
#[derive(Debug)]
struct Written {
    tenant: TenantId,
    tool: ToolId,
    call: EntryId,
    at: DateTime<Utc>,
    said: Said,
}

/// As it is sealed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Said {
    lines: Vec<Line>,
    left_out: u32,
}

/// What a call of an agent logged.
#[derive(Debug, Clone)]
pub struct CallLog {
    /// The call.
    pub call: EntryId,
    /// When it ran.
    pub at: DateTime<Utc>,
    /// Its last lines, oldest first.
    pub lines: Vec<Line>,
    /// Lines before them, and those that the sandbox did not take.
    pub left_out: u32,
}

/// Where the lines of a call go.
#[derive(Debug, Clone, Copy)]
pub struct Keep<'a> {
    /// What waits.
    pub logs: &'a Logs,
    /// The call.
    pub call: EntryId,
}

impl Logs {
    /// Nothing waits yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        Self { sender, receiver: Mutex::new(Some(receiver)), metrics }
    }

    fn drop_lines(&self, lines: usize) {
        self.metrics.log_lines_dropped.inc_by(u64::try_from(lines).unwrap_or(u64::MAX));
    }
}

impl Keep<'_> {
    /// Has the lines written down when there is time. Never waits.
    pub(super) fn offer(self, (tenant, tool): (TenantId, ToolId), at: DateTime<Utc>, lines: &[Line], lost: u32) {
        if lines.is_empty() {
            return;
        }
        let written = Written { tenant, tool, call: self.call, at, said: last(lines, lost) };
        if let Err(refused) = self.logs.sender.try_send(written) {
            self.logs.drop_lines(refused.into_inner().said.lines.len());
        }
    }
}

/// The last lines that fit, and how many do not.
fn last(lines: &[Line], lost: u32) -> Said {
    let mut room = MOST_BYTES;
    let fits = |line: &&Line| {
        let left = room.checked_sub(line.text.len());
        room = left.unwrap_or_default();
        left.is_some()
    };
    let mut kept: Vec<Line> = lines.iter().rev().take_while(fits).cloned().collect();
    // Of a last line that is longer than all of that, its beginning.
    if let (true, Some(line)) = (kept.is_empty(), lines.last()) {
        let end = line.text.floor_char_boundary(MOST_BYTES - '…'.len_utf8());
        kept.push(Line { text: format!("{}…", &line.text[..end]), ..line.clone() });
    }
    kept.reverse();
    let before = u32::try_from(lines.len() - kept.len()).unwrap_or(u32::MAX);
    Said { lines: kept, left_out: lost.saturating_add(before) }
}

fn place(tenant: TenantId, call: EntryId) -> String {
    format!("{tenant}|function_logs|{call}")
}

/// Writes what functions logged until told to stop, and then what waits.
pub async fn run(platform: Platform, stop: CancellationToken) {
    let receiver = platform.logs.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut receiver) = receiver else { return };
    let mut batch = Vec::with_capacity(TOGETHER);
    while stop.run_until_cancelled(receiver.recv_many(&mut batch, TOGETHER)).await.is_some_and(|count| count > 0) {
        write_all(&platform, &mut batch).await;
    }
    receiver.close();
    while receiver.recv_many(&mut batch, TOGETHER).await > 0 {
        write_all(&platform, &mut batch).await;
    }
}

/// What cannot be written is counted and gone: nobody waits for it.
async fn write_all(platform: &Platform, batch: &mut Vec<Written>) {
    let mut of_tenants: BTreeMap<TenantId, Vec<Written>> = BTreeMap::new();
    for one in batch.drain(..) {
        of_tenants.entry(one.tenant).or_default().push(one);
    }
    for (tenant, written) in of_tenants {
        if let Err(error) = write(platform, tenant, &written).await {
            platform.logs.drop_lines(written.iter().map(|one| one.said.lines.len()).sum());
            tracing::warn!(tenant.id = %tenant, error = &error as &dyn std::error::Error, "what functions logged is not kept");
        }
    }
}

async fn write(platform: &Platform, tenant: TenantId, written: &[Written]) -> Result<()> {
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(tenant).await?;
    let keys = vault::get_or_create(&mut tx, &platform.master_key, uuid_v7(now)).await?;
    for one in written {
        let text = serde_json::to_vec(&one.said).map_err(Error::internal)?;
        store::insert(&mut tx, (one.call, one.tool), &keys.seal(&place(tenant, one.call), &text), one.at).await?;
    }
    let mut tools: Vec<ToolId> = written.iter().map(|one| one.tool).collect();
    tools.sort_unstable();
    tools.dedup();
    for tool in tools {
        store::prune(&mut tx, tool, MOST_CALLS).await?;
    }
    tx.commit().await
}

/// What calls of a tool logged, newest first, and whether there are more. For whoever may change its code.
pub async fn recent(platform: &Platform, actor: &Member, tool: ToolId, skip: i64, most: i64) -> Result<(Vec<CallLog>, bool)> {
    actor.require(Permission::ManageTools)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let since = platform.clock.now() - KEPT;
    let mut rows = store::recent(&mut tx, tool, since, (skip, most + 1)).await?;
    let has_more = i64::try_from(rows.len()).unwrap_or(i64::MAX) > most;
    rows.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    if rows.is_empty() {
        return Ok((Vec::new(), false));
    }
    let keys = vault::find(&mut tx, &platform.master_key).await?.ok_or_else(|| Error::internal("the key of logs is gone"))?;
    let open = |(call, at, sealed): (EntryId, DateTime<Utc>, Vec<u8>)| {
        let text = keys.open(&place(actor.tenant, call), &sealed).map_err(Error::internal)?;
        let Said { lines, left_out } = serde_json::from_slice(&text).map_err(Error::internal)?;
        Ok(CallLog { call, at, lines, left_out })
    };
    Ok((rows.into_iter().map(open).collect::<Result<_>>()?, has_more))
}

/// Destroys what is older than it is kept, in every tenant that has functions. Called by a background tick.
pub async fn forget_old(platform: &Platform) -> Result<()> {
    let before = platform.clock.now() - KEPT;
    let mut after = None;
    loop {
        let mut tx = platform.db.system().await?;
        let tenants = store::tenants(&mut tx, after).await?;
        tx.commit().await?;
        for tenant in &tenants {
            let mut tx = platform.db.tenant(*tenant).await?;
            store::forget(&mut tx, before).await?;
            tx.commit().await?;
        }
        match tenants.last() {
            Some(last) => after = Some(*last),
            None => return Ok(()),
        }
    }
}

/// Has any tenant a function, or had one?
pub(super) async fn are_functions(platform: &Platform) -> Result<bool> {
    let mut tx = platform.db.system().await?;
    let tenants = store::tenants(&mut tx, None).await?;
    tx.commit().await?;
    Ok(!tenants.is_empty())
}

/// Seals anew what older data keys have sealed; at most so many. How many.
pub(crate) async fn reseal(tx: &mut TenantTx, keys: &DataKeys, most: i64) -> Result<u64> {
    let tenant = tx.tenant();
    let mut resealed = 0;
    for (call, sealed) in store::under_others(tx, &keys.newest(), most).await? {
        if let Some(sealed) = keys.reseal(&place(tenant, call), &sealed).map_err(Error::internal)? {
            store::set_sealed(tx, call, &sealed).await?;
            resealed += 1;
        }
    }
    Ok(resealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line { level: "log".to_owned(), text: text.to_owned(), at_ms: 0 }
    }

    #[test]
    fn the_last_lines_that_fit_are_kept_and_the_others_counted() {
        let few = [line("a"), line("b")];
        assert_eq!(last(&few, 3), Said { lines: few.to_vec(), left_out: 3 });
        let many: Vec<Line> = (0..10).map(|n| line(&n.to_string().repeat(1000))).collect();
        let kept = last(&many, 1);
        assert_eq!((kept.lines.len(), kept.left_out), (4, 7));
        assert!(kept.lines[3].text.starts_with('9') && kept.lines[0].text.starts_with('6'));
        let long = last(&[line("a"), line(&"é".repeat(MOST_BYTES))], 0);
        assert!(long.lines.len() == 1 && long.left_out == 1 && long.lines[0].text.len() <= MOST_BYTES);
        assert!(long.lines[0].text.ends_with("é…"));
    }
}
