//! Trying a tool out by hand: the same schema, way out and deadline as a call, but nobody's call: no agent, no price, no record of usage.
//! The audit log has a line before and a line after.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Map, value::RawValue};
use tokio_util::sync::CancellationToken;
use trunkline_protocol::mcp::object::RawObject;

use super::{
    call::quietly,
    converse::{Work, stop_work, timed_out},
};
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Event},
    call::Outcome,
    catalog::snapshot::{self, Current, LoadedTool},
    dialogue::Dialogue,
    error::{Error, Result},
    execution::{self, Account, Answer, Input, Run},
    ids::ToolId,
    quota::attempts::{self, Attempt},
};

/// How it went.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// How it ended.
    pub outcome: Outcome,
    /// Class of the failure, as in `_meta["trunkline/error"]`.
    pub error: Option<Cow<'static, str>>,
    /// What an agent would have read.
    pub text: String,
    /// How long the tool took.
    pub took: Duration,
}

/// Runs the published version of a tool, switched on or not, with these arguments.
pub async fn try_out(platform: &Platform, actor: &Member, id: ToolId, arguments: &RawValue) -> Result<Trial> {
    actor.require(Permission::ManageTools)?;
    attempts::check(platform, Attempt::TrialByMember, &actor.user.to_string()).await?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let (tool, secret) = snapshot::load_one(platform, &mut tx, id).await?.ok_or(Error::not_found("tool"))?;
    audit::append(&mut tx, platform.clock.now(), actor, &Event::ToolTrialBegun(id)).await?;
    let current = snapshot::of_tenant(platform, &mut tx).await?;
    tx.commit().await?;

    let started = Instant::now();
    let ran = match execution::read_arguments(&tool, Some(arguments)) {
        Ok(_) if tool.tool.version.executor.is_proxied() => proxied(platform, tool, current, actor, arguments).await,
        Ok(arguments) => {
            let accounts = current.accounts_of(&tool);
            let account = accounts.and_then(|source| Account::of(platform, &current, source, Some(actor.user)));
            let resilience = execution::resilience(&current, &tool.tool.version.executor);
            quietly(platform, &tool, resilience, secret, account, &arguments, &CancellationToken::new()).await
        }
        Err(misfit) => misfit,
    };
    let took = started.elapsed();

    let mut tx = platform.db.tenant(actor.tenant).await?;
    audit::append(&mut tx, platform.clock.now(), actor, &Event::ToolTried(id, ran.outcome)).await?;
    tx.commit().await?;
    let text = match &ran.answer {
        Answer::Connect(connect) => connect.text(),
        _ => ran.text().to_owned(),
    };
    Ok(Trial { outcome: ran.outcome, error: ran.error, text, took })
}

/// A tool of a source, with nobody whom it could ask.
async fn proxied(platform: &Platform, tool: LoadedTool, current: Current, actor: &Member, arguments: &RawValue) -> Run {
    let mut params = RawObject::default();
    params.set("arguments", arguments.get().to_owned());
    let input = Input { arguments: Map::new(), params: Some(params), retry: None, user: Some(actor.user) };
    let stop = CancellationToken::new();
    let deadline = execution::proxied_deadline(&tool, &current);
    let run = execution::run_proxied(platform.clone(), Arc::new(tool), current, input, Dialogue::silent(), stop.clone());
    let mut work: Work = Box::pin(run);
    if let Ok(run) = tokio::time::timeout(deadline, &mut work).await {
        return run;
    }
    stop_work(platform, work, &stop);
    timed_out()
}
