//! Descriptions stay what somebody approved: each is pinned by the digest of its bytes. Links are read again in the background; what is not the pinned
//! document is kept for a person and used for nothing. An operator's manifest pins links from outside.

mod change;
mod manifest;
mod notice;
mod rounds;
mod store;

use std::time::Duration;

pub use change::{Change, Found, Item, Part, Review, approve, change, dismiss, propose};
pub use manifest::{Manifest, NoPin, Pin};
pub(super) use rounds::begin;
pub use rounds::read_due;

/// How descriptions are verified.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Between two reads of a link, give or take a tenth.
    pub every: Duration,
    /// What the operator pins.
    pub manifest: Manifest,
}
