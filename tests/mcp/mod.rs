//! The MCP endpoint.

mod eras;
