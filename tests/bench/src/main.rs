//! `make bench`: calls per second and latency of a bare upstream and of the same upstream behind the platform, interleaved in one run, with
//! idle memory and time from start to ready; then the memory of open event streams, the latency of long lists, the cost of
//! access tokens, of the record, of several replicas and of functions. Compare ratios within a run;
//! figures of different runs differ with the machine.

mod functions;
mod installation;
mod lists;
mod load;
mod open_loop;
mod pages;
mod record;
mod replicas;
mod streams;
mod tokens;
mod upstream;
mod usage;
mod verify;

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};

use installation::{Ground, Installation};
use load::{Load, Report};
use trunkline_protocol::oauth::scope::Effect;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Program to measure
    #[arg(long, default_value = "target/release/trunkline")]
    program: PathBuf,
    /// Concurrent connections, one table row each
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    connections: Vec<usize>,
    /// Repetitions of each measurement; medians are printed
    #[arg(long, default_value_t = 3)]
    repetitions: usize,
    /// Length of one measurement in seconds
    #[arg(long, default_value_t = 4)]
    seconds: u64,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The bare upstream, alone
    #[command(hide = true)]
    Upstream,
    /// Services, settings and a tenant for `trunkline serve`, for other harnesses, until standard input ends
    Ground {
        /// Upstream that the tool calls
        #[arg(long)]
        upstream: String,
        /// Where the server will listen; 0 chooses a free port
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// Effect of the tool: read or write
        #[arg(long, default_value = "write")]
        effect: Effect,
    },
    /// Only the memory of open event streams
    Streams {
        /// Streams that are open at the same time; needs as many open files
        #[arg(long, default_value_t = streams::COUNT)]
        count: usize,
    },
    /// Only the cost of access tokens
    Tokens {
        /// Tokens that are out at the same time
        #[arg(long, default_value_t = tokens::TOKENS)]
        count: usize,
    },
    /// Only what the record costs per call, under both durabilities
    Record,
    /// Only what a call costs through one, two and three replicas
    Replicas,
    /// Only what functions cost, and what attacks of one tenant's functions cost another tenant
    Functions,
    /// Only the verification of an exported record
    Verify {
        /// Entries of the export
        #[arg(long, default_value_t = verify::ENTRIES)]
        entries: u64,
    },
    /// Only what pages of usage cost, with as many calls over ninety days
    Usage {
        /// Calls
        #[arg(long, default_value_t = usage::CALLS)]
        calls: u64,
        /// Only so many of the last days are in the record too, at least two; the others are in the sums only: a hundred million rows take some 60 GB
        #[arg(long, default_value_t = usage::DAYS)]
        recorded_days: u64,
        /// Fill this folder and stop; measure what is in it, if it is filled. It stays there
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Only the latency of tools/list
    Lists {
        /// Tools of the tenant; its agent sees half of them
        #[arg(long, default_value_t = lists::TOOLS)]
        tools: usize,
        /// Lists per second
        #[arg(long, default_value_t = lists::PER_SECOND)]
        per_second: u32,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // The platform's library opens the database with it, to plant a tenant.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    match &arguments.command {
        Some(Command::Upstream) => runtime.block_on(upstream::run()),
        Some(Command::Ground { upstream, port, effect }) => runtime.block_on(ground(&arguments, upstream, *port, *effect)),
        Some(Command::Streams { count }) => runtime.block_on(streams::measure(&arguments.program, *count)),
        Some(Command::Record) => runtime.block_on(record::measure(&arguments.program, arguments.seconds)),
        Some(Command::Replicas) => runtime.block_on(replicas::measure(&arguments.program, arguments.seconds)),
        Some(Command::Functions) => runtime.block_on(functions::measure(&arguments.program, arguments.seconds)),
        Some(Command::Verify { entries }) => verify::measure(*entries),
        Some(Command::Usage { calls, recorded_days, dir }) => {
            runtime.block_on(usage::run(&arguments.program, *calls, *recorded_days, dir.as_deref()))
        }
        Some(Command::Tokens { count }) => runtime.block_on(tokens::measure(&arguments.program, *count)),
        Some(Command::Lists { tools, per_second }) => {
            runtime.block_on(lists::measure(&arguments.program, *tools, *per_second, arguments.seconds))
        }
        None => runtime.block_on(async {
            measure(&arguments).await?;
            streams::measure(&arguments.program, streams::COUNT).await?;
            lists::measure(&arguments.program, lists::TOOLS, lists::PER_SECOND, arguments.seconds).await?;
            tokens::measure(&arguments.program, tokens::TOKENS).await?;
            record::measure(&arguments.program, arguments.seconds).await?;
            replicas::measure(&arguments.program, arguments.seconds).await?;
            functions::measure(&arguments.program, arguments.seconds).await
        }),
    }
}

async fn ground(arguments: &Arguments, upstream: &str, port: u16, effect: Effect) -> anyhow::Result<()> {
    let ground = Ground::prepare_with(&arguments.program, upstream, port, 1, effect).await?;
    say(format!("CONFIG={} URL={} KEY={}", ground.settings().display(), ground.url(), ground.key()));
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    ground.clear().await
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let upstream = upstream::Child::start().await?;
    let installation = Installation::start(&arguments.program, &upstream.url(), 1).await?;
    let length = Duration::from_secs(arguments.seconds.clamp(1, 60));
    say(format!("ready {} ms after start; {:.0} MB resident when idle", installation.ready_ms, installation.idle_mb));
    say(format!("{} repetitions of {} s, medians\n", arguments.repetitions, length.as_secs()));
    say("connections | upstream calls/s  p50 ms  p99 ms | platform calls/s  p50 ms  p99 ms | ratio");
    for &connections in &arguments.connections {
        let (mut bare, mut through) = (Vec::new(), Vec::new());
        for _ in 0..arguments.repetitions.max(1) {
            bare.push(load::run(&Load::bare(&upstream.url(), connections, length)).await?);
            through.push(load::run(&Load::call(installation.url(), installation.key(), connections, length)).await?);
        }
        let (bare, through) = (Report::median(bare), Report::median(through));
        say(format!(
            "{connections:>11} | {:>16.0} {:>7.2} {:>7.2} | {:>16.0} {:>7.2} {:>7.2} | {:.2}",
            bare.per_second,
            bare.p50_ms,
            bare.p99_ms,
            through.per_second,
            through.p50_ms,
            through.p99_ms,
            through.per_second / bare.per_second
        ));
    }
    open_loop(arguments, &upstream.url(), &installation, length)?;
    say(format!("\n{:.0} MB resident after load; every answer was checked", installation.resident_mb()?));
    installation.stop().await
}

/// Requests of the open loop: a rate that a machine of two cores holds beside everything else.
const PER_SECOND: u32 = 500;
const OPEN_CONNECTIONS: usize = 64;

fn open_loop(arguments: &Arguments, upstream: &str, installation: &Installation, length: Duration) -> anyhow::Result<()> {
    say(format!("\n{PER_SECOND} a second, {OPEN_CONNECTIONS} connections, each timed from when it was due"));
    say("           | calls/s  p50 ms  p99 ms  p99.9 ms");
    let (mut bare, mut through) = (Vec::new(), Vec::new());
    for _ in 0..arguments.repetitions.max(1) {
        bare.push(open_loop::run(&Load::bare(upstream, OPEN_CONNECTIONS, length), PER_SECOND)?);
        let call = Load::call(installation.url(), installation.key(), OPEN_CONNECTIONS, length);
        through.push(open_loop::run(&call, PER_SECOND)?);
    }
    for (name, reports) in [("upstream", bare), ("platform", through)] {
        let open_loop::Report { per_second, p50_ms, p99_ms, p999_ms } = open_loop::Report::median(reports);
        say(format!("{name:>10} | {per_second:>7.0} {p50_ms:>7.2} {p99_ms:>7.2} {p999_ms:>9.2}"));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a table for a person")]
fn say(line: impl std::fmt::Display) {
    println!("{line}");
}
