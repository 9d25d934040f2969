//! S-01: what nobody may find again.

mod canaries;
mod places;
mod scan;
