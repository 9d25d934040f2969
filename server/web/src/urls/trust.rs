//! Pages about clients, and whom a tenant trusts.

use trunkline_platform::ids::{CertificateNameId, ClientId, GrantId, TrustedIssuerId};

/// Whom a tenant believes beside its members.
pub fn trust(slug: &str) -> String {
    format!("/t/{slug}/trust")
}

/// Believes an identity provider.
pub fn trust_issuers(slug: &str) -> String {
    format!("/t/{slug}/trust/issuers")
}

/// Believes it no more.
pub fn trust_issuer_remove(slug: &str, issuer: TrustedIssuerId) -> String {
    format!("/t/{slug}/trust/issuers/{issuer}/remove")
}

/// Changes what client certificates mean.
pub fn trust_certificates(slug: &str) -> String {
    format!("/t/{slug}/trust/certificates")
}

/// Lets a name in certificates stand for an agent.
pub fn trust_names(slug: &str) -> String {
    format!("/t/{slug}/trust/names")
}

/// Takes that back.
pub fn trust_name_remove(slug: &str, name: CertificateNameId) -> String {
    format!("/t/{slug}/trust/names/{name}/remove")
}

/// A tenant's OAuth clients.
pub fn clients(slug: &str) -> String {
    format!("/t/{slug}/clients")
}

/// Lets members use a client.
pub fn client_approve(slug: &str, client: ClientId) -> String {
    format!("/t/{slug}/clients/{client}/approve")
}

/// Lets nobody use a client any more.
pub fn client_block(slug: &str, client: ClientId) -> String {
    format!("/t/{slug}/clients/{client}/block")
}

/// Gives a client a new secret.
pub fn client_secret(slug: &str, client: ClientId) -> String {
    format!("/t/{slug}/clients/{client}/secret")
}

/// Changes which clients members may use.
pub fn client_policy(slug: &str) -> String {
    format!("/t/{slug}/clients/policy")
}

/// Ends a grant.
pub fn grant_revoke(slug: &str, grant: GrantId) -> String {
    format!("/t/{slug}/grants/{grant}/revoke")
}
