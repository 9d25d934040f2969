//! Metadata documents: RFC 8414 of the authorization server, RFC 9728 of a protected resource.

use serde_json::{Value, json};

/// Scopes that a client begins with; more are asked for when they are needed.
pub const FIRST_SCOPE: &str = "tools:read";

/// Where the endpoints of an issuer are, and what it can.
#[derive(Debug, Clone)]
pub struct AuthorizationServer<'a> {
    /// `{origin}/oauth`, without a slash at its end.
    pub issuer: &'a str,
    /// Grant types beside `authorization_code` and `refresh_token`.
    pub more_grant_types: &'a [&'a str],
    /// How clients may prove who they are at the token endpoint.
    pub authentication_methods: &'a [&'a str],
}

impl AuthorizationServer<'_> {
    /// The document.
    pub fn to_json(&self) -> Value {
        let at = |path: &str| format!("{}/{path}", self.issuer);
        let grants: Vec<&str> = ["authorization_code", "refresh_token"].iter().chain(self.more_grant_types).copied().collect();
        json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("authorize"),
            "token_endpoint": at("token"),
            "registration_endpoint": at("register"),
            "revocation_endpoint": at("revoke"),
            "introspection_endpoint": at("introspect"),
            "jwks_uri": at("jwks"),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": grants,
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": self.authentication_methods,
            "revocation_endpoint_auth_methods_supported": self.authentication_methods,
            "introspection_endpoint_auth_methods_supported":
                self.authentication_methods.iter().filter(|method| **method != "none").collect::<Vec<_>>(),
            "scopes_supported": ["tools:read", "tools:write", "tools:destructive", "resources:read", "prompts:read", "offline_access"],
            "authorization_response_iss_parameter_supported": true,
            "client_id_metadata_document_supported": true,
            "resource_indicators_supported": true,
            // OpenID Connect Discovery has these as required members; clients that read the document there refuse it without.
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA"],
        })
    }
}

/// The document of a protected resource.
pub fn protected_resource(resource: &str, issuer: &str) -> Value {
    json!({
        "resource": resource,
        "authorization_servers": [issuer],
        "bearer_methods_supported": ["header"],
        "scopes_supported": [FIRST_SCOPE],
        "resource_name": "Trunkline",
    })
}
