//! Pages about a tenant as a whole: its people, settings, limits and audit log.

use trunkline_platform::ids::{InvitationId, UserId};

/// What a tenant may spend.
pub fn tenant_budgets(slug: &str) -> String {
    format!("{}/budgets", settings(slug))
}

/// How members of a tenant sign in.
pub fn sign_in_settings(slug: &str) -> String {
    format!("/t/{slug}/settings/sign-in")
}

/// A tenant's home.
pub fn tenant(slug: &str) -> String {
    format!("/t/{slug}")
}

/// Who changed what in a tenant.
pub fn audit(slug: &str) -> String {
    format!("/t/{slug}/audit")
}

/// A copy of that to take away.
pub fn audit_export(slug: &str) -> String {
    format!("/t/{slug}/audit/export")
}

/// A tenant's members.
pub fn members(slug: &str) -> String {
    format!("/t/{slug}/members")
}

/// Changes a member's role.
pub fn member_role(slug: &str, user: UserId) -> String {
    format!("/t/{slug}/members/{user}/role")
}

/// Removes a member.
pub fn member_remove(slug: &str, user: UserId) -> String {
    format!("/t/{slug}/members/{user}/remove")
}

/// Invites somebody.
pub fn invitations(slug: &str) -> String {
    format!("/t/{slug}/invitations")
}

/// Takes an invitation back.
pub fn invitation_withdraw(slug: &str, invitation: InvitationId) -> String {
    format!("/t/{slug}/invitations/{invitation}/withdraw")
}

/// A tenant's settings.
pub fn settings(slug: &str) -> String {
    format!("/t/{slug}/settings")
}

/// Leaves a tenant.
pub fn leave(slug: &str) -> String {
    format!("/t/{slug}/leave")
}

/// How full a tenant's limits are.
pub fn limits(slug: &str) -> String {
    format!("/t/{slug}/limits")
}
