//! What is kept of calls: each exactly once, whatever happens to Postgres, the disk and the process, and evidently what it was.

mod chain;
mod disk_full;
mod downstream;
mod driver;
mod entries;
mod fields;
mod killed;
mod logs;
mod long;
mod postgres_away;
mod prices;
mod retention;
mod rolling;
mod spools;
mod traces;

pub(crate) use entries::{reconcile, reconcile_sums};
