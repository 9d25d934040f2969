//! The Model Context Protocol: revisions, the classification of a request, and the shapes of its answers.

mod classify;
pub mod headers;
pub mod lifecycle;
mod params;
mod revision;
pub mod tools;

pub use classify::{Rejection, Request, classify};
pub use params::{ClientInfo, Meta, Params};
pub use revision::Revision;

/// Header and `_meta` do not agree with the body.
pub const HEADER_MISMATCH: i64 = -32020;
/// The revision is not spoken here.
pub const UNSUPPORTED_VERSION: i64 = -32022;
