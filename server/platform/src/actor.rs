//! Who acts, and what each role may do: one table.

use crate::{
    error::{Error, ErrorKind, Result},
    ids::{TenantId, UserId},
};

/// What a member is in a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, including other owners.
    Owner,
    /// Everything but owners.
    Admin,
    /// Builds: agents, keys, tools.
    Developer,
    /// Looks at everything but the audit log.
    Viewer,
    /// Looks at everything, changes nothing.
    Auditor,
}

/// What an action needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// See pages, numbers and the call log.
    View,
    /// See who did what.
    ViewAudit,
    /// Create, edit and suspend agents and set their limits.
    ManageAgents,
    /// Create, roll and revoke keys.
    ManageKeys,
    /// Create, edit, try out and disable tools.
    ManageTools,
    /// Invite, change and remove members who are not owners.
    ManageMembers,
    /// Change owners.
    ManageOwners,
    /// Change the tenant itself.
    ManageTenant,
    /// Say how members sign in. An owner's: whoever chooses the identity provider chooses who is let in as whom.
    ManageSignIn,
}

/// Who may do what. Every check asks it, and the members page shows it.
const TABLE: [(Permission, &[Role]); 9] = {
    use Permission as P;
    use Role::{Admin, Auditor, Developer, Owner, Viewer};
    [
        (P::View, &[Owner, Admin, Developer, Viewer, Auditor]),
        (P::ViewAudit, &[Owner, Admin, Auditor]),
        (P::ManageAgents, &[Owner, Admin, Developer]),
        (P::ManageKeys, &[Owner, Admin, Developer]),
        (P::ManageTools, &[Owner, Admin, Developer]),
        (P::ManageMembers, &[Owner, Admin]),
        (P::ManageTenant, &[Owner, Admin]),
        (P::ManageSignIn, &[Owner]),
        (P::ManageOwners, &[Owner]),
    ]
};

impl Role {
    /// All roles, most powerful first.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Admin, Self::Developer, Self::Viewer, Self::Auditor];

    /// May this role do that?
    pub fn may(self, permission: Permission) -> bool {
        TABLE.iter().any(|(row, roles)| *row == permission && roles.contains(&self))
    }

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Developer => "developer",
            Self::Viewer => "viewer",
            Self::Auditor => "auditor",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| Error::invalid("role", "expected owner, admin, developer, viewer or auditor"))
    }
}

impl Permission {
    /// All permissions, in the order they are shown.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        TABLE.iter().map(|(permission, _)| *permission)
    }

    /// In words, for a person who was refused.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::ViewAudit => "view the audit log",
            Self::ManageAgents => "manage agents",
            Self::ManageKeys => "manage keys",
            Self::ManageTools => "manage tools",
            Self::ManageMembers => "manage members",
            Self::ManageOwners => "manage owners",
            Self::ManageTenant => "manage the tenant",
            Self::ManageSignIn => "manage sign-in",
        }
    }
}

/// A person acting in a tenant they belong to. Made only from a session and a membership.
#[derive(Debug, Clone)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// Where.
    pub tenant: TenantId,
    /// As what.
    pub role: Role,
}

impl Member {
    /// Ok if the role allows it, else `Denied`.
    pub fn require(&self, permission: Permission) -> Result<()> {
        if self.role.may(permission) { Ok(()) } else { Err(Error::new(ErrorKind::Denied(permission.as_str()))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permission_has_one_row_and_an_owner_has_all() {
        let all: Vec<_> = Permission::all().collect();
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert!(all.iter().all(|permission| Role::Owner.may(*permission)));
        assert!(Role::ALL.iter().all(|role| role.may(Permission::View)));
    }

    #[test]
    fn who_only_looks_changes_nothing() {
        let changing = |permission: &Permission| !matches!(permission, Permission::View | Permission::ViewAudit);
        for permission in Permission::all().filter(changing) {
            assert!(!Role::Viewer.may(permission) && !Role::Auditor.may(permission), "{permission:?}");
        }
    }
}
