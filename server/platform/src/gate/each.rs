//! Several tools of one server: they shake hands and are listed together, and each that has a call is called.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::time::Instant;

use super::{
    Expected, Gate, Plan, Report, Sample, Stopped,
    report::{Check, Checks},
    sample,
};
use crate::{
    catalog::definition::Definition,
    egress::Egress,
    upstream::{Target, Upstreams},
};

/// Calls that are made of one server at the same time.
const TOGETHER: usize = 4;
/// Longest time for all calls together.
const WITHIN: Duration = Duration::from_secs(20);

const OF_SERVER: &[Check] = &[Check::Handshake, Check::List];
const OF_CALL: &[Check] = &[Check::Call, Check::Result, Check::Content, Check::Schema, Check::Time, Check::Echo, Check::Expected];

/// What came of it.
#[derive(Debug, Clone)]
pub struct Each {
    /// Handshake and list.
    pub server: Report,
    /// Each call that was asked for, in that order; empty where the server was not even listed.
    pub calls: Vec<Report>,
    /// The call that stands for all others, if that was asked for and one is known: the plan's, else one that does no harm.
    pub stand_in: Option<Report>,
}

/// Goes through the gate with those tools and calls; what the plan expects is expected of its own call only. Ends within twice
/// `target.deadline` and 20 s.
pub async fn run_each(
    upstreams: &Upstreams,
    egress: &Egress,
    target: &Target,
    plan: &Plan,
    own: &[(&Definition, Sample)],
    with_stand_in: bool,
) -> Each {
    let gate = Gate { upstreams, egress, target, plan };
    let mut checks = Checks::default();
    let listed = gate.go_in(&mut checks).await;
    let server = checks.into_report_of(OF_SERVER);
    let Ok(listed) = listed else { return Each { server, calls: Vec::new(), stand_in: None } };
    let until = Instant::now() + WITHIN;
    let mut calls = Vec::with_capacity(own.len());
    for (tool, sample) in own {
        calls.push(gate.call_one(&listed, tool, sample, until).boxed());
    }
    let calls: Vec<Report> = stream::iter(calls).buffered(TOGETHER).collect().await;
    let chosen = if with_stand_in { plan.sample.clone().or_else(|| sample::choose(&listed)) } else { None };
    let stand_in = match chosen {
        None => None,
        Some(sample) => match own.iter().position(|(_, own)| *own == sample) {
            Some(at) => calls.get(at).cloned(),
            None => Some(gate.call_other(&listed, &sample, until).await),
        },
    };
    Each { server, calls, stand_in }
}

impl Gate<'_> {
    async fn go_in(&self, checks: &mut Checks) -> Result<Vec<Definition>, Stopped> {
        self.shake_hands(checks).await?;
        self.list(checks).await
    }

    async fn call_other(&self, listed: &[Definition], sample: &Sample, until: Instant) -> Report {
        match listed.iter().find(|listed| listed.key == sample.tool) {
            Some(tool) => self.call_one(listed, tool, sample, until).await,
            None => absent(sample),
        }
    }

    async fn call_one(&self, listed: &[Definition], tool: &Definition, sample: &Sample, until: Instant) -> Report {
        if !listed.iter().any(|listed| listed.key == sample.tool) {
            return absent(sample);
        }
        let mut checks = Checks::default();
        checks.report.tool = Some(sample.tool.clone());
        let expected: &[Expected] = if self.plan.sample.as_ref() == Some(sample) { &self.plan.expected } else { &[] };
        // Nothing is begun that would not end in time.
        let called = async {
            if Instant::now() < until {
                self.try_one(&mut checks, tool, sample, expected).await
            } else {
                std::future::pending().await
            }
        };
        if tokio::time::timeout_at(until, called).await.is_err() {
            let why = ("there was no time left to call it", "Its server has to answer sooner.");
            let _ = checks.fail::<()>(Check::Call, None, why);
        }
        checks.into_report_of(OF_CALL)
    }
}

fn absent(sample: &Sample) -> Report {
    let mut checks = Checks::default();
    checks.report.tool = Some(sample.tool.clone());
    let why = (format!("it has no tool named {} when it is listed again", sample.tool), sample::ABSENT);
    let _ = checks.fail::<()>(Check::Call, None, why);
    checks.into_report_of(OF_CALL)
}
