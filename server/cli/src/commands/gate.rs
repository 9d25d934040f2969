//! `trunkline gate`: what an MCP server has to show before agents rely on it, for the pipelines of those who write one.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Args;
use reqwest::header::{AUTHORIZATION, HeaderName};
use serde_json::{Map, Value, json};
use trunkline_platform::{
    egress::{self, Egress},
    gate::{self, Checked, Demand, Expected, Plan, Report, Sample, Verdict},
    ids::{SourceId, TenantId},
    secret::Plaintext,
    upstream::Target,
};
use url::Url;

use crate::{config::Environment, terminal};

/// Bad usage, as clap has it.
const USAGE: u8 = 2;
/// Longest file that is read as a secret.
const MAX_SECRET_BYTES: u64 = 8 * 1024;
/// The variable that has the secret.
const VARIABLE: &str = "TRUNKLINE_GATE_SECRET";

#[derive(Debug, Args)]
pub(super) struct GateArguments {
    /// The server's MCP endpoint, such as http://127.0.0.1:3000/mcp
    url: Url,
    /// Tool to call; without it, one that says it only reads and whose schema gives its arguments
    #[arg(long)]
    tool: Option<String>,
    /// Its arguments, a JSON object
    #[arg(long, value_name = "JSON", requires = "tool", default_value = "{}", value_parser = object)]
    arguments: Value,
    /// The result has this text (may be given several times)
    #[arg(long, value_name = "TEXT")]
    expect_text: Vec<String>,
    /// The result has this value at this JSON pointer, such as /items/0/id=7 (may be given several times)
    #[arg(long, value_name = "POINTER=JSON", value_parser = at)]
    expect: Vec<Expected>,
    /// Longest time of the call, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    within_ms: u64,
    /// Longest time of each exchange, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(100..=600_000))]
    timeout_ms: u64,
    /// Giving back its arguments is what the tool is for
    #[arg(long)]
    may_echo: bool,
    /// Header that carries the secret
    #[arg(long, value_name = "NAME", default_value = "authorization")]
    header: HeaderName,
    /// File with the secret, and nothing else in it; or the variable TRUNKLINE_GATE_SECRET. A token goes out as `Bearer`
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

fn object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(members)) => Ok(Value::Object(members)),
        Ok(_) => Err("expected a JSON object, such as {\"city\":\"Wien\"}".to_owned()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}

fn at(text: &str) -> Result<Expected, String> {
    let wrong = || "expected a JSON pointer, an equals sign and a JSON value, such as /name=\"x\" or /items/0/id=7".to_owned();
    let (pointer, value) = text.split_once('=').ok_or_else(wrong)?;
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(wrong());
    }
    Ok(Expected::At(pointer.to_owned(), serde_json::from_str(value).map_err(|_| wrong())?))
}

pub(super) async fn run(arguments: GateArguments) -> anyhow::Result<ExitCode> {
    let target = match target(&arguments) {
        Ok(target) => target,
        Err(wrong) => {
            terminal::complain(format!("error: {wrong}\n\nSee trunkline gate --help."));
            return Ok(ExitCode::from(USAGE));
        }
    };
    // Whoever runs it on a computer may reach what that computer reaches.
    let everywhere = ["0.0.0.0/0", "::/0"].map(str::parse).into_iter().collect::<Result<_, _>>().map_err(anyhow::Error::msg)?;
    let egress =
        Egress::new(&egress::Settings { allow: everywhere, allow_http: true }).context("the outbound client cannot be made")?;
    let report = gate::run(&gate::alone(), &egress, &target, &plan(&arguments)).await;
    if arguments.json {
        terminal::say(serde_json::to_string_pretty(&with_url(&report, &arguments.url))?);
    } else {
        tell(&report);
    }
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn plan(arguments: &GateArguments) -> Plan {
    let members = arguments.arguments.as_object().cloned().unwrap_or_else(Map::new);
    let sample = arguments.tool.clone().map(|tool| Sample { tool, arguments: members });
    let texts = arguments.expect_text.iter().cloned().map(Expected::Text);
    Plan {
        sample,
        within: Duration::from_millis(arguments.within_ms),
        may_echo: arguments.may_echo,
        expected: texts.chain(arguments.expect.iter().cloned()).collect(),
        demand: Demand::Everything,
    }
}

fn target(arguments: &GateArguments) -> Result<Target, String> {
    let url = arguments.url.clone();
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err("expected an http:// or https:// address without user and password".to_owned());
    }
    let header = secret(arguments)?.map(|secret| (arguments.header.clone(), secret));
    let deadline = Duration::from_millis(arguments.timeout_ms);
    Ok(Target { tenant: TenantId::NIL, source: SourceId::NIL, url, header, deadline })
}

fn secret(arguments: &GateArguments) -> Result<Option<Plaintext>, String> {
    let text = match (&arguments.secret_file, Environment::of_process().get(VARIABLE)) {
        (Some(file), _) => {
            let unreadable = |error: std::io::Error| format!("--secret-file {}: {error}", file.display());
            if std::fs::metadata(file).map_err(unreadable)?.len() > MAX_SECRET_BYTES {
                return Err(format!("--secret-file {}: longer than {MAX_SECRET_BYTES} bytes", file.display()));
            }
            std::fs::read_to_string(file).map_err(unreadable)?
        }
        (None, Some(secret)) => secret.to_owned(),
        (None, None) => return Ok(None),
    };
    let secret = text.trim();
    if secret.is_empty() || !secret.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Err("the secret is empty, or has characters that cannot stand in a header".to_owned());
    }
    let is_token = arguments.header == AUTHORIZATION && !secret.contains(' ');
    Ok(Some(Plaintext::new(if is_token { format!("Bearer {secret}") } else { secret.to_owned() })))
}

fn with_url(report: &Report, url: &Url) -> Value {
    let mut value = json!(report);
    value["url"] = json!(url.as_str());
    value
}

fn tell(report: &Report) {
    for checked in &report.checks {
        let mark = match checked.verdict {
            Verdict::Passed => "ok     ",
            Verdict::Failed => "FAILED ",
            Verdict::Skipped => "skipped",
        };
        terminal::say(format!("{mark} {}{}", checked.check.label(), beside(report, checked)));
        if let (Some(problem), Some(advice)) = (&checked.problem, checked.advice) {
            terminal::say(format!("        {problem}\n        {advice}"));
        }
    }
    terminal::say(if report.passed { "The gate is passed." } else { "The gate is not passed." });
}

fn beside(report: &Report, checked: &Checked) -> String {
    let what = match checked.check {
        gate::Check::Handshake => report.revision.map(|revision| format!("MCP {revision}")),
        gate::Check::List => report.tools.map(|tools| format!("{tools} tools")),
        gate::Check::Call => report.tool.clone(),
        _ => None,
    };
    let took = checked.took_ms.map(|took| format!("{took} ms"));
    let words: Vec<String> = what.into_iter().chain(took).collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}
