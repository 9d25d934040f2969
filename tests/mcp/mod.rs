//! The MCP endpoint.

mod bodies;
mod builtins;
mod clients;
mod eras;
mod headers;
mod keys;
mod registry;
mod scopes;
mod search;
mod upstreams;
