//! The gate: what an MCP server has to show before anybody relies on it. A handshake, a list, and one real call whose answer is judged: status,
//! content, schema, time, and that it is not the request given back. Whoever fails is told what is wrong and what would be right.
//!
//! Knows no tenant and no database: for `trunkline gate`, for publishing and for probes alike.

mod each;
mod echo;
mod judge;
mod own;
mod report;
mod sample;

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trunkline_protocol::mcp::{
    mirrored::mirrored,
    object::{RawObject, json_string},
};

pub use each::{Each, run_each};
pub use echo::is_echo;
pub use own::{Broken, harmless, look_at, run_own};
pub use report::{Check, Checked, Report, Verdict};

use crate::{
    catalog::definition::{Definition, ItemKind},
    dialogue::{Dialogue, Reply},
    egress::Egress,
    upstream::{Target, UpstreamError, UpstreamRequest, Upstreams},
};
use report::Checks;

/// Definitions that are named in a report as unusable.
const MOST_NAMED: usize = 5;

/// What is tried, and what is expected of it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is called. `None`: a tool that says it only reads and whose arguments its schema gives.
    pub sample: Option<Sample>,
    /// Longest time of the call.
    pub within: Duration,
    /// Giving back what one was given is what the tool is for.
    pub may_echo: bool,
    /// What has to stand in the result.
    pub expected: Vec<Expected>,
    /// What is asked for beyond a handshake and a list.
    pub demand: Demand,
}

/// What is asked for beyond a handshake and a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// A call, and definitions that can all be used: of a server of one's own.
    Everything,
    /// A call: of a source, whose definitions are judged one by one.
    Call,
    /// A call if one is known that does no harm.
    CallIfHarmless,
}

/// One real call.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The tool, as the server names it.
    pub tool: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
}

/// Something that has to stand in the result.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// Anywhere in its texts.
    Text(String),
    /// At that JSON pointer (RFC 6901) of its structured content, or of its text if that is JSON.
    At(String, Value),
}

/// Goes through the gate. Ends within `target.deadline` for each of handshake, list and call.
pub async fn run(upstreams: &Upstreams, egress: &Egress, target: &Target, plan: &Plan) -> Report {
    let mut checks = Checks::default();
    let gate = Gate { upstreams, egress, target, plan };
    // What stands in the way of one check stands in the way of all that come after it.
    let _ = gate.go(&mut checks).await;
    checks.into_report()
}

/// A check failed that the others need.
struct Stopped;

struct Gate<'a> {
    upstreams: &'a Upstreams,
    egress: &'a Egress,
    target: &'a Target,
    plan: &'a Plan,
}

impl Gate<'_> {
    async fn go(&self, checks: &mut Checks) -> Result<(), Stopped> {
        self.shake_hands(checks).await?;
        let tools = self.list(checks).await?;
        let sample = self.plan.sample.clone().or_else(|| sample::choose(&tools));
        let Some(sample) = sample else {
            if self.plan.demand == Demand::CallIfHarmless {
                checks.without_call = true;
                return Ok(());
            }
            return checks.fail(Check::Call, None, sample::NONE);
        };
        checks.report.tool = Some(sample.tool.clone());
        let Some(tool) = tools.iter().find(|tool| tool.key == sample.tool) else {
            return checks.fail(Check::Call, None, (format!("it has no tool named {}", sample.tool), sample::ABSENT));
        };
        self.try_one(checks, tool, &sample, &self.plan.expected).await
    }

    /// Calls it and judges the answer.
    async fn try_one(
        &self,
        checks: &mut Checks,
        tool: &Definition,
        sample: &Sample,
        expected: &[Expected],
    ) -> Result<(), Stopped> {
        let (reply, took) = self.call(checks, tool, sample).await?;
        let result = judge::result(checks, &reply, took)?;
        judge::content(checks, &result);
        judge::schema(checks, tool, &result);
        judge::time(checks, took, self.plan.within);
        judge::echo(checks, sample, &result, self.plan.may_echo);
        judge::expected(checks, &result, expected);
        Ok(())
    }

    async fn shake_hands(&self, checks: &mut Checks) -> Result<(), Stopped> {
        let began = Instant::now();
        match self.upstreams.probe(self.egress, self.target).await {
            Ok(server) => {
                checks.report.revision = Some(server.revision.as_str());
                checks.report.server = server.info.as_ref().and_then(|info| serde_json::from_str(info.get()).ok());
                checks.pass(Check::Handshake, Some(began.elapsed()));
                Ok(())
            }
            Err(error) => checks.fail(Check::Handshake, Some(began.elapsed()), of_upstream(error)),
        }
    }

    async fn list(&self, checks: &mut Checks) -> Result<Vec<Definition>, Stopped> {
        let began = Instant::now();
        let listed = match self.upstreams.list(self.egress, self.target, ItemKind::Tools).await {
            Ok(listed) => listed,
            Err(error) => return checks.fail(Check::List, Some(began.elapsed()), of_upstream(error)),
        };
        let took = Some(began.elapsed());
        checks.report.tools = Some(listed.len());
        if listed.is_empty() {
            let advice = "It needs the capability `tools`, and at least one tool for this credential.";
            return checks.fail(Check::List, took, ("it offers no tool", advice));
        }
        checks.pass(Check::List, took);
        let (mut tools, mut unusable) = (Vec::new(), Vec::new());
        for raw in listed {
            let named = name_of(raw.get());
            match Definition::read(ItemKind::Tools, raw) {
                Ok(tool) => {
                    unusable.extend(
                        tool.misfits().first().map(|finding| format!("{}: {}: {}", tool.key, finding.place, finding.what)),
                    );
                    tools.push(tool);
                }
                Err(why) => unusable.push(format!("{named}: {why}")),
            }
        }
        if unusable.is_empty() || self.plan.demand != Demand::Everything {
            checks.pass(Check::Definitions, None);
        } else {
            let more = unusable.len().saturating_sub(MOST_NAMED);
            unusable.truncate(MOST_NAMED);
            let more = if more == 0 { String::new() } else { format!("; and {more} more") };
            let advice = "Clients cannot use, or people cannot judge, these definitions.";
            checks.note(Check::Definitions, None, (unusable.join("; ") + &more, advice));
        }
        Ok(tools)
    }

    async fn call(&self, checks: &mut Checks, tool: &Definition, sample: &Sample) -> Result<(Reply, Duration), Stopped> {
        let mut params = RawObject::default();
        params.set("name", json_string(&sample.tool));
        params.set("arguments", Value::Object(sample.arguments.clone()).to_string());
        let mirrored = tool.member("inputSchema").and_then(|schema| mirrored(schema).ok()).unwrap_or_default();
        let request = UpstreamRequest { method: "tools/call", params: &params, input: None, mirrored: &mirrored, trace: None };
        let (dialogue, never, began) = (Dialogue::silent(), CancellationToken::new(), Instant::now());
        match self.upstreams.exchange(self.egress, self.target, request, &dialogue, never).await {
            Ok(reply) => Ok((reply, began.elapsed())),
            Err(error) => checks.fail(Check::Call, Some(began.elapsed()), of_upstream(error)),
        }
    }
}

fn name_of(raw: &str) -> String {
    let name = RawObject::parse(raw).ok().and_then(|object| object.text("name"));
    name.map_or_else(|| "a tool without a name".to_owned(), |name| name.chars().take(80).collect())
}

/// What is wrong, and what would be right.
fn of_upstream(error: UpstreamError) -> (String, &'static str) {
    let advice = match error {
        UpstreamError::Refused => "Use an https:// address that is reachable from the internet.",
        UpstreamError::Unreachable => "Is it running, and are name, port and certificate right?",
        UpstreamError::Timeout => "It has to answer sooner; a handshake and a list should take well under a second.",
        UpstreamError::TooLarge => "An answer has at most 4 MiB; page long lists.",
        UpstreamError::Broken(_) => "Run the official conformance suite against it: it names what the protocol wants.",
        UpstreamError::Unauthorized => "The credential is missing, wrong or expired.",
        UpstreamError::Forbidden => "The credential needs more rights.",
        UpstreamError::Status(404 | 405) => "This path has no MCP endpoint for POST; it is often /mcp.",
        UpstreamError::Status(500..) => "It fails by itself; its own log says why.",
        UpstreamError::Status(_) => "It refuses what every client sends; its own log says why.",
        UpstreamError::Cancelled | UpstreamError::Busy => "Try again.",
    };
    (error.to_string(), advice)
}

/// Upstreams of one run, which nobody else uses.
pub fn alone() -> Arc<Upstreams> {
    Arc::default()
}
