//! The gate for a tool of ours: there is no handshake and no list, but its definition stands in lists of every revision, and the call is as real.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{
    Plan, Report, Sample, Stopped, judge,
    report::{Check, Checks},
    sample,
};
use crate::{
    catalog::definition::{Definition, Unreadable},
    dialogue::Reply,
};

/// Why a call did not come to a result that could be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The check that it fails.
    pub check: Check,
    /// What is wrong.
    pub problem: String,
    /// What would be right, or where to look.
    pub advice: &'static str,
}

/// Checks of a definition alone.
const OF_DEFINITION: &[Check] = &[Check::Definitions];
/// Checks of a tool of ours.
const OF_TOOL: &[Check] =
    &[Check::Definitions, Check::Call, Check::Result, Check::Content, Check::Schema, Check::Time, Check::Echo, Check::Expected];

/// Its definition, as it stands in the lists of each revision, can be used by clients and judged by people.
pub fn look_at(definitions: &[Result<Definition, Unreadable>]) -> Report {
    let mut checks = Checks::default();
    let _ = definition(&mut checks, definitions);
    checks.into_report_of(OF_DEFINITION)
}

/// Tries a tool of ours: `call` makes the call as an agent's would be made. Ends when that does.
pub async fn run_own<F>(
    definitions: &[Result<Definition, Unreadable>],
    plan: &Plan,
    unsampled: (&'static str, &'static str),
    call: impl FnOnce(Map<String, Value>) -> F,
) -> Report
where
    F: Future<Output = Result<Reply, Broken>>,
{
    let mut checks = Checks::default();
    let _ = go(&mut checks, definitions, plan, unsampled, call).await;
    checks.into_report_of(OF_TOOL)
}

/// A call of that tool that does no harm, if it only reads and its own schema gives what it wants to be told.
pub fn harmless(tool: &Definition) -> Option<Sample> {
    sample::choose(std::slice::from_ref(tool))
}

async fn go<F>(
    checks: &mut Checks,
    definitions: &[Result<Definition, Unreadable>],
    plan: &Plan,
    unsampled: (&'static str, &'static str),
    call: impl FnOnce(Map<String, Value>) -> F,
) -> Result<(), Stopped>
where
    F: Future<Output = Result<Reply, Broken>>,
{
    let tool = definition(checks, definitions)?;
    let Some(sample) = &plan.sample else { return checks.fail(Check::Call, None, unsampled) };
    checks.report.tool = Some(sample.tool.clone());
    let began = Instant::now();
    let reply = call(sample.arguments.clone()).await;
    let took = began.elapsed();
    let reply = match reply {
        Ok(reply) => reply,
        Err(broken) => return refused(checks, broken, took),
    };
    let answer = judge::result(checks, &reply, took)?;
    judge::content(checks, &answer);
    judge::schema(checks, tool, &answer);
    judge::time(checks, took, plan.within);
    judge::echo(checks, sample, &answer, plan.may_echo);
    judge::expected(checks, &answer, &plan.expected);
    Ok(())
}

/// What fails a later check than the call itself was answered.
fn refused(checks: &mut Checks, broken: Broken, took: Duration) -> Result<(), Stopped> {
    let Broken { check, problem, advice } = broken;
    if check == Check::Call {
        return checks.fail(Check::Call, Some(took), (problem, advice));
    }
    checks.pass(Check::Call, Some(took));
    if check != Check::Result {
        checks.pass(Check::Result, None);
    }
    checks.fail(check, None, (problem, advice))
}

fn definition<'a>(checks: &mut Checks, definitions: &'a [Result<Definition, Unreadable>]) -> Result<&'a Definition, Stopped> {
    const ADVICE: &str = "Clients cannot use, or people cannot judge, this definition.";
    for one in definitions {
        match one {
            Err(why) => return checks.fail(Check::Definitions, None, (why.to_string(), ADVICE)),
            Ok(tool) => {
                if let Some(finding) = tool.misfits().first() {
                    return checks.fail(Check::Definitions, None, (format!("{}: {}", finding.place, finding.what), ADVICE));
                }
            }
        }
    }
    checks.pass(Check::Definitions, None);
    match definitions.first() {
        Some(Ok(tool)) => Ok(tool),
        _ => checks.fail(Check::Definitions, None, ("it has no definition", ADVICE)),
    }
}
