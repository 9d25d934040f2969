//! Trying a tool out by hand: the same schema, way out and deadline as a call, but nobody's call: no agent, no price, no record of usage.
//! The audit log has a line before and a line after.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, value::RawValue};
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
    catalog::{
        self, FunctionTool, Origin,
        definition::compile,
        snapshot::{self, Current, LoadedTool},
    },
    dialogue::Dialogue,
    error::{Error, Result},
    execution::{self, Account, Answer, CodeRun, Input, Run, function},
    ids::ToolId,
    quota::attempts::{self, Attempt},
    secret::{Plaintext, Rotating},
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
            quietly(platform, &current, &tool, (secret, account), &arguments, None, &CancellationToken::new()).await
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

/// Runs code that is not published, as its tool would run it: in the sandbox, with its hosts and limits. A secret that was not typed is that of
/// the tool which is edited, if it would be sent to the same place. Of a tool that exists the audit log has a line before and a line after.
pub async fn try_code(
    platform: &Platform,
    actor: &Member,
    edited: Option<ToolId>,
    function: &FunctionTool,
    typed: Option<Plaintext>,
    input: &RawValue,
) -> Result<CodeRun> {
    actor.require(Permission::ManageTools)?;
    function.check()?;
    let input = input_of(function, input)?;
    catalog::check_reach_of(platform, function)?;
    attempts::check(platform, Attempt::TrialByMember, &actor.user.to_string()).await?;
    let kept = match edited {
        Some(id) => begin(platform, actor, id, function).await?,
        None => None,
    };
    let began = Instant::now();
    let ran = function::execute(
        (&platform.sandboxes, &platform.egress),
        (actor.tenant, None),
        function,
        &input,
        typed.map(Rotating::alone).or(kept),
    )
    .await;
    let run = CodeRun::of(ran, began);
    if let Some(id) = edited {
        let mut tx = platform.db.tenant(actor.tenant).await?;
        audit::append(&mut tx, platform.clock.now(), actor, &Event::ToolTried(id, run.outcome)).await?;
        tx.commit().await?;
    }
    Ok(run)
}

fn input_of(function: &FunctionTool, input: &RawValue) -> Result<Map<String, Value>> {
    let value: Value = serde_json::from_str(input.get()).map_err(|error| Error::invalid("example", error.to_string()))?;
    let validator = compile(&function.input_schema).map_err(|why| Error::invalid("input_schema", why))?;
    let problems = execution::problems(&validator, &value);
    match value {
        Value::Object(input) if problems.is_empty() => Ok(input),
        _ => Err(Error::invalid("example", format!("it does not fit the schema: {problems}"))),
    }
}

/// Notes that somebody tries the tool; its secret, where the code would send it to the place that it is for.
async fn begin(platform: &Platform, actor: &Member, id: ToolId, function: &FunctionTool) -> Result<Option<Rotating>> {
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let (tool, secret) = snapshot::load_one(platform, &mut tx, id).await?.ok_or(Error::not_found("tool"))?;
    audit::append(&mut tx, platform.clock.now(), actor, &Event::ToolTrialBegun(id)).await?;
    tx.commit().await?;
    let place = tool.tool.version.executor.secret_use().map(|(_, origin)| origin);
    let is_same = place.is_some() && place == function.hosts.first().map(Origin::as_str);
    secret.filter(|_| is_same && function.secret_header.is_some()).transpose().map_err(Error::internal)
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
