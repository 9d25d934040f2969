//! The MCP endpoint.

mod bodies;
mod clients;
mod eras;
mod headers;
mod keys;
mod scopes;
mod search;
mod upstreams;
