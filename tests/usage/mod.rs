//! Usage: sums that are those of the record, whatever happens, and the pages that show them.

mod log;
mod log_live;
mod markers;
mod pages;
mod recount;
mod runs;

pub(crate) use log::recorded;
