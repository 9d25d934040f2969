//! `trunkline connect`: an MCP server on standard input and output, for clients that know nothing else.
//!
//! It is a bridge, message by message, in whatever era the client speaks: a line of the client becomes a POST with the headers that its
//! revision wants, every message of the answer becomes a line. It adds nothing, takes nothing away, and answers every request, if need be
//! with an error. Standard output carries the protocol only; words for people go to standard error.

mod ask;
mod bridge;
mod check;
mod endpoint;
mod exchange;
mod failure;
mod headers;
mod key;
mod listener;
mod message;
mod notify;
mod schemas;
mod session;
mod stdio;
mod stream;

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use self::endpoint::Endpoint;
use crate::{config::Environment, terminal};

/// Bad usage, as clap has it.
const USAGE: u8 = 2;

#[derive(Debug, Args)]
pub(super) struct ConnectArguments {
    /// The endpoint, https://…/t/<tenant>/mcp, or that of a toolset; not needed in a folder where `trunkline dev` runs
    url: Option<String>,
    /// File with the key, and nothing else in it
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Use http:// to another computer too, although everybody on the way can read the key
    #[arg(long)]
    allow_http: bool,
    /// Ask the endpoint who it is and for its tools, say what it answers, and end
    #[arg(long)]
    check: bool,
}

pub(super) async fn run(arguments: ConnectArguments) -> anyhow::Result<ExitCode> {
    let environment = Environment::of_process();
    let found = key::find(&arguments, &environment, super::dev::announced().as_ref());
    let (url, key) = match found {
        Ok(found) => found,
        Err(wrong) => {
            terminal::complain(format!("error: {wrong}\n\nSee trunkline connect --help."));
            return Ok(ExitCode::from(USAGE));
        }
    };
    let endpoint = Endpoint::new(url, key)?;
    if arguments.check {
        return Ok(check::run(&endpoint).await);
    }
    bridge::run(endpoint).await?;
    Ok(ExitCode::SUCCESS)
}
