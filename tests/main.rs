//! The black-box suite: one binary, through the front door. The modules below are its table of contents.
//!
//! Each test has an installation of its own (`support::TestApp`) on a shared Postgres and Redis, acts through actors, and asserts what
//! somebody outside would see. The suite is a client of its own making, so it builds clients and tasks that the product may not.
#![expect(clippy::disallowed_methods, reason = "the suite is the outside world: it has clients and tasks of its own")]

#[cfg(test)]
mod support;

#[cfg(test)]
mod alerts;
#[cfg(test)]
mod architecture;
#[cfg(test)]
mod bridge;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod dashboard;
#[cfg(test)]
mod db;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod functions;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod mcp;
#[cfg(test)]
mod money;
#[cfg(test)]
mod oauth;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod people;
#[cfg(test)]
mod publishing;
#[cfg(test)]
mod record;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod tenancy;
#[cfg(test)]
mod upstream;
#[cfg(test)]
mod usage;
