//! What the product does. Modules in dependency order, each may use those before it:
//!
//! `random hex ids clock network error secret actor trace` → `db redis epoch egress mail jobs dialogue conversations` →
//! `call metrics telemetry context audit usage quota health handshake bus upstream functions` → `vault` → `accounts` → `agents certificates` → `connections` → `catalog session gate` → `oauth` →
//! `record chain execution` → `publishing` → `alerts` → `gateway rotation` → `registry`; `platform` holds the handles that every verb takes first.
//!
//! Inside a feature: `mod.rs` has the verbs, one file per noun, `store.rs` its SQL, `jobs.rs` its background work.
//! `tests/architecture.rs` checks the order and that SQL stays in `store.rs`.

pub mod accounts;
pub mod actor;
pub mod agents;
pub mod alerts;
pub mod audit;
pub mod bus;
pub mod call;
pub mod catalog;
pub mod certificates;
pub mod chain;
pub mod clock;
pub mod connections;
pub mod context;
pub mod conversations;
pub mod db;
pub mod dialogue;
pub mod egress;
pub mod epoch;
pub mod error;
pub mod execution;
pub mod functions;
pub mod gate;
pub mod gateway;
pub mod handshake;
pub mod health;
mod hex;
pub mod ids;
pub mod jobs;
pub mod mail;
pub mod metrics;
pub mod network;
pub mod oauth;
mod platform;
pub mod publishing;
pub mod quota;
pub mod random;
pub mod record;
pub mod redis;
pub mod registry;
pub mod rotation;
pub mod secret;
pub mod session;
pub mod telemetry;
pub mod trace;
pub mod upstream;
pub mod usage;
mod vault;

pub use error::{Error, ErrorKind, Result, Step};
pub use platform::{Inner, Parts, Platform, Settings};
