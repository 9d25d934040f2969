//! `trunkline doctor`: questions to an installation, each with what to do when the answer is wrong.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use serde::Serialize;
use trunkline_platform::{Platform, clock::SystemClock, db, health};

use super::load_here;
use crate::{config::Config, terminal, wiring};

const DEADLINE: Duration = Duration::from_secs(15);
const OLDEST_POSTGRES: i32 = 150_000;
/// Tokens and idempotency keys live for minutes; replicas that disagree by more than this judge them differently.
const MOST_SKEW_MS: i64 = 2_000;

#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// One answer.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    ok: bool,
    found: String,
    /// What to do, if something is wrong.
    advice: Option<String>,
}

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, check: &'static str, found: impl Into<String>) {
        self.0.push(Finding { check, ok: true, found: found.into(), advice: None });
    }

    fn bad(&mut self, check: &'static str, found: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Finding { check, ok: false, found: found.into(), advice: Some(advice.into()) });
    }
}

pub(super) async fn run(file: Option<PathBuf>, arguments: DoctorArguments) -> anyhow::Result<ExitCode> {
    let mut findings = Findings::default();
    match load_here(file) {
        Ok(config) => {
            findings.good("settings", "can be used");
            examine(&config, &mut findings).await?;
        }
        Err(error) => findings.bad("settings", format!("{error:#}"), "`trunkline config example` explains every setting"),
    }
    let ok = findings.0.iter().all(|finding| finding.ok);
    if arguments.json {
        terminal::say(serde_json::to_string_pretty(&serde_json::json!({ "ok": ok, "findings": findings.0 }))?);
    } else {
        for finding in &findings.0 {
            terminal::say(format!("{:<8} {:<18} {}", if finding.ok { "ok" } else { "PROBLEM" }, finding.check, finding.found));
            if let Some(advice) = &finding.advice {
                terminal::say(format!("{:<27} → {advice}", ""));
            }
        }
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn examine(config: &Config, findings: &mut Findings) -> anyhow::Result<()> {
    let platform = wiring::product(config, config.http.listen, Arc::new(SystemClock))?.platform;
    public_url(&platform, findings);
    supply(&platform, findings);
    let answered = tokio::time::timeout(DEADLINE, database(&platform, findings)).await;
    if answered.is_err() {
        findings.bad("database", "does not answer in time", "see whether the server is overloaded or the address leads nowhere");
    }
    redis(&platform, findings).await;
    mail(&platform, config, findings).await;
    functions(&platform, findings).await;
    Ok(())
}

async fn functions(platform: &Platform, findings: &mut Findings) {
    let began = std::time::Instant::now();
    match platform.sandboxes.confinement().await {
        Ok(confinement) if confinement.missing().is_empty() => {
            let namespaces = if confinement.namespaces { ", namespaces" } else { "" };
            let took = began.elapsed().as_millis();
            findings
                .good("functions", format!("confined by Landlock, seccomp, rlimits{namespaces}; a process starts in {took} ms"));
        }
        Ok(confinement) => {
            let advice = "use a kernel with Landlock and seccomp (Linux 5.13 or newer), and let the container use both";
            findings.bad("functions", format!("run without {}", confinement.missing().join(", ")), advice);
        }
        Err(error) => findings.bad(
            "functions",
            error.to_string(),
            "see functions.cache_dir: a folder that only the server's user may write",
        ),
    }
}

fn supply(platform: &Platform, findings: &mut Findings) {
    let manifest = &platform.settings.supply.manifest;
    let found = match (manifest.len(), manifest.is_exclusive()) {
        (0, _) => "no manifest; descriptions are pinned by whoever imports them".to_owned(),
        (pinned, true) => format!("a manifest pins {pinned} documents, and no other link is read"),
        (pinned, false) => format!("a manifest pins {pinned} documents"),
    };
    findings.good("supply", found);
}

fn public_url(platform: &Platform, findings: &mut Findings) {
    let url = &platform.settings.public_url;
    match (url.scheme(), url.host_str()) {
        ("https", _) => findings.good("public_url", url.as_str()),
        (_, host) => findings.good("public_url", format!("{url} works on this computer only ({})", host.unwrap_or_default())),
    }
}

async fn database(platform: &Platform, findings: &mut Findings) {
    let facts = match db::facts(&platform.db).await {
        Ok(facts) => facts,
        Err(error) => {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            return findings.bad(
                "database",
                cause,
                "check database.url, that the server runs, and that `trunkline migrate` has run once",
            );
        }
    };
    let (major, minor) = (facts.version / 10_000, facts.version % 10_000);
    if facts.version < OLDEST_POSTGRES {
        findings.bad("database", format!("PostgreSQL {major}.{minor}"), "use PostgreSQL 15 or newer");
    } else {
        findings.good("database", format!("PostgreSQL {major}.{minor}, as {}", facts.role));
    }
    if facts.is_superuser || facts.bypasses_isolation {
        let advice = "use the application role trunkline_app in database.url; the other belongs into database.admin_url";
        findings.bad("database role", format!("{} is not bound by row-level security", facts.role), advice);
    } else {
        findings.good("database role", "bound by row-level security");
    }
    let skew_ms = (platform.clock.now() - facts.now).num_milliseconds();
    if skew_ms.abs() > MOST_SKEW_MS {
        findings.bad("clock", format!("{skew_ms} ms from the database's"), "synchronise the clocks of both machines (NTP)");
    } else {
        findings.good("clock", format!("{skew_ms} ms from the database's"));
    }
    if !facts.is_migrated {
        return findings.bad("migrations", "none has run", "run `trunkline migrate`");
    }
    match db::pending_migrations(&platform.db).await {
        Ok(0) => findings.good("migrations", "all have run"),
        Ok(pending) => findings.bad("migrations", format!("{pending} have not run"), "run `trunkline migrate`"),
        Err(error) => findings.bad("migrations", error.to_string(), "run `trunkline migrate`"),
    }
    isolation(platform, findings).await;
}

async fn isolation(platform: &Platform, findings: &mut Findings) {
    match db::catalog_checks::run(&platform.db).await {
        Ok(violations) if violations.is_empty() => {
            findings.good("isolation", format!("all {} checks of the catalogue hold", db::catalog_checks::CHECKS.len()));
        }
        Ok(violations) => {
            for violation in violations {
                let found = format!(
                    "{} does not hold ({}): {}",
                    violation.check.id,
                    violation.check.promise,
                    violation.objects.join(", ")
                );
                findings.bad("isolation", found, "somebody changed the schema by hand; undo it before serving anybody");
            }
        }
        Err(error) => findings.bad("isolation", error.to_string(), "the catalogue could not be asked; see the findings above"),
    }
}

async fn redis(platform: &Platform, findings: &mut Findings) {
    const POLICY: &str = "noeviction";
    match health::redis_eviction_policy(platform).await {
        Ok(Some(policy)) if policy == POLICY => findings.good("redis", "answers; maxmemory-policy noeviction"),
        Ok(Some(policy)) => {
            let advice = "set maxmemory-policy noeviction; with another one limits and sessions can be forgotten";
            findings.bad("redis", format!("maxmemory-policy {policy}"), advice);
        }
        Ok(None) => findings.good("redis", "answers; it does not tell its maxmemory-policy, which should be noeviction"),
        Err(error) => {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            findings.bad("redis", cause, "check redis.url and that the server runs");
        }
    }
}

async fn mail(platform: &Platform, config: &Config, findings: &mut Findings) {
    if config.mail.smtp_url.is_none() {
        return findings.good("mail", "captured, nothing is sent");
    }
    match tokio::time::timeout(DEADLINE, platform.mailer.ping()).await {
        Ok(Ok(())) => findings.good("mail", "the mail server answers"),
        Ok(Err(error)) => findings.bad("mail", error.to_string(), "check mail.smtp_url; people cannot sign up without mail"),
        Err(_) => findings.bad("mail", "the mail server does not answer in time", "check mail.smtp_url and the firewall"),
    }
}
