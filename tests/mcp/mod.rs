//! The MCP endpoint.

mod bodies;
mod builtins;
mod clients;
mod eras;
mod headers;
mod keys;
mod scopes;
mod search;
mod upstreams;
