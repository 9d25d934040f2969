//! Requests that an MCP server answers: a source of the tenant, or the conformance fixtures.
