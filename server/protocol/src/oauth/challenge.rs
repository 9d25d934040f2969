//! `WWW-Authenticate` of a protected resource: RFC 6750 §3 with RFC 9728 §5.1.

use super::scope::ScopeSet;

/// Why a request is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge<'a> {
    /// Nothing was shown.
    Missing,
    /// What was shown does not work.
    Invalid,
    /// It does not reach: everything that the operation needs.
    Insufficient(&'a ScopeSet),
}

impl Challenge<'_> {
    /// The header's value. `first` is the scope to begin with.
    pub fn header(self, metadata_url: &str, first: &str) -> String {
        match self {
            Self::Missing => format!(r#"Bearer resource_metadata="{metadata_url}", scope="{first}""#),
            Self::Invalid => format!(r#"Bearer error="invalid_token", resource_metadata="{metadata_url}", scope="{first}""#),
            Self::Insufficient(scopes) => format!(
                "Bearer error=\"insufficient_scope\", scope=\"{scopes}\", resource_metadata=\"{metadata_url}\", \
                 error_description=\"this needs more than the token allows\""
            ),
        }
    }
}
