//! Usage: sums that are those of the record, whatever happens, and the pages that show them.

mod pages;
mod recount;
