//! HTTP surfaces: requests in, pages and JSON out. A handler extracts, calls one verb of the platform and renders.

pub mod letters;
pub mod ops;
pub mod routes;
pub mod server;
mod state;

pub use routes::{Access, Route, routes};
pub use state::WebState;
