//! The configuration: composed of each module's own settings, checked as a whole, and refused with everything that is wrong at once.
//!
//! defaults < file < environment < options. `load` gathers what was written, `check` gives it meaning, `show` prints it without secrets.

mod check;
pub mod keys;
mod load;
mod manifest;
mod show;
mod source;

use std::{net::SocketAddr, path::PathBuf};

use trunkline_platform::{
    accounts, catalog::api::supply, chain, db, egress, functions, network::Network, quota, record, redis, secret::MasterKey,
    secret::Plaintext, telemetry,
};
use url::Url;

pub use load::{Problem, Problems, Sources};
pub use show::{Shown, example};
pub use source::{Environment, Source};

/// Everything an installation is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The public listener.
    pub http: Http,
    /// Where people and agents reach it, if told; see [`Config::public_url`].
    pub public_url: Option<Url>,
    /// Where this replica is, for the record.
    pub region: Option<String>,
    /// Address of the operations listener.
    pub ops_listen: SocketAddr,
    /// Postgres, as the application role.
    pub database: db::Settings,
    /// Postgres, as a role that may create roles.
    pub database_admin_url: Option<Plaintext>,
    /// Redis.
    pub redis: redis::Settings,
    /// The installation's key.
    pub master_key: MasterKey,
    /// Letters.
    pub mail: Mail,
    /// People.
    pub accounts: accounts::Settings,
    /// The identity provider of the whole installation.
    pub sso: Option<accounts::SsoSettings>,
    /// Limits.
    pub quota: quota::Settings,
    /// How the record is kept.
    pub audit: record::Settings,
    /// Where signed heads of the record go.
    pub checkpoints: chain::Settings,
    /// How descriptions of APIs are verified.
    pub supply: supply::Settings,
    /// Who is told of calls, if anybody.
    pub telemetry: Option<telemetry::Settings>,
    /// Private networks that tools may call.
    pub egress: egress::Settings,
    /// Code of tenants.
    pub functions: functions::Settings,
    /// Logs.
    pub log: Log,
    /// Stopping.
    pub shutdown: Shutdown,
    /// What was written and by whom, for the printout.
    pub shown: Vec<Shown>,
}

/// The public listener.
#[derive(Debug, Clone)]
pub struct Http {
    /// Address and port.
    pub listen: SocketAddr,
    /// Does a proxy in front terminate TLS?
    pub behind_proxy: bool,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Certificate and key, for TLS of its own.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Are clients asked for certificates there?
    pub client_certificates: bool,
    /// The header in which trusted proxies forward the certificates of clients, in lower case.
    pub certificate_header: Option<String>,
    /// Threads that serve requests; 0 is one per core.
    pub workers: usize,
}

/// Letters.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Their sender.
    pub from: String,
    /// The mail server; without one they are captured.
    pub smtp_url: Option<Plaintext>,
}

/// Logs.
#[derive(Debug, Clone)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines there are, as directives of `tracing`.
    pub level: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line, on standard output.
    Json,
    /// For a person, on standard error.
    Human,
}

/// Stopping.
#[derive(Debug, Clone, Copy)]
pub struct Shutdown {
    /// Seconds between "not ready" and closing the port.
    pub delay_s: u64,
    /// Longest wait for running requests, in seconds.
    pub grace_s: u64,
}

impl Config {
    /// Reads all sources. Fails with everything that is wrong.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        check::interpret(load::gather(sources))
    }

    /// The rules that hold for a server, beyond those for every command.
    pub fn check_for_serving(&self) -> Result<(), Problems> {
        check::serving(self)
    }

    /// Where people and agents reach a server that listens on that address.
    pub fn public_url(&self, listening: SocketAddr) -> Result<Url, url::ParseError> {
        let scheme = if self.http.tls.is_some() { "https" } else { "http" };
        self.public_url.clone().map_or_else(|| format!("{scheme}://{listening}").parse(), Ok)
    }
}

#[cfg(test)]
mod tests;
