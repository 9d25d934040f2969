//! OAuth 2.1 and its companions. Scopes first; the authorization server's formats come with it.

pub mod scope;
