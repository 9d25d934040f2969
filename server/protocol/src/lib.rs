//! Formats that others define: JSON-RPC, MCP and OAuth. Pure types, parsing and rules; names follow the specification's text.
//!
//! Nothing here reads a clock, a socket or a setting.

pub mod jsonrpc;
pub mod mcp;
pub mod oauth;
