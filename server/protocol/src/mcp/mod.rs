//! The Model Context Protocol: revisions, the classification of a message, and the shapes of its answers.

pub mod capabilities;
mod classify;
pub mod event_stream;
pub mod headers;
pub mod lifecycle;
mod log_level;
pub mod mirrored;
pub mod object;
mod params;
pub mod results;
mod revision;
pub mod tools;

pub use classify::{Incoming, MOST_IN_BATCH, Notification, Rejection, Request, Response, classify, is_stateless_date};
pub use log_level::{InvalidLevel, LogLevel};
pub use params::{ClientInfo, Meta, Params, Reference, Wanted};
pub use revision::Revision;

/// Header and `_meta` do not agree with the body.
pub const HEADER_MISMATCH: i64 = -32020;
/// The client has not declared what this needs.
pub const MISSING_CAPABILITY: i64 = -32021;
/// The revision is not spoken here.
pub const UNSUPPORTED_VERSION: i64 = -32022;
/// A resource that does not exist, before the stateless revision.
pub const RESOURCE_NOT_FOUND: i64 = -32002;

/// The user has to visit a URL first, in 2025-11-25.
pub const URL_ELICITATION_REQUIRED: i64 = -32042;

/// Who the server is, in `_meta` of a stateless result.
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// Which stream a notification belongs to, in `_meta`.
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
