//! `trunkline tool`: a function on this computer, run as the server runs it.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use trunkline_platform::{
    catalog::{FunctionTool, Origin},
    egress::{self, Egress},
    execution::{self, CodeRun},
    functions::{Functions, Settings, this_program},
};

use super::{load_here, sources};
use crate::{config::Environment, terminal};

/// The function cannot even be tried.
const UNUSABLE: u8 = 2;

#[derive(Debug, Subcommand)]
pub(super) enum ToolCommand {
    /// Run a function in the sandbox of the server, with the same limits
    ///
    /// The file is a module: `export default async function (input, context) { … }`. Its result goes to standard output, its logs to
    /// standard error. Exit code 0: it gave a result; 1: it failed; 2: it could not be tried. Needs no installation.
    Test(TestArguments),
}

#[derive(Debug, Args)]
pub(super) struct TestArguments {
    /// The code
    file: PathBuf,
    /// Its input, as a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    input: String,
    /// A host that it may call, such as api.example.com; may be given several times
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Longest time, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(100..=60_000))]
    timeout_ms: u32,
    /// Result, logs and figures as JSON, for scripts
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: Option<PathBuf>, command: ToolCommand) -> anyhow::Result<ExitCode> {
    let ToolCommand::Test(arguments) = command;
    match test(config, &arguments).await {
        Ok(run) => {
            let ok = run.error.is_none();
            report(&run, arguments.json);
            Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(error) => {
            terminal::complain(format!("error: {error:#}"));
            Ok(ExitCode::from(UNUSABLE))
        }
    }
}

async fn test(config: Option<PathBuf>, arguments: &TestArguments) -> anyhow::Result<CodeRun> {
    let code =
        std::fs::read_to_string(&arguments.file).with_context(|| format!("{} cannot be read", arguments.file.display()))?;
    let Ok(Value::Object(input)) = serde_json::from_str(&arguments.input) else {
        bail!("--input: expected a JSON object, such as {{\"city\": \"Oslo\"}}")
    };
    let hosts = arguments.hosts.iter().map(|host| Origin::parse(host)).collect::<Result<Vec<_>, _>>()?;
    let function = FunctionTool {
        code,
        input_schema: json!({ "type": "object" }),
        hosts,
        secret_header: None,
        timeout_ms: arguments.timeout_ms,
        keep_logs: false,
    };
    function.check()?;
    let (egress, cache) = ways(config)?;
    let functions = Functions::new(Settings { program: this_program(), cache, processes: 1 });
    let run = execution::run_code(&functions, &Egress::new(&egress)?, &function, &input).await;
    match run.why {
        Some(why) => bail!("functions cannot be run here: {why}"),
        None => Ok(run),
    }
}

/// Settings say how far requests may go, and where the compiled engine is kept; without any, to public hosts, and in the user's cache.
fn ways(config: Option<PathBuf>) -> anyhow::Result<(egress::Settings, PathBuf)> {
    let is_set = sources(config.clone()).file.is_some();
    match load_here(config) {
        Ok(config) => Ok((config.egress, config.functions.cache)),
        Err(error) if is_set => Err(error),
        Err(_) => Ok((egress::Settings::default(), user_cache())),
    }
}

fn user_cache() -> PathBuf {
    let environment = Environment::of_process();
    let named = |name| environment.get(name).filter(|path| Path::new(path).is_absolute()).map(PathBuf::from);
    let cache = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join(format!("trunkline-{}", nix::unistd::getuid())).join("functions")
}

fn report(run: &CodeRun, as_json: bool) {
    let busy = run.busy.map(|busy| busy.as_secs_f64() * 1000.0);
    if as_json {
        let logs: Vec<Value> =
            run.logs.iter().map(|line| json!({ "level": line.level, "text": line.text, "at_ms": line.at_ms })).collect();
        let value = json!({
            "ok": run.error.is_none(), "error": run.error, "line": run.line, "text": run.text, "structured": run.structured,
            "logs": logs, "lost_lines": run.lost_lines, "requests": run.requests, "took_ms": millis(run.took), "busy_ms": busy,
        });
        return terminal::say(value.to_string());
    }
    for line in &run.logs {
        terminal::complain(format!("[{:>6} ms] {:<5} {}", line.at_ms, line.level, line.text));
    }
    if run.lost_lines > 0 {
        terminal::complain(format!("({} more lines did not fit)", run.lost_lines));
    }
    match &run.error {
        Some(class) => terminal::complain(format!("{class}: {}", run.text)),
        None => terminal::say(&run.text),
    }
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}
