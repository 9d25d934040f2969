//! `WWW-Authenticate` of a protected resource: RFC 6750 §3 with RFC 9728 §5.1.

use super::{scope::ScopeSet, signed::PROOF_ALGORITHMS};

/// Why a request is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge<'a> {
    /// Nothing was shown.
    Missing,
    /// What was shown does not work.
    Invalid,
    /// It came without a proof of possession that is good for this request.
    Unproven,
    /// It does not reach: everything that the operation needs.
    Insufficient(&'a ScopeSet),
}

impl Challenge<'_> {
    /// The header's value for clients whose tokens are bound to a key (RFC 9449 §7.1).
    pub fn proof_header(self) -> String {
        let algorithms = PROOF_ALGORITHMS.join(" ");
        match self {
            Self::Missing => format!(r#"DPoP algs="{algorithms}""#),
            Self::Invalid => format!(r#"DPoP error="invalid_token", algs="{algorithms}""#),
            Self::Unproven => format!(r#"DPoP error="invalid_dpop_proof", algs="{algorithms}""#),
            Self::Insufficient(scopes) => format!(r#"DPoP error="insufficient_scope", scope="{scopes}", algs="{algorithms}""#),
        }
    }

    /// The header's value. `first` is the scope to begin with.
    pub fn header(self, metadata_url: &str, first: &str) -> String {
        match self {
            Self::Missing => format!(r#"Bearer resource_metadata="{metadata_url}", scope="{first}""#),
            Self::Invalid | Self::Unproven => {
                format!(r#"Bearer error="invalid_token", resource_metadata="{metadata_url}", scope="{first}""#)
            }
            Self::Insufficient(scopes) => format!(
                "Bearer error=\"insufficient_scope\", scope=\"{scopes}\", resource_metadata=\"{metadata_url}\", \
                 error_description=\"this needs more than the token allows\""
            ),
        }
    }
}
