//! `params` of every method that is served, read in one pass.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Members of `params` that any served method reads; the rest is not looked at.
#[derive(Debug, Default, Deserialize)]
pub struct Params<'a> {
    /// Tool of `tools/call`.
    #[serde(borrow, default)]
    pub name: Option<Cow<'a, str>>,
    /// Arguments of `tools/call`, still raw.
    #[serde(borrow, default)]
    pub arguments: Option<&'a RawValue>,
    /// Where a list goes on.
    #[serde(borrow, default)]
    pub cursor: Option<Cow<'a, str>>,
    /// What `initialize` asks for.
    #[serde(borrow, default, rename = "protocolVersion")]
    pub protocol_version: Option<Cow<'a, str>>,
    /// Who `initialize` says it is.
    #[serde(borrow, default, rename = "clientInfo")]
    pub client_info: Option<ClientInfo<'a>>,
    /// Metadata of the request.
    #[serde(borrow, default, rename = "_meta")]
    pub meta: Option<Meta<'a>>,
}

/// `_meta` of a request.
#[derive(Debug, Default, Deserialize)]
pub struct Meta<'a> {
    /// The revision this request claims. Raw, since a claim of the wrong type is still a claim.
    #[serde(borrow, default, rename = "io.modelcontextprotocol/protocolVersion")]
    pub protocol_version: Option<&'a RawValue>,
    /// What the client can do.
    #[serde(borrow, default, rename = "io.modelcontextprotocol/clientCapabilities")]
    pub client_capabilities: Option<&'a RawValue>,
    /// Who it says it is.
    #[serde(borrow, default, rename = "io.modelcontextprotocol/clientInfo")]
    pub client_info: Option<ClientInfo<'a>>,
}

/// What a client says of itself. For display only.
#[derive(Debug, Default, Clone, Deserialize)]
pub struct ClientInfo<'a> {
    /// Its name.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    /// Its version.
    #[serde(borrow, default)]
    pub version: Cow<'a, str>,
}
