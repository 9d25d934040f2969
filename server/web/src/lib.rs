//! HTTP surfaces: requests in, pages and JSON out. A handler extracts, calls one verb of the platform and renders.

pub mod assets;
pub mod dashboard;
mod doctor;
pub mod error;
pub mod extract;
mod fallback;
pub mod letters;
pub mod mcp;
mod middleware;
mod oauth;
pub mod ops;
mod peer;
pub mod routes;
pub mod server;
mod state;
pub mod urls;

pub use middleware::surround;
pub use routes::{Access, Route, configure, routes};
pub use state::{WebSettings, WebState};
