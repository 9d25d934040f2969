//! One file per command.

mod audit;
mod config;
mod conformance;
mod connect;
mod dev;
mod doctor;
mod export;
mod gate;
mod healthcheck;
mod keys;
mod migrate;
mod plans;
mod serve;
mod services;
mod source;
mod tool;
mod usage;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    config::{Config, Environment, Sources},
    terminal,
};

/// Hosted MCP platform: your HTTP APIs as tools for agents, with limits, records and costs.
#[derive(Debug, Parser)]
#[command(name = "trunkline", version, max_term_width = 100)]
pub struct Arguments {
    /// Settings file (TOML); also TRUNKLINE_CONFIG
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this computer: private Postgres and Redis, a demo tenant, captured mail
    Dev(dev::DevArguments),
    /// Run the server
    Serve(serve::ServeArguments),
    /// Bring the database to this version's schema
    Migrate,
    /// Check or explain the settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Find what is wrong with an installation
    Doctor(doctor::DoctorArguments),
    /// Give a tenant the fixtures of the official MCP conformance suite as a source, or take them away
    Conformance(conformance::ConformanceArguments),
    /// See and exchange the keys that secrets are sealed with and tokens are signed with
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Verify the record, and show the key that signs it
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Hold the sums that pages and budgets read against the record, and make them right
    #[command(subcommand)]
    Usage(usage::UsageCommand),
    /// Write the record of a tenant to standard output
    #[command(subcommand)]
    Export(export::ExportCommand),
    /// Named sets of limits that whole tenants may have at most
    #[command(subcommand)]
    Plans(plans::PlansCommand),
    /// Where tools come from: see what the description of an API would bring
    #[command(subcommand)]
    Source(source::SourceCommand),
    /// Functions: run one on this computer as a tenant's agents would
    #[command(subcommand)]
    Tool(tool::ToolCommand),
    /// What the operator decides about tenants
    #[command(subcommand)]
    Tenants(plans::TenantsCommand),
    /// Check any MCP server: a handshake, a list, and one real call whose answer is judged
    ///
    /// For pipelines: the exit code is 0 if everything is well, 1 if not, 2 for bad usage. Needs no installation.
    Gate(gate::GateArguments),
    /// Be an MCP server on standard input and output, in front of a tenant's endpoint
    ///
    /// For clients that start a program instead of using a URL. The key is a key of an agent, made on the agent's page of the dashboard.
    /// It comes from the variable TRUNKLINE_KEY, from --key-file, or, in a folder where `trunkline dev` runs, from there; never from the
    /// command line, where every user of the computer could read it. Logging in through a browser is not possible here yet.
    Connect(connect::ConnectArguments),
    /// Run functions for the process that holds the pipes; started by the server
    #[command(hide = true)]
    Sandbox,
    /// Ask the operations listener of this machine whether the server is alive
    #[command(hide = true)]
    Healthcheck(healthcheck::HealthcheckArguments),
    /// Run a command with a private Postgres and Redis for its tests
    #[command(hide = true)]
    Services(services::ServicesArguments),
}

/// Runs the command.
pub fn run(arguments: Arguments) -> ExitCode {
    // Before there is anything that would have to be given up again.
    if matches!(arguments.command, Command::Sandbox) {
        return trunkline_sandbox::serve();
    }
    // One provider for every TLS connection of the process. A second installation of it is refused and changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("the runtime cannot be started")),
    };
    match runtime.block_on(dispatch(arguments)) {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    terminal::complain(format!("error: {error:#}"));
    ExitCode::FAILURE
}

async fn dispatch(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { config, command } = arguments;
    match command {
        Command::Dev(arguments) => Box::pin(dev::run(arguments)).await,
        Command::Serve(arguments) => serve::run(config, arguments).await,
        Command::Migrate => migrate::run(config).await,
        Command::Config(command) => config::run(config, command),
        Command::Doctor(arguments) => doctor::run(config, arguments).await,
        Command::Conformance(arguments) => conformance::run(config, &arguments).await,
        Command::Keys(command) => keys::run(config, command).await,
        Command::Audit(command) => audit::run(config, command).await,
        Command::Usage(command) => usage::run(config, command).await,
        Command::Export(command) => export::run(config, command).await,
        Command::Plans(command) => plans::run(config, command).await,
        Command::Tenants(command) => plans::run_tenants(config, command).await,
        Command::Gate(arguments) => gate::run(arguments).await,
        Command::Source(command) => source::run(config, command).await,
        Command::Tool(command) => tool::run(config, command).await,
        Command::Sandbox => Ok(trunkline_sandbox::serve()),
        Command::Connect(arguments) => connect::run(arguments).await,
        Command::Healthcheck(arguments) => healthcheck::run(arguments),
        Command::Services(arguments) => services::run(arguments).await,
    }
}

/// Where the settings are: named, or those of the `trunkline dev` in this folder.
fn sources(named: Option<PathBuf>) -> Sources {
    let environment = Environment::of_process();
    let named = named.or_else(|| environment.get("TRUNKLINE_CONFIG").map(PathBuf::from));
    Sources { file: named, environment, options: Vec::new() }
}

/// The settings, or those of the `trunkline dev` that runs in this folder when there are none.
fn load_here(named: Option<PathBuf>) -> anyhow::Result<Config> {
    let mut sources = sources(named);
    if sources.file.is_none() && !sources.environment.iter().any(|(name, _)| name == "TRUNKLINE_DATABASE_URL") {
        sources.file = dev::running_settings();
    }
    Ok(Config::load(&sources)?)
}
