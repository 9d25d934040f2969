//! OAuth 2.1 and its companions: requests, answers, documents and claims as the specifications write them, and the rules that need nothing but
//! themselves. Who a client is, what a person allows and what is still valid is decided in `platform::oauth`.

pub mod access_token;
pub mod authorize;
pub mod challenge;
pub mod client_metadata;
pub mod error;
pub mod metadata;
pub mod parameters;
pub mod pkce;
pub mod redirect_uri;
pub mod scope;
pub mod signed;
pub mod token;
