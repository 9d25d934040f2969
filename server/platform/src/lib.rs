//! What the product does. Modules in dependency order, each may use those before it:
//!
//! `ids clock random secret error settings` → `db redis egress mail jobs` → `audit usage quota record` → `accounts` → `agents`
//! → `catalog` → `execution` → `gateway`; `platform` holds the handles that every verb takes first.
//!
//! Inside a feature: `mod.rs` has the verbs, one file per noun, `store.rs` its SQL, `jobs.rs` its background work.
//! `tests/architecture.rs` checks the order and that SQL stays in `store.rs`.

pub mod accounts;
pub mod actor;
pub mod audit;
pub mod clock;
pub mod db;
pub mod error;
pub mod health;
pub mod ids;
pub mod jobs;
pub mod mail;
pub mod network;
mod platform;
pub mod quota;
pub mod random;
pub mod redis;
pub mod secret;

pub use error::{Error, ErrorKind, Result};
pub use platform::{Parts, Platform, Settings};
