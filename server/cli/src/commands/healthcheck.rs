//! `trunkline healthcheck`: for containers, whose images have no other program that speaks HTTP.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;

use crate::config::Environment;

const DEADLINE: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct HealthcheckArguments {
    /// Address of the operations listener; also TRUNKLINE_OPS_LISTEN
    #[arg(long, value_name = "ADDRESS:PORT")]
    address: Option<SocketAddr>,
}

pub(super) fn run(arguments: HealthcheckArguments) -> anyhow::Result<ExitCode> {
    let environment = Environment::of_process();
    let told = environment.get("TRUNKLINE_OPS_LISTEN").unwrap_or("127.0.0.1:9464");
    let mut address = arguments.address.map_or_else(|| told.parse(), Ok).context("TRUNKLINE_OPS_LISTEN is not an address")?;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let answer = ask(address).with_context(|| format!("{address} does not answer"))?;
    anyhow::ensure!(answer.starts_with("HTTP/1.1 200 "), "{address} answers: {}", answer.lines().next().unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer)
}
