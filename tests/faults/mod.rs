//! The matrix of faults: what is done to the world around an installation, and what has to hold meanwhile and afterwards. `matrix` has every
//! row with its tests, which carry its number wherever they stand; here are those that belong to no other area. `make test` plays the short
//! forms, `make faults` all of them at full length, and prints the table with the figures.

mod answers;
mod failover;
mod many;
mod matrix;
mod names;
mod postgres;
mod process;
mod redis;
mod report;
mod requests;
mod slow_clients;
mod tls;

use std::time::{Duration, Instant};

use crate::support::Agent;

/// How long a call takes, which has to succeed.
async fn timed(agent: &Agent) -> Duration {
    let asked = Instant::now();
    let answer = agent.echo("x").await;
    assert!(answer.is_ok(), "{} {}", answer.status, answer.text);
    asked.elapsed()
}
