//! `trunkline source`: what the description of an API would bring, without touching anything.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;
use trunkline_platform::{
    catalog::{
        api::{self, Manifest, Pin},
        openapi::{self, MAX_BYTES},
    },
    egress::{self, Egress},
};
use url::Url;

use super::{load_here, sources};
use crate::terminal;

/// The document cannot be used.
const UNUSABLE: u8 = 2;

#[derive(Debug, Subcommand)]
pub(super) enum SourceCommand {
    /// Read an OpenAPI 3 document and show which of its operations would be tools
    ///
    /// A link is read by the same guarded way as in the dashboard: from public hosts, without redirects, at most 10 MiB. Exit code 0: it can
    /// be used, even if some of its operations cannot; 2: it cannot.
    Import(ImportArguments),
}

#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    /// A file (JSON or YAML) or a link
    document: String,
    /// Only show what would be imported; importing itself is done in the dashboard, under Sources
    #[arg(long)]
    dry_run: bool,
    /// As JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// What is printed for scripts.
#[derive(Debug, Serialize)]
struct Report<'a> {
    title: &'a str,
    version: &'a str,
    sha256: String,
    servers: &'a [String],
    operations: usize,
    imported: usize,
    refused: Vec<Refused<'a>>,
    tools: Vec<Tool<'a>>,
}

#[derive(Debug, Serialize)]
struct Refused<'a> {
    operation: &'a str,
    reason: &'a str,
}

#[derive(Debug, Serialize)]
struct Tool<'a> {
    name: &'a str,
    operation: &'a str,
    title: &'a str,
    description: &'a str,
    effect: &'static str,
    tags: &'a [String],
    input_schema: &'a serde_json::value::RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_schema: Option<&'a serde_json::Value>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    notes: &'a [String],
}

pub(super) async fn run(config: Option<PathBuf>, command: SourceCommand) -> anyhow::Result<ExitCode> {
    let SourceCommand::Import(arguments) = command;
    if !arguments.dry_run {
        terminal::complain(
            "error: only --dry-run works from here as yet. Import it in the dashboard, under Sources → Import an API.",
        );
        return Ok(ExitCode::from(UNUSABLE));
    }
    match import(config, &arguments).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            terminal::complain(format!("error: {error:#}"));
            Ok(ExitCode::from(UNUSABLE))
        }
    }
}

async fn import(config: Option<PathBuf>, arguments: &ImportArguments) -> anyhow::Result<()> {
    let document = &arguments.document;
    let (bytes, objection) = if document.starts_with("https://") || document.starts_with("http://") {
        let link = api::parse_link(document)?;
        download(config, &link).await?
    } else {
        (read(Path::new(document))?, None)
    };
    let pin = Pin::of(&bytes);
    if let Some(why) = objection {
        anyhow::bail!("{why}");
    }
    let described = openapi::read(&bytes)?;
    let report = report(&described, pin);
    if arguments.json {
        terminal::say(serde_json::to_string_pretty(&report)?);
    } else {
        show(&report);
    }
    Ok(())
}

/// The document, and what the installation's manifest has against it.
async fn download(config: Option<PathBuf>, link: &Url) -> anyhow::Result<(Vec<u8>, Option<String>)> {
    // Settings say how far requests may go, and what is pinned; without any they go to public hosts.
    let is_set = sources(config.clone()).file.is_some();
    let (settings, manifest) = match load_here(config) {
        Ok(config) => (config.egress, config.supply.manifest),
        Err(error) if is_set => return Err(error),
        Err(_) => (egress::Settings::default(), Manifest::default()),
    };
    let egress = Egress::new(&settings).context("the outbound client cannot be made")?;
    if let Some(why) = manifest.refusal(link) {
        anyhow::bail!("{why}");
    }
    let bytes = api::fetch(&egress, link).await?;
    let objection = manifest.objection(link, Pin::of(&bytes));
    Ok((bytes, objection))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = std::fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?.len();
    if bytes > MAX_BYTES as u64 {
        anyhow::bail!("{} has {bytes} bytes; a description of an API has at most {MAX_BYTES} (10 MiB)", path.display());
    }
    std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

fn report(described: &openapi::Api, pin: Pin) -> Report<'_> {
    let tools: Vec<_> = described
        .operations
        .iter()
        .filter_map(|one| {
            let draft = one.draft.as_ref().ok()?;
            Some(Tool {
                name: &draft.name,
                operation: &one.key,
                title: &draft.title,
                description: &draft.description,
                effect: draft.effect.as_str(),
                tags: &one.tags,
                input_schema: &draft.input_schema,
                output_schema: draft.operation.answer.output_schema.as_ref(),
                notes: &draft.notes,
            })
        })
        .collect();
    let refused =
        described.operations.iter().filter_map(|one| Some(Refused { operation: &one.key, reason: one.draft.as_ref().err()? }));
    Report {
        title: &described.title,
        version: &described.version,
        sha256: pin.to_string(),
        servers: &described.servers,
        operations: described.operations.len(),
        imported: tools.len(),
        refused: refused.collect(),
        tools,
    }
}

fn show(report: &Report<'_>) {
    terminal::say(format!("{} {}", report.title, report.version));
    terminal::say(format!("  SHA-256 {}", report.sha256));
    for tool in &report.tools {
        terminal::say(format!("  {:<11} {:<64} {}", tool.effect, tool.name, tool.operation));
    }
    for refused in &report.refused {
        terminal::say(format!("  refused     {}: {}", refused.operation, refused.reason));
    }
    terminal::say(format!(
        "{} operations, {} would be tools, {} refused",
        report.operations,
        report.imported,
        report.refused.len()
    ));
}
