//! Metadata documents: RFC 8414 of the authorization server, RFC 9728 of a protected resource.

use serde_json::{Value, json};

use super::{
    signed::{ALGORITHMS, PROOF_ALGORITHMS},
    token::SERVICE_GRANTS,
};

/// Scopes that a client begins with; more are asked for when they are needed.
pub const FIRST_SCOPE: &str = "tools:read";

/// Where the endpoints of an issuer are, and what it can.
#[derive(Debug, Clone)]
pub struct AuthorizationServer<'a> {
    /// `{origin}/oauth`, without a slash at its end.
    pub issuer: &'a str,
    /// Does it see the certificates of clients?
    pub certificates: bool,
}

impl AuthorizationServer<'_> {
    /// The document.
    pub fn to_json(&self) -> Value {
        let at = |path: &str| format!("{}/{path}", self.issuer);
        let grants: Vec<&str> = ["authorization_code", "refresh_token"].iter().chain(SERVICE_GRANTS).copied().collect();
        let mut methods = vec!["none", "client_secret_basic", "client_secret_post", "private_key_jwt"];
        if self.certificates {
            methods.push("tls_client_auth");
        }
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
            "token_endpoint_auth_methods_supported": methods,
            "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
            "revocation_endpoint_auth_methods_supported": methods,
            "revocation_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
            "introspection_endpoint_auth_methods_supported": methods.iter().filter(|method| **method != "none").collect::<Vec<_>>(),
            "introspection_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
            "authorization_grant_profiles_supported": ["urn:ietf:params:oauth:grant-profile:id-jag"],
            "dpop_signing_alg_values_supported": PROOF_ALGORITHMS,
            "tls_client_certificate_bound_access_tokens": self.certificates,
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
