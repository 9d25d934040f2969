//! `trunkline audit`: is the record what it was?

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use trunkline_platform::{
    chain::{self, Finding, Outside, PublicKey},
    clock::SystemClock,
};

use super::{export::Format, load_here};
use crate::{terminal, wiring};

/// The record is not what it was.
const TAMPERED: u8 = 2;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Print the public key that checkpoints are signed with. Keep it where the database's administrator cannot change it
    Key,
    /// Verify the record of a tenant in the database, or an export without it. Exit code 2: it is not what it was
    Verify(VerifyArguments),
}

#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// Slug of the tenant whose record in the database is verified
    #[arg(long, required_unless_present = "export", conflicts_with = "export")]
    tenant: Option<String>,
    /// A file that `trunkline export` has written
    #[arg(long, value_name = "FILE", requires = "public_key", requires = "checkpoints")]
    export: Option<PathBuf>,
    /// How it was written; by default what its name ends with
    #[arg(long, value_enum, requires = "export")]
    format: Option<Format>,
    /// More may have come after the end of the export, as with --until
    #[arg(long, requires = "export")]
    partial: bool,
    /// The key, as `trunkline audit key` printed it; without it, the one in the database is believed
    #[arg(long, value_name = "KEY")]
    public_key: Option<String>,
    /// Checkpoints that were kept outside, one after the other
    #[arg(long, value_name = "FILE")]
    checkpoints: Option<PathBuf>,
}

pub(super) async fn run(config: Option<PathBuf>, command: AuditCommand) -> anyhow::Result<ExitCode> {
    let arguments = match command {
        AuditCommand::Key => return key(config).await,
        AuditCommand::Verify(arguments) => arguments,
    };
    let given = arguments.public_key.as_deref().map(str::parse::<PublicKey>).transpose().context("--public-key")?;
    match (&arguments.export, &arguments.tenant, given) {
        (Some(export), _, Some(key)) => offline(&arguments, export, &key),
        (None, Some(tenant), given) => online(config, &arguments, tenant, given).await,
        _ => anyhow::bail!("either --tenant, or --export with --public-key and --checkpoints"),
    }
}

async fn key(config: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let config = load_here(config)?;
    let platform = wiring::product(&config, config.http.listen, Arc::new(SystemClock))?.platform;
    terminal::say(chain::public_key(&platform).await?.to_string());
    platform.db.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn online(
    config: Option<PathBuf>,
    arguments: &VerifyArguments,
    tenant: &str,
    given: Option<PublicKey>,
) -> anyhow::Result<ExitCode> {
    let config = load_here(config)?;
    let platform = wiring::product(&config, config.http.listen, Arc::new(SystemClock))?.platform;
    let id = chain::find_tenant(&platform, tenant).await?;
    let key = match given {
        Some(key) => key,
        None => chain::public_key(&platform).await?,
    };
    let outside = match outside(arguments.checkpoints.as_deref(), &key)? {
        Ok(outside) => outside,
        Err(finding) => return Ok(tampered(&finding)),
    };
    let verified = chain::verify(&platform, id, &key, &outside).await?;
    platform.db.close().await;
    match verified {
        Ok(verified) => {
            let (seq, signed) = (verified.seq - verified.dropped, verified.signed);
            terminal::say(format!("{tenant}: {seq} entries are as they were; a checkpoint vouches up to entry {signed}."));
            if verified.dropped > 0 {
                terminal::say(format!("{} older ones were dropped by retention, with a signed receipt.", verified.dropped));
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(finding) => Ok(tampered(&finding)),
    }
}

fn offline(arguments: &VerifyArguments, export: &Path, key: &PublicKey) -> anyhow::Result<ExitCode> {
    let format = match (arguments.format, export.extension().and_then(|ext| ext.to_str())) {
        (Some(format), _) => format,
        (None, Some("jsonl")) => Format::Jsonl,
        (None, Some("csv")) => Format::Csv,
        (None, Some("parquet")) => Format::Parquet,
        _ => {
            anyhow::bail!("--format is missing, and the name of {} does not end with .jsonl, .csv or .parquet", export.display())
        }
    };
    let outside = match outside(arguments.checkpoints.as_deref(), key)? {
        Ok(outside) => outside,
        Err(finding) => return Ok(tampered(&finding)),
    };
    let file = File::open(export).with_context(|| format!("{} cannot be opened", export.display()))?;
    let verified = match format {
        Format::Parquet => chain::verify_parquet(file, &outside, arguments.partial),
        format => chain::verify_export(BufReader::new(file), format.into(), &outside, arguments.partial),
    };
    let verified = verified.with_context(|| format!("{} cannot be read", export.display()))?;
    match verified {
        Ok(exported) if exported.signed == 0 => {
            terminal::say("no checkpoint vouches for any of it: whoever made the export could have made it up");
            Ok(ExitCode::from(TAMPERED))
        }
        Ok(exported) => {
            terminal::say(format!(
                "{} lines, entries {} to {} of the chain, are as they were; checkpoints vouch up to {}.",
                exported.lines, exported.first, exported.last, exported.signed
            ));
            Ok(ExitCode::SUCCESS)
        }
        Err(finding) => Ok(tampered(&finding)),
    }
}

fn tampered(finding: &Finding) -> ExitCode {
    terminal::say(format!("NOT AS IT WAS: {finding}"));
    ExitCode::from(TAMPERED)
}

/// All checkpoints and receipts of a file; the first that the key has not signed is a finding.
fn outside(file: Option<&Path>, key: &PublicKey) -> anyhow::Result<Result<Outside, Finding>> {
    let Some(file) = file else { return Ok(Ok(Outside::default())) };
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(Outside::read(&text, key))
}
